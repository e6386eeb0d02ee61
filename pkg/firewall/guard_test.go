package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// guarded compares the guard with the jails' sets, as the kernel has them. It returns what
// is wrong: whom a jail has and the guard lacks, or has for less long; with exact, whom the
// guard has though no jail does, too.
func guarded(t testing.TB, f *Firewall, exact bool, loose ...netip.Prefix) (wrong []string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.look()
	if err != nil {
		t.Fatal(err)
	}
	guard := map[netip.Prefix]time.Duration{} // 0: for ever
	rules, names := 0, map[string]bool{}
	for _, r := range s.rules {
		if !r.isGuard() {
			continue
		}
		rules++
		for _, part := range strings.Split(r.text, "; ") {
			if name, ok := strings.CutPrefix(part, "@"); ok {
				names[name] = true
			}
		}
	}
	began := time.Now()
	held := map[netip.Prefix]time.Duration{} // by the guard's key, the longest
	for jail, j := range f.jails {
		for kind, set := range j.sets {
			if set == nil {
				continue
			}
			spans, err := f.readSpans(set.Name, j.rule.bitsOf(kind), set.Interval)
			if err != nil {
				t.Fatal(err)
			}
			if set.Interval && j.rule.List {
				if len(spans) > 0 && rules > 0 && !names[set.Name] {
					wrong = append(wrong, fmt.Sprintf("the guard doesn't ask set %s of list %s", set.Name, jail))
				}
				continue
			}
			for _, s := range spans {
				for _, p := range s.prefixes() {
					key := guardKey(p)
					if left, ok := held[key]; ok {
						held[key] = longer(left, s.left)
					} else {
						held[key] = s.left
					}
				}
			}
		}
	}
	reading := time.Since(began)
	sets := 0
	for _, set := range s.sets {
		if !isGuardSet(set.name) {
			continue
		}
		sets++
		bits, full := int(set.keyLen)*8, int(set.keyLen)*8
		if _, length, ok := strings.Cut(set.name, "-guard"); ok {
			if _, n, ok := strings.Cut(length, "-"); ok {
				bits, _ = strconv.Atoi(n)
			}
		}
		spans, err := f.readSpans(set.name, bits, false)
		if err != nil {
			t.Fatal(err)
		}
		if rules > 0 && !names[set.name] {
			wrong = append(wrong, "no rule asks "+set.name)
		}
		for _, s := range spans {
			guard[netip.PrefixFrom(s.first, bits)] = s.left
		}
		_ = full
	}
	if rules == 0 {
		return wrong
	}
	if rules != 2*len(f.chains) {
		wrong = append(wrong, fmt.Sprintf("%d rules in %d chains", rules, len(f.chains)))
	}
	for key, left := range held {
		have, ok := guard[key]
		switch {
		case !ok:
			wrong = append(wrong, fmt.Sprintf("%v is not in the guard", key))
		case have != 0 && (left == 0 || have < left): // the guard was read later
			wrong = append(wrong, fmt.Sprintf("%v is in the guard for %v, in a jail for %v", key, have, left))
		case exact && left != 0 && !slices.Contains(loose, key) && (have == 0 || have > left+reading+guardSlack+(endAgrees+2)*time.Second):
			wrong = append(wrong, fmt.Sprintf("%v is in the guard for %v, in a jail for %v only", key, have, left))
		}
	}
	for key, left := range guard {
		if _, ok := held[key]; !ok && exact && (left == 0 || left > guardSlack+time.Second) {
			wrong = append(wrong, fmt.Sprintf("%v is in the guard for %v, and in no jail", key, left))
		}
	}
	return wrong
}

func guardIs(t testing.TB, f *Firewall, up bool) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if (f.guard.state == guardUp) != up {
		t.Fatalf("guard in state %d, up wanted: %v", f.guard.state, up)
	}
}

func inGuard(t testing.TB, set, what string) bool {
	t.Helper()
	return strings.Contains(nft(t, "list", "set", "inet", "f2b-table", set), what)
}

