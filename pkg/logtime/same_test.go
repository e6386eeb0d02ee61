package logtime

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestSame: a date that is compared by words of eight bytes is found where reading it
// byte by byte finds it, whatever stands behind it, and its number changes with it.
func TestSame(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	now := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	same := 0
	for _, layout := range []string{"Jan _2 15:04:05", "2006-01-02 15:04:05", "01-02 15:04:05", "Jan _2 15:04:05.000", "2006-01-02T15:04:05.000-0700"} {
		d, err := NewDetector([]string{`^%b %d %H:%M:%S`, `^%Y-%m-%d %H:%M:%S`, `^%m-%d %H:%M:%S`, `^%b %d %H:%M:%S\.%f`, `^%Y-%m-%dT%H:%M:%S\.%f%z`}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
		line := func() []byte {
			at = at.Add(time.Duration(r.IntN(3)/2) * time.Second)
			b := at.AppendFormat(nil, layout)
			if r.IntN(20) == 0 {
				b[r.IntN(len(b))] = "0 x9:-\x00"[r.IntN(7)]
			}
			if r.IntN(2) == 0 {
				b = append(b, ' ', byte(r.IntN(128)))
			}
			for range r.IntN(5) {
				b = append(b, "  webAMzUgT+-1.,\x00\t]:\xc3\xa4"[r.IntN(22)])
			}
			return b
		}
		for range 3 {
			d.Find(line(), now)
		}
		d.Find(append(at.AppendFormat(nil, layout), " web1"...), now)
		if !d.Form().Known() {
			t.Fatalf("%s: no form", layout)
		}
		var quick, slow Ahead
		quick.Begin(d.Form())
		slow.Begin(d.Form())
		var last Date
		number := -1
		for range 20_000 {
			l := line()
			slow.reader.words = Words{}
			s1, e1, ok1 := slow.Where(l)
			if quick.reader.same(l) {
				if same++; quick.Words().End > 0 && (s1 != 0 || e1 != quick.Words().End || !ok1) {
					t.Fatalf("%s: %q: %d %d %v, by words it ends at %d", layout, l, s1, e1, ok1, quick.Words().End)
				}
			}
			s2, e2, ok2 := quick.Where(l)
			if s1 != s2 || e1 != e2 || ok1 != ok2 {
				t.Fatalf("%s: %q: %d %d %v, by words %d %d %v", layout, l, s1, e1, ok1, s2, e2, ok2)
			}
			if !ok1 {
				continue
			}
			if quick.Number() != number {
				number, last = quick.Number(), quick.Last()
			}
			if x := slow.reader.date(0); x.fields != last.fields {
				t.Fatalf("%s: %q: %v, kept %v", layout, l, x.fields, last.fields)
			}
		}
	}
	if same < 1000 {
		t.Errorf("only %d dates were compared by words", same)
	}
}
