package source

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

var (
	rotations = flag.Int("rotations", 10, "rotations of each kind in TestRotations; make soak takes more")
	rate      = flag.Int("rate", 0, "lines a second that TestRotations writes in all; 0: 100,000, or 20,000 under the race detector")
)

// TestRotations: four logs are written at 100,000 lines a second in all, each
// rotated again and again in a manner of its own, and every line arrives once. A
// log that is copied and emptied loses what was written between copy and
// emptying, and what nobody had read by then; the test empties it when the reader
// is at its end, and then nothing may be missing. One that is deleted before anybody has
// opened it is lost; the test deletes it when something of it was read.
func TestRotations(t *testing.T) {
	perSecond := *rate
	if perSecond == 0 {
		perSecond = 100_000
		if raced {
			perSecond = 20_000
		}
	}
	kinds := []struct {
		name   string
		rotate func(path string, n int) error
		// keeps: the writer goes on with the file that it has for 500 lines.
		keeps bool
		empty bool
		gone  bool
	}{
		{name: "renamed", keeps: true, rotate: func(path string, n int) error { return os.Rename(path, fmt.Sprintf("%s.%d", path, n)) }},
		{name: "deleted", gone: true, rotate: func(path string, _ int) error { return os.Remove(path) }},
		{name: "linked", keeps: true, rotate: func(path string, n int) error {
			next := fmt.Sprintf("%s-%d", path, n)
			if err := os.WriteFile(next, nil, 0o644); err != nil {
				return err
			}
			if err := os.Symlink(next, path+".new"); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}},
		{name: "emptied", empty: true, rotate: func(path string, _ int) error { return os.Truncate(path, 0) }},
	}
	dir := t.TempDir()
	for _, k := range kinds { // a log that comes and goes before it was ever seen is nobody's
		path := filepath.Join(dir, k.name+".log")
		var err error
		if k.name == "linked" {
			err = k.rotate(path, -1)
		} else {
			err = os.WriteFile(path, nil, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	src := &Files{Globs: []string{filepath.Join(dir, "*.log")}}
	var mu sync.Mutex
	got := map[string][]byte{} // by kind: how often each line came
	last := map[string]int{}
	out := make(chan Batch, 4)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go src.Run(ctx, out)
	hosttest.Soon(func() bool { return len(src.Status()) >= len(kinds) })
	gathered := make(chan struct{})
	bad := 0
	go func() {
		defer close(gathered)
		for {
			var b Batch
			select {
			case b = <-out:
			case <-ctx.Done():
				return
			}
			mu.Lock()
			for _, l := range b.Lines {
				kind, number, _ := strings.Cut(string(l), " ")
				number, _, _ = strings.Cut(number, " ")
				n, err := strconv.Atoi(number)
				if err != nil || !strings.HasSuffix(string(l), " end") {
					if bad++; bad < 5 {
						t.Errorf("a line that nobody wrote: %q", l)
					}
					continue
				}
				for len(got[kind]) <= n {
					got[kind] = append(got[kind], 0)
				}
				got[kind][n]++
				last[kind] = max(last[kind], n)
			}
			mu.Unlock()
		}
	}()

	written := map[string]int{}
	var wg sync.WaitGroup
	for _, k := range kinds {
		wg.Go(func() {
			path := filepath.Join(dir, k.name+".log")
			open := func() *os.File {
				f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
				if err != nil {
					t.Error(err)
				}
				return f
			}
			f := open()
			n := 0
			const piece = 100
			write := func(lines int) {
				var b strings.Builder
				for range lines {
					fmt.Fprintf(&b, "%s %d some more text as a log line has it end\n", k.name, n)
					n++
				}
				if _, err := f.WriteString(b.String()); err != nil {
					t.Error(err)
				}
			}
			each := time.Second * piece / time.Duration(perSecond/len(kinds))
			due := time.Now()
			for r := range *rotations {
				for range 5000 / piece {
					write(piece)
					due = due.Add(each)
					time.Sleep(time.Until(due))
				}
				if k.empty || k.gone {
					// The reader has come to the end, or has begun.
					least := n - 1
					if k.gone {
						least = n - 5000
					}
					for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
						mu.Lock()
						done := last[k.name] >= least
						mu.Unlock()
						if done {
							break
						}
					}
				}
				if err := k.rotate(path, r); err != nil {
					t.Error(err)
					return
				}
				if k.keeps {
					write(250)
					time.Sleep(30 * time.Millisecond)
					write(250)
				}
				if !k.empty {
					f.Close()
					f = open()
				}
				due = time.Now()
			}
			write(piece)
			f.Close()
			mu.Lock()
			written[k.name] = n
			mu.Unlock()
		})
	}
	wg.Wait()
	complete := func() bool {
		mu.Lock()
		defer mu.Unlock()
		for kind, n := range written {
			seen := 0
			for _, c := range got[kind] {
				if c > 0 {
					seen++
				}
			}
			if seen < n {
				return false
			}
		}
		return true
	}
	hosttest.Soon(func() bool { return complete() })
	cancel()
	<-gathered
	for _, k := range kinds {
		lost, repeated := written[k.name]-len(got[k.name]), 0
		for _, c := range got[k.name] {
			switch {
			case c == 0:
				lost++
			case c > 1:
				repeated++
			}
		}
		t.Logf("%s: %d lines over %d rotations, %d lost, %d repeated", k.name, written[k.name], *rotations, lost, repeated)
		if lost != 0 || repeated != 0 {
			t.Errorf("%s: %d lines lost, %d repeated", k.name, lost, repeated)
		}
	}
}
