package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
)

// Each thing outside the daemon is made to hang for ever, alone and two at a time, while it
// works, when it stops, and when it starts. Meanwhile the daemon answers, another jail bans
// its attacker, and when it goes on, nothing is lost.

var (
	blockedPairs    = flag.String("blocked.pairs", "none", "which pairs TestBlockedWorld has hang, beside each thing alone: some, all, none, or NAME+NAME")
	blockedSeed     = flag.Uint64("blocked.seed", 1, "of the choice of some pairs")
	blockedParallel = flag.Int("blocked.parallel", 10, "how many worlds TestBlockedWorld has at a time, which mostly wait")
)

// promised are what the docs promise of answers, and of what changes what runs.
const (
	promisedAnswer = 100 * time.Millisecond
	promisedChange = 15 * time.Second
)

// blockedWorld is a daemon in a world in which something hangs.
type blockedWorld struct {
	*daemonAt
	dir              string
	what             []blockage
	tree             bool   // the configuration is one of fail2ban's
	conf             string // its folder
	database, target string
	notify           string
	gate             *hanging
	silent           atomic.Bool // servers say nothing
	stderr           string      // of the daemon, the pipe's name

	opened []*os.File // of a disk that hangs

	mu    sync.Mutex
	mails []string
	out   strings.Builder // of the present daemon

	exited chan struct{}
	code   int
}

func (w *blockedWorld) path(name string) string { return filepath.Join(w.dir, name) }

func (w *blockedWorld) write(name, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o755); err != nil {
		w.t.Fatal(err)
	}
	hosttest.Write(w.t, w.path(name), text)
}

func (w *blockedWorld) has(name, text string) bool {
	data, _ := os.ReadFile(w.path(name))
	return strings.Contains(string(data), text)
}

