package firewall

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"

	"golang.org/x/sys/unix"
)

func nftFails(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("nft", args...).CombinedOutput(); err == nil {
		t.Errorf("nft %s does not fail: %s", strings.Join(args, " "), out)
	}
}

// check has the table made right and returns what was wrong with it.
func check(t testing.TB, f *Firewall) Report {
	t.Helper()
	r, err := f.Check()
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.Check()
	if err != nil || len(again.Mended)+len(again.Refill) > 0 {
		t.Errorf("not right after all: %+v %v", again, err)
	}
	return r
}

var webRule = Rule{Jail: "web", Ports: []PortRange{{80, 80}, {443, 443}}, Protocols: []string{"tcp"}}

// TestMended: what somebody else does to our table while we run is undone, and only that.
func TestMended(t *testing.T) {
	const table = "inet f2b-table "
	for _, c := range []struct {
		name   string
		does   []string
		mended string
		refill bool
	}{
		{"nothing of ours", []string{"add table ip x", "add table inet y", "add chain inet y c { type filter hook input priority 0; }"}, "", false},
		{"flush ruleset", []string{"flush ruleset"}, "table inet f2b-table was gone", true},
		{"the table", []string{"delete table " + table}, "table inet f2b-table was gone", true},
		{"the chain", []string{"delete chain " + table + "f2b-chain"}, "chain f2b-chain was gone", false},
		{"the rules", []string{"flush chain " + table + "f2b-chain"}, "rules of jail web were missing", false},
		{"a rule of the same kind", []string{"add rule " + table + "f2b-chain tcp dport { 80, 443 } ip saddr @addr-set-web reject"}, "1 removed", false},
		{"a rule for one port", []string{"add rule " + table + "f2b-chain tcp dport 80 ip saddr @addr-set-web reject"}, "1 removed", false},
		{"a set", []string{"flush chain " + table + "f2b-chain", "delete set " + table + "addr6-set-web"}, "sets of jail web were gone: addr6-set-web", true},
		{"a set of another type", []string{
			"flush chain " + table + "f2b-chain", "delete set " + table + "addr-set-web", "add set " + table + "addr-set-web { type ipv6_addr; }",
		}, "set addr-set-web was type ipv6_addr, and should be type ipv4_addr, flags timeout", true},
		{"the chain's hook", []string{"delete chain " + table + "f2b-chain", "add chain " + table + "f2b-chain { type filter hook forward priority 7; }"}, "chain f2b-chain is of type filter, hook forward, priority 7", false},
		{"the policy", []string{"add chain " + table + "f2b-chain { policy drop; }"}, "had the policy drop", false},
		{"asleep and empty", []string{"delete table " + table, "add table " + table + "{ flags dormant; }"}, "was dormant", true},
		{"asleep", []string{"add table " + table + "{ flags dormant; }"}, "was dormant", false},
		{"a rule of somebody's own", []string{"insert rule " + table + "f2b-chain ip saddr 203.0.113.1 accept", "add rule " + table + "f2b-chain ip saddr @addr-set-web counter"}, "", false},
		{"accept before all", []string{"insert rule " + table + "f2b-chain counter accept"}, "let everybody in before our rules", false},
		{"return before all", []string{"insert rule " + table + "f2b-chain return"}, "let everybody in before our rules", false},
		{"goto before all", []string{"add chain " + table + "other", "insert rule " + table + "f2b-chain log goto other"}, "let everybody in before our rules", false},
		{"our rules moved behind an accept", []string{
			"flush chain " + table + "f2b-chain", "add rule " + table + "f2b-chain accept",
			"add rule " + table + "f2b-chain tcp dport { 80, 443 } ip saddr @addr-set-web reject",
		}, "let everybody in before our rules", false},
		{"a chain of somebody's own", []string{"add chain " + table + "out { type filter hook output priority 0; }", "add rule " + table + "out ip daddr @addr-set-web drop"}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			hosttest.InNamespace(t)
			f := open(t, webRule)
			if err := f.Apply([]Change{{Jail: "web", ID: prefix("192.0.2.7"), Left: time.Hour}}); err != nil {
				t.Fatal(err)
			}
			if f.Changed() {
				t.Error("what we did ourselves is taken for somebody else's")
			}
			for _, s := range c.does {
				nft(t, s)
			}
			if !f.Changed() || f.Changed() {
				t.Error("it is not noticed once")
			}
			got := check(t, f)
			if text := strings.Join(got.Mended, "; "); !strings.Contains(text, c.mended) || c.mended == "" && text != "" {
				t.Errorf("mended %q, want %q", text, c.mended)
			}
			if (len(got.Refill) == 1) != c.refill && !strings.Contains(c.name, "another type") {
				t.Errorf("to refill: %q, want %v", got.Refill, c.refill)
			}
			list := nft(t, "list", "ruleset")
			for _, want := range []string{
				"type filter hook input priority -1; policy accept;",
				"tcp dport { 80, 443 } ip saddr @addr-set-web reject with icmp port-unreachable", "tcp dport { 80, 443 } ip6 saddr @addr6-set-web reject",
			} {
				if strings.Count(list, want) != 1 {
					t.Errorf("not once %q:\n%s", want, list)
				}
			}
			for _, s := range c.does {
				if _, rule, ok := strings.Cut(s, "f2b-chain ip saddr "); ok && !strings.Contains(list, rule) {
					t.Errorf("a rule that is not ours is gone: %q\n%s", rule, list)
				}
			}
			_, first, _ := strings.Cut(list, "policy accept;\n")
			if strings.HasPrefix(c.mended, "let everybody") && !regexp.MustCompile(`^.* ip saddr @addr-set-web reject.*\n.* ip6 saddr @addr6-set-web reject`).MatchString(first) {
				t.Errorf("our rules do not come first:\n%s", list)
			}
			if f.Changed() {
				t.Error("our own repair is taken for somebody else's change")
			}
		})
	}
}

