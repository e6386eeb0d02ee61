package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/engine"
	"bailiff/pkg/transport"
)

// Containers follows what containers write, as their engine tells it. Which containers there are
// is watched; each one's log is followed by itself (containerlog.go).
type Containers struct {
	ContainerOptions
	// Transport is what else stands around lines; runtimes' wrappers don't.
	Transport transport.Options
	// Encoding of what they write; nil: UTF-8.
	Encoding *Encoding
	// Since is from when on the log of a container is read of which there is no Resume.
	Since time.Time
	// Resume is where reading goes on, by the names of logs.
	Resume map[string][]Position
	// Notify tells of errors and of where reading begins.
	Notify func(Event)

	mu      sync.Mutex
	problem string // with the engine
	// answered: it has said once what containers there are.
	answered bool
	status   map[string]*Status
}

// ContainersMost is of how many containers one jail reads the logs.
const ContainersMost = 256

// clockLook is how often it is looked whether the wall clock was set back: engines leave out what
// is older than they were asked for.
const clockLook = 2 * time.Second

// goneMost is how long the log of a container that was removed may take to end.
const goneMost = 10 * time.Second

// Status returns where reading is.
func (s *Containers) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Status
	if s.problem != "" || len(s.status) == 0 {
		why := s.problem
		switch {
		case why != "":
		case !s.answered:
			why = "the engine has not answered yet"
		default:
			why = "no container is there that is meant: " + s.meant()
		}
		out = append(out, Status{Path: ContainerLog + s.Socket, Error: why})
	}
	var paths []string
	for path := range s.status {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		out = append(out, *s.status[path])
	}
	return out
}

// meant are the containers that are meant, in words.
func (s *ContainerOptions) meant() string {
	var out []string
	for _, m := range s.Matches {
		out = append(out, m.String())
	}
	return strings.Join(out, ", ")
}

// Means reports whether a container's log is read.
func (s *ContainerOptions) Means(c *engine.Container) bool {
	return slices.ContainsFunc(s.Matches, func(m ContainerMatch) bool { return m.Means(c) })
}

func (s *Containers) note(e Event) {
	if s.Notify != nil {
		s.Notify(e)
	}
}

// set notes how it is with a log.
func (s *Containers) set(path string, read int64, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.status[path]; st != nil {
		st.Offset += read
		st.Error = problem
	}
}

// setProblem notes what is wrong with the engine, and reports whether that is news.
func (s *Containers) setProblem(problem string) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	news = s.problem != problem
	s.problem, s.answered = problem, s.answered || problem == ""
	return news
}

// Run delivers batches until ctx ends.
func (s *Containers) Run(ctx context.Context, out chan<- Batch) {
	s.mu.Lock()
	s.status = map[string]*Status{}
	s.mu.Unlock()
	w := engine.Watch(s.Socket)
	defer w.Close()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	r := &containersAt{Containers: s, watcher: w, out: out, started: time.Now(), logs: map[string]*containerLog{}, dead: map[string]bool{}, ended: make(chan string)}
	r.start = func(l *containerLog) {
		wg.Go(func() {
			l.run()
			select {
			case r.ended <- l.c.ID:
			case <-ctx.Done():
			}
		})
	}
	clock := time.NewTicker(clockLook)
	defer clock.Stop()
	last := time.Now()
	s.note(Event{Path: ContainerLog + s.Socket, Text: "looking for containers: " + s.meant()})
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-r.ended:
			r.end(id)
			if list, err := w.Containers(); err == nil { // there is room for another one
				r.look(ctx, list, nil)
			}
		case <-clock.C:
			now := time.Now()
			if now.Round(0).Sub(last.Round(0))-now.Sub(last) < -time.Second { // the wall clock was set back
				for _, l := range r.logs {
					l.askAgain()
				}
			}
			last = now
		case <-w.Changed():
			list, err := w.Containers()
			r.look(ctx, list, err)
		}
	}
}

