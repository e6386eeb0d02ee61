package pyregexp

// The first try of a search, which remembers nothing and is given up after some
// steps (freeSteps). Nearly all searches end in it, so it is a loop of its own: what
// only the others need is not asked at each step. It does what run does.

// runFree is run for a whole pattern.
func (m *machine) runFree(pc uint32, pos int, st uint64) (int, bool) {
	p, in := m.prog, m.in
	insts, sets, moved := p.insts, p.sets, p.moved
	conds := len(p.condBits) > 0
	stack := m.stack[:0]
	steps, limit := m.steps, freeSteps+freePerByte*len(in)
	for {
		i := &insts[pc]
		if steps++; steps > limit {
			m.steps, m.stack, m.over = steps, stack, true
			return 0, false
		}
		switch i.op {
		case opMatch:
			m.steps, m.stack = steps, stack
			return pos, true
		case opFail:
			goto back
		case opByte:
			if pos >= len(in) || in[pos] != byte(i.arg) {
				goto back
			}
			pos++
			st |= moved
		case opString:
			if len(in)-pos < len(i.str) || string(in[pos:pos+len(i.str)]) != i.str {
				goto back
			}
			pos += len(i.str)
			st |= moved
		case opSet:
			if pos >= len(in) {
				goto back
			}
			set := &sets[i.arg]
			if c := in[pos]; c < 0x80 {
				if set.ascii[c>>6]&(1<<(c&63)) == 0 {
					goto back
				}
				pos++
			} else {
				r, size := decode(in[pos:])
				if !set.wide.contains(r) {
					goto back
				}
				pos += size
			}
			st |= moved
		case opAny:
			if pos >= len(in) {
				goto back
			}
			_, size := decode(in[pos:])
			pos += size
			st |= moved
		case opAlt:
			if f := i.fork; f != nil {
				if !f.arg.at(in, pos) {
					if !f.out.at(in, pos) {
						goto back
					}
					break
				}
				if !f.out.at(in, pos) {
					pc = i.arg
					continue
				}
			}
			stack = append(stack, frame{kind: frameAlt, pc: i.arg, pos: int32(pos), st: st})
		case opStar:
			end := sets[i.arg].run(in, pos)
			steps += (end - pos) / charsPerStep
			if end > pos {
				stack = append(stack, frame{kind: frameStar, pc: pc, pos: int32(end), low: int32(pos), st: st})
				pos = end
				st |= moved
			}
			if i.fork != nil && !i.fork.out.at(in, pos) {
				goto back
			}
		case opSave:
			// Without a way back, nothing has to be put right on it.
			if len(stack) > 0 && i.arg != 1 || conds {
				stack = append(stack, frame{kind: frameRestore, pc: i.arg, pos: int32(m.caps[i.arg])})
			}
			m.caps[i.arg] = pos
			if conds {
				st = m.condState(int(i.arg>>1), st)
			}
		case opAssert:
			if !holds(assertKind(i.arg), in, pos) {
				goto back
			}
		case opCond:
			if st&(1<<i.bit) == 0 {
				pc = i.arg
				continue
			}
		case opRound:
			st &^= 1 << i.bit
		case opMoved:
			if st&(1<<i.bit) == 0 {
				pc = i.arg
				continue
			}
		case opLeave:
			st |= 1 << i.bit
		case opLook:
			m.stack, m.steps = stack, steps
			end, ok := m.look(i, pos, st)
			stack, steps = m.stack, m.steps
			if m.over {
				return 0, false
			}
			if !ok {
				goto back
			}
			if i.look.saves && !i.look.not {
				for _, g := range p.condBits {
					st = m.condState(g, st)
				}
			}
			if end > pos {
				st |= moved
			}
			pos = end
		}
		pc = i.out
		continue

	back:
		for {
			if len(stack) == 0 {
				m.steps, m.stack = steps, stack
				return 0, false
			}
			f := &stack[len(stack)-1]
			switch f.kind {
			case frameRestore:
				m.caps[f.pc] = int(f.pos)
				stack = stack[:len(stack)-1]
				continue
			case frameAlt:
				pc, pos, st = f.pc, int(f.pos), f.st
				stack = stack[:len(stack)-1]
			default:
				star, low := &insts[f.pc], int(f.low)
				pos = int(f.pos)
				from := pos
				for {
					pos -= lastSize(in[low:pos])
					if pos == low || star.fork == nil || star.fork.out.at(in, pos) {
						break
					}
				}
				steps += (from - pos) / charsPerStep
				pc, st = star.out, f.st
				if pos > low {
					f.pos = int32(pos)
					st |= moved
					break
				}
				stack = stack[:len(stack)-1]
				if star.fork != nil && !star.fork.out.at(in, pos) {
					continue
				}
			}
			break
		}
	}
}
