package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/fleet/allow"
	"bailiff/pkg/safefile"
)

// The fleet's allow-list: whom no ban of the fleet shuts out here. An operator signs it, by a key that this host has pinned; the hub only
// hands it on. It is kept beside the database, so that a restart knows which version it had, and takes no older one.

const (
	fleetAllowEnding = ".fleet-allow"
	// fleetAllowEvery is how often the hub is asked for a newer one, fleetAllowSoon while none was got.
	fleetAllowEvery = 10 * time.Second
	fleetAllowSoon  = 2 * time.Second
)

// fleetAllow is the list as this host has it.
type fleetAllow struct {
	r    *fleetRun
	key  string // pinned
	file *keptLines
	held allow.Held

	// wrong is what was wrong with what the hub has handed on last; guarded by r.mu.
	wrong string
}

// newFleetAllow reads what was kept; nil: no key is pinned.
func newFleetAllow(r *fleetRun) *fleetAllow {
	if r.cfg.AllowKey == "" {
		return nil
	}
	f := &fleetAllow{r: r, key: r.cfg.AllowKey}
	f.file = r.d.keepsLines(fleetAllowEnding, "the fleet's allow-list", nil)
	if f.file.path == "" {
		return f
	}
	type read struct {
		data []byte
		err  error
	}
	got := make(chan read, 1)
	if !safefile.Within(allowWait, func() {
		data, err := safefile.ReadFile(f.file.path, allow.BytesMost)
		got <- read{data, err}
	}) {
		r.log.Error(fmt.Sprintf("fleet: %s: no answer within %v: the allow-list is read anew from the hub", f.file.path, allowWait))
		return f
	}
	was := <-got
	err := was.err
	if err == nil {
		_, err = f.held.Take(was.data, f.key)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, allow.ErrForeign): // another key is pinned now
		r.log.Warn(fmt.Sprintf("fleet: %s: %v: the allow-list is read anew from the hub", f.file.path, err))
	case err != nil:
		r.log.Error(fmt.Sprintf("fleet: %s: %v: the allow-list is read anew from the hub", f.file.path, err))
	}
	return f
}

// run asks for newer ones until the part ends.
func (f *fleetAllow) run() {
	for {
		wait := fleetAllowSoon
		if f.look() {
			wait = fleetAllowEvery
		}
		select {
		case <-time.After(wait):
		case <-f.r.ctx.Done():
			return
		}
	}
}

// look asks for one; false: nobody has answered.
func (f *fleetAllow) look() bool {
	was, _ := f.held.Get()
	data, err := f.r.link.AllowList(f.r.ctx, was.Version)
	if err != nil {
		return false // the connection tells of itself
	}
	if len(data) > 0 {
		f.take(data)
	}
	return true
}

// take takes a list, if it is one; what is wrong is said once.
func (f *fleetAllow) take(data []byte) {
	changed, err := f.held.Take(data, f.key)
	text := ""
	if err != nil {
		text = fmt.Sprintf("the hub hands on an allow-list that is not taken: %v", err)
	}
	f.r.mu.Lock()
	told := f.wrong
	f.wrong = text
	f.r.mu.Unlock()
	if err != nil && text != told {
		f.r.log.Error("fleet: " + text + "; the one that this host holds stays")
	}
	if !changed {
		return
	}
	l, _ := f.held.Get()
	f.r.log.Info(fmt.Sprintf("fleet: the allow-list is version %d, of %d addresses and networks", l.Version, len(l.Prefixes)))
	f.keep()
	select { // what it names is let in
	case f.r.recheck <- struct{}{}:
	default:
	}
}

// keep writes it, beside the way.
func (f *fleetAllow) keep() {
	if f.file.path == "" {
		return
	}
	go func() {
		f.file.mu.Lock() // one at a time: the last one writes what is held last
		defer f.file.mu.Unlock()
		_, text := f.held.Get()
		err := safefile.Replace(f.file.path, func(file *os.File) error {
			_, err := file.Write(text)
			return err
		})
		if err != nil {
			f.r.log.Error(fmt.Sprintf("fleet: the allow-list can't be kept: %v; after a restart it is read anew from the hub, and an older one could be taken", err))
		}
	}()
}

// status is what is told of it; nil: no key is pinned.
func (f *fleetAllow) status() *control.FleetAllowList {
	if f == nil {
		return nil
	}
	l, _ := f.held.Get()
	s := &control.FleetAllowList{Version: l.Version, IPs: []string{}}
	for _, p := range l.Prefixes {
		s.IPs = append(s.IPs, toldPrefix(p))
	}
	f.r.mu.Lock()
	s.Problem = f.wrong
	f.r.mu.Unlock()
	return s
}
