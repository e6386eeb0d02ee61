package jail

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/source"
)

// What a jail counts for who watches it. The jail's goroutine counts by atomics, and nobody asks it:
// a jail that hangs is told of as it was.

// logsCounted is of how many logs a jail counts lines each for itself; those of others are counted
// together, under OtherLogs. A glob, and the names of containers, may bring any number.
const logsCounted = 64

// OtherLogs is what the logs beyond are called.
const OtherLogs = "(other logs)"

// counters are a jail's; they go to the jail that takes its place at a reload.
type counters struct {
	matched, undated, offClock, givenUp, ignored, old atomic.Uint64

	mu    sync.Mutex
	logs  map[string]*logCounter
	other *logCounter // nil: there were none

	path string // of the last one, and it; the jail's goroutine's alone
	last *logCounter
}

type logCounter struct {
	lines, bytes atomic.Uint64
	at           atomic.Int64 // when lines last came, in nanoseconds since 1970
}

// of returns the counter of a log.
func (c *counters) of(path string) *logCounter {
	if c.last != nil && c.path == path {
		return c.last
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.logs[path]
	switch {
	case l != nil:
	case len(c.logs) < logsCounted:
		if c.logs == nil {
			c.logs = map[string]*logCounter{}
		}
		l = &logCounter{}
		c.logs[strings.Clone(path)] = l
	default:
		if c.other == nil {
			c.other = &logCounter{}
		}
		l = c.other
	}
	c.path, c.last = path, l
	return l
}

// batch counts the lines of one.
func (c *counters) batch(b *source.Batch, now time.Time) {
	if len(b.Lines) == 0 {
		return
	}
	size := 0
	for _, l := range b.Lines {
		size += len(l) + 1
	}
	l := c.of(b.Path)
	l.lines.Add(uint64(len(b.Lines)))
	l.bytes.Add(uint64(size))
	l.at.Store(now.UnixNano())
}

// line counts what the filter says of one.
func (c *counters) line(r *filter.Result) {
	if len(r.Failures) > 0 {
		c.matched.Add(1)
	}
	if r.Err != nil {
		c.givenUp.Add(1)
	}
}

// LogNumbers are what a jail has counted of one log, since the daemon's start.
type LogNumbers struct {
	Path         string
	Lines, Bytes uint64
	Last         time.Time // when lines last came; zero: none did
}

// Numbers are what a jail has counted since the daemon's start. Lines that were looked at again
// after a restart are not among them.
type Numbers struct {
	Matched  uint64 // lines with failures
	Undated  uint64 // lines without a date
	OffClock uint64 // lines with failures that are off the clock
	GivenUp  uint64 // lines on which an expression took too long
	Ignored  uint64 // failures of who is never banned
	Old      uint64 // failures that were older than findtime
	Logs     []LogNumbers
	// Busy is for how long the jail has been at one piece of work.
	Busy time.Duration
}

// Numbers returns what was counted. It waits for nobody.
func (j *Jail) Numbers() Numbers {
	c := j.counters
	out := Numbers{
		Matched: c.matched.Load(), Undated: c.undated.Load(), OffClock: c.offClock.Load(), GivenUp: c.givenUp.Load(),
		Ignored: c.ignored.Load(), Old: c.old.Load(),
	}
	if _, since, at := j.work.now(); at {
		out.Busy = max(time.Since(since), 0)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, l := range c.logs {
		out.Logs = append(out.Logs, l.numbers(path))
	}
	slices.SortFunc(out.Logs, func(a, b LogNumbers) int { return strings.Compare(a.Path, b.Path) })
	if c.other != nil {
		out.Logs = append(out.Logs, c.other.numbers(OtherLogs))
	}
	return out
}

func (l *logCounter) numbers(path string) LogNumbers {
	n := LogNumbers{Path: path, Lines: l.lines.Load(), Bytes: l.bytes.Load()}
	if at := l.at.Load(); at != 0 {
		n.Last = time.Unix(0, at)
	}
	return n
}
