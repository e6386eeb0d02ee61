package jail

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/fair"
	"bailiff/pkg/resolve"
	"bailiff/pkg/store"
)

// How a jail starts, and how it takes the place of another one. All that can go wrong is
// tried first (Prepare), while that one is still at work; what comes then can't fail, so
// that there is nothing to be undone.

// Prepared is a jail that could start: its settings are compiled, its sets and rules made.
type Prepared struct {
	j      *Jail
	kernel Firewall // where the jail's bans would be in sets
}

// Prepare gets a jail ready. What runs under its name goes on undisturbed, and so it does
// if there is an error: then nothing was changed.
func Prepare(c *config.Jail, deps Deps) (*Prepared, error) {
	f, err := compileShared(c, &deps)
	if err != nil {
		return nil, err
	}
	j := &Jail{
		Configured: c, Config: c, deps: deps, filter: f,
		window: ban.NewWindow(c.MaxRetry, c.FindTime, 0),
		bans:   ban.NewList(),
		log:    deps.Log.With("component", "filter"),
	}
	j.endGrace, j.counters = expireGrace, &counters{}
	j.inbox, j.begin, j.begun, j.done = &inbox{}, make(chan struct{}), !c.Held, make(chan struct{})
	j.hits.begin(f)
	if j.deps.Often == nil {
		j.deps.Often = eventlog.NewOften(deps.Log)
	}
	j.often = newOften(j.deps.Often, c.Name)
	j.share = deps.Events.Share(c.Name)
	if c.Networks.Aggregate > 0 {
		j.bans.Group(config.AggregateBits4, config.AggregateBits6)
	}
	j.counts(c)
	if c.Increase != nil {
		if j.growth, err = c.Increase.Compile(); err != nil {
			return nil, err
		}
		j.history = map[ban.ID]past{}
	}
	kernel := deps.Firewall
	if c.Unenforced {
		j.deps.Firewall = NoFirewall{}
	}
	if err := j.deps.Firewall.AddJail(c.Rule); err != nil {
		return nil, err
	}
	return &Prepared{j, kernel}, nil
}

// Start is Prepare, and then Start.
func Start(c *config.Jail, deps Deps, before Carry) (*Jail, error) {
	p, err := Prepare(c, deps)
	if err != nil {
		return nil, err
	}
	return p.Start(before), nil
}

// Start begins to read. before is what the same jail left before a reload; the kernel's
// bans are kept anyway.
func (p *Prepared) Start(before Carry) *Jail {
	j := p.j
	c := j.Configured
	if j.deps.Names == nil {
		j.deps.Names = resolve.New(j.deps.Lookup, nil)
	}
	j.prepareKeeping()
	if before.left != nil && !before.again {
		j.hadLogs = map[string]bool{}
		for _, p := range before.left.logs {
			j.hadLogs[p.Path] = true
		}
	}
	j.ctx, j.stop = context.WithCancel(context.Background())
	untold := before.left != nil && before.Actions.Empty() // all that is banned
	j.startActions(before.Actions)
	if before.left != nil {
		j.inherit(before.left)
	}
	j.protect() // before bans are taken over: who is ignored now is not
	state := j.takeOver(before)
	if untold && !before.left.Configured.Observe {
		j.tellOfBans(before.again)
	}
	if before.left == nil || before.left.Configured.Observe == c.Observe {
		j.bans.Carry(before.Banned) // who would have been banned was not
	}
	if k := c.IgnoreCache; k != nil {
		j.checks.answers = &cache{most: k.Max, ttl: k.MaxAge}
	}
	switch {
	case j.deps.Source != nil:
		j.source = j.deps.Source(c, j.filter)
	case c.Journal != nil:
		j.source = j.journal(state.Logs)
	case c.Containers != nil:
		j.source = j.containers(state.Logs)
	case c.Syslog != nil && j.deps.Syslog != nil:
		j.source = j.syslog()
	default:
		j.source = j.files(state.Logs)
	}
	if j.begun {
		close(j.begin)
	}
	j.step.offset = j.deps.Clock.Offset()
	j.slept, j.year = j.deps.Clock.Suspended(), j.deps.Clock.Wall().Year()
	if before.left != nil && !before.again {
		j.told = tickets{have: j.bans.Len(), total: j.bans.Total()}
	}
	if before.left != nil && before.left.Configured.Observe && !c.Observe {
		j.becomeReal()
	}
	j.publish()
	if old := before.left; old != nil && c.Unenforced && !old.Configured.Unenforced {
		j.unenforce(old.deps.Firewall)
	}
	if before.left == nil && !j.deps.DryRun {
		switch { // what a daemon that was killed left where it had the bans then
		case c.Moved(), c.Observe:
			go j.unenforce(p.kernel)
		case c.Translated:
			go func() {
				_, _ = p.kernel.Elements(c.Name) // once the sets have them
				for _, d := range c.Native {
					action.ClearLeft(j.ctx, d, j.site, "its bans are in nftables' sets")
				}
			}()
		}
	}
	go j.run(j.ctx)
	if !c.Unenforced && !j.deps.DryRun {
		go j.reconcile(j.ctx)
	}
	return j
}

