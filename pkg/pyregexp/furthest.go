package pyregexp

import (
	"cmp"
	"math"
	"slices"
)

// Why does a text not match? The search is run once more on a program in which
// every character of the pattern is an instruction of its own, and each failure
// is noted: the one that counts is where the fewest characters were missing.

// Reach is how near a search that found nothing came to a match.
type Reach struct {
	// Left is how many characters a match still wanted, at least, where the search
	// came nearest (in a longer alternative, that may be more than Total); Total is
	// how many one has from its beginning, at least.
	Left, Total int
	// Start and Pos are offsets into the text, in bytes: where that try began, and
	// where it could not go on.
	Start, Pos int
	// Wanted are the parts of the pattern that did not match there, as pairs of
	// byte offsets, in the pattern's order.
	Wanted [][2]int
}

// trace notes failures.
type trace struct {
	prog  *program
	left  []int32
	quiet int // look-arounds around us: what fails in there is no failure yet
	found bool
	reach Reach
	pcs   []uint32
}

func (t *trace) failed(pc uint32, pos, start int) {
	if t.quiet > 0 {
		return
	}
	switch t.prog.insts[pc].op {
	case opByte, opString, opSet, opAny, opAssert, opRef, opLook:
	default:
		return
	}
	left := int(t.left[pc])
	switch r := &t.reach; {
	case !t.found || left < r.Left || left == r.Left && pos > r.Pos:
		t.found = true
		r.Left, r.Start, r.Pos = left, start, pos
		t.pcs = append(t.pcs[:0], pc)
	case left == r.Left && pos == r.Pos:
		t.pcs = append(t.pcs, pc)
	}
}

// Furthest tells how near a search in b came, where it finds nothing; ok is false
// where there is a match. The error is a *BudgetError.
func (re *Regexp) Furthest(b []byte) (reach Reach, ok bool, err error) {
	root, p, err := parse(re.pattern, re.flags)
	if err != nil {
		return Reach{}, false, err
	}
	prog, err := compile(root, p, true)
	if err != nil {
		return Reach{}, false, err
	}
	m := &machine{trace: &trace{prog: prog, left: prog.distances()}}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *BudgetError:
			r.Pattern = re.pattern
			reach, ok, err = Reach{}, false, r
		default:
			panic(r)
		}
	}()
	everywhere := startInfo{anchored: re.starts.anchored, any: true}
	if m.search(prog, &everywhere, b, 0) || !m.trace.found {
		return Reach{}, false, nil
	}
	reach = m.trace.reach
	reach.Total = int(m.trace.left[prog.start])
	offsets := make([]int, 0, len(p.in)+1)
	at := 0
	for _, r := range p.in {
		offsets = append(offsets, at)
		at += len(string(r))
	}
	offsets = append(offsets, at)
	seen := map[span]bool{}
	for _, pc := range m.trace.pcs {
		if s := prog.src[pc]; s.to > s.from && !seen[s] {
			seen[s] = true
			reach.Wanted = append(reach.Wanted, [2]int{offsets[s.from], offsets[s.to]})
		}
	}
	slices.SortFunc(reach.Wanted, func(a, b [2]int) int { return cmp.Compare(a[0], b[0]) })
	return reach, true, nil
}

// distances returns for each instruction how many characters a match takes from
// there on, at least.
func (p *program) distances() []int32 {
	type edge struct {
		from uint32
		cost int32
	}
	back := make([][]edge, len(p.insts))
	add := func(from, to uint32, cost int32) { back[to] = append(back[to], edge{from, cost}) }
	var goal uint32
	inner := map[uint32]bool{}
	for i := range p.insts {
		if l := p.insts[i].look; l != nil {
			inner[l.end] = true
		}
	}
	for i := range p.insts {
		in, pc := &p.insts[i], uint32(i)
		switch in.op {
		case opMatch:
			if !inner[pc] {
				goal = pc
			}
		case opByte, opSet, opAny:
			add(pc, in.out, 1)
		case opString:
			add(pc, in.out, int32(len(in.str)))
		case opLook:
			if in.look.atomic {
				add(pc, in.arg, 0)
				add(in.look.end, in.out, 0)
			} else {
				add(pc, in.out, 0)
			}
		default:
			for _, to := range in.next() {
				add(pc, to, 0)
			}
		}
	}
	// Costs are small: a bucket for each distance is enough.
	left := make([]int32, len(p.insts))
	for i := range left {
		left[i] = math.MaxInt32
	}
	left[goal] = 0
	buckets := [][]uint32{{goal}}
	for d := int32(0); int(d) < len(buckets); d++ {
		for k := 0; k < len(buckets[d]); k++ {
			to := buckets[d][k]
			if left[to] != d {
				continue
			}
			for _, e := range back[to] {
				if n := d + e.cost; n < left[e.from] {
					left[e.from] = n
					for int(n) >= len(buckets) {
						buckets = append(buckets, nil)
					}
					buckets[n] = append(buckets[n], e.from)
				}
			}
		}
	}
	return left
}
