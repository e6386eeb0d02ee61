package filter

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"time"
	"unique"
	"weak"
)

// Several jails may follow one log with the same filter. What the filter makes of a line
// depends on the lines before it, and on nothing else: so filters that were given the same
// lines from the first one on know the same, and one of them is enough. Such filters have a
// run: one filter of which each line is asked once, by whoever comes to it first, and what it
// told. The others take that over, each at its own pace; none waits for another one's jail.
//
// Lines are compared, not places in a log. Who gets other lines than the run, has fallen
// behind by more than is kept, or is asked for something else, goes on alone, with what he
// would know if he had been alone from the beginning: the run is kept in segments, each with
// what was known before it, and its lines; so that can be worked out again.

const (
	// segmentLeast is how many bytes of lines a segment has at least, before another one
	// begins; it has as many as the connections known take, if that is more: to note what is
	// known takes the longer the more of them there are.
	segmentLeast = 512 << 10
	// behindMost is how many bytes of lines are kept for who is behind, or has not begun to
	// read yet.
	behindMost = 4 << 20
	// awaitMost is how long a run waits for those.
	awaitMost = time.Minute
	// runsMost is how many runs there are with the same filter and logs: the first lines of
	// one need not be those of another.
	runsMost = 4
	// toldCost and stepCost are about what a line takes of which something was told, and what
	// lines that came together take, beside their texts, in bytes.
	toldCost, stepCost, lineCost = 512, 128, 24
	// momentMost is by how much the clock may be another one where a line is taken over: dates
	// that name no year are read by it.
	momentMost = time.Minute
)

// run is a filter for several jails.
type run struct {
	key runKey

	mu      sync.Mutex
	front   *Filter
	members int
	awaited int // that have not begun yet, and for whom the begin is kept; 0: it is not
	since   time.Time
	// chain is what is kept: the segments from that on which somebody is in, up to the one at
	// the end, and no more than behindMost.
	chain []*segment
	size  int // bytes of chain
}

// runKey tells runs apart that are for others.
type runKey struct {
	filter unique.Handle[string]
	logs   string
	detail Detail
	raw    bool
}

// segment is a part of a run. Steps are put behind those that there are; else it does not
// change.
type segment struct {
	before *state // what was known; nil: nothing
	steps  []*step
	size   int // bytes
	here   int // members in it
	next   weak.Pointer[segment]
}

// step is some lines that came together, and what was told of them.
type step struct {
	lines [][]byte
	now   time.Time
	told  []told
	// undated is how many of them have no date.
	undated int
}

type told struct {
	line int
	r    Result
}

// member is a filter's place in a run.
type member struct {
	run        *run
	segment    *segment
	step, line int
}

// runs are those that have members.
var runs = struct {
	sync.Mutex
	by map[runKey][]weak.Pointer[run]
}{by: map[runKey][]weak.Pointer[run]{}}

// Together says that so many filters, this one among them, are to get the lines of the same
// logs by MatchBlock. It is asked before the first line.
func (f *Filter) Together(logs string, filters int) { f.logs, f.beside = logs, filters }

// TakeUndated returns how many lines without a date there were since it was asked last. Those that a
// date pattern lets do without one are none.
func (f *Filter) TakeUndated() int {
	n := f.undated
	f.undated = 0
	return n
}

// Leave ends that: the filter is used no more.
func (f *Filter) Leave() {
	if m := f.in; m != nil {
		m.leave()
	}
	f.in, f.alone = nil, true
}

// leave takes a member out of its run.
func (m *member) leave() (steps []*step) {
	m.run.mu.Lock()
	defer m.run.mu.Unlock()
	m.run.members--
	m.segment.here--
	return m.segment.steps
}

// mayShare reports whether what the filter tells depends on its lines and definition only.
func (f *Filter) mayShare() bool {
	return !f.CheckAll && !f.logins && !f.explain && !(f.forwards && (f.Trusted != nil || f.UnknownProxies != nil))
}

// matchTogether is MatchBlock for the first of some lines, as many as the run has told of;
// with the others, the filter is alone.
func (f *Filter) matchTogether(lines [][]byte, now time.Time, each func(line int, r *Result)) (matched int) {
	if f.in == nil {
		if f.in = f.join(lines[0], now); f.in == nil {
			return 0
		}
	}
	for matched < len(lines) && f.mayShare() && f.Detail == f.in.run.key.detail && f.RawHosts == f.in.run.key.raw {
		told, from, n, undated := f.in.take(lines[matched:], now)
		f.undated += undated
		if n == 0 {
			break
		}
		for i := range told {
			f.result = told[i].r // each has one of its own
			each(matched+told[i].line-from, &f.result)
		}
		matched += n
		if f.in == nil { // it was told meanwhile to go on alone
			break
		}
		if f.in.takeOver(f); f.alone {
			break
		}
	}
	f.result = Result{} // its failures are everybody's
	return matched
}

// join finds a run that begins with a line, or makes one.
func (f *Filter) join(first []byte, now time.Time) *member {
	runs.Lock()
	defer runs.Unlock()
	key := runKey{f.key, f.logs, f.Detail, f.RawHosts}
	for k, list := range runs.by {
		if list = slices.DeleteFunc(list, func(p weak.Pointer[run]) bool { return p.Value() == nil }); len(list) == 0 {
			delete(runs.by, k)
		} else {
			runs.by[k] = list
		}
	}
	for _, p := range runs.by[key] {
		if r := p.Value(); r != nil {
			if m := r.join(first); m != nil {
				return m
			}
		}
	}
	if len(runs.by[key]) >= runsMost {
		return nil
	}
	front, err := Compile(f.def, f.location)
	if err != nil {
		return nil
	}
	front.Detail, front.RawHosts, front.alone = f.Detail, f.RawHosts, true
	r := &run{key: key, front: front, awaited: f.beside, since: now, chain: []*segment{{}}}
	runs.by[key] = append(runs.by[key], weak.Make(r))
	return r.join(first)
}

