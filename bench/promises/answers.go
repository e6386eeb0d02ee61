package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"bailiff/bench/measure"
	"bailiff/pkg/control"
	"bailiff/pkg/gatefs"
)

// What docs/bounds.md promises of answers, and of what changes what runs.
const (
	promisedAnswer = 100 * time.Millisecond
	promisedChange = 15 * time.Second
)

// hung is a daemon in a world in which something hangs.
type hung struct {
	*daemon
	gate   *gatefs.FS
	ill    string // the jail that is in trouble, which is asked as well
	hangs  []string
	begin  func(h *hung) error
	config string

	asked  map[string][]time.Duration // by what was asked for
	reload time.Duration
	during []time.Duration // status while it reloads
	end    time.Duration
	failed []string
}

func jailOf(name, log, more string) string {
	return fmt.Sprintf("[jail.%s]\nenabled = true\nfailregex = '^\\s*failed <HOST>$'\nlogpath = %q\nmaxretry = @RETRY@\nbantime = \"1h\"\n%s\n", name, log, more)
}

// blockage is something that hangs.
type blockage struct {
	name, ill, config string
	hangs             []string // operations of the file system
	args              []string
	begin             func(h *hung) error
}

func failures(who ...string) string {
	var b strings.Builder
	for range 5 {
		for _, w := range who {
			fmt.Fprintf(&b, "%s failed %s\n", stamp(), w)
		}
	}
	return b.String()
}

var hangingNames = blockage{
	name: "a name server, 3,000 names", ill: "names", config: jailOf("names", "@D@/names.log", "usedns = \"warn\""),
	begin: func(h *hung) error {
		var names []string
		for i := range 3000 {
			names = append(names, fmt.Sprintf("h%d.example.org", i))
		}
		return h.add("names.log", failures(names...))
	},
}

var hangingLog = blockage{
	name: "a log's open and read", ill: "read", config: jailOf("read", "@D@/h/read.log", ""), hangs: []string{"open", "read", "lookup", "getattr"},
	begin: func(h *hung) error { return h.add("under/read.log", failures("198.51.100.33")) },
}

var hangingFIFO = blockage{
	name: "a FIFO in the place of a log", ill: "fifo", config: jailOf("fifo", "@D@/fifo.log", ""),
	begin: func(h *hung) error {
		if err := os.Rename(h.path("fifo.log"), h.path("fifo.log.1")); err != nil {
			return err
		}
		return syscall.Mkfifo(h.path("fifo.log"), 0o600)
	},
}

var hangingAction = blockage{
	name: "an action, 1,000 bans behind it", ill: "action",
	config: jailOf("action", "@D@/action.log", "[jail.action.action.slow]\nban = \"sleep 1000\"\nunban = \"sleep 1000\""),
	begin: func(h *hung) error {
		var who []string
		for i := range 1000 {
			who = append(who, addr(i).String())
		}
		return h.add("action.log", failures(who...))
	},
}

var hangingDisk = blockage{
	name: "the disk of database and log", ill: "disk", config: jailOf("disk", "@D@/disk.log", ""), hangs: []string{"all"},
	args:  []string{"--database", "@D@/h/db.sqlite3", "--log-target", "@D@/h/log"},
	begin: func(h *hung) error { return h.add("disk.log", failures("198.51.100.34", "198.51.100.35")) },
}

// all of them at once.
func (b blockage) with(others ...blockage) blockage {
	out := b
	out.name, out.ill, out.args, out.hangs = "all of it at once", "names", nil, []string{"all"}
	var begins []func(h *hung) error
	for _, o := range append([]blockage{b}, others...) {
		begins = append(begins, o.begin)
		out.args = append(out.args, o.args...)
		if o.name != b.name {
			out.config += o.config
		}
	}
	out.begin = func(h *hung) error {
		for _, f := range begins {
			if err := f(h); err != nil {
				return err
			}
		}
		return nil
	}
	return out
}

