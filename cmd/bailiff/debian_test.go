package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestDebianDefault: what Debian's package sets up by itself, sshd's jail with the stock
// nftables action, works with the configuration of each fail2ban, read from the journal:
// bans are in the kernel with their timeouts, stay there when the daemon is killed, and
// are back when somebody flushes the ruleset.
func TestDebianDefault(t *testing.T) {
	t.Parallel()
	all := hosttest.Fail2bans(t)
	for _, r := range all {
		version := r.Release()
		t.Run(version, func(t *testing.T) {
			n := newNetwork(t)
			n.tree = n.path("fail2ban")
			journal := n.path("journal")
			if err := os.Mkdir(journal, 0o755); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("cp", "-a", r.Config, n.tree).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for name, text := range map[string]string{
				// The test's journal in place of the system's; nftables is the default as of 1.1.
				"jail.local":     fmt.Sprintf("[DEFAULT]\nbanaction = nftables\n[sshd]\nbackend = systemd[journalpath=%s]\n", journal),
				"fail2ban.local": fmt.Sprintf("[Definition]\nlogtarget = STDOUT\ndbfile = %s\npidfile = %s\n", n.path("f2b.sqlite3"), n.path("f2b.pid")),
			} {
				hosttest.Write(t, filepath.Join(n.tree, name), text)
			}
			n.spawn()
			n.until("the jail runs", func() bool { return strings.Contains(n.ask("status"), "sshd") })
			for i := range 5 {
				writeJournal(t, filepath.Join(journal, "x.journal"), i+1, time.Now(), sshEntry("Failed password for root from 192.0.2.66 port 22 ssh2"))
			}
			element := regexp.MustCompile(`192\.0\.2\.66 timeout (10m|9m5)`)
			held := func() bool { return element.MatchString(nftSet(n)) }
			n.until("the ban is in the kernel", held)
			rule := func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				out, _ := n.server.Command(ctx, "nft", "list", "chain", "inet", "f2b-table", "f2b-chain").CombinedOutput()
				return strings.Contains(string(out), "tcp dport 22 ip saddr @addr-set-sshd reject")
			}
			if !rule() {
				t.Error("no rule looks into the set")
			}
			if err := n.daemon.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-n.exited
			if !held() {
				t.Error("the ban is gone with the daemon")
			}
			n.spawn()
			n.until("the daemon knows the ban", func() bool { return strings.Contains(n.ask("status", "sshd"), "192.0.2.66") })
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if out, err := n.server.Command(ctx, "nft", "flush", "ruleset").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			n.until("the ban is back", func() bool { return regexp.MustCompile(`192\.0\.2\.66 timeout`).MatchString(nftSet(n)) && rule() })
		})
	}
}

func nftSet(n *network) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, _ := n.server.Command(ctx, "nft", "list", "set", "inet", "f2b-table", "addr-set-sshd").CombinedOutput()
	return string(out)
}
