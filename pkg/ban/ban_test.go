package ban

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * 1e9)) }

func id(s string) ID {
	if p, err := netip.ParsePrefix(s); err == nil {
		return Of(p)
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return Of(netip.PrefixFrom(a, a.BitLen()))
	}
	return Named(s)
}

// TestWindowDefinition compares the window with its definition: maxretry of an
// address's failures lie within findtime, looking at all of them anew each time.
func TestWindowDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		maxRetry := 1 + rng.IntN(5)
		findTime := time.Duration(1+rng.IntN(30)) * time.Second
		w := NewWindow(maxRetry, findTime, 0)
		seen := map[ID][]time.Time{}
		now := 0.0
		for step := range 200 {
			now += rng.Float64() * 6
			when := now
			if rng.IntN(5) == 0 {
				when -= rng.Float64() * 20 // a line that comes late
			}
			who := id(fmt.Sprintf("192.0.2.%d", rng.IntN(3)))
			times := append(seen[who], at(when))
			slices.SortFunc(times, time.Time.Compare)
			want := false
			for i := maxRetry - 1; i < len(times); i++ {
				if times[i].Sub(times[i-maxRetry+1]) <= findTime {
					want = true
				}
			}
			// Only the newest can be due: earlier ones were, and began anew.
			seen[who] = times
			_, due := w.Add(who, at(when))
			if due {
				delete(seen, who)
			}
			if due && !want {
				t.Fatalf("round %d step %d: due without %d failures in %v", round, step, maxRetry, findTime)
			}
			latest := times[len(times)-1]
			inWindow := 0
			for _, x := range times {
				if latest.Sub(x) <= findTime {
					inWindow++
				}
			}
			if !due && inWindow >= maxRetry {
				t.Fatalf("round %d step %d: %d failures within %v of the latest, and not due at %d", round, step, inWindow, findTime, maxRetry)
			}
		}
	}
}

func TestWindowEdges(t *testing.T) {
	a := id("192.0.2.7")
	for _, c := range []struct {
		name  string
		times []float64
		due   []bool // findtime 10 s, maxretry 3
	}{
		{"three at once", []float64{0, 0, 0}, []bool{false, false, true}},
		{"the first is just within", []float64{0, 5, 10}, []bool{false, false, true}},
		{"the first is just too old", []float64{0, 5, 10.001}, []bool{false, false, false}},
		{"begins anew after a ban", []float64{0, 1, 2, 3, 4, 5}, []bool{false, false, true, false, false, true}},
		{"a late line counts by its own time", []float64{10, 12, 5}, []bool{false, false, true}},
		{"a very late line does not", []float64{20, 22, 5}, []bool{false, false, false}},
	} {
		w := NewWindow(3, 10*time.Second, 0)
		for i, s := range c.times {
			if _, due := w.Add(a, at(s)); due != c.due[i] {
				t.Errorf("%s: failure %d at %v: due %v, want %v", c.name, i, s, due, c.due[i])
			}
		}
	}
}

func TestWindowIsBounded(t *testing.T) {
	w := NewWindow(3, time.Minute, 100)
	victim := id("2001:db8::1")
	w.Add(victim, at(0))
	for i := range 1000 {
		w.Add(id(fmt.Sprintf("192.0.%d.%d", i/250, i%250)), at(float64(i)/100))
		if i%50 == 0 && w.Forget(id("198.51.100.1")) {
			t.Fatal("forgot what was never added")
		}
	}
	if w.Len() != 100 || w.Total() != 1001 {
		t.Errorf("holds %d addresses of %d failures, want 100 of 1001", w.Len(), w.Total())
	}
	if w.Forget(victim) {
		t.Error("the oldest was kept while younger ones went")
	}
	w.Expire(at(9.99 + 60))
	if w.Len() != 1 {
		t.Errorf("after expiry %d, want the last one only", w.Len())
	}
	if !w.Forget(id("192.0.3.249")) || w.Len() != 0 {
		t.Error("the last could not be forgotten")
	}
}

