package jail

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
)

// ops are the steps of histories. One that can't be in a moment does nothing.
var ops map[string]func(w *world, a, b int) error

func init() {
	ops = map[string]func(*world, int, int) error{
		"lines":   func(w *world, a, b int) error { w.happens(true); return w.write(offenders[b%len(offenders)], a%4+1) },
		"noise":   func(w *world, a, _ int) error { w.happens(true); return w.append(header + w.noise(a)) },
		"partial": (*world).begin,
		"rotate":  (*world).rotates,
		"burst":   (*world).burst,
		"hold": func(w *world, _, _ int) error {
			if w.down {
				return nil
			}
			if !w.held {
				w.noteBare()
			}
			w.held = true
			return w.jail.Idle(true)
		},
		"release":  func(w *world, _, _ int) error { return w.release() },
		"pass":     (*world).passes,
		"step":     (*world).steps,
		"suspend":  (*world).suspend,
		"reload":   (*world).reload,
		"broken":   (*world).broken,
		"refused":  (*world).refused,
		"set":      (*world).set,
		"ban":      (*world).ban,
		"unban":    (*world).unban,
		"unbanall": (*world).unbanAll,
		"ignore":   func(w *world, a, _ int) error { return w.ignore(a, true) },
		"heed":     func(w *world, a, _ int) error { return w.ignore(a, false) },
		"stop":     func(w *world, _, _ int) error { return w.stop() },
		"kill": func(w *world, _, _ int) error {
			if w.down {
				return nil
			}
			if err := w.settle(); err != nil {
				return err
			}
			return w.kill()
		},
		"start":  func(w *world, _, _ int) error { return w.start() },
		"crash":  (*world).crash,
		"dbdown": (*world).dbDown,
		"dbup":   func(w *world, _, _ int) error { w.dbUp(); return nil },
		"refuse": func(w *world, _, _ int) error {
			w.happens(false)
			w.kernel.mu.Lock()
			defer w.kernel.mu.Unlock()
			w.kernel.refusing = !w.down
			return nil
		},
		"accept": func(w *world, _, _ int) error { w.accept(); return nil },
		"flush":  func(w *world, _, _ int) error { return w.hand(sets.flush) },
		"thief": func(w *world, a, _ int) error {
			return w.hand(func(s sets) error { return s.drop(prefixOf(offenders[a%len(offenders)])) })
		},
		"foreign": (*world).foreign,
		"hang": func(w *world, _, _ int) error {
			w.happens(false)
			w.acts.mu.Lock()
			defer w.acts.mu.Unlock()
			if w.acts.hang == nil && !w.down {
				w.acts.hang = make(chan struct{})
			}
			return nil
		},
		"unhang": func(w *world, _, _ int) error { w.acts.release(); return nil },
		"ask":    func(w *world, a, _ int) error { w.acts.asking.Store(a%2 == 0); return nil },
	}
}

// happens notes that something happens that the database can't be told, if it can't:
// lines come again from the log, other things don't.
func (w *world) happens(lines bool) {
	if w.stored != nil && !lines {
		w.storedOther = true
	}
}

const header = "# log of app, opened\n"

func (w *world) noise(n int) (out string) {
	for range n {
		w.serial++
		out += fmt.Sprintf("%s something else %d\n", w.stamp(), w.serial)
	}
	return out
}

func (w *world) stamp() string { return w.clock.Wall().Format("2006-01-02 15:04:05,000") }

// failing is a line with a failure, which is to be counted.
func (w *world) failing(id string) string {
	w.stepped = false
	w.unread = append(w.unread, written{id, w.m.now})
	return w.stamp() + " Login failure " + id + "\n"
}

// lines are n with failures of one, and among them one of somebody who has no other.
func (w *world) lines(id string, n int) (out string) {
	for i := range n {
		out += w.failing(id) + w.noise(1)
		if i == n/2 {
			w.serial++
			out += w.failing(fmt.Sprintf("2001:db8:1::%x", w.serial))
		}
	}
	return out
}

