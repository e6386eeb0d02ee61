package daemon

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// What a start takes and nobody needs any more is given back: memory, and the pages of the
// program itself that only a start uses. The kernel brings in sixteen pages for each that is
// touched, so most of a program counts as resident in the end; what is still of use is there
// again with the next touch, from the page cache.

// shrink is how often all is collected for that: a start's stacks are eight times as large
// as what is in them then.
const shrink = 2

// giveBackUnused gives back what is not used.
func giveBackUnused() {
	for range shrink { // each halves the stacks that are mostly empty
		runtime.GC()
	}
	debug.FreeOSMemory()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer f.Close()
	for _, r := range clean(bufio.NewScanner(f), exe) {
		// Nothing of it was ever written to, so it is read from the file again.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, r[0], r[1]-r[0], unix.MADV_DONTNEED)
	}
}

// clean returns the parts of memory, from and to, that hold a file as it is: nobody can write
// there, and nobody has.
func clean(smaps *bufio.Scanner, file string) (out [][2]uintptr) {
	var at [2]uintptr
	held := false
	for smaps.Scan() {
		fields := strings.Fields(smaps.Text())
		switch {
		case len(fields) >= 6 && strings.Contains(fields[0], "-"):
			n, _ := fmt.Sscanf(fields[0], "%x-%x", &at[0], &at[1])
			held = n == 2 && (fields[1] == "r-xp" || fields[1] == "r--p") && strings.Join(fields[5:], " ") == file
		case len(fields) >= 2 && fields[0] == "Anonymous:":
			if held && fields[1] == "0" {
				out = append(out, at)
			}
			held = false
		case len(fields) >= 1 && strings.Contains(fields[0], "-") && !strings.HasSuffix(fields[0], ":"):
			held = false // memory of no file
		}
	}
	return out
}
