package ban

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func TestID(t *testing.T) {
	if got, most := unsafe.Sizeof(ID{}), unsafe.Sizeof(netip.Prefix{}); got > most {
		t.Errorf("an ID takes %d bytes, a netip.Prefix %d", got, most)
	}
	for _, s := range []string{"192.0.2.7", "203.0.113.0/24", "2001:db8::1", "2001:db8::/32", "0.0.0.0/0", "::/0", "kevin", "a/b", "'; rm -rf /"} {
		x := id(s)
		if Name(x) != s || !x.IsValid() || x != id(s) || x.String() != s {
			t.Errorf("%s is %v", s, x)
		}
		if p := x.Prefix(); p.IsValid() == x.IsName() || p.IsValid() && Of(p) != x {
			t.Errorf("%s as a prefix: %v", s, p)
		}
	}
	for _, c := range []struct {
		of, inner string
		want      bool
	}{
		{"203.0.113.0/24", "203.0.113.9", true},
		{"203.0.113.0/24", "203.0.113.128/25", true},
		{"203.0.113.0/24", "203.0.113.0/24", false},
		{"203.0.113.0/24", "203.0.112.9", false},
		{"0.0.0.0/0", "203.0.113.9", true},
		{"::/0", "203.0.113.9", false},
		{"::/0", "2001:db8::1", true},
		{"2001:db8::/33", "2001:db8:8000::1", false},
		{"2001:db8::/33", "2001:db8:7fff::1", true},
		{"203.0.113.0/24", "kevin", false},
		{"kevin", "kevin", false},
		{"kevin", "203.0.113.9", false},
		{"203.0.113.9", "203.0.113.9", false},
	} {
		if got := id(c.of).Holds(id(c.inner)); got != c.want {
			t.Errorf("%s holds %s: %v", c.of, c.inner, got)
		}
	}
	if n := id("kevin").Within(0); n.IsValid() {
		t.Errorf("a name is within %v", n)
	}
	if Named("").IsValid() || Named(strings.Repeat("x", MaxName+1)).IsValid() || !Named(strings.Repeat("x", MaxName)).IsValid() {
		t.Error("length of names")
	}
	if got := Name(Named("a\xffb")); got != "a\uFFFDb" {
		t.Errorf("%q", got)
	}
	if (ID{}).IsValid() || Of(netip.Prefix{}).IsValid() {
		t.Error("nobody is somebody")
	}
}

// TestTold: what a log's reader might take for an address, a host or another line is
// quoted there.
func TestTold(t *testing.T) {
	for _, s := range []string{"kevin", "125-000-001", "Badger", "192.0.2.7", "2001:db8::/64", "John Smith", "a=b&c", "naïve", "user@host.example", "/var/x.y"} {
		if got := Told(id(s)); got != s {
			t.Errorf("%s is told as %s", s, got)
		}
	}
	for _, s := range []string{
		"203.0.113.9 x", "203.0.113.9,", "[203.0.113.9] ", "1.2.3.999", "evil.example", "2001:db8::1z", "a\nb", "x] Ban 203.0.113.9", "\x1b[31m", `"`, "a\u202eb", " 203.0.113.9x",
	} {
		if got := Told(Named(s)); !strings.HasPrefix(got, `"`) || strings.ContainsAny(got, "\n\x1b") {
			t.Errorf("%q is told as %s", s, got)
		}
	}
}

// TestToldBeside: where who is shut out stands beside, an ID that reads as an address is a
// text.
func TestToldBeside(t *testing.T) {
	beside := AddressOf(netip.MustParseAddr("192.0.2.97"))
	for s, want := range map[string]string{
		"203.0.113.78": `"203.0.113.78"`, "2001:db8::77": `"2001:db8::77"`, "203.0.113.0/25": `"203.0.113.0/25"`,
		"alice": "alice", "evil.example": `"evil.example"`, "192.0.2.97": "192.0.2.97",
	} {
		if got := (Ban{ID: id(s), IP: beside}).Told(); got != want {
			t.Errorf("%s beside an address is told as %s", s, got)
		}
		if got := (Ban{ID: id(s)}).Told(); got != Told(id(s)) {
			t.Errorf("%s is told as %s", s, got)
		}
	}
	l := NewList()
	l.Add(Ban{ID: id("203.0.113.0/25"), IP: beside})
	l.Add(Ban{ID: id("198.51.100.0/25")}) // so that networks of that length are looked for
	if b, ok := l.Covering(id("203.0.113.9")); ok {
		t.Errorf("a name covers an address: %v", b)
	}
}

func FuzzID(f *testing.F) {
	for _, s := range []string{"", "192.0.2.7", "203.0.113.9 x", "[::1]", "x] Ban 203.0.113.9", "evil.example", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x := Named(s)
		if !x.IsValid() {
			return
		}
		told := Told(x)
		if strings.ContainsFunc(told, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("%q is told as %q", s, told)
		}
		w := NewWindow(2, time.Minute, 0)
		w.Add(x, start)
		if n, due := w.Add(id(Name(x)), start); (n != 2 || !due) && Named(Name(x)) == id(Name(x)) {
			t.Errorf("%q: %d", s, n)
		}
		if len(w.names) != 0 && w.nameBytes == 0 || w.Len() == 0 && (len(w.names) != 0 || w.nameBytes != 0) {
			t.Errorf("%q: %d names, %d bytes are left", s, len(w.names), w.nameBytes)
		}
	})
}

// TestManyNames: names have a bound in bytes.
func TestManyNames(t *testing.T) {
	w := NewWindow(5, time.Hour, 0)
	gone := 0
	w.Evicted = func(ID) { gone++ }
	long := strings.Repeat("x", MaxName-10)
	const n = namesMost/(MaxName-10) + 2000
	for i := range n {
		w.Add(Named(fmt.Sprintf("%s%05d", long, i)), at(float64(i)))
		if w.nameBytes > namesMost {
			t.Fatalf("%d bytes", w.nameBytes)
		}
	}
	if w.Len()+gone != n || gone < 1000 || len(w.names) != w.Len() {
		t.Errorf("%d of %d are there, %d names, %d gone", w.Len(), n, len(w.names), gone)
	}
	if got := len(w.Expire(at(1e6))); got != n-gone || w.nameBytes != 0 || len(w.names) != 0 {
		t.Errorf("%d forgotten, %d bytes are left", got, w.nameBytes)
	}
}
