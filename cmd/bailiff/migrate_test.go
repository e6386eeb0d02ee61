package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/banfile"
	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
	"bailiff/pkg/references"
)

var migrations = flag.String("migrations", "some", "which changes over TestMigrate makes: some, or all, of each real fail2ban with 2,000 bans")

// changeover is a server with a real fail2ban that has bans, and attackers who don't stop.
type changeover struct {
	*network
	f2b    references.Fail2ban
	bans   int
	halt   context.CancelFunc
	floods sync.WaitGroup
	sent   [2]int // packets, IPv4 and IPv6
}

// newChangeover starts a real fail2ban, has it ban, and the attackers at it.
func newChangeover(t *testing.T, r references.Fail2ban, banaction string, bans int, before ...func(c *changeover)) *changeover {
	t.Helper()
	c := &changeover{network: newNetwork(t), f2b: r, bans: bans}
	c.patience = 3 * time.Minute
	c.treeWith(r, banaction, "socket = "+c.path("f2b.sock"))
	c.amend("fail2ban.local", "logtarget = STDOUT", "logtarget = "+c.path("f2b.log"))
	c.amend("jail.local", "port = http,443", "port = 80,443\nprotocol = udp")
	if err := os.Symlink(c.self(), c.path("bailiff")); err != nil {
		t.Fatal(err)
	}
	c.env = append(c.env, "PYTHONPATH="+r.Lib, "STATE_DIRECTORY="+c.path("state"))
	t.Cleanup(c.clean)
	for _, f := range before {
		f(c)
	}
	c.real("-b", "start")
	c.until("fail2ban answers", func() bool { return c.client("ping") == nil })
	// A tenth of them are networks, IPv6, or have no end; the attackers' own are the first.
	who := []string{attackers[0].who, attackers[1].who}
	for i := len(who); i < bans; i++ {
		if i%10 == 0 {
			who = append(who, fmt.Sprintf("2001:db8:f::%x", i))
		} else {
			who = append(who, attackerAddr(i).String())
		}
	}
	for at := 0; at < bans; at += 200 {
		if err := c.client(append([]string{"set", "web", "banip"}, who[at:min(at+200, bans)]...)...); err != nil {
			t.Fatal(err)
		}
	}
	c.until("fail2ban has made the bans", func() bool {
		return c.banned() == bans && c.held(attackers[0].who) > 0 && c.held(attackers[1].who) > 0 && c.held(who[bans-1]) > 0
	})
	nftScript(t, c.server, "table inet seen { chain in { type filter hook input priority 10; ip saddr "+attackers[0].who+" udp dport 80 counter; ip6 saddr "+attackers[1].who+" udp dport 80 counter; }; }")
	flood, halt := context.WithCancel(context.Background())
	c.halt = halt
	for i, a := range attackers {
		c.floods.Go(func() { c.sent[i] = floodFrom(flood, c.attacker, a.who, a.to) })
	}
	return c
}

// floodFrom sends a packet each 200 µs, and returns how many it sent.
func floodFrom(ctx context.Context, host *netlab.Host, from, to string) (n int) {
	_ = host.Do(func() error {
		target, err := net.ResolveUDPAddr("udp", to)
		if err != nil {
			return err
		}
		c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, target)
		if err != nil {
			return err
		}
		defer c.Close()
		for ctx.Err() == nil {
			_, _ = c.Write([]byte("x")) // an answer that refuses it is an error of the next
			n++
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 200_000}, nil) // what Go sleeps is longer
		}
		return nil
	})
	return n
}

func (c *changeover) self() string {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	return self
}

// real runs fail2ban's server.
func (c *changeover) real(args ...string) {
	c.t.Helper()
	said, err := os.CreateTemp(c.dir, "real")
	if err != nil {
		c.t.Fatal(err)
	}
	defer said.Close()
	p := c.command(append([]string{c.f2b.Program("fail2ban-server"), "-c", c.tree}, args...)...)
	p.Stdout, p.Stderr = said, said
	if err := p.Run(); err != nil {
		text, _ := os.ReadFile(said.Name())
		c.t.Fatalf("fail2ban-server: %v: %s", err, text)
	}
}