// TestGuardListed: as nft shows it.
func TestGuardListed(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, webRule, Rule{Jail: "nets", Prefix6: 56})
	contains(t, nft(t, "list", "chain", "inet", "f2b-table", "f2b-chain"),
		"\t\tip saddr != @f2b-guard4 return comment \"bailiff: banned by no jail\"\n\t\tip6 saddr != @f2b-guard6 return comment \"bailiff: banned by no jail\"\n\t\tip saddr @addr-set-nets")
	contains(t, nft(t, "list", "table", "inet", "f2b-table"), "comment \"bailiff: whom any jail bans; asked before the jails' rules\"")
	for _, ch := range []Change{
		{Jail: "web", ID: prefix("192.0.2.7"), Left: time.Hour},
		{Jail: "web", ID: prefix("203.0.113.128/25"), Left: time.Hour},
		{Jail: "nets", ID: prefix("2001:db8::/56"), Left: time.Hour},
	} {
		if err := f.Apply([]Change{ch}); err != nil {
			t.Fatal(err)
		}
	}
	list := nft(t, "list", "table", "inet", "f2b-table")
	contains(t, list,
		"ip saddr != @f2b-guard4 ip saddr & 255.255.255.0 != @f2b-guard4-24 return",
		"ip6 saddr != @f2b-guard6 ip6 saddr & ffff:ffff:ffff:: != @f2b-guard6-48 return",
		"elements = { 203.0.113.0 timeout", "elements = { 2001:db8:: timeout")
	if r := check(t, f); len(r.Mended)+len(r.Notes) > 0 {
		t.Errorf("%+v", r)
	}
	if wrong := guarded(t, f, true); len(wrong) > 0 {
		t.Error(wrong)
	}
	// Who comes after us and knows nothing of it finds none.
	f.Close()
	if list := nft(t, "list", "table", "inet", "f2b-table"); strings.Contains(list, "guard") || !strings.Contains(list, "192.0.2.7 timeout") {
		t.Errorf("after Close:\n%s", list)
	}
}

// TestGuardUntilLast: who is banned by two jails stays in the guard until the last lets him
// go, for the longest of their times.
func TestGuardUntilLast(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, webRule, Rule{Jail: "two"}, Rule{Jail: "three"})
	id := prefix("192.0.2.7")
	step := func(in bool, changes ...Change) {
		t.Helper()
		for i := range changes {
			changes[i].ID = id
		}
		if err := f.Apply(changes); err != nil {
			t.Fatal(err)
		}
		if inGuard(t, "f2b-guard4", "192.0.2.7") != in {
			t.Errorf("after %+v: in the guard should be %v", changes, in)
		}
		if wrong := guarded(t, f, true); len(wrong) > 0 {
			t.Errorf("after %+v: %v", changes, wrong)
		}
	}
	step(true, Change{Jail: "web", Left: time.Hour})
	step(true, Change{Jail: "two", Left: 2 * time.Hour}, Change{Jail: "three"})
	step(true, Change{Jail: "three", Remove: true})
	step(true, Change{Jail: "web", Left: 3 * time.Hour, Replace: true})
	step(true, Change{Jail: "web", Left: time.Minute, Replace: true})
	step(true, Change{Jail: "two", Remove: true})
	step(true, Change{Jail: "two", Left: time.Hour}, Change{Jail: "web", Remove: true})
	step(false, Change{Jail: "two", Remove: true})
	step(true, Change{Jail: "web"}, Change{Jail: "two", Left: time.Hour})
	if _, err := f.RemoveJail("web"); err != nil {
		t.Fatal(err)
	}
	step(true)
	step(false, Change{Jail: "two", Clear: true})
}

// TestGuardBesideOthers: with somebody else's rules in our chain there is no guard, but for
// those of fail2ban's kind, whose sets it asks.
func TestGuardBesideOthers(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, webRule)
	guardIs(t, f, true)
	nft(t, "add", "rule", "inet", "f2b-table", "f2b-chain", "udp", "dport", "9", "counter", "drop")
	check(t, f)
	guardIs(t, f, false)
	if list := nft(t, "list", "table", "inet", "f2b-table"); strings.Contains(list, "guard") {
		t.Errorf("still a guard:\n%s", list)
	}
	nft(t, "flush", "chain", "inet", "f2b-table", "f2b-chain")
	check(t, f)
	guardIs(t, f, true)
	nft(t, "add", "set", "inet", "f2b-table", "addr-set-old", "{ type ipv4_addr; }")
	nft(t, "add", "rule", "inet", "f2b-table", "f2b-chain", "tcp", "dport", "22", "ip", "saddr", "@addr-set-old", "reject")
	check(t, f)
	guardIs(t, f, true)
	contains(t, nft(t, "list", "table", "inet", "f2b-table"), "ip saddr != @f2b-guard4 ip saddr != @addr-set-old return")
	nft(t, "add", "rule", "inet", "f2b-table", "f2b-chain", "ip", "saddr", "@f2b-guard4", "counter")
	check(t, f)
	guardIs(t, f, false)
}

