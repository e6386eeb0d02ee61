package cli

import (
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/logtime"
	"bailiff/pkg/source"
	"bailiff/pkg/transport"
)

// A log is read in blocks. On more than one core, blocks are cut into lines and
// looked at by several goroutines; what they see is applied in order.

// task is a block on its way.
type task struct {
	source.Block
	seen  filter.Sightings
	ready chan struct{} // has a value when the block was looked at
	err   error
}

// reading is a log that is read in blocks.
type reading struct {
	blocks *source.Blocks
	log    *logInput
	filter *filter.Filter
	form   atomic.Pointer[logtime.Form] // that of dates, as far as lines were dealt with
}

// listener is told of the lines of a log, in order.
type listener struct {
	// each is called for every line that has failures or an error; where missed is there,
	// for all but those that that is called for.
	each func(line []byte, r *filter.Result) error
	// missed is called for lines in which there was nothing, where a filter counts.
	missed func(lines [][]byte, m filter.Missed) error
	block  func(now time.Time) // is called before those of each block; may be nil
}

// inBlocks looks at a log, a file's.
func (l *logInput) inBlocks(f *filter.Filter, clock func() time.Time, to listener) error {
	defer l.progress.end()
	in := &reading{blocks: source.NewBlocks(l.from, l.enc), log: l, filter: f}
	in.form.Store(&logtime.Form{})
	apply := func(lines [][]byte, seen *filter.Sightings) error {
		now := clock()
		if to.block != nil {
			to.block(now)
		}
		if lines, frames, _ := l.around.Lines(lines); frames != nil {
			return l.oneByOne(f, lines, frames, now, to)
		}
		each := func(i int, r *filter.Result) error { return to.each(lines[i], r) }
		var err error
		if to.missed == nil {
			err = f.MatchAll(lines, seen, now, each)
		} else {
			err = f.CountAll(lines, seen, now, each, func(m filter.Missed) error { return to.missed(lines, m) })
		}
		if form := f.Form(); form != *in.form.Load() {
			in.form.Store(&form)
		}
		return err
	}
	scout := f.NewScout()
	cores := runtime.GOMAXPROCS(0)
	if scout == nil || cores == 1 {
		return in.inTurn(scout, apply)
	}
	return in.sideBySide(cores, apply)
}

// oneByOne is inBlocks for lines that something stood around.
func (l *logInput) oneByOne(f *filter.Filter, lines [][]byte, frames []transport.Frame, now time.Time, to listener) error {
	for i, line := range lines {
		r := f.MatchFramed(line, frames[i], now)
		if to.missed == nil && len(r.Failures) == 0 && r.Err == nil {
			continue
		}
		if err := to.each(line, &r); err != nil {
			return err
		}
	}
	return nil
}

// cut makes lines of a block, without those that are comments.
func (in *reading) cut(b *source.Block) {
	b.Cut()
	if slices.ContainsFunc(b.Lines, in.log.comment) {
		b.Lines = slices.DeleteFunc(b.Lines, in.log.comment)
	}
}

// begin deals with lines one by one until it is known what their dates look like, so
// that the others can be looked at ahead; it returns how many it took.
func (in *reading) begin(lines [][]byte, apply func([][]byte, *filter.Sightings) error) (int, error) {
	const most = 100
	n := 0
	for n < min(len(lines), most) && !in.form.Load().Known() {
		n++
		if err := apply(lines[n-1:n], nil); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (in *reading) inTurn(scout *filter.Scout, apply func([][]byte, *filter.Sightings) error) error {
	var t task
	for {
		if err := in.blocks.Next(&t.Block); err != nil {
			return ended(err)
		}
		in.cut(&t.Block)
		in.log.progress.block(len(t.Lines), t.Read, in.log.size)
		lines, seen := t.Lines, (*filter.Sightings)(nil)
		if scout != nil {
			n, err := in.begin(lines, apply)
			if err != nil {
				return err
			}
			lines, seen = lines[n:], &t.seen
			scout.Look(lines, *in.form.Load(), seen)
		}
		if err := apply(lines, seen); err != nil {
			return err
		}
	}
}

func ended(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func (in *reading) sideBySide(cores int, apply func([][]byte, *filter.Sightings) error) error {
	inFlight := cores + 2
	free, order := make(chan *task, inFlight), make(chan *task, inFlight)
	for range inFlight {
		free <- &task{ready: make(chan struct{}, 1)}
	}
	var next sync.Mutex // held by who reads a block
	over := false
	var wg sync.WaitGroup
	stop := make(chan struct{})
	defer wg.Wait()
	defer close(stop)
	first := true
	begun := make(chan struct{}) // the first block was looked at
	for range cores {
		scout := in.filter.NewScout()
		wg.Go(func() {
			for {
				var t *task
				select {
				case t = <-free:
				case <-stop:
					return
				}
				next.Lock()
				if over {
					next.Unlock()
					return
				}
				t.err = in.blocks.Next(&t.Block)
				over = t.err != nil
				own := first
				first = false
				order <- t
				next.Unlock()
				if t.err == nil {
					in.cut(&t.Block)
					if !own {
						select {
						case <-begun:
						case <-stop:
							return
						}
						scout.Look(t.Lines, *in.form.Load(), &t.seen)
					}
				}
				t.ready <- struct{}{}
			}
		})
	}
	scout := in.filter.NewScout()
	for own := true; ; own = false {
		t := <-order
		<-t.ready
		if t.err != nil {
			return ended(t.err)
		}
		in.log.progress.block(len(t.Lines), t.Read, in.log.size)
		lines := t.Lines
		if own {
			n, err := in.begin(lines, apply)
			if err != nil {
				return err
			}
			lines = lines[n:]
			close(begun)
			scout.Look(lines, *in.form.Load(), &t.seen)
		}
		if err := apply(lines, &t.seen); err != nil {
			return err
		}
		free <- t
	}
}

// heapBefore is how much memory may be in use before any of it is collected: what is
// read in a moment needs no more, and collecting costs a tenth of that time.
const heapBefore = 40 << 20

// collectLater has the garbage collector wait until that much is in use.
func collectLater() {
	percent := debug.SetGCPercent(-1)
	if percent < 0 {
		return // it was turned off
	}
	limit := debug.SetMemoryLimit(min(heapBefore, debug.SetMemoryLimit(-1)))
	sign := new([16]byte)
	runtime.AddCleanup(sign, func(int) { // at the first collection
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	}, 0)
}
