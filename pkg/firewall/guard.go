package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// The guard: sets of everything that any jail bans, which are asked before the jails'
// rules. A packet of somebody who is in none of them leaves the chain at once, so that
// an honest client costs one look-up and not one for each jail:
//
//	ip saddr != @f2b-guard4 return
//	ip6 saddr != @f2b-guard6 return
//
// The guard decides nothing: who is in it goes on to the jails' rules. So it may hold
// too much, and too long, and must never hold too little. Of networks it has those
// of some lengths (guardLengths) in hash sets that are looked up under a mask, a network
// between two of them by the shorter one; as soon as one is needed, the rule asks
// there, too. A list's interval sets are asked as they are: a second time the same networks
// would cost as much memory and time as the list does.
//
// Guard and jails' sets change in the same transaction. Where it isn't known what a
// jail's sets hold, as after a start, and where somebody else's rules are in the chain,
// there is no guard, and all is as it would be without one.

// guardLengths are the lengths of what the guard holds, of IPv4 and of IPv6.
var guardLengths = [2][]int{{32, 24, 16, 8, 0}, {128, 64, 48, 32, 16, 0}}

const (
	// guardSlack is by how much the guard has something longer than the jail: the kernel
	// counts each element's time from when it takes it, in ticks.
	guardSlack = 5 * time.Second
	// guardGrace is how many seconds after an end the guard may still have an element.
	guardGrace = 60
	// guardDirect is how many sets the guard asks beside its own, of a family.
	guardDirect = 32
	// guardAtOnce is how many elements the guard is filled with in the transaction that
	// makes it; more of them are put in beforehand, in pieces.
	guardAtOnce = perTransaction
)

const (
	guardSets    = "f2b-guard"
	guardSetText = "bailiff: whom any jail bans; asked before the jails' rules"
	guardText    = "bailiff: banned by no jail"
)

// guardKind is one of the guard's sets.
type guardKind struct {
	six  bool
	bits int
}

func (k guardKind) name() string {
	name := guardSets + "4"
	if k.six {
		name = guardSets + "6"
	}
	if k.bits < k.full() {
		name += fmt.Sprint("-", k.bits)
	}
	return name
}

func (k guardKind) full() int {
	if k.six {
		return 128
	}
	return 32
}

func (k guardKind) mask() []byte {
	if k.bits == k.full() {
		return nil
	}
	return net.CIDRMask(k.bits, k.full())
}

// guardKey is what the guard holds for a ban: its address or network, or the one around
// it of the next shorter length.
func guardKey(id netip.Prefix) netip.Prefix {
	six := 0
	if id.Addr().Is6() {
		six = 1
	}
	for _, bits := range guardLengths[six] {
		if bits <= id.Bits() {
			p, _ := id.Addr().Prefix(bits)
			return p
		}
	}
	return id
}

func kindOfKey(key netip.Prefix) guardKind { return guardKind{key.Addr().Is6(), key.Bits()} }

// guard is what is known of it.
type guard struct {
	index *guardIndex
	state guardState
	sets  map[guardKind]*nftables.Set // in the kernel and kept; nil: none
	need  map[guardKind]bool          // to be made by the next transaction of settle
	rules [2]string                   // what they say; "" where there are none
	fill  *guardFill                  // in guardFilling: how far that is; nil: it is done
	doubt bool                        // its sets may lack something: they are to be made anew
	off   bool                        // there is to be none
	later bool                        // nor as long as much is to be done in haste
	haste time.Time                   // when that was last
}

type guardState int

const (
	guardDown    guardState = iota
	guardFilling            // its sets are there and kept, but lack something, and no rule asks them
	guardUp
)

// direct is a set that the guard asks as it is, under a mask if there is one.
type direct struct {
	six  bool
	set  string
	mask []byte
}

func (f *Firewall) newGuardSet(k guardKind) *nftables.Set {
	key := nftables.TypeIPAddr
	if k.six {
		key = nftables.TypeIP6Addr
	}
	return &nftables.Set{Table: f.table, Name: k.name(), KeyType: key, HasTimeout: true, Comment: guardSetText}
}

