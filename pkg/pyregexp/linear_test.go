package pyregexp

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// hostile are patterns that take exponential or high polynomial time where a
// matcher gives back and tries again, each with a text of about n bytes that
// makes it do so.
var hostile = []struct {
	name, pattern string
	text          func(n int) string
}{
	{"nested stars", `(a*)*b`, as},
	{"same alternatives", `(a|a)*$`, func(n int) string { return as(n) + "b" }},
	{"optional, then required", `(?:a?){50}a{50}`, func(n int) string { return strings.Repeat("a", min(n, 49)) + strings.Repeat("b", max(n-49, 0)) }},
	{"nested look-aheads", `(?:(?=(?:(?=a*b|a*c)a|a)*d|a)a)*e`, as},
	{"look-ahead in a loop", `(?:(?=a+$)a)*b`, as},
	{"negative look-ahead in a loop", `(?:(?!a*b)a)*c`, as},
	{"look-behind after each", `(?:a+(?<=aa))*b`, as},
	{"conditional in a loop", `(?:(x)|a)*(?(1)y|a*a*a*b)`, as},
	{"atomic in a loop", `(?:(?>a+|b)a?)*c`, as},
	{"loops that can match nothing", `(?:(?:a*)*(?:a*)*)*b`, as},
	{"lazy in lazy", `(?:a+?)+?b`, as},
	{"cubic", `\s*user\s*\S*\s*from\s*x`, func(n int) string { return "user" + strings.Repeat(" ", n) }},
	{"quotes", `(?:"(?:[^"]|"")*"|"[^"]*)+:`, func(n int) string { return strings.Repeat(`"`, n) }},
	{"key=value", `^(?: *\S+=\S+)+ *!$`, func(n int) string { return strings.Repeat(" a=b=c", n/6) }},
}

func as(n int) string { return strings.Repeat("a", n) }

// TestLinear counts what the matcher remembers (each triple of instruction,
// state and position once) and does: ten times the text is at most ten times
// the work. Seconds are for the benchmark.
func TestLinear(t *testing.T) {
	for _, c := range hostile {
		re := MustCompile(c.pattern, 0)
		before := 0
		for _, n := range []int{100, 1_000, 10_000} {
			before = re.growth(t, c.name, []byte(c.text(n)), before)
		}
	}
}

// lineTable is fail2ban's own expressions with lines that stop it: about n bytes.
var attacks = []struct {
	filter string
	line   func(n int) string
}{
	{"dovecot", func(n int) string {
		return " hostname dovecot: imap-login: Aborted login: " + strings.Repeat("a: ", max((n-61)/3, 24)) + "(\n"
	}},
	{"domino-smtp", func(n int) string { return "   smtp: " + strings.Repeat("a ", max((n-27)/2, 24)) + "x\n" }},
}

// TestFilterAttacks does the same for the stock filters that a line can stop in
// fail2ban itself.
func TestFilterAttacks(t *testing.T) {
	f := readFilters(t)
	for _, a := range attacks {
		found := false
		for _, e := range f.exprs {
			if e.Filter != a.filter {
				continue
			}
			found = true
			before := 0
			for _, n := range []int{1_000, 10_000, 100_000} {
				before = e.re.growth(t, a.filter, []byte(a.line(n)), before)
			}
			line := []byte(a.line(134))
			e.re.Match(line) // makes the table
			started := time.Now()
			e.re.Match(line)
			t.Logf("%s: %v for the line of 134 bytes, %d steps for that of 100,000", a.filter, time.Since(started).Round(time.Microsecond), before)
		}
		if !found {
			t.Errorf("no filter %s", a.filter)
		}
	}
}

// TestBudget checks that a search with back references ends with an error, not
// with a wrong answer or never.
func TestBudget(t *testing.T) {
	re := MustCompile(`(?:(a+)\1?)*(a*)*\2b`, 0)
	if re.Linear() {
		t.Error("a pattern with back references calls itself linear")
	}
	_, err := re.Search([]byte(as(40_000)+"c"), nil)
	var budget *BudgetError
	if err != nil && !errors.As(err, &budget) {
		t.Errorf("error %v, want a BudgetError", err)
	}
	// The exact stage, without the rungs that turn this text away.
	if _, _, err := re.bare([]byte(as(3_000) + "c")); err == nil || !errors.As(err, &budget) || budget.Steps == 0 {
		t.Errorf("the matcher alone: %v, want a BudgetError", err)
	}
}

