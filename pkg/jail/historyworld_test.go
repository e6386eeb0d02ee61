package jail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/firewall"
	"bailiff/pkg/store"
)

// world is everything that a history is played to.
type world struct {
	dir    string
	clock  *clock.Manual
	kernel *kernel
	queue  *firewall.Queue
	store  *store.Store
	keep   *keeping
	jail   *Jail
	others others
	log    logged
	acts   acts
	loaded *config.Jail // what the configuration says, as it was read last

	is     settings // in bailiff.toml
	down   bool     // no daemon runs
	held   bool     // the reader is held back
	bare   bool     // nothing but a header was read of the log when the daemon ended, or the reader was held back
	fresh  bool     // what stands in the log came since then
	anew   bool     // the log was written anew, perhaps while nobody read
	unsure bool     // it can't be said which of the unread lines were read before a crash
	loose  bool     // the kernel's sets were changed by another hand

	m       *model
	unread  []written
	several bool // they stand in several files
	// ages are those of the failures that came to be read at once, from several files.
	ages map[string][]time.Duration

	// While the database can't be written: what is right if the daemon is killed now.
	stored      *model
	storedLines []written
	storedOther bool // more happened than lines

	writer   *os.File
	serial   int
	rotated  int
	stepped  bool      // the clock was set since a line was written
	copied   time.Time // when the log was, last
	partial  string    // the rest of a line whose beginning is written
	part     string    // whose line it is
	partAt   time.Duration
	partSize int // how much of it is written
}

// written is a line of the log that tells of a failure.
type written struct {
	id string
	at time.Duration // by the model's clock
}

type settings struct {
	maxRetry          int
	findTime, banTime time.Duration
}

var (
	offenders = []string{"192.0.2.7", "192.0.2.8", "198.51.100.9", "2001:db8::7"}
	variants  = []settings{{3, 605 * time.Second, 3603 * time.Second}, {2, 605 * time.Second, 3603 * time.Second}, {5, 1205 * time.Second, 1803 * time.Second}, {3, 305 * time.Second, 7203 * time.Second}}
)

func newWorld(dir string, sets sets) (*world, error) {
	w := &world{dir: dir, clock: clock.NewManual(begin), is: variants[0], down: true}
	w.m = newModel(w.is.maxRetry, w.is.findTime, w.is.banTime)
	w.kernel = &kernel{world: w, sets: sets}
	w.acts.of = map[string]bool{}
	w.others.sharing()
	if err := os.WriteFile(w.logPath(), nil, 0o600); err != nil {
		return nil, err
	}
	if err := w.start(); err != nil {
		return nil, err
	}
	// Of a log that nobody knows yet, nothing can be missed.
	if err := w.until("the log is followed", func(j *Jail) bool { return len(j.logs) > 0 }); err != nil {
		return nil, err
	}
	return w, w.quiet()
}

// until waits for something of the jail's.
func (w *world) until(what string, done func(*Jail) bool) error {
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		yes := false
		if err := w.jail.within(time.Minute, true, func(j *Jail) { yes = done(j) }); err != nil || yes {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited in vain: %s", what)
		}
	}
}

func (w *world) logPath() string  { return filepath.Join(w.dir, "app.log") }
func (w *world) confPath() string { return filepath.Join(w.dir, "bailiff.toml") }

// toml is a configuration.
func (w *world) toml(s settings, more string) string {
	return fmt.Sprintf(`[jail.app]
enabled = true
filter = "app"
logpath = %q
maxretry = %d
findtime = %d
bantime = %d
ignoreself = false
%s
[jail.app.ban]
prefix6 = 128
[jail.app.action.tell]
ban = "ban <ip>"
unban = "unban <ip>"
flush = "flush"
`, w.logPath(), s.maxRetry, int(s.findTime.Seconds()), int(s.banTime.Seconds()), more)
}

const appFilter = `failregex = '^ Login failure <HOST>$'
`

// load reads the configuration as the daemon does.
func (w *world) load() (*config.Jail, error) {
	cfg, err := config.Load(config.Options{Path: w.confPath()})
	if err != nil {
		return nil, err
	}
	if len(cfg.Errors) > 0 {
		return nil, errors.Join(cfg.Errors...)
	}
	if len(cfg.Jails) != 1 {
		return nil, fmt.Errorf("%d jails", len(cfg.Jails))
	}
	if err := cfg.Jails[0].Broken(); err != nil {
		return nil, err
	}
	if faults := cfg.Jails[0].Faults; len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return cfg.Jails[0], nil
}

