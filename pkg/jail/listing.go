package jail

import (
	"errors"
	"sync"
	"time"

	"bailiff/pkg/ban"
)

// A list of bans costs the jail's goroutine some 50 ms where there are 100,000. So whoever
// wants one while it is asked for already shares it, and one that still holds is given to
// all who want it for a while, also while the jail is busy.

// listKept is how long a list is kept that nobody asks for.
const listKept = 10 * time.Second

// listing is what is known of a jail's bans beside its goroutine.
type listing struct {
	mu    sync.Mutex
	last  *banList // nil: none is kept
	asked *asked   // nil: nobody asks
	drop  *time.Timer
	made  int // lists that the jail has made
}

// banList is a jail's bans at one time. It is never changed.
type banList struct {
	version uint64
	offset  time.Duration // of the wall clock
	bans    []BanStatus
}

// asked is a list that the jail was asked for and has not begun.
type asked struct {
	done chan struct{} // closed when it is there
	list *banList
	err  error
}

// Bans returns the bans in force; the list is others', too, and not to be changed. The
// error says that the jail is busy, or has ended.
func (j *Jail) Bans() ([]BanStatus, error) {
	if j.Configured.Observe {
		return []BanStatus{}, nil
	}
	return j.listed()
}

// listed returns the bans on the list; where the jail only observes, none is in force.
func (j *Jail) listed() ([]BanStatus, error) {
	l := &j.listing
	offset := j.deps.Clock.Offset() // once: it costs a system call
	l.mu.Lock()
	if last := l.last; last != nil && last.version == j.shown.version.Load() && last.offset == offset && !j.over.Load() {
		l.drop.Reset(listKept)
		l.mu.Unlock()
		return last.bans, nil
	}
	if a := l.asked; a != nil {
		l.mu.Unlock()
		<-a.done // he who asked waits with patience
		if a.err != nil {
			return nil, a.err
		}
		return a.list.bans, nil
	}
	a := &asked{done: make(chan struct{})}
	l.asked = a
	l.mu.Unlock()
	begun := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.asked == a {
			l.asked = nil // who comes later may know of something later
		}
	}
	type listed struct {
		version uint64
		bans    []ban.Ban
	}
	got, err := ask(j, patience, func(now *Jail) listed {
		begun()
		return listed{now.bans.Version(), now.bans.All()}
	})
	begun()
	if a.err = err; err == nil {
		a.list = &banList{got.version, offset, j.statusOf(got.bans, offset)}
		l.keep(a.list)
	}
	close(a.done)
	if err != nil {
		return nil, err
	}
	return a.list.bans, nil
}

func (l *listing) keep(list *banList) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made++
	l.last = list
	if l.drop == nil {
		l.drop = time.AfterFunc(listKept, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.last = nil
		})
		return
	}
	l.drop.Reset(listKept)
}

// statusOf tells bans by the wall clock.
func (j *Jail) statusOf(bans []ban.Ban, offset time.Duration) []BanStatus {
	out := make([]BanStatus, 0, len(bans))
	for _, b := range bans {
		if b.Start = b.Start.Add(offset); !b.Permanent() {
			b.End = b.End.Add(offset)
		}
		out = append(out, StatusOf(j.Configured.Name, b))
	}
	return out
}

// StatusOf tells a ban of a jail, whose times are by the wall clock.
func StatusOf(jail string, b ban.Ban) BanStatus {
	s := BanStatus{Jail: jail, IP: ban.Name(b.ID), Name: b.ID.IsName(), Start: b.Start, Count: b.Count}
	if b.IP.IsValid() {
		s.Address = b.IP.Addr().String()
	}
	if !b.Permanent() {
		s.End = &b.End
	}
	return s
}

// BansOf asks jails for their bans, side by side.
func BansOf(jails []*Jail) ([][]BanStatus, error) {
	out, errs := make([][]BanStatus, len(jails)), make([]error, len(jails))
	var wg sync.WaitGroup
	for i, j := range jails {
		wg.Go(func() { out[i], errs[i] = j.Bans() })
	}
	wg.Wait()
	return out, errors.Join(errs...)
}
