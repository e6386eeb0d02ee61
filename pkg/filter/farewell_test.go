package filter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/transport"
)

// farewellDefinitions differ in which expressions say that a connection is over.
var farewellDefinitions = []Definition{
	textDefinitions[0],
	{
		Name:      "all optional",
		Prefregex: Expr{Text: `^<F-MLFID>\s*(?:\S+ )?(?:sshd\[\d+\]: )?</F-MLFID><F-CONTENT>.+</F-CONTENT>$`},
		Failregex: []Expr{
			{Text: `^Failed \w+ for <F-USER>.*?</F-USER> from <HOST>(?: port \d+)?`},
			{Text: `^<F-NOFAIL>Dis</F-NOFAIL><F-MLFFORGET>connected</F-MLFFORGET> from <HOST>`},
			{Text: `^<F-NOFAIL>Connection</F-NOFAIL> from <HOST>`},
			{Text: `^<F-MLFFORGET><F-MLFGAINED>Accepted</F-MLFGAINED></F-MLFFORGET> for <F-USER>\S+</F-USER> from <HOST>`},
		},
		Ignoreregex: []Expr{{Text: `192\.0\.2\.8`}},
	},
	{
		Name:      "attempts",
		Prefregex: Expr{Text: `^\s*\S+ <F-MLFID>sshd\[\d+\]</F-MLFID>: <F-CONTENT>.+</F-CONTENT>$`},
		Failregex: []Expr{
			{Text: `^Failed \w+ for <F-USER>.*?</F-USER> from <ADDR>`},
			{Text: `^[iI]nvalid user <F-USER>.*?</F-USER> from <ADDR>`},
			{Text: `^<F-NOFAIL><F-MLFFORGET>(?:Disconnected|Closed)</F-MLFFORGET></F-NOFAIL> from <ADDR>$`},
			{Text: `^<F-MLFFORGET>Disconnected</F-MLFFORGET> from <ADDR> \[preauth\]$`}, // a failure
			{Text: `^<F-NOFAIL>Accepted(?: <F-MLFFORGET>for</F-MLFFORGET>)?</F-NOFAIL> .* from <ADDR>$`},
		},
		Attempts: true,
	},
}

// rounds is a number of them, or a quarter with -short, as under the race detector, with
// which each takes ten times as long.
func rounds(n int) int {
	if testing.Short() {
		return max(n/4, 2)
	}
	return n
}

// TestFarewells: a line that only says that a connection is over is passed over where nothing
// is known of that connection, and nowhere else.
func TestFarewells(t *testing.T) {
	sequential(t)
	r := rand.New(rand.NewPCG(21, 22))
	for _, d := range farewellDefinitions {
		compile := func(detail Detail) *Filter {
			f, err := Compile(d, time.UTC)
			if err != nil {
				t.Fatal(err)
			}
			f.Detail = detail
			return f
		}
		if n := len(compile(DetailIDs).compiled.farewells()); n == 0 {
			t.Fatalf("%s: no expression says that a connection is over", d.Name)
		}
		passed, lost, failures := 0, 0, 0
		for round := range rounds(40) {
			now := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
			full, texts, blocks, shared := compile(DetailAll), compile(DetailIDs), compile(DetailLines), compile(DetailLines)
			scout := texts.NewScout()
			processes := 1 + r.IntN(40)
			second := 0
			for range 8 {
				text := session(r, r.IntN(150), processes, &second)
				lines := linesOf(text)
				told := func(b *strings.Builder, line []byte, r *Result) {
					for _, x := range r.Failures {
						fmt.Fprintf(b, "%s: %s %v %s %d\n", line, x.ID, x.Addr, x.Epoch(), x.Regex)
					}
				}
				var want, inText, inBlock, inShared strings.Builder
				for _, line := range lines {
					r := full.Match(line, now)
					told(&want, line, &r)
					failures += len(r.Failures)
				}
				var seen Sightings
				if !scout.LookText(text, transport.Marks{}, texts.Form(), &seen) {
					for _, line := range lines {
						r := texts.Match(line, now)
						told(&inText, line, &r)
					}
				} else {
					for i := range seen.farewells {
						passed++
						if texts.conns.meets(&seen.farewells[i], &cursor{text: text}) {
							lost++
						}
					}
					_ = texts.MatchText(text, &seen, now, func(line []byte, r *Result) error {
						told(&inText, line, r)
						return nil
					})
				}
				var kept *Sightings
				share := func(_ SharedKey, look func() *Sightings) *Sightings {
					if kept == nil {
						kept = look()
					}
					return kept
				}
				if round%2 == 0 {
					blocks.MatchBlock(lines, nil, now, func(i int, r *Result) { told(&inBlock, lines[i], r) })
				} else {
					blocks.MatchBlock(lines, share, now, func(i int, r *Result) { told(&inBlock, lines[i], r) })
				}
				shared.MatchBlock(lines, share, now, func(i int, r *Result) { told(&inShared, lines[i], r) })
				for name, got := range map[string]string{"text": inText.String(), "block": inBlock.String(), "shared": inShared.String()} {
					if got != want.String() {
						t.Fatalf("%s, %s of\n%s\ntells\n%s\nthe lines one by one\n%s", d.Name, name, text, got, want.String())
					}
				}
				for i, f := range []*Filter{texts, blocks, shared} {
					if a, b := connectionsOf(full), connectionsOf(f); !slices.Equal(a, b) {
						t.Fatalf("%s, filter %d: connections %q, one by one %q", d.Name, i, b, a)
					}
				}
			}
		}
		t.Logf("%s: %d failures, %d farewells, %d of connections that may be known", d.Name, failures, passed, lost)
		if passed < 100 || lost < 10 || failures < 100 {
			t.Errorf("%s: %d failures, %d farewells, %d of connections that may be known", d.Name, failures, passed, lost)
		}
	}
}

// session is some lines of so many processes.
func session(r *rand.Rand, lines, processes int, second *int) []byte {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var out bytes.Buffer
	for range lines {
		if *second += r.IntN(2); r.IntN(300) == 0 {
			*second += 400 // longer than connections are known
		}
		at := time.Date(2026, 3, 1, 10, 0, *second, 0, time.UTC)
		addr := pick("192.0.2.7", "192.0.2.8", "2001:db8::7", "host.example", "x y")
		fmt.Fprintf(&out, "%s %ssshd[%d]: %s\n", at.Format("Jan _2 15:04:05"), pick("web1 ", "web1 ", ""), 1000+r.IntN(processes), pick(
			"Failed password for root from ", "Invalid user bob from ", "Disconnected from ", "Disconnected from ", "Disconnected from ", "Connection from ",
			"Accepted for bob from ", "Accepted for bob from ", "Accepted x for bob from ", "Closed from ", "nothing of ",
		)+addr+pick("", "", " [preauth]"))
	}
	return out.Bytes()
}

// connectionsOf are the names of the connections that a filter knows, the last one at the end.
func connectionsOf(f *Filter) (out []string) {
	for c := range f.conns.order.All() {
		out = append(out, fmt.Sprintf("%s %v %v %v", c.id, c.users, c.nofail, c.pending))
	}
	return out
}
