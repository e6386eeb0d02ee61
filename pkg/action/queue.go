package action

import "time"

// What waits for an action, in as few bytes as it can: a ban that is in force takes some
// hundred of them, and 48 more for each action that has not come to it. What a command is
// told of a ban is put together when it is run.

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

// text is what a client wrote: it is shared with whoever else holds it.
type text struct {
	matches []string
	groups  map[string]string
	size    int
}

// job is something that an action has to do: 48 bytes, of which 200,000 may wait.
type job struct {
	kind  kind
	known bool   // to this action the ban is one of before
	given uint32 // when, in milliseconds since the group was made: it begins anew after seven weeks
	entry *entry
	more  *more
	no    uint64 // ascending, the same for all actions that are told of it
	// after is whose turn comes before: it has to be through with job afterNo. nil: nobody's.
	after   *worker
	afterNo uint64
}

// more is what few jobs have.
type more struct {
	facts *facts                  // of a ban, when the job was given, if they are not those of its beginning
	site  *Site                   // of jobReload
	defs  map[*worker]*Definition // of jobReload
	call  func(*Action) error     // of jobCall
	err   error                   // of jobCall
	done  chan struct{}           // of jobCall: closed when it is done
}

// facts are those of the job's ban, as they were when it was given.
func (j *job) facts() facts {
	if j.more != nil && j.more.facts != nil {
		return *j.more.facts
	}
	return j.entry.begun()
}

// jobs is a queue of them, in pieces: it gives back what it does not need, and grows without
// what it holds being copied.
type jobs struct {
	pieces []*[jobsPiece]job
	from   int // of the first one, in the first piece
	n      int
}

const jobsPiece = 256

func (q *jobs) at(i int) *job {
	i += q.from
	return &q.pieces[i/jobsPiece][i%jobsPiece]
}

func (q *jobs) push(j job) {
	if q.from+q.n == len(q.pieces)*jobsPiece {
		q.pieces = append(q.pieces, new([jobsPiece]job))
	}
	q.n++
	*q.at(q.n - 1) = j
}

func (q *jobs) pop() job {
	first := q.at(0)
	j := *first
	*first = job{}
	q.n--
	switch q.from++; {
	case q.n == 0:
		*q = jobs{}
	case q.from == jobsPiece:
		q.pieces[0] = nil
		q.pieces, q.from = q.pieces[1:], 0
	}
	return j
}

// keepText takes account of what a client wrote, and lets go of the oldest beyond the
// budget. The caller holds the lock.
func (g *Group) keepText(e *entry, t *Ticket) {
	g.dropText(e)
	if len(t.Matches) == 0 && len(t.Groups) == 0 {
		return
	}
	e.flags &^= let
	x := &text{matches: t.Matches, groups: t.Groups, size: 64}
	for _, l := range t.Matches {
		x.size += len(l) + 16
	}
	for n, v := range t.Groups {
		x.size += len(n) + len(v) + 32
	}
	e.beside().text = x
	g.textBytes += x.size
	g.textCount++
	g.texts = append(g.texts, keptText{e, x})
	for g.textBytes > linesBudget {
		oldest := g.texts[0]
		g.texts[0] = keptText{}
		g.texts = g.texts[1:]
		if oldest.of.text() == oldest.text { // else it went before
			oldest.of.flags |= let
			g.dropText(oldest.of)
		}
	}
	g.forgetTexts()
}

// forgetTexts takes those out of the order that are gone, when they are the greater part.
func (g *Group) forgetTexts() {
	if len(g.texts) <= 64 || len(g.texts) <= 2*g.textCount {
		return
	}
	kept := make([]keptText, 0, g.textCount)
	for _, k := range g.texts {
		if k.of != nil && k.of.text() == k.text {
			kept = append(kept, k)
		}
	}
	g.texts = kept
}

// keptText is a place in the order in which texts came.
type keptText struct {
	of   *entry
	text *text
}

func (g *Group) dropText(e *entry) {
	if x := e.text(); x != nil {
		g.textBytes -= x.size
		g.textCount--
		if e.more.text = nil; *e.more == (entryMore{}) && e.flags&elsewhere == 0 {
			e.more = nil
		}
	}
}

// cameTo says that an action is through with a ban, or with its end: lines that nobody
// asks for any more are let go.
func (g *Group) cameTo(e *entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.through(e)
}

// through is cameTo for who holds the lock.
func (g *Group) through(e *entry) {
	e.ahead--
	g.tidy(e)
}

func (g *Group) tidy(e *entry) {
	if e.ahead <= 0 && e.text() != nil && (e.flags&over != 0 || !g.keep) {
		g.dropText(e)
		e.flags |= let
		g.forgetTexts()
	}
}
