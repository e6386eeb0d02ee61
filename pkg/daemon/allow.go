package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/guard"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
	"bailiff/pkg/safefile"
)

// Whom an operator lets in for a while. It is kept in a file beside the database, a line of
// JSON each: it outlives the daemon, and nobody but us reads it.

const (
	// allowMost is how many addresses and networks may be let in at a time.
	allowMost   = 1000
	allowEnding = ".allowed"
	// allowWait is how long the disk, and lists, are waited for.
	allowWait = time.Second
)

// allowances is who is let in.
type allowances struct {
	path string // "": nothing is kept

	mu      sync.Mutex // guards changes, and what follows
	writing bool       // the file is being written, by a goroutine of its own
	again   bool       // and is to be once more
	told    string     // the last error of that
}

// startAllowing reads who was let in before.
func (d *Daemon) startAllowing() {
	db := d.cfg.Database.Path
	if d.opts.Database != "" {
		db = config.DatabasePath(d.opts.Database)
	}
	d.allows = &allowances{}
	if db == "" || d.opts.DryRun {
		return
	}
	d.allows.path = db + allowEnding
	log := d.log.With("component", "database")
	type read struct {
		data []byte
		err  error
	}
	got := make(chan read, 1)
	if !safefile.Within(allowWait, func() {
		data, err := safefile.ReadFile(d.allows.path, 1<<20)
		got <- read{data, err}
	}) {
		log.Error(fmt.Sprintf("%s: no answer within %v: who was let in by bailiff allow may be banned", d.allows.path, allowWait))
		return
	}
	r := <-got
	if r.err != nil {
		if !errors.Is(r.err, fs.ErrNotExist) {
			log.Error(fmt.Sprintf("%v: who was let in by bailiff allow may be banned", r.err))
		}
		return
	}
	var list []guard.LetIn
	n, bad, first := 0, 0, 0
	for line := range bytes.Lines(r.data) {
		n++
		var a control.Allowance
		err := json.Unmarshal(line, &a)
		var p netip.Prefix
		if err == nil {
			p, err = iplist.Parse(a.IP)
		}
		if err != nil || iplist.TooWide(p) {
			if bad++; bad == 1 {
				first = n
			}
			continue
		}
		if slices.ContainsFunc(list, func(l guard.LetIn) bool { return l.Prefix == p }) {
			continue
		}
		if left := time.Until(a.Until); left > 0 && len(list) < allowMost {
			list = append(list, guard.LetIn{Prefix: p, Until: time.Now().Add(min(left, control.AllowLongest))})
		}
	}
	if bad > 0 {
		what := fmt.Sprintf("%s:%d: no address with a time", d.allows.path, first)
		if bad > 1 {
			what += fmt.Sprintf(", nor in %d lines behind it", bad-1)
		}
		log.Error(what + ": left out; who was let in by bailiff allow may be banned")
	}
	if d.guard.SetLetIn(list); len(list) > 0 {
		log.Info(fmt.Sprintf("%d addresses and networks are let in for a while (bailiff allow)", len(list)))
	}
}

// Allow implements control.Daemon.
func (d *Daemon) Allow(r control.AllowRequest) ([]control.AllowResult, error) {
	begun := time.Now()
	last := time.Duration(r.Seconds * float64(time.Second))
	if !r.End && (r.Seconds <= 0 || r.Seconds > control.AllowLongest.Seconds()) {
		return nil, fmt.Errorf("seconds: %v: want more than 0, and at most %.0f (%d days); who is to be let in for good belongs into ignoreip", r.Seconds, control.AllowLongest.Seconds(), int(control.AllowLongest.Hours()/24))
	}
	out := make([]control.AllowResult, len(r.IPs))
	var ids []string
	var of []int // which of out
	d.allows.mu.Lock()
	list := d.guard.LetIn()
	for i, s := range r.IPs {
		out[i] = control.AllowResult{IP: s, Jails: []string{}}
		p, err := iplist.Parse(s)
		if err != nil {
			out[i].Error = err.Error()
			continue
		}
		id := ban.Of(p)
		p = id.Prefix()
		out[i].IP = ban.Name(id)
		at := slices.IndexFunc(list, func(l guard.LetIn) bool { return l.Prefix == p })
		switch {
		case r.End && at < 0:
			out[i].Error = out[i].IP + " is not let in by bailiff allow"
			continue
		case r.End:
			list = slices.Delete(list, at, at+1)
			continue
		case jail.TooWide(id):
			out[i].Error = fmt.Sprintf("%s is wider than /8 (IPv6: /19): to switch banning off, use observe = true", out[i].IP)
			continue
		case at < 0 && len(list) >= allowMost:
			out[i].Error = fmt.Sprintf("%s: %d addresses and networks are let in, as many as may be: end some of them, or use ignoreip", out[i].IP, allowMost)
			continue
		}
		until := begun.Add(last)
		out[i].Until = &until
		if l := (guard.LetIn{Prefix: p, Until: until}); at < 0 {
			list = append(list, l)
		} else {
			list[at] = l
		}
		ids, of = append(ids, out[i].IP), append(of, i)
	}
	jails := d.running()
	lifted := d.unban(jails, "", ids, r.By)
	d.guard.SetLetIn(list)
	note := d.saveAllowed()
	d.allows.mu.Unlock()
	for i := range out {
		if out[i].Error == "" {
			out[i].Pending = note
		}
	}
	if len(ids) == 0 {
		return out, nil
	}
	late := d.listsFollow(allowWait)
	// Once more: who was banned meanwhile is let in, and so is who is in a banned network, by
	// the time at which the jails have come to this.
	again := d.unban(jails, "", ids, r.By)
	for i, u := range lifted {
		res := &out[of[i]]
		res.Jails, res.Count, res.Error = u.Jails, u.Count, u.Error
		res.Lifted, res.By = liftedOf(u.By, again[i].By, late != "")
		for _, text := range []string{u.Pending, again[i].Pending, late} {
			if text != "" && !strings.Contains(res.Pending, text) {
				res.Pending = strings.TrimPrefix(res.Pending+"; "+text, "; ")
			}
		}
	}
	if pending := d.settle(begun, false, jails...); pending != "" {
		for _, i := range of {
			if out[i].Pending == "" {
				out[i].Pending = pending
			}
		}
	}
	return out, nil
}

