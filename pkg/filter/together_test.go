package filter

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// logLines are random lines of a log of connections, with several forms of dates.
func logLines(r *rand.Rand, n int) (lines [][]byte) {
	forms := []string{"2006-01-02 15:04:05.000", "Jan _2 15:04:05", "2006-01-02T15:04:05.000000+00:00", "02/Jan/2006:15:04:05 +0000"}
	form := r.IntN(len(forms))
	at := connNow.Add(-time.Hour)
	for range n {
		at = at.Add(time.Duration(r.IntN(3000)) * time.Millisecond)
		if r.IntN(400) == 0 {
			form = r.IntN(len(forms))
		}
		if r.IntN(150) == 0 {
			at = at.Add(6 * time.Minute) // connections are forgotten
		}
		conn, host := r.IntN(40), fmt.Sprintf("192.0.2.%d", r.IntN(30))
		text := []string{
			fmt.Sprintf("conn=%d accept from %s", conn, host),
			fmt.Sprintf("conn=%d failed u%d from %s", conn, r.IntN(5), host),
			fmt.Sprintf("conn=%d refused", conn),
			fmt.Sprintf("conn=%d tried u%d", conn, r.IntN(5)),
			fmt.Sprintf("conn=%d closed", conn),
			"nothing of interest",
			fmt.Sprintf("conn=%d failed u from %s %s", conn, host, strings.Repeat("x", r.IntN(4000))),
		}[r.IntN(7)]
		date := at.Format(forms[form]) + " "
		if r.IntN(100) == 0 {
			date = ""
		}
		lines = append(lines, []byte(date+text))
	}
	return lines
}

// say is what a filter tells of a line, in words.
func say(line int, r *Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d: %v %v", line, r.Err, r.Beside)
	for _, f := range r.Failures {
		fmt.Fprintf(&b, " [%s %v %v %v %d %v %v %v %v", f.ID, f.Addr, f.IP, f.Time, f.Regex, f.Users, f.Groups, f.Order, f.Epoch())
		for _, l := range f.Lines {
			fmt.Fprintf(&b, " %q %q %q %q", l.Before, l.Date, l.After, l.String())
		}
		b.WriteByte(']')
	}
	return b.String()
}

// reader is a filter that shares with others, beside one of its own.
type reader struct {
	shared, own *Filter
	lines       [][]byte // its log
	at          int
	late        time.Duration
}

// TestTogether: whatever filters on one log have in common, how far each is behind the
// others, who stops, and who gets other lines than the rest, each tells what it would tell
// alone.
func TestTogether(t *testing.T) {
	sequential(t)
	for seed := range uint64(rounds(4)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 19))
			detail := []Detail{DetailLines, DetailAll, DetailIDs}[r.IntN(3)]
			// Every other log is one of sshd's, with a filter of its kind.
			compile, lines := func() *Filter { return tied(t, detail) }, func(n int) [][]byte { return logLines(r, n) }
			if seed%2 == 1 {
				d := farewellDefinitions[int(seed)/2%len(farewellDefinitions)]
				second := 0
				compile = func() *Filter {
					f, err := Compile(d, time.UTC)
					if err != nil {
						t.Fatal(err)
					}
					f.Detail = detail
					return f
				}
				lines = func(n int) [][]byte { return linesOf(session(r, n, 30, &second)) }
			}
			log := lines(2600)
			begin := r.IntN(2)
			var all []*reader
			for n := range 20 {
				x := &reader{shared: compile(), own: compile(), lines: log}
				x.shared.Together(fmt.Sprint("test ", seed), 20)
				switch {
				case n == 3: // a line of another's log comes between
					x.lines = append(append(append([][]byte{}, log[:900]...), lines(5)...), log[900:]...)
				case n == 4: // and another beginning
					x.lines = log[7:]
				case n == 5:
					x.lines = append([][]byte{}, log...)
					x.lines[1500+r.IntN(800)] = []byte("2026-10-10 12:00:00.000 conn=1 failed u1 from 192.0.2.200")
				}
				all = append(all, x)
			}
			for busy := true; busy; {
				busy = false
				for n, x := range all {
					odd := n == 3 || n == 5 || n == 9
					switch {
					case odd && seed%4 > 0 && x.at >= all[0].at && all[0].at < len(log): // else whoever comes first makes the run
						busy = true
						continue
					case x.at == len(x.lines), n == 7 && all[0].at < len(log): // stopped until the others are through
						continue
					case n == 6 && all[0].at < 1200*begin, n == 8 && r.IntN(30) > 0: // comes late; is slow
						busy = true
						continue
					case n == 9 && x.at > 2000:
						x.late = 3 * time.Minute
					case n == 10 && x.at > 500:
						x.shared.Detail, x.own.Detail = DetailIDs, DetailIDs
					case n == 11 && x.at > 700:
						x.shared.Leave()
						x.shared, x.own = compile(), compile()
						x.shared.Together(fmt.Sprint("test ", seed), 20)
					}
					busy = true
					to := min(x.at+1+r.IntN(300), len(x.lines))
					if odd && seed%4 > 0 && all[0].at < len(log) {
						to = min(to, all[0].at)
					}
					now := connNow.Add(time.Duration(x.at)*time.Millisecond + x.late)
					var got, want []string
					if n == 12 && x.at > 1000 { // one by one
						for i, line := range x.lines[x.at:to] {
							if a := x.shared.Match(line, now); a.Tells() {
								got = append(got, say(i, &a))
							}
							if b := x.own.Match(line, now); b.Tells() {
								want = append(want, say(i, &b))
							}
						}
					} else {
						x.shared.MatchBlock(x.lines[x.at:to], nil, now, func(i int, r *Result) { got = append(got, say(i, r)) })
						x.own.MatchBlock(x.lines[x.at:to], nil, now, func(i int, r *Result) { want = append(want, say(i, r)) })
					}
					if !reflect.DeepEqual(got, want) {
						t.Fatalf("filter %d, lines %d to %d:\n%s\nalone:\n%s", n, x.at, to, strings.Join(got, "\n"), strings.Join(want, "\n"))
					}
					x.at = to
				}
			}
			shared := 0
			for n, x := range all {
				if x.shared.in != nil {
					shared++
				}
				var got, want []string
				for _, d := range x.shared.Dates() {
					got = append(got, fmt.Sprint(d.Name, d.Hits, d.Weight()))
				}
				for _, d := range x.own.Dates() {
					want = append(want, fmt.Sprint(d.Name, d.Hits, d.Weight()))
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("filter %d has dates\n%s\nalone\n%s", n, got, want)
				}
			}
			if shared < 10 && seed%4 > 0 {
				t.Errorf("%d of 20 share", shared)
			}
			for _, x := range all { // whoever goes on alone knows everything
				x.shared.part()
				var got, want []string
				more := lines(300)
				x.shared.MatchBlock(more, nil, connNow.Add(time.Minute), func(i int, r *Result) { got = append(got, say(i, r)) })
				x.own.MatchBlock(more, nil, connNow.Add(time.Minute), func(i int, r *Result) { want = append(want, say(i, r)) })
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("alone again:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		})
	}
}

