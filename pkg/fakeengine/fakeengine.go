// Package fakeengine is a container engine for tests: it has containers that write nothing but
// what the test says, and speaks the part of Docker's API that package engine reads, as docker
// does or as podman 4.3 does: with times cut to seconds, without an answer as long as there is
// nothing to say, and leaving out lines at the end of what it is followed. It can be slow, cut
// connections off, and send what is no frame.
package fakeengine

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Engine is one. Its fields are set before anybody asks.
type Engine struct {
	// Podman: it is like podman, not like docker.
	Podman bool
	// CutAfter returns after how many bytes of what is new a log is cut off; 0, or nil: it isn't.
	CutAfter func() int
	// Garbage returns what is sent in place of a frame; nil: a frame is.
	Garbage func() []byte
	// Slow is how long is waited before each record.
	Slow time.Duration
	// Header is a header that answers have beside the usual ones.
	Header string

	socket string
	mu     sync.Mutex
	list   []*Container
	server *http.Server
	events map[chan string]bool
	asked  map[string]int // how often, by what
	made   int
}

// Container is one of its containers.
type Container struct {
	engine  *Engine
	ID      string
	Name    string
	Image   string
	Labels  map[string]string
	Ports   []int
	TTY     bool
	running bool
	removed bool
	records []Record
	changed chan struct{} // closed, and another one
}

// Record is what a container wrote: a line with its newline, or a part of one without.
type Record struct {
	Stamp  time.Time
	Stderr bool
	Text   string
}

// New returns an engine that listens nowhere yet.
func New(socket string) *Engine {
	return &Engine{socket: socket, events: map[chan string]bool{}, asked: map[string]int{}}
}

