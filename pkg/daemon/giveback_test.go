package daemon

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestClean: of a program's memory, only what nobody has written to is given back.
func TestClean(t *testing.T) {
	const smaps = `00400000-00cb9000 r-xp 00000000 fe:00 1 /usr/bin/a b
Rss:                1000 kB
Anonymous:             0 kB
00cb9000-01a9d000 r--p 008b9000 fe:00 1 /usr/bin/a b
Anonymous:             0 kB
01a9d000-01b00000 r--p 0169d000 fe:00 1 /usr/bin/a b
Anonymous:             4 kB
01b00000-01c00000 rw-p 0169d000 fe:00 1 /usr/bin/a b
Anonymous:             0 kB
01c00000-01d00000 r--p 00000000 00:00 0
Anonymous:             0 kB
01d00000-01e00000 r--p 00000000 fe:00 2 /usr/bin/other
Anonymous:             0 kB
01e00000-01f00000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
`
	got := clean(bufio.NewReader(strings.NewReader(smaps)), "/usr/bin/a b")
	if want := "[[4194304 13340672] [13340672 27906048]]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestGiveBack: less of the program is resident after it, and it goes on.
func TestGiveBack(t *testing.T) {
	resident := func() (kb int) {
		data, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if _, err := fmt.Sscanf(line, "RssFile: %d kB", &kb); err == nil {
				return kb
			}
		}
		t.Fatal("no RssFile in /proc/self/status")
		return 0
	}
	before := resident()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) { // others bring pages in meanwhile
		giveBackUnused()
		giveBackProgram()
		after := resident()
		if after < before {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d kB before, %d kB after", before, after)
		}
	}
}
