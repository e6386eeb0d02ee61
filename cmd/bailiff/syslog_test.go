package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/jail"
)

// counted is how many failures a jail has counted; -1: it doesn't say.
func (n *network) counted(name string) int {
	var s struct{ Jails []jail.Status }
	if json.Unmarshal([]byte(n.ask("status", "--json")), &s) == nil {
		for _, of := range s.Jails {
			if of.Name == name {
				return of.TotalFailed
			}
		}
	}
	return -1
}

// log is what the daemon has told so far.
func (n *network) log() string {
	text, _ := os.ReadFile(n.path("out"))
	return string(text)
}

// TestSyslogJails: two jails share a port below 1024, which a confined daemon has opened before;
// what others send isn't read; a reload loses nothing; an address that is in use costs its jail.
func TestSyslogJails(t *testing.T) {
	n := newNetwork(t)
	n.patience = time.Minute
	config := func(retry int) string {
		return fmt.Sprintf(`
[default]
backend = "syslog"
listen = ["udp://192.0.2.1:514", "tcp://192.0.2.1:514"]
allow = "192.0.2.66"
[jail.sshd]
enabled = true
match = "program=sshd"
maxretry = %d
[jail.nginx-http-auth]
enabled = true
match = "program=nginx"
maxretry = 2
[jail.recidive]
enabled = true
filter = "sshd"
listen = "tcp://:80"
`, retry)
	}
	n.start(config(3))
	logger := func(from, program, text string, args ...string) {
		t.Helper()
		args = append([]string{"-n", "192.0.2.1", "-P", "514", "-t", program}, args...)
		if out, err := n.attacker.Command(context.Background(), "logger", append(args, "--", text)...).CombinedOutput(); err != nil {
			t.Fatalf("logger (bsdutils): %v: %s", err, out)
		}
	}
	const failed = "Failed password for root from %s port 41 ssh2"
	logger("", "sshd", fmt.Sprintf(failed, "203.0.113.7"), "-d", "--rfc3164", "-i")
	logger("", "sshd", fmt.Sprintf(failed, "203.0.113.7"), "-d", "--rfc5424", "--id=41")
	logger("", "sshd", fmt.Sprintf(failed, "203.0.113.7"), "-T", "--octet-count", "--rfc5424", "--id=41")
	n.until("who was told of by all three", func() bool { return strings.Contains(n.ask("status", "sshd"), "203.0.113.7") })
	for range 2 {
		logger("", "nginx", `2026/01/31 12:00:00 [error] 41#41: *1 user "x": password mismatch, client: 203.0.113.9, server: _, request: "GET / HTTP/1.1", host: "x"`, "-T")
	}
	n.until("whom nginx told of", func() bool { return strings.Contains(n.ask("status", "nginx-http-auth"), "203.0.113.9") })
	if strings.Contains(n.ask("status", "sshd"), "203.0.113.9") {
		t.Error("what is nginx's goes to sshd's jail")
	}
	if s := n.ask("status"); !strings.Contains(s, "tcp://:80 (address already in use: another program listens there") {
		t.Errorf("of an address that is in use, status says\n%s", s)
	}
	c, err := n.attacker.Dial("192.0.2.67", "192.0.2.1:514", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	n.until("a stranger is told of", func() bool {
		return strings.Contains(n.log(), "syslog tcp://192.0.2.1:514: not read, since allow does not name who sent it: messages or connections of 192.0.2.67")
	})

	// Reloads while lines come.
	const lines = 3000
	before := n.counted("sshd")
	if c, err = n.attacker.Dial("192.0.2.66", "192.0.2.1:514", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := make(chan error, 1)
	half := make(chan struct{})
	go func() {
		for i := range lines {
			if _, err := fmt.Fprintf(c, "<38>Jan 31 12:00:00 host sshd[41]: "+failed+"\n", fmt.Sprintf("203.0.113.%d", 10+i%200)); err != nil {
				sent <- err
				return
			}
			if i%300 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
			if i == lines/10 {
				close(half)
			}
		}
		sent <- nil
	}()
	<-half
	for retry := range 4 {
		hosttest.Write(t, n.path("bailiff.toml"), config(1000+retry))
		if out := n.ask("reload"); !strings.Contains(out, "sshd") {
			t.Errorf("reload: %q", out)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	hosttest.Soon(func() bool { return !(n.counted("sshd") < before+lines) })
	if got := n.counted("sshd"); got != before+lines {
		t.Log(n.ask("status"))
		t.Errorf("%d failures, want %d", got-before, lines)
	}
	if strings.Contains(n.log(), "Traceback") || strings.Contains(n.log(), "not confined") {
		t.Error(n.log())
	}
}
