package logtime

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestQuick: a detector that remembers the form of the last date finds the same as
// one that does not, line by line, and comes to the same order of templates.
func TestQuick(t *testing.T) {
	layouts := []string{
		"Jan _2 15:04:05", "Jan 02 15:04:05", "Mon Jan 02 15:04:05.000000 2006", "Mon Jan _2 15:04:05 2006", "2006-01-02 15:04:05", "2006-01-02 15:04:05,000",
		"2006-01-02T15:04:05.000000-07:00", "2006-01-02T15:04:05Z", "2006/01/02 15:04:05", "02/Jan/2006:15:04:05 -0700", "02/Jan/2006:15:04:05",
		"2006-01-02T15:04:05.000000000-07:00", "2006-01-02T15:04:05.0000000Z", "2006-01-02 15:04:05,00000000 -0700", "Jan _2 15:04:05.000000000", "02-01-06 15:04:05", "01/02/2006:15:04:05", "060102 15:04:05", "Jan 2, 2006 3:04:05 PM", "15:04:05", "20060102T150405", "01-02-2006 15:04:05.000",
		"Jan-02-06 15:04:05", "MST Jan _2 15:04:05", "-07:00 Jan _2 15:04:05", "<01/02/06@15:04:05>", "[02/Jan/2006 15:04:05]", "15:04:05 2006-01-02",
	}
	before := []string{"", "", "", " ", "[", "192.0.2.7 - - [", "x ", "ä: ", "<14>", "level=info t=", "2001:db8::1 - bob [", "  ", "date ", `192.0.2.7 - a\" [`, `b \\ c\\[`, `d\[`, `e" [`, "[[", `\`, `f \ä [`}
	after := []string{"", " host x", " ubuntu x", " gw1 x", " UTC", " utc x", "Z", " Z x", ".5 x", ",12", " 2025 x", "] x", "]", ": y", "+0100 x", " +02:00 x", " CET x", " Web x", " ä", "ä", " -1", "x", "_", " PM", " pm x", " am", " \tx", " GMTx", " 7", "\u00a0Z", `] "GET / HTTP/1.1" 401`, `] "`, `] \"x`, `]"`}
	patterns := [][]string{
		nil,
		{"{^LN-BEG}"},
		{"{DEFAULT}"},
		{`^[^\[]*\[({DATE})`, "{^LN-BEG}"},
		{`^(?:[^"\\]|\\.)*\[({DATE})\] "`, "{^LN-BEG}"},
		{`^(?:[^"\\]|\\.)*\[({DATE})\] "`},
		{"^{DATE}"},
		{`%%Y-%%m-%%d %%H:%%M:%%S`},
		{"%Y-%m-%d %H:%M:%S"},
		{`^[^-]+ -- [^-]+ -- - ({DATE})`, "{^LN-BEG}"},
		{"{^LN-BEG}%ExY(?P<_sep>[-/.])%m(?P=_sep)%d[T ]%H:%M:%S(?:[.,]%f)?(?:\\s*%z)?", "{^LN-BEG}"},
		{`%d/%b[^/]*/%Y:%H:%M:%S %z`},
		{`{DATE}$`},
	}
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	quick, lines := 0, 0
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 2))
		pattern := patterns[r.IntN(len(patterns))]
		opts := Options{Location: []*time.Location{time.UTC, zurich}[r.IntN(2)], Year: 2026}
		if r.IntN(5) == 0 {
			opts.Zone = "UTC+0300"
		}
		fast, err := NewDetector(pattern, opts)
		if err != nil {
			if strings.Contains(fmt.Sprint(pattern), "%%") {
				continue
			}
			t.Fatal(err)
		}
		slow, _ := NewDetector(pattern, opts)
		slow.slow = true
		now := time.Date(2026, time.Month(1+r.IntN(12)), 1+r.IntN(28), r.IntN(24), r.IntN(60), 0, 0, time.UTC)
		at := now.Add(-time.Duration(r.IntN(500*24)) * time.Hour)
		layout, head := layouts[r.IntN(len(layouts))], before[r.IntN(len(before))]
		for range 60 {
			switch r.IntN(12) {
			case 0:
				layout = layouts[r.IntN(len(layouts))]
			case 1:
				head = before[r.IntN(len(before))]
			case 2:
				at = at.Add(time.Duration(r.IntN(3000)) * time.Hour)
			case 3:
				now = now.Add(time.Duration(r.IntN(100)) * time.Hour)
			}
			at = at.Add(time.Duration(r.IntN(4000)) * []time.Duration{time.Second, time.Millisecond, time.Microsecond}[r.IntN(3)])
			text := at.Format(layout)
			if r.IntN(15) == 0 {
				b := []byte(text)
				b[r.IntN(len(b))] = "0123456789 :/-.aZ"[r.IntN(17)]
				text = string(b)
			}
			line := []byte(head + text + after[r.IntN(len(after))])
			if r.IntN(3) > 0 {
				line = []byte(head + text + after[1+r.IntN(3)])
			}
			if len(pattern) > 0 && strings.HasSuffix(pattern[0], `] "`) && r.IntN(4) > 0 {
				line = []byte(head + text + after[len(after)-4+r.IntN(2)])
			}
			was := fast.shape
			if q, ok := fast.Quick(append([]byte(nil), line...), now); ok {
				quick++
				// Quick has moved the state on; the slow one does so, too.
				m, found := slow.Find(line, now)
				when, integer, valid := fast.Time(&q, now)
				got := Match{when, valid, integer, int(q.Start), int(q.End), nil}
				name := m.Template.Name
				m.Template = nil
				if !found || !got.Time.Equal(m.Time) || got.Valid != m.Valid || got.Integer != m.Integer || got.Start != m.Start || got.End != m.End || q.Template().Name != name {
					t.Fatalf("seed %d, %q, pattern %q: quick %+v of %s, slow %+v of %s (form of %+v)", seed, line, pattern, got, q.Template().Name, m, name, was)
				}
			} else {
				a, okA := fast.Find(line, now)
				b, okB := slow.Find(line, now)
				if okA != okB || a.Start != b.Start || a.End != b.End || a.Valid != b.Valid || !a.Time.Equal(b.Time) || okA && a.Template.Name != b.Template.Name {
					t.Fatalf("seed %d, %q: %+v, slow %+v", seed, line, a, b)
				}
			}
			lines++
			if !reflect.DeepEqual(states(fast), states(slow)) || !samePlace(fast, slow) || fast.firstUnused != slow.firstUnused {
				t.Fatalf("seed %d, %q, pattern %q: after it the states differ:\n%v\n%v\n%+v\n%+v", seed, line, pattern, states(fast), states(slow), fast.lastAt, slow.lastAt)
			}
		}
	}
	t.Logf("%d of %d lines had the form of the one before", quick, lines)
	if quick < lines/10 {
		t.Errorf("only %d of %d lines", quick, lines)
	}
}

// samePlace compares where the last date was: all of that which is asked for.
func samePlace(a, b *Detector) bool {
	if a.last != nil && a.last.anchored() {
		return a.lastAt.start == b.lastAt.start && a.lastAt.known == b.lastAt.known
	}
	return a.lastAt == b.lastAt
}

func states(d *Detector) (out []string) {
	for _, t := range d.templates {
		out = append(out, fmt.Sprintf("%s hits %d matches %v at %d used %d", t.Name, t.Hits, t.matches > 0, t.distance, t.lastUsed))
	}
	return out
}

func BenchmarkDate(b *testing.B) {
	for _, layout := range []string{"Jan _2 15:04:05", "2006-01-02 15:04:05,000", "Mon Jan 02 15:04:05.000000 2006"} {
		var lines [][]byte
		at := time.Date(2026, 1, 31, 9, 0, 0, 0, time.UTC)
		for i := range 1000 {
			lines = append(lines, []byte(at.Add(time.Duration(i)*time.Second).Format(layout)+" web1 sshd[41]: Accepted publickey for alice"))
		}
		for _, slow := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/slow=%v", layout, slow), func(b *testing.B) {
				d, err := NewDetector([]string{"{^LN-BEG}"}, Options{Location: time.UTC})
				if err != nil {
					b.Fatal(err)
				}
				d.slow = slow
				now := at.Add(time.Hour)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, ok := d.Find(lines[i%len(lines)], now); !ok {
						b.Fatal("no date")
					}
				}
			})
		}
	}
}
