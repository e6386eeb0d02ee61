package daemon

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A disk that hangs is told from one that is slow, and from a machine that is busy, by what
// the thread that waits for it has of the processor: who gets something read goes on with
// it, be it little by little; who waits for ever does nothing.

// labour is work that asks a disk.
type labour struct {
	done   chan struct{}
	thread chan int32 // its id, once
	clock  int32      // the thread's processor time; 0: not known yet
}

// labourAt has f done by a thread of its own.
func labourAt(f func()) *labour {
	l := &labour{done: make(chan struct{}), thread: make(chan int32, 1)}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(l.done)
		l.thread <- int32(unix.Gettid())
		f()
	}()
	return l
}

// used returns how much of the processor the work has had.
func (l *labour) used() time.Duration {
	if l.clock == 0 {
		select {
		case tid := <-l.thread:
			l.clock = ^tid<<3 | 6 // CPUCLOCK_SCHED of one thread, as pthread_getcpuclockid has it
		default:
			return 0
		}
	}
	var t unix.Timespec
	if unix.ClockGettime(l.clock, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// laboured is how much of the processor counts as getting on.
const laboured = 50 * time.Microsecond

// await waits until the work is done, as long as it gets on: idle is how long it may do
// nothing, most how long it may take at all. It reports whether it was done.
func (l *labour) await(idle, most time.Duration) bool {
	return awaitEach[struct{}](l, idle, most, nil, nil)
}

// awaitEach is await for work that hands over pieces; while they are dealt with, it does not
// count how long it takes. All that were handed over before it was done are dealt with.
func awaitEach[T any](l *labour, idle, most time.Duration, pieces <-chan T, each func(T)) bool {
	began := time.Now()
	at, used := began, l.used()
	tick := time.NewTicker(max(idle/50, time.Millisecond))
	defer tick.Stop()
	deal := func(piece T) {
		was := time.Now()
		each(piece)
		at = time.Now()
		began = began.Add(at.Sub(was))
	}
	for {
		select {
		case <-l.done:
			for {
				select {
				case piece := <-pieces:
					deal(piece)
					continue
				default:
				}
				return true
			}
		case piece := <-pieces:
			deal(piece)
		case now := <-tick.C:
			if u := l.used(); u-used >= laboured {
				at, used = now, u
			}
			if now.Sub(at) >= idle || now.Sub(began) >= most {
				return false
			}
		}
	}
}
