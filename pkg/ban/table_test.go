package ban

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// TestListModel: a list does what a map and a sort would do, with addresses, networks, names,
// bans for ever and with an address beside.
func TestListModel(t *testing.T) {
	type one struct {
		Ban
		no int
	}
	r := rand.New(rand.NewPCG(1, 2))
	begin := time.Date(2026, 1, 31, 12, 0, 0, 123456789, time.UTC)
	ids := make([]ID, 0, 600)
	for i := range 600 {
		switch i % 6 {
		case 0:
			ids = append(ids, Named(fmt.Sprint("session-", i)))
		case 1:
			ids = append(ids, Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(i), 0}), 24)))
		case 2:
			ids = append(ids, Of(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 15: byte(i), 14: byte(i >> 8)}), 128)))
		default:
			ids = append(ids, Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 32)))
		}
	}
	l, model, no := NewList(), map[ID]one{}, 0
	ends := func(a, b Ban) bool { // whether a ends before b
		return !a.Permanent() && (b.Permanent() || a.End.Before(b.End))
	}
	for step := range 60_000 {
		at := begin.Add(time.Duration(step) * time.Second / 7)
		id := ids[r.IntN(len(ids))]
		switch k := r.IntN(10); {
		case step%20_000 == 19_999: // all go, and their memory with them
			for _, b := range l.All() {
				l.Remove(b.ID)
			}
			clear(model)
		case k < 6:
			b := Ban{ID: id, Start: at, End: at.Add(time.Duration(r.Int64N(int64(10 * time.Minute)))), Count: r.IntN(5), Failures: r.IntN(9), Forced: r.IntN(5) == 0}
			if r.IntN(50) == 0 {
				b.End = time.Time{}
			}
			if r.IntN(8) == 0 {
				b.IP = AddressOf(netip.AddrFrom4([4]byte{203, 0, 113, byte(r.IntN(9))}))
			}
			old, held := l.Add(b)
			was, ok := model[id]
			if held != ok || held && old != was.Ban {
				t.Fatalf("step %d: Add(%v) = %v, %v; want %v, %v", step, b, old, held, was.Ban, ok)
			}
			if !ok || ends(was.Ban, b) {
				no++
				model[id] = one{b, no}
			}
		case k < 8:
			got, ok := l.Remove(id)
			if want, had := model[id]; ok != had || ok && got != want.Ban {
				t.Fatalf("step %d: Remove(%v) = %v, %v; want %v", step, id, got, ok, want)
			}
			delete(model, id)
		case k < 9:
			for _, b := range l.ExpireSome(at, 3) {
				if b != model[b.ID].Ban || b.End.After(at) {
					t.Fatalf("step %d: %v has ended, of %v", step, b, model[b.ID])
				}
				for _, o := range model {
					if ends(o.Ban, b) {
						t.Fatalf("step %d: %v before %v", step, b, o)
					}
				}
				delete(model, b.ID)
			}
		default:
			got, ok := l.Get(id)
			if want, had := model[id]; ok != had || got != want.Ban {
				t.Fatalf("step %d: Get(%v) = %v, %v; want %v", step, id, got, ok, want)
			}
		}
		if l.Len() != len(model) {
			t.Fatalf("step %d: %d bans, not %d", step, l.Len(), len(model))
		}
		if step%1000 == 0 {
			var want []Ban
			for _, o := range slices.SortedFunc(maps.Values(model), func(a, b one) int { return cmp.Compare(a.no, b.no) }) {
				want = append(want, o.Ban)
			}
			if got := l.All(); !slices.Equal(got, want) {
				t.Fatalf("step %d: %d bans in another order or others than %d", step, len(got), len(want))
			}
		}
	}
}

// TestEachMeanwhile: bans may go while they are gone through, all of them, too.
func TestEachMeanwhile(t *testing.T) {
	l := NewList()
	for i := range 5000 {
		l.Add(Ban{ID: Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 32)), Start: at(0), End: at(10)})
	}
	n := 0
	for b := range l.Each() {
		if n++; n == 10 {
			l.Expire(at(20))
			l.Add(b)
		}
	}
	if n != 10 {
		t.Errorf("%d bans, of which 4,990 had ended", n)
	}
}

// TestListMemory: what a ban takes.
func TestListMemory(t *testing.T) {
	if size := unsafe.Sizeof(place{}); size != 64 {
		t.Errorf("a place has %d bytes", size)
	}
	const bans, promised = 300_000, 100
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	l := NewList()
	for i := range bans {
		l.Add(Ban{ID: Of(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 4: byte(i >> 16), 5: byte(i >> 8), 6: byte(i)}), 128)), Start: at(0), End: at(float64(i))})
	}
	each := int(heap()-before) / bans
	t.Logf("%d bytes a ban", each)
	if each > promised {
		t.Errorf("a ban takes %d bytes, promised are %d", each, promised)
	}
	if l.Expire(at(bans)); int(heap()-before) > 1<<20 {
		t.Errorf("%d bytes are left of a list that is empty", int(heap()-before))
	}
	runtime.KeepAlive(l)
}

func BenchmarkList(b *testing.B) {
	l := NewList()
	i := 0
	for b.Loop() {
		i++
		id := Of(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 4: byte(i >> 16), 5: byte(i >> 8), 6: byte(i)}), 128))
		l.Add(Ban{ID: id, Start: at(0), End: at(float64(i))})
		l.Get(id)
	}
}
