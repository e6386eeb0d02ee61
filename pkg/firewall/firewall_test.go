package firewall

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

func nft(t testing.TB, args ...string) string {
	t.Helper()
	// Numbers, not names: /etc/protocols may be missing.
	out, err := exec.Command("nft", append([]string{"-p", "-y"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func prefix(s string) netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p
	}
	a := netip.MustParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen())
}

func open(t testing.TB, rules ...Rule) *Firewall {
	t.Helper()
	f, _, err := Open(Options{}, rules...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func contains(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("lacks %q:\n%s", w, text)
		}
	}
}

func TestRules(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t,
		Rule{Jail: "web", Ports: []PortRange{{80, 80}, {443, 443}}, Protocols: []string{"tcp"}},
		Rule{Jail: "ranges", Ports: []PortRange{{5060, 5061}, {5061, 5070}, {22, 22}}, Protocols: []string{"tcp", "udp"}, Drop: true},
		Rule{Jail: "one", Ports: []PortRange{{22, 22}}, Protocols: []string{"tcp"}},
		Rule{Jail: "all", Protocols: []string{"tcp", "udp"}},
		Rule{Jail: "everything"},
		Rule{Jail: "new", Ports: []PortRange{{25, 25}}, Protocols: []string{"tcp"}, NewOnly: true, Reject: [2]string{"drop", ""}},
		Rule{Jail: "ping", Ports: []PortRange{{80, 80}}, Protocols: []string{"icmp", "tcp", "icmpv6"}},
	)
	got := nft(t, "list", "table", "inet", "f2b-table")
	contains(t, got,
		"type filter hook input priority -1; policy accept;",
		"tcp dport { 80, 443 } ip saddr @addr-set-web reject with icmp port-unreachable",
		"tcp dport { 80, 443 } ip6 saddr @addr6-set-web reject with icmpv6 port-unreachable",
		"tcp dport { 22, 5060-5070 } ip saddr @addr-set-ranges drop",
		"udp dport { 22, 5060-5070 } ip6 saddr @addr6-set-ranges drop",
		"tcp dport 22 ip saddr @addr-set-one reject",
		"meta l4proto { 6, 17 } ip saddr @addr-set-all reject",
		"\t\tip saddr @addr-set-everything reject",
		"ct state new tcp dport 25 ip saddr @addr-set-new drop", "ct state new tcp dport 25 ip6 saddr @addr6-set-new reject",
		"tcp dport 80 ip saddr @addr-set-ping reject", "meta l4proto { 1, 58 } ip saddr @addr-set-ping reject", // these have no ports
	)
	if strings.Contains(got, "net-set") {
		t.Error("an interval set was made before it was needed")
	}
	if r, err := f.Check(); err != nil || len(r.Mended)+len(r.Notes) > 0 {
		t.Errorf("nobody changed anything: %v, %v", r, err)
	}
	// A jail that starts again leaves one rule of each kind.
	if _, err := f.AddJail(Rule{Jail: "one", Ports: []PortRange{{2222, 2222}}, Protocols: []string{"tcp"}}); err != nil {
		t.Fatal(err)
	}
	got = nft(t, "list", "table", "inet", "f2b-table")
	contains(t, got, "tcp dport 2222 ip saddr @addr-set-one reject")
	if strings.Contains(got, "dport 22 ") || strings.Count(got, "@addr-set-one") != 1 {
		t.Errorf("the old rule stayed:\n%s", got)
	}
	if _, err := f.RemoveJail("one"); err != nil {
		t.Fatal(err)
	}
	if got = nft(t, "list", "table", "inet", "f2b-table"); strings.Contains(got, "set-one") {
		t.Errorf("the jail is still there:\n%s", got)
	}
}

