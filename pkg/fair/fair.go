// Package fair has goroutines that share one core give way to each other. The daemon has one
// core (docs/decisions/19-one-core.md), and Go takes it from a goroutine only after 10 ms; what
// happens outside meanwhile, a log that is written to, is not even looked at before that, or
// before nobody else has anything to do. So whoever has much to do, a flooded log, 20,000 rows
// for the database, has a Turn, and gives way after each of Most:
//
//	var turn fair.Turn
//	for _, row := range rows {
//		write(row)
//		turn.Step()
//	}
package fair

import (
	"cmp"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Most is how long one goroutine works before the others have their turn. To give way takes
// some two microseconds, if nobody else has anything to do.
const Most = 250 * time.Microsecond

// Turn is the time that a goroutine has to itself. The zero value is one that has not begun.
type Turn struct {
	// Most is how long it lasts; 0: the package's Most. Tests have other ones.
	Most time.Duration
	// Behind: what it does can wait. While somebody is at something Urgent, it waits for
	// behindFor after each turn, and so has a fifth of the processor at the most.
	Behind bool

	began time.Time
	ways  uint64
	away  time.Duration
}

// Begin begins the turn anew: the goroutine has just waited for something.
func (t *Turn) Begin() { t.began = time.Now() }

// Step is called after each piece of work, of some microseconds, and gives way to others if
// the turn is over. It reports whether it did.
func (t *Turn) Step() bool {
	now := time.Now()
	switch d := now.Sub(t.began); {
	case t.began.IsZero():
		t.began = now
		return false
	case d < cmp.Or(t.Most, Most):
		return false
	}
	if t.Behind && urgent.Load() > 0 {
		time.Sleep(behindFor)
	} else {
		GiveWay()
	}
	t.ways++
	t.Begin()
	t.away += t.began.Sub(now)
	return true
}

// Ways is how often it gave way, and Away for how long in all.
func (t *Turn) Ways() uint64        { return t.ways }
func (t *Turn) Away() time.Duration { return t.away }

// behindFor is how long who is behind waits for who is urgent.
const behindFor = time.Millisecond

var urgent atomic.Int32

// Urgent says that what goes on comes before what can wait, until done is called.
func Urgent() (done func()) {
	urgent.Add(1)
	return sync.OnceFunc(func() { urgent.Add(-1) })
}

// GiveWay lets all others go on that can, those among them for whom something has just come
// from outside. To have the scheduler look for that, the goroutine itself waits for something
// from outside, which it has sent: Gosched alone has it look at nothing. Who gives way while
// another one waits so, waits with him.
func GiveWay() {
	way.Lock()
	if with := way.round; with != nil {
		way.Unlock()
		<-with
		return
	}
	if way.loop == nil && !way.tried {
		way.loop, way.tried = newLoop(), true
	}
	l := way.loop
	if l == nil {
		way.Unlock()
		runtime.Gosched()
		return
	}
	round := make(chan struct{})
	way.round = round
	way.Unlock()
	l.around()
	way.Lock()
	way.round = nil
	way.Unlock()
	close(round)
	runtime.Gosched() // of those whose events came together, the last one is first
}

// way is the one loop, and who is on the way around it.
var way struct {
	sync.Mutex
	loop  *loop
	tried bool
	round chan struct{} // closed when he is back; nil: nobody is
}

// loop is an event that is sent and comes back through the poller.
type loop struct {
	conn syscall.RawConn
	sent bool
	send func(fd uintptr) bool // kept, so that nothing is allocated
}

// newLoop makes one; nil: there is no descriptor to be had.
func newLoop() *loop {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil
	}
	l := &loop{}
	if l.conn, err = os.NewFile(uintptr(fd), "eventfd").SyscallConn(); err != nil {
		return nil
	}
	l.send = l.event
	return l
}

var one = [8]byte{1}

// around sends the event and waits for it.
func (l *loop) around() {
	l.sent = false
	_ = l.conn.Read(l.send)
}

// event sends it and, when it has come, says that it has.
func (l *loop) event(fd uintptr) bool {
	if l.sent {
		return true
	}
	l.sent = true
	_, err := unix.Write(int(fd), one[:])
	return err != nil // then there is nothing to wait for
}
