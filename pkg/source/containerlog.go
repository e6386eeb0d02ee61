package source

import (
	"context"
	"sync"
	"time"

	"bailiff/pkg/engine"
	"bailiff/pkg/transport"
)

// The log of one container. It is asked for what there is, from the place on up to which all is
// accounted for (anchor.go), and then followed until the container ends, the engine does, or
// something is wrong; and so on, from where it is then. So the way is the same after a restart of
// anybody.
//
// What comes while it is followed is not all: podman 4.3 leaves out lines at random once the
// container has ended, until the log does. So what came is compared with what there is
// (containercheck.go), and what was left out is delivered then.

const (
	containerBatch = 500       // lines
	containerBytes = 256 << 10 // of text
	// containerReplay is how far before the place is read once more at a start, in seconds, and
	// replayMost how many lines of it are handed on.
	containerReplay = 60
	replayMost      = 500
	// againAfter is how long is waited before a log is asked for again, twice as long each time
	// that nothing came of it.
	againAfter, againMost = 100 * time.Millisecond, 15 * time.Second
	// stoppedLook is how often it is looked whether a container that has ended has begun again,
	// beside the engine's events.
	stoppedLook = 30 * time.Second
	// setBack is by how many seconds the clock may have been set back while nothing was read.
	setBack = 3600
)

type containerLog struct {
	*containersAt
	c      engine.Container
	path   string
	all    context.Context // of the source
	ctx    context.Context // its own
	cancel context.CancelFunc
	bell   chan struct{} // something may have happened to it
	gone   chan struct{} // closed when it is no more
	left   bool          // gone is closed; the owner's

	text   *transport.Log
	stream stream // what came while it was followed
	anchor anchor
	at     anchorAt // where it goes on
	placed bool     // at is known
	first  bool     // at is from before the start: what stands before it is read once more

	batch  Batch
	bytes  int
	begun  time.Time // when the engine was last asked: what is older was there before
	told   string
	failed int // how often in a row

	mu    sync.Mutex
	cut   context.CancelFunc // ends the present request
	again bool               // it is broken off to be asked again
}

// askAgain breaks off what is read, to ask anew.
func (l *containerLog) askAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut != nil {
		l.again = true
		l.cut()
	}
}

// breakable lets askAgain break off a request, and reports at its end whether it did.
func (l *containerLog) breakable(ctx context.Context) (context.Context, func() bool) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.again = cancel, false
	return ctx, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		cancel()
		l.cut = nil
		return l.again
	}
}

// happened has it look at its container.
func (l *containerLog) happened() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// leave tells it that its container is no more.
func (l *containerLog) leave() {
	if !l.left {
		l.left = true
		close(l.gone)
		time.AfterFunc(goneMost, l.cancel) // its log should have ended by then
	}
}

func (l *containerLog) isLeft() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

// news tells something of the log.
func (l *containerLog) news(text string) { l.note(Event{Path: l.path, Text: text}) }

// run follows the log until its container is no more, or ctx ends.
func (l *containerLog) run() {
	ctx := l.ctx
	if l.placed {
		l.news("following from where it was left")
	} else {
		l.news("following from " + l.Since.Local().Format(time.DateTime))
	}
	pause := againAfter
	for {
		turn := l.watcher.Turn(l.c.ID)
		delivered, running, err := l.read(ctx, false, turn)
		if err == nil && running && !l.isLeft() {
			var some bool
			some, _, err = l.read(ctx, true, turn)
			delivered = delivered || some
		}
		switch {
		case l.all.Err() != nil:
			return
		case isGone(err), l.isLeft() && !delivered:
			l.finish()
			return
		case err != nil:
			l.failure(err)
		default:
			l.told, l.failed = "", 0
			if !delivered && !running {
				if !l.rest(l.all) || !l.await(ctx, turn) {
					return
				}
				pause = againAfter
				continue
			}
		}
		if delivered {
			pause = againAfter
		}
		select {
		case <-l.all.Done():
			return
		case <-l.gone:
		case <-time.After(pause):
		}
		pause = min(2*pause, againMost)
	}
}

