package replay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/scan"
	"bailiff/pkg/transport"
)

// The way of the lines: each log has a filter of its own, which tells of its files one after the
// other; where there are several logs, what is told is put in the order of time.

// reader reads one log.
type reader struct {
	*run
	log    *Log
	filter *filter.Filter
	around *transport.Log
	clock  lineClock
	tell   func(*event) error
	read   func(lines int, bytes int64) // is told of progress
	cores  int
	event  event
}

// readAll reads all logs.
func (r *run) readAll(ctx context.Context) error {
	var mu sync.Mutex
	var all, done int64
	for _, l := range r.Logs {
		for _, f := range l.Files {
			all += f.Size
		}
	}
	progress := func(lines int, bytes int64) {
		mu.Lock()
		defer mu.Unlock()
		r.report.Lines += int64(lines)
		if done += bytes; r.Progress != nil {
			r.Progress(lines, done, all)
		}
	}
	readers := make([]*reader, len(r.Logs))
	for i := range r.Logs {
		in, err := r.reader(&r.Logs[i])
		if err != nil {
			return err
		}
		in.read = progress
		in.cores = r.Cores
		readers[i] = in
	}
	if len(readers) == 1 {
		readers[0].tell = r.apply
		return readers[0].files(ctx)
	}
	return r.together(ctx, readers)
}

// reader makes the reader of a log.
func (r *run) reader(l *Log) (*reader, error) {
	f, err := r.trials[0].jail.Filter(r.newest(l).Year(), true)
	if err != nil {
		return nil, err
	}
	f.Detail = filter.DetailIDs
	switch {
	case f.MaxLines() > 1, slices.ContainsFunc(r.trials, func(t *trial) bool { return t.out.Distinct != "" && t.out.Distinct != "user" }):
		f.Detail = filter.DetailAll
	case r.Ban != nil:
		f.Detail = filter.DetailLines
	}
	return &reader{run: r, log: l, filter: f, around: transport.New(r.Jail.Filter.Around())}, nil
}

// newest is when a log was written to last.
func (r *run) newest(l *Log) (at time.Time) {
	if !r.Now.IsZero() {
		return r.Now
	}
	for _, f := range l.Files {
		if f.Time.After(at) {
			at = f.Time
		}
	}
	return at
}

// files reads the files of a log. What is wrong with one costs what is behind it there.
func (in *reader) files(ctx context.Context) error {
	for _, f := range in.log.Files {
		if err := in.file(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

func (in *reader) file(ctx context.Context, f *File) error {
	input, err := f.open(in.Stdin, in.Most.Window)
	if err != nil {
		in.problem(f, err, true)
		return nil
	}
	defer input.Close()
	now := f.Time
	if !in.Now.IsZero() {
		now = in.Now
	}
	from := &stoppable{Reader: input, ctx: ctx, run: in.run}
	in.clock.begin(now)
	lines, read := 0, int64(0)
	log := scan.Log{
		From: from, Encoding: in.Encoding, Filter: in.filter, Around: in.around, Cores: in.cores,
		Clock: func() time.Time { return now },
		Progress: func(n int, _ int64) {
			lines += n
			was := read
			read = input.read.Load()
			in.read(n, read-was)
		},
	}
	told := false // that it is not in the order of time
	err = log.Run(scan.Listener{Each: func(_ []byte, r *filter.Result) error {
		if len(r.Failures)+len(r.Withheld)+len(r.Logins) == 0 {
			return nil
		}
		if in.place(r); in.clock.far && !told {
			told = true
			in.problem(f, fmt.Errorf("line of %s is of later than the file was last written to, %s: such lines are taken as of the line before", in.clock.said.Format(time.DateTime), now.Format(time.DateTime)), false)
		}
		return in.tell(&in.event)
	}})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case from.err != nil && from.err != io.EOF:
		in.problem(f, fmt.Errorf("%w, behind %d lines: what comes then is missing", from.err, lines), true)
	default:
		return err
	}
	return nil
}

// place says when what was told of a line was, and makes an event of it.
func (in *reader) place(r *filter.Result) {
	at := r.Time
	if !r.Dated {
		at = time.Time{} // it has none, or that of the line before
	}
	at = in.clock.at(at)
	e := &in.event
	e.now, e.at, e.withheld, e.failures, e.logins = in.clock.now, at, len(r.Withheld), r.Failures, r.Logins
	for i := range e.failures {
		e.failures[i].Time = at
	}
}

// problem notes what is wrong with a file.
func (r *run) problem(f *File, err error, missing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.report.Problems) < problemsMost {
		r.report.Problems = append(r.report.Problems, Problem{f.Path, err, missing})
	}
}

// problemsMost is how many problems are told.
const problemsMost = 100

// stoppable ends with its context, and keeps the error that it had.
type stoppable struct {
	io.Reader
	ctx context.Context
	err error
	run *run
}

// readMost is how much is read at a time where others are given way to in between.
const readMost = 16 << 10

func (s *stoppable) Read(b []byte) (int, error) {
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	r := s.run
	if r.Most.Text+r.Most.Lines > 0 {
		r.Step()
		b = b[:min(len(b), readMost)]
	}
	n, err := s.Reader.Read(b)
	text, lines := r.text.Add(int64(n)), r.lines.Add(int64(bytes.Count(b[:n], []byte{'\n'})))
	switch most := r.Most; {
	case err != nil && err != io.EOF:
	case most.Text > 0 && text > most.Text:
		n, err = 0, fmt.Errorf("it has more than %d MiB of text", most.Text>>20)
	case most.Lines > 0 && lines > most.Lines:
		n, err = 0, fmt.Errorf("it has more than %d lines", most.Lines)
	}
	s.err = err
	return n, err
}

// batch is some events of a log that waits for others.
type batch struct {
	events []event
	err    error // behind them: the log is over, or can't be read on
}

const (
	batchMost    = 256 // events
	batchesAhead = 4
)

// together reads several logs, and counts what is told of them in the order of time.
func (r *run) together(ctx context.Context, readers []*reader) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	heads := make([]*head, 0, len(readers))
	for _, in := range readers {
		h := &head{from: make(chan batch, batchesAhead)}
		heads = append(heads, h)
		in.cores = 1
		send := func(b batch) error {
			select {
			case h.from <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		var events []event
		in.tell = func(e *event) error {
			if events = append(events, e.kept()); len(events) < batchMost {
				return nil
			}
			b := batch{events: events}
			events = nil
			return send(b)
		}
		wg.Go(func() {
			err := in.files(ctx)
			if err == nil {
				err = io.EOF
			}
			_ = send(batch{events, err}) // else nobody waits for it
		})
	}
	for {
		var next *head
		for _, h := range heads {
			if err := h.fill(ctx); err != nil && err != io.EOF {
				return err
			}
			if len(h.events) > 0 && (next == nil || h.events[0].now.Before(next.events[0].now)) {
				next = h
			}
		}
		if next == nil {
			return nil
		}
		if err := r.apply(&next.events[0]); err != nil {
			return err
		}
		next.events = next.events[1:]
	}
}

// head is where a log is.
type head struct {
	from   chan batch
	events []event
	err    error
}

// fill waits until there is an event, or none will be.
func (h *head) fill(ctx context.Context) error {
	for len(h.events) == 0 && h.err == nil {
		select {
		case b := <-h.from:
			h.events, h.err = b.events, b.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if len(h.events) > 0 {
		return nil
	}
	return h.err
}
