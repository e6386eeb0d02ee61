package fleet

import (
	"net/netip"
	"strings"
	"time"
)

// Policy is what a host takes of what others say. Its functions are asked by who uses the View, in his
// goroutine.
type Policy struct {
	Rule
	// Self is this host's name. What it said itself is always held.
	Self string
	// Groups are those that are held, and how many hosts must have banned somebody in each; 0 is 1.
	Groups map[string]int
	// Accept says whose bans count; nil: everybody's. Lifts count of whomever the hub lets lift.
	Accept func(host string) bool
	// Counts are groups in which failures are counted over all hosts: what the hub bans by that counts here, whatever Accept says,
	// and in no other group.
	Counts map[string]bool
	// Never says who is not to be shut out here: what this host ignores, is, or is connected by. A network is
	// refused whole if it holds one of those. Nil: nobody.
	Never func(netip.Prefix) bool
	// Shortest4 and Shortest6 are the lengths of the largest networks that are shut out; 0: 16 and 32.
	Shortest4, Shortest6 int
	// Bans and Lifts are how many of each are held of one host; 0: DefaultBans, DefaultLifts. Those in the
	// stream before others are held.
	Bans, Lifts int
	// Words is how many bans and lifts are held of all hosts; 0: DefaultWords.
	Words int
	// Longest is how long bans of others are in force here, from their making on; 0: as long as in the fleet.
	Longest time.Duration
}

// Bounds of what a host holds of the fleet, where its Policy says nothing else.
const (
	DefaultBans  = 100_000
	DefaultLifts = 10_000
	DefaultWords = 1_000_000
	// hostsMost is of how many hosts there are words, jailsMost how many jails' names are known; others are "other".
	hostsMost = 1 << 17
	jailsMost = 1 << 16
)

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// Change is what a word changes of who is shut out.
type Change struct {
	Group  string
	Prefix netip.Prefix
	// Until is when the ban ends, in the servers' time; the zero time: it is not in force any more.
	Until time.Time
	// Lifted is the number of this host's own ban, if that was lifted elsewhere; else 0. The host
	// lifts it, too, unless it has made a later one.
	Lifted uint64
	// Was: it was in force before, as far as is known.
	Was bool
	// Cause is the word that changed it; none where everything is told, or who is never shut out has changed.
	Cause Said
}

// Refusal is why a word is not held, or a ban not in force.
type Refusal uint8

// The reasons, as indices of Counts.Refused.
const (
	RefusedGroup Refusal = iota // the group is none of this host's
	RefusedHost                 // the host is not accepted
	RefusedWide                 // the network is larger than this host allows
	RefusedNever                // it would shut out what this host ignores or needs
	RefusedQuota                // the host has said as much as it may
	RefusedFull                 // all hosts together have
	refusals
)

// String is the reason in a word, as metrics have it.
func (r Refusal) String() string {
	return [...]string{"group", "host", "wide", "ignored", "quota", "full"}[r]
}

// Counts are what a View holds, and what it did not take.
type Counts struct {
	Bans, Lifts int
	Refused     [refusals]uint64
}

// View is what a host holds of the stream: the newest word of each key, and with it who is shut out. Words may come in
// any order, and twice. It belongs to one goroutine.
type View struct {
	policy Policy
	grace  int64
	most   time.Duration
	counts Counts

	origins   []origin
	originIDs map[string]uint32
	groups    []group
	groupIDs  map[string]uint16
	jails     []string
	jailIDs   map[string]uint16

	records records
	// at is where the words about an address in a group begin.
	at map[spot]int32
	// lowest is the record that Sweep looks at next.
	sweep int32
	// bulk: nobody is told of changes.
	bulk bool
	// recount: a host's words were lifted as a whole since void was counted.
	recount bool
}

type origin struct {
	name        string
	accepted    bool
	distrusted  bool
	distrust    word
	distrustN   uint64
	bans, lifts int
	// void are those of the bans that it has taken back, or that were lifted with all that it had said.
	void int
}

type group struct {
	name   string
	quorum int
	// lifts is how many there are of each length, of IPv4 and of IPv6.
	lifts [2][129]int32
}

