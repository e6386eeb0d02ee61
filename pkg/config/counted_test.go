package config

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/transport"
)

// TestCounted: what a report counts of each line is the same where lines were looked at
// ahead, where one is looked at after the other, and where all is told of each, whatever
// the filter and the log; dates are, too.
func TestCounted(t *testing.T) {
	sequential(t)
	lines, filters := manyLines(t), allFilters(t)
	lines = lines[:len(lines)/2]
	if raced { // nothing here has goroutines
		filters = filters[:len(filters)/20]
	}
	now := time.Now()
	r := rand.New(rand.NewPCG(3, 4))
	hits, missed, texts := 0, 0, 0
	for _, w := range filters {
		for _, ignore := range []string{"", `\d{4}|root`} {
			if ignore != "" && w.name != "sshd" && r.IntN(5) > 0 {
				continue
			}
			full, alone, ahead := counter(t, w, ignore), counter(t, w, ignore), counter(t, w, ignore)
			full.Detail = filter.DetailAll
			ahead.ShowPrefixed(r.IntN(4) == 0)
			scout := ahead.NewScout()
			var seen filter.Sightings
			got := make([]string, len(lines))
			form := ahead.Form()
			for from := 0; from < len(lines); {
				to := min(from+1+r.IntN(300), len(lines))
				if r.IntN(3) > 0 { // else, by what was the form a while ago
					form = ahead.Form()
				}
				each := func(i int, r *filter.Result) error {
					got[from+i] += countedText(r)
					return nil
				}
				told := func(m *filter.Missed) error {
					missed += m.To - m.From
					for i := m.From; i < m.To; i++ {
						got[from+i] += countedText(&filter.Result{Prefixed: m.LastPrefixed && i == m.To-1, Ignored: -1})
					}
					got[from+m.To-1] += fmt.Sprint(" prefixed ", m.Prefixed)
					return nil
				}
				text := bytes.Join(lines[from:to], []byte("\n"))
				var err error
				switch {
				case scout == nil:
					err = ahead.CountAll(lines[from:to], nil, now, each, told)
				case r.IntN(3) > 0 && isText(text) && scout.LookText(text, transport.Marks{}, form, &seen):
					texts++
					next := 0 // the line that is to be told of
					err = ahead.CountText(text, &seen, now, func(line []byte, r *filter.Result) error {
						next++
						if !bytes.Equal(line, lines[from+next-1]) {
							t.Fatalf("%v, line %d: %s\nof a text: %s", w, from+next-1, lines[from+next-1], line)
						}
						return each(next-1, r)
					}, func(m *filter.Missed) error {
						next = m.To
						return told(m)
					})
				default:
					scout.Look(lines[from:to], form, &seen)
					err = ahead.CountAll(lines[from:to], &seen, now, each, told)
				}
				if err != nil {
					t.Fatal(err)
				}
				from = to
			}
			prefixed := 0 // of those before that were missed together
			for i, l := range lines {
				a, b := full.Match(l, now), alone.Match(l, now)
				if full.Prefregex() != "" {
					a.Prefixed = a.Pref != nil
				}
				want := countedText(&b)
				if x := countedText(&a); x != want {
					t.Fatalf("%v, line %d: %s\nall   %s\nalone %s", w, i, l, x, want)
				}
				hits += len(b.Failures)
				text, together, ends := strings.Cut(got[i], " prefixed ")
				none := text == countedText(&filter.Result{Ignored: -1})
				if b.Prefixed && none { // told with the lines behind it
					prefixed++
					want = countedText(&filter.Result{Ignored: -1})
				} else if b.Prefixed && ends {
					prefixed++
				}
				if text != want {
					t.Fatalf("%v, line %d: %s\nalone %s\nahead %s", w, i, l, want, text)
				}
				if ends {
					if together != fmt.Sprint(prefixed) {
						t.Fatalf("%v, up to line %d: the prefregex matches %d, ahead %s", w, i, prefixed, together)
					}
					prefixed = 0
				} else if !none && prefixed > 0 {
					t.Fatalf("%v, line %d: %d lines that the prefregex matches were not told of", w, i, prefixed)
				}
			}
			x, y := alone.Dates(), ahead.Dates()
			for i := range x {
				if x[i].Name != y[i].Name || x[i].Hits != y[i].Hits {
					t.Fatalf("%v: date template %d is %s with %d hits, ahead %s with %d", w, i, x[i].Name, x[i].Hits, y[i].Name, y[i].Hits)
				}
			}
		}
	}
	t.Logf("%d filters × %d lines, %d hits, %d lines missed together, %d texts", len(filters), len(lines), hits, missed, texts)
	if !raced && (hits < 1000 || missed < 100_000 || texts < 100) {
		t.Errorf("only %d hits, and %d lines missed together", hits, missed)
	}
}

// isText reports whether lines may be given as a text: all is ASCII, and no line begins
// or ends in what is none of its own there.
func isText(text []byte) bool {
	return !bytes.ContainsFunc(text, func(c rune) bool { return c >= 0x80 || c == '\r' }) && !bytes.Contains(text, []byte("\n#")) && !bytes.HasPrefix(text, []byte("#"))
}

// counter is a filter as a report wants it, with another ignoreregex if that is not empty.
func counter(t *testing.T, w with, ignore string) *filter.Filter {
	t.Helper()
	def := definition(t, w.name, w.options...)
	if ignore != "" {
		def.Ignoreregex = append(slices.Clone(def.Ignoreregex), filter.Expr{Text: ignore})
	}
	f, err := filter.Compile(def, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	f.CheckAll, f.Detail = true, filter.DetailIDs
	return f
}

func countedText(r *filter.Result) string {
	var b strings.Builder
	fmt.Fprint(&b, r.Err, r.Prefixed, r.Ignored >= 0, r.Ignores)
	for _, f := range r.Failures {
		fmt.Fprintf(&b, " [%s %s %d %v %v]", f.ID, f.Epoch(), f.Regex, f.NoFail, f.Pending)
	}
	return b.String()
}
