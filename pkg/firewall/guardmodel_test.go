package firewall

import (
	"cmp"
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
	m.t.Fatalf("%v\nafter\n%s\n%s", wrong, strings.Join(m.log, "\n"), nft(m.t, "list", "table", "inet", cmp.Or(m.opts.Table, "f2b-table")))
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
	table := cmp.Or(m.opts.Table, "f2b-table")
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