// spot is an address or a network in a group.
type spot struct {
	addr  [16]byte
	group uint16
	bits  uint8
	six   bool
}

func spotOf(group uint16, p netip.Prefix) spot {
	return spot{addr: p.Addr().As16(), group: group, bits: uint8(p.Bits()), six: p.Addr().Is6()}
}

func (s spot) prefix() netip.Prefix {
	a := netip.AddrFrom16(s.addr)
	if !s.six {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, int(s.bits))
}

// within is the spot's network of a length that is no longer than its own.
func (s spot) within(bits uint8) spot {
	n := int(bits)
	if !s.six {
		n += 96
	}
	s.bits = bits
	for i := n / 8; i < 16; i++ {
		keep := byte(0)
		if i == n/8 {
			keep = ^byte(0xff >> (n % 8))
		}
		s.addr[i] &= keep
	}
	return s
}

func (s spot) family() int {
	if s.six {
		return 1
	}
	return 0
}

// holds reports whether other is the spot or lies in it.
func (s spot) holds(other spot) bool {
	return s.group == other.group && s.six == other.six && s.bits <= other.bits && other.within(s.bits).addr == s.addr
}

// NewView returns one that holds nothing.
func NewView(p Policy) *View {
	v := &View{policy: p, grace: p.grace(), most: p.most(), groupIDs: map[string]uint16{}, jailIDs: map[string]uint16{}}
	for name, quorum := range p.Groups {
		v.groupIDs[name] = uint16(len(v.groups))
		v.groups = append(v.groups, group{name: name, quorum: quorum})
	}
	v.Forget(p.Epoch)
	return v
}

// Forget drops everything: the stream is another one.
func (v *View) Forget(epoch string) {
	v.policy.Epoch = epoch
	v.origins, v.originIDs = nil, map[string]uint32{}
	v.records, v.at, v.sweep = records{}, map[spot]int32{}, 0
	v.counts.Bans, v.counts.Lifts, v.recount = 0, 0, false
	for i := range v.groups {
		v.groups[i].lifts = [2][129]int32{}
	}
}

// Epoch is that of the stream whose words are held.
func (v *View) Epoch() string { return v.policy.Epoch }

// Counts returns what is held.
func (v *View) Counts() Counts { return v.counts }

// Bulk has changes not told of, while very much is read, or told of again. Who turns it off asks Each.
func (v *View) Bulk(on bool) { v.bulk = on }

// originID is the number of a host; false: there are too many.
func (v *View) originID(name string) (uint32, bool) {
	id, known := v.originIDs[name]
	if !known {
		if len(v.origins) == hostsMost {
			return 0, false
		}
		id = uint32(len(v.origins))
		v.originIDs[name] = id
		v.origins = append(v.origins, origin{name: name, accepted: name == v.policy.Self || name == Hub || v.policy.Accept == nil || v.policy.Accept(name)})
	}
	return id, true
}

func (v *View) jailID(name string) uint16 {
	id, known := v.jailIDs[name]
	if !known {
		// What the hub says in its place, who has counted what, has no end of forms: names of jails have room all the same.
		if len(v.jails) >= jailsMost/2 && strings.Contains(name, ":") {
			return v.jailID("several")
		}
		if len(v.jails) == jailsMost-1 {
			name = "other"
		}
		if len(v.jails) == jailsMost {
			return jailsMost - 1
		}
		id = uint16(len(v.jails))
		v.jailIDs[name] = id
		v.jails = append(v.jails, name)
	}
	return id
}