// TestGuardAfterKill: a daemon that was killed leaves its guard; the next one makes its own
// when it knows what the sets hold.
func TestGuardAfterKill(t *testing.T) {
	hosttest.InNamespace(t)
	rules := []Rule{webRule, {Jail: "two"}}
	f := open(t, rules...)
	if err := f.Apply([]Change{{Jail: "web", ID: prefix("192.0.2.7"), Left: time.Hour}, {Jail: "two", ID: prefix("2001:db8::7")}}); err != nil {
		t.Fatal(err)
	}
	f.guard.sets = nil // as if killed
	f.Close()
	if !inGuard(t, "f2b-guard4", "192.0.2.7") {
		t.Fatal("that was no kill")
	}
	f = open(t, rules...)
	guardIs(t, f, false)
	if got := f.Unread(); !slices.Equal(got, []string{"two", "web"}) {
		t.Errorf("unread: %v", got)
	}
	if wrong := guarded(t, f, true); len(wrong) > 0 {
		t.Error(wrong)
	}
	for _, jail := range f.Unread() {
		if _, err := f.Elements(jail); err != nil {
			t.Fatal(err)
		}
	}
	if !f.GuardDue() {
		t.Error("nobody is told")
	}
	check(t, f)
	guardIs(t, f, true)
	if wrong := guarded(t, f, true); len(wrong) > 0 || !inGuard(t, "f2b-guard6", "2001:db8::7") {
		t.Error(wrong)
	}
}

// TestGuardMany: a guard too large for one transaction is filled in pieces, beside which
// bans go on.
func TestGuardMany(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "x"})
	right := func() { // by and by: while the kernel moves a set into a larger table, it doesn't tell all of it
		t.Helper()
		wrong := guarded(t, f, true)
		for end := time.Now().Add(2 * time.Minute); len(wrong) > 0; wrong = guarded(t, f, true) {
			if time.Now().After(end) {
				t.Fatal(len(wrong), wrong[0])
			}
		}
	}
	const many = 3*guardAtOnce + 17
	for chunk := range slices.Chunk(filled("x", many, 100), perTransaction) {
		if err := f.Apply(chunk); err != nil {
			t.Fatal(err)
		}
	}
	right()
	nft(t, "flush", "set", "inet", "f2b-table", "f2b-guard4")
	f.mu.Lock()
	f.doubtGuard()
	if _, err := f.settle(false); err != nil || f.guard.state != guardFilling {
		t.Fatal(err, f.guard.state)
	}
	if err := f.fillSome(); err != nil {
		t.Fatal(err)
	}
	f.mu.Unlock()
	if err := f.Apply([]Change{{Jail: "x", ID: prefix("192.0.2.7")}, {Jail: "x", ID: prefix("198.18.0.3"), Remove: true}}); err != nil {
		t.Fatal(err)
	}
	check(t, f)
	guardIs(t, f, true)
	right()
	if lacked, idle, err := f.CheckGuard(); lacked+idle != 0 || err != nil {
		t.Error(lacked, idle, err)
	}
	nft(t, "delete", "element", "inet", "f2b-table", "f2b-guard4", "{ 198.18.1.1, 192.0.2.7 }")
	nft(t, "add", "element", "inet", "f2b-table", "f2b-guard4", "{ 192.0.2.8, 192.0.2.9 timeout 1h, 192.0.2.10 timeout 1h }")
	if lacked, idle, err := f.CheckGuard(); lacked != 2 || idle != 3 || err != nil {
		t.Error(lacked, idle, err)
	}
	right()
}

var guardJails = []Rule{
	{Jail: "a"},
	{Jail: "b", Ports: []PortRange{{22, 22}}, Protocols: []string{"tcp"}},
	{Jail: "c", Prefix4: 24, Prefix6: 64},
	{Jail: "d", Drop: true, Prefix4: 26, Prefix6: 56},
	{Jail: "l", List: true},
}
