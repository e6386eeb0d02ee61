package action

import (
	"net/netip"
	"time"
)

// What waits for an action, in as few bytes as it can: 100,000 bans behind a command
// that hangs are some 250 bytes each. What a command is told of a ban is put together
// when it is run.

const (
	// orderGrace is how long a job may wait for its turn behind other actions, and how
	// long after the end of it was asked for a ban that waits is still told.
	orderGrace = time.Second
	// leanFrom is how many jobs have to wait for a ban that is over already to be passed
	// over: before that, everything is told.
	leanFrom = 1000
	// linesBudget is how many bytes the lines and groups of bans may take that an action
	// has not come to yet, or may ask for again. Beyond it the oldest are let go, and
	// asked of what remembers them.
	linesBudget = 4 << 20
)

// behindMost is how many jobs wait for one action. Bans beyond are told to it when it
// has caught up by half. Tests make it smaller.
var behindMost = 200_000

type kind uint8

const (
	jobStart kind = iota
	jobBan
	jobUnban
	jobUnbanUnlessFlushed
	jobProlong
	jobFlush
	jobStopping // a flush before a stop
	jobCheck
	jobReload
	jobStop
	jobCall
)

// entry is a ban that the actions are told of; in force, or to be lifted. The group's
// lock guards it.
type entry struct {
	id    string
	ip    netip.Addr
	facts *facts // as they were told last
	text  *text  // nil: none
	no    uint64 // in which order they came
	ahead int32  // how many jobs of it wait, but for prolonging
	over  bool   // it is lifted
	let   bool   // its lines were let go
}

// facts are what was told of a ban once: that it was prolonged changes nothing of what
// the command before is told.
type facts struct {
	time     string // of the ban, as tags tell of it
	began    int64  // the same, as the Site counts, in seconds
	lasts    time.Duration
	failures int32
	count    int32
	restored bool // it is one of before
}

// text is what a client wrote: it is shared with whoever else holds it.
type text struct {
	matches []string
	groups  map[string]string
	size    int
}

// take has the entry tell what a ticket tells.
func (e *entry) take(t *Ticket) {
	e.facts = &facts{t.Time, t.Began, t.BanTime, int32(t.Failures), int32(t.BanCount), t.Restored}
}

// ticket puts together what a command is told.
func (e *entry) ticket(f *facts, site *Site) *Ticket {
	t := &Ticket{
		ID: e.id, IP: e.ip, Time: f.time, Began: f.began, BanTime: f.lasts, Failures: int(f.failures), BanCount: int(f.count), Restored: f.restored, site: site,
		load: f.restored || e.let,
	}
	if e.text != nil {
		t.Matches, t.Groups = e.text.matches, e.text.groups
	}
	return t
}

// job is something that an action has to do.
type job struct {
	kind  kind
	known bool // to this action the ban is one of before
	entry *entry
	facts *facts // of the ban, when the job was given
	more  *more
	no    uint64        // ascending, the same for all actions that are told of it
	given time.Duration // when, since the group was made
	// after is whose turn comes before: it has to be through with job afterNo. nil: nobody's.
	after   *worker
	afterNo uint64
}

// more is what few jobs have.
type more struct {
	site *Site                   // of jobReload
	defs map[*worker]*Definition // of jobReload
	call func(*Action) error     // of jobCall
	err  error                   // of jobCall
	done chan struct{}           // of jobCall: closed when it is done
}

// keepText takes account of what a client wrote, and lets go of the oldest beyond the
// budget. The caller holds the lock.
func (g *Group) keepText(e *entry, t *Ticket) {
	g.dropText(e)
	if len(t.Matches) == 0 && len(t.Groups) == 0 {
		return
	}
	e.let = false
	e.text = &text{matches: t.Matches, groups: t.Groups, size: 64}
	for _, l := range t.Matches {
		e.text.size += len(l) + 16
	}
	for n, v := range t.Groups {
		e.text.size += len(n) + len(v) + 32
	}
	g.textBytes += e.text.size
	g.textCount++
	g.texts = append(g.texts, keptText{e, e.text})
	for g.textBytes > linesBudget {
		oldest := g.texts[0]
		g.texts[0] = keptText{}
		g.texts = g.texts[1:]
		if oldest.of.text == oldest.text { // else it went before
			oldest.of.let = true
			g.dropText(oldest.of)
		}
	}
	if len(g.texts) > 64 && len(g.texts) > 2*g.textCount {
		kept := make([]keptText, 0, g.textCount)
		for _, k := range g.texts {
			if k.of != nil && k.of.text == k.text {
				kept = append(kept, k)
			}
		}
		g.texts = kept
	}
}

// keptText is a place in the order in which texts came.
type keptText struct {
	of   *entry
	text *text
}

func (g *Group) dropText(e *entry) {
	if e.text != nil {
		g.textBytes -= e.text.size
		g.textCount--
		e.text = nil
	}
}

// cameTo says that an action is through with a ban, or with its end: lines that nobody
// asks for any more are let go.
func (g *Group) cameTo(e *entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.came(e)
}

// came is cameTo for who holds the lock.
func (g *Group) came(e *entry) {
	e.ahead--
	g.tidy(e)
}

func (g *Group) tidy(e *entry) {
	if e.ahead <= 0 && e.text != nil && (e.over || !g.keep) {
		g.dropText(e)
		e.let = true
	}
}
