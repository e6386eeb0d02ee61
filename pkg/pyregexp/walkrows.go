package pyregexp

// What a run remembers of its steps over ASCII, in tables.

// walkRow is what is known of the steps from a state over ASCII, where one leads to one
// other state: that state's number plus 1.
type walkRow struct {
	ctx uint64 // and what is asked of what was before
	to  *[128]int32
}

func (r *run) row(state int32, ctx uint64) *[128]int32 {
	for int(state) >= len(r.rows) {
		r.rows = append(r.rows, nil)
	}
	for _, row := range r.rows[state] {
		if row.ctx == ctx {
			return row.to
		}
	}
	row := walkRow{ctx, new([128]int32)}
	r.rows[state] = append(r.rows[state], row)
	return row.to
}

// asked is what can be asked of the symbols before; not ok: it isn't known in short.
func (r *run) asked(before []symbol) (out uint32, ok bool) {
	for _, b := range before {
		if b.end || b.r >= 128 || r.class[b.r] == 0 {
			return 0, false
		}
		out = out<<6 | uint32(r.class[b.r])
	}
	return out, true
}

// classes puts characters into classes that no look-behind and no assertion tells apart.
func (r *run) classes() {
	var in []*inst
	seen := map[uint32]bool{}
	var collect func(pc uint32)
	collect = func(pc uint32) {
		if seen[pc] {
			return
		}
		seen[pc] = true
		i := &r.p.insts[pc]
		in = append(in, i)
		if i.op == opMatch || i.op == opFail {
			return
		}
		if i.op == opAlt || i.op == opMoved {
			collect(i.arg)
		}
		collect(i.out)
	}
	for i := range r.p.insts {
		if x := &r.p.insts[i]; x.op == opLook && x.look.behind {
			collect(x.arg)
		}
	}
	known := map[string]byte{}
	for c := range r.class {
		k := []byte{bit(c == '\n'), bit(isWord(rune(c), true)), bit(isWord(rune(c), false))}
		for _, i := range in {
			switch i.op {
			case opByte:
				k = append(k, bit(uint32(c) == i.arg))
			case opString:
				for _, b := range []byte(i.str) {
					k = append(k, bit(c == int(b)))
				}
			case opSet, opStar:
				k = append(k, bit(r.p.sets[i.arg].has(rune(c))))
			}
		}
		n, ok := known[string(k)]
		if !ok {
			if len(known) < 62 {
				n = byte(len(known) + 1)
			}
			known[string(k)] = n
		}
		r.class[c] = n
	}
}
