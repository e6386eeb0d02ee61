package daemon

import (
	"context"
	"fmt"
	"iter"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/events"
	"bailiff/pkg/firewall"
	"bailiff/pkg/guard"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
	"bailiff/pkg/source"
)

// Jails whose source is a list: whoever is on it is shut out from the start. Nothing
// is matched and nothing expires; what the files say, the kernel's interval sets hold,
// but for what would shut out this host, what it needs, and what ignoreip says.
//
// A list whose files can't be read runs, with what was read before or with nothing, says
// so, and tries again.

const (
	// listEvery is how often the files are looked at.
	listEvery = time.Second
	// listPatience is how long a start or a reload waits for lists to be in the kernel.
	// They may wait for the names of ignoreip, and then have to be loaded.
	listPatience = guard.Patience + time.Second
	// lookMost is how long a reload waits for files that could not be read before.
	lookMost = 2 * time.Second
	// cutsTold is how many entries of a list are told of that shut out too much.
	cutsTold = 10
)

// blocklist is one such jail at work.
type blocklist struct {
	d     *Daemon
	c     *config.Jail
	view  *guard.View
	look  chan struct{}      // has a value when there is something to look at
	again chan chan struct{} // who wants the files looked at as they are; closed when that is done
	stop  context.CancelFunc
	once  sync.Once
	done  chan struct{} // closed when the files were tried once

	apply sync.Mutex // held while the kernel takes a list; not over reading
	mu    sync.Mutex // guards what follows; held for no work
	ended bool
	raw   *iplist.Set // what the files hold; nil: they were not read yet
	// readAt is when that was.
	readAt time.Time
	set    *iplist.Set // what the kernel is to hold; nil: nothing yet
	would  int         // how many ranges it would be, where the list is only observed
	rules  *guard.Rules
	files  []source.Status
	cuts   []guard.Cut
	// failed is what was told last of the files, refused of the kernel.
	failed, refused string
	fetched         map[string]fetched // by URL

	follow iplist.Follow // run's alone
	bad    []error       // lines that are no entries, as told; run's alone
}

// startList starts a list; nil if its settings are wrong, or the kernel takes no sets: then
// before, which it takes the place of, goes on; nil: there is none.
func (d *Daemon) startList(c *config.Jail, before *blocklist) (*blocklist, error) {
	log := d.log.With("component", "jail")
	for _, w := range c.Warnings {
		log.Warn(w.Error())
	}
	for _, e := range c.Faults {
		log.Error(fmt.Sprintf("[%s] %v", c.Name, e))
	}
	err := c.Broken()
	if err == nil && d.fw != nil {
		err = (&kernel{d}).AddJail(ruleOf(c))
	}
	if err != nil {
		if before != nil {
			err = fmt.Errorf("%w; it goes on with its old settings", err)
		} else {
			d.mu.Lock()
			d.failed[c.Name] = err
			d.mu.Unlock()
		}
		for _, line := range linesOf(err) {
			log.Error(fmt.Sprintf("[%s] not started: %s", c.Name, line))
		}
		return nil, err
	}
	l := &blocklist{d: d, c: c, look: make(chan struct{}, 1), again: make(chan chan struct{}), done: make(chan struct{}), fetched: map[string]fetched{}}
	if before != nil {
		before.end(false)
		before.mu.Lock()
		l.raw, l.readAt = before.raw, before.readAt // until the files under the new settings are read
		before.mu.Unlock()
	}
	want := protectedFrom(c)
	l.view = d.guard.View(want, func() {
		select {
		case l.look <- struct{}{}:
		default:
		}
	})
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	d.mu.Lock()
	delete(d.failed, c.Name)
	d.lists[c.Name] = l
	d.mu.Unlock()
	go l.run(ctx)
	for i := range c.ListURLs {
		go l.fetch(ctx, &c.ListURLs[i])
	}
	log.Info(fmt.Sprintf("Jail '%s' started", c.Name))
	return l, nil
}

// protectedFrom returns whom a list may not shut out. It is other people's word, so that
// ignoreself doesn't count.
func protectedFrom(c *config.Jail) guard.Want {
	w := jail.Protected(c)
	w.Self, w.Host, w.List = true, true, true
	return w
}