// hang starts a daemon and has something hang.
func (b *bench) hang(k blockage) (*hung, error) {
	h := &hung{ill: k.ill, hangs: k.hangs, begin: k.begin, asked: map[string][]time.Duration{}}
	h.config = "loglevel = \"WARNING\"\n" + jailOf("well", "@D@/well.log", "") + k.config
	var err error
	if h.daemon, err = b.daemon(k.name, strings.ReplaceAll(h.config, "@RETRY@", "5")); err != nil {
		return nil, err
	}
	for _, dir := range []string{"h", "under"} {
		if err := os.Mkdir(h.path(dir), 0o755); err != nil {
			return nil, err
		}
	}
	for _, log := range []string{"well.log", "names.log", "fifo.log", "action.log", "disk.log", "under/read.log"} {
		if err := h.add(log, ""); err != nil {
			return nil, err
		}
	}
	for _, a := range k.args {
		h.args = append(h.args, strings.ReplaceAll(a, "@D@", h.dir))
	}
	if err := h.silentNames(); err != nil {
		return nil, err
	}
	if len(h.hangs) > 0 {
		if h.gate, err = gatefs.Mount(exec.Command("/proc/self/exe"), h.path("h"), h.path("under")); err != nil {
			return nil, err
		}
	}
	if err := h.start(); err != nil {
		return nil, err
	}
	// While it starts, questions wait for its jails.
	if err := h.until("its jails are there", 30*time.Second, func() bool { s, err := h.api.Status(); return err == nil && len(s.Waiting) == 0 }); err != nil {
		return nil, err
	}
	if h.gate != nil {
		if err := h.gate.Hang(h.hangs...); err != nil {
			return nil, err
		}
	}
	if h.begin != nil {
		err = h.begin(h)
	}
	return h, err
}

// silentNames is a name server that takes questions and says nothing.
func (h *hung) silentNames() error {
	if err := h.host.Do(func() error {
		_, err := net.ListenPacket("udp4", "127.0.0.1:53") // as long as the program runs
		return err
	}); err != nil {
		return err
	}
	etc := filepath.Join("/etc/netns", h.host.Name)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(etc, "resolv.conf"), []byte("nameserver 127.0.0.1\noptions timeout:30\n"), 0o644)
}

// close takes down what hangs.
func (h *hung) close() {
	if h.gate != nil {
		_ = h.gate.Hang()
		h.gate.Close()
	}
	_ = os.RemoveAll(filepath.Join("/etc/netns", h.host.Name))
}

// ask notes how long an answer takes.
func (h *hung) ask(what string, f func() error) {
	begun := time.Now()
	err := f()
	h.asked[what] = append(h.asked[what], time.Since(begun))
	if err != nil && len(h.failed) < 5 {
		h.failed = append(h.failed, fmt.Sprintf("%s: %v", what, err))
	}
}

var questions = []string{"status", "ban", "unban", "get"}

// askAll asks a daemon for everything that is promised, of a jail.
func (h *hung) askAll(jail string, n int) {
	h.ask("status", func() error { _, err := h.api.Status(); return err })
	h.ask("status", func() error { _, err := h.api.Jail(jail); return err })
	who := fmt.Sprintf("203.0.113.%d", n%250+1)
	h.ask("ban", func() error {
		res, err := h.api.Ban(jail, control.BanRequest{IPs: []string{who}})
		if err == nil && (len(res) != 1 || res[0].Error != "") {
			err = fmt.Errorf("%+v", res)
		}
		return err
	})
	h.ask("unban", func() error {
		res, err := h.api.Unban(control.UnbanRequest{IPs: []string{who}})
		if err == nil && (len(res) != 1 || res[0].Error != "") {
			err = fmt.Errorf("%+v", res)
		}
		return err
	})
	h.ask("get", func() error {
		c, err := control.DialFail2ban(h.socket, time.Minute)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Do([]any{"get", jail, "maxretry"}, time.Minute)
		return err
	})
}

