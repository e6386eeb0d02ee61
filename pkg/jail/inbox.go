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
			o.do(j)
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
		return &BusyError{j.Configured.Name, err.Error(), false}
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-o.ran:
	case <-timer.C:
		if !later {
			o.gone.Store(true)
		}
		return &BusyError{j.Configured.Name, j.doing(), later}
	}
	if !o.done {
		return fmt.Errorf("jail %s: %w", j.Configured.Name, errEnded)
	}
	return nil
}

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

// doing is what keeps the jail.
func (j *Jail) doing() string {
	if j.over.Load() {
		return "it is being started anew"
	}
	since := j.busySince.Load()
	if since == 0 {
		return "it has much to do"
	}
	return fmt.Sprintf("it has been reading a piece of its log for %v", time.Since(time.Unix(0, since)).Round(10*time.Millisecond))
}