// isGuardSet reports whether a set's name is one of the guard's.
func isGuardSet(name string) bool {
	rest, ok := strings.CutPrefix(name, guardSets)
	return ok && (strings.HasPrefix(rest, "4") || strings.HasPrefix(rest, "6"))
}

// isGuard reports whether a rule is the guard's: it asks a set of the guard's, and does
// nothing but to let go on.
func (r *foundRule) isGuard() bool {
	asks := false
	for _, e := range r.exprs {
		switch e := e.(type) {
		case *expr.Lookup:
			if !e.Invert {
				return false
			}
			asks = asks || isGuardSet(e.SetName)
		case *expr.Verdict:
			if e.Kind != expr.VerdictReturn {
				return false
			}
		case *expr.Meta, *expr.Cmp, *expr.Payload, *expr.Bitwise, *expr.Counter:
		default:
			return false
		}
	}
	return asks && r.known
}

// guardRule is the guard's rule for one family.
func guardRule(six bool, kinds []guardKind, beside []direct) []expr.Any {
	family, offset, length := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4)
	if six {
		family, offset, length = unix.NFPROTO_IPV6, 8, 16
	}
	out := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
	}
	ask := func(set string, mask []byte) {
		out = append(out, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length})
		if mask != nil {
			out = append(out, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length, Mask: mask, Xor: make([]byte, length)})
		}
		out = append(out, &expr.Lookup{SourceRegister: 1, SetName: set, Invert: true})
	}
	for _, k := range kinds {
		if k.six == six {
			ask(k.name(), k.mask())
		}
	}
	for _, d := range beside {
		if d.six == six {
			ask(d.set, d.mask)
		}
	}
	return append(out, &expr.Verdict{Kind: expr.VerdictReturn})
}

func textOfGuard(rule []expr.Any) string {
	return describe(rule, func(l *expr.Lookup) string { return "@" + l.SetName })
}

// sortedKinds returns kinds of sets, the longest first, of IPv4 and then of IPv6.
func sortedKinds(m map[guardKind]bool) []guardKind {
	var out []guardKind
	for six, lengths := range guardLengths {
		for _, bits := range lengths {
			if k := (guardKind{six == 1, bits}); m[k] {
				out = append(out, k)
			}
		}
	}
	return out
}

// guardPlan is what becomes of the guard.
type guardPlan struct {
	state guardState
	sets  map[guardKind]*nftables.Set
	rules [2][]expr.Any
	texts [2]string
	write bool // the rules are to be made
	stays bool // its sets are as they were, but for what else changes
	known map[string]bool
}