// TestAddedMeanwhile: where a jail is added to a table that somebody has just removed,
// the other jails are named whose bans are gone.
func TestAddedMeanwhile(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, webRule)
	nft(t, "flush", "ruleset")
	report, err := f.AddJail(Rule{Jail: "other"})
	if err != nil || !slices.Equal(report.Refill, []string{"web"}) {
		t.Errorf("%+v %v", report, err)
	}
	// What belongs to a jail that has ended harms no other.
	if _, err := f.RemoveJail("other"); err != nil {
		t.Fatal(err)
	}
	err = f.Apply([]Change{{Jail: "other", ID: prefix("192.0.2.1")}, {Jail: "web", ID: prefix("192.0.2.2"), Left: time.Hour}})
	if held, look := f.Elements("web"); err == nil || look != nil || len(held) != 1 || f.Owes("web") {
		t.Errorf("%v; held %v %v", err, held, look)
	}
}

// TestEmptied: a set that somebody emptied is found, without being read.
func TestEmptied(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "a"}, Rule{Jail: "b"})
	if err := f.Apply(append(filled("a", 3000, 0), filled("b", 10, 0)...)); err != nil {
		t.Fatal(err)
	}
	if got := f.Emptied(); got != nil {
		t.Errorf("emptied: %q", got)
	}
	nft(t, "flush", "set", "inet", "f2b-table", "addr-set-a")
	if got := f.Emptied(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("emptied: %q, want a", got)
	}
	if got := f.Emptied(); got != nil {
		t.Errorf("told twice: %q", got)
	}
}