// liftedOf tells what is lifted of that which shut out somebody besides a ban of his own, and
// what shuts him out all the same: a ban that was made with force. Lists that follow later are
// neither.
func liftedOf(before, now []control.Wider, later bool) (lifted, by []control.Wider) {
	same := func(a control.Wider) func(control.Wider) bool {
		return func(b control.Wider) bool {
			return a.Jail == b.Jail && a.List == b.List && a.IP == b.IP && (a.Inside > 0) == (b.Inside > 0)
		}
	}
	for _, w := range now {
		if !w.List || !later {
			by = append(by, w)
		}
	}
	for _, w := range before {
		i := slices.IndexFunc(now, same(w))
		switch {
		case i < 0:
			lifted = append(lifted, w)
		case w.Inside > now[i].Inside:
			w.Inside -= now[i].Inside
			lifted = append(lifted, w)
		}
	}
	return lifted, by
}

// Allowed implements control.Daemon.
func (d *Daemon) Allowed() []control.Allowance {
	out := []control.Allowance{}
	for _, l := range d.guard.LetIn() {
		out = append(out, control.Allowance{IP: ban.Name(ban.Of(l.Prefix)), Until: l.Until})
	}
	return out
}

// listsFollow waits until the lists heed the rules that hold now, and says which don't yet.
func (d *Daemon) listsFollow(most time.Duration) string {
	end := time.Now().Add(most)
	for name, l := range d.listsNow() {
		for {
			l.mu.Lock()
			done := l.ended || l.raw == nil || l.rules == l.view.Rules()
			l.mu.Unlock()
			if done {
				break
			}
			if time.Now().After(end) {
				return fmt.Sprintf("list %s follows as soon as the kernel takes it", name)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return ""
}

// saveAllowed writes who is let in to its file, and says if that is not there after a while.
// The caller holds the lock.
func (d *Daemon) saveAllowed() string {
	a := d.allows
	if a.path == "" {
		return "it is not kept over a restart, since there is no database"
	}
	if a.writing {
		a.again = true
		return "it is not on the disk yet, which takes long: until it is, it may not outlast a restart"
	}
	a.writing = true
	done := make(chan error, 1)
	go func() {
		for {
			err := writeAllowed(a.path, d.Allowed())
			a.mu.Lock()
			if text := fmt.Sprint(err); err != nil && a.told != text {
				a.told = text
				d.log.With("component", "database").Error(fmt.Sprintf("who is let in by bailiff allow is not kept over a restart: %v", err))
			} else if err == nil {
				a.told = ""
			}
			if !a.again {
				a.writing = false
				a.mu.Unlock()
				done <- err
				return
			}
			a.again = false
			a.mu.Unlock()
		}
	}()
	a.mu.Unlock()
	defer a.mu.Lock()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Sprintf("it is not kept over a restart: %v", err)
		}
		return ""
	case <-time.After(allowWait):
		return "it is not on the disk yet, which takes long: until it is, it may not outlast a restart"
	}
}

func writeAllowed(path string, list []control.Allowance) error {
	if len(list) == 0 {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return safefile.Replace(path, func(f *os.File) error {
		w := json.NewEncoder(f)
		for _, a := range list {
			if err := w.Encode(a); err != nil {
				return err
			}
		}
		return nil
	})
}
