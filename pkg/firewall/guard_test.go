package firewall

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
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

// TestGuardModel: whatever is done in whatever order, the guard holds what the jails do, and
// with nobody else at work nothing else.
func TestGuardModel(t *testing.T) {
	runs, steps := 5, 60
	if n, _ := strconv.Atoi(os.Getenv("GUARD_RUNS")); n > 0 {
		runs = n
	}
	for run := range runs {
		seed := uint64(run + 1)
		if s := os.Getenv("GUARD_SEED"); s != "" {
			seed, _ = strconv.ParseUint(s, 10, 64)
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			hosttest.InNamespace(t)
			(&guardModel{t: t, rnd: rand.New(rand.NewPCG(seed, 0))}).run(steps)
		})
	}
}

type guardModel struct {
	t     *testing.T
	rnd   *rand.Rand
	f     *Firewall
	opts  Options
	rules map[string]Rule
	log   []string
	exact bool           // nobody else took something away
	loose []netip.Prefix // bans made twice, whose time is the kernel's choice
}

var guardJails = []Rule{
	{Jail: "a"},
	{Jail: "b", Ports: []PortRange{{22, 22}}, Protocols: []string{"tcp"}},
	{Jail: "c", Prefix4: 24, Prefix6: 64},
	{Jail: "d", Drop: true, Prefix4: 26, Prefix6: 56},
	{Jail: "l", List: true},
}

func (m *guardModel) id() netip.Prefix {
	a := netip.AddrFrom4([4]byte{192, 0, 2, byte(m.rnd.IntN(6))})
	six := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, byte(m.rnd.IntN(2)), 15: byte(m.rnd.IntN(3))})
	switch n := m.rnd.IntN(12); {
	case n < 5:
		return netip.PrefixFrom(a, 32)
	case n < 8:
		return netip.PrefixFrom(six, 128)
	case n < 10:
		p, _ := a.Prefix([]int{31, 26, 24, 23, 12}[m.rnd.IntN(5)])
		return p
	default:
		p, _ := six.Prefix([]int{127, 64, 60, 56, 48, 30}[m.rnd.IntN(6)])
		return p
	}
}

func (m *guardModel) run(steps int) {
	m.rules, m.exact = map[string]Rule{}, true
	for _, r := range guardJails {
		m.rules[r.Jail] = r
	}
	m.open()
	defer func() { m.f.Close() }()
	for range steps {
		what := m.step()
		m.log = append(m.log, what)
		if wrong := guarded(m.t, m.f, m.exact, m.loose...); len(wrong) > 0 {
			m.fail(wrong)
		}
	}
	// In the end, with all that the daemon does about it, there is a guard.
	for _, jail := range m.f.Unread() {
		if _, err := m.f.Elements(jail); err != nil {
			m.t.Fatal(err)
		}
	}
	if _, err := m.f.Check(); err != nil {
		m.t.Fatal(err)
	}
	guardIs(m.t, m.f, true)
	if wrong := guarded(m.t, m.f, false); len(wrong) > 0 {
		m.fail(wrong)
	}
	if lacked, _, err := m.f.CheckGuard(); lacked != 0 || err != nil {
		m.t.Error(lacked, err)
	}
}

func (m *guardModel) fail(wrong []string) {
	m.t.Helper()
	m.t.Fatalf("%v\nafter\n%s\n%s", wrong, strings.Join(m.log, "\n"), nft(m.t, "list", "table", "inet", cmpOr(m.opts.Table, "f2b-table")))
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func (m *guardModel) open() {
	m.t.Helper()
	var err error
	if m.f, _, err = Open(m.opts, slices.Collect(maps.Values(m.rules))...); err != nil {
		m.t.Fatal(err)
	}
}

func (m *guardModel) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%v\nafter\n%s", err, strings.Join(m.log, "\n"))
	}
}

// overlaps reports whether an interval set takes no more of it: ban lists see to that.
func (m *guardModel) overlaps(jail string, id netip.Prefix) bool {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	j := m.f.jails[jail]
	kind := j.rule.kindOf(id)
	if kind != setNet4 && kind != setNet6 || j.sets[kind] == nil {
		return false
	}
	spans, err := m.f.readSpans(j.sets[kind].Name, j.rule.bitsOf(kind), true)
	m.must(err)
	for _, s := range spans {
		if !id.Masked().Addr().Less(s.first) && !s.last.Less(id.Masked().Addr()) || !s.first.Less(id.Masked().Addr()) && !lastOf(id).Less(s.first) {
			return true
		}
	}
	return false
}

// bans reports whether a jail has it already, as far as is known.
func (m *guardModel) bans(jail string, id netip.Prefix) bool {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	n, _ := m.f.guard.index.number(jail)
	return m.f.guard.index.get(n, id) != noMore
}

