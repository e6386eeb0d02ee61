package chain

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type entry struct {
	Links[entry]
	n int
}

// TestList: whatever is appended, removed and moved, a list has the order of a slice in which
// the same is done, from both ends.
func TestList(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var l List[entry, *entry]
		var want []*entry
		for step := range 200 {
			at := r.IntN(len(want) + 3)
			switch {
			case at >= len(want):
				want = append(want, &entry{n: step})
				l.Append(want[len(want)-1])
			case r.IntN(2) == 0:
				e := want[at]
				l.Remove(e)
				want = slices.Delete(want, at, at+1)
				if e.Links != (Links[entry]{}) {
					t.Fatalf("seed %d, step %d: what was removed has links", seed, step)
				}
			default:
				e := want[at]
				l.Remove(e)
				l.Append(e)
				want = append(slices.Delete(want, at, at+1), e)
			}
			if got := slices.Collect(l.All()); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: %v, want %v", seed, step, got, want)
			}
			var back []*entry
			for e := l.Last(); e != nil; e = e.prev {
				back = append(back, e)
			}
			if slices.Reverse(back); !slices.Equal(back, want) || l.First() != slices.Concat(want, []*entry{nil})[0] {
				t.Fatalf("seed %d, step %d: from its end %v, want %v", seed, step, back, want)
			}
		}
	}
}

// TestRemoveWhileGoing: the element at which a walk is may be taken out.
func TestRemoveWhileGoing(t *testing.T) {
	var l List[entry, *entry]
	for n := range 6 {
		l.Append(&entry{n: n})
	}
	for e := range l.All() {
		if e.n%2 == 0 {
			l.Remove(e)
		}
	}
	var got []int
	for e := range l.All() {
		got = append(got, e.n)
		if e.n == 3 {
			break
		}
	}
	if !slices.Equal(got, []int{1, 3}) {
		t.Errorf("%v", got)
	}
}
