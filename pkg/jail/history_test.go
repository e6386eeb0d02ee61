package jail

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/pkg/fair"
)

// Random histories: a jail with a real log, a real database, the queues of both and a
// kernel of the test's is played what can happen to it, and a plain model of what is
// right (clockmodel_test.go) is told the same. Whenever it is quiet, window, list,
// kernel, database, actions and model agree.
//
// A history that was wrong is made as short as can be and printed; it is kept as a file
// in testdata/histories, a step a line.

var (
	histories   = flag.Int("histories", usualHistories, "random histories to play")
	historySeed = flag.Uint64("history.seed", 0, "their seed; 0: another one each time")
	historyWait = flag.Duration("history.wait", 30*time.Second, "how long is waited for what is right")
	historyTime = flag.Duration("history.time", 0, "begin none after this time; 0: play them all")
)

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

// randomHistory is the n-th of a seed: a short one or a long one.
func randomHistory(seed, n uint64) []step {
	r := rand.New(rand.NewPCG(seed, n))
	h := make([]step, 1+r.IntN([]int{8, 16, 24, 40}[r.IntN(4)]))
	for i := range h {
		h[i] = step{usual[r.IntN(len(usual))], r.IntN(12), r.IntN(12)}
	}
	return h
}

// patient is how long is waited for what is right: for less, once one history was wrong
// and is made shorter.
var patient atomic.Bool

// playHistory plays one and returns what was wrong.
func playHistory(dir string, h []step) error {
	return playHistoryOn(dir, h, ownSets{elements{}})
}

func playHistoryOn(dir string, h []step, sets sets) error {
	dir, err := os.MkdirTemp(dir, "history")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w, err := newWorld(dir, sets)
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

// atOnce is how many are played at once: mostly, each waits for something.
const atOnce = 12

// TestHistories plays random ones, others each time, and looks whether something was
// left behind. Those that were wrong are made shorter: fewer steps, smaller numbers.
func TestHistories(t *testing.T) {
	if err := playHistory(t.TempDir(), nil); err != nil { // what is there for good is there by now
		t.Fatal(err)
	}
	fair.GiveWay() // it keeps a descriptor
	goroutines, descriptors := atWork(), openFiles(t)
	seed := *historySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	var next, steps, wrong atomic.Uint64
	played := make([]atomic.Bool, *histories)
	begun, dir := time.Now(), t.TempDir()
	patient.Store(true)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for {
				n := next.Add(1) - 1
				if n >= uint64(*histories) || *historyTime > 0 && time.Since(begun) > *historyTime || wrong.Load() >= 40 {
					return
				}
				h := randomHistory(seed, n)
				if err := playHistory(dir, h); err != nil {
					wrong.Add(1)
					t.Errorf("history %d of seed %d: %v\nhistory:\n%s", n, seed, err, textOf(h))
					if short, err := shorten(dir, h); err != nil {
						t.Errorf("history %d of seed %d, made shorter: %v\nhistory:\n%s", n, seed, err, textOf(short))
					} else {
						t.Logf("history %d of seed %d: it was wrong once, and right %d times after", n, seed, retries)
					}
				}
				played[n].Store(true)
				steps.Add(uint64(len(h)))
			}
		})
	}
	wg.Wait()
	n := 0
	for i := range played {
		if played[i].Load() {
			n++
		}
	}
	t.Logf("seed %d: %d histories of %d steps in all, %d wrong", seed, n, steps.Load(), wrong.Load())
	if t.Failed() {
		return
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		g, d := atWork(), openFiles(t)
		if g <= goroutines && len(d) <= len(descriptors) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left are %d goroutines of ours, before it were %d; descriptors %q, before it %q\n%s", g, goroutines, d, descriptors, stacks())
		}
	}
}

// retries is how often a history is played that was wrong once: threads meet at other
// moments each time.
const retries = 5

// shorten makes a history that is wrong as short as can be, within two minutes. It
// returns no error if it was right each time.
func shorten(dir string, h []step) ([]step, error) {
	patient.Store(false)
	end := time.Now().Add(2 * time.Minute)
	fails := func(h []step) (err error) {
		for n := 0; n < retries && err == nil && time.Now().Before(end); n++ {
			err = playHistory(dir, h)
		}
		return err
	}
	was := fails(h)
	if was == nil {
		return h, nil
	}
	try := func(some []step) bool {
		err := fails(some)
		if err != nil {
			h, was = some, err
		}
		return err != nil
	}
	for size := max(len(h)/2, 1); ; size = max(size/2, 1) {
		some := false
		for at := 0; at < len(h); {
			if n := min(size, len(h)-at); try(slices.Delete(slices.Clone(h), at, at+n)) {
				some = true
			} else {
				at += n
			}
		}
		if size == 1 && !some {
			break
		}
	}
	for i := range h {
		for _, s := range []step{{h[i].op, 0, 0}, {h[i].op, 0, h[i].b}, {h[i].op, h[i].a, 0}} {
			if s == h[i] {
				break
			}
			some := slices.Clone(h)
			if some[i] = s; try(some) {
				break
			}
		}
	}
	return h, was
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
