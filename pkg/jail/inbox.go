package jail

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// What others want of a jail is put into its inbox, and carried out by the jail's
// goroutine between two pieces of a log, in the order in which it came. Who asks waits
// for a moment and no longer; what is to be done is done all the same. At a reload
// the inbox goes to the jail that takes the place of this one, with what is in it.

// patience is how long others wait for a jail: commands are answered within 100 ms.
// Tests wait for longer.
var patience = 80 * time.Millisecond

// starved is how long they wait for a jail that does nothing which takes long: it lacks
// only the processor.
const starved = 5 * time.Second

// inboxMost is how many commands wait for a jail that is busy; more are refused.
const inboxMost = 1000

// errEnded says that a jail is not there any more, and nobody in its place.
var errEnded = errors.New("the jail has ended")

// BusyError says that a jail did not come to what was asked of it.
type BusyError struct {
	Jail  string
	Doing string // what keeps it
	// Later: it is done as soon as the jail comes to it. Else it is not.
	Later bool
	// Unlisted: there is no such ban. The kernel may still hold one that nobody knows of.
	Unlisted bool
}

func (e *BusyError) Error() string {
	text := fmt.Sprintf("jail %s is busy: %s", e.Jail, e.Doing)
	if e.Later {
		text += "; it is done as soon as the jail comes to it"
	}
	return text
}

type inbox struct {
	mu     sync.Mutex
	todo   []*order
	ring   chan<- struct{} // of the jail at work; nil between two of them
	closed bool
	count  atomic.Int32 // of todo; looked at without the lock
}

// order is something to be done by a jail.
type order struct {
	do   func(*Jail)
	ran  chan struct{} // closed when it is done, or the jail has ended; nil: nobody waits
	done bool
	gone atomic.Bool // who asked waits no longer, and it need not be done
}

// post puts an order in. Commands are refused when too many wait; what workers found
// out is not, since there is no more of that than they were asked. It reports
// whether the jail will come to it.
func (b *inbox) post(o *order, command bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return errEnded
	case command && len(b.todo) >= inboxMost:
		return fmt.Errorf("%d commands wait for it already", inboxMost)
	}
	b.todo = append(b.todo, o)
	b.count.Store(int32(len(b.todo)))
	if b.ring != nil {
		signal(b.ring)
	}
	return nil
}

// take returns what is to be done.
func (b *inbox) take() []*order {
	if b.count.Load() == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	todo := b.todo
	b.todo = nil
	b.count.Store(0)
	return todo
}

// back puts orders back that were not come to.
func (b *inbox) back(todo []*order) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.todo = append(todo, b.todo...)
	b.count.Store(int32(len(b.todo)))
}

// rings has the jail at work told of what comes in through ring; nil: there is none.
func (b *inbox) rings(ring chan<- struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ring = ring; ring != nil && len(b.todo) > 0 {
		signal(ring)
	}
}

// close says that nobody will come to what is in it, or put in later.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, o := range b.todo {
		if o.ran != nil {
			close(o.ran)
		}
	}
	b.todo = nil
	b.count.Store(0)
}

// serve carries out what is in the inbox.
func (j *Jail) serve() {
	for {
		todo := j.inbox.take()
		if todo == nil {
			return
		}
		for i, o := range todo {
			if j.ending() {
				j.inbox.back(todo[i:])
				return
			}
			if o.gone.Load() {
				continue
			}
			j.work.begin(&commanded)
			o.do(j)
			j.work.end()
			o.done = true
			j.publish()
			if o.ran != nil {
				close(o.ran)
			}
		}
	}
}

// tell has the jail's goroutine carry f out, or that of the jail that takes its place;
// nobody waits for that.
func (b *inbox) tell(f func(*Jail)) { _ = b.post(&order{do: f}, false) }

// do has f carried out by the jail's goroutine, or by that of the jail that has taken
// its place. It waits for that a moment; if the jail is busy, the error is a
// *BusyError, and f is carried out later.
func (j *Jail) do(f func(*Jail)) error { return j.within(patience, true, f) }

// within is do with another patience. Without later, f is not carried out if the jail
// does not come to it in time.
func (j *Jail) within(most time.Duration, later bool, f func(*Jail)) error {
	o := &order{do: f, ran: make(chan struct{})}
	if err := j.inbox.post(o, true); err != nil {
		if errors.Is(err, errEnded) {
			return fmt.Errorf("jail %s: %w", j.Configured.Name, err)
		}
		return &BusyError{Jail: j.Configured.Name, Doing: err.Error()}
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	for end := time.Now().Add(max(most, starved)); ; timer.Reset(most) {
		select {
		case <-o.ran:
		case <-timer.C:
			doing, at := j.doing(most)
			if !at && time.Now().Before(end) {
				continue
			}
			if !later {
				o.gone.Store(true)
			}
			return &BusyError{Jail: j.Configured.Name, Doing: doing, Later: later}
		}
		break
	}
	if !o.done {
		return fmt.Errorf("jail %s: %w", j.Configured.Name, errEnded)
	}
	return nil
}

// Answers reports whether the jail's goroutine does what it is asked, within a time: nil,
// a *BusyError that says what it is at, or an error for which Ended is true.
func (j *Jail) Answers(most time.Duration) error { return j.within(most, false, func(*Jail) {}) }

// Ended reports whether an error says that a jail has ended.
func Ended(err error) bool { return errors.Is(err, errEnded) }

// Gone reports whether it says so, or that another one has taken the place of the jail.
func Gone(err error) bool { return Ended(err) || errors.Is(err, errReplaced) }

// ask has the jail's goroutine find something out.
func ask[T any](j *Jail, most time.Duration, f func(*Jail) T) (T, error) {
	var none T
	got := make(chan T, 1)
	if err := j.within(most, false, func(j *Jail) { got <- f(j) }); err != nil {
		return none, err
	}
	return <-got, nil
}

// command has the jail's goroutine change something and say what came of it.
func command[T any](j *Jail, f func(*Jail) (T, error)) (T, error) {
	var none T
	type answer struct {
		v   T
		err error
	}
	got := make(chan answer, 1)
	if err := j.do(func(j *Jail) {
		v, err := f(j)
		got <- answer{v, err}
	}); err != nil {
		return none, err
	}
	a := <-got
	return a.v, a.err
}

// doing is what keeps the jail, and whether it is at that for long already; else it is
// the processor that is not to be had.
func (j *Jail) doing(long time.Duration) (text string, at bool) {
	if j.over.Load() {
		return "it is being started anew", true
	}
	what, since, at := j.work.now()
	if took := time.Since(since); at && took >= long/2 {
		return fmt.Sprintf("it has been %s for %v", what, took.Round(10*time.Millisecond)), true
	}
	return "it has much to do", false
}

// work is what a jail's goroutine is at, for those who wait for it.
type work struct {
	since atomic.Int64 // in ns since 1970; 0: at nothing that could take long
	what  atomic.Pointer[string]
}

var (
	readingPiece = "reading a piece of its log"
	commanded    = "carrying out another command"
	endingBans   = "ending bans"
)

func (w *work) begin(what *string) {
	w.what.Store(what)
	w.since.Store(time.Now().UnixNano())
}

func (w *work) end() { w.since.Store(0) }

func (w *work) now() (what string, since time.Time, at bool) {
	ns := w.since.Load()
	if ns == 0 {
		return "", time.Time{}, false
	}
	return *w.what.Load(), time.Unix(0, ns), true
}
