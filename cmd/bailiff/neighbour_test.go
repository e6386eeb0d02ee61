package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// guarded is a daemon with a network of its own, whose table others change.
type guarded struct {
	t      *testing.T
	host   *netlab.Host
	dir    string
	prog   string
	daemon *exec.Cmd
}

func newGuarded(t *testing.T, config map[string]string) *guarded {
	t.Helper()
	g := &guarded{t: t, host: server(t), dir: t.TempDir(), prog: program(t, "bailiff")}
	config["auth.log"] = ""
	g.write(config)
	return g
}

func (g *guarded) path(name string) string { return filepath.Join(g.dir, name) }

func (g *guarded) write(files map[string]string) {
	g.t.Helper()
	for name, text := range files {
		hosttest.Write(g.t, g.path(name), strings.ReplaceAll(text, "$DIR", g.dir))
	}
}

func (g *guarded) start(config string) {
	g.t.Helper()
	g.daemon = g.host.Command(context.Background(), g.prog, "run", "--config", g.path(config), "--socket", g.path("sock"), "--database", g.path("db"), "--log-target", g.path("log"))
	var said bytes.Buffer
	g.daemon.Stdout, g.daemon.Stderr = &said, &said
	if err := g.daemon.Start(); err != nil {
		g.t.Fatal(err)
	}
	d := g.daemon
	g.t.Cleanup(func() { _ = d.Process.Kill() })
	g.until("it does not start: "+said.String(), func() bool { _, err := g.try("status"); return err == nil })
}

func (g *guarded) stop() {
	g.t.Helper()
	g.ask("stop")
	_ = g.daemon.Wait()
}

func (g *guarded) try(args ...string) (string, error) {
	out, err := exec.Command(g.prog, append(args, "--socket", g.path("sock"))...).CombinedOutput()
	return string(out), err
}

func (g *guarded) ask(args ...string) string {
	g.t.Helper()
	out, err := g.try(args...)
	if err != nil {
		g.t.Fatalf("%s: %v: %s\n%s", strings.Join(args, " "), err, out, g.log())
	}
	return out
}

func (g *guarded) log() string {
	text, _ := os.ReadFile(g.path("log"))
	return string(text)
}

func (g *guarded) table() string {
	out, _ := g.host.Command(context.Background(), "nft", "-y", "list", "ruleset").Output()
	return string(out)
}

func (g *guarded) until(what string, done func() bool) {
	g.t.Helper()
	if !hosttest.Soon(done) {
		g.t.Fatalf("%s:\n%s\n%s", what, g.log(), g.table())
	}
}

func (g *guarded) has(texts ...string) bool {
	table := g.table()
	for _, text := range texts {
		if !strings.Contains(table, text) {
			return false
		}
	}
	return true
}

const guardedConfig = "[firewall]\nforeign = '%s'\n[jail.sshd]\nenabled = true\nlogpath = '$DIR/auth.log'\nport = 'all'\nprotocol = 'all'\nbantime = '1h'\n"

// TestForeign: what others do to a running daemon's sets is put right, and what is on no
// list is adopted or removed, as configured.
func TestForeign(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, map[string]string{"bailiff.toml": fmt.Sprintf(guardedConfig, "adopt"), "remove.toml": fmt.Sprintf(guardedConfig, "remove")})
	g.start("bailiff.toml")
	g.ask("ban", "sshd", "203.0.113.7")
	g.ask("ban", "sshd", "203.0.113.8")
	right := []string{"set addr-set-sshd {\n\t\ttype ipv4_addr\n\t\tflags timeout", "203.0.113.7 timeout", "203.0.113.8 timeout", "ip saddr @addr-set-sshd reject"}
	g.until("no bans", func() bool { return g.has(right...) })

	// The table replaced by one whose set is of another type.
	nftScript(t, g.host, "delete table inet f2b-table\ntable inet f2b-table {\nset addr-set-sshd { type ipv6_addr; }\nchain f2b-chain { type filter hook input priority -1; }\n}")
	g.until("not made right", func() bool { return g.has(right...) })
	g.until("not told", func() bool {
		return strings.Contains(g.log(), "set addr-set-sshd was type ipv6_addr, and should be type ipv4_addr, flags timeout") && !strings.Contains(g.log(), "ERROR")
	})

	// A saved ruleset with one more.
	saved := strings.Replace(g.table(), "elements = {", "elements = { 203.0.113.77,", 1)
	nftScript(t, g.host, "flush ruleset\n"+saved)
	g.until("not adopted", func() bool { return g.has("203.0.113.77 timeout 1h", "203.0.113.7 timeout") })
	g.until("not told", func() bool {
		return strings.Contains(g.log(), "[sshd] Adopt 203.0.113.77") && strings.Contains(g.ask("status", "sshd"), "203.0.113.77")
	})
	g.ask("unban", "203.0.113.77")
	g.until("not unbanned", func() bool { return !g.has("203.0.113.77") })

	// Another one on the same table does not start, and harms nothing.
	second := g.host.Command(context.Background(), g.prog, "run", "--config", g.path("bailiff.toml"), "--socket", g.path("sock2"), "--database", "none")
	out, err := second.CombinedOutput()
	if err == nil || second.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "another bailiff (process ") || !strings.Contains(string(out), "keeps the nftables table inet f2b-table") {
		t.Errorf("a second one: %v %s", err, out)
	}
	if !g.has(right...) {
		t.Errorf("after the second one:\n%s", g.table())
	}

	// A rule of somebody else's keeps a set in place when its jail ends: it is emptied,
	// and removed when the rule is gone.
	nftScript(t, g.host, "add rule inet f2b-table f2b-chain ip saddr @addr-set-sshd counter")
	g.write(map[string]string{"bailiff.toml": "[jail.sshd]\nenabled = false\n"})
	_, _ = g.try("reload")
	g.until("the jail has ended", func() bool {
		return g.has("@addr-set-sshd counter") && !g.has("203.0.113.7") && !g.has("reject") && strings.Contains(g.log(), "can't be removed")
	})
	nftScript(t, g.host, "flush chain inet f2b-table f2b-chain")
	g.until("the set stays", func() bool { return !g.has("addr-set-sshd") })
	g.stop()

	g.start("remove.toml")
	g.ask("ban", "sshd", "203.0.113.7")
	nftScript(t, g.host, "add element inet f2b-table addr-set-sshd { 203.0.113.78 timeout 10m, 203.0.113.79 }")
	g.until("not removed", func() bool { return !g.has("203.0.113.78") && !g.has("203.0.113.79") && g.has("203.0.113.7 timeout") })
	g.until("not told", func() bool {
		return strings.Contains(g.log(), "Remove 203.0.113.78 from the kernel's sets: on no list, and [firewall] foreign = remove")
	})
}