// tellOfBans tells actions of the bans in force: the jail before this one had none, or
// they were started again.
func (j *Jail) tellOfBans(again bool) {
	for b := range j.bans.Each() {
		if again {
			j.notice("Restore Ban %s", b.Told())
		}
		if t := j.restoredTicket(b); t != nil {
			t.Restored = true // whoever tells people of bans told them, or was not asked to
			j.actions.Ban(t)
		}
	}
}

// handOverMost is how long a jail's sets wait for the actions that ban in their place.
const handOverMost = 2 * time.Second

// unenforce takes the sets that had the jail's bans before out of the kernel, once the
// actions that take their place had time to ban.
func (j *Jail) unenforce(kernel Firewall) {
	ctx, cancel := context.WithTimeout(context.Background(), handOverMost)
	defer cancel()
	j.actions.Sync(ctx)
	if err := kernel.RemoveJail(j.Config.Name); err != nil {
		j.deps.Log.With("component", "actions").Error(fmt.Sprintf("[%s] %v", j.Config.Name, err))
	}
}

// takeOver puts what is known on the list and into the window: bans of the store
// or, at a reload, those that the jail had before it, and no others: what it lifted may
// still stand elsewhere. Without a store, what the kernel holds is all that is known at a
// start. The kernel gets the store's bans while the next ones are read: there may be a million,
// of which nothing here holds all once more.
func (j *Jail) takeOver(before Carry) store.State {
	known, told := takenOver{}, restored{}
	if before.left != nil {
		for piece := range slices.Chunk(before.Bans, slice) {
			j.takeBans(before.left, piece, &known)
		}
	}
	state := j.load(before.left, func(some []ban.Ban) { j.takeBans(before.left, some, &known) })
	var adopted []ban.Ban
	if before.left == nil && (j.deps.Store == nil || state.New) { // what the kernel holds is all that is known
		adopted = j.adoptAll()
	}
	for _, b := range known.ended {
		j.notice("Unban %s", b.Told())
		j.unbanEvent(b, whyShorter, "")
	}
	turn := fair.Turn{Behind: true}
	tell := func(b ban.Ban) { // only now: the kernel comes first
		j.notice("Restore Ban %s", b.Told())
		told.ban(j, b)
		if t := j.restoredTicket(b); t != nil {
			j.actions.Ban(t)
		}
		turn.Step()
	}
	if before.left == nil {
		for _, b := range known.ended {
			j.notice("Restore Ban %s", b.Told())
		}
		for b := range j.bans.Before(known.mark) {
			tell(b)
		}
	}
	for _, b := range adopted {
		tell(b)
	}
	j.retain()
	slices.SortFunc(state.Failures, func(a, b store.Failures) int { return a.Times[len(a.Times)-1].Compare(b.Times[len(b.Times)-1]) })
	now := j.deps.Clock.Now()
	for _, f := range state.Failures {
		if now.Sub(f.Times[len(f.Times)-1]) <= j.Config.FindTime {
			j.window.Restore(f.ID, f.Times)
			told.failures++
		} else {
			j.failuresChanged(f.ID) // over: it need not be kept
		}
	}
	j.restoreMarked(state.Marked)
	if before.left == nil {
		told.tell(j)
	}
	return state
}