func (w *world) configure(text string) error {
	if err := os.MkdirAll(filepath.Join(w.dir, "filters"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, "filters", "app.toml"), []byte(appFilter), 0o600); err != nil {
		return err
	}
	return os.WriteFile(w.confPath(), []byte(text), 0o600)
}

// start starts a daemon.
func (w *world) start() (err error) {
	if !w.down {
		return nil
	}
	if w.loaded == nil {
		if err := w.configure(w.toml(w.is, "")); err != nil {
			return err
		}
		if w.loaded, err = w.load(); err != nil {
			return err
		}
	}
	w.clock.Restart("manual")
	if w.store, err = store.Open(filepath.Join(w.dir, "db.sqlite3"), w.clock.Clock); err != nil {
		return err
	}
	w.keep = &keeping{Store: w.store}
	w.keep.queue = store.NewQueue(w.keep.write, func(error) {})
	if err := w.kernel.sets.open(); err != nil {
		return err
	}
	w.queue = firewall.NewQueue(w.kernel, func([]firewall.Change, error) {}, nil)
	w.kernel.queue.Store(w.queue)
	if err := w.both(func() error {
		w.jail, err = Start(w.loaded, w.deps(), Carry{})
		return err
	}); err != nil {
		return err
	}
	w.acts.jail.Store(w.jail)
	w.down, w.held = false, false
	w.limit(w.is, true)
	clear(w.m.ignored)
	return nil
}

func (w *world) deps() Deps {
	// File systems stamp files by a coarse clock: a copy that was just made might as well
	// have come after the start.
	time.Sleep(time.Until(w.copied.Add(25 * time.Millisecond)))
	return Deps{
		Firewall: w.kernel, Store: w.keep, Log: slog.New(eventlog.New(&w.log, "DEBUG")), Clock: w.clock.Clock, Location: time.UTC,
		ClockSet: w.store.Moved(), stamps: true, MaxMatches: 10, Beside: w.others.number(), RunAction: w.acts.runner(),
		Lookup: func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") },
		Own:    func() []netip.Addr { return nil },
	}
}

// limit has the model know of other settings. anew: a jail was started with them.
func (w *world) limit(s settings, anew bool) {
	m := w.m
	m.maxRetry, m.findTime, m.banTime = s.maxRetry, s.findTime, s.banTime
	for id, start := range m.starts {
		if anew {
			m.ends[id] = min(m.ends[id], start+s.banTime)
		}
	}
	w.expire()
}

// stop ends the daemon in good order.
func (w *world) stop() error {
	if w.down {
		return nil
	}
	if err := w.settle(); err != nil {
		return err
	}
	w.down = true
	if !w.held {
		w.noteBare()
	}
	w.others.stop()
	left := w.jail.Stop(false)
	<-left.Close(time.Time{})
	w.queue.Close()
	return errors.Join(w.keep.queue.Close(), w.store.Close())
}

// noteBare sees whether what was read of the log is known again if the log is emptied.
func (w *world) noteBare() {
	content, err := os.ReadFile(w.logPath())
	if err == nil && w.partial != "" {
		content = content[:len(content)-w.partSize]
	}
	w.bare, w.fresh = len(content) == 0 || string(content) == header, err != nil
}

// settle has database, kernel and actions at work, and waits for them to be told.
func (w *world) settle() error {
	w.dbUp()
	w.accept()
	w.acts.release()
	if !w.held {
		return w.quiet()
	}
	// What waits is read later; what else was done is kept.
	if err := w.jail.within(time.Minute, true, (*Jail).push); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := w.keep.queue.SyncFor(10 * time.Second)
	for ctx.Err() == nil && err != nil { // it could not be written until now, and is tried again
		err = w.keep.queue.SyncFor(10 * time.Second)
	}
	return errors.Join(w.queue.Sync(ctx), err)
}

// kill ends the daemon at once: what was not written is lost.
func (w *world) kill() error {
	if w.down {
		return nil
	}
	w.acts.kill()
	w.down = true
	if !w.held {
		w.noteBare()
	}
	w.keep.killed.Store(true)
	w.others.stop()
	j := w.jail
	j.handed.Do(func() {}) // nothing is handed over
	left := j.Stop(false)
	<-left.Close(time.Now())
	w.queue.Close()
	_ = w.keep.queue.Close()
	return w.store.Close()
}

