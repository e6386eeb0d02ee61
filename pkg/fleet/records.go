package fleet

import (
	"net/netip"
	"time"
)

// record is a word as a View holds it: without pointers, so that the collector has nothing to look at.
type record struct {
	spot         spot
	next         int32 // the next one about the same spot
	rev, seen, n uint64
	made         int64 // the servers' time, ms
	left         int32 // seconds; of more than fits, what fits
	origin       uint32
	count        uint32
	failures     uint32
	jail         uint16
	lift         bool
	current      bool
	never        bool // this host shuts out no such address
	used         bool
}

func (r *record) word() word {
	return word{made: r.made, rev: r.rev, seen: r.seen, n: r.n, current: r.current}
}

func (r *record) end(most time.Duration) int64 {
	return r.made + within(int64(r.left), most).Milliseconds()
}

// over reports whether a word means nothing any more.
func (r *record) over(now int64, most time.Duration) bool {
	if r.lift || r.left == 0 {
		return r.made+(most+liftLonger).Milliseconds() <= now
	}
	return r.end(most) <= now
}

// none is no record: they are numbered from one on.
const none = 0

// page is how many records are made at a time, so that growing copies nothing.
const page = 256

// records are all of a View's, in pages; what is free is used again.
type records struct {
	pages [][]record
	last  int32
	free  int32
}

func (rs *records) of(i int32) *record { return &rs.pages[(i-1)/page][(i-1)%page] }

func (rs *records) take() int32 {
	i := rs.free
	if i != none {
		rs.free = rs.of(i).next
		return i
	}
	if int(rs.last) == len(rs.pages)*page {
		rs.pages = append(rs.pages, make([]record, page))
	}
	rs.last++
	return rs.last
}

func (rs *records) give(i int32) {
	*rs.of(i) = record{next: rs.free}
	rs.free = i
}

func (rs *records) each(see func(*record)) {
	for i := int32(1); i <= rs.last; i++ {
		if r := rs.of(i); r.used {
			see(r)
		}
	}
}

// find is the record of a host's ban or lift.
func (v *View) find(at spot, by uint32, lift bool) int32 {
	i := v.at[at]
	for i != none {
		r := v.records.of(i)
		if r.origin == by && r.lift == lift {
			break
		}
		i = r.next
	}
	return i
}

func (v *View) insert(at spot, by uint32, lift bool) int32 {
	i := v.records.take()
	*v.records.of(i) = record{spot: at, next: v.at[at], origin: by, lift: lift, used: true}
	v.at[at] = i
	v.count(v.records.of(i), 1)
	return i
}

func (v *View) remove(i int32) {
	r := v.records.of(i)
	v.countVoid(r, -1)
	v.count(r, -1)
	if v.at[r.spot] == i {
		if r.next == none {
			delete(v.at, r.spot)
		} else {
			v.at[r.spot] = r.next
		}
	} else {
		before := v.at[r.spot]
		for v.records.of(before).next != i {
			before = v.records.of(before).next
		}
		v.records.of(before).next = r.next
	}
	v.records.give(i)
}

// void reports whether a ban was taken back by who made it, or lifted with all that he had said.
func (v *View) void(r *record) bool {
	from := &v.origins[r.origin]
	return !r.lift && r.rev != 0 && (r.left == 0 || from.distrusted && !stands(r.word(), from.distrust, false, v.grace))
}

// countVoid counts a record in, or out, if it is void.
func (v *View) countVoid(r *record, by int) {
	if !v.recount && v.void(r) {
		v.origins[r.origin].void += by
	}
}

// count counts a record in, or out.
func (v *View) count(r *record, by int) {
	from := &v.origins[r.origin]
	if r.lift {
		from.lifts += by
		v.counts.Lifts += by
		v.groups[r.spot.group].lifts[r.spot.family()][r.spot.bits] += int32(by)
		return
	}
	from.bans += by
	v.counts.Bans += by
}

// Sweep looks at some of the records and drops those that mean nothing any more; the keys of those are told.
// A few at a time, now and then, keep the View as small as what it holds. It is for words that come in the
// stream's order: after a word is dropped, one that it had replaced would be taken for new.
func (v *View) Sweep(now time.Time, some int, drop func(Key)) {
	for range min(some, int(v.records.last)) {
		v.sweep = v.sweep%v.records.last + 1
		if r := v.records.of(v.sweep); r.used && r.over(milli(now), v.most) {
			key := v.key(r)
			v.remove(v.sweep)
			if drop != nil {
				drop(key)
			}
		}
	}
}

func (v *View) key(r *record) Key {
	k := Key{Host: v.origins[r.origin].name, Kind: Ban, Group: v.groups[r.spot.group].name, addr: r.spot.prefix()}
	if r.lift {
		k.Kind = Lift
	}
	return k
}

