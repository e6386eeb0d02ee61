package daemon

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"bailiff/pkg/firewall"
)

// Who is shut out by the fleet, group by group, in sets of the kernel's own: addr-set-fleet-GROUP and its like. No jail's
// list has anything to do with them.

// shutPlace is an address or a network, without pointers, since there may be a million.
type shutPlace struct {
	addr [16]byte
	bits uint8
	six  bool
}

func shutPlaceOf(p netip.Prefix) shutPlace {
	return shutPlace{p.Addr().As16(), uint8(p.Bits()), p.Addr().Is6()}
}

func (w shutPlace) prefix() netip.Prefix {
	a := netip.AddrFrom16(w.addr)
	if !w.six {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, int(w.bits))
}

// fleetSet is who is shut out in a group. It is safe for concurrent use.
type fleetSet struct {
	rule firewall.Rule

	mu sync.Mutex
	// ends is when each ban ends, in milliseconds of the steady clock.
	ends map[shutPlace]int64
	// nets are those of them that are networks: the kernel takes no two of which one lies in the other, and has the
	// wider one alone. shown are those that it has.
	nets, shown map[netip.Prefix]bool
	lengths     [2][129]int // how many networks there are of each length
}

func newFleetSet(r firewall.Rule) *fleetSet {
	return &fleetSet{rule: r, ends: map[shutPlace]int64{}, nets: map[netip.Prefix]bool{}, shown: map[netip.Prefix]bool{}}
}

func family(p netip.Prefix) int {
	if p.Addr().Is6() {
		return 1
	}
	return 0
}

// wider is a network that is shut out and holds p; not valid: there is none.
func (s *fleetSet) wider(p netip.Prefix) netip.Prefix {
	of := &s.lengths[family(p)]
	for bits := p.Bits() - 1; bits >= 0; bits-- {
		if of[bits] == 0 {
			continue
		}
		if w, _ := p.Addr().Prefix(bits); s.nets[w] {
			return w
		}
	}
	return netip.Prefix{}
}

// inner are the networks in p that are shut out.
func (s *fleetSet) inner(p netip.Prefix) (out []netip.Prefix) {
	of := &s.lengths[family(p)]
	some := false
	for bits := p.Bits() + 1; bits <= p.Addr().BitLen(); bits++ {
		some = some || of[bits] > 0
	}
	if !some {
		return nil
	}
	for n := range s.nets {
		if n.Bits() > p.Bits() && p.Contains(n.Addr()) {
			out = append(out, n)
		}
	}
	return out
}

func (s *fleetSet) change(p netip.Prefix, now time.Time, replace bool) firewall.Change {
	left := time.UnixMilli(s.ends[shutPlaceOf(p)]).Sub(now)
	return firewall.Change{Jail: s.rule.Jail, ID: p, Left: max(left, time.Millisecond), Replace: replace}
}

// put has somebody shut out until a time; the zero time: no more. It returns what the kernel is to do, and whether he was.
func (s *fleetSet) put(p netip.Prefix, until, now time.Time) (changes []firewall.Change, was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := shutPlaceOf(p)
	end, was := s.ends[at]
	was = was && end > now.UnixMilli()
	if !until.After(now) {
		changes = s.drop(p)
		if !p.IsSingleIP() {
			changes = append(changes, s.show(now)...)
		}
		return changes, was
	}
	s.ends[at] = until.UnixMilli()
	if p.IsSingleIP() {
		return []firewall.Change{s.change(p, now, was)}, was
	}
	if !s.nets[p] {
		s.nets[p] = true
		s.lengths[family(p)][p.Bits()]++
	}
	if s.wider(p).IsValid() {
		return nil, was
	}
	for _, n := range s.inner(p) {
		if s.shown[n] {
			delete(s.shown, n)
			changes = append(changes, firewall.Change{Jail: s.rule.Jail, ID: n, Remove: true})
		}
	}
	replace := s.shown[p]
	s.shown[p] = true
	return append(changes, s.change(p, now, replace)), was
}

