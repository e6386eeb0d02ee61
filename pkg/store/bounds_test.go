package store

import (
	"fmt"
	"testing"
)

// TestManyPositions: of positions that wait for a database that can't be written, those of
// files that are gone are forgotten beyond a bound; those of files that are there are not.
func TestManyPositions(t *testing.T) {
	at := func(i int, gone bool) *Delta {
		k := LogKey{"a.log", 1, uint64(i)}
		return &Delta{Jail: "a", Logs: map[LogKey]Position{k: {Path: "a.log", Dev: 1, Inode: uint64(i), Offset: int64(i), Gone: gone}}}
	}
	q := NewQueue(func([]*Delta) error { return fmt.Errorf("disk full") }, func(error) {})
	defer q.Close()
	const there = 100
	most := 0
	for i := range 4 * logsMost {
		q.Push(at(i, i%(4*logsMost/there) != 0))
		q.mu.Lock()
		n := 0
		for _, list := range [][]*Delta{q.waiting, q.writing} {
			for _, d := range list {
				n += len(d.Logs)
			}
		}
		most = max(most, n)
		q.mu.Unlock()
	}
	if most > 2*logsMost+there { // one set of them may be on its way
		t.Errorf("%d positions wait, at most %d", most, logsMost)
	}
	if most < logsMost/2 {
		t.Errorf("only %d positions ever waited", most)
	}
	for q.Sync() == nil { // until the last ones were tried, too
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := 0
	for _, list := range [][]*Delta{q.waiting, q.writing} {
		for _, d := range list {
			for _, p := range d.Logs {
				if !p.Gone {
					kept++
				}
			}
		}
	}
	if kept != there {
		t.Errorf("%d of %d positions of files that are there wait", kept, there)
	}
}