// TestNotEmptied: a set that nobody used, or whose bans have ended or were lifted, was emptied
// by nobody.
func TestNotEmptied(t *testing.T) {
	hosttest.InNamespace(t)
	rules := []Rule{{Jail: "a"}, {Jail: "b", Prefix6: 64}}
	f := open(t, rules...)
	if err := f.Apply([]Change{{Jail: "b", ID: prefix("192.0.2.1"), Left: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	f, _, err := Open(Options{}, rules...)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	emptied := func(when string, want ...string) {
		t.Helper()
		if got := f.Emptied(); !slices.Equal(got, want) {
			t.Errorf("%s: emptied: %q, want %q", when, got, want)
		}
	}
	emptied("opened again")
	apply := func(changes ...Change) {
		t.Helper()
		if err := f.Apply(changes); err != nil {
			t.Fatal(err)
		}
	}
	apply(Change{Jail: "a", ID: prefix("192.0.2.2"), Left: time.Hour}, Change{Jail: "a", ID: prefix("192.0.2.3")})
	apply(Change{Jail: "a", ID: prefix("2001:db8::1"), Left: 100 * time.Millisecond}, Change{Jail: "a", ID: prefix("198.51.100.0/24"), Left: time.Hour})
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if held, err := f.Elements("a"); err != nil || time.Now().After(end) {
			t.Fatal(held, err)
		} else if len(held) == 3 {
			break
		}
	}
	emptied("a ban has ended")
	apply(Change{Jail: "a", ID: prefix("198.51.100.0/24"), Remove: true})
	apply(Change{Jail: "a", ID: prefix("192.0.2.2"), Remove: true})
	emptied("bans were lifted")
	nft(t, "flush", "set", "inet", "f2b-table", "addr-set-a")
	emptied("one for ever was there", "a")
	apply(Change{Jail: "a", Clear: true})
	emptied("all were lifted")
	nft(t, "flush", "set", "inet", "f2b-table", "addr-set-b")
	emptied("one of before was there", "b")
}

// TestReopened: what is right already costs no transaction.
func TestReopened(t *testing.T) {
	hosttest.InNamespace(t)
	rules := []Rule{webRule, {Jail: "all", Protocols: []string{"tcp", "udp"}, Drop: true}, {Jail: "some:where", Prefix4: 24, Prefix6: 64, Ports: []PortRange{{22, 22}, {1000, 2000}, {65535, 65535}}, Protocols: []string{"tcp", "udp"}}}
	f := open(t, rules...)
	var changes []Change
	for _, id := range []string{"192.0.2.7", "198.51.100.0/24", "203.0.0.0/16", "2001:db8::7", "2001:db8:1:2::/64", "2001:db8:3::/48"} {
		changes = append(changes, Change{Jail: "some:where", ID: prefix(id), Left: time.Hour})
	}
	if err := f.Apply(changes); err != nil {
		t.Fatal(err)
	}
	before := nft(t, "-a", "list", "ruleset")
	f.Close()
	g, err := NewGenerations()
	if err != nil {
		t.Fatal(err)
	}
	f, report, err := Open(Options{}, rules...)
	if err != nil || len(report.Mended)+len(report.Notes)+len(report.Refill) > 0 {
		t.Errorf("%+v %v", report, err)
	}
	defer f.Close()
	if g.Changed() {
		t.Errorf("it was changed:\n%s\n%s", before, nft(t, "-a", "list", "ruleset"))
	}
	if held, err := f.Elements("some:where"); err != nil || len(held) != len(changes) {
		t.Errorf("held: %v %v", held, err)
	}
	// nft reads its own listing back, whatever a jail is called.
	saved := filepath.Join(t.TempDir(), "saved")
	if err := os.WriteFile(saved, []byte("flush ruleset\n"+nft(t, "list", "ruleset")), 0o600); err != nil {
		t.Fatal(err)
	}
	nft(t, "-f", saved)
	if got := check(t, f); len(got.Mended) > 0 {
		t.Errorf("after nft has read it back: %+v", got)
	}
}

// TestLock: a table is one daemon's, and its lock is nobody else's to take.
func TestLock(t *testing.T) {
	hosttest.InNamespace(t)
	dir := filepath.Join(t.TempDir(), "run")
	was := LockDir
	LockDir = dir
	t.Cleanup(func() { LockDir = was })
	f := open(t)
	if info, err := os.Stat(f.lock.Name()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	_, _, err := Open(Options{})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("another bailiff (process %d) keeps the nftables table inet f2b-table", os.Getpid())) {
		t.Errorf("a second one: %v", err)
	}
	other, _, err := Open(Options{Table: "other"})
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	name := f.lock.Name()
	f.Close()
	// A link in its place is not followed.
	target := filepath.Join(t.TempDir(), "target")
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
	f, report, err := Open(Options{})
	if err != nil || len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "a second bailiff on the same table would not be noticed") {
		t.Errorf("%+v %v", report, err)
	} else {
		f.Close()
	}
	if _, err := os.Stat(target); err == nil {
		t.Error("the link was followed")
	}
	// Where others may write, they could take it.
	for _, c := range []struct {
		what   string
		change func() error
	}{
		{"written by others", func() error { return os.Chmod(dir, 0o777) }},
		{"user 65534", func() error { return errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, 65534, 65534)) }},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(Options{}); err == nil || !strings.Contains(err.Error(), c.what) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// TestOwned: a table that is one program's alone is told as such.
func TestOwned(t *testing.T) {
	hosttest.InNamespace(t)
	owner := exec.Command("nft", "-i")
	in, err := owner.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = owner.Wait()
	}()
	fmt.Fprintln(in, "add table inet f2b-table { flags owner; }")
	if !hosttest.Soon(func() bool { return strings.Contains(nft(t, "list", "tables"), "f2b-table") }) {
		t.Fatal("nft -i makes no table")
	}
	_, _, err = Open(Options{}, webRule)
	if err == nil || !strings.Contains(err.Error(), "made it with `flags owner`") || !strings.Contains(err.Error(), fmt.Sprint(owner.Process.Pid)) {
		t.Errorf("%v, want that of process %d", err, owner.Process.Pid)
	}
}

