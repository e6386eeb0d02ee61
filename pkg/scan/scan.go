// Package scan shows a whole log to a filter, as fast as it can be read. The log is read in
// blocks, which several goroutines look at ahead of the filter where there is more than one
// core; what they see is applied in order, by one after the other.
//
//	log := scan.Log{From: file, Filter: f, Around: transport.New(def.Around()), Clock: time.Now}
//	err := log.Run(scan.Listener{Each: func(line []byte, r *filter.Result) error { … }})
package scan

import (
	"cmp"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/logtime"
	"bailiff/pkg/source"
	"bailiff/pkg/transport"
)

// Log is a log that is read from its beginning to its end.
type Log struct {
	From     io.Reader
	Encoding *source.Encoding // nil: UTF-8
	Filter   *filter.Filter
	// Around takes off what stands around lines.
	Around *transport.Log
	// Comment reports whether a line is none of the log's; nil: all are, but for those that are
	// empty or begin with #, which hold no failures.
	Comment func(line []byte) bool
	// Clock is the time by which dates without a year are read. It is asked for each block.
	Clock func() time.Time
	// Cores is how many goroutines look ahead; 0: as many as there are cores.
	Cores int
	// Progress is told of lines, and how many bytes of the log were read up to their end; nil:
	// nobody is.
	Progress func(lines int, read int64)
}

// task is a block on its way.
type task struct {
	source.Block
	text  []byte // what was looked at, where no lines were cut; nil: they were
	seen  filter.Sightings
	state state // by which it was looked at
}

// state is what is known of a log as far as lines were dealt with.
type state struct {
	form  logtime.Form // of dates
	marks transport.Marks
	plain bool // that is all that has to be looked for of what may stand around lines
}

// reading is a log that is read in blocks.
type reading struct {
	*Log
	blocks *source.Blocks
	state  atomic.Pointer[state]
	to     Listener
}

// Listener is told of the lines of a log, in order, by one goroutine at a time.
type Listener struct {
	// Each is called for every line that has failures or an error; where Missed is there,
	// for all but those that that is called for. An error ends the reading.
	Each func(line []byte, r *filter.Result) error
	// Missed is called for lines in which there was nothing, where a filter counts.
	Missed func(m *filter.Missed) error
	Block  func(now time.Time) // is called before those of each block; may be nil
}

// Run reads the log.
func (l *Log) Run(to Listener) error {
	in := &reading{Log: l, blocks: source.NewBlocks(l.From, l.Encoding), to: to}
	in.note()
	scout := l.Filter.NewScout()
	cores := cmp.Or(l.Cores, runtime.GOMAXPROCS(0))
	if scout == nil || cores == 1 {
		return in.inTurn(scout)
	}
	return in.sideBySide(cores)
}

// note notes the state.
func (in *reading) note() {
	s := state{form: in.Filter.Form()}
	s.marks, s.plain = in.Around.Marks()
	if old := in.state.Load(); old == nil || s != *old {
		in.state.Store(&s)
	}
}

// begun notes that lines are dealt with, and returns the time by which they are.
func (in *reading) begun() time.Time {
	now := in.Clock()
	if in.to.Block != nil {
		in.to.Block(now)
	}
	return now
}

// lines deals with lines.
func (in *reading) lines(lines [][]byte, seen *filter.Sightings) (err error) {
	f, now := in.Filter, in.begun()
	if lines, frames, _ := in.Around.Lines(lines); frames != nil {
		err = oneByOne(f, lines, frames, now, in.to)
	} else {
		each := func(i int, r *filter.Result) error { return in.to.Each(lines[i], r) }
		if in.to.Missed == nil {
			err = f.MatchAll(lines, seen, now, each)
		} else {
			err = f.CountAll(lines, seen, now, each, in.to.Missed)
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
		in.tell(len(t.Lines), t.Read)
		return in.lines(t.Lines, &t.seen)
	}
	if s := in.state.Load(); s.marks != t.state.marks || s.plain != t.state.plain {
		in.cut(&t.Block)
		in.tell(len(t.Lines), t.Read)
		return in.lines(t.Lines, nil)
	}
	in.tell(t.seen.Lines(), t.Read)
	if f, now := in.Filter, in.begun(); in.to.Missed == nil {
		err = f.MatchText(t.text, &t.seen, now, in.to.Each)
	} else {
		err = f.CountText(t.text, &t.seen, now, in.to.Each, in.to.Missed)
	}
	in.note()
	return err
}

// oneByOne is for lines that something stood around.
func oneByOne(f *filter.Filter, lines [][]byte, frames []transport.Frame, now time.Time, to Listener) error {
	for i, line := range lines {
		r := f.MatchFramed(line, frames[i], now)
		if to.Missed == nil && !r.Tells() {
			continue
		}
		if err := to.Each(line, &r); err != nil {
			return err
		}
	}
	return nil
}

// cut makes lines of a block, without those that are comments.
func (in *reading) cut(b *source.Block) {
	b.Cut()
	if in.Comment != nil && slices.ContainsFunc(b.Lines, in.Comment) {
		b.Lines = slices.DeleteFunc(b.Lines, in.Comment)
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
	in.tell(len(t.Lines), t.Read)
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
			in.tell(len(t.Lines), t.Read)
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

// tell tells of progress.
func (in *reading) tell(lines int, read int64) {
	if in.Progress != nil {
		in.Progress(lines, read)
	}
}

// ended is nil for the end of a log.
func ended(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// sideBySide has each of some goroutines read a block, look at it, and deal with it when it is that
// block's turn: who has looked at a block has it and what it says in his core's cache, and nobody is
// woken where it is his turn already.
func (in *reading) sideBySide(cores int) error {
	var (
		next   sync.Mutex // held by who reads a block
		over   bool       // there is none any more
		before = make(chan struct{}, 1)
		failed error // of a block whose turn it was
		wg     sync.WaitGroup
	)
	before <- struct{}{}
	first := true
	begun := make(chan struct{}) // the first block was dealt with, or there is none
	work := func(scout *filter.Scout) {
		var t task
		for {
			next.Lock()
			if over {
				next.Unlock()
				return
			}
			err := in.blocks.Next(&t.Block)
			over = err != nil
			own := first
			first = false
			turn, after := before, make(chan struct{}, 1)
			before = after
			next.Unlock()
			if err == nil && !own {
				<-begun
				in.look(&t, scout)
			}
			<-turn
			switch {
			case failed != nil:
			case err != nil:
				failed = err
			case own:
				failed = in.first(&t, scout)
			default:
				failed = in.looked(&t)
			}
			if own {
				close(begun)
			}
			if failed != nil {
				next.Lock()
				over = true
				next.Unlock()
			}
			after <- struct{}{}
		}
	}
	for range cores {
		scout := in.Filter.NewScout()
		wg.Go(func() { work(scout) })
	}
	wg.Wait()
	return ended(failed)
}
