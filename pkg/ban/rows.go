package ban

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"strings"
	"time"
)

// RowsMost is how many places of a list Rows looks at, and so how many bans it copies at the most.
const RowsMost = pageSize

// Rows are some of a list's bans, copied as they lie there, 64 bytes each: who looks through a
// million of them has the list's owner copy, and looks by itself. The zero value holds none.
type Rows struct {
	// Offset is added to the times of all.
	Offset time.Duration
	// Back has the list gone through from its end, where those are that came last.
	Back bool

	rows  []place // heap is where in extra what few bans have is, from 1 on
	extra []extra
	loc   *time.Location
}

// extra is a name in place of an address, or an address beside it.
type extra struct {
	id ID
	ip Address
}

// Row is one of Rows. It is valid as long as those are not filled anew.
type Row struct {
	of *Rows
	at *place
}

// Rows fills into with some of the bans, and returns where the next ones begin; 0: there are no
// more. The first ones begin at 0. Bans may come and go between two calls: those that are there all
// the while are told once, also where they are made longer.
func (l *List) Rows(from int32, into *Rows) (next int32) {
	t := &l.table
	into.rows, into.extra, into.loc = into.rows[:0], into.extra[:0], t.loc
	if into.Back {
		if from == 0 {
			from = t.used
		}
		from = min(from, t.used)
		end := max(from-RowsMost, 1)
		for n := from - 1; n >= end; n-- {
			into.copy(t, n)
		}
		if end == 1 {
			return 0
		}
		return end
	}
	from = max(from, 1)
	end := min(from+RowsMost, t.used)
	for n := from; n < end; n++ {
		into.copy(t, n)
	}
	if end >= t.used {
		return 0
	}
	return end
}

// copy adds the ban at a place, if there is one.
func (r *Rows) copy(t *table, n int32) {
	p := t.at(n)
	if p.no == 0 {
		return
	}
	r.rows = append(r.rows, *p)
	row := &r.rows[len(r.rows)-1]
	row.heap = 0
	if p.key.kind == named || p.flags&beside != 0 {
		r.extra = append(r.extra, extra{t.names[n], t.ips[n]})
		row.heap = int32(len(r.extra))
	}
}

// Len is how many bans there are.
func (r *Rows) Len() int { return len(r.rows) }

// At returns the ban at i.
func (r *Rows) At(i int) Row { return Row{r, &r.rows[i]} }

// Rank is that of the ID.
func (r Row) Rank() int64 { return rank(r.at.key.kind, &r.at.key.addr) }

// ID returns whose ban it is.
func (r Row) ID() ID {
	if r.at.key.kind == named {
		return r.of.extra[r.at.heap-1].id
	}
	return ID{addr: r.at.key.addr, bits: r.at.key.bits, kind: r.at.key.kind}
}

// IP returns the address beside the ID, if there is one.
func (r Row) IP() Address {
	if r.at.heap == 0 {
		return Address{}
	}
	return r.of.extra[r.at.heap-1].ip
}

// Start is when it began, in nanoseconds since 1970.
func (r Row) Start() int64 { return r.at.start*1e9 + int64(r.at.startNs) + int64(r.of.Offset) }

// End is when it ends, in nanoseconds since 1970; false: it doesn't.
func (r Row) End() (ns int64, ok bool) {
	if r.at.flags&permanent != 0 {
		return 0, false
	}
	return r.at.end*1e9 + int64(r.at.endNs) + int64(r.of.Offset), true
}

// Count is that of the ban.
func (r Row) Count() int { return int(r.at.count) }

// Ban is all of it.
func (r Row) Ban() Ban {
	b := r.at.ban(r.of.loc)
	b.ID, b.IP = r.ID(), r.IP()
	b.Start = b.Start.Add(r.of.Offset)
	if !b.Permanent() {
		b.End = b.End.Add(r.of.Offset)
	}
	return b
}

// Compare puts IDs in order: addresses and networks by their numbers, IPv4 first, and behind
// them names by their text.
func (id ID) Compare(other ID) int {
	if id.kind == named && other.kind == named {
		return strings.Compare(id.name.Value(), other.name.Value())
	}
	return cmp.Or(cmp.Compare(id.kind, other.kind), bytes.Compare(id.addr[:], other.addr[:]), cmp.Compare(id.bits, other.bits))
}

// Rank is a number that is never larger for one of two IDs that comes first by Compare, and mostly smaller: IDs whose
// numbers differ need not be compared.
func (id ID) Rank() int64 { return rank(id.kind, &id.addr) }

func rank(k kind, addr *[16]byte) int64 {
	n := int64(k) << 60
	switch k {
	case ip4:
		n |= int64(binary.BigEndian.Uint32(addr[12:]))
	case ip6:
		n |= int64(binary.BigEndian.Uint64(addr[:]) >> 4)
	}
	return n
}

// AppendName appends what Name returns.
func (id ID) AppendName(b []byte) []byte {
	switch {
	case id.kind == named:
		return append(b, id.name.Value()...)
	case id.IsNetwork():
		return id.Prefix().AppendTo(b)
	}
	return id.Addr().AppendTo(b)
}