// failure tells of an error that is not the engine's, of which is told already.
func (l *containerLog) failure(err error) {
	l.set(l.path, 0, err.Error())
	if _, engine := l.watcher.Containers(); engine != nil {
		return
	}
	if l.failed++; l.failed > 1 && err.Error() != l.told { // once is the end of an engine, or of a container
		l.told = err.Error()
		l.note(Event{Path: l.path, Err: err})
	}
}

// await waits until a container that has ended may have begun again, or is no more.
func (l *containerLog) await(ctx context.Context, turn uint64) bool {
	look := time.NewTimer(stoppedLook)
	defer look.Stop()
	for l.watcher.Turn(l.c.ID) == turn {
		select {
		case <-ctx.Done():
			return l.all.Err() == nil
		case <-l.gone:
			return true
		case <-look.C:
			return true
		case <-l.bell:
		}
	}
	return true
}

// finish forgets the place of a log that is no more.
func (l *containerLog) finish() {
	if !l.rest(l.all) {
		return
	}
	select {
	case l.out <- Batch{Path: l.path, Cursor: "-", Done: true}:
		l.news("its container is no more")
	case <-l.all.Done():
	}
}

// read asks for what there is of the log, or follows it, and delivers that until it ends. The error
// is nil where it ended as it should. running says whether the container runs.
func (l *containerLog) read(ctx context.Context, follow bool, turn uint64) (delivered, running bool, err error) {
	client := l.watcher.Client()
	state, err := client.Inspect(ctx, l.c.ID)
	if err != nil || follow && !state.Running {
		return false, state.Running, err
	}
	l.begun = time.Now()
	from := streamed{at: l.at, placed: l.placed}
	if !follow && l.stream.on {
		from = l.stream.all()
	}
	since := l.Since.Unix()
	if from.placed {
		since = from.at.Low
		if l.first {
			since -= containerReplay
		}
		if now := l.begun.Unix(); now < from.at.Top {
			since = min(since, now-setBack)
		}
	}
	ctx, end := l.breakable(ctx)
	defer func() {
		if end() {
			err = nil
		}
	}()
	o := engine.LogOptions{Since: max(since-1, 0), Follow: follow, Terminal: state.Terminal}
	records, err := client.Logs(ctx, l.c.ID, o)
	if err != nil {
		return false, state.Running, err
	}
	defer records.Close()
	if follow {
		l.stream = stream{on: true, turn: turn, now: streamed{at: l.at, placed: l.placed, since: time.Now()}}
		from.sums = nil
		delivered, err = l.deliver(ctx, records, &from)
	} else {
		delivered, err = l.check(ctx, records, &from)
	}
	if isEnd(err) {
		err = nil
	}
	return delivered, state.Running, err
}

// deliver delivers the records behind a place, but for those that were delivered already.
func (l *containerLog) deliver(ctx context.Context, records *engine.Reader, from *streamed) (delivered bool, err error) {
	var before *replay // those before the place; nil: they are passed
	if from.placed {
		before = &replay{finding: finding{to: from.at}, on: l.first}
		if l.first {
			l.text = transport.NewRecords(l.Transport)
		}
	}
	l.anchor = anchor{}
	for {
		r, err := records.Next()
		if err != nil {
			if !from.checks() && !l.send(l.all) {
				err = l.all.Err()
			}
			return delivered, err
		}
		r.Text = l.Encoding.Decode(r.Text)
		if before != nil {
			passed := before.passes(&r)
			if passed {
				l.passed(before, &r)
				if !before.done {
					continue
				}
			}
			if !l.endReplay(before) {
				return delivered, l.all.Err()
			}
			from.vanished = before.lost
			if before = nil; passed {
				continue
			}
		}
		if !from.placed && r.Stamp.Unix() < l.Since.Unix() {
			continue
		}
		from.placed = true
		if from.had(&r) {
			l.add(&r)
			continue
		}
		delivered = true
		if !l.take(&r, records.More(), from.checks()) {
			return delivered, l.all.Err()
		}
	}
}