// placeGuard finds or makes the guard, or takes it away.
func (p *plan) placeGuard() {
	f := p.f
	g := &f.guard
	var found []*foundRule
	for _, r := range p.s.rules {
		if r.isGuard() {
			found = append(found, r)
		}
	}
	known := p.knowAll()
	beside, want := p.askedBeside()
	want = want && known && len(f.jails) > 0 && !g.off && !g.later
	intact := g.state != guardDown && !g.doubt
	for k := range g.sets {
		if s := p.s.sets[k.name()]; intact && (s == nil || !s.is(f.newGuardSet(k))) {
			if p.s.exists {
				p.mended("set %s was gone or otherwise", k.name())
			}
			intact = false
		}
	}
	kinds := g.index.kinds()
	for k := range g.need {
		kinds[k] = true
	}
	for k := range g.sets {
		kinds[k] = kinds[k] || intact
	}
	for k := range kinds { // somebody's rule may keep one that we can't use
		if s := p.s.sets[k.name()]; s != nil && !s.is(f.newGuardSet(k)) && p.foreignIn(s.name) != nil {
			p.note("set %s (%s) should be %s, and a rule of somebody else's looks into it: left as it is; packets are looked up in the sets of all jails until that rule is gone", s.name, s.form(), formOf(f.newGuardSet(k)))
			want = false
		}
	}
	if !want {
		p.takeGuard(found, true)
		return
	}
	sorted := sortedKinds(kinds)
	p.guard.sets, p.guard.state = map[guardKind]*nftables.Set{}, g.state
	var spans map[guardKind][]span
	p.guard.stays = intact
	if !intact {
		p.takeGuard(found, true)
		p.guard.state = guardFilling
		if g.index.len() <= guardAtOnce {
			p.guard.state, spans = guardUp, f.guardSpans()
		}
	}
	for _, k := range sorted {
		if p.guard.sets[k] = g.sets[k]; !intact || g.sets[k] == nil {
			p.guard.sets[k] = f.newGuardSet(k)
			p.addSets = append(p.addSets, filledSet{p.guard.sets[k], spans[k]})
		}
	}
	if intact && g.state == guardFilling && g.fill == nil {
		p.guard.state = guardUp
	}
	if p.guard.state != guardUp {
		return
	}
	for i := range p.guard.rules {
		p.guard.rules[i] = guardRule(i == 1, sorted, beside)
		p.guard.texts[i] = textOfGuard(p.guard.rules[i])
	}
	if intact && p.guardStands(found, p.guard.texts) {
		return
	}
	p.guard.write = true
	if !intact {
		return // they go anyway
	}
	if g.state == guardUp && len(p.addChains) == 0 && slices.Equal(p.chains, f.chains) && !p.guardStands(found, g.rules) {
		p.mended("the rules that ask the guard first were missing or others")
	}
	p.takeGuard(found, false)
}

// guardStands reports whether the rules say that, and are the first of each chain.
func (p *plan) guardStands(found []*foundRule, texts [2]string) bool {
	if len(found) != 2*len(p.chains) {
		return false
	}
	for _, chain := range p.chains {
		rules := p.rulesOf(chain)
		if len(rules) < 2 || slices.Contains(p.delChains, chain) {
			return false
		}
		for i, r := range rules[:2] {
			if !r.isGuard() || r.text != texts[i] || p.delRules[r.handle] != nil {
				return false
			}
		}
	}
	return true
}

// takeGuard takes the guard's rules away, and with sets its sets.
func (p *plan) takeGuard(found []*foundRule, sets bool) {
	for _, r := range found {
		p.delRules[r.handle] = r
	}
	if !sets {
		return
	}
	for name := range p.s.sets {
		switch {
		case !isGuardSet(name):
		case p.foreignIn(name) != nil:
			p.flushSets = append(p.flushSets, name)
		default:
			p.delSets = append(p.delSets, name)
		}
	}
}

// askedBeside returns the sets that the guard asks as they are: those of lists, and those
// of jails that have rules in our chains and are none of ours. Not ok: there are
// rules in our chains for which the guard would be wrong, or more sets than it pays to ask.
func (p *plan) askedBeside() (out []direct, ok bool) {
	for name, j := range p.f.jails {
		for six, kind := range []int{setNet4, setNet6} {
			if set := p.sets[name][kind]; j.rule.List && set != nil && (j.listed[six] || !j.loaded && p.s.sets[set.Name] != nil) {
				out = append(out, direct{six == 1, set.Name, nil})
			}
		}
	}
	for _, r := range p.strangers {
		if !slices.Contains(p.chains, r.chain) || p.delRules[r.handle] != nil {
			continue
		}
		set, mask, shuts := r.shutsOut()
		s := p.s.sets[set]
		if !shuts || s == nil || s.keyLen != 4 && s.keyLen != 16 || s.flags&unix.NFT_SET_MAP != 0 {
			return nil, false
		}
		d := direct{s.keyLen == 16, set, mask}
		if !slices.ContainsFunc(out, func(o direct) bool { return o.set == d.set && slices.Equal(o.mask, d.mask) }) {
			out = append(out, d)
		}
	}
	for _, name := range p.chains {
		// Who jumps there from elsewhere goes on behind the jump as before: the guard's
		// rules return, too. A policy that lets nobody in is somebody else's.
		if c := p.s.chains[name]; c != nil && c.policy != uint32(nftables.ChainPolicyAccept) && !slices.ContainsFunc(p.addChains, func(a *nftables.Chain) bool { return a.Name == name }) {
			return nil, false
		}
	}
	slices.SortFunc(out, func(a, b direct) int { return strings.Compare(a.set, b.set) })
	n := [2]int{}
	for _, d := range out {
		if d.six {
			n[1]++
		} else {
			n[0]++
		}
	}
	return out, max(n[0], n[1]) <= guardDirect
}

