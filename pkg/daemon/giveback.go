package daemon

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// What a start takes and nobody needs any more is given back: memory, and the pages of the
// program itself that only a start uses. The kernel brings in sixteen pages for each that is
// touched, so most of a program counts as resident in the end; what is still of use is there
// again with the next touch, from the page cache.

// shrink is how often all is collected for that: a start's stacks are eight times as large
// as what is in them then.
const shrink = 2

// programAfter is when the program's pages are given back after a collection: by then, stacks
// that it has made too small have grown again, for which much of the program is looked up.
const programAfter = time.Second

// giveBackUnused gives back what is not used.
func giveBackUnused() {
	for range shrink { // each halves the stacks that are mostly empty
		runtime.GC()
	}
	debug.FreeOSMemory()
	time.AfterFunc(programAfter, giveBackProgram)
}

// giving is set while the program's pages are being given back.
var giving atomic.Bool

// giveBackProgram gives back the pages of the program. Where somebody has written to it, a
// debugger who waits at some place of it, it stays.
func giveBackProgram() {
	if giving.Swap(true) {
		return
	}
	defer giving.Store(false)
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for _, r := range clean(in, exe) {
		// Nothing of it was ever written to, so it is read from the file again.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, r[0], r[1]-r[0], unix.MADV_DONTNEED)
	}
}

// clean returns the parts of memory, from and to, that hold a file as it is: nobody can write
// there, and nobody has. It is asked for after many collections, and leaves nothing for one.
func clean(smaps *bufio.Reader, file string) (out [][2]uintptr) {
	var at [2]uintptr
	held := false
	for {
		line, err := smaps.ReadSlice('\n')
		if err != nil { // its end, or a line longer than any that is of use
			if errors.Is(err, bufio.ErrBufferFull) {
				held = false
				continue
			}
			return out
		}
		if value, ok := bytes.CutPrefix(line, []byte("Anonymous:")); ok {
			if held && string(bytes.TrimSpace(value)) == "0 kB" {
				out = append(out, at)
			}
			held = false
			continue
		}
		from, to, ok := addresses(line)
		if !ok {
			continue // another figure
		}
		at = [2]uintptr{from, to}
		path := bytes.IndexByte(line, '/')
		held = path > 0 && string(bytes.TrimRight(line[path:], "\n")) == file && (bytes.Contains(line[:path], []byte(" r-xp ")) || bytes.Contains(line[:path], []byte(" r--p ")))
	}
}

// addresses are those at the beginning of a line that tells of a part of memory.
func addresses(line []byte) (from, to uintptr, ok bool) {
	at := &from
	for i, c := range line {
		switch {
		case c >= '0' && c <= '9':
			*at = *at<<4 | uintptr(c-'0')
		case c >= 'a' && c <= 'f':
			*at = *at<<4 | uintptr(c-'a'+10)
		case c == '-' && i > 0 && at == &from:
			at = &to
		default:
			return from, to, c == ' ' && at == &to
		}
	}
	return from, to, false
}
