package action

import (
	"hash/maphash"
	"iter"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A ban as the actions have it. There may be as many as there are bans, so that one of an
// address takes 64 bytes: what few have lies beside.

// entry is a ban that the actions are told of; in force, or to be lifted. The group's
// lock guards it.
type entry struct {
	addr   [16]byte // who: an address or network; if it is neither, its name lies beside
	micros int64    // time of the ban, as tags tell of it
	no     uint64   // in which order they came
	more   *entryMore

	behind          int32 // by how many seconds it began later, as the Site counts
	lasts           int32 // seconds; -1: for ever
	failures, count uint16
	ahead           int32         // how many jobs of it wait, but for prolonging
	marks           atomic.Uint32 // two bits for each of the first actions: see marks
	bits            uint8
	kind            whoKind
	decimals        uint8 // of the time of the ban
	flags           entryFlags
}

// entryMore is what few entries have.
type entryMore struct {
	name  string     // neither an address nor a network
	ip    netip.Addr // of elsewhere
	first *facts     // as they were told first, if they are none that an entry holds
	now   *facts     // as they were told last; nil: first
	text  *text      // nil: none
	next  *entry     // of the same hash
}

type entryFlags uint8

const (
	over      entryFlags = 1 << iota // it is lifted
	let                              // its lines were let go
	restored                         // it is one of before
	elsewhere                        // what is shut out is not who is banned: it lies beside
)

// facts are what was told of a ban once: that it was prolonged changes nothing of what
// the command before is told.
type facts struct {
	time     string // of the ban, as tags tell of it
	began    int64  // the same, as the Site counts, in seconds
	lasts    time.Duration
	failures int32
	count    int32
	restored bool // it is one of before
}

// who is an ID, taken apart.
type who struct {
	addr [16]byte
	bits uint8
	kind whoKind
	name string
}

type whoKind uint8

const (
	aName whoKind = iota
	four
	six
)

// whoIs takes an ID apart. What would not be written in the same way is a name.
func whoIs(id string) who {
	p, err := netip.ParsePrefix(id)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(id); err == nil && a.Zone() == "" {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if !p.IsValid() {
		return who{name: id}
	}
	w := who{addr: p.Addr().As16(), bits: uint8(p.Bits()), kind: six}
	if p.Addr().Is4() {
		w.kind = four
	}
	if w.id() != id {
		return who{name: id}
	}
	return w
}

// ip is its address, or the first one of a network; none of a name.
func (w *who) ip() netip.Addr {
	switch w.kind {
	case four:
		return netip.AddrFrom4([4]byte(w.addr[12:]))
	case six:
		return netip.AddrFrom16(w.addr)
	}
	return netip.Addr{}
}

func (w *who) id() string {
	switch a := w.ip(); {
	case w.kind == aName:
		return w.name
	case int(w.bits) == a.BitLen():
		return a.String()
	default:
		return netip.PrefixFrom(a, int(w.bits)).String()
	}
}

func (e *entry) who() who {
	w := who{addr: e.addr, bits: e.bits, kind: e.kind}
	if e.kind == aName {
		w.name = e.more.name
	}
	return w
}

// id is whom the ban is of.
func (e *entry) id() string {
	w := e.who()
	return w.id()
}

// ip is the address that is shut out; not valid if there is none.
func (e *entry) ip() netip.Addr {
	if e.flags&elsewhere != 0 {
		return e.more.ip
	}
	w := e.who()
	return w.ip()
}

func (e *entry) text() *text {
	if e.more == nil {
		return nil
	}
	return e.more.text
}

// beside is where what few have is kept.
func (e *entry) beside() *entryMore {
	if e.more == nil {
		e.more = &entryMore{}
	}
	return e.more
}

// next is another one of the same hash, which hardly any has; nil: there is none.
func (e *entry) next() *entry {
	if e.more == nil {
		return nil
	}
	return e.more.next
}

func (e *entry) goBefore(next *entry) {
	if next != nil || e.more != nil {
		e.beside().next = next
	}
}

// newEntry is a ban that a ticket tells of for the first time.
func newEntry(w who, t *Ticket, no uint64) *entry {
	e := &entry{addr: w.addr, bits: w.bits, kind: w.kind, no: no}
	if w.kind == aName {
		e.beside().name = w.name
	}
	if t.IP != w.ip() {
		e.beside().ip = t.IP
		e.flags |= elsewhere
	}
	f := factsOf(t)
	var ok bool
	e.micros, e.decimals, ok = microsOf(f.time)
	behind := f.began - e.micros/1_000_000
	switch {
	case !ok, behind != int64(int32(behind)),
		f.lasts < -1, f.lasts >= 0 && (f.lasts%time.Second != 0 || f.lasts/time.Second > math.MaxInt32),
		f.failures != int32(uint16(f.failures)), f.count != int32(uint16(f.count)):
		e.beside().first = &f
		return e
	}
	e.behind, e.failures, e.count = int32(behind), uint16(f.failures), uint16(f.count)
	if e.lasts = -1; f.lasts >= 0 {
		e.lasts = int32(f.lasts / time.Second)
	}
	if f.restored {
		e.flags |= restored
	}
	return e
}

// begun are the facts that were told first.
func (e *entry) begun() facts {
	if e.more != nil && e.more.first != nil {
		return *e.more.first
	}
	f := facts{timeOf(e.micros, e.decimals), e.micros/1_000_000 + int64(e.behind), -1, int32(e.failures), int32(e.count), e.flags&restored != 0}
	if e.lasts >= 0 {
		f.lasts = time.Duration(e.lasts) * time.Second
	}
	return f
}

// now are the facts that were told last, if those are others; nil: they are not.
func (e *entry) now() *facts {
	if e.more == nil {
		return nil
	}
	return e.more.now
}

// last are the facts that were told last.
func (e *entry) last() facts {
	if f := e.now(); f != nil {
		return *f
	}
	return e.begun()
}

// take has the entry, which was told of before, tell what a ticket tells.
func (e *entry) take(t *Ticket) {
	f := factsOf(t)
	e.beside().now = &f
}

func factsOf(t *Ticket) facts {
	return facts{t.Time, t.Began, t.BanTime, int32(t.Failures), int32(t.BanCount), t.Restored}
}

// ticket puts together what a command is told.
func (e *entry) ticket(f facts, site *Site) *Ticket {
	t := &Ticket{
		ID: e.id(), IP: e.ip(), Time: f.time, Began: f.began, BanTime: f.lasts, Failures: int(f.failures), BanCount: int(f.count), Restored: f.restored, site: site,
		load: f.restored || e.flags&let != 0,
	}
	if x := e.text(); x != nil {
		t.Matches, t.Groups = x.matches, x.groups
	}
	return t
}

// microsOf reads a time, seconds with up to six decimals; not ok if timeOf would write
// another text.
func microsOf(text string) (micros int64, decimals uint8, ok bool) {
	whole, part, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/2_000_000 || len(part) > 6 {
		return 0, 0, false
	}
	micros, decimals = n*1_000_000, uint8(len(part))
	if part != "" {
		if n, err = strconv.ParseInt(part, 10, 64); err != nil || n < 0 {
			return 0, 0, false
		}
		for range 6 - len(part) {
			n *= 10
		}
		micros += n
	}
	return micros, decimals, timeOf(micros, decimals) == text
}

// timeOf writes it again.
func timeOf(micros int64, decimals uint8) string {
	var room [32]byte
	b := strconv.AppendInt(room[:0], micros/1_000_000, 10)
	if decimals > 0 {
		b = append(b, '.')
		for unit, left := int64(100_000), micros%1_000_000; decimals > 0; decimals-- {
			b = append(b, byte('0'+left/unit))
			left, unit = left%unit, unit/10
		}
	}
	return string(b)
}

// entries are the bans in force, by who is banned. The zero value is ready.
type entries struct {
	seed maphash.Seed
	by   map[uint64]*entry
	n    int
}

func (s *entries) hash(w who) uint64 {
	if s.by == nil {
		s.seed, s.by = maphash.MakeSeed(), map[uint64]*entry{}
	}
	return maphash.Comparable(s.seed, w) & hashMask
}

// hashMask is what of a hash counts; a test has less.
var hashMask uint64 = math.MaxUint64

// get returns the ban of an ID; nil: there is none.
func (s *entries) get(w who) *entry {
	for e := s.by[s.hash(w)]; e != nil; e = e.next() {
		if e.who() == w {
			return e
		}
	}
	return nil
}

// add adds one of whose ID there is none.
func (s *entries) add(e *entry) {
	h := s.hash(e.who())
	e.goBefore(s.by[h])
	s.by[h] = e
	s.n++
}

// remove takes out the ban of an ID, if there is one.
func (s *entries) remove(w who) *entry {
	h := s.hash(w)
	var before *entry
	for e := s.by[h]; e != nil; before, e = e, e.next() {
		if e.who() != w {
			continue
		}
		switch next := e.next(); {
		case before != nil:
			before.goBefore(next)
		case next != nil:
			s.by[h] = next
		default:
			delete(s.by, h)
		}
		e.goBefore(nil)
		if s.n--; s.n == 0 {
			s.clear() // a map keeps the room that it once had
		}
		return e
	}
	return nil
}

func (s *entries) clear() { *s = entries{} }

// all goes through them, in no order.
func (s *entries) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, e := range s.by {
			for ; e != nil; e = e.next() {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// marks are bans with which something is the matter for one action: a bit in the entry for
// the first actions of a group, which is all that most have, and for later ones a set.
type marks struct {
	bit uint32 // 0: in the set
	set map[*entry]struct{}
}

// marksOf returns the marks of one kind (0 or 1) for the so manieth action of a group.
func marksOf(action, kind int) marks {
	if action < 16 {
		return marks{bit: 1 << (2*action + kind)}
	}
	return marks{set: map[*entry]struct{}{}}
}

func (m *marks) has(e *entry) bool {
	if m.bit != 0 {
		return e.marks.Load()&m.bit != 0
	}
	_, ok := m.set[e]
	return ok
}

func (m *marks) add(e *entry) {
	if m.bit != 0 {
		e.marks.Or(m.bit)
		return
	}
	m.set[e] = struct{}{}
}

func (m *marks) remove(e *entry) {
	if m.bit != 0 {
		e.marks.And(^m.bit)
		return
	}
	delete(m.set, e)
}
