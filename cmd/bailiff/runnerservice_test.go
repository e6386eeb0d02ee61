package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// runnerOfService has a service manager listen for the daemon and start a runner that is root's,
// with a daemon that is nobody's. It returns what tells how the runner has ended.
func (n *network) runnerOfService() <-chan error {
	t := n.t
	t.Helper()
	sockets := t.TempDir()
	socket := filepath.Join(sockets, "runner")
	activate := n.server.Command(context.Background(), "systemd-socket-activate", "--listen="+socket, program(t, "bailiff"), "runner", "--fixed", "--listen", "--config", n.tree)
	if err := activate.Start(); err != nil {
		t.Fatal(err, "(of Debian's package systemd)")
	}
	ended := make(chan error, 1)
	go func() { ended <- activate.Wait() }()
	t.Cleanup(func() { _ = activate.Process.Kill() })
	n.until("it listens", func() bool { return os.Chown(socket, 65534, 65534) == nil })
	if err := os.Chmod(filepath.Dir(sockets), 0o711); err != nil {
		t.Fatal(err)
	}
	const caps = "+net_admin,+dac_read_search"
	n.first += ` && set -- setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all,` + caps + ` --inh-caps ` + caps + ` --ambient-caps ` + caps + ` "$@"`
	if err := os.MkdirAll(n.path("state"), 0o755); err != nil {
		t.Fatal(err)
	}
	n.env = append(n.env, "BAILIFF_RUNNER="+socket)
	return ended
}

// TestRunnerOfAService: a daemon without root has its commands run by the runner that a service manager
// starts by its socket, as root; that ends with the daemon. Where nobody listens, it runs them itself.
func TestRunnerOfAService(t *testing.T) {
	n := newNetwork(t)
	n.asNobody()
	n.dirs("told")
	if err := os.Chmod(n.path("told"), 0o777); err != nil {
		t.Fatal(err)
	}
	n.failsLogin("203.0.113.1")
	n.tree = t.TempDir()
	text := strings.ReplaceAll(wallsConfig, "@D@", n.dir) + "[jail.web.action.tell]\nban = \"echo <ip> $(id -u) >> " + n.path("told/told") + "\"\nunban = \":\"\n"
	hosttest.Write(t, n.tree+"/bailiff.toml", text)
	ended := n.runnerOfService()
	n.start("")
	n.isConfinedNobody()
	if r := runnerOf(n.daemon.Process.Pid); r != 0 {
		t.Errorf("it has a runner of its own: %s", n.said())
	}
	told := func(text string) func() bool {
		return func() bool {
			all, _ := os.ReadFile(n.path("told/told"))
			return strings.Contains(string(all), text)
		}
	}
	n.failsLogin("192.0.2.66")
	n.until("it is run as root", told("192.0.2.66 0\n"))
	n.ask("stop")
	<-n.exited
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the runner: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the runner does not end with its daemon")
	}
	if err := os.Chmod(n.path("told/told"), 0o666); err != nil {
		t.Fatal(err)
	}
	n.spawn()
	n.until("it is up with its own rights, and says so", func() bool {
		return n.ask("status") != "" && strings.Contains(n.said(), "commands are run with the daemon's own rights")
	})
	n.failsLogin("192.0.2.67")
	n.until("it is run as the daemon's user", told("192.0.2.67 65534\n"))
}

// TestPortsOfAService: ports below 1024 are opened by the other process for a daemon that may
// not, at the start and at a reload; without it the daemon says what helps.
func TestPortsOfAService(t *testing.T) {
	n := newNetwork(t)
	n.asNobody()
	n.tree = t.TempDir()
	config := func(more string) {
		t.Helper()
		text := "[check]\nlisten = [\"192.0.2.1:81\"]\n[jail.sshd]\nenabled = true\nbackend = \"syslog\"\nallow = \"192.0.2.66\"\nlisten = [\"udp://192.0.2.1:514\"" + more + "]\nmaxretry = 1\n"
		hosttest.Write(t, n.tree+"/bailiff.toml", text)
	}
	config("")
	ended := n.runnerOfService()
	n.start("")
	n.isConfinedNobody()
	tell := func(who string, args ...string) {
		t.Helper()
		args = append([]string{"-n", "192.0.2.1", "-P", "514", "-t", "sshd"}, append(args, "--", "Failed password for root from "+who+" port 41 ssh2")...)
		if out, err := n.attacker.Command(context.Background(), "logger", args...).CombinedOutput(); err != nil {
			t.Fatalf("logger (bsdutils): %v: %s", err, out)
		}
		n.until("the ban of "+who, func() bool { return strings.Contains(n.ask("status", "sshd"), who) })
	}
	tell("203.0.113.7", "-d")
	asked := func() string {
		c, err := n.attacker.Dial("192.0.2.66", "192.0.2.1:81", 10*time.Second)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /v1/check?ip=203.0.113.7 HTTP/1.0\r\n\r\n")
		answer, _ := io.ReadAll(c)
		return string(answer)
	}
	n.until("a proxy is told", func() bool { return strings.HasPrefix(asked(), "HTTP/1.0 403") })
	config(`, "tcp://192.0.2.1:514"`)
	n.ask("reload")
	tell("203.0.113.8", "-T")
	n.ask("stop")
	<-n.exited
	if err := <-ended; err != nil {
		t.Errorf("the runner: %v", err)
	}
	n.env = slices.DeleteFunc(n.env, func(v string) bool { return strings.HasPrefix(v, "BAILIFF_RUNNER=") })
	n.spawn()
	n.until("it says what helps", func() bool {
		return strings.Contains(n.said(), "[check] listen 192.0.2.1:81: ") && strings.Contains(n.said(), "CAP_NET_BIND_SERVICE") && strings.Contains(n.ask("status"), "udp://192.0.2.1:514 (permission denied: a port below 1024 needs")
	})
}