// Apply takes a word, and has tell told of what it changes; now is the servers' time, for what has ended by then
// changes nothing. It reports whether the word is held and new: that is what is to be kept.
func (v *View) Apply(s Said, now time.Time, tell func(Change)) bool {
	switch s.Key.Kind {
	case Distrust:
		return v.distrust(s, now, tell)
	case Ban, Lift:
	default:
		return false
	}
	g, known := v.groupIDs[s.Key.Group]
	if !known {
		return v.refuse(RefusedGroup)
	}
	by, ok := v.originID(s.Key.Host)
	if !ok {
		return v.refuse(RefusedFull)
	}
	from := &v.origins[by]
	own := s.Key.Host == v.policy.Self
	at := spotOf(g, s.Key.Prefix())
	lift := s.Key.Kind == Lift
	old := v.find(at, by, lift)
	switch {
	case old != none && v.records.of(old).rev >= s.Rev:
		return false
	case !lift && (!from.accepted || s.Key.Host == Hub && !v.policy.Counts[s.Key.Group]):
		return v.refuse(RefusedHost)
	case !lift && !own && v.tooWide(at):
		return v.refuse(RefusedWide)
	case old == none && !own && (lift && from.lifts >= or(v.policy.Lifts, DefaultLifts) || !lift && from.bans >= or(v.policy.Bans, DefaultBans)):
		return v.refuse(RefusedQuota)
	case old == none && !own && v.counts.Bans+v.counts.Lifts >= or(v.policy.Words, DefaultWords):
		return v.refuse(RefusedFull)
	}
	about := []spot{at}
	if lift && !v.bulk {
		about = v.under(at)
	}
	v.around(about, now, tell, func() {
		if old == none {
			old = v.insert(at, by, lift)
		}
		r := v.records.of(old)
		v.countVoid(r, -1)
		w := v.policy.word(s)
		r.made, r.left, r.rev, r.seen, r.n, r.current = w.made, int32(min(s.Entry.Left, 1<<31-1)), w.rev, w.seen, w.n, w.current
		r.jail, r.count, r.failures = v.jailID(s.Entry.Jail), s.Entry.Count, s.Entry.Failures
		v.countVoid(r, 1)
		if !lift {
			r.never = v.never(at)
			if r.never && !own {
				v.refuse(RefusedNever)
			}
		}
	})
	return true
}

func (v *View) distrust(s Said, now time.Time, tell func(Change)) bool {
	by, ok := v.originID(s.Key.Target())
	if !ok {
		return v.refuse(RefusedFull)
	}
	from := &v.origins[by]
	if from.distrusted && from.distrust.rev >= s.Rev {
		return false
	}
	var about []spot
	if from.bans > 0 && !v.bulk {
		v.records.each(func(r *record) {
			if r.origin == by && !r.lift {
				about = append(about, r.spot)
			}
		})
	}
	v.recount = v.recount || from.bans > 0
	v.around(about, now, tell, func() {
		from.distrusted, from.distrust, from.distrustN = true, v.policy.word(s), s.Entry.N
	})
	return true
}

func (v *View) refuse(why Refusal) bool {
	v.counts.Refused[why]++
	return false
}

func (v *View) tooWide(at spot) bool {
	if at.six {
		return int(at.bits) < or(v.policy.Shortest6, 32)
	}
	return int(at.bits) < or(v.policy.Shortest4, 16)
}

func (v *View) never(at spot) bool {
	return v.policy.Never != nil && v.policy.Never(at.prefix())
}

// under are the spots whose bans a lift is about: its own, and those in its network.
func (v *View) under(at spot) []spot {
	about := []spot{at}
	if bits := at.bits; at.six && bits == 128 || !at.six && bits == 32 {
		return about
	}
	seen := map[spot]bool{at: true}
	v.records.each(func(r *record) {
		if !r.lift && at.holds(r.spot) && !seen[r.spot] {
			seen[r.spot] = true
			about = append(about, r.spot)
		}
	})
	return about
}

// state is what a spot comes to: until when its ban is in force, and which of this host's own bans stands.
type state struct {
	until int64
	own   uint64
	gone  bool // the own word is that it is lifted
}

// around tells what a change makes of spots.
func (v *View) around(about []spot, now time.Time, tell func(Change), change func()) {
	if v.bulk || tell == nil {
		change()
		return
	}
	before := make([]state, len(about))
	for i, s := range about {
		before[i] = v.state(s)
	}
	change()
	for i, s := range about {
		was, is := before[i], v.state(s)
		lifted := was.own
		if is.own != 0 || is.gone {
			lifted = 0
		}
		if is.until <= milli(now) {
			is.until = 0
		}
		if was.until <= milli(now) {
			was.until = 0
		}
		if was.until != is.until || lifted != 0 {
			tell(Change{Group: v.groups[s.group].name, Prefix: s.prefix(), Until: when(is.until), Lifted: lifted, Was: was.until != 0})
		}
	}
}