// words asks whoever answers at the socket, in fail2ban's words: its client takes Python half
// a second to begin.
func (c *changeover) words(words ...string) (any, error) {
	call, err := control.DialFail2ban(c.path("f2b.sock"), 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer call.Close()
	var args []any
	for _, w := range words {
		args = append(args, w)
	}
	return call.Do(args, 2*time.Minute)
}

func (c *changeover) client(words ...string) error {
	_, err := c.words(words...)
	return err
}

// banned is how many bans the server that is there tells.
func (c *changeover) banned() int {
	v, err := c.words("get", "web", "banip")
	if err != nil {
		return -1
	}
	if list, ok := v.(control.List); ok {
		return len(list)
	}
	return len(strings.Fields(fmt.Sprint(v)))
}

// isOurs reports whose server is there: fail2ban's does not know the word.
func (c *changeover) isOurs() bool { return c.client("bailiff") == nil }

// migrate runs the command.
func (c *changeover) migrate(args ...string) (out string, code int) {
	c.t.Helper()
	p := c.command(append([]string{c.path("bailiff"), "migrate", "--config", c.tree}, args...)...)
	text, err := p.CombinedOutput()
	if err != nil && p.ProcessState == nil {
		c.t.Fatal(err)
	}
	return string(text), p.ProcessState.ExitCode()
}

// through is how many of the attackers' packets came through.
func (c *changeover) through() int {
	c.t.Helper()
	n := 0
	for _, m := range throughPackets.FindAllStringSubmatch(c.lists("nft", "list", "table", "inet", "seen"), -1) {
		more, _ := strconv.Atoi(m[1])
		n += more
	}
	return n
}

// whole says that all bans are there, that nobody got through, and that nothing is left of
// the way.
func (c *changeover) whole(when string) {
	c.t.Helper()
	if n := c.banned(); n != c.bans {
		c.t.Errorf("%s: %d bans, want %d", when, n, c.bans)
	}
	if n := c.through(); n != 0 {
		c.t.Errorf("%s: %d packets came through", when, n)
	}
	if tables := c.lists("nft", "list", "tables"); strings.Contains(tables, "bailiff-migrate") {
		c.t.Errorf("%s: %s", when, tables)
	}
	for _, a := range attackers {
		if n := c.held(a.who); n == 0 {
			c.t.Errorf("%s: the kernel does not hold %s", when, a.who)
		}
	}
}

// held is in how many lines the firewall's listing has an address.
func (c *changeover) held(who string) int {
	text := c.lists("nft", "list", "ruleset") + c.lists("iptables-save") + c.lists("ip6tables-save") + c.lists("ipset", "save")
	return len(regexp.MustCompile(`(^|[\s,{])`+regexp.QuoteMeta(who)+`(/32|/128)?([\s,}]|$)`).FindAllString(text, -1))
}

// clean ends whoever answers at the socket.
func (c *changeover) clean() {
	if c.halt != nil {
		c.halt()
		c.floods.Wait()
	}
	_ = c.client("stop")
}

// TestMigrate: from a running fail2ban to ours and back, by one command each, with no ban
// lost, none that ends at another time, and no packet of an attacker's through, who sends
// one each 200 µs.
func TestMigrate(t *testing.T) {
	all := hosttest.Fail2bans(t)
	if *migrations != "all" {
		t.Parallel()
	}
	for _, r := range all {
		version := r.Release()
		for _, banaction := range []string{"nftables", "iptables-multiport", "iptables-ipset[type=multiport]"} {
			bans := 2000
			if *migrations != "all" {
				// What differs between them most: interval sets, and commands.
				if version != "1.1.1" || strings.Contains(banaction, "ipset") {
					continue
				}
				bans = 40
			}
			if strings.Contains(banaction, "ipset") && version != "1.1.1" {
				continue
			}
			t.Run(version+" "+banaction, func(t *testing.T) {
				if *migrations != "all" {
					t.Parallel()
				}
				c := newChangeover(t, r, banaction, bans)
				before := c.exported()
				out, code := c.migrate("--dry-run")
				for _, want := range []string{"fail2ban " + version, fmt.Sprintf("web: %d bans, %d seen in the kernel", bans, bans), "What will be done:", "1. put all bans into"} {
					if code != 0 || !strings.Contains(out, want) {
						t.Errorf("dry run, exit code %d, lacks %q:\n%s", code, want, out)
					}
				}
				if c.isOurs() {
					t.Fatal("the dry run has changed over")
				}
				began := time.Now()
				out, code = c.migrate()
				if code != 0 || !c.isOurs() {
					t.Fatalf("exit code %d:\n%s%s", code, out, c.log())
				}
				there := time.Since(began)
				c.whole("with ours")
				c.sameBans(before, c.exported())
				began = time.Now()
				out, code = c.migrate("--back", "--fail2ban", r.Program("fail2ban-server"))
				if code != 0 || c.isOurs() {
					t.Fatalf("back: exit code %d:\n%s%s", code, out, c.log())
				}
				t.Logf("%d bans: there in %.1f s, back in %.1f s", bans, there.Seconds(), time.Since(began).Seconds())
				c.whole("back")
				c.sameBans(before, c.exported())
				c.halt()
				c.floods.Wait()
				for i, n := range c.sent {
					if n < 1000 {
						t.Errorf("only %d packets were sent by %s", n, attackers[i].who)
					}
				}
			})
		}
	}
}

// exported are all bans as bailiff exports them, be it from fail2ban's database.
func (c *changeover) exported() map[string]banfile.Record {
	c.t.Helper()
	out, err := c.command(c.path("bailiff"), "bans", "export", "--config", c.tree).Output()
	if err != nil {
		c.t.Fatalf("export: %v", err)
	}
	all := map[string]banfile.Record{}
	for line := range strings.Lines(string(out)) {
		var r banfile.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			c.t.Fatalf("%v: %s", err, line)
		}
		all[r.IP] = r
	}
	if len(all) != c.bans {
		c.t.Errorf("%d bans are exported, want %d", len(all), c.bans)
	}
	return all
}