func TestHooks(t *testing.T) {
	hosttest.InNamespace(t)
	f, _, err := Open(Options{Table: "x", Chain: "y", Hooks: []Hook{{"input", -5}, {"forward", -10}}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.AddJail(Rule{Jail: "web", Ports: []PortRange{{80, 80}}, Protocols: []string{"tcp"}}); err != nil {
		t.Fatal(err)
	}
	got := nft(t, "list", "table", "inet", "x")
	contains(t, got, "chain y {", "hook input priority -5", "chain y-forward {", "hook forward priority -10")
	if strings.Count(got, "ip saddr @addr-set-web") != 2 {
		t.Errorf("not one rule a chain:\n%s", got)
	}
	if _, _, err := Open(Options{Hooks: []Hook{{"output", 0}}}); err == nil || !strings.Contains(err.Error(), "input, forward, prerouting") {
		t.Errorf("error %v", err)
	}
}

func TestElements(t *testing.T) {
	hosttest.InNamespace(t)
	rule := Rule{Jail: "web", Ports: []PortRange{{80, 80}}, Protocols: []string{"tcp"}}
	f := open(t, rule)
	ids := []string{"192.0.2.7", "2001:db8::7", "203.0.113.0/24", "255.255.255.0/24", "2001:db8:1::/48", "0.0.0.0/8"}
	var add []Change
	for _, id := range ids {
		add = append(add, Change{Jail: "web", ID: prefix(id), Left: time.Hour})
	}
	add[1].Left = 0
	if err := f.Apply(add); err != nil {
		t.Fatal(err)
	}
	contains(t, nft(t, "list", "set", "inet", "f2b-table", "addr-set-web"), "192.0.2.7 timeout 1h")
	contains(t, nft(t, "list", "set", "inet", "f2b-table", "net-set-web"), "203.0.113.0/24 timeout 1h", "0.0.0.0/8 timeout 1h")
	contains(t, nft(t, "list", "chain", "inet", "f2b-table", "f2b-chain"), "ip saddr @net-set-web", "ip6 saddr @net6-set-web")

	// Another daemon finds them, with what is left of their time.
	f.Close()
	f = open(t, rule)
	held, err := f.Elements(rule.Jail)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range held {
		s := e.ID.String()
		if e.ID.IsSingleIP() {
			s = e.ID.Addr().String()
		}
		got = append(got, s)
		permanent := s == "2001:db8::7"
		if permanent != (e.Left == 0) || e.Left > time.Hour || !permanent && e.Left < 59*time.Minute {
			t.Errorf("%s: %v left", s, e.Left)
		}
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("held %v, want %v", got, ids)
	}

	// Removing what ended by itself is no error, and the others still go.
	nft(t, "delete", "element", "inet", "f2b-table", "addr-set-web", "{ 192.0.2.7 }")
	var del []Change
	for _, id := range ids {
		del = append(del, Change{Jail: "web", ID: prefix(id), Remove: true})
	}
	if err := f.Apply(del); err != nil {
		t.Fatal(err)
	}
	if left, err := f.Elements("web"); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
	// So is giving another time to what is gone.
	if err := f.Apply([]Change{{Jail: "web", ID: prefix("192.0.2.7"), Left: 2 * time.Hour, Replace: true}}); err != nil {
		t.Fatal(err)
	}
	contains(t, nft(t, "list", "set", "inet", "f2b-table", "addr-set-web"), "192.0.2.7 timeout 2h")
	if err := f.Apply([]Change{{Jail: "web", ID: prefix("192.0.2.7"), Left: 3 * time.Hour, Replace: true}}); err != nil {
		t.Fatal(err)
	}
	contains(t, nft(t, "list", "set", "inet", "f2b-table", "addr-set-web"), "192.0.2.7 timeout 3h")

	nft(t, "flush", "ruleset")
	err = f.Apply([]Change{{Jail: "web", ID: prefix("192.0.2.8"), Left: time.Hour}})
	if err == nil || !strings.Contains(err.Error(), "addr-set-web") {
		t.Errorf("after a flush: %v", err)
	}
}

// TestPrefixes: networks of the jail's own length are looked up in hash sets,
// under a mask.
func TestPrefixes(t *testing.T) {
	hosttest.InNamespace(t)
	rule := Rule{Jail: "web", Ports: []PortRange{{80, 80}}, Protocols: []string{"tcp"}, Prefix4: 24, Prefix6: 64}
	f := open(t, rule)
	ids := []string{"192.0.2.7", "198.51.100.0/24", "203.0.0.0/16", "2001:db8::7", "2001:db8:1:2::/64", "2001:db8:3::/48"}
	var add []Change
	for _, id := range ids {
		add = append(add, Change{Jail: "web", ID: prefix(id), Left: time.Hour})
	}
	if err := f.Apply(add); err != nil {
		t.Fatal(err)
	}
	contains(t, nft(t, "list", "set", "inet", "f2b-table", "prefix4-set-web"), "198.51.100.0 timeout 1h")
	contains(t, nft(t, "list", "set", "inet", "f2b-table", "prefix6-set-web"), "2001:db8:1:2:: timeout 1h")
	contains(t, nft(t, "list", "set", "inet", "f2b-table", "net-set-web"), "203.0.0.0/16 timeout 1h")
	contains(t, nft(t, "list", "chain", "inet", "f2b-table", "f2b-chain"),
		"ip saddr & 255.255.255.0 == @prefix4-set-web", "ip6 saddr & ffff:ffff:ffff:ffff:: == @prefix6-set-web", "ip6 saddr @net6-set-web")
	f.Close()
	f = open(t, rule)
	held, err := f.Elements(rule.Jail)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range held {
		s := e.ID.String()
		if e.ID.IsSingleIP() {
			s = e.ID.Addr().String()
		}
		got = append(got, s)
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("held %v, want %v", got, ids)
	}
	if err := f.Apply([]Change{{Jail: "web", Clear: true}}); err != nil {
		t.Fatal(err)
	}
	if held, err := f.Elements("web"); err != nil || len(held) != 0 {
		t.Errorf("after Clear: %v %v", held, err)
	}
}

// The library loses elements of one message beyond 64 KiB; count what arrived.
func TestMany(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "web", Ports: []PortRange{{80, 80}}, Protocols: []string{"tcp"}})
	const n = 20_000
	var changes []Change
	for i := range n {
		changes = append(changes, Change{Jail: "web", ID: prefix(fmt.Sprintf("198.18.%d.%d", i>>8, i&255)), Left: time.Hour})
	}
	if err := f.Apply(changes); err != nil {
		t.Fatal(err)
	}
	held, err := f.Elements("web")
	if err != nil || len(held) != n {
		t.Errorf("%d elements in the set, want %d (%v)", len(held), n, err)
	}
}