// takenOver is what came of bans that were taken over, beside those on the list.
type takenOver struct {
	ended []ban.Ban // since bantime is shorter now
	mark  uint64    // of the list, behind the last one
	late  bool      // the kernel did not get on
}

// takeBans puts some bans on the list, and has the kernel take them, while the next ones are
// looked at.
func (j *Jail) takeBans(before *Jail, some []ban.Ban, known *takenOver) {
	now := j.deps.Clock.Now() // what is left of them counts from when they are asked for
	changes := make([]change, 0, len(some))
	for _, b := range some {
		if reason := j.whyBan(b).Text; reason != "" && !b.Forced {
			j.log.Info(fmt.Sprintf("[%s] Ignore %s by %s: its ban is lifted", j.Config.Name, b.Told(), reason))
			j.lifted(b)
			j.unbanEvent(b, whyNever(reason), "")
			changes = append(changes, change{ID: b.ID, IP: b.IP, Remove: true})
			continue
		}
		if j.letsGo(before) {
			j.letGo(b, now)
		}
		was := b.End
		b = corrected(j.Config, b)
		shorter := !b.End.Equal(was)
		if shorter {
			j.event(store.Event{Ban: b, Moved: true})
			j.changed()
		}
		switch {
		case b.Permanent() || b.End.After(now):
			j.bans.Add(b)
			changes = append(changes, change{ID: b.ID, IP: b.IP, Left: b.Left(now), Replace: shorter})
		case shorter: // the kernel would hold it for as long as bantime was
			changes = append(changes, change{ID: b.ID, IP: b.IP, Remove: true})
			known.ended = append(known.ended, b)
		}
	}
	known.mark = j.bans.Mark()
	j.enforced(changes...)
	if fw, ok := j.deps.Firewall.(interface {
		Under(jail string, most int, while time.Duration)
	}); ok && !known.late {
		was := time.Now()
		fw.Under(j.Config.Name, aheadMost, aheadFor)
		known.late = time.Since(was) >= aheadFor // it may hang: then nobody waits for it
	}
	fair.GiveWay()
}

// aheadMost is how many changes of bans that are taken over wait for the kernel, and aheadFor how
// long a transaction of it is waited for.
const (
	aheadMost = 2 * perTakeOver
	aheadFor  = time.Second
	// perTakeOver is about what the kernel gets in one transaction.
	perTakeOver = 20_000
)

// adoptAll takes over what the kernel holds and nobody else knows of.
func (j *Jail) adoptAll() (adopted []ban.Ban) {
	held, err := j.deps.Firewall.Elements(j.Config.Name)
	if err != nil { // it is compared once more, and then adopted
		j.deps.Log.With("component", "actions").Error(fmt.Sprintf("[%s] what the kernel holds is not known yet: %v", j.Config.Name, err))
	}
	now := j.deps.Clock.Now()
	var changes []change
	for _, e := range held {
		if _, ok := j.bans.Get(ban.Of(e.ID)); ok {
			continue
		}
		// Of what has a timeout, the kernel is our only memory.
		if reason := j.unwanted(e, e.Left == 0); reason != "" {
			j.tookOut(ban.Of(e.ID), reason)
			changes = append(changes, change{ID: ban.Of(e.ID), Remove: true})
			continue
		}
		b := j.adopt(e, now)
		if b.Permanent() != (e.Left == 0) {
			changes = append(changes, change{ID: ban.Of(e.ID), Left: b.Left(now), Replace: true})
		}
		adopted = append(adopted, b)
	}
	j.enforced(changes...)
	return adopted
}
