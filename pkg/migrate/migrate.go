// Package migrate changes over from fail2ban to bailiff, and back, while bans stay in
// force.
//
// fail2ban's stop removes every set, chain and rule of its names, whoever made them, and
// ours have the same names. So all bans are put into a table of another name first, the
// shield; then the one server ends and the other one starts, and only when that one holds
// every ban, in its list and in the kernel, the shield goes. Whatever goes wrong on the way
// leads back: the server that was there is started again as it was, it is given its bans,
// and the shield goes when it has them.
//
//	m := &migrate.Migration{Dir: "/etc/fail2ban", Ours: start}
//	if err := m.Plan(ctx); err != nil {
//		… nothing was changed
//	}
//	err := m.Run(ctx)
package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
	"bailiff/pkg/store"
)

// Outcomes of a change over.
const (
	Planned   = "planned"   // it was not begun
	Done      = "done"      // the other server has taken over
	PutBack   = "put back"  // it failed, and all is as before
	Unchanged = "unchanged" // it failed before anything was stopped
	Stuck     = "stuck"     // it failed, and so did the way back: the shield is in force still
)

// Migration is one change over.
type Migration struct {
	Dir    string         // fail2ban's configuration
	Config *config.Config // of it
	Socket string         // where the server that is there answers
	Back   bool           // from ours to fail2ban
	// Choose says of which kind the server is that takes over from this one.
	Choose func(from *Server) (Target, error)
	// Patience is how long nothing may come nearer to the end; 0: a minute.
	Patience time.Duration
	Tell     func(text string)                       // of what is done
	Progress func(what string, done int, of int)     // while it takes its time
	Trial    func(ctx context.Context) (wrong error) // tries whether To could start; nil: it isn't tried

	From    *Server
	To      Target
	Report  Report
	running []string // jails of From
	jails   []*config.Jail
	byName  map[string]*config.Jail
	names   map[string][]string // under which a jail's bans stand in the kernel
	tables  []string
	all     held // bans to be taken over
	shown   map[string]bool
	shield  *shield
	idled   bool // jails of From were told to make no bans
	entered bool // To was started
	begun   time.Time
}

// Target is a server that is not there yet.
type Target struct {
	Ours   bool
	Socket string
	// Prepare is done while the other server runs still; Undo takes it back if nothing comes of
	// it. nil: there is nothing to do.
	Prepare, Undo func(ctx context.Context) error
	Start         func(ctx context.Context) error // returns when it was started
	By            string                          // how, for the plan
	Unit          string                          // of systemd's
	// Config is what it has: jails and where their rules are.
	Config *config.Config
	// Database is where it finds bans at its start; empty: nowhere.
	Database string
	// After is done once it has taken over, as that it is started at the next boot.
	After func(ctx context.Context) error
}

// Jail is what there is of a jail before the change over.
type Jail struct {
	Name string `json:"name"`
	Bans int    `json:"bans"`
	// Kernel is how many of them the kernel is seen to hold; Unseen: its actions leave
	// nothing that is known how to read.
	Kernel int  `json:"kernel"`
	Unseen bool `json:"unseen,omitempty"`
}

// Refusal is a ban that is not taken over, and why.
type Refusal struct {
	Jail string `json:"jail"`
	IP   string `json:"ip"`
	Why  string `json:"why"`
}

// Report is what a change over tells.
type Report struct {
	From       string    `json:"from"`
	To         string    `json:"to"`
	Config     string    `json:"config"`
	Jails      []Jail    `json:"jails"`
	Bans       int       `json:"bans"`
	Different  []string  `json:"different"` // what will be otherwise
	Plan       []string  `json:"plan"`
	Refused    []Refusal `json:"refused"`
	Warnings   []string  `json:"warnings,omitempty"`
	Outcome    string    `json:"outcome"`
	Error      string    `json:"error,omitempty"`
	Seconds    float64   `json:"seconds"`
	RemoveWith string    `json:"remove_with,omitempty"` // takes the shield away, where it was left
}

func (m *Migration) say(format string, args ...any) {
	if m.Tell != nil {
		m.Tell(fmt.Sprintf(format, args...))
	}
}

func (m *Migration) progress(what string, done, of int) {
	if m.Progress != nil {
		m.Progress(what, done, of)
	}
}

func (m *Migration) patience() time.Duration {
	if m.Patience > 0 {
		return m.Patience
	}
	return time.Minute
}