// TestOneChain: under fail2ban's configuration, a chain of another name takes the place
// of the old one, also when the jail ends.
func TestOneChain(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, map[string]string{})
	if out, err := exec.Command("cp", "-a", "/etc/fail2ban", g.path("f2b")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s (make test installs Debian's fail2ban)", err, out)
	}
	if err := os.RemoveAll(g.path("f2b/jail.d")); err != nil {
		t.Fatal(err)
	}
	local := func(enabled bool, chain string) {
		g.write(map[string]string{"f2b/jail.local": fmt.Sprintf("[DEFAULT]\nbanaction = nftables-multiport\nchain = %s\nbackend = polling\n[sshd]\nenabled = %v\nlogpath = $DIR/auth.log\n", chain, enabled)})
	}
	local(true, "f2b-chain")
	g.start("f2b")
	g.ask("ban", "sshd", "203.0.113.7")
	g.until("not banned", func() bool { return g.has("chain f2b-chain {", "203.0.113.7 timeout") })
	g.stop()
	local(true, "INPUT")
	g.start("f2b")
	if !g.has("chain INPUT {", "203.0.113.7 timeout") || strings.Count(g.table(), "hook input") != 1 {
		t.Errorf("after the restart:\n%s", g.table())
	}
	// Without a restart, too.
	local(true, "OTHER")
	g.ask("reload")
	if !g.has("chain OTHER {", "203.0.113.7 timeout") || strings.Count(g.table(), "hook input") != 1 {
		t.Errorf("after the reload:\n%s\n%s", g.table(), g.log())
	}
	local(false, "OTHER")
	_, _ = g.try("reload")
	g.until("it goes on refusing", func() bool { return !g.has("203.0.113.7") && !g.has("reject") })
	if strings.Contains(g.log(), "ERROR") {
		t.Errorf("log:\n%s", g.log())
	}
}

// TestRefused: what the kernel refuses is not said to be done. Where another program has
// made the table its own, a ban's answer and status say so, until it is gone.
func TestRefused(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, map[string]string{"bailiff.toml": fmt.Sprintf(guardedConfig, "adopt")})
	g.start("bailiff.toml")
	owner := g.host.Command(context.Background(), "nft", "-i")
	hand, err := owner.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		hand.Close()
		_ = owner.Wait()
	}()
	if _, err := fmt.Fprintln(hand, "delete table inet f2b-table; add table inet f2b-table { flags owner; }"); err != nil {
		t.Fatal(err)
	}
	g.until("nobody owns the table", func() bool { return g.has("flags owner") })
	const refused = "the kernel has refused changes of the bans of jail sshd"
	// The answer may come before the kernel's: then it says that, and the next one knows.
	n := 0
	g.until("a ban is said to be made that is not", func() bool {
		n++
		out, _ := g.try("ban", "sshd", fmt.Sprintf("203.0.113.%d", n))
		if !strings.Contains(out, refused) && !strings.Contains(out, "the kernel has not taken it yet") {
			t.Fatalf("ban: %s", out)
		}
		return strings.Contains(out, refused)
	})
	if out := g.ask("status", "sshd"); !strings.Contains(out, refused) {
		t.Errorf("status says nothing of it:\n%s", out)
	}
	// A change that the kernel does not take leaves the jail as it is, each time.
	text, err := os.ReadFile(g.path("bailiff.toml"))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer("port = 'all'", "port = '22'", "protocol = 'all'", "protocol = 'tcp'").Replace(string(text))
	hosttest.Write(t, g.path("bailiff.toml"), changed)
	for range 2 {
		if out, err := g.try("reload"); err == nil || !strings.Contains(out, "jail sshd: ") || !strings.Contains(out, "it goes on with its old settings") {
			t.Errorf("reload: %v %s", err, out)
		}
		if out := g.ask("status", "sshd"); !strings.Contains(out, fmt.Sprintf("203.0.113.%d ", n)) {
			t.Errorf("the jail does not go on:\n%s", out)
		}
	}
	hand.Close()
	_ = owner.Wait()
	g.until("the bans are not made", func() bool { return g.has(fmt.Sprintf("203.0.113.%d timeout", n)) })
	g.until("status still says so", func() bool { return !strings.Contains(g.ask("status", "sshd"), refused) })
}