// TestTogetherAtOnce has filters read at once, from several goroutines.
func TestTogetherAtOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 19))
	log := logLines(r, 6000)
	var want []string
	own := tied(t, DetailLines)
	own.MatchBlock(log, nil, connNow, func(i int, r *Result) { want = append(want, say(i, r)) })
	var wg sync.WaitGroup
	for n := range uint64(20) {
		f := tied(t, DetailLines)
		f.Together("at once", 20)
		wg.Go(func() {
			r := rand.New(rand.NewPCG(n, 1))
			var got []string
			for at := 0; at < len(log); {
				to := min(at+1+r.IntN(500), len(log))
				f.MatchBlock(log[at:to], nil, connNow, func(i int, r *Result) { got = append(got, say(at+i, r)) })
				at = to
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("filter %d tells %d, want %d, or others", n, len(got), len(want))
			}
		})
	}
	wg.Wait()
}

// TestTogetherOnce: what filters share is looked at once, and what is kept of it is bounded.
func TestTogetherOnce(t *testing.T) {
	var all []*Filter
	for range 20 {
		f := tied(t, DetailLines)
		f.Together("once", 20)
		all = append(all, f)
	}
	for block := range 200 {
		var lines [][]byte
		for i := range 100 {
			lines = append(lines, fmt.Appendf(nil, "2026-10-10 11:%02d:%02d.000 conn=%d failed u from 192.0.2.%d", block/60, block%60, i, i))
		}
		var first []Failure
		for n, f := range all {
			var got []Failure
			if n == 19 && block%100 != 99 { // stops
				continue
			}
			f.MatchBlock(lines, nil, connNow, func(_ int, r *Result) { got = append(got, r.Failures...) })
			if n == 0 {
				first = got
				continue
			}
			if n < 19 && (len(got) != 100 || &got[50].Lines[0] != &first[50].Lines[0]) {
				t.Fatalf("filter %d found its own %d failures in block %d", n, len(got), block)
			}
		}
	}
	m := all[0].in
	if m == nil || m.segment.size > 2*segmentLeast || m.run.awaited > 0 || len(m.run.chain) > 2 || m.run.size > 4*segmentLeast {
		t.Errorf("place %+v in %+v", m, m.run)
	}
	if got := all[0].Dates(); got[0].Hits != 20000 {
		t.Errorf("%d dates were found", got[0].Hits)
	}
	// Of those who end, one is left, and has the run for itself.
	for _, f := range all[1:] {
		f.Leave()
	}
	var found []netip.Prefix
	for range 2 {
		all[0].MatchBlock([][]byte{[]byte("2026-10-10 11:59:59.000 conn=1 failed u from 192.0.2.1")}, nil, connNow, func(_ int, r *Result) {
			found = append(found, r.Failures[0].Addr)
		})
	}
	if len(found) != 2 || !all[0].alone || all[0].in != nil {
		t.Errorf("the last one found %v, alone %v", found, all[0].alone)
	}
}
