package jail

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Random histories: a jail with a real log, a real database, the queues of both and a
// kernel of the test's is played what can happen to it, and a plain model of what is
// right (clockmodel_test.go) is told the same. Whenever it is quiet, window, list,
// kernel, database, actions and model agree.
//
// A history that was wrong is made as short as can be and printed; it is kept as a file
// in testdata/histories, a step a line.

var histories = flag.Int("histories", usualHistories, "random histories to play")

// step is one thing that happens. What a and b mean is up to it.
type step struct {
	op   string
	a, b int
}

func (s step) String() string { return fmt.Sprintf("%s %d %d", s.op, s.a, s.b) }

func textOf(h []step) string {
	var b strings.Builder
	for _, s := range h {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

func parseHistory(text string) (h []step, err error) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		var s step
		if _, err := fmt.Sscan(line, &s.op, &s.a, &s.b); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		if ops[s.op] == nil {
			return nil, fmt.Errorf("%q: no such step", line)
		}
		h = append(h, s)
	}
	return h, nil
}

// usual are the steps of histories, those more often that happen more often.
var usual = strings.Fields(`lines lines lines lines lines lines lines noise partial rotate rotate rotate burst burst
	hold release release pass pass pass step suspend reload reload broken refused set set ban ban unban unban unbanall
	ignore heed stop kill start start crash crash dbdown dbup refuse accept flush foreign thief hang unhang ask`)

var stepOf = rapid.Custom(func(t *rapid.T) step {
	return step{rapid.SampledFrom(usual).Draw(t, "op"), rapid.IntRange(0, 11).Draw(t, "a"), rapid.IntRange(0, 11).Draw(t, "b")}
})

// played is how long is waited for what is right: for less, once one history was wrong
// and is made shorter.
var patient atomic.Bool

// playHistory plays one and returns what was wrong.
func playHistory(dir string, h []step) error {
	dir, err := os.MkdirTemp(dir, "history")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w, err := newWorld(dir)
	if err != nil {
		return err
	}
	defer w.close()
	for i, s := range h {
		w.ticks()
		if err := ops[s.op](w, s.a, s.b); err != nil {
			return fmt.Errorf("step %d, %v: %w\n%s", i+1, s, err, w.lastLog())
		}
		if err := w.quiet(); err != nil {
			return fmt.Errorf("after step %d, %v: %w\n%s", i+1, s, err, w.lastLog())
		}
	}
	if err := w.end(); err != nil {
		return fmt.Errorf("at the end: %w\n%s", err, w.lastLog())
	}
	return nil
}

// TestHistories plays random ones, others each time, and looks whether something was
// left behind.
func TestHistories(t *testing.T) {
	const workers = 16
	if err := playHistory(t.TempDir(), nil); err != nil { // what is there for good is there by now
		t.Fatal(err)
	}
	goroutines, descriptors := atWork(), openFiles(t)
	_ = flag.Set("rapid.checks", fmt.Sprint((*histories+workers-1)/workers))
	_ = flag.Set("rapid.nofailfile", "true")
	patient.Store(true)
	t.Run("random", func(t *testing.T) {
		for i := range workers {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				rapid.Check(t, func(r *rapid.T) {
					h := rapid.SliceOfN(stepOf, 1, 24).Draw(r, "history")
					if err := playHistory(dir, h); err != nil {
						patient.Store(false)
						r.Fatalf("%v\nhistory:\n%s", err, textOf(h))
					}
				})
			})
		}
	})
	if t.Failed() {
		return
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		g, d := atWork(), openFiles(t)
		if g <= goroutines && len(d) <= len(descriptors) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left are %d goroutines of ours, before it were %d; descriptors %q, before it %q\n%s", g, goroutines, d, descriptors, stacks())
		}
	}
}

// TestKeptHistories plays those that were wrong once.
func TestKeptHistories(t *testing.T) {
	files, err := filepath.Glob("testdata/histories/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no histories", err)
	}
	patient.Store(true)
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			h, err := parseHistory(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := playHistory(t.TempDir(), h); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func stacks() string {
	buf := make([]byte, 4<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// atWork is how many goroutines are somewhere in this program's packages.
func atWork() (n int) {
	for s := range strings.SplitSeq(stacks(), "\n\n") {
		if strings.Contains(s, "bailiff/pkg/") && !strings.Contains(s, "testing.tRunner") {
			n++
		}
	}
	return n
}

func openFiles(t *testing.T) (out []string) {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if to, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil {
			out = append(out, to)
		}
	}
	return out
}
