package pyregexp

import "encoding/binary"

// What most lines of a log open with was seen before, but for a number, like that of a process:
// " web1 sshd[4711]: pam_unix(sshd:session): ". Where that is enough to know what a Sieve will say
// of a line, it is remembered as a path: the first eight bytes, and then pieces of up to sixteen,
// each of which ends where a number begins, or, where there is none in it, with its sixteenth
// byte. Digits are passed over, however many there are. Nothing is called for the first eight
// bytes, which is enough for most lines of other programs, and a piece is one look-up.
//
// It says no more than the DFA has said of a line that opens so: a number is left out only where
// the DFA is in the same state behind each of its digits.

// Opening is what is known by what a line opens with.
type Opening uint32

const (
	OpeningUnknown Opening = iota // nothing: Passes and Masks have to say
	OpeningAway                   // Passes turns it away
	OpeningMinor                  // only members are named that Minor was told
	OpeningLight                  // only the member is named that Light was told
	// OpeningGoes is the first of those of which Openings.Further has to say.
	OpeningGoes
)

const (
	openingRootBits  = 8
	openingPieceBits = 9
	openingPlaces    = 1 << 12 // when so many are in use, all is forgotten
	openingLast      = 1 << 31 // beyond that, nothing more is learned
	openingDeep      = 6       // pieces
	openingOrs       = 4       // so many ways of cutting at a place
	// Lines that were seen before pay for those that are learned: that takes as long as some tens
	// of look-ups, and in a log of ever new ones is left be.
	openingPays  = 32
	openingMost  = 4096
	openingLearn = 1024
)

// Openings are those that are known. They become more as a Sieve's lines are looked at.
type Openings struct {
	roots  [1 << openingRootBits]openingRoot
	pieces [1 << openingPieceBits]openingPiece
	places []openingPlace // by what an Opening is above base
	base   Opening        // that of the first place: a place that was forgotten has a lower one
	most   int            // places
	credit int            // how many may be learned
	paid   int            // look-ups since that was one less
}

type openingRoot struct {
	text uint64
	to   Opening
}

// openingPiece is where a piece leads to from a place.
type openingPiece struct {
	low, high uint64 // the piece, without what place.low and high leave out
	from, to  Opening
}

// openingPlace says how the piece behind it is cut: it is of at bytes, and a number is behind
// it, or of sixteen.
type openingPlace struct {
	low, high uint64 // what of sixteen bytes counts
	at        int
	or        Opening // the same place, behind which pieces are cut otherwise; OpeningUnknown: none
}

const openingPieceSize = 16

func newOpenings() *Openings {
	return &Openings{base: OpeningGoes, most: openingPlaces, credit: openingLearn}
}

// noOpenings are those where there is no DFA: none, and none is learned.
var noOpenings Openings

// of is the place that an Opening is.
func (o *Openings) of(at Opening) *openingPlace { return &o.places[at-o.base] }

// First is what is known by the first eight bytes of a line.
func (o *Openings) First(line []byte) Opening {
	if len(line) >= headSize {
		text := binary.LittleEndian.Uint64(line)
		if x := &o.roots[hashOf(text, 0)>>(64-openingRootBits)]; x.text == text {
			return x.to
		}
	}
	return OpeningUnknown
}

// Further is what is known by more of a line, of which First has said this.
func (o *Openings) Further(line []byte, to Opening) Opening {
	for i := headSize; to >= o.base && len(line)-i >= openingPieceSize; {
		a, b := binary.LittleEndian.Uint64(line[i:]), binary.LittleEndian.Uint64(line[i+8:])
		p := o.of(to)
		low, high := a&p.low, b&p.high
		x := &o.pieces[pieceAt(low, high, to)]
		for x.low != low || x.high != high || x.from != to {
			if to = p.or; to == OpeningUnknown {
				return OpeningUnknown
			}
			p = o.of(to)
			low, high = a&p.low, b&p.high
			x = &o.pieces[pieceAt(low, high, to)]
		}
		if to = x.to; to < OpeningGoes {
			if o.paid++; o.paid == openingPays {
				o.paid, o.credit = 0, min(o.credit+1, openingMost)
			}
			return to
		}
		if i += p.at; p.at < openingPieceSize {
			n := 0
			if i, n = pastDigits(line, i); n == 0 {
				break
			}
		}
	}
	return OpeningUnknown
}

func pieceAt(low, high uint64, from Opening) uint64 {
	return ((low^uint64(from)<<48)*0x9E3779B97F4A7C15 ^ high*0xD6E8FEB86659FD93) >> (64 - openingPieceBits)
}

// pastDigits goes on behind digits, of which there are n at least.
func pastDigits(line []byte, i int) (at, n int) {
	for len(line)-i >= 8 {
		k := digits(binary.LittleEndian.Uint64(line[i:]))
		i += k
		if n += k; k < 8 {
			return i, n
		}
	}
	for i < len(line) && line[i]-'0' <= 9 {
		i, n = i+1, n+1
	}
	return i, n
}

// openingWay is a piece on the way to what is known.
type openingWay struct {
	low, high uint64
	at        int // as openingPlace.at
}

// hasReturn reports whether a carriage return is among eight bytes of ASCII. Those at the ends of
// lines are none of theirs, but may not have been cut off where it is asked what lines open with.
func hasReturn(text uint64) bool {
	x := text ^ '\r'*each
	return (x-each)&^x&(0x80*each) != 0
}

