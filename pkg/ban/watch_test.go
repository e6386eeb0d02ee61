package ban

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// watched keeps what a watcher was told, and who was let in who is still shut out.
type watched struct {
	shut map[ID]bool
	gaps []ID
	list *List
}

func (w *watched) Shut(id ID) { w.shut[id] = true }

func (w *watched) Let(id ID) {
	delete(w.shut, id)
	if _, still := w.list.Holder(id); still {
		w.gaps = append(w.gaps, id)
	}
}

// TestWatch compares what a watcher is told with the list, over random changes: bans that
// come, get longer, go and end, of addresses, networks, names, and addresses beside names.
func TestWatch(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := NewList()
		w := &watched{shut: map[ID]bool{}, list: l}
		ids := []ID{id("192.0.2.1"), id("192.0.2.2"), id("192.0.2.0/24"), id("2001:db8::/64"), Named("alice"), Named("bob")}
		beside := []Address{{}, {}, AddressOf(netip.MustParseAddr("192.0.2.1")), AddressOf(netip.MustParseAddr("198.51.100.9"))}
		for step := range 200 {
			now := at(float64(step))
			if step == 20 {
				l.Watch(w)
			}
			b := Ban{ID: ids[rng.IntN(len(ids))], Start: now, End: now.Add(time.Duration(1+rng.IntN(40)) * time.Second)}
			if b.ID.IsName() || rng.IntN(4) == 0 {
				b.IP = beside[rng.IntN(len(beside))]
			}
			switch rng.IntN(4) {
			case 0:
				l.Remove(b.ID)
			case 1:
				l.Expire(now)
			default:
				l.Add(b)
			}
			if step < 20 {
				continue
			}
			want := map[ID]bool{}
			for _, b := range l.All() {
				if e := b.Element(); e.IsValid() {
					want[e] = true
				}
			}
			if !maps.Equal(w.shut, want) {
				t.Fatalf("seed %d, step %d: told %v, want %v", seed, step, w.shut, want)
			}
		}
		if len(w.gaps) > 0 {
			t.Fatalf("seed %d: let in while they were shut out: %v", seed, w.gaps)
		}
		told := len(w.shut)
		l.Watch(nil)
		l.Add(Ban{ID: id("203.0.113.1"), Start: at(0)})
		if len(w.shut) != told {
			t.Error("it is told after the end")
		}
	}
}
