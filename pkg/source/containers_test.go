package source

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/pkg/engine"
	"bailiff/pkg/fakeengine"
	"bailiff/pkg/hosttest"
)

func init() { engine.Retry = [2]time.Duration{20 * time.Millisecond, 200 * time.Millisecond} }

// containerReader reads containers as a daemon does that is killed now and then: it keeps the places of
// what was counted, and goes on there.
type containerReader struct {
	t       *testing.T
	options ContainerOptions
	since   time.Time

	mu     sync.Mutex
	lines  map[string]int
	places map[string]Position
	events []string
	stop   func()
	src    *Containers
}

func readContainers(t *testing.T, socket string, matches ...string) *containerReader {
	r := &containerReader{t: t, options: ContainerOptions{Socket: socket}, since: time.Now().Add(-time.Hour), lines: map[string]int{}, places: map[string]Position{}}
	for _, text := range matches {
		m, err := ParseContainerMatch(text)
		if err != nil {
			t.Fatal(err)
		}
		r.options.Matches = append(r.options.Matches, m)
	}
	t.Cleanup(r.end)
	return r
}

// begin begins to read.
func (r *containerReader) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	resume := map[string][]Position{}
	r.mu.Lock()
	for path, p := range r.places {
		resume[path] = []Position{p}
	}
	r.mu.Unlock()
	r.src = &Containers{ContainerOptions: r.options, Since: r.since, Resume: resume, Notify: func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e.String())
	}}
	out, ended := make(chan Batch), make(chan struct{})
	go func() {
		defer close(ended)
		r.src.Run(ctx, out)
	}()
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for {
			select {
			case b := <-out:
				r.count(b)
			case <-ctx.Done():
				return
			}
		}
	}()
	r.stop = func() { cancel(); <-counted; <-ended }
}

func (r *containerReader) count(b Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.Replay {
		return
	}
	for _, l := range b.Lines {
		r.lines[string(l)]++
	}
	if r.places[b.Path] = (Position{Cursor: b.Cursor, Time: b.Stored}); b.Done {
		delete(r.places, b.Path)
	}
}

func (r *containerReader) end() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// until waits for a condition.
func (r *containerReader) until(what string, is func() bool) {
	r.t.Helper()
	if !hosttest.Soon(is) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.t.Fatalf("%s: %d lines, %v", what, len(r.lines), tail(r.events, 10))
	}
}

func tail[T any](list []T, n int) []T { return list[max(0, len(list)-n):] }

func (r *containerReader) has(lines ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !slices.ContainsFunc(lines, func(l string) bool { return r.lines[l] == 0 })
}

func (r *containerReader) said(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.events, func(e string) bool { return strings.Contains(e, text) })
}

// comes waits for lines.
func (r *containerReader) comes(what string, lines []string) {
	r.t.Helper()
	if !hosttest.Soon(func() bool { return r.has(lines...) }) {
		r.once(lines)
		r.t.Fatalf("%s doesn't all come: %v; %+v", what, tail(r.events, 10), r.src.Status())
	}
}

// once fails unless each line of those has come once.
func (r *containerReader) once(want []string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var lost, twice []string
	for _, l := range want {
		switch n := r.lines[l]; {
		case n == 0:
			lost = append(lost, l)
		case n > 1:
			twice = append(twice, l)
		}
	}
	if len(lost)+len(twice) > 0 || len(r.lines) != len(want) {
		r.t.Errorf("of %d lines %d were lost, %d came twice, %d are others; lost %.200q, twice %.200q", len(want), len(lost), len(twice), len(r.lines)-len(want)+len(lost), lost, twice)
	}
}

