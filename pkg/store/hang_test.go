package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/gatefs"
)

// TestGateServer is the process that serves a file system that hangs.
func TestGateServer(*testing.T) { gatefs.Serve() }

// within waits for what is promised soon.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatalf("waited in vain: %s", what)
	}
}

// TestHangingDisk: a disk that hangs in whatever it is asked, at the opening, at work and
// at the end, holds up who asks it and nobody else, the collector least of all; what was
// handed over meanwhile is written when it goes on, and nothing that was written is lost.
func TestHangingDisk(t *testing.T) {
	at, under := t.TempDir(), t.TempDir()
	f, err := gatefs.Mount(exec.Command("/proc/self/exe", "-test.run", "^TestGateServer$"), at, under)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	hang := func(ops ...string) {
		t.Helper()
		if err := f.Hang(ops...); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(at, "db.sqlite3")
	m := clock.NewManual(noon)
	n := 0
	next := func() *Delta {
		n++
		id := p(fmt.Sprintf("2001:db8::%x/128", n))
		return &Delta{Jail: "web", Events: []Event{{Ban: ban.Ban{ID: id, Start: noon, End: noon.Add(time.Hour)}}}}
	}
	known := func(s *Store) int {
		t.Helper()
		st, err := s.Load("web", noon)
		if err != nil {
			t.Fatal(err)
		}
		return len(st.Bans)
	}
	for _, op := range []string{"all", "open", "read", "write", "lookup", "getattr", "create", "unlink"} {
		t.Run(op, func(t *testing.T) {
			// At the opening.
			hang(op)
			type opened struct {
				s   *Store
				err error
			}
			got := make(chan opened, 1)
			go func() {
				s, err := Open(path, m.Clock)
				got <- opened{s, err}
			}()
			time.Sleep(20 * time.Millisecond) // so that it gets to where it hangs
			within(t, "the collector, while it is opened", runtime.GC)
			hang()
			var s *Store
			within(t, "it is open when the disk goes on", func() {
				o := <-got
				if s, err = o.s, o.err; err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.FailNow()
			}
			if before := known(s); before != n {
				t.Errorf("%d bans are known, want %d", before, n)
			}

			// At work.
			q := NewQueue(s.Write, func(error) {})
			q.Push(next())
			if err := q.Sync(); err != nil {
				t.Fatal(err)
			}
			if file, err := os.OpenFile(path, os.O_RDWR, 0); err == nil { // what is in memory goes to the disk
				_ = file.Sync()
				file.Close()
			}
			hang(op)
			asked := make(chan struct{})
			go func() { _, _, _ = s.BanCount("web", p("192.0.2.1"), false); close(asked) }()
			within(t, "to hand changes over", func() {
				for range 100 {
					q.Push(next())
				}
			})
			if op == "all" || op == "write" {
				within(t, "who waits for it is told", func() {
					if err := q.SyncFor(10 * time.Millisecond); !errors.Is(err, ErrSlow) {
						t.Errorf("%s hangs: %v", op, err)
					}
				})
			}
			within(t, "the collector, at work", runtime.GC)
			hang()
			within(t, "what waits is written", func() {
				if err := q.Sync(); err != nil {
					t.Error(err)
				}
			})
			within(t, "a question", func() { <-asked })
			if have := known(s); have != n {
				t.Errorf("%d bans are known, want %d", have, n)
			}

			// At the end.
			hang(op)
			q.Push(next())
			end := make(chan error, 1)
			go func() { end <- q.Close() }()
			time.Sleep(20 * time.Millisecond)
			within(t, "the collector, at the end", runtime.GC)
			hang()
			within(t, "the end", func() {
				if err := <-end; err != nil && !errors.Is(err, ErrSlow) {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			if s, err = Open(path, m.Clock); err != nil {
				t.Fatal(err)
			}
			if have := known(s); have != n {
				t.Errorf("%d bans are known after all, want %d", have, n)
			}
			s.Close()
		})
	}
}