// close gives everything back, whatever state it is in.
func (w *world) close() {
	_ = w.kill()
	if w.writer != nil {
		w.writer.Close()
	}
}

// end brings a history to its end: everything works, and agrees, and goes on.
func (w *world) end() error {
	if err := w.start(); err != nil {
		return err
	}
	w.dbUp()
	w.accept()
	w.acts.release()
	if err := w.release(); err != nil {
		return err
	}
	if err := w.quiet(); err != nil {
		return err
	}
	// What comes twice may come late: not later than what is written now.
	w.write(offenders[0], 1)
	if err := w.quiet(); err != nil {
		return err
	}
	return w.stop()
}

func (w *world) release() error {
	w.held = false
	if w.down {
		return nil
	}
	return w.jail.Idle(false)
}

// expire has bans and failures end that are over.
func (w *world) expire() {
	if !w.down { // else it is seen at the start, with the settings of then
		w.m.expire()
		_ = w.jail.within(time.Minute, true, w.forget)
	}
}

func ofPrefix(p netip.Prefix) string { return p.Addr().String() }

// ticks lets a moment pass before the next step, and some more if a ban is about to end:
// the database knows whole seconds, and the kernel is put right by two.
func (w *world) ticks() {
	w.pass(1007 * time.Millisecond)
	for _, end := range w.m.ends {
		if end-w.m.now < 4*time.Second {
			w.pass(8 * time.Second)
			return
		}
	}
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	if !w.down {
		w.kernel.settle() // what it was told before counts from then
	}
	w.clock.Advance(d)
	w.m.now += d
	w.expire()
}

func (w *world) dbUp() {
	if w.stored = nil; w.keep != nil {
		w.keep.broken.Store(false)
	}
}

// accept has the kernel take everything again, and what is owed: as the daemon does it, it
// is compared with the list then.
func (w *world) accept() {
	w.kernel.accept()
	w.loose = true
}

// logged is the daemon's log.
type logged struct {
	mu   sync.Mutex
	all  bytes.Buffer
	seen int
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// since returns what came since it was asked the last time.
func (l *logged) since() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := string(l.all.Bytes()[l.seen:])
	l.seen = l.all.Len()
	return s
}

func (w *world) lastLog() string {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	lines := strings.SplitAfter(w.log.all.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-80):], "")
}

// keeping is the database as the jail sees it.
type keeping struct {
	*store.Store
	queue          *store.Queue
	broken, killed atomic.Bool
}

func (k *keeping) Push(d *store.Delta)   { k.queue.Push(d) }
func (k *keeping) Room(jail string) bool { return k.queue.Room(jail) }

func (k *keeping) write(d []*store.Delta) error {
	if k.broken.Load() || k.killed.Load() {
		return errors.New("disk full")
	}
	return k.Store.Write(d)
}

// acts runs the jail's action, and knows whom it shuts out.
type acts struct {
	mu     sync.Mutex
	of     map[string]bool
	life   int           // of the daemon; what is run for an earlier one does nothing
	hang   chan struct{} // closed when it hangs no longer; nil: it doesn't
	asking atomic.Bool   // it asks the daemon back
	jail   atomic.Pointer[Jail]
}

func (a *acts) runner() func(context.Context, action.Command, time.Duration) bool {
	a.mu.Lock()
	life := a.life
	a.mu.Unlock()
	return func(ctx context.Context, c action.Command, _ time.Duration) bool {
		a.mu.Lock()
		hang := a.hang
		a.mu.Unlock()
		if hang != nil {
			select {
			case <-hang:
			case <-ctx.Done():
				return false
			}
		}
		if j := a.jail.Load(); j != nil && a.asking.Load() {
			j.Status(true)
			_, _ = j.Unban(ban.Of(prefixOf("203.0.113.99")))
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.life != life {
			return false
		}
		switch what, id, _ := strings.Cut(c.Text, " "); what {
		case "ban":
			a.of[id] = true
		case "unban":
			delete(a.of, id)
		case "flush":
			clear(a.of)
		}
		return true
	}
}

func (a *acts) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hang != nil {
		close(a.hang)
		a.hang = nil
	}
}

// kill has nothing come of what is run for the daemon that was killed.
func (a *acts) kill() {
	a.mu.Lock()
	a.life++
	clear(a.of)
	a.mu.Unlock()
	a.release()
}

func (a *acts) list() (out []string, hangs bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.of)), a.hang != nil
}