// TestContainersExactly: whatever ends and begins again, the reader, the container or the engine,
// each line comes once: from an engine like docker, and from one like podman, over connections that
// break off anywhere.
func TestContainersExactly(t *testing.T) {
	for _, podman := range []bool{false, true} {
		t.Run(fmt.Sprintf("podman=%v", podman), func(t *testing.T) {
			t.Parallel()
			e := fakeengine.New(filepath.Join(t.TempDir(), "sock"))
			e.Podman = podman
			var cut atomic.Int64
			cut.Store(4000)
			e.CutAfter = func() int {
				if most := cut.Load(); most > 0 {
					return 100 + rand.IntN(int(most))
				}
				return 0
			}
			if err := e.Start(); err != nil {
				t.Fatal(err)
			}
			defer e.Stop()
			web := e.Add(fakeengine.Container{Name: "web"})
			r := readContainers(t, e.Socket(), "web")
			r.begin()
			var want []string
			begun := [2]time.Time{}
			half := [2]string{}
			now := time.Now()
			// A burst of lines on both streams, of which some come in parts.
			write := func(n int) {
				var all []fakeengine.Record
				for range n {
					if now = now.Add(time.Duration(rand.IntN(60000)) * time.Microsecond); rand.IntN(50) == 0 {
						now = now.Add(time.Second)
					}
					rec := fakeengine.Record{Stamp: now, Stderr: rand.IntN(3) == 0}
					of := 0
					if rec.Stderr {
						of = 1
					}
					if half[of] == "" {
						half[of], begun[of] = fmt.Sprintf("line %d", len(want)+1000*of+rand.IntN(1<<30)*10000), now
						rec.Text = half[of]
					} else {
						rec.Text = ", and on"
						half[of] += rec.Text
					}
					if !podman {
						rec.Stamp = begun[of] // docker's parts have the time of the first
					}
					if rand.IntN(6) != 0 {
						rec.Text += "\n"
						want = append(want, half[of])
						half[of] = ""
					}
					all = append(all, rec)
				}
				web.Write(all...)
			}
			finish := func() {
				for i, of := range []bool{false, true} {
					if half[i] != "" {
						web.Write(fakeengine.Record{Stamp: now, Stderr: of, Text: "!\n"})
						want = append(want, half[i]+"!")
						half[i] = ""
					}
				}
			}
			for round := range 30 {
				write(60)
				switch round % 6 {
				case 1:
					r.end()
					write(30)
					r.begin()
				case 2:
					e.Stop()
					write(30)
					if err := e.Start(); err != nil {
						t.Fatal(err)
					}
				case 3: // it ends with what has just been written
					finish()
					n := e.Asked("logs")
					web.End()
					r.until("nobody asks for what is left", func() bool { return e.Asked("logs") > n })
					web.Begin()
				case 4:
					finish()
					r.comes("what is written so far", want)
				}
			}
			finish()
			cut.Store(0)
			r.comes("what is written", want)
			r.end()
			r.once(want)
			if r.said("does not hold") {
				t.Errorf("it said that something was lost: %v", tail(r.events, 5))
			}
		})
	}
}

// TestContainersComeAndGo: which are meant, those that come later, one that is renamed or removed,
// one whose name another one gets, a line without an end.
func TestContainersComeAndGo(t *testing.T) {
	e := fakeengine.New(filepath.Join(t.TempDir(), "sock"))
	r := readContainers(t, e.Socket(), "web*", "label=role=front", "label=any", "image=nginx:*", "image=caddy")
	r.begin()
	r.until("nobody says that the engine isn't there", func() bool {
		return r.said("the socket is not there") && len(r.src.Status()) == 1 && strings.Contains(r.src.Status()[0].Error, "is the engine running?")
	})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	r.until("nobody says that there is none", func() bool { return r.said("no container is there that is meant") })
	named := e.Add(fakeengine.Container{Name: "web-1"})
	labelled := e.Add(fakeengine.Container{Name: "x", Labels: map[string]string{"role": "front"}})
	other := e.Add(fakeengine.Container{Name: "y", Labels: map[string]string{"role": "back"}, Image: "debian:12"})
	keyed := e.Add(fakeengine.Container{Name: "z", Labels: map[string]string{"any": ""}})
	imaged := e.Add(fakeengine.Container{Name: "i", Image: "docker.io/library/nginx:1.27"})
	tagged := e.Add(fakeengine.Container{Name: "j", Image: "caddy:2"})
	elsewhere := e.Add(fakeengine.Container{Name: "k", Image: "registry.example/nginx:1"})
	for _, c := range []*fakeengine.Container{named, labelled, other, keyed, imaged, tagged, elsewhere} {
		c.Line("of " + c.Name)
	}
	r.until("not all come", func() bool { return r.has("of web-1", "of x", "of z", "of i", "of j") })
	if r.has("of y") || r.has("of k") {
		t.Error("one came that is not meant")
	}
	labelled.Write(fakeengine.Record{Stamp: time.Now(), Text: "without an end"})
	labelled.End()
	r.until("a line without an end doesn't come when its container has ended", func() bool { return r.has("without an end") })
	labelled.Begin()
	labelled.Line("anew")
	r.until("a line after it doesn't come by itself", func() bool { return r.has("anew") })
	named.Line("the last one")
	named.Remove()
	r.until("a container that was removed is still there", func() bool { return r.said("web-1/" + named.ID[:12] + ": its container is no more") })
	again := e.Add(fakeengine.Container{Name: "web-1"})
	again.Line("of another web-1")
	r.until("another one of the same name isn't read", func() bool { return r.has("of another web-1") })
	r.until("the place of what is no more is kept", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		_, kept := r.places["docker:web-1/"+named.ID[:12]]
		return !kept
	})
	r.end()
	tagged.Remove()
	again.Line("while nobody reads")
	r.begin()
	r.until("what came while nobody read doesn't come, or the place of one that went meanwhile is kept", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		_, kept := r.places["docker:j/"+tagged.ID[:12]]
		return r.lines["while nobody reads"] > 0 && !kept
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for line, n := range r.lines {
		if n != 1 {
			t.Errorf("%q came %d times", line, n)
		}
	}
}

