package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/control"
	"bailiff/pkg/jail"
)

// Bans made and lifted by hand.

// settleMost is how long an answer waits for the kernel, for actions and for the database:
// what they do comes all the same.
const (
	settleMost  = 60 * time.Millisecond
	settleLeast = 10 * time.Millisecond
	// wordsMost is how long fail2ban's words wait for actions that were at nothing: those
	// who give them look at once for what the actions do. Who is at something may be the very
	// command that asks.
	wordsMost = time.Second
	// answerMost is how long the jail and they have together: an answer comes within 100 ms.
	answerMost = 90 * time.Millisecond
)

// settle waits until the kernel has what was asked, so that a command's answer is the
// truth; patient, for actions, as long as wordsMost. It returns what has not yet: the kernel, or some actions; empty: all have. The
// database is waited for, too, but what it has not written yet is in memory. begun is when
// the command came.
func (d *Daemon) settle(begun time.Time, patient bool, jails ...*jail.Jail) (pending string) {
	most := max(min(settleMost, answerMost-time.Since(begun)), settleLeast)
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	acting := ctx
	if patient {
		acting, cancel = context.WithTimeout(context.Background(), wordsMost)
		defer cancel()
	}
	var mu sync.Mutex
	var behind []string
	late := func(what string) {
		mu.Lock()
		behind = append(behind, what)
		mu.Unlock()
	}
	if d.opts.DryRun {
		late("this is a dry run: nothing is done")
	}
	var wg sync.WaitGroup
	if d.queue != nil {
		wg.Go(func() {
			if d.queue.Sync(ctx) != nil {
				late("the kernel has not taken it yet")
				return
			}
			for _, j := range jails {
				if d.fw != nil && d.fw.Owes(j.Configured.Name) {
					late(refused(j.Configured.Name))
				}
			}
		})
	}
	for _, j := range jails {
		if g := j.Actions(); !g.Empty() {
			wg.Go(func() {
				if behind := g.Sync(acting); len(behind) > 0 {
					late(fmt.Sprintf("action %s of jail %s has not come to it yet", strings.Join(behind, ", "), j.Configured.Name))
				}
			})
		}
	}
	if d.store != nil {
		wg.Go(func() { _ = d.store.queue.SyncFor(most) }) // that it can't be written was told
	}
	wg.Wait()
	return strings.Join(behind, "; ")
}

// refused says that the kernel did not take what a jail wanted of it.
func refused(name string) string {
	return fmt.Sprintf("the kernel has refused changes of the bans of jail %s: they are tried again (the log says why)", name)
}

// Ban implements control.Daemon.
func (d *Daemon) Ban(name string, r control.BanRequest) ([]control.BanResult, error) {
	begun := time.Now()
	lasts := time.Duration(r.Seconds * float64(time.Second))
	if r.Seconds != -1 && r.Seconds != 0 && !(r.Seconds >= 1 && r.Seconds <= control.BanLongest) {
		return nil, control.Bad(fmt.Errorf("seconds: %v: want 1 to %d, or -1 for good", r.Seconds, control.BanLongest))
	}
	j, err := d.jail(name)
	if err != nil {
		return nil, err
	}
	out := make([]control.BanResult, len(r.IPs))
	var ids []ban.ID
	var of []int // which of out
	for i, s := range r.IPs {
		out[i].IP = s
		id, err := ban.ParseToBan(s)
		if err != nil {
			out[i].Error = err.Error()
			continue
		}
		out[i].IP = ban.Name(id)
		ids, of = append(ids, id), append(of, i)
	}
	for n, done := range j.BanEach(ids, jail.ByHand{Force: r.Force, By: r.By, Lasts: lasts}) {
		res := &out[of[n]]
		res.Added, res.Changed = done.Added, done.Moved && lasts != 0 // else it lasts longer, as a ban once more does
		if in := res.Added || res.Changed; in && lasts != 0 && done.End.IsZero() {
			res.Permanent = true
		} else if in && lasts != 0 {
			res.Until = &done.End
		}
		if ids[n].IsName() && done.Added {
			res.Note = j.Unheld()
		}
		if !done.Added && done.By.IsValid() {
			res.By = ban.Name(done.By)
		}
		var busy *jail.BusyError
		switch {
		case errors.As(done.Err, &busy) && busy.Later:
			res.Pending = busy.Error()
		case done.Err != nil:
			res.Error = done.Err.Error()
		}
	}
	if !slices.ContainsFunc(out, func(r control.BanResult) bool { return r.Added || r.Changed }) {
		return out, nil
	}
	if pending := d.settle(begun, false, j); pending != "" {
		for i := range out {
			if (out[i].Added || out[i].Changed) && out[i].Pending == "" {
				out[i].Pending = pending
			}
		}
	}
	return out, nil
}

// Unban implements control.Daemon.
func (d *Daemon) Unban(r control.UnbanRequest) ([]control.UnbanResult, error) {
	return d.unbanNow(r, false)
}

// idle reports whether the actions of jails are at nothing.
func idle(jails ...*jail.Jail) bool {
	return !slices.ContainsFunc(jails, func(j *jail.Jail) bool { return !j.Actions().Idle() })
}

