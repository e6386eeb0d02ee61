package pyregexp

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// A walk runs expressions over all texts of a template at once, in which somebody
// chooses parts: what can they find, over all that he may write? The future of a search
// depends on the ways that it has open at a place in the text, in Python's order, and
// of captures it matters only whether they begin and end where they should; so there
// are finitely many situations, and all of them are gone through, breadth first. Nothing
// is approximated: a look-ahead is guessed, both ways, and the guess held against the
// text that follows; what stands behind is remembered as far as anybody looks back.

// Piece is a part of a template.
type Piece struct {
	Text string // what stands there; of an open one, an example
	// Open says what may stand there in its place, from its beginning to its end; nil:
	// nothing else.
	Open *Regexp
	// Truth says that this is what the expressions should find.
	Truth bool
}

// Taken says what a group took of a text.
type Taken uint8

// The values of Taken.
const (
	TookNothing Taken = iota
	TookOther         // something else than the truth
	TookOpen          // something that begins and ends in open pieces
	TookTruth         // the piece that is the truth, from its first character to its last
)

// Walk is a list of expressions that are tried in order, of which the first that
// matches decides.
type Walk struct {
	// Outer, where it isn't nil, is matched first; the others then see what its group
	// Content holds.
	Outer   *Regexp
	Content string
	List    []*Regexp
	Ignore  []*Regexp // where one of them matches, nothing is found
	// Whole says that Ignore sees the whole text, and not what Content holds.
	Whole bool
	// Colours says that the expressions don't see sequences of terminals that set colours, ESC [
	// numbers m, or K, in what is open.
	Colours bool
	// Bare says that no newline ends the text.
	Bare bool
	// Names are the groups that are told of.
	Names []string
	// UpTo are those of them of which only the end matters: they took the truth if they end
	// with it, wherever before it or with it they began.
	UpTo []string
	// Most bounds the situations that are looked at; 0: a million.
	Most int
}

// End is what stands at a text's end.
type End struct {
	Texts []string // of each piece
	// Matched is the number of the expression that matched; -1: none, or one of Ignore
	// did, too.
	Matched int
	// Outer and Inner are what the groups took in the outer expression and in that one,
	// by Names.
	Outer, Inner []Taken
}

// ErrWalk is part of each error that says why a walk can't be made or was not finished.
var ErrWalk = errors.New("not decided")

// Steps is what a walk has looked at.
type Steps struct {
	Situations int // on the way
	Ends       int // at the end of the text
}

const (
	walkBack     = 4 // characters that look-behind may ask for
	walkMost     = 1_000_000
	walkBranches = 256 // guesses at a time
	walkNames    = 8
)

// walker is a walk at work.
type walker struct {
	*Walk
	runs    []*run // the outer one first, if there is one; then the list, then what is ignored
	list    int    // the first of the list
	ignore  int    // the first that is ignored
	content int    // of the outer one's captures, the first of the content's
	most    int

	pieces  []walkPiece
	newline int      // the last of them; or one more than there are
	truth   int      // the first that is the truth; as newline, if none is
	symbols []symbol // of open pieces
	nodes   []situation
	index   map[string]struct{}
	key     []byte
	back    int // characters that are remembered
}

type walkPiece struct {
	Piece
	symbols []symbol // of a fixed one
	lang    *language
}

// symbol is a character, or one that stands for all that nobody tells from it; or the end.
type symbol struct {
	r   rune // invalidByte: a byte that is no UTF-8
	end bool
}

// situation is a place in the template with all that the future depends on.
type situation struct {
	from   int32  // the one before; -1: none
	sym    symbol // that led here
	read   int16  // the piece that it is of
	piece  int16
	offset int32 // in a fixed piece; in an open one, 0: nothing was read of it
	places int32 // in an open piece: state of its language

	first  bool // nothing was read of the text
	behind bool // the truth ended with the last symbol
	opened bool // which was one of an open piece
	states []int32
	before [walkBack]symbol // what was read last, the last one first
	n      int8             // how many these are

	// With an outer expression: before (0), in (1) and behind (2) what it holds, by a
	// guess; whether that begins and ends here; and how much was read of it.
	phase        int8
	begins, ends bool
	since        int8
	inner        verdict // when it has ended
	finished     bool
	outer        []Taken
}

// empty is in the place of what matched where the outer one holds nothing.
const empty = -1

// verdict is what those found that see the content.
type verdict struct {
	matched int16 // as in End, plus 1
	taken   [walkNames]Taken
}

// memoKey is a step of a run: from where, over what, and what was read before, where
// that matters.
type memoKey struct {
	at     uint64
	before [walkBack / 2]uint64
}

// number is a symbol's, in 21 bits.
func (s symbol) number() uint32 {
	switch {
	case s.end:
		return 1<<21 - 1
	case s.r == invalidByte:
		return 1<<21 - 2
	}
	return uint32(s.r)
}

