package fair

import (
	"runtime"
	"sync"
	"time"
)

// What keeps the processor without using it, as the start of a command does until the
// command's program is loaded, keeps everybody, where there is one. Who does so again and
// again has a second one at hand.

// spareFor is how long the second one stays when nobody wants it any more: to change their
// number stops everything for a moment.
const spareFor = time.Second

var spare struct {
	sync.Mutex
	ours  bool // that it is one was said by One
	users int
	back  *time.Timer
}

// One has goroutines use one core, and a second one while there is need for it (Spare), until
// undo is called.
func One() (undo func()) {
	spare.Lock()
	defer spare.Unlock()
	spare.ours = true
	had := runtime.GOMAXPROCS(1)
	return func() {
		spare.Lock()
		defer spare.Unlock()
		spare.ours = false
		runtime.GOMAXPROCS(had)
	}
}

// Spare has a second core used until done is called, where One was.
func Spare() (done func()) {
	spare.Lock()
	defer spare.Unlock()
	if !spare.ours {
		return func() {}
	}
	if spare.users++; spare.users == 1 {
		if spare.back != nil {
			spare.back.Stop()
		}
		if runtime.GOMAXPROCS(0) == 1 {
			runtime.GOMAXPROCS(2)
		}
	}
	return sync.OnceFunc(func() {
		spare.Lock()
		defer spare.Unlock()
		if spare.users--; spare.users == 0 {
			spare.back = time.AfterFunc(spareFor, oneAgain)
		}
	})
}

func oneAgain() {
	spare.Lock()
	defer spare.Unlock()
	if spare.users == 0 && spare.ours {
		runtime.GOMAXPROCS(1)
	}
}