// fail writes two failures each.
func (w *blockedWorld) fail(name string, who ...string) {
	w.t.Helper()
	f, err := os.OpenFile(w.path(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	for _, x := range who {
		line := fmt.Sprintf("%s failed %s\n", time.Now().UTC().Format("2006-01-02 15:04:05"), x)
		if _, err := f.WriteString(line + line); err != nil {
			w.t.Fatal(err)
		}
	}
}

// tells waits for a line of the log, if that does not hang.
func (w *blockedWorld) tells(text string) {
	w.t.Helper()
	if w.target == w.path("log") {
		w.said(text)
	}
}

// answers waits for an answer ten times as long as it is promised for, and five seconds
// at least.
func (w *blockedWorld) answers(what string, promised time.Duration, f func() error) error {
	w.t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil && promised == promisedAnswer {
			w.t.Errorf("%s: %v", what, err)
		}
		return err
	case <-time.After(max(10*promised, 5*time.Second)):
		w.t.Fatalf("%s is not answered\n%s", what, w.text())
		return nil
	}
}

// answersAll asks for everything that is promised.
func (w *blockedWorld) answersAll(n int) {
	w.t.Helper()
	w.answers("status", promisedAnswer, func() error { _, err := w.api.Status(); return err })
	w.answers("status of a jail", promisedAnswer, func() error { _, err := w.api.Jail("well"); return err })
	who := fmt.Sprintf("203.0.113.%d", n)
	w.answers("ban", promisedAnswer, func() error {
		res, err := w.api.Ban("well", control.BanRequest{IPs: []string{who}})
		if err == nil && (len(res) != 1 || res[0].Error != "" || !res[0].Added && res[0].Pending == "") {
			err = fmt.Errorf("%+v", res)
		}
		return err
	})
	w.until("a ban by hand is in the kernel", func() bool { return w.holds("well", who) })
	w.answers("unban", promisedAnswer, func() error {
		res, err := w.api.Unban(control.UnbanRequest{IPs: []string{who}})
		if err == nil && (len(res) != 1 || res[0].Error != "" || res[0].Count == 0 && res[0].Pending == "") {
			err = fmt.Errorf("%+v", res)
		}
		return err
	})
	w.until("an unban by hand is in the kernel", func() bool { return !w.holds("well", who) })
	w.answers("get", promisedAnswer, func() error {
		c, err := control.DialFail2ban(w.socket, time.Minute)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Do([]any{"get", "well", "maxretry"}, time.Minute)
		return err
	})
}

// newBlockedWorld makes one, in which nothing hangs yet.
func newBlockedWorld(t *testing.T, what []blockage) *blockedWorld {
	w := &blockedWorld{dir: t.TempDir(), what: what, conf: "conf"}
	w.daemonAt = &daemonAt{t: t, host: server(t), socket: w.path("sock"), api: control.NewClient(w.path("sock"))}
	w.database, w.target = w.path("db.sqlite3"), w.path("log")
	w.silent.Store(true)
	w.silentNames(w.host)
	for _, dir := range []string{"h", "under", "conf", "bin"} {
		if err := os.Mkdir(w.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.write("log", "")
	w.write("well.log", "")
	hangs := false
	for _, b := range what {
		w.tree = w.tree || b.tree
		if len(b.hangs) > 0 {
			hangs = true
			if err := os.Mkdir(w.path("under/"+b.name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if b.jail != nil && strings.HasPrefix(b.jail.log, "@D@/") {
			w.write(strings.TrimPrefix(b.jail.log, "@D@/"), "")
		}
	}
	for _, b := range what { // config first: others have files in its folder
		if b.name == "config" {
			b.args(w)
		}
	}
	for _, b := range what {
		if b.args != nil && b.name != "config" {
			b.args(w)
		}
	}
	w.configure("10m")
	if hangs {
		w.gate = mountGate(t, w.path("h"), w.path("under"))
	}
	return w
}

// filled puts the names of files into a text.
func (w *blockedWorld) filled(b *blockage, text string) string {
	hang := fmt.Sprintf("while test -e %s; do sleep 0.1; done", w.path("hang-"+b.name))
	main := "bailiff.toml"
	if w.tree {
		main = "jail.conf"
	}
	return strings.NewReplacer("@D@", w.dir, "@H@", w.path("h/"+b.name), "@HANG@", hang, "MAIN", main).Replace(text)
}

// configure writes the configuration.
func (w *blockedWorld) configure(findtime string) {
	well := ill("well", "@D@/well.log")
	if !w.tree {
		text := w.filled(&blockage{}, well.toml())
		for _, b := range w.what {
			if b.jail != nil {
				text += w.filled(&b, b.jail.toml())
			}
			text += w.filled(&b, b.toml)
		}
		w.write(w.conf+"/bailiff.toml", strings.ReplaceAll(text, "findtime = \"10m\"", fmt.Sprintf("findtime = %q", findtime)))
		return
	}
	text := "[DEFAULT]\nfilter = failed\nmaxretry = 2\nbantime = 1h\nbackend = auto\naction = nftables[type=allports]\nfindtime = " + findtime + "\n"
	jail, _ := well.tree()
	text += w.filled(&blockage{}, jail)
	for _, b := range w.what {
		if b.jail == nil {
			continue
		}
		jail, action := b.jail.tree()
		text += w.filled(&b, jail)
		if action != "" {
			w.write(w.conf+"/action.d/slow-"+b.jail.name+".conf", w.filled(&b, action))
		}
	}
	w.write(w.conf+"/jail.conf", text)
	w.write(w.conf+"/filter.d/failed.conf", "[Definition]\nfailregex = "+failed+"\n")
	for _, name := range []string{"nftables.conf", "smtp.py"} {
		_ = os.MkdirAll(w.path(w.conf+"/action.d"), 0o755)
		_ = os.Symlink("/etc/fail2ban/action.d/"+name, w.path(w.conf+"/action.d/"+name))
	}
}

// hang has everything hang.
func (w *blockedWorld) hang(early bool) {
	w.t.Helper()
	var ops []string
	for _, b := range w.what {
		if early && !b.early {
			continue
		}
		w.write("hang-"+b.name, "")
		for _, op := range b.hangs {
			ops = append(ops, b.name+"/"+op)
		}
	}
	if early {
		return
	}
	w.silent.Store(true)
	for _, b := range w.what {
		if b.ready != nil {
			b.ready(w)
		}
	}
	if w.gate != nil {
		w.gate.hang(ops...)
	}
	if w.stderr != "" { // a pipe that is full
		fd, err := syscall.Open(w.stderr, syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		defer syscall.Close(fd)
		for err == nil {
			_, err = syscall.Write(fd, []byte("full\n"))
		}
	}
}

// openAll opens the files of a folder.
func (w *blockedWorld) openAll(dir string) {
	w.t.Helper()
	for _, f := range w.opened {
		f.Close()
	}
	w.opened = nil
	files, err := os.ReadDir(w.path(dir))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range files {
		if file, err := os.OpenFile(w.path(dir+"/"+f.Name()), os.O_RDWR, 0); err == nil {
			w.t.Cleanup(func() { file.Close() })
			w.opened = append(w.opened, file)
		}
	}
}

// free has everything go on.
func (w *blockedWorld) free() {
	w.t.Helper()
	for _, b := range w.what {
		os.Remove(w.path("hang-" + b.name))
	}
	if w.gate != nil {
		w.gate.hang()
	}
	w.silent.Store(false)
	for _, b := range w.what {
		if b.end != nil {
			b.end(w)
		}
	}
}

// spawn starts the daemon.
func (w *blockedWorld) spawn() {
	w.t.Helper()
	w.log = strings.Replace(w.target, w.path("h")+"/", w.path("under")+"/", 1) // what hangs isn't read here
	if w.target == "stderr" {
		w.log = w.path("log")
	}
	conf := strings.Replace(w.path(w.conf), w.path("under")+"/", w.path("h")+"/", 1)
	c := w.host.Command(context.Background(), program(w.t, "bailiff"), "run", "--config", conf, "--socket", w.socket, "--log-target", w.target, "--database", w.database)
	c.Env = append(os.Environ(), "TZ=UTC", "PATH="+w.path("bin")+":"+os.Getenv("PATH"), "NOTIFY_SOCKET="+w.notify)
	reader, writer, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	c.Stdout, c.Stderr = writer, writer
	if w.target == "stderr" {
		w.stderr = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), writer.Fd())
	}
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.out.Reset()
	w.mu.Unlock()
	go func() { // what the daemon says, as soon as somebody reads
		defer reader.Close()
		file, _ := os.OpenFile(w.path("log"), os.O_APPEND|os.O_WRONLY, 0)
		defer file.Close()
		buf := make([]byte, 64<<10)
		for {
			for w.target == "stderr" && w.silent.Load() {
				time.Sleep(10 * time.Millisecond)
			}
			n, err := reader.Read(buf)
			if err != nil {
				return
			}
			w.mu.Lock()
			w.out.Write(buf[:n])
			w.mu.Unlock()
			if w.target == "stderr" {
				_, _ = file.Write(buf[:n])
			}
		}
	}()
	exited := make(chan struct{})
	w.exited = exited
	go func() {
		_ = c.Wait()
		w.code = c.ProcessState.ExitCode()
		writer.Close()
		close(exited)
	}()
	w.t.Cleanup(func() {
		select {
		case <-exited:
		default:
			w.t.Error("the daemon has not ended")
			_ = c.Process.Kill()
			<-exited
		}
	})
}

func (w *blockedWorld) printed() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// started waits until the daemon answers.
func (w *blockedWorld) started() {
	w.t.Helper()
	w.until("it does not start: "+w.printed(), func() bool {
		select {
		case <-w.exited:
			w.t.Fatalf("it has ended: %s\n%s", w.printed(), w.text())
		default:
		}
		_, err := w.api.Status()
		return err == nil
	})
}

// ended waits until the daemon has ended.
func (w *blockedWorld) ended(what string) {
	w.t.Helper()
	select {
	case <-w.exited:
	case <-time.After(10 * promisedChange):
		w.t.Errorf("%s: the daemon does not end\n%s", what, w.text())
	}
}

// round is what comes at the n-th time.
func (w *blockedWorld) round(b *blockage, n int) round {
	r := round{n: n, well: fmt.Sprintf("192.0.2.%d", 66+n)}
	for i := range blockages {
		if blockages[i].name == b.name {
			r.who = fmt.Sprintf("198.51.100.%d", 20+4*i+n)
		}
	}
	return r
}

// each has f done for everything that hangs.
func (w *blockedWorld) each(n int, f func(b *blockage, r round)) {
	for i := range w.what {
		f(&w.what[i], w.round(&w.what[i], n))
	}
}

// works has the other jail ban its attacker.
func (w *blockedWorld) works(n int) {
	w.t.Helper()
	who := w.round(&blockage{}, n).well
	w.fail("well.log", who)
	w.until("the other jail bans its attacker", func() bool { return w.holds("well", who) })
}

func (w *blockedWorld) begins(n int) {
	w.each(n, func(b *blockage, r round) {
		if b.begin != nil {
			b.begin(w, r)
		}
	})
}

// nothingLost waits until all of a round has come.
func (w *blockedWorld) nothingLost(n int) {
	w.t.Helper()
	w.each(n, func(b *blockage, r round) {
		if b.late != nil && !(n == 2 && b.but != "" && slices.ContainsFunc(w.what, func(o blockage) bool { return o.name == b.but })) {
			w.until(fmt.Sprintf("%s: something is lost of the %d. time", b.name, n), func() bool { return b.late(w, r) })
		}
	})
}

// stops has the daemon told to stop.
func (w *blockedWorld) stops(what string) {
	w.t.Helper()
	w.answers("status", promisedAnswer, func() error { _, err := w.api.Status(); return err })
	if err := w.answers("stop "+what, promisedChange, w.api.Stop); err != nil {
		w.t.Errorf("stop %s: %v", what, err)
	}
	w.ended("stop " + what)
}