// loaded waits until lists are in force, for listPatience, and returns what is wrong
// with them.
func loaded(lists []*blocklist) (wrong []string) {
	patience := time.After(listPatience)
	for _, l := range lists {
		l.lookAgain()
		select {
		case <-l.done:
		case <-patience:
			closed := make(chan time.Time)
			close(closed)
			patience = closed
			text := fmt.Sprintf("[%s] after %v %s", l.c.Name, listPatience, l.waitsFor())
			l.d.log.With("component", "jail").Warn(text)
			wrong = append(wrong, text)
			continue
		}
		l.mu.Lock()
		if l.failed != "" {
			wrong = append(wrong, fmt.Sprintf("jail %s: %s", l.c.Name, l.failed))
		}
		l.mu.Unlock()
	}
	return wrong
}

// waitsFor says what a list waits for that is not in force yet.
func (l *blocklist) waitsFor() string {
	l.mu.Lock()
	raw := l.raw
	l.mu.Unlock()
	if raw == nil {
		return "the list is not read yet; it is in force as soon as it is"
	}
	if what := l.view.Problems(); len(what) > 0 && !l.view.Ready() {
		return "the list is read, and waits for whom it may not shut out (" + what[0] + "); then it is in force"
	}
	return "the list is read, and the kernel has not taken it yet; it is in force as soon as it has"
}

func (l *blocklist) run(ctx context.Context) {
	defer l.view.Close()
	tick := time.NewTicker(listEvery)
	defer tick.Stop()
	var asked chan struct{}
	for asIs := true; ctx.Err() == nil; asIs = asked != nil {
		if l.read(asIs); l.view.Ready() {
			_ = l.load(false) // told
			l.mu.Lock()
			tried := l.raw != nil || l.failed != ""
			l.mu.Unlock()
			if tried {
				l.once.Do(func() { close(l.done) })
			}
		}
		if asked != nil {
			close(asked)
			asked = nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-l.look:
		case asked = <-l.again:
		}
	}
}

// lookAgain has files that could not be read looked at at once: somebody is about to say so.
func (l *blocklist) lookAgain() {
	l.mu.Lock()
	wrong := l.failed != ""
	l.mu.Unlock()
	if !wrong {
		return
	}
	looked := make(chan struct{})
	most := time.NewTimer(lookMost)
	defer most.Stop()
	select {
	case l.again <- looked:
	case <-most.C:
		return
	}
	select {
	case <-looked:
	case <-most.C:
	}
}

// say keeps in mind what is wrong, and tells of it once.
func (l *blocklist) say(what *string, text, remains string) {
	l.mu.Lock()
	told := *what
	text = byURL(l.c, text)
	*what = text
	l.mu.Unlock()
	if text != "" && text != told {
		l.d.log.With("component", "jail").Error(fmt.Sprintf("[%s] %s: %s", l.c.Name, text, remains))
	}
}

// read reads the files when they have changed and were left alone since; with asIs in any
// case.
func (l *blocklist) read(asIs bool) {
	lists := iplist.Files(l.c.List)
	sign := iplist.Signature(lists)
	if !l.follow.Due(sign, time.Now()) && !asIs {
		return
	}
	files := make([]source.Status, 0, len(lists))
	for _, f := range lists {
		x := source.Status{Path: byURL(l.c, f)}
		if fi, err := os.Stat(f); err != nil {
			x.Error = err.Error()
		} else {
			x.Offset = fi.Size()
		}
		files = append(files, x)
	}
	set, bad, err := iplist.ReadFiles(lists)
	if len(lists) == 0 {
		err = fmt.Errorf("no file matches %s", strings.Join(l.c.List, " "))
	}
	again := iplist.Signature(iplist.Files(l.c.List))
	l.mu.Lock()
	l.files = files
	before := l.raw
	l.mu.Unlock()
	if err != nil {
		remains := "what was read before stays in force"
		if before == nil {
			remains = "nothing is shut out; it is tried again"
		}
		l.say(&l.failed, fmt.Sprintf("list: %v", err), remains)
		return
	}
	if before != nil && !l.follow.Whole(sign, again, before.Entries, set.Entries, time.Now()) {
		return // it is being written, it seems
	}
	if sign == again && (before != nil || !asIs) {
		l.follow.Took(sign)
	}
	log := l.d.log.With("component", "jail")
	if fmt.Sprint(bad) != fmt.Sprint(l.bad) { // it is read twice at a start
		for _, b := range bad {
			log.Warn(fmt.Sprintf("[%s] %v: left out", l.c.Name, byURL(l.c, b.Error())))
		}
	}
	l.bad = bad
	l.say(&l.failed, "", "")
	l.mu.Lock()
	l.raw, l.rules, l.readAt = set, nil, time.Now()
	l.mu.Unlock()
}

