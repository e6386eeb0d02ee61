package jail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/source"
)

// shot is what the daemon, the kernel and the database say at one moment: failures as
// how old they are, bans as how long they last.
type shot struct {
	failures, storedFailures map[string][]time.Duration
	list, kernel, stored     map[string]time.Duration
	acts                     []string
	followed                 bool
	unwritten                bool                    // there is more to come to the database
	read                     map[source.FileID]int64 // up to where logs are accounted for
}

// said are words by which the log says that something was lost, or may come twice.
var said = []string{" lost", "as old as they say", " nobody read is not read"}

// quiet waits until everybody says what is right, and returns what is wrong if they
// never do.
func (w *world) quiet() error {
	if w.down || w.held {
		return nil
	}
	// Of several files, it is not said in which order they are read: a ban may have
	// begun with any of these lines.
	spread := time.Duration(0)
	w.ages = nil
	if w.several {
		w.ages = map[string][]time.Duration{}
		for id, times := range w.m.failures {
			for _, t := range times {
				w.ages[id] = append(w.ages[id], w.m.now-t)
			}
		}
	}
	for _, l := range w.unread {
		spread = max(spread, l.at-w.unread[0].at)
		w.m.failure(l.id, w.m.now-l.at)
		if w.several {
			w.ages[l.id] = append(w.ages[l.id], w.m.now-l.at)
		}
	}
	w.several = w.several && w.stored != nil
	if len(w.unread) > 0 {
		w.storedLines = append(w.storedLines, w.unread...)
		w.unread, w.unsure = nil, false
	}
	if w.loose && !w.kernel.isRefusing() {
		if _, err := w.jail.Compare(); err != nil {
			return err
		}
		w.loose = false
	}
	most := *historyWait
	if !patient.Load() {
		most = min(most, 3*time.Second)
	}
	told := ""
	var last *shot
	var since time.Time // when it was last otherwise
	for end, pause := time.Now().Add(most), time.Millisecond; ; pause = min(pause*5/4, 20*time.Millisecond) {
		got, err := w.look()
		if err != nil {
			return err
		}
		wrong := w.wrong(got, spread)
		told += w.log.since()
		if wrong == "" {
			for id, left := range got.list {
				if off := w.m.now + left - w.m.ends[id]; off.Abs() > modelSlack {
					w.m.starts[id], w.m.ends[id] = w.m.starts[id]+off, w.m.ends[id]+off
				}
			}
			for id, ages := range got.failures {
				for i, age := range ages {
					w.m.failures[id][i] = w.m.now - age
				}
			}
			w.anew, w.ages = false, nil
			return nil
		}
		now := time.Now()
		if !reflect.DeepEqual(got, last) {
			last, since = got, now
		}
		over := now.After(end)
		if over || now.Sub(since) > standstill {
			err := errors.New(wrong)
			if slices.ContainsFunc(said, func(s string) bool { return strings.Contains(told, s) }) {
				if err = w.believe(got, w.anew || strings.Contains(told, said[1]) || strings.Contains(told, "the log is read from its beginning")); err == nil {
					return nil
				}
			}
			if over {
				return err
			}
		}
		time.Sleep(pause)
	}
}

// standstill is for how long nothing changes before it is believed that something was
// lost. It does not make anything wrong right that was not told.
const standstill = 4 * time.Second

