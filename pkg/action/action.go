package action

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/eventlog"
	"bailiff/pkg/tags"
)

// The life of one action, in fail2ban's order: started at once or, where it
// depends on the address's family, with the first ban of each; ban and unban;
// where a command fails, the environment is checked, repaired (by actionrepair,
// else by stopping and starting) and the command tried once more.

// Site is where an action works.
type Site struct {
	Jail string
	Log  *slog.Logger
	// Now is the time that tags tell outside of a ban, as fail2ban prints it; nil:
	// nothing is told.
	Now func() string
	// Numbers are the jail's; nil: tags tell of none.
	Numbers func() JailNumbers
	// Host finds the name of an address; nil: none has one.
	Host func(context.Context, netip.Addr) string
	// Merged is what is known of all bans of a ticket's address, of this jail or of
	// all; nil, or not ok: nothing but the ticket.
	Merged func(t *Ticket, allJails bool) (failures int, matches []string, ok bool)
	// Known fills in the lines of a ban whose own were let go, and of one of before the
	// failures, too; nil: nobody knows.
	Known func(*Ticket)
	// After is what has to end before the actions begin: those that had their work.
	After []<-chan struct{}
	// Run runs a command and reports whether it succeeded; nil: the shell does.
	Run func(ctx context.Context, c Command, timeout time.Duration) bool
	// DryRun: nothing is run and no mail is sent; what would be is told.
	DryRun bool
	// Took is told how long commands and mails take; nil: nobody is.
	Took func(time.Duration)
}

// state of a family.
type state int

const (
	started state = 1 << iota
	hasBans       // something was banned since it started or was flushed
	oneOf   state = started | hasBans
)

// Action is one action at work. It belongs to one goroutine.
type Action struct {
	def      *Definition
	site     *Site
	ctx      context.Context
	resolved map[string]*tags.Options // by family

	families []string // of states, in the order in which they came up
	states   map[string]state
	// done are the commands that were run for each kind, by family: what is the same
	// for both families is not run twice.
	done map[string]map[string]string
	// repaired counts how often the environment was found broken: bans before that
	// may be missing there.
	repaired int
	// unsound are the families whose environment could not be brought in order.
	unsound map[string]bool
	// failing is the command that failed when it was run last, and why it did.
	failing, failingWhy string
	why                 string // the same of whatever command ran last
	counts              counts
}

// New returns an action that has not started.
func New(ctx context.Context, def *Definition, site *Site) *Action {
	return &Action{def: def, site: site, ctx: ctx, resolved: map[string]*tags.Options{}, states: map[string]state{}, done: map[string]map[string]string{}, unsound: map[string]bool{}}
}

func (a *Action) log(level slog.Level, format string, args ...any) {
	a.site.Log.With("component", "actions").Log(context.Background(), level, fmt.Sprintf(format, args...))
}

// wouldDo tells what is left undone in a dry run.
func (a *Action) wouldDo(format string, args ...any) {
	a.log(eventlog.LevelNotice, "[%s] %s: dry run: would %s", a.site.Jail, a.def.Name, fmt.Sprintf(format, args...))
}

// fault tells of an environment that is not in order.
func (a *Action) fault(level slog.Level, text string) {
	a.site.Log.With("component", "action").Log(context.Background(), level, text)
}

func (a *Action) setState(family string, s state) {
	if !slices.Contains(a.families, family) {
		a.families = append(a.families, family)
	}
	a.states[family] = s
}

// in returns the families whose state has all of s.
func (a *Action) in(s state) []string {
	var out []string
	for _, f := range a.families {
		if a.states[f]&s == s {
			out = append(out, f)
		}
	}
	return out
}

// text returns a command with its parameters filled in.
func (a *Action) text(name, family string) (string, error) {
	all, ok := a.resolved[family]
	if !ok {
		var err error
		if all, err = a.def.Resolve(family); err != nil {
			return "", err
		}
		a.resolved[family] = all
	}
	return all.Values[name], nil
}

