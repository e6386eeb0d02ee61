package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
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
	quietRoom = 50 // percent
)

var heapOnce sync.Once

// PaceHeap has the heap grow by heapRoom at most, or by roomLeast percent, once a start is
// over. GOGC has precedence. Run does it, too; who reads the configuration before that calls
// it first.
func PaceHeap() {
	if os.Getenv("GOGC") != "" {
		return
	}
	heapOnce.Do(func() {
		p := &heapPace{percent: 100}
		p.sample[0].Name = "/gc/heap/live:bytes"
		p.watch()
	})
}

// A start of many jails is through before anything is collected, or 32 MB are in use. One of
// few does with less: what stays is scattered over all that was in use.
const (
	manyJails = 30
	startRoom = 800
)

func roomForStart() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(startRoom)
	}
}

// startOver has the heap be collected as ever.
func startOver() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(100)
	}
}

type heapPace struct {
	percent int
	last    time.Time // when it was collected
	sample  [1]metrics.Sample
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
	now := time.Now()
	percent := roomFor(p.sample[0].Value.Uint64())
	if !p.last.IsZero() && now.Sub(p.last) > seldom {
		percent = min(percent, quietRoom)
	}
	p.last = now
	if percent >= p.percent*9/10 && percent <= p.percent*11/10 {
		return // to change it stops everything for a moment
	}
	p.percent = percent
	debug.SetGCPercent(percent)
}

// roomFor is by how many percent a heap may grow.
func roomFor(live uint64) int {
	return int(min(max(heapRoom*100/max(live, 1), roomLeast), 100))
}
