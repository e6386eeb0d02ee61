package largepages

import (
	"runtime"
	"testing"
)

func TestReads(t *testing.T) {
	for _, c := range []struct {
		want bool
		args []string
	}{
		{true, []string{"/usr/bin/fail2ban-regex", "auth.log", "sshd"}},
		{true, []string{"bailiff", "regex", "auth.log", "sshd"}},
		{true, []string{"./bailiff", "replay", "auth.log"}},
		{false, []string{"bailiff", "run"}},
		{false, []string{"bailiff", "explain", "regex"}},
		{false, []string{"bailiff"}},
		{false, nil},
	} {
		if got := reads(c.args); got != c.want {
			t.Errorf("%q: %v, want %v", c.args, got, c.want)
		}
	}
}

func TestForWhoAsks(t *testing.T) {
	for says, want := range map[string]bool{
		"always [madvise] never\n": true, "[always] madvise never\n": false, "always madvise [never]\n": false, "": false,
	} {
		if got := forWhoAsks([]byte(says)); got != want {
			t.Errorf("%q: asked %v, want %v", says, got, want)
		}
	}
}

// TestAsk: what large pages are asked for is free behind that, and what was there before is as it was.
func TestAsk(t *testing.T) {
	kept := make([][]byte, 1000)
	for i := range kept {
		kept[i] = []byte{byte(i), 1, 2, 3}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ask()
	runtime.ReadMemStats(&after)
	if more := int64(after.HeapAlloc) - int64(before.HeapAlloc); more > room/2 {
		t.Errorf("%d bytes are kept", more)
	}
	for i := range kept {
		if kept[i][0] != byte(i) {
			t.Fatalf("%d is %v", i, kept[i])
		}
	}
}
