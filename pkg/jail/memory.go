package jail

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/chain"
	"bailiff/pkg/store"
)

// Past is what is known of earlier bans of an address: the database's answers, or, where
// there is none, a Memory's.
type Past interface {
	// BanCount returns how often an address was banned, in one jail or in all, and
	// when the last time.
	BanCount(name string, id ban.ID, overall bool) (count int, last time.Time, err error)
	// Merged returns the failures and the last lines of all bans of an address, in
	// one jail or in all, and when the last of them began.
	Merged(name string, id ban.ID, overall bool, mostLines int) (failures int, lines []string, last time.Time, known bool, err error)
	// Captures returns what the filter captured for the last ban of an address in a jail; nil if nothing is known of one.
	Captures(name string, id ban.ID) (map[string]string, error)
	// Lifted returns what was known of a ban that was lifted by hand of late, and began then (Unix time in seconds, by the
	// steady clock): the command that lifts it comes later than whoever forgets it.
	Lifted(name string, id ban.ID, began int64) (failures int, lines []string, groups map[string]string, ok bool)
}

// Memory remembers bans while the daemon runs, where no database does: of the addresses
// that were banned last, as many as memoryBudget holds. All jails of a daemon share it.
// It is safe for concurrent use.
type Memory struct {
	mu           sync.Mutex
	budget, used int // bytes
	byID         map[ban.ID]*remembered
	order        chain.List[remembered, *remembered] // by their last ban, the oldest first
	lines        uint64                              // how many there were
	lifted       store.Lifted
}

// memoryBudget is how many bytes a Memory takes: with five lines of 110 bytes each, the
// bans of 8,000 addresses.
const memoryBudget = 8 << 20

// remembered is what is remembered of one address.
type remembered struct {
	chain.Links[remembered] // in Memory.order

	id    ban.ID
	jails []inJail
	size  int
}

// inJail is that of one jail.
type inJail struct {
	name            string
	count, failures int
	last            time.Time
	lines           []rememberedLine
	groups          map[string]string        // of the last ban
	find            func() map[string]string // them, if they are not known yet
}

// rememberedLine is a line and the how manieth it was: lines of several jails are told
// in the order in which they came.
type rememberedLine struct {
	no   uint64
	text string
}

// NewMemory returns one that knows nothing.
func NewMemory() *Memory {
	return &Memory{budget: memoryBudget, byID: map[ban.ID]*remembered{}}
}

// Add remembers a ban, with the lines that led to it and what the filter captured in them;
// of all lines of a jail the last ones, so many.
func (m *Memory) Add(jail string, b ban.Ban, lines []string, groups map[string]string, find func() map[string]string, mostLines int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.byID[b.ID]
	if r == nil {
		r = &remembered{id: b.ID}
		m.byID[b.ID] = r
	} else {
		m.order.Remove(r)
	}
	m.order.Append(r)
	at := slices.IndexFunc(r.jails, func(j inJail) bool { return j.name == jail })
	if at < 0 {
		r.jails = append(r.jails, inJail{name: jail})
		at = len(r.jails) - 1
	}
	j := &r.jails[at]
	j.count, j.last = max(b.Count, 1), b.Start.Truncate(time.Second)
	j.failures += b.Failures
	j.groups, j.find = groups, find
	for _, l := range lines {
		m.lines++
		j.lines = append(j.lines, rememberedLine{m.lines, l})
	}
	if extra := len(j.lines) - max(mostLines, 0); extra > 0 {
		j.lines = slices.Clone(j.lines[extra:])
	}
	m.weigh(r)
}

func (m *Memory) weigh(r *remembered) {
	size := 160 + r.id.Size()
	for _, j := range r.jails {
		size += 88
		for _, l := range j.lines {
			size += len(l.text) + lineCost
		}
		for name, text := range j.groups {
			size += len(name) + len(text) + 2*lineCost
		}
	}
	m.used += size - r.size
	r.size = size
	for m.used > m.budget && m.order.First() != nil {
		m.drop(m.order.First())
	}
}

func (m *Memory) drop(r *remembered) {
	delete(m.byID, r.id)
	m.order.Remove(r)
	m.used -= r.size
}

// Forget forgets the bans of an address in one jail, as the database does when one is
// lifted by hand.
func (m *Memory) Forget(jail string, id ban.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.byID[id]; r != nil {
		m.forget(jail, r)
	}
}

// ForgetAll forgets all bans of a jail.
func (m *Memory) ForgetAll(jail string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.byID {
		m.forget(jail, r)
	}
}

func (m *Memory) forget(jail string, r *remembered) {
	for _, j := range m.of(jail, r.id, false) {
		b := store.LiftedBan{Began: j.last.Unix(), Read: func() (int, []string, map[string]string) {
			return j.failures, j.texts(), j.captures()
		}}
		for _, l := range j.lines {
			b.Size += len(l.text) + lineCost
		}
		for name, text := range j.groups {
			b.Size += len(name) + len(text) + 2*lineCost
		}
		m.lifted.Keep(jail, r.id, b)
	}
	r.jails = slices.DeleteFunc(r.jails, func(j inJail) bool { return j.name == jail })
	if len(r.jails) == 0 {
		m.drop(r)
	} else {
		m.weigh(r)
	}
}

// Purge forgets addresses whose last ban began before a time.
func (m *Memory) Purge(before time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.byID {
		if !slices.ContainsFunc(r.jails, func(j inJail) bool { return !j.last.Before(before) }) {
			m.drop(r)
		}
	}
}

func (m *Memory) of(jail string, id ban.ID, overall bool) []inJail {
	r := m.byID[id]
	if r == nil {
		return nil
	}
	var out []inJail
	for _, j := range r.jails {
		if overall || j.name == jail {
			out = append(out, j)
		}
	}
	return out
}

// BanCount implements Past.
func (m *Memory) BanCount(jail string, id ban.ID, overall bool) (count int, last time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.of(jail, id, overall) {
		count += j.count
		if j.last.After(last) {
			last = j.last
		}
	}
	return count, last, nil
}

// Merged implements Past.
func (m *Memory) Merged(jail string, id ban.ID, overall bool, mostLines int) (failures int, lines []string, last time.Time, known bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []rememberedLine
	for _, j := range m.of(jail, id, overall) {
		failures += j.failures
		known = true
		if j.last.After(last) {
			last = j.last
		}
		all = append(all, j.lines...)
	}
	slices.SortFunc(all, func(a, b rememberedLine) int { return cmp.Compare(a.no, b.no) })
	for _, l := range all[max(len(all)-mostLines, 0):] {
		lines = append(lines, l.text)
	}
	return failures, lines, last, known, nil
}

// Captures returns what the filter captured for the last ban of an address in a jail; nil if
// nothing is known.
func (m *Memory) Captures(jail string, id ban.ID) (map[string]string, error) {
	m.mu.Lock()
	known := m.of(jail, id, false)
	m.mu.Unlock()
	if len(known) == 0 {
		return nil, nil
	}
	return known[0].captures(), nil
}

// Lifted returns what was known of a ban that was lifted by hand of late.
func (m *Memory) Lifted(jail string, id ban.ID, began int64) (failures int, lines []string, groups map[string]string, ok bool) {
	return m.lifted.Of(jail, id, began)
}

// texts are the lines that led to the bans.
func (j *inJail) texts() (out []string) {
	for _, l := range j.lines {
		out = append(out, l.text)
	}
	return out
}

// captures are what the filter captured for the last ban.
func (j *inJail) captures() map[string]string {
	if j.groups == nil && j.find != nil {
		return j.find()
	}
	return j.groups
}