// Plan looks at what is there, and changes nothing. The error says why it can't be done.
func (m *Migration) Plan(ctx context.Context) error {
	m.Report = Report{Config: m.Dir, Outcome: Planned, Jails: []Jail{}, Different: []string{}, Plan: []string{}, Refused: []Refusal{}}
	if err := firewall.Available(); err != nil {
		return err
	}
	var err error
	if m.From, err = find(m.Socket); err != nil {
		var none *notThere
		if errors.As(err, &none) {
			return fmt.Errorf("%w: is %s running? --socket names another one", err, nameOf(m.Back))
		}
		return err
	}
	if m.From.Ours != m.Back {
		return fmt.Errorf("at %s it is %s that answers already (process %d)", m.Socket, m.From.name(), m.From.PID)
	}
	if m.To, err = m.Choose(m.From); err != nil {
		return err
	}
	// One of them is started: the other one, or this one again.
	if err := errors.Join(masked(m.To.Unit), masked(m.From.Unit)); err != nil {
		return err
	}
	m.Report.From, m.Report.To = m.From.name()+" "+m.From.Version, nameOf(m.To.Ours)
	if m.running, err = m.From.jails(); err != nil {
		return err
	}
	m.byName, m.names = map[string]*config.Jail{}, map[string][]string{}
	for _, cfg := range []*config.Config{m.Config, m.To.Config} {
		if t := cmp.Or(cfg.Firewall.Table, "f2b-table"); !slices.Contains(m.tables, t) {
			m.tables = append(m.tables, t)
		}
		for _, j := range cfg.Jails {
			if len(j.List) > 0 {
				continue
			}
			m.jails = append(m.jails, j)
			if m.byName[j.Name] == nil {
				m.byName[j.Name] = j
			}
			m.names[j.Name] = append(m.names[j.Name], namesOf(j)...)
		}
	}
	if m.all, err = m.gather(ctx); err != nil {
		return err
	}
	m.Report.Bans = m.all.count()
	return m.check(ctx)
}