// state applies the rule to a spot.
func (v *View) state(at spot) state {
	var (
		st    state
		room  [8]int64
		ends  = room[:0]
		all   int64 // the end of what the hub has counted over so many hosts as the quorum wants
		chain = v.at[at]
	)
	for i := chain; i != none; i = v.records.of(i).next {
		b := v.records.of(i)
		if b.lift {
			continue
		}
		own := v.origins[b.origin].name == v.policy.Self
		if b.left == 0 {
			st.gone = st.gone || own
			continue
		}
		if own && v.unlifted(b) { // that this host has left, or was taken out, is no reason to let in whom it has banned itself
			st.own = b.n
		}
		if !v.standing(b) {
			continue
		}
		switch quorum := v.groups[at.group].quorum; {
		case b.never:
		case quorum > 1 && v.origins[b.origin].name == Hub:
			if int(b.count) >= quorum {
				all = v.endHere(b, own)
			}
		default:
			ends = append(ends, v.endHere(b, own))
		}
	}
	st.until = max(nth(ends, v.groups[at.group].quorum), all)
	return st
}

// endHere is when a ban ends on this host.
func (v *View) endHere(b *record, own bool) int64 {
	end := b.end(v.most)
	if most := v.policy.Longest; most > 0 && !own {
		end = min(end, b.made+most.Milliseconds())
	}
	return end
}

// standing reports whether a ban stands against all lifts.
func (v *View) standing(b *record) bool {
	from := &v.origins[b.origin]
	w := b.word()
	return !(from.distrusted && !stands(w, from.distrust, false, v.grace)) && v.unlifted(b)
}

// unlifted reports whether a ban stands against all lifts of its address, and of networks that hold it.
func (v *View) unlifted(b *record) bool {
	w := b.word()
	lengths := &v.groups[b.spot.group].lifts[b.spot.family()]
	for bits := int(b.spot.bits); bits >= 0; bits-- {
		if lengths[bits] == 0 {
			continue
		}
		for i := v.at[b.spot.within(uint8(bits))]; i != none; i = v.records.of(i).next {
			l := v.records.of(i)
			if l.lift && !stands(w, l.word(), l.origin == b.origin, v.grace) {
				return false
			}
		}
	}
	return true
}

// Each tells of all that is in force, and of own bans that were lifted elsewhere, as a start needs it.
func (v *View) Each(now time.Time, tell func(Change)) {
	for at := range v.at {
		st := v.state(at)
		c := Change{Group: v.groups[at.group].name, Prefix: at.prefix()}
		if st.until > milli(now) {
			c.Until = when(st.until)
		}
		if st.own == 0 {
			c.Lifted = v.lifted(at, now)
		}
		if !c.Until.IsZero() || c.Lifted != 0 {
			tell(c)
		}
	}
}

// lifted is the number of this host's ban that others lifted, and that would be in force else.
func (v *View) lifted(at spot, now time.Time) uint64 {
	self, known := v.originIDs[v.policy.Self]
	if !known {
		return 0
	}
	if i := v.find(at, self, false); i != none {
		if b := v.records.of(i); b.left != 0 && b.end(v.most) > milli(now) {
			return b.n
		}
	}
	return 0
}

// Recheck asks anew who is never to be shut out, and tells what that changes.
func (v *View) Recheck(now time.Time, tell func(Change)) {
	for at := range v.at {
		never := v.never(at)
		v.around([]spot{at}, now, tell, func() {
			for i := v.at[at]; i != none; i = v.records.of(i).next {
				v.records.of(i).never = never
			}
		})
	}
}

// Until is until when an address or a network is shut out in a group by its own ban, in the servers' time; zero: it is not.
func (v *View) Until(group string, p netip.Prefix) time.Time {
	g, known := v.groupIDs[group]
	if !known {
		return time.Time{}
	}
	return when(v.state(spotOf(g, p)).until)
}