func (c *changeover) sameBans(before, after map[string]banfile.Record) {
	c.t.Helper()
	wrong := 0
	for ip, was := range before {
		if is := after[ip]; is != was {
			if wrong++; wrong < 5 {
				c.t.Errorf("%+v has become %+v", was, is)
			}
		}
	}
	if wrong > 0 {
		c.t.Errorf("%d bans have changed", wrong)
	}
}

func (c *changeover) log() string {
	text, _ := os.ReadFile(c.path("f2b.log"))
	return clipped(string(text), 4000)
}

// TestMigratePutBack: what fails, or is broken off, leaves fail2ban running with its bans,
// as if nothing had been done.
func TestMigratePutBack(t *testing.T) {
	newest := hosttest.Fail2ban(t)
	t.Parallel()
	t.Run("ours can't start", func(t *testing.T) {
		t.Parallel()
		c := newChangeover(t, newest, "nftables", 20)
		// Another bailiff keeps the table: a dry run does not meet it.
		other := c.command(c.path("bailiff"), "run", "--config", c.path("nothing"), "--socket", c.path("other.sock"), "--database", "none", "--log-target", c.path("other.log"))
		if err := os.MkdirAll(c.path("nothing"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.path("nothing"), "bailiff.toml"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = other.Process.Signal(syscall.SIGTERM)
			_ = other.Wait()
		}()
		c.until("the other one runs", func() bool {
			return c.command(c.path("bailiff"), "status", "--socket", c.path("other.sock")).Run() == nil
		})
		out, code := c.migrate()
		for _, want := range []string{"another bailiff", "putting everything back", "not done: everything is as before"} {
			if code != 1 || !strings.Contains(out, want) {
				t.Errorf("exit code %d, lacks %q:\n%s%s", code, want, out, c.log())
			}
		}
		if c.isOurs() {
			t.Error("ours runs")
		}
		c.whole("put back")
	})
	t.Run("broken off", func(t *testing.T) {
		t.Parallel()
		c := newChangeover(t, newest, "iptables-multiport", 20)
		p := c.command(c.path("bailiff"), "migrate", "--config", c.tree)
		p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a shell does: its Ctrl-C is for all that run then
		pipe, err := p.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var errs strings.Builder
		p.Stderr = &errs
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		buf := make([]byte, 1000)
		at := []string{"stopping fail2ban", "putting everything back"} // once more, on the way back
		for {
			n, err := pipe.Read(buf)
			said.Write(buf[:n])
			for len(at) > 0 && strings.Contains(said.String(), at[0]) {
				at = at[1:]
				_ = unix.Kill(-p.Process.Pid, unix.SIGINT)
			}
			if err != nil {
				break
			}
		}
		_ = p.Wait()
		if code := p.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "not done") {
			t.Errorf("exit code %d:\n%s%s", code, said.String(), errs.String())
		}
		if c.isOurs() {
			t.Error("ours runs")
		}
		c.whole("broken off")
	})
	t.Run("nobody reads", func(t *testing.T) {
		t.Parallel()
		c := newChangeover(t, newest, "nftables", 5)
		p := c.command(c.path("bailiff"), "migrate", "--config", c.tree)
		pipe, err := p.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		for buf := make([]byte, 1); !strings.Contains(said.String(), "trying whether"); {
			n, err := pipe.Read(buf)
			said.Write(buf[:n])
			if err != nil {
				t.Fatalf("%v:\n%s", err, said.String())
			}
		}
		pipe.Close()
		if err := p.Wait(); err != nil || !c.isOurs() {
			t.Errorf("%v", err)
		}
		c.whole("with ours")
	})
	t.Run("two at once", func(t *testing.T) {
		t.Parallel()
		c := newChangeover(t, newest, "nftables", 5)
		var out [2]string
		var code [2]int
		var both sync.WaitGroup
		for i := range out {
			both.Go(func() { out[i], code[i] = c.migrate() })
		}
		both.Wait()
		if code != [2]int{0, 1} && code != [2]int{1, 0} || !strings.Contains(out[0]+out[1], "nothing was changed") || !c.isOurs() {
			t.Errorf("exit codes %d:\n%s\n%s", code, out[0], out[1])
		}
		c.whole("with ours")
	})
	t.Run("a jail that is wrong", func(t *testing.T) {
		t.Parallel()
		c := newChangeover(t, newest, "nftables", 5)
		c.amend("filter.d/web.conf", "^ login failure <HOST>$", "^ login failure (<HOST>$")
		out, code := c.migrate()
		for _, want := range []string{"jail web can't start", "filter.d/web.conf:2", "nothing was changed"} {
			if code != 1 || !strings.Contains(out, want) {
				t.Errorf("exit code %d, lacks %q:\n%s", code, want, out)
			}
		}
		var j struct {
			Outcome string
			Jails   []struct{ Bans int }
		}
		out, code = c.migrate("--json")
		out, _, _ = strings.Cut(out, "\nbailiff: ")
		if err := json.Unmarshal([]byte(out), &j); err != nil || code != 1 || j.Outcome != "unchanged" || len(j.Jails) != 1 || j.Jails[0].Bans != 5 {
			t.Errorf("--json: exit code %d, %v:\n%s", code, err, out)
		}
		c.whole("refused")
	})
}