func TestSizeIsBounded(t *testing.T) {
	for _, p := range []string{`(?:a{1000}){1000}`, `((((a{100}){100}){100}){100}){100}`, `(?:(?:a?){1000}){1000}`, `a{4294967294}`, `(?:a|b{50000}){3}`} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		re, err := Compile(p, 0)
		runtime.ReadMemStats(&after)
		var e *Error
		if err == nil || !errors.As(err, &e) || !strings.Contains(err.Error(), "100000") {
			t.Errorf("%q: %v, want an error with the size in it", p, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
			t.Errorf("%q: refused only after %d MB", p, took>>20)
		}
		_ = re
	}
	// Within bounds: large, but it runs, and the automaton stays bounded, too.
	re := MustCompile(`(?:[ab]{0,30}x){300}`, 0)
	if d := re.dfa.get(nil, re); d != nil && len(d.insts) > maxApprox {
		t.Errorf("automaton of %d places", len(d.insts))
	}
	text := []byte(strings.Repeat("abababx", 300))
	if !re.Match(text) || re.Match(text[:len(text)-1]) {
		t.Error("a large pattern gives a wrong answer")
	}
	// A pattern whose deterministic automaton would be exponential.
	re = MustCompile(`[ab]*a[ab]{40}c`, 0)
	var b strings.Builder
	x := uint32(7)
	for range 200_000 {
		x = x*1664525 + 1013904223
		b.WriteByte("ab"[x>>31])
	}
	if re.Match([]byte(b.String())) || !re.Match([]byte(b.String()+"a"+strings.Repeat("b", 40)+"c")) {
		t.Error("an exponential automaton gives a wrong answer")
	}
	for _, c := range re.dfa.d.spare {
		if c.bytes > 2*maxDFA {
			t.Errorf("table of %d bytes", c.bytes)
		}
	}
}

// BenchmarkHostile shows that time grows with the text and no faster.
func BenchmarkHostile(b *testing.B) {
	for _, c := range hostile {
		re := MustCompile(c.pattern, 0)
		for _, n := range []int{1_000, 10_000, 100_000} {
			text := []byte(c.text(n))
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(c.name, " ", "-"), n), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					_, _, _ = re.bare(text)
				}
			})
		}
	}
}

// growth runs the matcher alone. It returns the steps taken, which must be no more
// than eleven times those for a text a tenth as long (0: unknown).
func (re *Regexp) growth(t *testing.T, name string, text []byte, before int) int {
	t.Helper()
	_, m, err := re.bare(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if bound := re.bound(len(text)); m.visits > bound {
		t.Errorf("%s: %d triples on %d bytes, more than the %d there are", name, m.visits, len(text), bound)
	}
	if before > 0 && m.steps > 11*before+1000 {
		t.Errorf("%s: %d steps on %d bytes, after %d on a tenth: %q", name, m.steps, len(text), before, re)
	}
	return m.steps
}

// bound is the greatest number of triples that a search may remember: all there
// are, and for look-around some of them again while its success is not yet
// recorded.
func (re *Regexp) bound(length int) int {
	all := re.prog.marks << re.prog.bits * (length + 1)
	if re.prog.looks > 0 {
		return all * (1 + lookTrials)
	}
	return all
}

// BenchmarkFilterAttacks times the whole ladder on the lines that stop fail2ban,
// with all expressions of their filters.
func BenchmarkFilterAttacks(b *testing.B) {
	f := readFilters(b)
	for _, a := range attacks {
		var res []*Regexp
		for _, e := range f.exprs {
			if e.Filter == a.filter {
				res = append(res, e.re)
			}
		}
		for _, n := range []int{134, 1_000, 10_000, 100_000} {
			line := []byte(a.line(n))
			b.Run(fmt.Sprintf("%s/%d", a.filter, n), func(b *testing.B) {
				b.SetBytes(int64(len(line)))
				for b.Loop() {
					for _, re := range res {
						re.Match(line)
					}
				}
			})
		}
	}
}