func (w *world) write(id string, n int) error {
	rest := w.finish()
	return w.append(rest + w.lines(id, n))
}

// append writes to the log, or to what the writer still holds for it.
func (w *world) append(text string) error {
	if w.writer == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	return w.put(w.writer, w.finish()+text)
}

func (w *world) open() (err error) {
	w.writer, err = os.OpenFile(w.logPath(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	return err
}

// put writes as if the clock of the world were the kernel's.
func (w *world) put(f *os.File, text string) error {
	if text == "" {
		return nil
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return w.stampFile(f)
}

func (w *world) stampFile(f *os.File) error {
	at := w.clock.Wall()
	return os.Chtimes(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), at, at)
}

// finish is the rest of a line that was begun.
func (w *world) finish() string {
	rest := w.partial
	if rest != "" {
		w.unread = append(w.unread, written{w.part, w.partAt})
		w.partial = ""
	}
	return rest
}

// begin writes the beginning of a line.
func (w *world) begin(a, b int) error {
	if w.partial != "" || w.stepped {
		return nil // by its newest line, and when it was written, a file's zone is known
	}
	w.happens(true)
	id := offenders[b%len(offenders)]
	line := w.stamp() + " Login failure " + id + "\n"
	cut := min(len(line)-1, 5*a+1)
	if err := w.append(line[:cut]); err != nil {
		return err
	}
	w.part, w.partAt, w.partSize, w.partial = id, w.m.now, cut, line[cut:]
	return nil
}

func (w *world) passes(a, b int) error {
	d := []time.Duration{5, 40, 100, 200, 400, 610, 1500, 3700}[a%8] * time.Second
	if w.partial != "" || (w.held || w.unsure) && len(w.unread) > 0 {
		d = 5 * time.Second
		if w.partial != "" && w.m.now-w.partAt > 40*time.Second {
			return nil
		}
		if slices.ContainsFunc(w.unread, func(l written) bool { return w.m.now-l.at > 40*time.Second }) {
			return nil // what is read late may look as if it came from another zone
		}
	}
	if w.stored != nil && d > 5*time.Second {
		w.happens(false)
	}
	w.pass(d)
	return nil
}

// steps sets the clock.
func (w *world) steps(a, _ int) error {
	if len(w.unread) > 0 || w.partial != "" {
		return nil
	}
	w.happens(false)
	by := []time.Duration{time.Second, -time.Second, 7 * time.Second, -7 * time.Second, time.Hour, -time.Hour, day, -day, 14 * time.Hour, -14 * time.Hour, 20 * time.Minute, -20 * time.Minute}[a%12]
	w.clock.Set(by)
	w.stepped = true
	if !w.down {
		w.jail.Stepped(clock.Step{By: by})
	}
	return nil
}

func (w *world) suspend(a, _ int) error {
	if w.down || len(w.unread) > 0 || w.partial != "" {
		return nil
	}
	w.happens(false)
	d := time.Duration(a) * 100 * time.Second
	w.clock.Suspend(d)
	w.m.now += d
	w.jail.Stepped(clock.Step{Suspended: d})
	w.expire()
	return nil
}

// replace takes over a configuration as the daemon's reload does.
func (w *world) replace() error {
	c, err := w.load()
	if err != nil {
		return err
	}
	if w.down {
		w.loaded = c
		return nil
	}
	prepared, err := Prepare(c, w.deps())
	if err != nil {
		return err
	}
	w.loaded = c
	if err := w.both(func() error {
		w.jail = prepared.Start(w.jail.Stop(false))
		return nil
	}); err != nil {
		return err
	}
	w.acts.jail.Store(w.jail)
	w.held = false
	return nil
}

// reload reads other settings, which are right.
func (w *world) reload(a, _ int) error {
	if w.unsure {
		return nil
	}
	w.happens(false)
	s := variants[a%len(variants)]
	if err := w.configure(w.toml(s, "")); err != nil {
		return err
	}
	if err := w.replace(); err != nil {
		return err
	}
	if w.is = s; !w.down {
		clear(w.m.ignored)
		w.limit(s, true)
	}
	return nil
}

// mistakes are what an operator writes.
var mistakes = []func(string) string{
	func(s string) string { return strings.Replace(s, "]", "", 1) },
	func(s string) string { return strings.Replace(s, "maxretry = ", "maxretry = x", 1) },
	func(s string) string { return strings.Replace(s, "findtime = ", "findtime = \"soon\" # ", 1) },
	func(s string) string { return strings.Replace(s, `filter = "app"`, `filter = "apo"`, 1) },
	func(s string) string { return strings.Replace(s, "maxretry", "failregex = '(<HOST>'\nmaxretry", 1) },
	func(s string) string { return strings.Replace(s, "bantime = ", "bantime = [1, ", 1) },
	func(s string) string { return strings.Replace(s, "ignoreself = false", `ignoreself = "perhaps"`, 1) },
	func(s string) string { return s + "\n[jail.app]\n" },
	func(s string) string { return strings.Replace(s, "logpath", "logpaht", 1) },
}

// broken reads settings with a mistake.
func (w *world) broken(a, b int) error {
	text := mistakes[b%len(mistakes)](w.toml(variants[a%len(variants)], ""))
	if err := w.configure(text); err != nil {
		return err
	}
	was := w.jail
	if err := w.replace(); err == nil {
		return fmt.Errorf("it was taken:\n%s", text)
	}
	if w.jail != was {
		return errors.New("the jail was begun anew")
	}
	return w.configure(w.toml(w.is, ""))
}

// refused reads settings that are right, and the kernel refuses the jail's sets once:
// everything stays as it was.
func (w *world) refused(a, _ int) error {
	if w.down || w.unsure {
		return nil
	}
	w.happens(false)
	if err := w.configure(w.toml(variants[a%len(variants)], "")); err != nil {
		return err
	}
	w.kernel.mu.Lock()
	w.kernel.noSets = true // once
	w.kernel.mu.Unlock()
	was := w.jail
	if err := w.replace(); err == nil || w.jail != was {
		return errors.New("the jail began anew without sets")
	}
	return w.configure(w.toml(w.is, ""))
}

// set changes settings of the running jail.
func (w *world) set(a, b int) error {
	if w.down {
		return nil
	}
	w.happens(false)
	s := settings{w.m.maxRetry, w.m.findTime, w.m.banTime}
	v := variants[a%len(variants)]
	switch b % 4 {
	case 0:
		s.maxRetry = v.maxRetry
	case 1:
		s.findTime = v.findTime
	case 2:
		s.banTime = v.banTime
	default: // it is refused, and nothing changes
		if err := w.jail.Change(func(c *config.Jail) error {
			c.MaxRetry = 1
			c.Filter.Failregex = slices.Clone(c.Filter.Failregex)
			c.Filter.Failregex[0].Text = "(<HOST>"
			return nil
		}); err == nil {
			return errors.New("a broken failregex was taken")
		}
		return nil
	}
	w.limit(s, false)
	return w.jail.Change(func(c *config.Jail) error {
		c.MaxRetry, c.FindTime, c.BanTime = s.maxRetry, s.findTime, s.banTime
		return nil
	})
}

func (w *world) ban(a, _ int) error {
	if w.down {
		return nil
	}
	w.happens(false)
	id := offenders[a%len(offenders)]
	_, err := w.jail.Ban(ban.Of(prefixOf(id)), false)
	if w.m.ignored[id] {
		if err == nil {
			return fmt.Errorf("%s was banned, and is to be ignored", id)
		}
		return nil
	}
	w.m.ban(id)
	return err
}

func (w *world) unban(a, _ int) error {
	if w.down {
		return nil
	}
	w.happens(false)
	id := offenders[a%len(offenders)]
	was := w.m.unban(id)
	found, err := w.jail.Unban(ban.Of(prefixOf(id)))
	if w.kernel.isRefusing() || w.loose {
		return nil // the kernel may have it, or not, whatever is right
	}
	if err == nil && found != was {
		err = fmt.Errorf("unban %s: found %v, want %v", id, found, was)
	}
	return err
}

func (w *world) unbanAll(_, _ int) error {
	if w.down {
		return nil
	}
	w.happens(false)
	n, err := w.jail.UnbanAll("")
	if err == nil && n != len(w.m.ends) {
		err = fmt.Errorf("unban --all: %d, want %d", n, len(w.m.ends))
	}
	for id := range w.m.ends {
		w.m.unban(id)
	}
	return err
}

// ignore adds to ignoreip, or takes out of it.
func (w *world) ignore(a int, on bool) error {
	if w.down {
		return nil
	}
	w.happens(false)
	id := offenders[a%len(offenders)]
	delete(w.m.ignored, id)
	if on {
		w.m.ignored[id] = true
	}
	if on && w.m.ends[id] != 0 {
		w.m.unban(id)
	}
	return w.jail.Change(func(c *config.Jail) error {
		c.Ignore.Prefixes = slices.DeleteFunc(slices.Clone(c.Ignore.Prefixes), func(p netip.Prefix) bool { return p == prefixOf(id) })
		if on {
			c.Ignore.Prefixes = append(c.Ignore.Prefixes, prefixOf(id))
		}
		return nil
	})
}

// crash kills the daemon while lines come.
func (w *world) crash(a, b int) error {
	if w.down || w.held || w.is != (settings{w.m.maxRetry, w.m.findTime, w.m.banTime}) || len(w.m.ignored) > 0 {
		return nil // with other settings, the lines may lead to something else
	}
	if w.storedOther || w.kernel.isRefusing() {
		if err := w.settle(); err != nil {
			return err
		}
	}
	w.noteBare()
	// What came since then, the database does not know.
	bare, fresh := w.bare || w.stored != nil, w.fresh || w.stored != nil && w.several
	if w.stored != nil { // what was written since is read again
		w.m = w.stored.at(w.m.now)
		w.unread = append(w.storedLines, w.unread...)
	}
	if err := w.write(offenders[b%len(offenders)], a%3+1); err != nil {
		return err
	}
	w.unsure = true
	if err := w.kill(); err != nil {
		return err
	}
	w.bare, w.fresh = bare, fresh
	w.dbUp()
	w.accept()
	return nil
}

// dbDown has the database take nothing.
func (w *world) dbDown(_, _ int) error {
	if w.down || w.held || w.stored != nil || w.kernel.isRefusing() {
		return nil
	}
	w.keep.broken.Store(true)
	w.stored, w.storedLines, w.storedOther = w.m.clone(), nil, w.partial != ""
	return nil
}

// hand changes the kernel's sets by another hand.
func (w *world) hand(f func(sets) error) error {
	w.happens(false)
	if !w.down {
		w.kernel.settle()
	}
	w.kernel.mu.Lock()
	defer w.kernel.mu.Unlock()
	w.loose = true
	return f(w.kernel.sets)
}

// foreign has another hand put somebody into the kernel's sets.
func (w *world) foreign(a, b int) error {
	if w.down || len(w.unread) > 0 || w.kernel.isRefusing() || w.loose {
		return nil
	}
	w.happens(false)
	id, left := offenders[a%len(offenders)], time.Duration(b+1)*100*time.Second
	w.kernel.settle()
	w.kernel.mu.Lock()
	err := w.kernel.sets.change(w.kernel.now(), firewall.Change{Jail: "app", ID: prefixOf(id), Left: left})
	w.kernel.mu.Unlock()
	if err != nil {
		return err
	}
	if _, ok := w.m.ends[id]; !ok && !w.m.ignored[id] {
		w.m.starts[id], w.m.ends[id] = w.m.now, w.m.now+left
	}
	_, err = w.jail.Compare()
	return err
}
