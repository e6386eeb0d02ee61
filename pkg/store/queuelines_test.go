package store

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"bailiff/pkg/ban"
)

// TestQueueLines: bans that wait for a database that can't be written, or is slow, hold
// no more than so many bytes of lines; those beyond are kept, with a word about it.
func TestQueueLines(t *testing.T) {
	broken := atomic.Bool{}
	broken.Store(true)
	with, without, total := 0, 0, 0
	q := NewQueue(func(batch []*Delta) error {
		if broken.Load() {
			return errors.New("disk full")
		}
		for _, d := range batch {
			for _, e := range d.Events {
				total++
				switch {
				case len(e.Matches) == 2:
					with++
				case len(e.Matches) == 1 && strings.HasPrefix(e.Matches[0], "[cut: 2 lines;"):
					without++
				}
			}
		}
		return nil
	}, func(error) {})
	line := strings.Repeat("x", 4<<10)
	const bans = 20_000
	push := func(n int) {
		for range n {
			q.Push(&Delta{Jail: "a", Events: []Event{{Ban: ban.Ban{}, Matches: []string{line, line}}}})
		}
	}
	push(bans)
	q.mu.Lock()
	held := q.lines
	q.mu.Unlock()
	if held > linesMost+bans*100 {
		t.Errorf("%d bytes of lines wait, at most %d", held, linesMost)
	}
	broken.Store(false)
	for q.Sync() != nil { // it is tried again by itself
	}
	push(10)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if total != bans+10 || with+without != total || with < linesMost/len(line)/2-1+10 || q.lines != 0 {
		t.Errorf("%d bans written, %d with lines and %d without; %d bytes of lines are left", total, with, without, q.lines)
	}
}