// check says what stands against it.
func (m *Migration) check(ctx context.Context) error {
	kernel, err := m.look(ctx)
	if err != nil {
		return err
	}
	lacking := kernel.without(m.all, m.names)
	m.shown = map[string]bool{}
	var wrong []string
	there := map[string]bool{}
	for _, j := range m.To.Config.Jails {
		if (j.Broken() == nil || !m.To.Ours) && len(j.List) == 0 {
			there[j.Name] = true
		}
	}
	for _, name := range m.running {
		bans := len(m.all[name])
		lacks, all := len(lacking[name]), elements(m.all[name])
		unseen := all > 0 && lacks == all
		m.shown[name] = !unseen
		m.Report.Jails = append(m.Report.Jails, Jail{Name: name, Bans: bans, Kernel: all - lacks, Unseen: unseen})
		j := m.byName[name]
		switch {
		case j == nil && bans > 0:
			wrong = append(wrong, fmt.Sprintf("jail %s, which runs with %d bans, is in no configuration: add it to it, or lift its bans", name, bans))
		case m.To.Ours && j != nil && j.Broken() != nil:
			wrong = append(wrong, fmt.Sprintf("jail %s can't start: %v", name, j.Broken()))
		case !there[name] && bans > 0:
			wrong = append(wrong, fmt.Sprintf("jail %s, which runs with %d bans, is not in the configuration of %s, so nobody could take them over: add it there, or lift its bans", name, bans, nameOf(m.To.Ours)))
		case !there[name]:
			m.Report.Different = append(m.Report.Different, fmt.Sprintf("jail %s runs without bans and is not in the configuration: it ends", name))
		case unseen:
			text := fmt.Sprintf("[%s] its %d bans are in no set or chain that is known how to read, so only its list is compared", name, bans)
			if j != nil && !shielded(j) {
				text += fmt.Sprintf("; nor is it known what its actions shut them out of, so nothing holds them between the stop of %s and the start of %s", m.From.name(), nameOf(m.To.Ours))
			}
			m.Report.Different = append(m.Report.Different, text)
		}
	}
	for _, j := range m.To.Config.Jails {
		if j.Broken() == nil && !slices.Contains(m.running, j.Name) && len(j.List) == 0 {
			m.Report.Different = append(m.Report.Different, fmt.Sprintf("jail %s is in the configuration and did not run: it starts", j.Name))
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	m.Report.Plan = []string{
		fmt.Sprintf("put all bans into nftables' table inet %s, beside those of %s, and read them back", Table, m.From.name()),
		fmt.Sprintf("stop %s (%s)", m.From.name(), m.stopBy()),
		fmt.Sprintf("start %s (%s)", nameOf(m.To.Ours), m.To.By),
		fmt.Sprintf("wait until it has every ban, in its lists and in the kernel; remove table inet %s", Table),
		fmt.Sprintf("if anything is missing: stop it, start %s again (%s) with its bans", m.From.name(), m.From.startedBy()),
	}
	return nil
}

func (m *Migration) stopBy() string {
	if m.From.Unit != "" {
		return "systemctl stop " + m.From.Unit
	}
	return fmt.Sprintf("process %d, by its socket", m.From.PID)
}

func elements(bans map[ban.ID]ban.Ban) (n int) {
	for _, b := range bans {
		if element(b).IsValid() {
			n++
		}
	}
	return n
}

func nameOf(ours bool) string {
	if ours {
		return "bailiff"
	}
	return "fail2ban"
}

func (m *Migration) look(ctx context.Context) (inKernel, error) { return look(ctx, m.tables, m.jails) }

// gather collects every ban that the server that is there has: in its lists, its database,
// and in the kernel.
func (m *Migration) gather(ctx context.Context) (held, error) {
	all, err := m.From.bans(m.running)
	if err != nil {
		return nil, err
	}
	if err := m.beside(ctx, all, true); err != nil {
		return nil, err
	}
	all.drop(time.Now())
	return all, nil
}

// beside adds the bans of the database and of the kernel.
func (m *Migration) beside(ctx context.Context, all held, kernel bool) error {
	if path := m.Config.Database.Path; path != "" && path != ":memory:" {
		in, notes, err := inDatabase(ctx, path, m.running)
		if err != nil {
			return err
		}
		for _, n := range notes {
			m.note(n)
		}
		all.addAll(in)
	}
	if !kernel {
		return nil
	}
	k, err := m.look(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	for name, strays := range k.strays(all, m.names) {
		if !slices.Contains(m.running, name) {
			continue
		}
		for _, p := range strays { // somebody's own: it ends as if it had been made now
			b := ban.Ban{ID: ban.Of(p), Start: now.Truncate(time.Second)}
			if lasts := m.byName[name].BanTime; lasts >= 0 {
				b.End = b.Start.Add(lasts)
			}
			all.add(name, b)
		}
	}
	return nil
}

func (m *Migration) note(text string) {
	if !slices.Contains(m.Report.Different, text) {
		m.Report.Different = append(m.Report.Different, text)
	}
}

// Run changes over. Report.Outcome says what came of it; the error is why it was not done.
func (m *Migration) Run(ctx context.Context) (err error) {
	m.begun = time.Now()
	stopped, err := m.over(ctx)
	switch {
	case err == nil:
		m.Report.Outcome = Done
	case !stopped:
		m.Report.Outcome = Unchanged
		err = errors.Join(err, m.resume(), m.undo(context.WithoutCancel(ctx)))
	default:
		m.say("%v", err)
		// Who has asked to break it off has asked for the way back, too.
		way := context.WithoutCancel(ctx)
		back := m.back(way)
		if e := m.undo(way); back == nil && e != nil {
			m.Report.Warnings = append(m.Report.Warnings, e.Error())
		}
		m.Report.Outcome = PutBack
		if back != nil {
			m.Report.Outcome, m.Report.RemoveWith = Stuck, "nft delete table inet "+Table
			err = errors.Join(err, fmt.Errorf("%s could not be put back: %w", m.From.name(), back))
		}
	}
	if err != nil {
		m.Report.Error = err.Error()
	}
	m.Report.Seconds = time.Since(m.begun).Seconds()
	return err
}

// over is the way there. stopped: the server that was there is not any more, or may not be.
func (m *Migration) over(ctx context.Context) (stopped bool, err error) {
	if m.Trial != nil {
		m.say("trying whether %s starts, beside %s", nameOf(m.To.Ours), m.From.name())
		if err := m.Trial(ctx); err != nil {
			return false, err
		}
	}
	if m.To.Prepare != nil {
		if err := m.To.Prepare(ctx); err != nil {
			return false, err
		}
	}
	if m.shield, err = raise(m.Config, m.wanted()); err != nil {
		return false, err
	}
	if err := m.same(); err != nil {
		return false, err
	}
	if err := m.cover(ctx); err != nil {
		return false, err
	}
	if names, n := m.shield.uncovered(m.all); n == 0 {
		m.say("all bans, %d, are in table inet %s, too", m.all.count(), Table)
	} else {
		m.say("%d of %d bans are in table inet %s, too; not those of %s: it is not known what their actions shut out of", m.all.count()-n, m.all.count(), Table, strings.Join(names, ", "))
	}
	// No new ban is made from here on; lines of logs are read by who comes.
	if err := m.idle("on"); err != nil {
		return false, err
	}
	if err := m.cover(ctx); err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, context.Cause(ctx)
	}
	m.say("stopping %s (%s)", m.From.name(), m.stopBy())
	if err := m.From.stop(ctx); err != nil {
		return m.gone(), err
	}
	// What it has done last is in its database.
	if err := m.beside(ctx, m.all, false); err != nil {
		return true, err
	}
	if err := m.shield.hold(m.all); err != nil {
		return true, err
	}
	if err := m.shield.check(m.all); err != nil {
		return true, err
	}
	if m.From.Ours {
		if err := m.clear(); err != nil {
			return true, err
		}
	}
	if err := m.give(ctx); err != nil {
		return true, err
	}
	m.say("starting %s (%s)", nameOf(m.To.Ours), m.To.By)
	to := &Server{Socket: m.To.Socket, Ours: m.To.Ours, Unit: m.To.Unit}
	began := time.Now()
	if err := m.To.Start(ctx); err != nil {
		return true, fmt.Errorf("%s does not start: %w", nameOf(m.To.Ours), err)
	}
	m.entered = true
	if err := to.awaitAnswer(ctx); err != nil {
		return true, err
	}
	to.took = time.Since(began)
	if err := m.complete(ctx, to); err != nil {
		return true, err
	}
	if err := m.shield.lower(); err != nil {
		return true, err
	}
	m.say("%s has all %d bans; table inet %s is gone", nameOf(m.To.Ours), m.all.count(), Table)
	if m.To.After != nil { // it is done whatever comes of this
		if err := m.To.After(ctx); err != nil {
			m.Report.Warnings = append(m.Report.Warnings, err.Error())
		}
	}
	return true, nil
}

// undo leaves nothing of what was prepared.
func (m *Migration) undo(ctx context.Context) error {
	if m.To.Undo == nil {
		return nil
	}
	return m.To.Undo(ctx)
}

// same looks whether it is still the server that was planned with: another change over may
// have come first.
func (m *Migration) same() error {
	pid, err := pidOf(m.From.Socket)
	if err == nil && pid != m.From.PID {
		err = fmt.Errorf("at %s it is no more process %d that answers, but %d, since this was planned: look at it again (--dry-run)", m.From.Socket, m.From.PID, pid)
	}
	return err
}

// gone reports whether the server that was there has ended, or is about to.
func (m *Migration) gone() bool { return !m.From.lives() || !answers(m.From.Socket) }

// wanted are the jails of which there are bans to be held.
func (m *Migration) wanted() (out []*config.Jail) {
	for _, name := range m.running {
		if j := m.byName[name]; j != nil {
			out = append(out, j)
		}
	}
	return out
}

// cover puts bans into the shield until there are no new ones.
func (m *Migration) cover(ctx context.Context) error {
	for before := -1; ; {
		now, err := m.gather(ctx)
		if err != nil {
			return err
		}
		m.all.addAll(now)
		if err := m.shield.hold(m.all); err != nil {
			return err
		}
		if n := m.all.count(); n != before {
			before = n
			continue
		}
		return m.shield.check(m.all)
	}
}

// idle has fail2ban's jails make no bans, or go on.
func (m *Migration) idle(how string) error {
	m.idled = how == "on"
	var errs []error
	for _, name := range m.running {
		if _, err := ask(m.From.Socket, askMost, "set", name, "idle", how); err != nil {
			errs = append(errs, fmt.Errorf("set %s idle %s: %w", name, how, err))
		}
	}
	return errors.Join(errs...)
}

// resume is the way back where nothing was stopped yet.
func (m *Migration) resume() error {
	var err error
	if m.idled {
		err = m.idle("off")
	}
	return errors.Join(err, m.shield.lower())
}

// clear takes what our server has left in nftables out of it: fail2ban's actions make sets
// of the same names, of another form.
func (m *Migration) clear() error {
	cfg := m.Config
	if m.To.Ours {
		cfg = m.To.Config
	}
	var names []string
	opts := cfg.Firewall
	for _, j := range cfg.Jails {
		opts.Others = append(opts.Others, j.OthersSets...)
		if j.Unenforced {
			opts.Others = append(opts.Others, j.Name)
			continue
		}
		names = append(names, j.Name)
	}
	if len(names) == 0 {
		return nil
	}
	fw, _, err := firewall.Open(opts)
	if err != nil {
		return err
	}
	defer fw.Close()
	return fw.RemoveJails(names...)
}

// give writes bans into the database of who starts next, as far as that lacks them.
func (m *Migration) give(ctx context.Context) error {
	if m.To.Database == "" || m.To.Database == ":memory:" {
		return nil // they are handed over once it runs
	}
	have, _, err := inDatabase(ctx, m.To.Database, m.running)
	if err != nil {
		return err
	}
	var list []store.Held
	for name, of := range m.all.missing(have) {
		for _, b := range of {
			list = append(list, store.Held{Jail: name, Ban: b})
		}
	}
	if len(list) == 0 {
		return nil
	}
	_, err = store.Import(m.To.Database, list)
	return err
}
