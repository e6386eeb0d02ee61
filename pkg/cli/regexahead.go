package cli

import (
	"io"
	"runtime"
	"runtime/debug"
	"time"

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

// collectLater has the garbage collector wait until that much is in use.
func collectLater() {
	percent := debug.SetGCPercent(-1)
	if percent < 0 {
		return // it was turned off
	}
	limit := debug.SetMemoryLimit(min(heapBefore, debug.SetMemoryLimit(-1)))
	sign := new([16]byte)
	runtime.AddCleanup(sign, func(int) { // at the first collection
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	}, 0)
}
