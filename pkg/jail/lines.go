package jail

import (
	"net/netip"
	"slices"
	"strings"
	"unsafe"

	"bailiff/pkg/action"
	"bailiff/pkg/ban"
	"bailiff/pkg/filter"
)

// The lines of the log that led to a failure are kept for the ban they may lead to:
// actions and the database tell of them. How long a line is, and of how many addresses
// there are lines, an attacker chooses; so each is cut, and all of a jail's together
// have a budget: who was quiet for longest loses his.

const (
	// lineMost is how many bytes of one line, or of one group of the filter, are kept.
	lineMost = 4 << 10
	// linesBudget is how many bytes all that a jail keeps for addresses that are not
	// banned yet may take. With lines of 110 bytes and maxretry 5, it is that of 10,000
	// addresses.
	linesBudget = 8 << 20
	// What keeping costs beside the text, in bytes: an address, and a line of it.
	keptCost, lineCost = 200, 24
)

// keptLines is what a jail keeps of addresses' failures, within a budget. Addresses lie in one
// piece and are told by their place in it, as in ban.Window: the collector has less to look at.
type keptLines struct {
	budget int // bytes
	used   int
	index  map[ban.ID]int32
	// all are told by their place, the first of which is nobody's; the ring has them in the order of
	// their last failure, the oldest first.
	all  []kept
	ring ban.Ring
	// beside is what few jails keep, by the same places, as far as there is any.
	beside []beside
}

// kept is what is kept of one address: a line of the processor's cache.
type kept struct {
	id    ban.ID
	lines []string
	held  int32 // bytes of the lines, and of those before them in their memory
	size  int32
}

// beside is what is kept of an address' first failure beside its lines.
type beside struct {
	groups map[string]string
	ip     ban.Address // where it tells one beside the ID
}

// keptSmall is of how many addresses what is kept takes so little that it stays in use when it
// is empty.
const keptSmall = 1000

func newKeptLines(budget int) *keptLines {
	k := &keptLines{budget: budget}
	k.clear()
	return k
}

// lines returns the lines of an address. They are not to be changed.
func (k *keptLines) lines(id ban.ID) []string { return k.all[k.index[id]].lines }

// groups returns the groups of an address. They are not to be changed.
func (k *keptLines) groups(id ban.ID) map[string]string { return k.besideOf(k.index[id]).groups }

// ip returns the address that stood beside an ID.
func (k *keptLines) ip(id ban.ID) ban.Address {
	if k.beside == nil {
		return ban.Address{}
	}
	return k.besideOf(k.index[id]).ip
}

func (k *keptLines) besideOf(n int32) beside {
	if int(n) >= len(k.beside) {
		return beside{}
	}
	return k.beside[n]
}

// keepBeside makes room for what is kept at a place beside lines.
func (k *keptLines) keepBeside(n int32) *beside {
	if more := int(n) + 1 - len(k.beside); more > 0 {
		k.beside = append(k.beside, make([]beside, more)...)
	}
	return &k.beside[n]
}

// addMade is how a jail has added the lines of a failure, for the others to whom it is told: most
// of them have the same lines of its address before, and so behind it.
type addMade struct {
	before, after []string
	most          int
	held          int32

	other *addMade // how one has for whom it was different; nil: nobody
	depth int
}

// madeMost is of how many different ways the others are told: some jails may ban sooner.
const madeMost = 4

// find returns how it was made where lines were the same before; nil: it was not.
func (m *addMade) find(before []string, most int) *addMade {
	for ; m != nil; m = m.other {
		if m.most == most && sameList(m.before, before) {
			return m
		}
	}
	return nil
}

// amongMost is of how many lines of an address jails have one list between them: to put one
// behind others is to copy these where another jail did it the time before.
const amongMost = 64