// join takes a filter in that has not begun, if the run began with the line that it is about
// to get.
func (r *run) join(first []byte) *member {
	r.mu.Lock()
	defer r.mu.Unlock()
	begin := r.chain[0]
	if r.awaited == 0 || len(begin.steps) > 0 && !bytes.Equal(begin.steps[0].lines[0], first) {
		return nil
	}
	r.members++
	r.awaited--
	begin.here++
	return &member{run: r, segment: begin}
}

// trim lets go of segments that nobody is in, or are too much.
func (r *run) trim() {
	for len(r.chain) > 1 && (r.awaited == 0 && r.chain[0].here == 0 || r.size > behindMost) {
		r.size -= r.chain[0].size
		r.chain, r.awaited = slices.Delete(r.chain, 0, 1), 0
	}
}

// last is the segment to which steps are put.
func (r *run) last() *segment { return r.chain[len(r.chain)-1] }

// take returns what was told of the first of some lines: of n of them, of which the first is
// that with number from there. 0: they are none of the run's.
func (m *member) take(lines [][]byte, now time.Time) (out []told, from, n, undated int) {
	r := m.run
	r.mu.Lock()
	defer r.mu.Unlock()
	for m.step == len(m.segment.steps) && m.segment != r.last() {
		next := m.segment.next.Value()
		if next == nil {
			return nil, 0, 0, 0 // nobody has it any more
		}
		m.segment.here--
		next.here++
		m.segment, m.step, m.line = next, 0, 0
		r.trim()
	}
	if m.step == len(m.segment.steps) {
		r.step(lines, now)
	}
	s := m.segment.steps[m.step]
	if now.Sub(s.now).Abs() > momentMost {
		return nil, 0, 0, 0
	}
	from, n = m.line, same(lines, s.lines[m.line:])
	if m.line += n; m.line == len(s.lines) {
		m.step, m.line = m.step+1, 0
	}
	begin, _ := slices.BinarySearchFunc(s.told, from, func(t told, line int) int { return t.line - line })
	end, _ := slices.BinarySearchFunc(s.told, from+n, func(t told, line int) int { return t.line - line })
	if from == 0 { // whoever comes to them one by one counts them with the first
		undated = s.undated
	}
	return s.told[begin:end], from, n, undated
}

// same is how many lines are the same at the begin of two lists.
func same(a, b [][]byte) int {
	most := min(len(a), len(b))
	if most > 0 && &a[0] == &b[0] {
		return most
	}
	for i := range most {
		if !bytes.Equal(a[i], b[i]) {
			return i
		}
	}
	return most
}

// step has the filter look at lines. What is seen of them is nobody else's, so that its memory
// is used again.
func (r *run) step(lines [][]byte, now time.Time) {
	s, size := &step{lines: lines, now: now}, stepCost
	r.front.matchBlock(lines, 0, nil, now, func(i int, x *Result) {
		s.told = append(s.told, told{i, x.kept()})
		size += toldCost
	})
	s.undated = r.front.TakeUndated()
	for _, l := range lines {
		size += len(l) + lineCost
	}
	last := r.last()
	last.steps = append(last.steps, s)
	last.size += size
	r.size += size
	if now.Sub(r.since) > awaitMost {
		r.awaited = 0
	}
	if last.size < max(segmentLeast, r.front.conns.size) || r.members == 1 && r.awaited == 0 {
		return // if there is nobody else, takeOver has the word
	}
	next := &segment{before: r.front.state()}
	last.next = weak.Make(next)
	r.chain = append(r.chain, next)
	r.trim()
}

// takeOver ends a run that is nobody else's: the filter has all that is known.
func (m *member) takeOver(f *Filter) {
	r := m.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.members > 1 || r.awaited > 0 || m.segment != r.last() || m.step < len(m.segment.steps) {
		return
	}
	f.know(r.front.state())
	f.alone, f.in, r.members = true, nil, 0
}

// part has the filter go on alone, from the line on that it comes to next.
func (f *Filter) part() {
	if f.alone {
		return
	}
	f.alone = true
	m := f.in
	if f.in = nil; m == nil {
		return
	}
	steps := m.leave()
	if m.segment.before != nil {
		f.know(m.segment.before.clone())
	}
	detail, raw := f.Detail, f.RawHosts
	f.Detail, f.RawHosts = m.run.key.detail, m.run.key.raw
	for i, s := range steps {
		lines := s.lines
		if i == m.step {
			lines = lines[:m.line]
		}
		f.matchBlock(lines, 0, nil, s.now, func(int, *Result) {})
		if i == m.step {
			break
		}
	}
	f.Detail, f.RawHosts = detail, raw
}

// kept is a result that stays, for several jails: nothing of it is to be changed.
func (r *Result) kept() Result {
	out := *r
	out.Failures = slices.Clone(r.Failures)
	out.Rest, out.Pref, out.PrefOrder = nil, nil, nil
	out.Beside = strings.Clone(r.Beside)
	among := make([]Among, len(out.Failures))
	for i := range out.Failures {
		out.Failures[i].Among = &among[i]
		lines := out.Failures[i].Lines
		if slices.ContainsFunc(lines, func(l Line) bool { return l.whole == "" }) {
			lines = slices.Clone(lines)
			for n := range lines {
				lines[n].join()
			}
			out.Failures[i].Lines = lines
		}
	}
	return out
}