// command is one that is of no ban: the family is all that is filled in.
func (a *Action) command(name, family string) (Command, error) {
	text, err := a.text(name, family)
	if err != nil {
		return Command{}, err
	}
	return Fill(text, func(tag string) (string, bool) { return family, tag == "family" && family != "" }, nil), nil
}

// changed has the commands filled in anew.
func (a *Action) changed() {
	a.resolved, a.done = map[string]*tags.Options{}, map[string]map[string]string{}
}

func (a *Action) timeout() time.Duration {
	return cmp.Or(a.def.Timeout, DefaultTimeout)
}

// FailedError says that one of an action's commands failed.
type FailedError struct{ Doing, Jail, Action, Why string }

func (e *FailedError) Error() string {
	return fmt.Sprintf("Error %s action Jail('%s')/%s: '%s'", e.Doing, e.Jail, e.Action, e.Why)
}

// operate runs a command that is of no ban (actionstart and its like) for some
// families; nil: for all that have started. after is told how it went.
func (a *Action) operate(name, doing string, families []string, after func(family string, ok bool)) error {
	if len(families) == 0 {
		families = a.in(started)
	}
	failed, why := false, "Script error"
	for _, family := range families {
		c, err := a.command(name, family)
		if err != nil {
			failed, why = true, err.Error()
			continue
		}
		text := c.Text
		ok := true
		if text != "" && !a.ranFor(name, text, family) {
			if a.site.Now != nil {
				t := &Ticket{Time: a.site.Now(), site: a.site}
				c = Fill(c.template, func(tag string) (string, bool) {
					if tag == "family" {
						return family, true
					}
					return t.Tag(tag)
				}, t.Group)
			}
			ok = a.run(c)
			failed = failed || !ok
			a.failure(name, ok, true)
		}
		if after != nil {
			after(family, ok)
		}
		a.noteRun(name, family, text, ok)
	}
	if failed {
		return &FailedError{doing, a.site.Jail, a.def.Name, why}
	}
	return nil
}

// ranFor reports whether the same command was run for another family.
func (a *Action) ranFor(name, text, family string) bool {
	for f, t := range a.done[name] {
		if f != family && t == text {
			return true
		}
	}
	return false
}

// noteRun remembers that a command was run for a family, or, where it was not,
// that it has to be for all for which it is the same.
func (a *Action) noteRun(name, family, text string, ok bool) {
	if ok && text != "" {
		if a.done[name] == nil {
			a.done[name] = map[string]string{}
		}
		a.done[name][family] = text
		return
	}
	a.forget(name, family)
}

func (a *Action) forget(name, family string) {
	was, ok := a.done[name][family]
	if !ok {
		return
	}
	for f, t := range a.done[name] {
		if t == was {
			delete(a.done[name], f)
		}
	}
}

// Start starts the action, unless it does with its first ban.
func (a *Action) Start() error {
	if a.def.Mail != nil {
		return a.mail(a.def.Mail.started(a.site))
	}
	if a.def.onDemand() {
		return nil
	}
	return a.start(a.def.families())
}

func (a *Action) start(families []string) error {
	return a.operate("actionstart", "starting", families, func(family string, ok bool) {
		if ok {
			a.forget("actionstop", family)
			a.setState(family, started)
		}
	})
}

// Ban bans; again says that it was banned before, and may be missing now.
func (a *Action) Ban(t *Ticket, again bool) error {
	if a.def.Mail != nil {
		if t.Restored || again {
			return nil
		}
		return a.mail(a.def.Mail.banned(a.site, t))
	}
	family := t.family()
	if a.def.onDemand() && a.states[family] == 0 {
		if err := a.start([]string{family}); err != nil {
			return err
		}
	}
	command := "actionban"
	if again && a.def.get("actionreban") != "" {
		command = "actionreban"
	}
	if !a.process(command, t) {
		return fmt.Errorf("Error banning %s", t.ID)
	}
	a.setState(family, a.states[family]|oneOf)
	delete(a.done, "actionflush") // one that was run for another family lifted this ban not
	return nil
}