// TestLeaving: sets that can't be removed are emptied, and removed when they can be.
func TestLeaving(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, webRule)
	if err := f.Apply([]Change{{Jail: "web", ID: prefix("192.0.2.7"), Left: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	nft(t, "add", "rule", "inet", "f2b-table", "f2b-chain", "ip", "saddr", "@addr-set-web", "counter")
	report, err := f.RemoveJail("web")
	if err != nil || len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "can't be removed") {
		t.Errorf("%+v %v", report, err)
	}
	list := nft(t, "list", "ruleset")
	if strings.Contains(list, "192.0.2.7") || strings.Contains(list, "reject") || strings.Contains(list, "addr6-set") {
		t.Errorf("it still shuts out:\n%s", list)
	}
	nft(t, "flush", "chain", "inet", "f2b-table", "f2b-chain")
	if report, err = f.Check(); err != nil || len(report.Notes) > 0 {
		t.Errorf("%+v %v", report, err)
	}
	nftFails(t, "list", "set", "inet", "f2b-table", "addr-set-web")
}

// TestRanges: a range that somebody else put into a set of networks becomes networks.
func TestRanges(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "a"})
	if err := f.Apply([]Change{{Jail: "a", ID: prefix("198.51.100.0/24"), Left: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	nft(t, "add", "element", "inet", "f2b-table", "net-set-a", "{ 203.0.113.5-203.0.113.10 timeout 1h }")
	for range 2 {
		held, err := f.Elements("a")
		var got []string
		for _, e := range held {
			got = append(got, e.ID.String())
		}
		slices.Sort(got)
		if want := []string{"198.51.100.0/24", "203.0.113.10/32", "203.0.113.5/32", "203.0.113.6/31", "203.0.113.8/31"}; err != nil || !slices.Equal(got, want) {
			t.Fatalf("%q %v, want %q", got, err, want)
		}
	}
	list := nft(t, "list", "set", "inet", "f2b-table", "net-set-a")
	if strings.Contains(list, "203.0.113.5-") || !strings.Contains(list, "203.0.113.6/31") {
		t.Errorf("the set has:\n%s", list)
	}
}

// TestHoldsList: a list in the kernel is compared with what it should be.
func TestHoldsList(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "feed"})
	list := []Interval{
		{prefix("198.51.100.0/24").Addr(), prefix("198.51.100.9").Addr()},
		{prefix("203.0.113.0/24").Addr(), prefix("203.0.113.255").Addr()},
		{prefix("2001:db8::").Addr(), prefix("2001:db8::ff").Addr()},
	}
	if err := f.LoadList("feed", list); err != nil {
		t.Fatal(err)
	}
	holds := func(want bool) {
		t.Helper()
		if got, err := f.HoldsList("feed", list); got != want || err != nil {
			t.Errorf("%v %v, want %v", got, err, want)
		}
	}
	holds(true)
	for _, change := range [][]string{
		{"delete", "element", "inet", "f2b-table", "net-set-feed", "{ 203.0.113.0/24 }"},
		{"add", "element", "inet", "f2b-table", "net6-set-feed", "{ 2001:db8:1::/48 }"},
		{"add", "element", "inet", "f2b-table", "addr-set-feed", "{ 192.0.2.7 }"},
	} {
		nft(t, change...)
		holds(false)
		if err := f.LoadList("feed", list); err != nil {
			t.Fatal(err)
		}
		holds(true)
	}
}

// TestHammered: another hand that changes the table all the time holds nobody up, and
// what it did is undone when it ends.
func TestHammered(t *testing.T) {
	hosttest.InNamespace(t)
	var rules []Rule
	for i := range 40 {
		rules = append(rules, Rule{Jail: fmt.Sprintf("j%d", i)})
	}
	f := open(t, rules...)
	var wg sync.WaitGroup
	other, _, err := Open(Options{Table: "other"}, Rule{Jail: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	script := filepath.Join(t.TempDir(), "s")
	text := ""
	for i := range 40 {
		text += fmt.Sprintf("add element inet f2b-table addr-set-j%d { 203.0.113.%d timeout 1h }\nflush set inet f2b-table addr-set-j%d\n", i, i, i)
	}
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ns)
	done := make(chan bool)
	wg.Go(func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		for i := range 200 {
			if err := f.Apply([]Change{{Jail: fmt.Sprintf("j%d", i%40), ID: prefix(fmt.Sprintf("192.0.2.%d", i)), Left: time.Hour}}); err != nil {
				t.Error(err)
			}
		}
	})
	for working := true; working; {
		nft(t, "-f", script)
		if f.Changed() {
			if _, err := f.Check(); err != nil {
				t.Error(err)
			}
			f.Emptied()
		}
		select {
		case <-done:
			working = false
		default:
		}
	}
	wg.Wait()
	check(t, f)
}