// add keeps the lines of an address' failure, the last ones, at most so many.
func (k *keptLines) add(id ban.ID, f *filter.Failure, most int) {
	lines := f.Lines
	if most <= 0 || len(lines) == 0 {
		return
	}
	among := f.Among
	near := int32(0)
	if among != nil {
		near = among.Kept.Load()
	}
	n := k.touch(id, near)
	if among != nil && n != near {
		among.Kept.Store(n)
	}
	one := &k.all[n]
	if len(one.lines) > amongMost {
		among = nil
	}
	before := one.lines
	var others *addMade
	if among != nil {
		others, _ = among.Left().(*addMade)
		if made := others.find(before, most); made != nil {
			one.lines, one.held = made.after, made.held
			k.weigh(n)
			return
		}
	}
	lines = lines[max(len(lines)-most, 0):]
	// Others may read what they were given of these: nothing is written where lines were, and
	// the first ones are let go of with the memory that they are in.
	if all := len(one.lines) + len(lines); all > most {
		one.lines = one.lines[all-most:]
	}
	if need := len(one.lines) + len(lines); need > cap(one.lines) {
		room := need
		if len(one.lines) > 0 {
			room = max(min(2*need, most+most/2), need)
		}
		one.lines, one.held = append(make([]string, 0, room), one.lines...), 0
		for _, text := range one.lines {
			one.held += int32(len(text) + lineCost)
		}
	}
	for _, l := range lines {
		text := keptText(&l)
		one.lines = append(one.lines, text)
		one.held += int32(len(text) + lineCost)
	}
	if made := (&addMade{before, slices.Clip(one.lines), most, one.held, others, 1}); among != nil {
		// without the room behind them, which is for one alone
		if others != nil {
			made.depth += others.depth
		}
		if made.depth <= madeMost {
			among.Leave(made)
		}
	}
	k.weigh(n)
}

// sameList reports whether two lists are one.
func sameList(a, b []string) bool {
	return len(a) == len(b) && unsafe.SliceData(a) == unsafe.SliceData(b)
}

// keptText is a line as it is kept.
func keptText(l *filter.Line) string {
	text := action.Cut(l.String(), lineMost)
	if !l.Stays() {
		text = strings.Clone(text) // not the block that it may be a part of
	}
	return text
}

// setGroups keeps the groups of an address.
func (k *keptLines) setGroups(id ban.ID, groups map[string]string) {
	n := k.touch(id, 0)
	k.keepBeside(n).groups = groups
	k.weigh(n)
}

// setIP keeps the address that stood beside the ID.
func (k *keptLines) setIP(id ban.ID, ip netip.Addr) {
	n := k.touch(id, 0)
	k.keepBeside(n).ip = ban.AddressOf(ip)
	k.weigh(n)
}

// touch returns the place of what is kept of an address, as that which was in use last. near is
// where it may be; 0: nobody knows.
func (k *keptLines) touch(id ban.ID, near int32) int32 {
	if near > 0 && int(near) < len(k.all) && k.all[near].id == id {
		k.ring.Renew(near)
		return near
	}
	n, known := k.index[id]
	if known {
		k.ring.Renew(n)
		return n
	}
	if n = k.ring.Take(); int(n) == len(k.all) {
		k.all = append(k.all, kept{})
	}
	k.all[n] = kept{id: id}
	k.index[id] = n
	return n
}

// weigh takes account of what an address has now, and makes room.
func (k *keptLines) weigh(n int32) {
	one := &k.all[n]
	size := keptCost + one.id.Size() + int(one.held)
	if k.beside != nil {
		for name, text := range k.besideOf(n).groups {
			size += len(name) + len(text) + 2*lineCost
		}
	}
	k.used += size - int(one.size)
	one.size = int32(size)
	for k.used > k.budget && k.ring.First() != 0 {
		k.drop(k.all[k.ring.First()].id)
	}
}

// drop forgets what is kept of an address.
func (k *keptLines) drop(id ban.ID) {
	n, ok := k.index[id]
	if !ok {
		return
	}
	delete(k.index, id)
	k.ring.Drop(n)
	k.used -= int(k.all[n].size)
	k.all[n] = kept{}
	if int(n) < len(k.beside) {
		k.beside[n] = beside{}
	}
	if len(k.index) == 0 && len(k.all) > keptSmall {
		k.clear() // what a flood took is given back
	}
}

// clear forgets everything.
func (k *keptLines) clear() {
	k.index, k.all, k.beside, k.used = map[ban.ID]int32{}, make([]kept, 1), nil, 0
	k.ring.Clear()
}

// keepLines remembers the lines of an address' failure for its ban.
func (j *Jail) keepLines(id ban.ID, f *filter.Failure) {
	j.kept.add(id, f, j.Config.MaxMatches)
}

// keepGroups remembers what the filter found with an address's first failure.
func (j *Jail) keepGroups(q *found) {
	if !j.actions.UsesGroups() || j.kept.groups(q.id) != nil {
		return
	}
	j.kept.setGroups(q.id, groupTexts(&q.failure))
}
