package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync"
	"time"
)

// What containers there are, for all who want to know. One goroutine an engine asks: at the
// start, at each event that concerns a container, and now and then; events are hints.

const (
	// lookEvery is how often it is asked without an event, and lookApart how far apart two
	// questions are at the least.
	lookEvery = 30 * time.Second
	lookApart = 200 * time.Millisecond
	// eventMost is the length in bytes above which an event is passed over: any of them has
	// the labels of its container.
	eventMost = 1 << 20
)

// Retry is how long is waited before an engine that could not be spoken to is asked again: twice
// as long each time. A variable for tests.
var Retry = [2]time.Duration{500 * time.Millisecond, 15 * time.Second}

// Watcher is told of containers. It is to be closed.
type Watcher struct {
	of   *watch
	bell chan struct{}
}

// watch is what watchers of one engine share.
type watch struct {
	client *Client
	socket string
	stop   context.CancelFunc

	mu       sync.Mutex
	watchers []*Watcher
	list     []Container // nil: not known yet
	err      error
	turns    map[string]uint64 // by ID
	all      uint64            // for those of all
	look     chan struct{}
}

var watches struct {
	sync.Mutex
	of map[string]*watch
}

// Watch begins to watch the engine at a socket.
func Watch(socket string) *Watcher {
	watches.Lock()
	defer watches.Unlock()
	w := watches.of[socket]
	if w == nil {
		ctx, cancel := context.WithCancel(context.Background())
		w = &watch{client: New(socket), socket: socket, stop: cancel, turns: map[string]uint64{}, look: make(chan struct{}, 1)}
		if watches.of == nil {
			watches.of = map[string]*watch{}
		}
		watches.of[socket] = w
		go w.run(ctx)
	}
	one := &Watcher{of: w, bell: make(chan struct{}, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watchers = append(w.watchers, one)
	if w.list != nil || w.err != nil {
		ring(one.bell)
	}
	return one
}

// Close ends it.
func (o *Watcher) Close() {
	watches.Lock()
	defer watches.Unlock()
	w := o.of
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watchers = slices.DeleteFunc(w.watchers, func(x *Watcher) bool { return x == o })
	if len(w.watchers) == 0 && watches.of[w.socket] == w {
		delete(watches.of, w.socket)
		w.stop()
	}
}

// Changed rings when there is something new.
func (o *Watcher) Changed() <-chan struct{} { return o.bell }

// Containers returns what containers there were at the last look; nil, if there was none yet. They
// are not to be changed. The error is why there is none now.
func (o *Watcher) Containers() ([]Container, error) {
	o.of.mu.Lock()
	defer o.of.mu.Unlock()
	return o.of.list, o.of.err
}

// Turn is the present one of a container: it changes when something happens to it.
func (o *Watcher) Turn(id string) uint64 {
	o.of.mu.Lock()
	defer o.of.mu.Unlock()
	return o.of.turns[id] + o.of.all
}

// Client asks the engine for more.
func (o *Watcher) Client() *Client { return o.of.client }

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// run asks until ctx ends.
func (w *watch) run(ctx context.Context) {
	wait := Retry[0]
	for ctx.Err() == nil {
		err := w.once(ctx, func() { wait = Retry[0] })
		if ctx.Err() != nil {
			return
		}
		w.tell(nil, err)
		if !sleep(ctx, wait) {
			return
		}
		wait = min(2*wait, Retry[1])
	}
}

// once asks until the engine can't be spoken to. well is called when it could.
func (w *watch) once(ctx context.Context, well func()) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.events(ctx) }()
	defer func() { cancel(); <-ended }()
	w.turn("") // nobody knows what happened meanwhile
	for {
		list, err := w.client.Containers(ctx)
		if err != nil {
			return err
		}
		well()
		w.tell(list, nil)
		if !sleep(ctx, lookApart) {
			return ctx.Err()
		}
		select {
		case <-w.look:
		case <-time.After(lookEvery):
		case err := <-ended:
			ended <- nil
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// tell tells the watchers of a list, or of why there is none.
func (w *watch) tell(list []Container, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		there := map[string]bool{}
		for i := range list {
			c := &list[i]
			c.Turn = w.turns[c.ID] + w.all
			there[c.ID] = true
		}
		for id := range w.turns {
			if !there[id] {
				delete(w.turns, id)
			}
		}
		same := w.err == nil && w.list != nil && reflect.DeepEqual(list, w.list)
		w.list = list
		if same {
			return
		}
	}
	w.err = err
	for _, o := range w.watchers {
		ring(o.bell)
	}
}

// turn notes that something happened to a container, or may have to all.
func (w *watch) turn(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case id == "":
		w.all++
	case len(w.turns) < 10000 || w.turns[id] != 0:
		w.turns[id]++
	default:
		w.all++
	}
}

// happenings are the events that change what containers there are, or what they do; docker's and
// podman's words.
var happenings = map[string]bool{
	"create": true, "start": true, "restart": true, "stop": true, "kill": true, "die": true, "died": true, "destroy": true, "remove": true,
	"rename": true, "pause": true, "unpause": true, "init": true, "cleanup": true, "oom": true, "update": true, "refresh": true, "restore": true,
}

// events follows the engine's events.
func (w *watch) events(ctx context.Context) error {
	body, err := w.client.get(ctx, "/events", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	in := bufio.NewReaderSize(body, 16<<10)
	for {
		line, err := longLine(in)
		if err != nil {
			if err == io.EOF {
				err = errors.New("it has ended its events")
			}
			return fmt.Errorf("engine %s: %s", w.socket, printable(err.Error(), 300))
		}
		var e struct {
			Type   string
			Action string
			Actor  struct{ ID string }
		}
		if json.Unmarshal(line, &e) != nil || e.Type != "container" || !happenings[e.Action] {
			continue
		}
		if isID(e.Actor.ID) {
			w.turn(e.Actor.ID)
		}
		ring(w.look)
	}
}

// longLine reads a line; of one that is longer than eventMost, nothing.
func longLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	all := slices.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = in.ReadSlice('\n')
		if len(all) <= eventMost {
			all = append(all, line...)
		}
	}
	if len(all) > eventMost {
		all = nil
	}
	return all, err
}
