package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// A heap of Go's grows to twice of what is alive before it is looked through. For a
// small one that is cheap and fast. For that of a daemon under a flood of addresses,
// whose windows and lists are full, it is half of the memory for nothing: there, it
// grows by so much only.
const (
	heapRoom  = 10 << 20
	roomLeast = 25 // percent
)

// Where little happens, it is collected so seldom that room costs more than time.
const (
	seldom    = 2 * time.Second
	quietRoom = 40 // percent
)

var (
	heapOnce sync.Once
	started  atomic.Bool // the start is over
)

// PaceHeap has the heap grow by heapRoom at most, or by roomLeast percent, once a start is
// over. GOGC has precedence. Run does it, too; who reads the configuration before that calls
// it first.
func PaceHeap() {
	if os.Getenv("GOGC") != "" {
		return
	}
	heapOnce.Do(func() {
		p := &heapPace{percent: startLittle}
		debug.SetGCPercent(startLittle)
		p.sample[0].Name, p.sample[1].Name = "/gc/heap/live:bytes", "/gc/cycles/forced:gc-cycles"
		p.watch()
	})
}

// A start of few jails is collected all the time: what stays would be scattered over all that
// was in use. One of many is through before anything is collected any more, or 36 MB are in use.
const (
	startLittle = 20       // percent
	littleAlive = 5 << 20  // up to which it is a start of few
	startInUse  = 36 << 20 // of one of many, of which a million bans are none
)

// startOver has the heap be collected as where little happens, until more does.
func startOver() {
	if os.Getenv("GOGC") == "" {
		started.Store(true)
		debug.SetGCPercent(quietRoom)
	}
}

type heapPace struct {
	percent int
	over    bool      // the start is
	last    time.Time // when it was collected
	quick   int       // how often in a row that was soon after the time before
	forced  uint64    // how often that was asked for
	sample  [2]metrics.Sample
}

// watch has adjust called after each collection: it is the fate of an object that
// nobody holds.
func (p *heapPace) watch() {
	mark := &struct{ p *heapPace }{p}
	runtime.SetFinalizer(mark, func(m *struct{ p *heapPace }) {
		m.p.adjust()
		m.p.watch()
	})
}

func (p *heapPace) adjust() {
	metrics.Read(p.sample[:])
	percent := p.next(started.Load(), time.Now(), p.sample[0].Value.Uint64(), p.sample[1].Value.Uint64())
	if p.quick == 0 && started.Load() {
		time.AfterFunc(programAfter, giveBackProgram)
	}
	if percent >= p.percent*9/10 && percent <= p.percent*11/10 {
		return // to change it stops everything for a moment
	}
	p.percent = percent
	debug.SetGCPercent(percent)
}

// next is by how many percent the heap may grow now that it was collected and so much is
// alive; forced is how often that was asked for so far.
func (p *heapPace) next(started bool, now time.Time, live, forced uint64) int {
	switch {
	case !started && live > littleAlive:
		return max(roomFor(live), int(startInUse*100/live)-100)
	case !started:
		return p.percent
	case !p.over:
		p.over, p.percent = true, quietRoom // startOver has said so
	}
	if forced != p.forced { // it says nothing of how much happens
		p.forced = forced
		return p.percent
	}
	if p.quick++; now.Sub(p.last) > seldom {
		p.quick = 0
	}
	percent := roomFor(live)
	if p.last = now; p.quick < 2 { // one may come soon after another
		percent = min(percent, quietRoom)
	}
	return percent
}

// roomFor is by how many percent a heap may grow.
func roomFor(live uint64) int {
	return int(min(max(heapRoom*100/max(live, 1), roomLeast), 100))
}