// Start has it listen.
func (e *Engine) Start() error {
	_ = os.Remove(e.socket)
	l, err := net.Listen("unix", e.socket)
	if err != nil {
		return err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it may be closed when there is another one
	s := &http.Server{Handler: e}
	e.mu.Lock()
	e.server = s
	e.mu.Unlock()
	go func() { _ = s.Serve(l) }()
	return nil
}

// Stop ends it as a kill does: connections break off. Its containers stay.
func (e *Engine) Stop() {
	e.mu.Lock()
	s := e.server
	e.server = nil
	e.mu.Unlock()
	if s != nil {
		_ = s.Close()
	}
	_ = os.Remove(e.socket)
}

// Asked is how often it was asked for containers, events, or logs.
func (e *Engine) Asked(what string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked[what]
}

// Add adds a container that runs.
func (e *Engine) Add(c Container) *Container {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.made++
	c.engine, c.ID, c.running, c.changed = e, fmt.Sprintf("%012x%052x", 0xabc000000000+e.made, e.made), true, make(chan struct{})
	e.list = append(e.list, &c)
	e.happened("start", &c)
	return &c
}

// happened tells of an event; e.mu is held.
func (e *Engine) happened(action string, c *Container) {
	line, _ := json.Marshal(map[string]any{"Type": "container", "Action": action, "Actor": map[string]any{"ID": c.ID}})
	for ch := range e.events {
		select {
		case ch <- string(line):
		default:
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// Write has it write records.
func (c *Container) Write(records ...Record) {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	c.records = append(c.records, records...)
	close(c.changed)
	c.changed = make(chan struct{})
}

// Line has it write a line to standard output, now.
func (c *Container) Line(text string) { c.Write(Record{Stamp: time.Now(), Text: text + "\n"}) }

// Empty has its log be emptied.
func (c *Container) Empty() {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	c.records = nil
}

// End has it end, Begin begin again, and Remove be no more.
func (c *Container) End() { c.set(false, false, "die") }

// Begin has it begin again.
func (c *Container) Begin() { c.set(true, false, "start") }

// Remove has it be no more.
func (c *Container) Remove() { c.set(false, true, "destroy") }

func (c *Container) set(running, removed bool, action string) {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	c.running, c.removed = running, removed
	c.engine.happened(action, c)
}

// ServeHTTP answers.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e.Header != "" {
		w.Header().Set("X-More", e.Header)
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.Method != http.MethodGet:
		http.Error(w, `{"message":"only GET"}`, http.StatusMethodNotAllowed)
	case r.URL.Path == "/containers/json":
		e.ask("containers")
		e.answer(w, e.containers())
	case r.URL.Path == "/events":
		e.ask("events")
		e.serveEvents(w, r)
	case len(parts) == 3 && parts[0] == "containers":
		e.mu.Lock()
		var c *Container
		for _, one := range e.list {
			if !one.removed && (one.ID == parts[1] || one.Name == parts[1]) {
				c = one
			}
		}
		e.mu.Unlock()
		switch {
		case c == nil:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"message":"No such container: %s"}`, parts[1])
		case parts[2] == "json":
			e.mu.Lock()
			running := c.running
			e.mu.Unlock()
			e.answer(w, map[string]any{"Id": c.ID, "State": map[string]any{"Running": running}, "Config": map[string]any{"Tty": c.TTY}})
		default:
			e.ask("logs")
			e.serveLogs(w, r, c)
		}
	default:
		http.NotFound(w, r)
	}
}

func (e *Engine) ask(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked[what]++
}

func (e *Engine) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (e *Engine) containers() []any {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []any{}
	for _, c := range e.list {
		if c.removed {
			continue
		}
		state := "exited"
		if c.running {
			state = "running"
		}
		ports := []any{}
		for _, p := range c.Ports {
			ports = append(ports, map[string]any{"PublicPort": p, "Type": "tcp"})
		}
		out = append(out, map[string]any{"Id": c.ID, "Names": []string{"/" + c.Name}, "Image": c.Image, "Labels": c.Labels, "State": state, "Ports": ports})
	}
	return out
}

func (e *Engine) serveEvents(w http.ResponseWriter, r *http.Request) {
	ch := make(chan string, 1000)
	e.mu.Lock()
	e.events[ch] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.events, ch)
		e.mu.Unlock()
	}()
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case line := <-ch:
			fmt.Fprintln(w, line)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// since reports whether a record is to be told, as the engine does.
func (e *Engine) since(r *Record, since time.Time) bool {
	if e.Podman {
		return r.Stamp.After(since)
	}
	return !r.Stamp.Before(since)
}

func (e *Engine) serveLogs(w http.ResponseWriter, r *http.Request, c *Container) {
	query := r.URL.Query()
	seconds, _ := strconv.ParseInt(query.Get("since"), 10, 64)
	since := time.Unix(seconds, 0)
	cut, sent, fresh := 0, 0, 0
	e.mu.Lock()
	old := len(c.records)
	e.mu.Unlock()
	if e.CutAfter != nil {
		cut = e.CutAfter()
	}
	if !e.Podman {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
	}
	follow := query.Get("follow") == "1"
	for at, lossy := 0, false; ; {
		e.mu.Lock()
		records, running, changed := c.records, c.running && !c.removed, c.changed
		e.mu.Unlock()
		at = min(at, len(records))
		lossy = lossy || follow && !running && e.Podman
		for ; at < len(records); at++ {
			if r.Context().Err() != nil {
				return
			}
			if e.Slow > 0 {
				time.Sleep(e.Slow)
			}
			if !e.since(&records[at], since) || lossy && rand.IntN(3) == 0 {
				continue
			}
			data := e.frame(&records[at], c.TTY)
			if e.Garbage != nil {
				if g := e.Garbage(); g != nil {
					data = g
				}
			}
			if sent += len(data); at >= old {
				fresh += len(data)
			}
			if cut > 0 && fresh > cut {
				_, _ = w.Write(data[:max(0, len(data)-(fresh-cut))])
				w.(http.Flusher).Flush()
				if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
					_ = conn.Close()
				}
				return
			}
			if _, err := w.Write(data); err != nil {
				return
			}
		}
		if sent > 0 {
			w.(http.Flusher).Flush()
		}
		if !follow || !running {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (e *Engine) frame(r *Record, tty bool) []byte {
	form := "2006-01-02T15:04:05.000000000Z"
	if e.Podman {
		form = time.RFC3339
	}
	text := r.Stamp.UTC().Format(form) + " " + r.Text
	if tty {
		return []byte(text)
	}
	out := make([]byte, 8, 8+len(text))
	if out[0] = 1; r.Stderr {
		out[0] = 2
	}
	binary.BigEndian.PutUint32(out[4:], uint32(len(text)))
	return append(out, text...)
}

// Socket is where it listens.
func (e *Engine) Socket() string { return e.socket }
