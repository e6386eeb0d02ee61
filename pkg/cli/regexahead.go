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
	text  []byte // what was looked at, where no lines were cut; nil: they were
	seen  filter.Sightings
	state state         // by which it was looked at
	ready chan struct{} // has a value when the block was looked at
	err   error
}

// state is what is known of a log as far as lines were dealt with.
type state struct {
	form  logtime.Form // of dates
	marks transport.Marks
	plain bool // that is all that has to be looked for of what may stand around lines
}

// reading is a log that is read in blocks.
type reading struct {
	blocks *source.Blocks
	log    *logInput
	filter *filter.Filter
	state  atomic.Pointer[state]
	to     listener
	clock  func() time.Time
}

// listener is told of the lines of a log, in order.
type listener struct {
	// each is called for every line that has failures or an error; where missed is there,
	// for all but those that that is called for.
	each func(line []byte, r *filter.Result) error
	// missed is called for lines in which there was nothing, where a filter counts.
	missed func(m *filter.Missed) error
	block  func(now time.Time) // is called before those of each block; may be nil
}

// inBlocks looks at a log, a file's.
func (l *logInput) inBlocks(f *filter.Filter, clock func() time.Time, to listener) error {
	defer l.progress.end()
	in := &reading{blocks: source.NewBlocks(l.from, l.enc), log: l, filter: f, to: to, clock: clock}
	in.note()
	scout := f.NewScout()
	cores := runtime.GOMAXPROCS(0)
	if scout == nil || cores == 1 {
		return in.inTurn(scout)
	}
	return in.sideBySide(cores)
}

// note notes the state.
func (in *reading) note() {
	s := state{form: in.filter.Form()}
	s.marks, s.plain = in.log.around.Marks()
	if old := in.state.Load(); old == nil || s != *old {
		in.state.Store(&s)
	}
}

// begun notes that lines are dealt with, and returns the time by which they are.
func (in *reading) begun() time.Time {
	now := in.clock()
	if in.to.block != nil {
		in.to.block(now)
	}
	return now
}

// lines deals with lines.
func (in *reading) lines(lines [][]byte, seen *filter.Sightings) (err error) {
	f, now := in.filter, in.begun()
	if lines, frames, _ := in.log.around.Lines(lines); frames != nil {
		err = in.log.oneByOne(f, lines, frames, now, in.to)
	} else {
		each := func(i int, r *filter.Result) error { return in.to.each(lines[i], r) }
		if in.to.missed == nil {
			err = f.MatchAll(lines, seen, now, each)
		} else {
			err = f.CountAll(lines, seen, now, each, in.to.missed)
		}
	}
	in.note()
	return err
}

// look looks at a block ahead: at its text, or at lines cut from it.
func (in *reading) look(t *task, scout *filter.Scout) {
	t.state = *in.state.Load()
	if t.text = nil; t.state.plain {
		if t.text = t.Text(); t.text != nil && scout.LookText(t.text, t.state.marks, t.state.form, &t.seen) {
			return
		}
		t.text = nil
	}
	in.cut(&t.Block)
	scout.Look(t.Lines, t.state.form, &t.seen)
}

// looked deals with a block that was looked at.
func (in *reading) looked(t *task) (err error) {
	if t.text == nil {
		in.log.progress.block(len(t.Lines), t.Read, in.log.size)
		return in.lines(t.Lines, &t.seen)
	}
	if s := in.state.Load(); s.marks != t.state.marks || s.plain != t.state.plain {
		in.cut(&t.Block)
		in.log.progress.block(len(t.Lines), t.Read, in.log.size)
		return in.lines(t.Lines, nil)
	}
	in.log.progress.block(t.seen.Lines(), t.Read, in.log.size)
	if f, now := in.filter, in.begun(); in.to.missed == nil {
		err = f.MatchText(t.text, &t.seen, now, in.to.each)
	} else {
		err = f.CountText(t.text, &t.seen, now, in.to.each, in.to.missed)
	}
	in.note()
	return err
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
func (in *reading) begin(lines [][]byte) (int, error) {
	const most = 100
	n := 0
	for n < min(len(lines), most) && !in.state.Load().form.Known() {
		n++
		if err := in.lines(lines[n-1:n], nil); err != nil {
			return n, err
		}
	}
	return n, nil
}

// first deals with a block before which it is not known what dates look like.
func (in *reading) first(t *task, scout *filter.Scout) error {
	in.cut(&t.Block)
	in.log.progress.block(len(t.Lines), t.Read, in.log.size)
	n, err := in.begin(t.Lines)
	if err != nil {
		return err
	}
	scout.Look(t.Lines[n:], in.state.Load().form, &t.seen)
	return in.lines(t.Lines[n:], &t.seen)
}

func (in *reading) inTurn(scout *filter.Scout) error {
	var t task
	for {
		err := in.blocks.Next(&t.Block)
		switch {
		case err != nil:
			return ended(err)
		case scout == nil:
			in.cut(&t.Block)
			in.log.progress.block(len(t.Lines), t.Read, in.log.size)
			err = in.lines(t.Lines, nil)
		case !in.state.Load().form.Known():
			err = in.first(&t, scout)
		default:
			in.look(&t, scout)
			err = in.looked(&t)
		}
		if err != nil {
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

func (in *reading) sideBySide(cores int) error {
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
				if t.err == nil && !own {
					select {
					case <-begun:
					case <-stop:
						return
					}
					in.look(t, scout)
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
		if own {
			if err := in.first(t, scout); err != nil {
				return err
			}
			close(begun)
		} else if err := in.looked(t); err != nil {
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