func TestList(t *testing.T) {
	l := NewList()
	add := func(name string, end float64) {
		b := Ban{ID: id(name), Start: at(0)}
		if end > 0 {
			b.End = at(end)
		}
		l.Add(b)
	}
	add("192.0.2.1", 30)
	add("192.0.2.2", 10)
	add("198.51.100.0/24", 20)
	add("192.0.2.3", 0)
	add("192.0.2.1", 15) // shorter: stays at 30
	if b, _ := l.Get(id("192.0.2.1")); !b.End.Equal(at(30)) {
		t.Error("a ban was shortened")
	}
	add("192.0.2.2", 25)
	if end, ok := l.NextEnd(); !ok || !end.Equal(at(20)) {
		t.Errorf("next end %v", end)
	}
	if b, ok := l.Covering(id("198.51.100.9")); !ok || b.ID != id("198.51.100.0/24") {
		t.Error("the network does not cover its address")
	}
	if _, ok := l.Covering(id("198.51.101.9")); ok {
		t.Error("the network covers a foreign address")
	}
	if n := l.Inside(id("198.51.0.0/16")); len(n) != 1 {
		t.Errorf("inside of the network: %v", n)
	}
	var ended []string
	for _, b := range l.Expire(at(25)) {
		ended = append(ended, Name(b.ID))
	}
	if fmt.Sprint(ended) != "[198.51.100.0/24 192.0.2.2]" {
		t.Errorf("ended: %v", ended)
	}
	if l.Len() != 2 || l.Total() != 4 {
		t.Errorf("%d of %d", l.Len(), l.Total())
	}
	if _, ok := l.Remove(id("192.0.2.3")); !ok {
		t.Error("the permanent ban is not there")
	}
	if _, ok := l.Covering(id("198.51.100.9")); ok {
		t.Error("a ban that ended still covers")
	}
	if got := (Ban{}).Left(at(0)); got != 0 {
		t.Errorf("a permanent ban has %v left", got)
	}
	if got := (Ban{End: at(1)}).Left(at(5)); got <= 0 {
		t.Errorf("a ban at its end has %v left: 0 would mean for ever", got)
	}
}

func TestGroups(t *testing.T) {
	l := NewList()
	l.Group(24, 48)
	for i := range 5 {
		l.Add(Ban{ID: id(fmt.Sprintf("198.51.100.%d", i))})
		l.Add(Ban{ID: id(fmt.Sprintf("2001:db8:1:%x::/64", i))})
	}
	l.Add(Ban{ID: id("198.51.100.0")}) // once more
	l.Add(Ban{ID: id("198.51.101.1")})
	l.Add(Ban{ID: id("198.51.0.0/16")}) // wider than a group
	for in, want := range map[string]int{"198.51.100.77": 5, "198.51.101.77": 1, "198.51.102.77": 0, "2001:db8:1:ffff::1": 5} {
		if network, n := l.Grouped(id(in)); n != want || !network.Holds(id(in)) {
			t.Errorf("%s: %d in %v, want %d", in, n, network, want)
		}
	}
	l.Remove(id("198.51.100.3"))
	if _, n := l.Grouped(id("198.51.100.3")); n != 4 {
		t.Errorf("after one was lifted: %d", n)
	}
	if network, _ := l.Grouped(id("198.51.0.0/16")); network.IsValid() {
		t.Errorf("a network in a narrower one: %v", network)
	}
	if b, ok := l.Covering(id("198.51.7.7")); !ok || b.ID != id("198.51.0.0/16") {
		t.Error("the wide network does not cover")
	}
	if in := l.Inside(id("198.51.0.0/16")); len(in) != 5 {
		t.Errorf("inside: %v", in)
	}
}

// TestWindowModel does what comes to a window at random, and to a plain list beside it.
func TestWindowModel(t *testing.T) {
	const limit, findTime = 40, 60
	type one struct {
		id    ID
		times []float64
	}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		retries := []int{3, 1, 5, 120}[seed%4]
		w := NewWindow(retries, findTime*time.Second, limit)
		w.Note = 100
		changed := map[ID]bool{}
		var model []one
		find := func(p ID) int {
			return slices.IndexFunc(model, func(o one) bool { return o.id == p })
		}
		for step := range 5000 {
			now := float64(step)
			p := id(fmt.Sprintf([]string{"192.0.2.%d", "2001:db8::%x", "::ffff:192.0.2.%d", "session %d"}[r.IntN(4)], r.IntN(30)))
			if seed%5 == 4 && r.IntN(300) == 0 {
				retries = 1 + r.IntN(130)
				w.Limit(retries, findTime*time.Second)
			}
			switch r.IntN(20) {
			case 0:
				i := find(p)
				if got := w.Forget(p); got != (i >= 0) {
					t.Fatalf("seed %d, step %d: forget %v: %v", seed, step, p, got)
				}
				if i >= 0 {
					model = slices.Delete(model, i, i+1)
				}
			case 1:
				var want []ID
				for len(model) > 0 && now-model[0].times[len(model[0].times)-1] > findTime {
					want, model = append(want, model[0].id), model[1:]
				}
				if got := w.Expire(at(now)); !slices.Equal(got, want) {
					t.Fatalf("seed %d, step %d: expired %v, want %v", seed, step, got, want)
				}
			default:
				when := now - float64(r.IntN(3)*r.IntN(30)) // now and then a late one
				o := one{id: p}
				if i := find(p); i >= 0 {
					o = model[i]
					model = slices.Delete(model, i, i+1)
				} else if len(model) == limit {
					model = model[1:]
				}
				o.times = append(slices.Clone(o.times), when)
				slices.Sort(o.times)
				o.times = o.times[max(len(o.times)-retries, 0):]
				count := 0
				for _, x := range o.times {
					if x >= o.times[len(o.times)-1]-findTime {
						count++
					}
				}
				if count < retries {
					model = append(model, o)
				}
				changed[p] = true
				if got, due := w.Add(p, at(when)); got != count || due != (count >= retries) {
					t.Fatalf("seed %d, step %d: %v: %d %v, want %d", seed, step, p, got, due, count)
				}
			}
			if r.IntN(20) == 0 || w.Changes() > 90 {
				got := map[ID]bool{}
				for _, p := range w.Changed() {
					got[p] = true
				}
				if !maps.Equal(got, changed) || w.Changes() != 0 {
					t.Fatalf("seed %d, step %d: changed %v, want %v", seed, step, got, changed)
				}
				clear(changed)
			}
			i := 0
			w.Each(func(p ID, times []int64) {
				same := i < len(model) && model[i].id == p && slices.EqualFunc(times, model[i].times, func(a int64, b float64) bool { return TimeOf(a).Equal(at(b)) })
				if !same {
					t.Fatalf("seed %d, step %d: no. %d is %v %v", seed, step, i, p, times)
				}
				i++
			})
			if i != len(model) || w.Len() != len(model) || w.Count(p) != len(w.Times(p)) {
				t.Fatalf("seed %d, step %d: %d entries, want %d", seed, step, i, len(model))
			}
		}
	}
}