// knowAll reports whether the index has all that the jails' sets hold.
func (p *plan) knowAll() bool {
	p.guard.known = map[string]bool{}
	all := true
	for name, j := range p.f.jails {
		if known, ok := p.rebuilt[name]; ok {
			p.guard.known[name] = known
			all = all && known
			continue
		}
		if j.known || !all {
			continue // once one is unknown, the others can wait
		}
		known := true
		for kind, set := range p.sets[name] {
			if set == nil || p.s.sets[set.Name] == nil || j.rule.List && (kind == setNet4 || kind == setNet6) {
				continue
			}
			if empty, err := p.f.isEmpty(set.Name); err != nil || !empty {
				known = false
				break
			}
		}
		p.guard.known[name] = known
		all = all && known
	}
	return all
}

// guardDone takes over what is there after the transaction.
func (p *plan) guardDone() {
	f := p.f
	for name, known := range p.guard.known {
		f.jails[name].known = known
	}
	for name, empty := range p.rebuilt {
		if j := f.jails[name]; j != nil && !empty {
			j.epoch++
		}
	}
	for name := range f.leaving {
		f.guard.index.forget(name)
	}
	g := &f.guard
	if p.guard.state == guardFilling && !p.guard.stays {
		g.fill = &guardFill{at: -1}
		for k := range p.guard.sets {
			g.fill.kinds = append(g.fill.kinds, k)
		}
	}
	if p.guard.state == guardFilling {
		f.guardDue.Store(true) // Check goes on with it
	}
	g.state, g.sets, g.rules = p.guard.state, p.guard.sets, p.guard.texts
	g.need, g.doubt = nil, false
}

const (
	// guardLittle is what the guard may hold to be taken away while much is to be done: what it
	// held is put into it again then.
	guardLittle = 50_000
	// hasteEvery is how seldom that is done.
	hasteEvery = time.Minute
)

// Rush says that so many changes are to be made in haste: a start has a million bans. As long as
// they are, there is no guard, if it holds little: an honest packet passes the rules of all
// jails for a second or two, and who is banned is shut out in half of the time.
func (f *Firewall) Rush(changes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := &f.guard
	if g.later || g.state == guardDown || g.index.len() > max(guardLittle, changes/4) || !g.haste.IsZero() && time.Since(g.haste) < hasteEvery {
		return
	}
	g.later, g.haste = true, time.Now()
	report, err := f.settle(false)
	f.aside.add(report)
	if err != nil { // then it is there, and kept
		g.later = false
	}
}

// Calm says that they are made.
func (f *Firewall) Calm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.guard.later {
		f.guard.later = false
		f.guardDue.Store(true)
	}
}

// doubtGuard has the guard made anew if a set of it is empty in which something ought to
// be. The caller holds the lock.
func (f *Firewall) doubtGuard() {
	g := &f.guard
	g.index.tick()
	for k, set := range g.sets {
		if g.state == guardUp && !g.doubt && g.index.some(k) {
			empty, err := f.isEmpty(set.Name)
			g.doubt = err == nil && empty
		}
	}
}

// addGuard puts the guard's rules before the others.
func (p *plan) addGuard(c *nftables.Conn) {
	if !p.guard.write {
		return
	}
	comment := userdata.AppendString(nil, userdata.TypeComment, guardText)
	for _, chain := range p.chains {
		for _, rule := range slices.Backward(p.guard.rules[:]) {
			c.InsertRule(&nftables.Rule{Table: p.f.table, Chain: &nftables.Chain{Name: chain, Table: p.f.table}, Exprs: rule, UserData: comment})
		}
	}
}