// said is a record as a word again: made when it was stored.
func (v *View) said(r *record) Said {
	s := Said{Key: v.key(r), Rev: r.rev, Stored: when(r.made)}
	s.Entry = Entry{Jail: v.jails[r.jail], Left: int64(r.left), N: r.n, Seen: r.seen, Count: r.count, Failures: r.failures}
	if r.current {
		s.Entry.Epoch = v.policy.Epoch
	}
	return s
}

// Held tells all words that are held, to be kept elsewhere: applied to an empty View with this Epoch they
// come to the same.
func (v *View) Held(tell func(Said)) {
	v.records.each(func(r *record) { tell(v.said(r)) })
	for _, o := range v.origins {
		if o.distrusted {
			tell(v.distrustOf(o))
		}
	}
}

func (v *View) distrustOf(o origin) Said {
	w := o.distrust
	s := Said{Key: DistrustKey(o.name), Rev: w.rev, Stored: when(w.made), Entry: Entry{N: o.distrustN, Seen: w.seen}}
	if w.current {
		s.Entry.Epoch = v.policy.Epoch
	}
	return s
}

// Own tells the words of this host, which it says anew where the stream is another one.
func (v *View) Own(tell func(Said)) {
	self, known := v.originIDs[v.policy.Self]
	if !known {
		return
	}
	v.records.each(func(r *record) {
		if r.origin == self {
			tell(v.said(r))
		}
	})
}

// Word is what is held under a key.
func (v *View) Word(k Key) (Said, bool) {
	by, known := v.originIDs[k.Host]
	g, has := v.groupIDs[k.Group]
	if !known || !has || k.Kind != Ban && k.Kind != Lift {
		return Said{}, false
	}
	i := v.find(spotOf(g, k.addr), by, k.Kind == Lift)
	if i == none {
		return Said{}, false
	}
	return v.said(v.records.of(i)), true
}

// Opinion is a word about an address, and what it comes to.
type Opinion struct {
	Said
	// Stands: it is a ban that no lift lifts, and that this host accepts.
	Stands bool
	// Never: it is not in force since this host never shuts out that address.
	Never bool
	// End is when that ends here, in the servers' time.
	End time.Time
}

// About tells what is held of an address or a network, and of networks that hold it, in all groups, at
// most so much.
func (v *View) About(p netip.Prefix, most int) (all []Opinion) {
	for g := range v.groups {
		at := spotOf(uint16(g), p)
		for bits := int(at.bits); bits >= 0; bits-- {
			for i := v.at[at.within(uint8(bits))]; i != none; i = v.records.of(i).next {
				if len(all) == most {
					return all
				}
				r := v.records.of(i)
				o := Opinion{Said: v.said(r)}
				if !r.lift {
					o.End = when(v.endHere(r, v.origins[r.origin].name == v.policy.Self))
					o.Never = r.never
					o.Stands = r.left != 0 && !r.never && v.standing(r)
				}
				all = append(all, o)
			}
		}
	}
	return all
}

// Origin is what is held of a host.
type Origin struct {
	Name string
	// Bans are those that it has not taken back, and that were not lifted with all that it had said.
	Bans, Lifts int
	Accepted    bool
	// Distrusted: it has left the fleet, or was taken out, and no ban of its counts. It may be in again, and have said nothing yet.
	Distrusted bool
}

// Origins are the hosts of which words were held.
func (v *View) Origins() []Origin {
	if v.recount {
		v.recount = false
		for i := range v.origins {
			v.origins[i].void = 0
		}
		v.records.each(func(r *record) { v.countVoid(r, 1) })
	}
	out := make([]Origin, len(v.origins))
	for i, o := range v.origins {
		out[i] = Origin{o.name, o.bans - o.void, o.lifts, o.accepted, o.distrusted && o.bans == o.void}
	}
	return out
}

// Renewals are this host's own bans that stand and that last longer than the fleet keeps a ban: those that have had a half of
// that, and are to be said anew.
func (v *View) Renewals(now time.Time) (out []Said) {
	v.Own(func(s Said) {
		if s.Key.Kind != Ban || s.Entry.Left != Permanent && s.Entry.Left <= int64(v.most/time.Second) || now.Sub(s.Stored) < v.most/2 {
			return
		}
		if v.Stands(s.Key) {
			out = append(out, s)
		}
	})
	return out
}

// Stands reports whether the ban of a key stands against all lifts.
func (v *View) Stands(k Key) bool {
	by, known := v.originIDs[k.Host]
	g, has := v.groupIDs[k.Group]
	if !known || !has || k.Kind != Ban {
		return false
	}
	i := v.find(spotOf(g, k.addr), by, false)
	return i != none && v.records.of(i).left != 0 && v.standing(v.records.of(i))
}