// TestReconfigure: other hooks, another chain or table take effect while we run, with all
// that the sets hold.
func TestReconfigure(t *testing.T) {
	for _, c := range []struct {
		name  string
		opts  Options
		want  []string
		never []string
	}{
		{"hook", Options{Hooks: []Hook{{"prerouting", -300}}}, []string{"type filter hook prerouting priority -300", "table inet f2b-table"}, []string{"hook input"}},
		{"hooks", Options{Hooks: []Hook{{"input", -1}, {"forward", -1}}}, []string{"chain f2b-chain-forward"}, nil},
		{"chain", Options{Chain: "INPUT"}, []string{"chain INPUT {"}, []string{"chain f2b-chain"}},
		{"table", Options{Table: "bailiff"}, []string{"table inet bailiff {"}, []string{"table inet f2b-table"}},
		{"table and chain", Options{Table: "bailiff", Chain: "x", Hooks: []Hook{{"forward", 3}}}, []string{"table inet bailiff {", "chain x {", "hook forward priority 3"}, []string{"table inet f2b-table", "hook input"}},
	} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, shared), func(t *testing.T) {
				hosttest.InNamespace(t)
				f := open(t, webRule, Rule{Jail: "nets", Prefix4: 24})
				changes := []Change{
					{Jail: "web", ID: prefix("192.0.2.7"), Left: time.Hour},
					{Jail: "web", ID: prefix("2001:db8::/48")},
					{Jail: "nets", ID: prefix("198.51.100.0/24"), Left: time.Hour},
					{Jail: "nets", ID: prefix("203.0.0.0/16"), Left: time.Hour},
				}
				if err := f.Apply(changes); err != nil {
					t.Fatal(err)
				}
				never := c.never
				if shared { // with somebody else
					nft(t, "add", "chain", "inet", "f2b-table", "theirs", "{ type filter hook output priority 0; }")
					never = slices.DeleteFunc(slices.Clone(never), func(s string) bool { return strings.HasPrefix(s, "table") })
				}
				if _, err := f.Reconfigure(c.opts); err != nil {
					t.Fatal(err)
				}
				if r := check(t, f); len(r.Mended) > 0 {
					t.Errorf("%+v", r)
				}
				list := nft(t, "list", "ruleset")
				for _, want := range append(c.want, "192.0.2.7 timeout", "2001:db8::/48", "198.51.100.0 timeout", "203.0.0.0/16 timeout", "@net6-set-web", "ip saddr & 255.255.255.0 == @prefix4-set-nets", "@net-set-nets") {
					if !strings.Contains(list, want) {
						t.Errorf("lacks %q:\n%s", want, list)
					}
				}
				if shared && !strings.Contains(list, "chain theirs") {
					t.Errorf("what is somebody else's is gone:\n%s", list)
				}
				for _, text := range never {
					if strings.Contains(list, text) {
						t.Errorf("still %q:\n%s", text, list)
					}
				}
				for _, s := range []string{"192.0.2.7 ", "@addr-set-web "} {
					if hooks := max(1, len(c.opts.Hooks)); strings.HasPrefix(s, "192") && strings.Count(list, s) > 2 || // the guard may have it, too
						strings.HasPrefix(s, "@") && strings.Count(list, s) != hooks {
						t.Errorf("%d times %q:\n%s", strings.Count(list, s), s, list)
					}
				}
				if err := f.Apply([]Change{{Jail: "web", ID: prefix("192.0.2.7"), Remove: true}}); err != nil {
					t.Fatal(err)
				}
				if held, err := f.Elements("web"); err != nil || len(held) != 1 {
					t.Errorf("%v %v", held, err)
				}
			})
		}
	}
}

// TestManyUnknown: sets of very many jails that are not configured are no reason for as
// many lines.
func TestManyUnknown(t *testing.T) {
	hosttest.InNamespace(t)
	script := "add table inet f2b-table\n"
	for i := range 500 {
		script += fmt.Sprintf("add set inet f2b-table addr-set-j%d { type ipv4_addr; }\n", i)
	}
	path := filepath.Join(t.TempDir(), "sets")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	nft(t, "-f", path)
	f, report, err := Open(Options{}, webRule)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(report.Notes) != unknownMost+1 || !strings.Contains(report.Notes[unknownMost], "sets of 480 more jails") {
		t.Errorf("%d notes: %q", len(report.Notes), report.Notes[len(report.Notes)-1:])
	}
}
