package pyregexp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf8"
)

// walk goes through the situations.
func (x *walker) walk(found func(End) bool) (st Steps, err error) {
	s := situation{from: -1, first: true, states: make([]int32, len(x.runs))}
	for i, r := range x.runs {
		if !x.inContent(i) {
			s.states[i] = r.begin()
		}
	}
	x.enter(&s)
	x.put(s)
	for n := 0; n < len(x.nodes); n++ {
		if st.Situations = len(x.nodes); st.Situations > x.most {
			return st, fmt.Errorf("%w: more than %d situations", ErrWalk, x.most)
		}
		if !x.nodes[n].finished {
			if err := x.next(int32(n)); err != nil {
				return st, err
			}
			continue
		}
		st.Ends++
		if !found(x.end(int32(n))) {
			break
		}
	}
	st.Situations = len(x.nodes)
	return st, nil
}

// enter has a situation begin its piece.
func (x *walker) enter(s *situation) {
	s.offset, s.places = 0, 0
	if int(s.piece) < len(x.pieces) && x.pieces[s.piece].lang != nil {
		s.places = languageBegin
	}
}

// put adds a situation that is not known yet.
func (x *walker) put(s situation) {
	k := binary.AppendUvarint(x.key[:0], uint64(s.piece))
	k = binary.AppendUvarint(k, uint64(s.offset))
	k = binary.AppendUvarint(k, uint64(s.places))
	k = append(k, bit(s.first)|bit(s.behind)<<1|bit(s.begins)<<2|bit(s.ends)<<3|bit(s.finished)<<4|bit(s.opened)<<5, byte(s.phase), byte(s.since), byte(s.n), byte(len(s.outer)))
	for _, b := range s.before[:s.n] {
		k = binary.AppendUvarint(k, uint64(b.r))
	}
	k = binary.AppendUvarint(k, uint64(s.inner.matched))
	for _, t := range s.inner.taken {
		k = append(k, byte(t))
	}
	for _, t := range s.outer {
		k = append(k, byte(t))
	}
	for _, st := range s.states {
		k = binary.AppendUvarint(k, uint64(st))
	}
	x.key = k
	if _, ok := x.index[string(k)]; !ok {
		x.index[string(k)] = struct{}{}
		x.nodes = append(x.nodes, s)
	}
}

// end tells of a situation at a text's end, and what led there.
func (x *walker) end(n int32) End {
	s := &x.nodes[n]
	e := End{Matched: int(s.inner.matched) - 1, Inner: slices.Clone(s.inner.taken[:len(x.Names)]), Outer: s.outer}
	parts := make([][]rune, len(x.pieces))
	for ; s.from >= 0; s = &x.nodes[s.from] {
		if !s.sym.end {
			parts[s.read] = append(parts[s.read], s.sym.r)
		}
	}
	for i := range x.pieces[:x.newline] {
		text := x.pieces[i].Text
		if x.pieces[i].lang != nil {
			var b []byte
			for _, r := range slices.Backward(parts[i]) {
				if r == invalidByte {
					b = append(b, 0xff)
				} else {
					b = utf8.AppendRune(b, r)
				}
			}
			text = string(b)
		}
		e.Texts = append(e.Texts, text)
	}
	return e
}