// answers: status, ban, unban and get, reload and stop, while something hangs.
func (b *bench) answers() error {
	all := []blockage{{name: "nothing", ill: "well"}, hangingNames, hangingLog, hangingFIFO, hangingAction, hangingDisk}
	all = append(all, hangingNames.with(hangingLog, hangingFIFO, hangingAction, hangingDisk))
	var worlds []*hung
	defer func() {
		for _, h := range worlds {
			h.close()
		}
	}()
	for _, k := range all {
		h, err := b.hang(k)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		worlds = append(worlds, h)
	}
	time.Sleep(time.Second) // it is all stuck
	rounds := b.some(40, 12)
	for n := range rounds {
		for _, h := range worlds { // in turns
			h.askAll("well", 2*n)
			h.askAll(h.ill, 2*n+1)
			if err := b.ctx.Err(); err != nil {
				return err
			}
		}
	}
	if err := b.change(worlds); err != nil {
		return err
	}
	b.head(fmt.Sprintf("Answers while something outside hangs for ever, %d daemons asked in turns, of a jail that is\nwell and of the one that is in trouble (median, and the slowest of %d; `reload` with each jail\nmade anew):", len(worlds), 2*rounds),
		"what hangs", "`status`", "`ban`", "`unban`", "`get`", "median to that of the idle daemon, at most", "`status` while it reloads", "`reload`", "`stop`")
	idle := worlds[0]
	for _, h := range worlds {
		cells := []string{h.name}
		ratio := 0.0
		for _, what := range questions {
			cells = append(cells, measure.Round(measure.Median(h.asked[what]))+", "+measure.Round(measure.Quantile(h.asked[what], 1)))
			ratio = max(ratio, float64(measure.Median(h.asked[what]))/float64(measure.Median(idle.asked[what])))
			b.answered(h, "`"+what+"`", h.asked[what], idle.asked[what])
		}
		b.answered(h, "`status` during a reload", h.during, idle.during)
		b.promise(h.reload <= promisedChange+idle.reload, "%s hangs: `reload` took %v, promised are %v", h.name, h.reload, promisedChange)
		b.promise(h.end <= promisedChange+idle.end, "%s hangs: `stop` took %v, promised are %v", h.name, h.end, promisedChange)
		b.promise(len(h.failed) == 0, "%s hangs: wrong answers: %s", h.name, strings.Join(h.failed, "; "))
		b.row(append(cells, fmt.Sprintf("%.1f", ratio), measure.Round(measure.Quantile(h.during, 1)), measure.Round(h.reload), measure.Round(h.end))...)
	}
	return nil
}

// ended reports whether the program has ended. Where a file system hangs, the kernel may
// hold what is left of it (it writes back what was mapped, which no program can change).
func (h *hung) ended() bool {
	select {
	case <-h.exited:
		return true
	default:
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.cmd.Process.Pid))
	return err != nil || strings.Contains(string(text), ") Z ")
}

// answered holds answers against the promise. One in twenty may have waited for the
// processor, on a machine where others are at work, but not ten times as long.
func (b *bench) answered(h *hung, what string, all, idle []time.Duration) {
	mostly, reference, worst := measure.Quantile(all, 0.95), measure.Quantile(idle, 0.95), measure.Quantile(all, 1)
	b.promise(mostly <= promisedAnswer+reference && worst <= 10*promisedAnswer+reference,
		"%s hangs: %s was answered after %v in one of twenty cases, after %v at worst; promised are %v (an idle daemon: %v)",
		h.name, what, mostly, worst, promisedAnswer, reference)
}

// change has all of them reload, and then stop, at the same time.
func (b *bench) change(worlds []*hung) error {
	var wg sync.WaitGroup
	for _, h := range worlds {
		if err := h.configure(strings.ReplaceAll(h.config, "@RETRY@", "6")); err != nil {
			return err
		}
	}
	over := make(chan struct{})
	for _, h := range worlds {
		wg.Go(func() {
			begun := time.Now()
			_, err := h.api.Reload()
			h.reload = time.Since(begun)
			if err != nil && len(h.failed) < 5 && h.gate == nil {
				h.failed = append(h.failed, "reload: "+err.Error())
			}
		})
	}
	go func() { wg.Wait(); close(over) }()
	for done := false; !done; {
		for _, h := range worlds { // in turns, also those that are through
			begun := time.Now()
			if _, err := control.NewClient(h.socket).Status(); err != nil {
				return fmt.Errorf("%s: status during a reload: %w", h.name, err)
			}
			h.during = append(h.during, time.Since(begun))
		}
		select {
		case <-over:
			done = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	for _, h := range worlds {
		wg.Go(func() {
			begun := time.Now()
			_ = h.api.Stop() // says so when its socket is gone
			for time.Since(begun) < 2*time.Minute && !h.ended() {
				time.Sleep(5 * time.Millisecond)
			}
			h.end = time.Since(begun)
		})
	}
	wg.Wait()
	return nil
}