// replay is what stands before the place of reading.
type replay struct {
	finding
	on     bool // lines are handed on
	lines  [][]byte
	frames []transport.Frame
}

// passed takes account of a record before the place.
func (l *containerLog) passed(b *replay, r *engine.Record) {
	if r.Stamp.Unix() >= b.to.Floor || b.n == b.to.N {
		l.anchor.add(r, b.to.Floor)
	}
	if !b.on {
		return
	}
	if text, frame, ok := l.text.Take(recordOf(r)); ok {
		if len(b.lines) >= 2*replayMost {
			b.lines, b.frames = append(b.lines[:0], b.lines[replayMost:]...), append(b.frames[:0], b.frames[replayMost:]...)
		}
		b.lines, b.frames = append(b.lines, text), append(b.frames, frame)
	}
}

// endReplay hands on what stood before the place.
func (l *containerLog) endReplay(b *replay) bool {
	if b.lost {
		l.note(Event{Path: l.path, Warn: true, Text: "its log does not hold any more what was read of it last (emptied, or written on by more than is kept): lines may be missing; going on with what is there"})
	}
	if !b.on {
		return true
	}
	l.first = false
	l.text.SetParts(l.at.Parts)
	if over := len(b.lines) - replayMost; over > 0 {
		b.lines, b.frames = b.lines[over:], b.frames[over:]
	}
	if len(b.lines) == 0 {
		return true
	}
	select {
	case l.out <- Batch{Path: l.path, Lines: b.lines, Frames: b.frames, Replay: true}:
		return true
	case <-l.all.Done():
		return false
	}
}

func recordOf(r *engine.Record) transport.Record {
	return transport.Record{Text: r.Text, Stamp: r.Stamp, Stderr: r.Stderr, Part: r.Part}
}

// take puts a record to the batch, and delivers that unless more is there already, or it is to be
// held. It reports false when the source is to end.
func (l *containerLog) take(r *engine.Record, more, hold bool) bool {
	text, frame, ok := l.text.Take(recordOf(r))
	if ok {
		if !l.put(text, frame, r.Stamp.Before(l.begun)) {
			return false
		}
	}
	l.add(r)
	l.batch.Stored = r.Stamp
	switch n := len(l.batch.Lines); {
	case hold && n < heldMost && l.bytes < heldBytes, more && n < containerBatch && l.bytes < containerBytes:
		return true
	}
	return l.send(l.all)
}

// add takes account of a record.
func (l *containerLog) add(r *engine.Record) {
	l.anchor.add(r, l.Since.Unix())
	waits, _ := l.text.WaitsSince()
	l.at, l.placed = l.anchor.place(l.text.Parts(), waits), true
	l.stream.add(r)
}

// put puts a line to the batch.
func (l *containerLog) put(text []byte, frame transport.Frame, catchUp bool) bool {
	b := &l.batch
	if len(b.Lines) > 0 && b.CatchUp != catchUp {
		if !l.send(l.all) {
			return false
		}
	}
	b.CatchUp = catchUp
	b.Lines, b.Frames = append(b.Lines, text), append(b.Frames, frame)
	l.bytes += len(text) + 1
	return true
}

// rest delivers parts of lines whose rest will not come.
func (l *containerLog) rest(ctx context.Context) bool {
	lines, frames := l.text.Rest()
	for i := range lines {
		if !l.put(lines[i], frames[i], frames[i].Stamp.Before(l.begun)) {
			return false
		}
	}
	l.at.Parts = 0
	return l.send(ctx)
}

// send delivers the batch; it reports false when ctx has ended.
func (l *containerLog) send(ctx context.Context) bool {
	if len(l.batch.Lines) == 0 {
		return true
	}
	l.batch.Path, l.batch.Cursor = l.path, l.at.String()
	select {
	case l.out <- l.batch:
	case <-ctx.Done():
		return false
	}
	l.set(l.path, int64(l.bytes), "")
	l.batch, l.bytes = Batch{}, 0
	l.stream.turnOver(l)
	return true
}