// load hands the list to the kernel, if it is another one than that which is there, or
// anew says so.
func (l *blocklist) load(anew bool) error {
	l.apply.Lock()
	defer l.apply.Unlock()
	rules := l.view.Rules()
	l.mu.Lock()
	raw, before, toldOf := l.raw, l.set, l.cuts
	idle := l.ended || raw == nil || l.rules == rules && !anew
	l.mu.Unlock()
	if idle {
		return nil
	}
	begun := time.Now()
	set, cuts := rules.Cut(raw)
	would := 0
	if l.c.Observe {
		would, set = set.Len(), &iplist.Set{}
	}
	if anew || before == nil || !before.Equal(set) {
		if l.d.fw != nil {
			if err := l.d.fw.LoadIntervals(l.c.Name, intervalsOf(set)); err != nil {
				l.say(&l.refused, err.Error(), "it is tried again")
				return err
			}
		}
		loaded, ranges := "list loaded", set.Len()
		switch {
		case l.d.opts.DryRun:
			loaded = "dry run: list read, nothing is shut out"
		case l.c.Observe:
			loaded, ranges = "list read, and nothing is shut out, since it is only observed (observe = true)", would
		}
		text := fmt.Sprintf("%s: %d entries in %d files, %d ranges, in %v",
			loaded, raw.Entries, len(iplist.Files(l.c.List)), ranges, time.Since(begun).Round(time.Millisecond))
		l.d.log.With("component", "jail").Info(fmt.Sprintf("[%s] %s", l.c.Name, text))
		l.d.events.Add(&events.Event{Kind: events.List, Jail: l.c.Name, Text: text})
		l.d.changed()
		giveBack(set.Len())
	}
	l.say(&l.refused, "", "")
	l.mu.Lock()
	l.set, l.rules, l.cuts, l.would = set, rules, cuts, would
	l.mu.Unlock()
	l.d.checks.list(l.c.Name, set)
	if len(cuts) > 0 && !slices.Equal(cuts, toldOf) {
		for _, text := range leftOut(iplist.Files(l.c.List), cuts) {
			l.d.log.With("component", "jail").Warn(fmt.Sprintf("[%s] %s", l.c.Name, byURL(l.c, text)))
		}
	}
	return nil
}

// leftOut tells which entries of lists would shut out the host, and what of them is left
// out therefore.
func leftOut(files []string, cuts []guard.Cut) (out []string) {
	const each = 6 // parts of an entry
	var all []iplist.Range
	for _, c := range cuts {
		all = append(all, c.Range)
	}
	for _, e := range iplist.Find(files, iplist.New(all), cutsTold+1) {
		if len(out) == cutsTold {
			return append(out, "more entries would shut out this host: what of them would is left out, too")
		}
		var parts []string
		for _, c := range cuts {
			if c.First.Compare(e.Last) <= 0 && e.First.Compare(c.Last) <= 0 && c.First.Is4() == e.First.Is4() {
				parts = append(parts, c.String())
			}
		}
		if n := len(parts) - each; n > 0 {
			parts = append(parts[:each], fmt.Sprintf("%d more", n))
		}
		out = append(out, fmt.Sprintf("%s:%d: %q would shut out this host: left out of it: %s", e.File, e.Line, e.Text, strings.Join(parts, ", ")))
	}
	return out
}

