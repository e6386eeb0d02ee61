package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"

	"golang.org/x/sys/unix"
)

// runnerOf is the process that runs commands for a daemon; 0: there is none.
func runnerOf(daemon int) int {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", daemon))
	all := strings.Fields(string(children))
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", daemon))
	for _, t := range tasks {
		text, _ := os.ReadFile(t)
		all = append(all, strings.Fields(string(text))...)
	}
	for _, pid := range all {
		if comm, _ := os.ReadFile("/proc/" + pid + "/comm"); strings.TrimSpace(string(comm)) == "bailiff-runner" {
			n, _ := strconv.Atoi(pid)
			return n
		}
	}
	return 0
}

// TestRunner: a daemon with commands is confined as one without, another process runs them,
// and nothing but them; each goes on or ends as is said when the other one dies.
func TestRunner(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	for _, d := range []string{"logs", "export", "told"} {
		if err := os.Mkdir(n.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	base := strings.ReplaceAll(wallsConfig, "@D@", n.dir)
	action := func(to string) string {
		return "[jail.web.action.tell]\nban = \"echo <ip> <F-USER> >> " + n.path("told") + "/" + to + "\"\nunban = \":\"\n"
	}
	base = strings.Replace(base, `for \S+ from`, `for <F-USER>\S+</F-USER> from`, 1)
	fail := func(who string) {
		t.Helper()
		f, err := os.OpenFile(n.path("logs/auth.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for range 3 {
			fmt.Fprintf(f, "%s Login failed for $(id) from %s\n", time.Now().UTC().Format("2006-01-02 15:04:05"), who)
		}
	}
	told := func(to, who string) func() bool {
		return func() bool {
			text, _ := os.ReadFile(n.path("told/" + to))
			return strings.Contains(string(text), who+" $(id)\n") // as it was written, and no command
		}
	}
	fail("203.0.113.1") // the log is there
	n.start(base + action("first"))
	daemon := n.daemon.Process.Pid
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", daemon))
	if err != nil {
		t.Fatal(err)
	}
	confinedStatus(t, string(status))
	runner := runnerOf(daemon)
	if runner == 0 {
		t.Fatal("no process runs commands")
	}
	fail("192.0.2.66")
	n.until("the action is run", told("first", "192.0.2.66"))

	client := func(args ...string) string {
		out, _ := exec.Command(program(t, "fail2ban-client"), append([]string{"-s", n.path("sock")}, args...)...).CombinedOutput()
		return string(out)
	}
	for _, words := range [][]string{
		{"set", "web", "addaction", "evil"},
		{"set", "web", "action", "tell", "actionban", "touch /evil"},
		{"set", "web", "ignorecommand", "touch /evil"},
		{"add", "more", "systemd"},
	} {
		if got := client(words...); !strings.Contains(got, "fixed_actions") {
			t.Errorf("%q: %s", words, got)
		}
	}
	hosttest.Write(t, n.path("bailiff.toml"), base+action("second"))
	if out, err := exec.Command(n.path("bailiff"), "reload", "--socket", n.path("sock")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fail("192.0.2.67")
	n.until("the action of the reload is run", told("second", "192.0.2.67"))

	// The runner dies: bans go on, and it is said.
	if err := syscall.Kill(runner, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.until("it says that there is no runner", func() bool {
		text, _ := os.ReadFile(n.path("out"))
		return strings.Contains(string(text), "the process that runs commands has ended: restart the daemon")
	})
	fail("198.51.100.7")
	n.until("bans go on", func() bool {
		text, _ := n.server.Command(context.Background(), "nft", "list", "set", "inet", "f2b-table", "addr-set-web").CombinedOutput()
		return strings.Contains(string(text), "198.51.100.7")
	})

	// The daemon dies, and the next one has a runner of its own.
	n.ask("stop")
	<-n.exited
	n.spawn()
	n.until("it is up again", func() bool { return n.ask("status") != "" })
	daemon = n.daemon.Process.Pid
	if runner = runnerOf(daemon); runner == 0 {
		t.Fatal("no process runs commands")
	}
	gone, err := unix.PidfdOpen(runner, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(gone)
	if err := n.daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-n.exited
	n.until("the runner ends with its daemon", func() bool {
		some, _ := unix.Poll([]unix.PollFd{{Fd: int32(gone), Events: unix.POLLIN}}, 0)
		return some > 0
	})
}

// TestNoRunner: where there is nothing to run there is no process for it, and no root.
func TestNoRunner(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	for _, d := range []string{"logs", "export"} {
		if err := os.Mkdir(n.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.start(strings.ReplaceAll(wallsConfig, "@D@", n.dir))
	if runner := runnerOf(n.daemon.Process.Pid); runner != 0 {
		t.Errorf("process %d runs commands that there aren't", runner)
	}
}