// unbanNow is Unban. inWords: it was asked for in fail2ban's words.
func (d *Daemon) unbanNow(r control.UnbanRequest, inWords bool) ([]control.UnbanResult, error) {
	if r.Fleet {
		return d.unbanFleet(r)
	}
	begun := time.Now()
	jails := d.running()
	if r.Jail != "" {
		j, err := d.jail(r.Jail)
		var list *control.ListError
		switch {
		case err != nil && d.fleet.set(r.Jail) != nil && !r.All: // a group's
			jails = nil
		case err == nil:
			jails = []*jail.Jail{j}
		case errors.As(err, &list) && !r.All: // it is told where they stand
			jails = nil
		default:
			return nil, err
		}
	}
	out := []control.UnbanResult{}
	patient := inWords && idle(jails...)
	if r.All {
		out = append(out, d.unbanAll(jails, r.By))
		if text := d.takeBack(r.Jail); text != "" {
			out[0].Pending = joined(out[0].Pending, errors.New(text))
		}
	} else {
		out = d.unban(jails, r.Jail, r.IPs, r.By)
		d.unbanInFleet(r.Jail, out, r.By)
	}
	// Who asks to lift what is not there waits for nobody: actions do so of themselves.
	if !slices.ContainsFunc(out, func(r control.UnbanResult) bool { return r.Count > 0 }) {
		return out, nil
	}
	if pending := d.settle(begun, patient, jails...); pending != "" {
		for i := range out {
			if out[i].Count > 0 && out[i].Pending == "" {
				out[i].Pending = pending
			}
		}
	}
	return out, nil
}

// note keeps in a result what became of it in a jail.
func note(res *control.UnbanResult, name string, count int, err error) {
	var busy *jail.BusyError
	switch {
	case errors.As(err, &busy) && busy.Later:
		res.Pending = joined(res.Pending, err)
		res.Undone = res.Undone || !busy.Unlisted
	case err != nil:
		res.Error = joined(res.Error, err)
	}
	if count > 0 {
		res.Jails = append(res.Jails, name)
		res.Count += count
	}
}

func joined(text string, err error) string {
	if text == "" {
		return err.Error()
	}
	return text + "; " + err.Error()
}

func (d *Daemon) unbanAll(jails []*jail.Jail, by string) control.UnbanResult {
	res := control.UnbanResult{Jails: []string{}}
	counts, errs := make([]int, len(jails)), make([]error, len(jails))
	inTurn(jails, errs, func(i int) { counts[i], errs[i] = jails[i].UnbanAll(by) })
	for i, j := range jails {
		note(&res, j.Configured.Name, counts[i], errs[i])
	}
	return res
}

// inTurn asks something of jails, one after the other; once one is busy, of the others
// side by side, so that they are waited for together.
func inTurn(jails []*jail.Jail, errs []error, f func(i int)) {
	var wg sync.WaitGroup
	busy := false
	for i := range jails {
		if busy {
			wg.Go(func() { f(i) })
			continue
		}
		f(i)
		busy = errs[i] != nil
	}
	wg.Wait()
}

// unban lifts bans in all of some jails, side by side. only is the jail or list that was
// named, if one was.
func (d *Daemon) unban(jails []*jail.Jail, only string, ips []string, by string) []control.UnbanResult {
	out := make([]control.UnbanResult, len(ips))
	slips := map[int]error{}
	var ids []ban.ID
	var of []int // which of out
	for i, s := range ips {
		out[i] = control.UnbanResult{IP: s, Jails: []string{}}
		id, err := ban.ParseID(s)
		if err != nil { // a line may have had it all the same
			if id = ban.Named(s); !id.IsValid() {
				out[i].Error = err.Error()
				continue
			}
			slips[i] = err
		}
		out[i].IP = ban.Name(id)
		ids, of = append(ids, id), append(of, i)
	}
	if len(ids) == 0 {
		return out
	}
	onLists := make(chan [][]control.Wider, 1)
	go func() { onLists <- d.onLists(only, ids) }() // beside: files are looked through
	found, errs := make([][]jail.Unbanned, len(jails)), make([]error, len(jails))
	inTurn(jails, errs, func(i int) { found[i], errs[i] = jails[i].UnbanEach(ids, by) })
	listed := <-onLists
	for n, i := range of {
		for k, j := range jails {
			count := 0
			if found[k] != nil && found[k][n].Found {
				count = 1
			}
			if found[k] != nil && found[k][n].By.IsValid() {
				out[i].By = append(out[i].By, control.Wider{Jail: j.Configured.Name, IP: ban.Name(found[k][n].By), Beside: !found[k][n].By.Holds(ids[n])})
			}
			if found[k] != nil && found[k][n].Inside > 0 {
				out[i].By = append(out[i].By, control.Wider{Jail: j.Configured.Name, IP: ban.Name(ids[n]), Inside: found[k][n].Inside})
			}
			note(&out[i], j.Configured.Name, count, errs[k])
		}
		out[i].By = append(out[i].By, listed[n]...)
		if err := slips[i]; err != nil && out[i].Count == 0 && out[i].Error == "" {
			out[i] = control.UnbanResult{IP: ips[i], Jails: []string{}, Error: err.Error()}
		}
	}
	return out
}