// TestWindowMemory: an address with one failure takes at most 150 bytes of a full
// window, and what a flood took is given back.
func TestWindowMemory(t *testing.T) {
	used := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := used()
	w := NewWindow(5, 10*time.Minute, 0)
	for i := range 3 * DefaultTracked {
		w.Add(id(fmt.Sprintf("2001:db8:%x::%x", i>>16, i&0xffff)), at(float64(i)/1000))
	}
	if each := (used() - before) / DefaultTracked; each > 150 || w.Len() != DefaultTracked {
		t.Errorf("%d bytes for each of %d", each, w.Len())
	}
	if n := len(w.Expire(at(1e6))); n != DefaultTracked || w.Len() != 0 {
		t.Errorf("%d forgotten, %d left", n, w.Len())
	}
	if left := used() - before; left > 1<<20 {
		t.Errorf("%d bytes are left", left)
	}
	runtime.KeepAlive(w)
}

// TestWindowNear: a window counts the same wherever it is told to look first, also when it forgets, has
// no room or bans, and says where the address is.
func TestWindowNear(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 30 {
		alone, near := NewWindow(4, time.Minute, 12), NewWindow(4, time.Minute, 12)
		alone.Note, near.Note = 1000, 1000
		places := map[ID]int32{}
		for n := range 400 {
			id := Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(r.IntN(16))}), 32))
			at := now.Add(time.Duration(n+r.IntN(20)) * time.Second)
			hint := places[id]
			switch r.IntN(8) {
			case 0:
				hint = int32(r.IntN(40)) - 2
			case 1:
				hint = 0
			case 2:
				if alone.Forget(id) != near.Forget(id) {
					t.Fatalf("step %d: only one knows %v", n, id)
				}
			case 3:
				if a, b := alone.Expire(at), near.Expire(at); !slices.Equal(a, b) {
					t.Fatalf("step %d: %v are forgotten, want %v", n, b, a)
				}
			}
			count, due := alone.Add(id, at)
			gotCount, gotDue, place := near.AddNear(id, at, hint)
			if gotCount != count || gotDue != due {
				t.Fatalf("step %d: %d, %v; want %d, %v", n, gotCount, gotDue, count, due)
			}
			if at, ok := near.place(keyOf(id), 0); ok == due || ok && at != place {
				t.Fatalf("step %d: it is said to be at %d, and is at %d, %v", n, place, at, ok)
			}
			places[id] = place
			if r.IntN(50) == 0 {
				if a, b := alone.Changed(), near.Changed(); !slices.Equal(a, b) {
					t.Fatalf("step %d: %v changed, want %v", n, b, a)
				}
			}
		}
		if alone.Len() != near.Len() || alone.Total() != near.Total() {
			t.Fatalf("%d addresses, %d failures; want %d, %d", near.Len(), near.Total(), alone.Len(), alone.Total())
		}
	}
}

func BenchmarkWindow(b *testing.B) {
	w := NewWindow(5, 10*time.Minute, 0)
	ids := make([]ID, 50_000)
	for i := range ids {
		ids[i] = id(fmt.Sprintf("2001:db8::%x", i))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.Add(ids[i%len(ids)], at(float64(i)/1000))
	}
}
