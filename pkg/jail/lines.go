package jail

import (
	"net/netip"
	"strings"

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

// keptLines is what a jail keeps of addresses' failures, within a budget.
type keptLines struct {
	budget         int // bytes
	used           int
	byID           map[ban.ID]*kept
	oldest, newest *kept // by their last failure
}

// kept is what is kept of one address.
type kept struct {
	id     ban.ID
	lines  []string
	held   int               // bytes of the lines, and of those before them in their memory
	groups map[string]string // of the first failure
	ip     ban.Address       // of the first failure, where it tells one beside the ID
	size   int
	older  *kept
	newer  *kept
}

func newKeptLines(budget int) *keptLines {
	return &keptLines{budget: budget, byID: map[ban.ID]*kept{}}
}

// lines returns the lines of an address. They are not to be changed.
func (k *keptLines) lines(id ban.ID) []string {
	if one := k.byID[id]; one != nil {
		return one.lines
	}
	return nil
}

// groups returns the groups of an address. They are not to be changed.
func (k *keptLines) groups(id ban.ID) map[string]string {
	if one := k.byID[id]; one != nil {
		return one.groups
	}
	return nil
}

// add keeps lines of an address, the last ones, at most so many.
func (k *keptLines) add(id ban.ID, lines []filter.Line, most int) {
	if most <= 0 || len(lines) == 0 {
		return
	}
	one := k.touch(id)
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
			one.held += len(text) + lineCost
		}
	}
	for _, l := range lines {
		text := keptText(&l)
		one.lines = append(one.lines, text)
		one.held += len(text) + lineCost
	}
	k.weigh(one)
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
	one := k.touch(id)
	one.groups = groups
	k.weigh(one)
}

// setIP keeps the address that stood beside the ID.
func (k *keptLines) setIP(id ban.ID, ip netip.Addr) {
	one := k.touch(id)
	one.ip = ban.AddressOf(ip)
	k.weigh(one)
}

// ip returns the address that stood beside an ID.
func (k *keptLines) ip(id ban.ID) ban.Address {
	if one := k.byID[id]; one != nil {
		return one.ip
	}
	return ban.Address{}
}

// touch returns what is kept of an address, as that which was in use last.
func (k *keptLines) touch(id ban.ID) *kept {
	one := k.byID[id]
	if one == nil {
		one = &kept{id: id}
		k.byID[id] = one
	} else {
		k.unlink(one)
	}
	one.older, one.newer = k.newest, nil
	if k.newest != nil {
		k.newest.newer = one
	} else {
		k.oldest = one
	}
	k.newest = one
	return one
}

func (k *keptLines) unlink(one *kept) {
	if one.older != nil {
		one.older.newer = one.newer
	} else {
		k.oldest = one.newer
	}
	if one.newer != nil {
		one.newer.older = one.older
	} else {
		k.newest = one.older
	}
}

// weigh takes account of what an address has now, and makes room.
func (k *keptLines) weigh(one *kept) {
	size := keptCost + one.id.Size() + one.held
	for name, text := range one.groups {
		size += len(name) + len(text) + 2*lineCost
	}
	k.used += size - one.size
	one.size = size
	for k.used > k.budget && k.oldest != nil {
		k.drop(k.oldest.id)
	}
}

// drop forgets what is kept of an address.
func (k *keptLines) drop(id ban.ID) {
	one := k.byID[id]
	if one == nil {
		return
	}
	delete(k.byID, id)
	k.unlink(one)
	k.used -= one.size
}

// clear forgets everything.
func (k *keptLines) clear() {
	clear(k.byID)
	k.used, k.oldest, k.newest = 0, nil, nil
}

// keepLines remembers the lines of an address for its ban.
func (j *Jail) keepLines(id ban.ID, lines []filter.Line) {
	j.kept.add(id, lines, j.Config.MaxMatches)
}

// keepGroups remembers what the filter found with an address's first failure.
func (j *Jail) keepGroups(q *found) {
	if !j.actions.UsesGroups() || j.kept.groups(q.id) != nil {
		return
	}
	j.kept.setGroups(q.id, groupTexts(&q.failure))
}