// Run looks at everything that the expressions can find in texts of a template, and
// calls found for each situation at a text's end. It ends when that returns false, or
// when there is nothing more: then what it has not told of can't be. An error wraps
// ErrWalk.
func (w *Walk) Run(template []Piece, found func(End) bool) (Steps, error) {
	x := &walker{Walk: w, index: map[string]struct{}{}, most: w.Most}
	if x.most <= 0 {
		x.most = walkMost
	}
	if len(w.Names) > walkNames {
		return Steps{}, fmt.Errorf("%w: more than %d groups", ErrWalk, walkNames)
	}
	add := func(re *Regexp, names ...string) error {
		r, err := newRun(re, names)
		if err != nil {
			return err
		}
		for i, n := range names {
			if g := r.groups[i]; g >= 0 && slices.Contains(w.UpTo, n) {
				r.upTo |= 1 << g
			}
		}
		x.back = max(x.back, r.back)
		x.runs = append(x.runs, r)
		return nil
	}
	if w.Outer != nil {
		if err := add(w.Outer, append(slices.Clone(w.Names), w.Content)...); err != nil {
			return Steps{}, err
		}
		if x.content = x.runs[0].groups[len(w.Names)]; x.content < 0 {
			return Steps{}, fmt.Errorf("%w: %.60q holds no group %s", ErrWalk, w.Outer.String(), w.Content)
		}
		x.runs[0].content = x.content
	}
	x.list = len(x.runs)
	for _, re := range w.List {
		if err := add(re, w.Names...); err != nil {
			return Steps{}, err
		}
	}
	x.ignore = len(x.runs)
	for _, re := range w.Ignore {
		if err := add(re); err != nil {
			return Steps{}, err
		}
	}
	x.newline = len(template)
	if x.truth = slices.IndexFunc(template, func(p Piece) bool { return p.Truth }); x.truth < 0 {
		x.truth = x.newline
	}
	if !w.Bare {
		template = append(slices.Clone(template), Piece{Text: "\n"})
	}
	for _, p := range template {
		q := walkPiece{Piece: p}
		if p.Open != nil {
			l, err := newLanguage(p.Open, w.Colours)
			if err != nil {
				return Steps{}, err
			}
			q.lang = l
		}
		for b := []byte(p.Text); q.lang == nil && len(b) > 0; {
			r, n := decode(b)
			q.symbols = append(q.symbols, symbol{r: r})
			b = b[n:]
		}
		x.pieces = append(x.pieces, q)
	}
	x.alphabet()
	return x.walk(found)
}

// inContent reports whether a run sees what the outer one holds, and nothing else.
func (x *walker) inContent(i int) bool { return x.list == 1 && i >= 1 && (!x.Whole || i < x.ignore) }

// alphabet finds the characters that stand for all others: those that no expression and
// no language tells apart.
func (x *walker) alphabet() {
	var sets []*charSet
	var single [128]bool
	words := false
	take := func(p *program) {
		for i := range p.sets {
			sets = append(sets, &p.sets[i])
		}
		for i := range p.insts {
			switch in := &p.insts[i]; in.op {
			case opByte:
				single[in.arg&0x7f] = true
			case opString:
				for _, b := range []byte(in.str) {
					single[b&0x7f] = true
				}
			case opAssert:
				words = words || assertKind(in.arg) >= atWord
			}
		}
	}
	for _, r := range x.runs {
		take(r.p)
	}
	for i := range x.pieces {
		if l := x.pieces[i].lang; l != nil {
			take(l.p)
		}
	}
	single['\n'] = true
	seen := map[string]bool{}
	var key []byte
	add := func(r rune) {
		key = key[:0]
		if r < 0x80 && single[r] {
			key = append(key, byte(r))
		}
		key = append(key, '|')
		for _, s := range sets {
			key = append(key, bit(s.has(r)))
		}
		if words {
			key = append(key, bit(isWord(r, false)), bit(isWord(r, true)))
		}
		if !seen[string(key)] {
			seen[string(key)] = true
			x.symbols = append(x.symbols, symbol{r: r})
		}
	}
	// Those first that make addresses and words that can be read.
	for _, r := range "1a x-A.:/" {
		add(r)
	}
	for r := rune(' '); r < 0x7f; r++ {
		add(r)
	}
	for r := range rune(0x80) {
		add(r)
	}
	for _, s := range sets {
		for _, c := range s.wide {
			for _, r := range []rune{c.lo - 1, c.lo, c.hi, c.hi + 1} {
				if r >= 0x80 && utf8.ValidRune(r) {
					add(r)
				}
			}
		}
	}
	add(0xe9)
	add(invalidByte)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// has reports whether a character is in the set.
func (c *charSet) has(r rune) bool {
	if r < 0x80 {
		return c.hasASCII(byte(r))
	}
	return c.wide.contains(r)
}
