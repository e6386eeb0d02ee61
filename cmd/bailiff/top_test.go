package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/hosttest"
)

// terminalAt is a program at a terminal, which tmux keeps.
type terminalAt struct {
	t      *testing.T
	socket string
}

func atTerminal(t *testing.T, width, height int, command string) *terminalAt {
	t.Helper()
	a := &terminalAt{t, filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() { _ = a.tmux("kill-server").Run() })
	if out, err := a.tmux("new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), command+"; echo ended with $?; sleep 600").CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v: %s", err, out)
	}
	return a
}

func (a *terminalAt) tmux(args ...string) *exec.Cmd {
	c := exec.Command("tmux", append([]string{"-f", "/dev/null", "-S", a.socket}, args...)...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color", "TMUX=")
	return c
}

func (a *terminalAt) screen() string {
	out, _ := a.tmux("capture-pane", "-p").Output()
	return string(out)
}

func (a *terminalAt) keys(keys ...string) {
	a.t.Helper()
	if out, err := a.tmux(append([]string{"send-keys"}, keys...)...).CombinedOutput(); err != nil {
		a.t.Fatalf("tmux: %v: %s", err, out)
	}
}

// until waits until texts are on the screen.
func (a *terminalAt) until(wanted ...string) {
	a.t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		s := a.screen()
		missing := ""
		for _, w := range wanted {
			if !strings.Contains(s, w) {
				missing = w
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			a.t.Fatalf("there is no %q on the screen:\n%s", missing, s)
		}
	}
}

// TestTop: at a terminal of a real daemon's, a real ban is seen as it comes, searched for, and lifted by a
// key that asks first, so that its packets come through again; the screen follows the terminal's
// size; a daemon that is killed and started again is told, and followed on.
func TestTop(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	hosttest.Write(t, n.path("auth.log"), "")
	config := n.twoInAnHour()
	n.start(config)
	a := atTerminal(t, 80, 24, "NO_COLOR=1 "+n.path("bailiff")+" top --every 300ms --socket "+n.path("sock"))
	a.until("1 jails, 0 banned", "django-auth", " on ")
	n.failures(2, "192.0.2.66")
	a.until("1 jails, 1 banned", "ban      [django-auth] 192.0.2.66")
	n.comesTo(n.attacker, "192.0.2.66", "192.0.2.1:80", false)
	if raw, _ := a.tmux("capture-pane", "-p", "-e").Output(); regexp.MustCompile(`\x1b\[(?:3[0-7]|9[0-7]|[34]8;)`).Match(raw) {
		t.Errorf("there are colours in spite of NO_COLOR: %q", raw)
	}
	_ = a.tmux("resize-window", "-x", "120", "-y", "40").Run()
	a.until("FAILED") // a column that is there only where there is room
	a.keys("/", "192.0.2.64/26", "Enter")
	a.until("SEARCH 192.0.2.64/26: 1 bans", "> 192.0.2.66")
	a.keys("u")
	a.until("unban 192.0.2.66 in django-auth? y/n")
	a.keys("n")
	a.until("nothing was done")
	a.keys("u", "y")
	a.until("192.0.2.66 unbanned in django-auth", "1 jails, 0 banned")
	n.comesTo(n.attacker, "192.0.2.66", "192.0.2.1:80", true)
	a.keys("Escape")
	a.until("unban    [django-auth] 192.0.2.66")

	if err := n.daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-n.exited
	a.until("NO DAEMON, trying again")
	n.start(config)
	a.until("start")
	n.failures(2, "192.0.2.67")
	a.until("1 jails, 1 banned", "[django-auth] 192.0.2.67")
	if strings.Contains(a.screen(), "NO DAEMON") {
		t.Errorf("it is gone in spite of that:\n%s", a.screen())
	}
	a.keys("q")
	a.until("ended with 0")
	if s := a.screen(); strings.Contains(s, "JAIL ") {
		t.Errorf("the terminal is not as it was:\n%s", s)
	}
}

// TestTopPiped: into a pipe there is one snapshot, and with --follow each event with its number, over
// kills of the daemon, none left out and none twice.
func TestTopPiped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := hosttest.Write(t, filepath.Join(dir, "app.log"), "")
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), shopWithoutFirewall(log))
	d := &daemonAt{t: t, socket: filepath.Join(dir, "sock"), log: filepath.Join(dir, "log")}
	d.api = control.NewClient(d.socket)
	if out, code := d.run("top"); code != 1 || !strings.Contains(out, "no daemon is running at ") {
		t.Errorf("exit code %d: %s", code, out)
	}
	start := func() *exec.Cmd {
		c := exec.Command(program(t, "bailiff"), "run", "--config", dir, "--socket", d.socket, "--log-target", d.log, "--database", filepath.Join(dir, "db"))
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		d.until("it does not start", func() bool { return d.api.Ping() == nil })
		return c
	}
	c := start()
	if out, code := d.run("top"); code != 0 || !strings.Contains(out, "\nshop  ") || strings.Contains(out, "\x1b") {
		t.Errorf("exit code %d: %q", code, out)
	}
	var s control.Status
	if out, code := d.run("top", "--json"); code != 0 || json.Unmarshal([]byte(out), &s) != nil || len(s.Jails) != 1 || strings.Count(out, "\n") != 1 {
		t.Errorf("exit code %d: %q", code, out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	follow := exec.CommandContext(ctx, program(t, "bailiff"), "top", "--follow", "--json", "--socket", d.socket)
	follow.Cancel = func() error { return follow.Process.Signal(os.Interrupt) }
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	follow.Stdout = out
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	told := func() []string {
		text, _ := os.ReadFile(out.Name())
		return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	}
	d.until("there is no snapshot", func() bool { return len(told()) > 0 && strings.HasPrefix(told()[0], `{"version"`) })
	for life := range 4 {
		ip := fmt.Sprintf("198.51.100.%d", life+1)
		d.until(ip+" is not told", func() bool { // it may have begun to follow a moment after its snapshot
			if _, err := d.api.Ban("shop", control.BanRequest{IPs: []string{ip}}); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(strings.Join(told(), "\n"), ip) {
				return true
			}
			_, _ = d.api.Unban(control.UnbanRequest{IPs: []string{ip}})
			return false
		})
		if life%2 == 0 {
			_ = c.Process.Kill()
		} else {
			_ = c.Process.Signal(syscall.SIGTERM)
		}
		_ = c.Wait()
		c = start()
	}
	d.until("the last start is not told", func() bool { return strings.Count(strings.Join(told(), "\n"), `"kind":"start"`) == 4 })
	cancel()
	_ = follow.Wait()
	if code := follow.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	last := uint64(0)
	for _, line := range told()[1:] {
		e, err := events.Parse([]byte(line))
		if err != nil || last > 0 && e.N != last+1 {
			t.Errorf("behind %d comes %s: %v", last, line, err)
		}
		last = e.N
	}
}