// learn remembers what a line opens with, of which the DFA says this, if that is known by so few
// pieces.
func (o *Openings) learn(v *Sieve, line []byte, to Opening) {
	first := binary.LittleEndian.Uint64(line)
	if hasReturn(first) {
		return
	}
	root := &o.roots[hashOf(first, 0)>>(64-openingRootBits)]
	at := v.d.eight(v.c, line[:headSize], int32(v.start))
	if at < unknown {
		*root = openingRoot{first, to}
		return
	}
	if at == unknown || o.credit == 0 || o.base > openingLast {
		return
	}
	o.credit--
	var way [openingDeep]openingWay
	n, last, ok := v.way(line, at, &way)
	if !ok {
		return
	}
	if len(o.places)+2*n > o.most {
		o.forget()
	}
	if root.text != first || root.to < OpeningGoes {
		*root = openingRoot{first, o.place(way[0].at)}
	}
	from := root.to
	for k, x := range way[:n] {
		if k == n-1 {
			// It may be cut as others are, if what is compared then is enough to know it.
			if from = o.cut(from, func(at int) bool { return last <= at }, openingPieceSize); from == OpeningUnknown {
				return
			}
			p := o.of(from)
			low, high := x.low&p.low, x.high&p.high
			o.pieces[pieceAt(low, high, from)] = openingPiece{low, high, from, to}
			return
		}
		if from = o.cut(from, func(at int) bool { return at == x.at }, x.at); from == OpeningUnknown {
			return
		}
		p := o.of(from)
		low, high := x.low&p.low, x.high&p.high
		e := &o.pieces[pieceAt(low, high, from)]
		if e.low != low || e.high != high || e.from != from || e.to < OpeningGoes {
			*e = openingPiece{low, high, from, o.place(way[k+1].at)}
		}
		from = e.to
	}
}

// cut is a place, or another one that stands for it, where pieces are cut as wanted; if there is
// none, a new one. OpeningUnknown: there are too many.
func (o *Openings) cut(at Opening, wanted func(at int) bool, or int) Opening {
	for n := 1; ; n++ {
		p := o.of(at)
		switch {
		case wanted(p.at):
			return at
		case n == openingOrs:
			return OpeningUnknown
		case p.or == OpeningUnknown:
			more := o.place(or)
			o.of(at).or = more
			return more
		}
		at = p.or
	}
}

// way is the way of a line from behind its first eight bytes on, which have led to a state, to a
// state that is done, in pieces, of which the last one is known by so many bytes.
func (v *Sieve) way(line []byte, at int32, way *[openingDeep]openingWay) (n, last int, ok bool) {
	d, c := v.d, v.c
	for i := headSize; n < openingDeep && len(line)-i >= openingPieceSize; n++ {
		x := &way[n]
		*x = openingWay{binary.LittleEndian.Uint64(line[i:]), binary.LittleEndian.Uint64(line[i+8:]), openingPieceSize}
		if hasReturn(x.low) || hasReturn(x.high) {
			return 0, 0, false
		}
		for k, b := range line[i : i+openingPieceSize] {
			before := at
			if at = c.trans[uint32(at)+uint32(d.class[b])]; at == unknown {
				return 0, 0, false
			} else if at < unknown {
				return n + 1, k + 1, true
			}
			if b-'0' <= 9 && c.stays(d, at) && c.digitsLead(d, before, at) {
				x.at = k
				break
			}
		}
		if i += x.at; x.at < openingPieceSize {
			i, _ = pastDigits(line, i)
		}
	}
	return 0, 0, false
}

// digitsLead reports whether all digits are known to lead from one state to another.
func (c *dfaCache) digitsLead(d *dfa, from, to int32) bool {
	for b := byte('0'); b <= '9'; b++ {
		if c.trans[uint32(from)+uint32(d.class[b])] != to {
			return false
		}
	}
	return true
}

// place is a new one, behind which a piece is of so many bytes.
func (o *Openings) place(at int) Opening {
	p := openingPlace{low: ^uint64(0), high: ^uint64(0), at: at}
	if at < 8 {
		p.low, p.high = 1<<(8*at)-1, 0
	} else if at < openingPieceSize {
		p.high = 1<<(8*(at-8)) - 1
	}
	o.places = append(o.places, p)
	return o.base + Opening(len(o.places)-1)
}

// forget forgets all but what is known by eight bytes. Places get other numbers, for somebody may
// have been told one and not asked further yet.
func (o *Openings) forget() {
	o.base += Opening(len(o.places))
	o.places = o.places[:0]
	clear(o.pieces[:])
	for i := range o.roots {
		if o.roots[i].to >= OpeningGoes {
			o.roots[i] = openingRoot{}
		}
	}
}

// opening is what a state that is done, as in dfaCache.trans, says of a line.
func (v *Sieve) opening(at int32) Opening {
	if at >= unknown {
		return OpeningUnknown
	}
	switch st := &v.c.states[doneAt(at)]; {
	case !st.any:
		return OpeningAway
	case v.OnlyLight(st.mask):
		return OpeningLight
	case v.m.set.OnlyMinor(st.mask):
		return OpeningMinor
	}
	return OpeningUnknown
}

// Openings are what lines open with of which it is known what is said of them. They become more
// by and by. They hold as long as the Sieve does: what Light is told is looked at.
func (v *Sieve) Openings() *Openings {
	if v.d == nil {
		return &noOpenings
	}
	h := &v.c.heads
	if h.openings == nil {
		h.openings = newOpenings()
	}
	return h.openings
}
