// Package history keeps how many failures, bans and ends of bans each jail has had, for pictures: by
// the minute for two hours, by five minutes for a day, by the hour for a month, by the day for five
// years. Who counts adds to a Tally, which costs an addition; what was added is taken once a minute.
//
// What five minutes, and so all that is coarser, have had is appended to a file once an hour and at
// the stop: a line for each jail that had anything, some 100 bytes. After a kill, what happened since
// the last line is counted again from the events (Count), which are written at once.
//
//	h := history.New(path, time.Now)
//	sshd := h.Tally("sshd")
//	sshd.Failure()
//	h.Sample()
//	answer := h.Ask(history.Query{Step: time.Minute})
//
// Times are of the wall clock, whatever it is set to: what happened twice by it is added up.
package history

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Counts is how often something happened.
type Counts struct {
	Failures int64 `json:"failures"` // that count
	Bans     int64 `json:"bans"`
	Unbans   int64 `json:"unbans"`
}

func (c *Counts) add(o Counts) {
	c.Failures += o.Failures
	c.Bans += o.Bans
	c.Unbans += o.Unbans
}

// Tally counts for one jail. It is safe for concurrent use; a nil one counts nothing.
type Tally struct{ failures, bans, unbans atomic.Int64 }

// Failure counts a failure.
func (t *Tally) Failure() {
	if t != nil {
		t.failures.Add(1)
	}
}

// Ban counts a ban.
func (t *Tally) Ban() {
	if t != nil {
		t.bans.Add(1)
	}
}

// Unban counts the end of a ban.
func (t *Tally) Unban() {
	if t != nil {
		t.unbans.Add(1)
	}
}

func (t *Tally) take() Counts {
	return Counts{t.failures.Swap(0), t.bans.Swap(0), t.unbans.Swap(0)}
}

// level is a resolution: of so many steps that had anything, the last ones are kept.
type level struct {
	step time.Duration
	most int
}

// levels, the finest first. The second one is what the file has.
var levels = [...]level{{time.Minute, 120}, {5 * time.Minute, 288}, {time.Hour, 744}, {24 * time.Hour, 1830}}

// kept is the one that the file has.
const kept = 1

// JailsMost is how many jails are known. What others have had is among the sum of all.
const JailsMost = 1000

// point is what happened in one step.
type point struct {
	at int64 // when it began, in steps since 1970
	Counts
}

// jail is what is known of one, by level. Each is in order.
type jail struct {
	tally  Tally
	points [len(levels)][]point
}

func (j *jail) add(l int, at time.Time, c Counts) {
	n := at.Unix() / int64(levels[l].step/time.Second)
	list := j.points[l]
	i, found := slices.BinarySearchFunc(list, n, func(p point, n int64) int { return cmp.Compare(p.at, n) })
	if found {
		list[i].add(c)
		return
	}
	list = slices.Insert(list, i, point{n, c})
	if over := len(list) - levels[l].most; over > 0 {
		list = slices.Delete(list, 0, over)
	}
	j.points[l] = list
}

// History is what is known of all jails.
type History struct {
	now  func() time.Time
	file file

	mu    sync.Mutex
	jails map[string]*jail
	fresh map[string][]point // of the level that is kept, and not in the file yet
	last  uint64             // up to which event it is counted
	ready bool               // what is known from before is there
}

// New returns one that keeps itself beside a path: in PATH.history. If it is empty, nothing outlives it.
// It waits for no disk: Load reads what is there.
func New(path string, now func() time.Time) *History {
	h := &History{now: now, jails: map[string]*jail{}, fresh: map[string][]point{}}
	if path != "" {
		h.file.path = path + ".history"
	}
	return h
}

// jail returns what is known of one. The caller holds the lock.
func (h *History) jail(name string) *jail {
	j := h.jails[name]
	if j == nil {
		if len(h.jails) >= JailsMost {
			name = "" // all others
			if j = h.jails[name]; j != nil {
				return j
			}
		}
		j = &jail{}
		h.jails[name] = j
	}
	return j
}

// Tally is what counts for a jail. It is the same one each time.
func (h *History) Tally(name string) *Tally {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return &h.jail(name).tally
}

// Sample takes what was counted as of now. It is to be called each minute.
func (h *History) Sample() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sample()
}

func (h *History) sample() {
	now := h.now()
	for name, j := range h.jails {
		if c := j.tally.take(); c != (Counts{}) {
			h.add(name, j, now, c, false)
		}
	}
}

// add adds to all levels, or to the finest alone. The caller holds the lock.
func (h *History) add(name string, j *jail, at time.Time, c Counts, finest bool) {
	j.add(0, at, c)
	if finest {
		return
	}
	for l := 1; l < len(levels); l++ {
		j.add(l, at, c)
	}
	n := at.Unix() / int64(levels[kept].step/time.Second)
	list := h.fresh[name]
	if i := slices.IndexFunc(list, func(p point) bool { return p.at == n }); i >= 0 {
		list[i].add(c)
		return
	}
	h.fresh[name] = append(list, point{n, c})
}

// Count counts what an event tells that was before this daemon. finest: it is in the file already, but for
// the minute.
func (h *History) Count(name string, at time.Time, c Counts, finest bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.add(name, h.jail(name), at, c, finest)
}
