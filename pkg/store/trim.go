package store

import (
	"sync"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname

	"modernc.org/memory"
)

// What SQLite had in use is kept by its C library for the next time, and that library tells
// nobody how it can be given back; its allocator can. With a start's connections closed it is
// most of what the database takes of memory. If another version has these under other names,
// the program can't be linked.

//go:linkname allocator modernc.org/libc.allocator
var allocator memory.Allocator

//go:linkname allocatorMu modernc.org/libc.allocatorMu
var allocatorMu sync.Mutex

// trimAfter is when it is given back after the database was used: connections are closed by then.
const trimAfter = 2 * idleMost

// trimmer gives memory back that SQLite uses no more.
type trimmer struct{ due atomic.Bool }

// used notes that the database was used.
func (t *trimmer) used(open func() int) {
	if !t.due.Swap(true) {
		time.AfterFunc(trimAfter, func() { t.look(open) })
	}
}

// look gives it back if no connection is open, or later.
func (t *trimmer) look(open func() int) {
	t.due.Store(false)
	if open() > 0 { // somebody uses it again
		t.used(open)
		return
	}
	trim()
}

// trim gives back the memory of SQLite that nothing is in.
func trim() {
	allocatorMu.Lock()
	defer allocatorMu.Unlock()
	_ = allocator.Trim() // what the kernel keeps is in use
}