// TestMigrateOdds: bans that no database knows of, one that only the kernel holds, one of
// who is never banned here, and a table between that is there already.
func TestMigrateOdds(t *testing.T) {
	newest := hosttest.Fail2ban(t)
	t.Parallel()
	c := newChangeover(t, newest, "nftables", 20, func(c *changeover) {
		c.amend("fail2ban.local", "dbfile = "+c.path("f2b.sqlite3"), "dbfile = None")
		c.amend("jail.local", "[web]", "[web]\nignoreip = 198.51.100.50")
	})
	if err := c.client("set", "web", "banip", "198.51.100.50"); err != nil {
		t.Fatal(err)
	}
	c.on("nft", "add", "element", "inet", "f2b-table", "addr-set-web", "{ 198.51.100.99 }")
	// What a change over that was killed has left.
	nftScript(t, c.server, "table inet bailiff-migrate { set addr-set-old { type ipv4_addr; flags timeout; elements = { 198.51.100.98 timeout 1h }; }\nset addr-set-web { type ipv4_addr; }\n}")
	c.until("the ban is made", func() bool { return c.held("198.51.100.50") > 0 })
	p := c.command(c.path("bailiff"), "migrate", "--config", c.tree, "--json")
	out, err := p.Output()
	var r struct {
		Outcome string
		Bans    int
		Refused []struct{ Jail, IP, Why string }
	}
	if e := json.Unmarshal(out, &r); e != nil || err != nil || r.Outcome != "done" || r.Bans != 22 || len(r.Refused) != 1 ||
		r.Refused[0].IP != "198.51.100.50" || !strings.Contains(r.Refused[0].Why, "never banned in jail web: ignoreip") {
		t.Errorf("%v %v\n%s%s", e, err, out, c.log())
	}
	c.bans = 21
	c.whole("with ours")
	if c.held("198.51.100.99") == 0 || c.held("198.51.100.50") > 0 {
		t.Errorf("held: %s", c.on("nft", "list", "ruleset"))
	}
}

