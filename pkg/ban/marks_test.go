package ban

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestMarks holds a window with marks against a model that keeps every failure there was, and
// counts from the beginning each time.
func TestMarks(t *testing.T) {
	type failure struct {
		at    int
		mark  Mark
		times int
	}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		retry, find := 1+r.IntN(6), 5+r.IntN(30)
		w := NewWindow(retry, time.Duration(find)*time.Second, 0)
		w.Mark(true)
		model := map[int][]failure{}
		moment := func(at int) time.Time { return time.Unix(1_000_000+int64(at), 0) }
		now := 0
		for step := range 200 {
			who := r.IntN(3)
			id := Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(who)}), 32))
			now += r.IntN(4)
			at := now
			user := uint64(r.IntN(3))
			if r.IntN(4) == 0 {
				// Taken back.
				could := 0
				var left []failure
				for _, f := range model[who] {
					if user != 0 && f.mark.User == user && f.at <= at {
						if f.at >= at-find {
							could += f.times
						}
						continue
					}
					left = append(left, f)
				}
				got := w.Forgivable(id, user, moment(at))
				w.Forgive(id, user, moment(at))
				if model[who] = left; got != could {
					t.Fatalf("seed %d, step %d: %d can be taken back, want %d", seed, step, got, could)
				}
				continue
			}
			f := failure{at, Mark{uint64(r.IntN(4)), user}, 1 + r.IntN(3)}
			wasAgain := false
			if f.mark.Value != 0 {
				same := 0
				model[who] = slices.DeleteFunc(model[who], func(o failure) bool {
					if o.mark.Value != f.mark.Value {
						return false
					}
					if o.at >= at-find {
						same = max(same, o.times)
						if o.mark.User != f.mark.User {
							f.mark.User = 0
						}
					}
					return true
				})
				wasAgain, f.times = same > 0, max(f.times, same)
			}
			f.times = min(f.times, retry)
			model[who] = append(model[who], f)
			want := 0
			for _, o := range model[who] {
				if o.at >= at-find {
					want += o.times
				}
			}
			count, due, again := w.AddMarked(id, moment(at), f.mark, f.times)
			if due != (want >= retry) || again != wasAgain || !due && count != want {
				t.Fatalf("seed %d, step %d: %d of %d, due %v, again %v; want %d, %v", seed, step, count, retry, due, again, want, wasAgain)
			}
			if due {
				delete(model, who)
			}
			if r.IntN(10) == 0 { // a restart
				next := NewWindow(retry, time.Duration(find)*time.Second, 0)
				next.Mark(true)
				w.Each(func(id ID, times []int64) {
					var list []time.Time
					for _, t := range times {
						list = append(list, TimeOf(t))
					}
					next.Restore(id, list)
				})
				for who := range 3 {
					id := Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(who)}), 32))
					next.RestoreMarks(id, w.Marks(id))
				}
				w = next
			}
		}
	}
}

// TestMarksOutOfOrder: a failure that comes late counts for when it was, and does not make another
// one of its value older; what comes later than a success is not taken back by it.
func TestMarksOutOfOrder(t *testing.T) {
	w := NewWindow(3, 10*time.Second, 0)
	w.Mark(true)
	id := Of(netip.MustParsePrefix("2001:db8::/64"))
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	a, b := Mark{Value: 1, User: 11}, Mark{Value: 2, User: 12}
	for i, c := range []struct {
		at   int
		mark Mark
		want string
	}{
		{20, a, "1 false false"}, {12, a, "1 false true"}, {29, b, "2 false false"}, {5, Mark{}, "2 false false"},
	} {
		n, due, again := w.AddMarked(id, at(c.at), c.mark, 1)
		if got := fmt.Sprint(n, due, again); got != c.want {
			t.Errorf("%d: %s, want %s", i, got, c.want)
		}
	}
	if n := w.Forgivable(id, 12, at(28)); n != 0 {
		t.Errorf("%d of later", n)
	}
	if n := w.Forgivable(id, 12, at(29)); n != 1 {
		t.Errorf("%d of the same moment", n)
	}
	if left := w.Forgive(id, 12, at(29)); left != 2 {
		t.Errorf("%d left", left)
	}
	w.Mark(false)
	if n, _ := w.Add(id, at(30)); n != 2 {
		t.Errorf("%d without marks", n)
	}
	w.Mark(true)
	if m := w.Marks(id); m != nil {
		t.Errorf("%v", m)
	}
}