// TestContainersHostile: garbage in place of frames, a log that was emptied, a slow engine with long
// headers: nothing comes of it but what is said, and what is well comes.
func TestContainersHostile(t *testing.T) {
	e := fakeengine.New(filepath.Join(t.TempDir(), "sock"))
	e.Header = strings.Repeat("x", 20000)
	var bad atomic.Bool
	e.Garbage = func() []byte {
		if bad.Load() {
			return []byte("HTTP/1.1 200 OK\r\n\r\n\x00\xff")
		}
		return nil
	}
	e.Slow = time.Millisecond
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	web := e.Add(fakeengine.Container{Name: "web"})
	r := readContainers(t, e.Socket(), "web")
	r.begin()
	for i := range 20 {
		web.Line(fmt.Sprint("before ", i))
	}
	r.until("nothing comes", func() bool { return r.has("before 19") })
	bad.Store(true)
	web.Line("well")
	r.until("nobody says what is wrong", func() bool { return r.said("a frame begins with 48 54 54 50") })
	bad.Store(false)
	r.until("it doesn't go on", func() bool { return r.has("well") })
	r.end()
	web.Empty()
	web.Write(fakeengine.Record{Stamp: time.Now().Add(5 * time.Second), Text: "after\n"})
	r.begin()
	r.until("it doesn't go on in a log that was emptied", func() bool { return r.has("after") && r.said("does not hold any more") })
	r.end()
	for line, n := range r.lines {
		if n != 1 {
			t.Errorf("%q came %d times", line, n)
		}
	}
}

func TestContainerMatches(t *testing.T) {
	for _, bad := range []string{"", "name=", "label=", "label==x", "id=xyz", "id=abc", "colour=red", "image="} {
		if m, err := ParseContainerMatch(bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, m)
		}
	}
	for _, well := range []string{"web", "label=a.b", "label=a=b=c", "image=nginx:*", "id=0123456789ab"} {
		if m, err := ParseContainerMatch(well); err != nil || m.String() != well {
			t.Errorf("%q: %v, %v", well, m, err)
		}
	}
	if !wildcard("*a*b", "xxaxxb") || wildcard("a*b?", "ab") || !wildcard(strings.Repeat("*a", 30)+"*", strings.Repeat("a", 100)) || wildcard(strings.Repeat("*a", 30)+"b", strings.Repeat("a", 5000)) {
		t.Error("wildcards")
	}
}

// TestContainersNotAnswered: as long as the engine has not said what containers there are, nobody says that there are none.
func TestContainersNotAnswered(t *testing.T) {
	c := &Containers{}
	if got := c.Status(); len(got) != 1 || got[0].Error != "the engine has not answered yet" {
		t.Errorf("%+v", got)
	}
	c.setProblem("away")
	if got := c.Status(); got[0].Error != "away" {
		t.Errorf("%+v", got)
	}
	c.setProblem("")
	if got := c.Status(); !strings.HasPrefix(got[0].Error, "no container is there that is meant") {
		t.Errorf("%+v", got)
	}
}
