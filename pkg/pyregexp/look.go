package pyregexp

// Look-around and atomic groups: a search of their own within the matcher's, and what
// is remembered of those that succeeded.

// lookTrials is how many evaluations of one look-around in one search go
// without a record of their success.
const lookTrials = 8

// success is what is known of a remembered triple on the path of a look-around
// that succeeded.
type success struct {
	record int32
	index  int32 // in the path
}

// record is the outcome of a look-around: where it ended, and for each slot
// that its path set, the value and how long the path was by then.
type record struct {
	end   int
	slots []recordSlot
}

type recordSlot struct {
	slot, at int32
	value    int
}

// look evaluates a look-around or an atomic group at pos. It returns where the
// search goes on.
func (m *machine) look(i *inst, pos int, st uint64) (int, bool) {
	info := i.look
	from := pos
	if info.behind {
		for range info.width {
			if from == 0 {
				return pos, info.not
			}
			from -= lastSize(m.in[:from])
		}
	}
	base, trail := len(m.stack), len(m.trail)
	m.depth++
	quiet := m.trace != nil && !info.atomic
	if quiet {
		m.trace.quiet++
	}
	end, ok := m.run(i.arg, from, st|m.prog.moved)
	if quiet {
		m.trace.quiet--
	}
	m.depth--
	if ok {
		if !m.free {
			m.trials[info.id]++
		}
		if m.free {
			// nothing was remembered
		} else if m.trials[info.id] <= lookTrials {
			for _, key := range m.trail[trail:] {
				m.forget(key)
			}
		} else {
			m.remember(m.trail[trail:], int32(trail), m.stack[base:], end)
		}
		// The alternatives inside are gone for good. Captures stay, with the way
		// back from them, unless the look-around is negative.
		kept := m.stack[:base]
		if info.not {
			for k := len(m.stack) - 1; k >= base; k-- {
				if f := &m.stack[k]; f.kind == frameRestore {
					m.caps[f.pc] = int(f.pos)
				}
			}
		} else {
			for k := base; k < len(m.stack); k++ {
				if f := m.stack[k]; f.kind == frameRestore {
					f.trail = int32(trail)
					kept = append(kept, f)
				}
			}
		}
		m.stack = kept
	}
	m.trail = m.trail[:trail]
	if !info.atomic {
		end = pos
	}
	return end, ok != info.not
}

// remember notes the outcome for every triple on the path of a success. at is
// the index of the path's first triple in the trail.
func (m *machine) remember(path []uint64, at int32, frames []frame, end int) {
	if m.known == nil {
		m.known = map[uint64]success{}
	}
	rec := record{end: end}
	for _, f := range frames {
		if f.kind != frameRestore {
			continue
		}
		s := recordSlot{slot: int32(f.pc), at: f.trail - at, value: m.caps[f.pc]}
		found := false
		for k := range rec.slots {
			if rec.slots[k].slot == s.slot {
				rec.slots[k], found = s, true
			}
		}
		if !found {
			rec.slots = append(rec.slots, s)
		}
	}
	m.records = append(m.records, rec)
	for k, key := range path {
		m.known[key] = success{record: int32(len(m.records) - 1), index: int32(k)}
	}
}

// recall applies a known success: the captures that its path set from there on.
func (m *machine) recall(s success) int {
	rec := &m.records[s.record]
	for _, slot := range rec.slots {
		if slot.at > s.index {
			m.setCap(uint32(slot.slot), slot.value, 0)
		}
	}
	return rec.end
}