func (m *guardModel) step() string {
	table := cmpOr(m.opts.Table, "f2b-table")
	names := slices.Sorted(maps.Keys(m.rules))
	jail := names[m.rnd.IntN(len(names))]
	lefts := []time.Duration{0, time.Second, 2 * time.Second, time.Hour, time.Hour, 2 * time.Hour, 24 * time.Hour}
	settled := func() { // as the daemon does
		_, err := m.f.Check()
		m.must(err)
		for _, jail := range m.f.Unread() {
			_, err := m.f.Elements(jail)
			m.must(err)
		}
		_, _, err = m.f.CheckGuard()
		m.must(err)
		_, err = m.f.Check()
		m.must(err)
	}
	switch n := m.rnd.IntN(100); {
	case n < 60:
		var changes []Change
		used := map[string]bool{}
		for range 1 + m.rnd.IntN(4) {
			jail := names[m.rnd.IntN(len(names))]
			ch := Change{Jail: jail, ID: m.id().Masked(), Left: lefts[m.rnd.IntN(len(lefts))]}
			rule := m.rules[jail]
			kind, key := rule.Apart(ch.ID), fmt.Sprint(jail, ch.ID)
			if used[key] || used[jail] && !kind {
				continue
			}
			used[key] = true
			if !kind {
				if used[jail] = true; m.rules[jail].List || m.overlaps(jail, ch.ID) {
					continue
				}
			}
			switch m.rnd.IntN(4) {
			case 0:
				ch.Remove = true
			case 1:
				ch.Replace = kind
			}
			if !ch.Remove && !ch.Replace && m.bans(jail, ch.ID) {
				m.loose = append(m.loose, guardKey(ch.ID))
			}
			changes = append(changes, ch)
		}
		m.must(m.f.Apply(changes))
		return fmt.Sprintf("%+v", changes)
	case n < 64:
		m.must(m.f.Apply([]Change{{Jail: jail, Clear: true}}))
		return "clear " + jail
	case n < 68:
		_, err := m.f.Lift(jail, m.id())
		m.must(err)
		return "lift"
	case n < 71:
		_, err := m.f.RemoveJail(jail)
		m.must(err)
		if m.rnd.IntN(2) == 0 {
			_, err = m.f.AddJail(m.rules[jail])
			m.must(err)
		} else if delete(m.rules, jail); len(m.rules) == 0 {
			m.rules["a"] = guardJails[0]
			_, err = m.f.AddJail(m.rules["a"])
			m.must(err)
		}
		return "remove " + jail
	case n < 75:
		r := guardJails[m.rnd.IntN(len(guardJails))]
		if m.rnd.IntN(2) == 0 {
			r.Ports, r.Protocols = []PortRange{{uint16(1 + m.rnd.IntN(9)), 20}}, []string{"tcp"}
		}
		if m.rnd.IntN(4) == 0 {
			r.Prefix4, r.Prefix6 = 0, 0
		}
		m.rules[r.Jail] = r
		_, err := m.f.AddJail(r)
		m.must(err)
		return fmt.Sprintf("add %+v", r)
	case n < 78:
		if _, ok := m.rules["l"]; !ok {
			return "no list"
		}
		var list []Interval
		for i := range m.rnd.IntN(4) {
			a := netip.AddrFrom4([4]byte{198, 51, 100, byte(10 * i)})
			list = append(list, Interval{a, a.Next()})
		}
		if m.rnd.IntN(2) == 0 {
			list = append(list, Interval{netip.MustParseAddr("2001:db8:9::"), netip.MustParseAddr("2001:db8:9::f")})
		}
		m.must(m.f.LoadList("l", list))
		return fmt.Sprintf("list %v", list)
	case n < 82:
		settled()
		return "check"
	case n < 84:
		m.f.guard.sets = nil // killed
		m.f.Close()
		m.open()
		return "killed"
	case n < 86:
		m.f.Close()
		m.open()
		return "started anew"
	case n < 88:
		m.opts = []Options{{}, {Hooks: []Hook{{"input", -1}, {"forward", 5}}}, {Table: "other"}, {Chain: "INPUT"}}[m.rnd.IntN(4)]
		_, err := m.f.Reconfigure(m.opts)
		m.must(err)
		return fmt.Sprintf("%+v", m.opts)
	case n < 90:
		time.Sleep(time.Duration(m.rnd.IntN(1200)) * time.Millisecond)
		return "a while"
	}
	// Somebody else, and what the daemon does when it notices.
	script := []string{
		"flush set inet %s f2b-guard4", "flush set inet %s f2b-guard6", "flush chain inet %s f2b-chain", "flush ruleset", "delete table inet %s",
		"flush set inet %s addr-set-a", "add element inet %s addr-set-a { 192.0.2.77 timeout 1h, 192.0.2.78 }", "delete element inet %s f2b-guard4 { 192.0.2.1 }",
		"insert rule inet %s f2b-chain ip saddr 203.0.113.5 accept", "add rule inet %s f2b-chain counter", "add element inet %s f2b-guard4 { 192.0.2.3 timeout 2s }",
		"table inet %s { set f2b-guard4 { type ipv4_addr; flags timeout; }; set f2b-guard6-48 { type ipv4_addr; } }", "delete table inet %s; add table inet %s { flags dormant; }",
	}[m.rnd.IntN(13)]
	script = strings.ReplaceAll(script, "%s", table)
	if tryNft(script) != nil {
		return "not: " + script
	}
	m.log = append(m.log, "other: "+script)
	m.exact = m.exact && !strings.Contains(script, "flush") && !strings.Contains(script, "delete")
	settled()
	if strings.Contains(script, "addr-set-a {") {
		if _, ok := m.rules["a"]; ok {
			_, err := m.f.Elements("a") // the comparison
			m.must(err)
		}
	}
	if strings.Contains(script, "rule inet") { // he thinks better of it
		if tryNft("flush chain inet "+table+" f2b-chain") == nil {
			settled()
		}
	}
	if strings.Contains(script, "f2b-guard4 {") {
		settled()
	}
	return script
}