// compare reports whether the kernel holds just the list, and how many ranges that has.
func (l *blocklist) compare() (ranges int, same bool, err error) {
	l.apply.Lock()
	defer l.apply.Unlock()
	l.mu.Lock()
	set, idle := l.set, l.ended || l.set == nil
	l.mu.Unlock()
	if idle || l.d.fw == nil {
		return 0, true, nil
	}
	defer giveBack(set.Len())
	same, err = l.d.fw.HoldsIntervals(l.c.Name, intervalsOf(set))
	return set.Len(), same, err
}

// refill puts what was read last into the kernel's sets, whatever the files say now.
func (l *blocklist) refill() error {
	l.apply.Lock()
	defer l.apply.Unlock()
	l.mu.Lock()
	set, idle := l.set, l.ended || l.set == nil
	l.mu.Unlock()
	if idle || l.d.fw == nil {
		return nil
	}
	defer giveBack(set.Len())
	return l.d.fw.LoadIntervals(l.c.Name, intervalsOf(set))
}

func intervalsOf(set *iplist.Set) iter.Seq[firewall.Interval] {
	return func(yield func(firewall.Interval) bool) {
		for r := range set.All() {
			if !yield(firewall.Interval(r)) {
				return
			}
		}
	}
}

// largeList is from how many ranges on what reading, loading or comparing a list took is
// given back to the system at once.
const largeList = 20_000

func giveBack(ranges int) {
	if ranges >= largeList {
		debug.FreeOSMemory()
	}
}

// end stops looking at the files; what the kernel holds goes only with flush. It does not
// wait for a disk: who still reads hands nothing over any more.
func (l *blocklist) end(flush bool) {
	l.stop()
	l.apply.Lock()
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.apply.Unlock()
	if flush && l.d.fw != nil {
		if err := (&kernel{l.d}).RemoveJail(l.c.Name); err != nil {
			l.d.log.With("component", "jail").Error(fmt.Sprintf("[%s] %v", l.c.Name, err))
		}
	}
}

// status is what the list tells of itself.
func (l *blocklist) status() jail.Status {
	s := jail.Status{Name: l.c.Name, List: true, BanTime: -1, Files: []source.Status{}, Bans: []jail.BanStatus{}}
	for _, e := range l.c.Faults {
		s.Problems = append(s.Problems, e.Error())
	}
	s.Problems = append(s.Problems, l.view.Problems()...)
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Files = append(s.Files, l.files...)
	s.Banned = l.set.Len()
	s.TotalBanned = s.Banned
	if s.Observe = l.c.Observe; s.Observe {
		s.WouldBan, s.TotalWouldBan = l.would, l.would
	}
	if l.raw == nil && l.failed == "" {
		s.Problems = append(s.Problems, "the list is being read")
	}
	s.Problems = append(s.Problems, l.fetchProblems()...)
	if s.Error = l.failed; l.refused != "" {
		s.Problems = append(s.Problems, l.refused)
	}
	if n := len(l.cuts); n > 0 {
		var parts []string
		for _, c := range l.cuts[:min(n, 3)] {
			parts = append(parts, c.String())
		}
		if n > 3 {
			parts = append(parts, fmt.Sprintf("%d more", n-3))
		}
		s.Problems = append(s.Problems, "left out, to shut out neither this host nor what it needs: "+strings.Join(parts, ", "))
	}
	return s
}

// reloadList brings a list in line with its configuration. It reports what it did:
// started, changed, or "", and the list, of which it may not be known yet what is wrong.
func (d *Daemon) reloadList(ctx context.Context, c *config.Jail) (did string, l *blocklist, err error) {
	running := d.listsNow()[c.Name]
	if running != nil && reflect.DeepEqual(running.c, c) {
		return "", running, nil
	}
	did = "started"
	if running != nil {
		did = "changed"
	}
	type started struct {
		l   *blocklist
		err error
	}
	got := make(chan started, 1)
	if err := d.step(ctx, c.Name, "started", func() {
		l, err := d.startList(c, running)
		got <- started{l, err}
	}); err != nil {
		return "", nil, err
	}
	s := <-got
	return did, s.l, s.err
}