// drop forgets somebody, and shows networks that his held.
func (s *fleetSet) drop(p netip.Prefix) (changes []firewall.Change) {
	at := shutPlaceOf(p)
	_, had := s.ends[at]
	delete(s.ends, at)
	if p.IsSingleIP() {
		if had {
			changes = append(changes, firewall.Change{Jail: s.rule.Jail, ID: p, Remove: true})
		}
		return changes
	}
	if s.nets[p] {
		delete(s.nets, p)
		s.lengths[family(p)][p.Bits()]--
	}
	if s.shown[p] {
		delete(s.shown, p)
		changes = append(changes, firewall.Change{Jail: s.rule.Jail, ID: p, Remove: true})
	}
	return changes
}

// show puts networks into the kernel that are in no wider one any more.
func (s *fleetSet) show(now time.Time) (changes []firewall.Change) {
	for n := range s.nets {
		if !s.shown[n] && !s.wider(n).IsValid() {
			s.shown[n] = true
			changes = append(changes, s.change(n, now, false))
		}
	}
	return changes
}

// sweep forgets what has ended, as the kernel does by itself.
func (s *fleetSet) sweep(now time.Time) (changes []firewall.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := now.UnixMilli()
	maps.DeleteFunc(s.ends, func(w shutPlace, end int64) bool {
		if end > at {
			return false
		}
		if p := w.prefix(); s.nets[p] {
			delete(s.nets, p)
			delete(s.shown, p)
			s.lengths[family(p)][p.Bits()]--
		}
		return true
	})
	if len(s.nets) > len(s.shown) {
		changes = s.show(now)
	}
	return changes
}

// whole has just those be shut out who are told.
func (s *fleetSet) whole(now time.Time, each func(tell func(netip.Prefix, time.Time))) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.ends)
	clear(s.nets)
	clear(s.shown)
	s.lengths = [2][129]int{}
	each(func(p netip.Prefix, until time.Time) {
		if !until.After(now) {
			return
		}
		s.ends[shutPlaceOf(p)] = until.UnixMilli()
		if !p.IsSingleIP() {
			s.nets[p] = true
			s.lengths[family(p)][p.Bits()]++
		}
	})
	s.show(now)
}

// Holds implements check.Holder.
func (s *fleetSet) Holds(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := netip.PrefixFrom(a, a.BitLen())
	_, held := s.ends[shutPlaceOf(p)]
	return held || s.wider(p).IsValid()
}

// len is how many are shut out.
func (s *fleetSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ends)
}

// shutOut are all of them.
func (s *fleetSet) shutOut() []netip.Prefix {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]netip.Prefix, 0, len(s.ends))
	for w := range s.ends {
		out = append(out, w.prefix())
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// against compares what the kernel holds with what it is to hold. Missing are those that it lacked.
func (s *fleetSet) against(held []firewall.Element, now time.Time) (changes []firewall.Change, missing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := make(map[shutPlace]bool, len(held))
	at := now.UnixMilli()
	for _, e := range held {
		w := shutPlaceOf(e.ID)
		in[w] = true
		end, ok := s.ends[w]
		left := time.Duration(end-at) * time.Millisecond
		switch {
		case !ok || !e.ID.IsSingleIP() && !s.shown[e.ID]:
			changes = append(changes, firewall.Change{Jail: s.rule.Jail, ID: e.ID, Remove: true})
		case left > 0 && (e.Left == 0 || e.Left > left+fleetSlack || e.Left < left-fleetSlack):
			changes = append(changes, s.change(e.ID, now, true))
		}
	}
	for w, end := range s.ends {
		if p := w.prefix(); !in[w] && end > at+fleetSlack.Milliseconds() && (p.IsSingleIP() || s.shown[p]) {
			changes = append(changes, s.change(p, now, false))
			missing++
		}
	}
	return changes, missing
}

// fleetSlack is by how much the kernel's timeout may differ from ours.
const fleetSlack = 2 * time.Second

// all are the changes that fill sets that were made anew.
func (s *fleetSet) all(now time.Time) (changes []firewall.Change) {
	changes, _ = s.against(nil, now)
	return changes
}