// Unban lifts a ban.
func (a *Action) Unban(t *Ticket) error {
	if a.states[t.family()]&hasBans == 0 {
		return nil
	}
	if !a.process("actionunban", t) {
		return fmt.Errorf("Error unbanning %s", t.ID)
	}
	return nil
}

// Prolong tells of a ban that ends later than it did.
func (a *Action) Prolong(t *Ticket) error {
	if strings.TrimSpace(a.def.get("actionprolong")) == "" {
		return nil
	}
	if !a.process("actionprolong", t) {
		return fmt.Errorf("Error prolonging %s", t.ID)
	}
	return nil
}

// flush lifts all bans at once. It reports whether that is done: false if each has
// to be lifted by itself.
func (a *Action) flush(stopping bool) (done bool) {
	if a.def.get("actionflush") == "" {
		return false
	}
	a.site.Log.With("component", "actions").Log(context.Background(), slog.Level(2), fmt.Sprintf("[%s] Flush ticket(s) with %s", a.site.Jail, a.def.Name))
	families := a.in(oneOf)
	if len(families) == 0 {
		return true
	}
	err := a.operate("actionflush", "flushing", families, func(family string, ok bool) {
		if ok && a.states[family] != 0 {
			a.states[family] &^= hasBans
		}
	})
	if err == nil {
		return true
	}
	if a.ctx.Err() != nil {
		return false // the time for it was over
	}
	a.log(slog.LevelError, "Failed to flush bans in jail '%s' action '%s': %v", a.site.Jail, a.def.Name, err)
	a.log(slog.LevelInfo, "No flush occurred, do consistency check")
	a.Check(func() bool {
		if stopping && a.def.get("actionrepair_on_unban") == "" {
			a.fault(slog.LevelError, "Invariant check failed. Flush is impossible.")
			return false
		}
		return true
	})
	return true // each by itself would fail, too
}

// Stop ends the action.
func (a *Action) Stop() error {
	if a.def.Mail != nil {
		return a.mail(a.def.Mail.stopped(a.site))
	}
	families := a.in(started)
	if len(families) == 0 {
		return nil
	}
	a.families, a.states, a.unsound = nil, map[string]state{}, map[string]bool{}
	return a.stop(families)
}

func (a *Action) stop(families []string) error {
	return a.operate("actionstop", "stopping", families, func(family string, ok bool) {
		if ok {
			a.forget("actionstart", family)
		}
	})
}

// Reload tells the action that the configuration was read anew.
func (a *Action) Reload() error {
	if a.def.Mail != nil {
		return nil
	}
	return a.operate("actionreload", "reloading", nil, nil)
}

// Check checks the environment of each family that has started and repairs it.
// mayRepair, if not nil, is asked before.
func (a *Action) Check(mayRepair func() bool) {
	if a.def.Mail != nil || a.def.get("actioncheck") == "" {
		return
	}
	for _, family := range slices.Clone(a.families) {
		if a.states[family] != 0 && a.sane(family, mayRepair, true) == broken {
			a.states[family] = 0
			a.forget("actionstart", family)
		}
	}
}

// CheckAll is Check, and starts anew what could not be brought in order before.
func (a *Action) CheckAll() {
	if a.def.Mail != nil || a.def.get("actioncheck") == "" {
		return
	}
	for _, family := range slices.Clone(a.families) {
		if a.states[family] != 0 {
			continue
		}
		if err := a.start([]string{family}); err != nil {
			a.log(slog.LevelError, "%v", err)
			continue
		}
		a.repaired++
	}
	a.Check(nil)
}

type sanity int

const (
	broken sanity = iota
	sane
	leftBroken // nobody wanted it repaired
)

