package cli

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/filter"
	"bailiff/pkg/scan"
)

// inBlocks looks at a log, a file's.
func (l *logInput) inBlocks(f *filter.Filter, clock func() time.Time, to scan.Listener) error {
	defer l.progress.end()
	log := scan.Log{
		From: l.from, Encoding: l.enc, Filter: f, Around: l.around, Comment: l.comment, Clock: clock,
		Progress: func(lines int, read int64) { l.progress.block(lines, read, l.size) },
	}
	return log.Run(to)
}

// ended is nil for the end of a log.
func ended(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// heapBefore is how much memory may be in use before any of it is collected: what is
// read in a moment needs no more, and collecting costs a tenth of that time.
const heapBefore = 40 << 20

// largePages is for how much of that large pages are asked for.
const largePages = 24 << 20

// pagesWhere is where the kernel says for whom it has large pages: all, who asks, nobody.
const pagesWhere = "/sys/kernel/mm/transparent_hugepage/enabled"

// forWhoAsks reports whether asking for large pages is of use by what stands there.
func forWhoAsks(pages []byte) bool { return bytes.Contains(pages, []byte("[madvise]")) }

// askLargePages has the kernel bring in the memory that is used next by 2 MB and not by 4 KB,
// where it does so for those who ask: some thousand interruptions fewer.
func askLargePages() {
	if pages, err := os.ReadFile(pagesWhere); err != nil || !forWhoAsks(pages) {
		return
	}
	room := make([]byte, largePages) // nobody touches it
	if unix.Madvise(room, unix.MADV_HUGEPAGE) == nil {
		runtime.GC() // and it is free again
	}
}

// collectLater has the garbage collector wait until that much is in use.
func collectLater() {
	percent := debug.SetGCPercent(-1)
	if percent < 0 {
		return // it was turned off
	}
	askLargePages()
	limit := debug.SetMemoryLimit(min(heapBefore, debug.SetMemoryLimit(-1)))
	sign := new([16]byte)
	runtime.AddCleanup(sign, func(int) { // at the first collection
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	}, 0)
}