// next adds what comes after a situation.
func (x *walker) next(n int32) error {
	s := x.nodes[n]
	if x.Outer == nil {
		return x.over(n, s)
	}
	if err := x.over(n, s); err != nil {
		return err
	}
	switch s.phase {
	case 0: // what the outer one holds may begin here
		t := s
		t.states = slices.Clone(s.states)
		for i := range x.runs {
			if x.inContent(i) {
				t.states[i] = x.runs[i].begin()
			}
		}
		t.phase, t.begins, t.since = 1, true, 0
		if err := x.over(n, t); err != nil {
			return err
		}
		t = s
		t.phase, t.begins, t.ends, t.inner.matched = 2, true, true, empty
		return x.over(n, t)
	case 1: // or end
		if s.begins {
			return nil
		}
		all, err := x.contentEnds(s)
		if err != nil {
			return err
		}
		for _, t := range all {
			if err := x.over(n, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// over goes over the next symbol, whatever it may be.
func (x *walker) over(n int32, s situation) error {
	if int(s.piece) == len(x.pieces) {
		return x.finish(n, s)
	}
	p := &x.pieces[s.piece]
	if p.lang == nil && len(p.symbols) == 0 || p.lang != nil && p.lang.accepts(s.places) { // on to the next piece
		t := s
		t.piece++
		x.enter(&t)
		if err := x.over(n, t); err != nil {
			return err
		}
	}
	if p.lang == nil {
		if len(p.symbols) == 0 {
			return nil
		}
		return x.read(n, s, p.symbols[s.offset], 0)
	}
	for _, sym := range x.symbols {
		if to := p.lang.step(s.places, sym.r); to > 0 {
			if err := x.read(n, s, sym, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// sees says how a run sees the next symbol; ok is false if it doesn't.
func (x *walker) sees(i int, s *situation, sym symbol) (ctx uint16, n int8, ok bool) {
	n = s.n
	first := s.first
	if x.inContent(i) {
		if s.phase != 1 {
			return 0, 0, false
		}
		first, n = s.begins, min(n, s.since)
	}
	if first {
		ctx |= ctxFirst
	}
	if s.behind {
		ctx |= ctxBehind
	}
	if int(s.piece) < len(x.pieces) && x.pieces[s.piece].Truth && s.offset == 0 && !sym.end {
		ctx |= ctxTruth
	}
	if len(x.UpTo) > 0 && int(s.piece) <= x.truth && !s.truthBegan(x) {
		ctx |= ctxUpTo
	}
	if s.opened {
		ctx |= ctxOpened
	}
	if int(s.piece) < len(x.pieces) && x.pieces[s.piece].lang != nil && !sym.end {
		ctx |= ctxOpen
	}
	if int(s.piece) == x.newline {
		ctx |= ctxLast
	}
	if i == 0 && x.Outer != nil {
		if s.begins {
			ctx |= ctxBegins
		}
		if s.ends {
			ctx |= ctxEnds
		}
	}
	return ctx, n, true
}

// truthBegan reports whether some of the truth was read.
func (s *situation) truthBegan(x *walker) bool { return int(s.piece) == x.truth && s.offset > 0 }

// step has all runs read a symbol that see it, and returns what can become of that: to
// guess makes more than one.
func (x *walker) step(s *situation, sym symbol, sees func(i int) (ctx uint16, n int8, ok bool)) ([][]int32, error) {
	out := [][]int32{slices.Clone(s.states)}
	for i, r := range x.runs {
		ctx, n, ok := sees(i)
		if !ok || s.states[i] == 0 {
			continue
		}
		n = min(n, int8(r.back))
		var quick *int32
		if was, ok := r.asked(s.before[:n]); ok && !sym.end && sym.r < 128 {
			if quick = &r.row(s.states[i], uint64(ctx)<<24|uint64(was))[sym.r]; *quick > 0 {
				for _, states := range out {
					states[i] = *quick - 1
				}
				continue
			}
		}
		k := memoKey{at: uint64(s.states[i])<<32 | uint64(ctx)<<21 | uint64(sym.number())}
		for j, b := range s.before[:n] {
			k.before[j/2] = k.before[j/2]<<22 | 1<<21 | uint64(b.number())
		}
		to, known := r.memo[k]
		if !known {
			var err error
			if to, err = r.step(s.states[i], sym, ctx, s.before[:n]); err != nil {
				return nil, err
			}
			r.memo[k] = to
		}
		if len(to) == 1 { // as nearly always
			if quick != nil {
				*quick = to[0] + 1
			}
			for _, states := range out {
				states[i] = to[0]
			}
			continue
		}
		had := out
		out = nil
		for _, states := range had {
			for _, one := range to {
				t := slices.Clone(states)
				t[i] = one
				out = append(out, t)
			}
		}
		if len(out) > walkBranches {
			return nil, fmt.Errorf("%w: more than %d guesses at a time", ErrWalk, walkBranches)
		}
	}
	return out, nil
}

// read has everybody read a symbol.
func (x *walker) read(n int32, s situation, sym symbol, places int32) error {
	p := &x.pieces[s.piece]
	all, err := x.step(&s, sym, func(i int) (uint16, int8, bool) { return x.sees(i, &s, sym) })
	if err != nil {
		return err
	}
	for _, states := range all {
		if x.Outer != nil && !x.mayHold(&s, states) {
			continue
		}
		t := s
		t.states, t.from, t.sym, t.read = states, n, sym, s.piece
		t.first, t.begins, t.ends, t.opened = false, false, false, p.lang != nil
		if x.back > 0 {
			copy(t.before[1:], s.before[:])
			t.before[0], t.n = sym, min(s.n+1, int8(x.back))
			clear(t.before[t.n:])
			if t.phase == 1 {
				t.since = min(s.since+1, int8(x.back))
			}
		}
		t.offset++
		switch {
		case p.lang != nil:
			t.places, t.offset = places, 1
			t.behind = false
		default:
			t.behind = p.Truth && int(t.offset) == len(p.symbols)
			if int(t.offset) == len(p.symbols) {
				t.piece++
				x.enter(&t)
			}
		}
		x.put(t)
	}
	return nil
}

// mayHold reports whether the outer one may still hold what was guessed.
func (x *walker) mayHold(s *situation, states []int32) bool {
	if !s.begins && !s.ends {
		return true
	}
	at := 2 * x.content
	return x.runs[0].may(states[0], func(caps uint64) bool {
		return (!s.begins || caps>>at&3 == capTruth) && (!s.ends || caps>>(at+2)&3 == capTruth)
	})
}

// contentEnds has those that see what the outer one holds come to its end: a newline,
// and then nothing.
func (x *walker) contentEnds(s situation) (out []situation, err error) {
	newline := symbol{r: '\n'}
	all, err := x.step(&s, newline, func(i int) (uint16, int8, bool) {
		ctx, n, ok := x.sees(i, &s, newline)
		return ctx&(ctxBehind|ctxOpened|ctxFirst|ctxUpTo) | ctxLast, n, ok && x.inContent(i)
	})
	if err != nil {
		return nil, err
	}
	for _, states := range all {
		t := s
		t.states = states
		t.before[0] = newline
		last, err := x.step(&t, symbol{end: true}, func(i int) (uint16, int8, bool) {
			return 0, min(1, int8(x.back)), x.inContent(i)
		})
		if err != nil {
			return nil, err
		}
		for _, states := range last {
			t := s
			t.inner = x.judge(states)
			for i := range states {
				if x.inContent(i) {
					states[i] = 0
				}
			}
			t.states, t.phase, t.ends, t.since = states, 2, true, 0
			out = append(out, t)
		}
	}
	return out, nil
}

// judge says what was found by those of the list.
func (x *walker) judge(states []int32) (v verdict) {
	for i := x.ignore; i < len(x.runs); i++ {
		if f := x.runs[i].found(states[i]); f != nil {
			return v
		}
	}
	for i := x.list; i < x.ignore; i++ {
		if f := x.runs[i].found(states[i]); f != nil {
			v.matched = int16(i-x.list) + 1
			copy(v.taken[:], x.runs[i].taken(*f, len(x.Names)))
			return v
		}
	}
	return v
}

// finish has everybody see the text's end.
func (x *walker) finish(n int32, s situation) error {
	end := symbol{end: true}
	all, err := x.step(&s, end, func(i int) (uint16, int8, bool) {
		ctx, n, ok := x.sees(i, &s, end)
		return ctx, n, ok && !x.inContent(i)
	})
	if err != nil {
		return err
	}
	for _, states := range all {
		t := situation{from: n, sym: end, piece: int16(len(x.pieces)), finished: true}
		if x.Outer == nil {
			t.inner = x.judge(states)
			x.put(t)
			continue
		}
		f := x.runs[0].found(states[0])
		switch {
		case f == nil && s.phase > 0:
			continue // to tell that once is enough
		case f != nil:
			begin, end := *f>>(2*x.content)&3, *f>>(2*x.content+2)&3
			if s.phase == 0 && (begin == 0 || end == 0) {
				return fmt.Errorf("%w: %.60q may hold no %s", ErrWalk, x.Outer.String(), x.Content)
			}
			if s.phase != 2 || begin != capTruth || end != capTruth {
				continue
			}
			if t.inner = s.inner; s.inner.matched == empty {
				return fmt.Errorf("%w: %.60q may hold an empty %s", ErrWalk, x.Outer.String(), x.Content)
			}
			for i := x.ignore; x.Whole && i < len(x.runs); i++ {
				if x.runs[i].found(states[i]) != nil {
					t.inner = verdict{}
				}
			}
			if t.inner.matched > 0 {
				t.outer = x.runs[0].taken(*f, len(x.Names))
			}
		}
		x.put(t)
	}
	return nil
}