// containersAt are Containers at work.
type containersAt struct {
	*Containers
	watcher *engine.Watcher
	out     chan<- Batch
	started time.Time
	logs    map[string]*containerLog // by ID
	dead    map[string]bool          // those of which the engine knows nothing any more
	ended   chan string
	start   func(*containerLog)
	known   bool // what containers there are, at least once
	over    bool // it was told that there are too many
	none    bool // it was told that there is none
}

// look compares what containers there are with those whose logs are followed.
func (r *containersAt) look(ctx context.Context, list []engine.Container, err error) {
	if err != nil {
		if r.setProblem(err.Error()) {
			r.note(Event{Path: ContainerLog + r.Socket, Err: err})
		}
		return
	}
	if r.setProblem("") && r.known {
		r.note(Event{Path: ContainerLog + r.Socket, Text: "the engine answers again"})
	}
	there := map[string]bool{}
	var over []string
	for i := range list {
		c := &list[i]
		if !r.Means(c) {
			continue
		}
		there[c.ID] = true
		if l := r.logs[c.ID]; l != nil {
			l.happened()
			continue
		}
		if r.dead[c.ID] {
			continue
		}
		if len(r.logs) >= ContainersMost {
			over = append(over, c.Short())
			continue
		}
		r.begin(ctx, c)
	}
	if len(over) > 0 != r.over {
		if r.over = len(over) > 0; r.over {
			r.note(Event{Path: ContainerLog + r.Socket, Warn: true, Text: fmt.Sprintf(
				"the logs of %d containers are followed, and no more: %d others are not, %s first; name fewer of them in container, or more jails", ContainersMost, len(over), over[0])})
		}
	}
	for id, l := range r.logs {
		if !there[id] {
			l.leave()
		}
	}
	for id := range r.dead {
		if !there[id] {
			delete(r.dead, id)
		}
	}
	if none := len(there) == 0; none != r.none {
		if r.none = none; none {
			r.note(Event{Path: ContainerLog + r.Socket, Text: "no container is there that is meant, waiting for one: " + r.meant()})
		}
	}
	if !r.known {
		r.known = true
		r.forget(ctx, list)
	}
}

// begin follows a log.
func (r *containersAt) begin(ctx context.Context, c *engine.Container) {
	path, at := logOf(c), Position{}
	for known, list := range r.Resume { // its name may have been another one
		if strings.HasPrefix(known, ContainerLog) && strings.HasSuffix(known, "/"+c.ID[:12]) && len(list) > 0 {
			path, at = known, list[len(list)-1]
		}
	}
	l := &containerLog{containersAt: r, c: *c, path: path, all: ctx, bell: make(chan struct{}, 1), gone: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.text = transport.NewRecords(r.Transport)
	if p, ok := parseAnchor(at.Cursor); ok {
		l.at, l.placed, l.first = p, true, true
	}
	r.mu.Lock()
	r.status[path] = &Status{Path: path}
	r.mu.Unlock()
	r.logs[c.ID] = l
	r.start(l)
}

// end is after a log has ended.
func (r *containersAt) end(id string) {
	l := r.logs[id]
	if l == nil {
		return
	}
	l.cancel()
	delete(r.logs, id)
	r.dead[id] = true
	r.mu.Lock()
	delete(r.status, l.path)
	r.mu.Unlock()
}

// forget has places forgotten of containers that are no more.
func (r *containersAt) forget(ctx context.Context, list []engine.Container) {
	for path := range r.Resume {
		if !strings.HasPrefix(path, ContainerLog) || slices.ContainsFunc(list, func(c engine.Container) bool { return strings.HasSuffix(path, "/"+c.ID[:12]) }) {
			continue
		}
		select {
		case r.out <- Batch{Path: path, Cursor: "-", Done: true}:
		case <-ctx.Done():
			return
		}
	}
}

// isGone reports whether a container is no more.
func isGone(err error) bool { return errors.As(err, new(*engine.GoneError)) }

// isEnd reports whether a log has ended as it should.
func isEnd(err error) bool { return errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) }