func (a *Action) sane(family string, mayRepair func() bool, forceStart bool) sanity {
	if !forceStart && family != "" && !slices.Contains(a.families, family) {
		return sane
	}
	operation := func(name string) Command {
		c, _ := a.command(name, family) // who starts it tells the error
		return c
	}
	check := operation("actioncheck")
	if check.Text == "" || a.run(check) {
		a.sound(family)
		return sane
	}
	if a.ctx.Err() != nil {
		return leftBroken // it was ended, and says nothing
	}
	if mayRepair != nil && !mayRepair() {
		return leftBroken
	}
	a.fault(slog.LevelError, "Invariant check failed. Trying to restore a sane environment")
	a.repaired++
	if repair := operation("actionrepair"); repair.Text != "" {
		if !a.run(repair) {
			a.setState(family, 0)
			a.fault(slog.Level(12), "Unable to restore environment")
			a.unsound[family] = true
			return broken
		}
		a.setState(family, started)
	} else {
		a.restart(family, forceStart || !a.def.onDemand())
	}
	if a.states[family] != 0 && !a.run(check) {
		a.fault(slog.Level(12), "Unable to restore environment")
		a.unsound[family] = true
		return broken
	}
	a.sound(family)
	return sane
}

// sound notes that a family's environment was looked at and is in order. It is that of
// the families, too, which begin and are checked by the same commands.
func (a *Action) sound(family string) {
	delete(a.unsound, family)
	for f := range a.unsound {
		if a.states[family] != 0 && a.sameText("actionstart", f, family) && a.sameText("actioncheck", f, family) {
			delete(a.unsound, f)
			a.setState(f, started)
			if a.done["actionstart"] != nil {
				a.done["actionstart"][f] = a.done["actionstart"][family]
			}
		}
	}
}

// sameText reports whether a command is the same one for two families.
func (a *Action) sameText(name, family, other string) bool {
	filled := func(family string) (string, bool) {
		text, err := a.text(name, family)
		if err == nil && family != "" {
			text = Fill(text, func(tag string) (string, bool) { return family, tag == "family" }, nil).Text
		}
		return text, err == nil
	}
	one, ok := filled(family)
	two, ok2 := filled(other)
	return ok && ok2 && one == two
}

// restart stops what has started for a family, and starts it again: with all
// families for which that is the same command. fail2ban takes such a command for
// run already, and does not start.
func (a *Action) restart(family string, start bool) {
	if _, err := a.text("actionstart", family); err != nil {
		return // told before
	}
	same := []string{family}
	for _, f := range a.families {
		if f != family && a.states[f] != 0 && a.sameText("actionstart", f, family) {
			same = append(same, f)
		}
	}
	for _, f := range same {
		delete(a.done["actionstart"], f)
		delete(a.done["actionstop"], f)
	}
	if slices.ContainsFunc(same, func(f string) bool { return a.states[f] != 0 }) {
		_ = a.stop([]string{family}) // what is not there can't be stopped; the start tells
	}
	for _, f := range same {
		a.setState(f, 0)
	}
	if !start {
		return
	}
	if err := a.start([]string{family}); err != nil {
		a.log(slog.LevelError, "%v", err)
		return
	}
	for _, f := range same {
		a.setState(f, started)
	}
}

// process runs a command of a ban, and once more after a repair.
func (a *Action) process(name string, t *Ticket) bool {
	family := t.family()
	of := *t
	of.site, of.ctx = a.site, a.ctx
	for try := 0; ; try++ {
		if try > 0 && a.def.get("actioncheck") != "" {
			s := a.sane(family, func() bool {
				if name == "actionunban" && a.def.get("actionrepair_on_unban") == "" {
					a.fault(slog.LevelError, "Invariant check failed. Unban is impossible.")
					return false
				}
				return true
			}, name != "actionunban")
			if s != sane {
				return false
			}
		}
		text, err := a.text(name, family)
		if err != nil {
			a.log(slog.LevelError, "%v", err)
			return false
		}
		ok := a.run(Fill(text, of.Tag, of.Group))
		a.failure(name, ok, text != "")
		if ok || try > 0 || a.ctx.Err() != nil {
			return ok
		}
	}
}