// look asks everybody. What the jail does now and then, it does at once.
func (w *world) look() (*shot, error) {
	s := &shot{
		failures: map[string][]time.Duration{}, storedFailures: map[string][]time.Duration{},
		list: map[string]time.Duration{}, kernel: map[string]time.Duration{}, stored: map[string]time.Duration{},
	}
	now := w.clock.Now()
	err := w.jail.within(time.Minute, true, func(j *Jail) {
		w.forget(j)
		j.window.Each(func(id ban.ID, times []int64) {
			for _, t := range times {
				s.failures[ofPrefix(id.Prefix())] = append(s.failures[ofPrefix(id.Prefix())], now.Sub(ban.TimeOf(t)))
			}
		})
		for _, b := range j.bans.All() {
			s.list[ofPrefix(b.ID.Prefix())] = b.End.Sub(now)
		}
		for _, f := range j.source.Status() {
			s.followed = s.followed || f.Path == w.logPath() && f.Error == ""
		}
		s.read = map[source.FileID]int64{}
		for key, p := range j.logs {
			s.read[source.FileID{Dev: key.Dev, Inode: key.Inode}] = p.Offset
		}
		j.push()
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.queue.Sync(ctx); err != nil {
		return nil, err
	}
	held, _ := w.kernel.Elements("")
	for _, e := range held {
		s.kernel[ofPrefix(e.ID)] = e.Left
	}
	s.acts, _ = w.acts.list()
	if w.keep.broken.Load() {
		return s, nil
	}
	if err := w.keep.queue.SyncFor(10 * time.Second); err != nil {
		s.unwritten = true // it was broken until now, and is tried again
		return s, nil
	}
	state, err := w.store.Load("app", now)
	if err != nil {
		return nil, err
	}
	for _, b := range state.Bans {
		s.stored[ofPrefix(b.ID.Prefix())] = b.End.Sub(now)
	}
	for _, f := range state.Failures {
		for _, t := range f.Times {
			s.storedFailures[ofPrefix(f.ID.Prefix())] = append(s.storedFailures[ofPrefix(f.ID.Prefix())], now.Sub(t))
		}
	}
	return s, nil
}

// forget has the jail do at once what it does now and then.
func (w *world) forget(j *Jail) {
	j.expire()
	var over []netip.Prefix
	j.window.Each(func(id ban.ID, times []int64) {
		if w.clock.Now().Sub(ban.TimeOf(times[len(times)-1])) > w.m.findTime {
			over = append(over, id.Prefix())
		}
	})
	for _, id := range over {
		j.window.Forget(ban.Of(id))
		j.failuresChanged(ban.Of(id))
	}
}

// wrong says in what they differ from what is right; bans may be off by spread.
func (w *world) wrong(got *shot, spread time.Duration) string {
	var out []string
	want := map[string]time.Duration{}
	for id, end := range w.m.ends {
		want[id] = end - w.m.now
	}
	ages := map[string][]time.Duration{}
	for id, times := range w.m.failures {
		for _, t := range times {
			ages[id] = append(ages[id], w.m.now-t)
		}
	}
	bans := func(who string, have map[string]time.Duration) {
		for _, id := range slices.Sorted(maps.Keys(have)) {
			left, ok := want[id]
			switch off := have[id] - left; {
			case !ok:
				out = append(out, fmt.Sprintf("%s: %s is banned for %v, and should not be", who, id, have[id]))
			case off.Abs() > modelSlack+spread:
				out = append(out, fmt.Sprintf("%s: %s is banned for %v, should be for %v", who, id, have[id], left))
			}
		}
		for _, id := range slices.Sorted(maps.Keys(want)) {
			if _, ok := have[id]; !ok {
				out = append(out, fmt.Sprintf("%s: %s is not banned, and should be for %v", who, id, want[id]))
			}
		}
	}
	failures := func(who string, have map[string][]time.Duration) {
		near := func(a, b time.Duration) bool { return (a - b).Abs() <= modelSlack }
		for _, id := range slices.Sorted(maps.Keys(have)) {
			if w.ages[id] != nil && len(have[id]) == len(ages[id]) && !slices.ContainsFunc(have[id], func(age time.Duration) bool {
				return !slices.ContainsFunc(w.ages[id], func(one time.Duration) bool { return near(age, one) })
			}) {
				continue // which of them led to the ban depends on what was read first
			}
			if !slices.EqualFunc(have[id], ages[id], near) {
				out = append(out, fmt.Sprintf("%s: failures of %s are %v old, should be %v", who, id, have[id], ages[id]))
			}
		}
		for _, id := range slices.Sorted(maps.Keys(ages)) {
			if _, ok := have[id]; !ok {
				out = append(out, fmt.Sprintf("%s: no failures of %s, should be %v old", who, id, ages[id]))
			}
		}
	}
	if fi, err := os.Stat(w.logPath()); err == nil {
		want := fi.Size()
		if w.partial != "" {
			want -= int64(w.partSize)
		}
		if !got.followed {
			out = append(out, "log: it is not followed")
		}
		if at, ok := got.read[source.IDOf(fi)]; !ok || at != want && want > 0 {
			out = append(out, fmt.Sprintf("log: accounted for up to byte %d of %d", at, want))
		}
	}
	bans("list", got.list)
	failures("window", got.failures)
	if !w.kernel.isRefusing() {
		bans("kernel", got.kernel)
	}
	if !w.keep.broken.Load() {
		if got.unwritten {
			out = append(out, "database: it is not written")
		}
		bans("database", got.stored)
		failures("database", got.storedFailures)
	}
	if _, hangs := w.acts.list(); !hangs && !slices.Equal(got.acts, slices.Sorted(maps.Keys(want))) {
		out = append(out, fmt.Sprintf("actions: shut out are %q", got.acts))
	}
	return strings.Join(out, "\n")
}

// believe takes over what the daemon says, where it told that something was lost, or may
// come again, and list, kernel and database agree.
func (w *world) believe(got *shot, more bool) error {
	was, anew := w.m, w.anew
	believed := false
	defer func() {
		if !believed {
			w.m, w.anew = was, anew
		}
	}()
	w.anew = false
	w.m = newModel(w.is.maxRetry, w.is.findTime, w.is.banTime)
	w.m.now, w.m.ignored = was.now, was.ignored
	w.m.maxRetry, w.m.findTime, w.m.banTime = was.maxRetry, was.findTime, was.banTime
	for id, left := range got.list {
		w.m.ends[id], w.m.starts[id] = was.now+left, was.now+left-was.banTime
		if start, ok := was.starts[id]; ok {
			w.m.starts[id] = start + w.m.ends[id] - was.ends[id] // another line led to it, perhaps
		} else if !more {
			return fmt.Errorf("%s is banned, and should not be, though something was lost", id)
		}
	}
	for id, ages := range got.failures {
		for _, age := range ages {
			w.m.failures[id] = append(w.m.failures[id], was.now-age)
		}
		if !more && was.ends[id] == 0 && len(ages) > len(was.failures[id]) {
			return fmt.Errorf("failures of %s are %v old, though something was lost", id, ages)
		}
	}
	if wrong := w.wrong(got, 0); wrong != "" {
		return fmt.Errorf("it was said that something was lost; but then:\n%s", wrong)
	}
	believed = true
	return nil
}