func TestTimeout(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "web"})
	if err := f.Apply([]Change{{Jail: "web", ID: prefix("192.0.2.7"), Left: 50 * time.Millisecond}}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		held, err := f.Elements("web")
		if err != nil {
			t.Fatal(err)
		}
		if len(held) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the kernel did not end the ban")
		}
		runtime.Gosched()
	}
}

type fakeApplier struct {
	got   chan []Change
	block chan struct{}
}

func (f *fakeApplier) Apply(c []Change) error {
	f.got <- c
	<-f.block
	return nil
}

func TestQueueGathers(t *testing.T) {
	fake := &fakeApplier{make(chan []Change, 10), make(chan struct{})}
	q := NewQueue(fake, func([]Change, error) { t.Error("failed") }, nil)
	a, b := prefix("192.0.2.1"), prefix("192.0.2.2")
	q.Push(Change{Jail: "j", ID: a})
	<-fake.got // under way
	q.Push(Change{Jail: "j", ID: b, Left: 1}, Change{Jail: "j", ID: a, Remove: true})
	q.Push(Change{Jail: "j", ID: b, Remove: true}, Change{Jail: "j", ID: b, Left: 2})
	close(fake.block)
	_ = q.Sync(context.Background())
	got := <-fake.got
	want := []Change{{Jail: "j", ID: b, Left: 2, Replace: true}, {Jail: "j", ID: a, Remove: true}}
	if !slices.Equal(got, want) {
		t.Errorf("second transaction %+v, want %+v", got, want)
	}
	q.Close()
}

// TestSyncInStream: who waits for the queue waits for what was pushed before, however much
// is pushed later.
func TestSyncInStream(t *testing.T) {
	fake := &fakeApplier{make(chan []Change, 10), make(chan struct{})}
	q := NewQueue(fake, func([]Change, error) { t.Error("failed") }, nil)
	id := prefix("192.0.2.1")
	q.Push(Change{Jail: "j", ID: id})
	<-fake.got // under way
	q.Push(Change{Jail: "j", ID: id})
	synced := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	go func() { synced <- q.Sync(ctx) }()
	for waits := 0; waits == 0; time.Sleep(time.Millisecond) {
		q.mu.Lock()
		waits = len(q.syncs)
		q.mu.Unlock()
	}
	for range 2 { // there is always something
		q.Push(Change{Jail: "j", ID: id})
		fake.block <- struct{}{}
		<-fake.got
	}
	if err := <-synced; err != nil {
		t.Errorf("it waits for what came later: %v", err)
	}
	close(fake.block)
	q.Close()
}

func tryNft(script string) error { return exec.Command("nft", script).Run() }