// TestMigrateFromTOML: back to fail2ban from a daemon that has a configuration of ours, with
// another database.
func TestMigrateFromTOML(t *testing.T) {
	newest := hosttest.Fail2ban(t)
	t.Parallel()
	c := newChangeover(t, newest, "nftables", 10)
	if err := c.client("stop"); err != nil {
		t.Fatal(err)
	}
	c.until("fail2ban has stopped", func() bool { return c.client("ping") != nil })
	if err := os.Remove(c.path("f2b.sqlite3")); err != nil {
		t.Fatal(err)
	}
	tree := c.tree
	c.tree = ""
	c.start("[default]\nignoreself = false\n[jail.web]\nenabled = true\nfilter = 'django-auth'\nlogpath = '" + c.path("web.log") + "'\nport = [80, 443]\nprotocol = 'udp'\nbantime = '2h'\n")
	c.tree = tree
	who := []string{attackers[0].who, attackers[1].who, "198.51.100.0/24"}
	for i := len(who); i < c.bans; i++ {
		who = append(who, attackerAddr(i).String())
	}
	if out := c.ask(append([]string{"ban", "web", "--force"}, who...)...); !strings.Contains(out, who[9]+" banned") {
		t.Fatalf("ban says %q", out)
	}
	n := c.through()
	out, code := c.migrate("--back", "--fail2ban", newest.Program("fail2ban-server"), "--socket", c.path("sock"))
	if code != 0 || c.isOurs() {
		t.Fatalf("exit code %d:\n%s%s", code, out, c.log())
	}
	if more := c.through() - n; more != 0 {
		t.Errorf("%d packets came through", more)
	}
	if n := c.banned(); n != c.bans {
		t.Errorf("%d bans, want %d\n%s%s", n, c.bans, out, c.log())
	}
	if c.held("198.51.100.0/24") == 0 {
		t.Errorf("the kernel does not hold the network: %s", c.on("nft", "list", "ruleset"))
	}
}
