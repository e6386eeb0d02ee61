package lineends

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// by is what a text's bytes say one after the other.
func by(text []byte) (ends []uint64, ok bool) {
	ends = make([]uint64, (len(text)+63)/64)
	for i, c := range text {
		if c >= 0x80 {
			return ends, false
		}
		if c == '\n' {
			ends[i/64] |= 1 << (i % 64)
		}
	}
	return ends, true
}

func compare(t *testing.T, text []byte) {
	t.Helper()
	want, ascii := by(text)
	// What was there before is to be written over, and what is behind it left.
	dst := slices.Repeat([]uint64{^uint64(0)}, len(want)+1)
	got, ok := Mark(text, dst[:0])
	if ok != ascii || ok && !slices.Equal(got, want) || dst[len(want)] != ^uint64(0) {
		t.Fatalf("of %q: %x, %v, and not %x, %v", text, got, ok, want, ascii)
	}
	if ok {
		var places []int32
		for i, c := range text {
			if c == '\n' {
				places = append(places, int32(i))
			}
		}
		for _, room := range []int{0, 1, len(places), 1000} {
			if had := Places(got, make([]int32, room)); !slices.Equal(had, places) {
				t.Fatalf("places of %q: %v, and not %v", text, had, places)
			}
		}
	}
	plain := slices.Repeat([]uint64{^uint64(0)}, len(want))
	if ok := markGo(text, plain); ok != ascii || ok && !slices.Equal(plain, want) {
		t.Fatalf("without the processor's help, of %q: %x, %v, and not %x, %v", text, plain, ok, want, ascii)
	}
}

// TestMark: with and without the processor's help the same is said as byte by byte, at all
// lengths and places in memory, and nothing behind the text is looked at.
func TestMark(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for size := range 300 {
		for range 20 {
			from := r.IntN(70)
			memory := bytes.Repeat([]byte{0xff}, from+size+70)
			text := memory[from : from+size]
			for i := range text {
				text[i] = byte(r.IntN(0x80))
				if r.IntN(1+size%40) == 0 {
					text[i] = '\n'
				}
			}
			compare(t, text)
			if size > 0 {
				text[r.IntN(size)] = byte(0x80 + r.IntN(0x80))
				compare(t, text)
			}
		}
	}
}

func FuzzMark(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n"))
	f.Add(bytes.Repeat([]byte("\n\x8a"), 40))
	f.Fuzz(func(t *testing.T, text []byte) { compare(t, text) })
}

func BenchmarkMark(b *testing.B) {
	text := bytes.Repeat([]byte("Nov 27 13:15:01 web1 CRON[1018]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)\n"), 2500)
	b.Run("places", func(b *testing.B) {
		ends, _ := Mark(text, nil)
		places := Places(ends, nil)
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			places = Places(ends, places)
		}
	})
	for name, mark := range map[string]func([]byte, []uint64) bool{"go": markGo, "help": mark} {
		b.Run(name, func(b *testing.B) {
			ends := make([]uint64, (len(text)+63)/64)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				mark(text, ends)
			}
		})
	}
}
