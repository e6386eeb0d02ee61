package safefile

import (
	"sync"

	"golang.org/x/sys/unix"
)

var umask sync.Mutex

// WithUmask makes something under another umask. That is the whole process's, so it is for one at a time:
// of two that change it at once, one would put back the other's for good.
func WithUmask(mask int, do func()) {
	umask.Lock()
	defer umask.Unlock()
	old := unix.Umask(mask)
	defer unix.Umask(old)
	do()
}
