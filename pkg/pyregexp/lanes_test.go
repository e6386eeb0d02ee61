package pyregexp

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestMatchLines: lines side by side are told the same as each by itself: members
// that match are never left out, and no more is named than by MatchLine, but where
// literals turn the line away or the table is full.
func TestMatchLines(t *testing.T) {
	many := make([]string, 70)
	for i := range many {
		many[i] = fmt.Sprintf(`^w%d (?:a|b)+ (?P<x>\d+)$`, i)
	}
	for name, patterns := range map[string][]string{
		"plain":    {`^a+b`, `c$`, `\bd\b`, `^$`, `é`, `(?!a)b\d*$`},
		"literals": {`^x\d+ denied by (?P<who>\S+)$`, `refused: \w+ denied`},
		"many":     many,
		"numbers":  {`^(?:\S+ )?app\[\d+\]: (?:Failed|Closed) for (?P<x>\w+) from \d+`, `^(?:\S+ )?app\[\d+\]: Closed`, `^web1 app\d?\d: x`, `^9\d*7$`},
		"blown up": {`(?:a|b)*a(?:a|b){11}c`, `a.{12}d`, `b.{13}\d`},
	} {
		var res []*Regexp
		for _, p := range patterns {
			res = append(res, MustCompile(p, 0))
		}
		set := NewSet(res...)
		lanes, alone := set.NewMatcher(), set.NewMatcher()
		r := rand.New(rand.NewPCG(7, 1))
		words := set.Words()
		matched, away := 0, 0
		var masks []uint64
		for range 60 {
			var lines [][]byte
			for range r.IntN(300) {
				switch r.IntN(6) {
				case 0:
					lines = append(lines, fmt.Appendf(nil, "w%d %s %d", r.IntN(80), []string{"ab", "b", "x"}[r.IntN(3)], r.IntN(9)))
				case 1:
					lines = append(lines, fmt.Appendf(nil, "x%d denied by %d", r.IntN(80), r.IntN(9)))
				case 2:
					lines = append(lines, fmt.Appendf(nil, "%sapp[%d]: %s for %s from %d", []string{"web1 ", "web1 ", "w2 ", "", "9"}[r.IntN(5)], r.Uint64()>>r.IntN(64),
						[]string{"Failed", "Closed", "Opened", "session opened", "x"}[r.IntN(5)], []string{"bob", "eve", "a b"}[r.IntN(3)], r.IntN(300)))
				case 3:
					lines = append(lines, fmt.Appendf(nil, "%s%d%s", []string{"web1 app", "9", "99999999", "web1 app["}[r.IntN(4)], r.Uint64()>>r.IntN(64), []string{"", ": x", "]", "7", "/1234567:;<="}[r.IntN(5)]))
				default:
					line := make([]byte, r.IntN(60))
					for i := range line {
						line[i] = "aabbbcd1 é"[r.IntN(11)]
					}
					lines = append(lines, line)
				}
			}
			masks = lanes.MatchLines(lines, masks)
			if len(masks) != len(lines)*words {
				t.Fatalf("%s: %d words for %d lines", name, len(masks), len(lines))
			}
			for i, line := range lines {
				got := masks[i*words : (i+1)*words]
				text := append(append([]byte(nil), line...), '\n')
				may := map[int]bool{}
				for _, m := range alone.MatchLine(line, nil) {
					may[m] = true
				}
				for k, re := range res {
					named := got[k>>6]&(1<<(k&63)) != 0
					if re.Match(text) {
						matched++
						if !named {
							t.Fatalf("%s: %s leaves out %q", name, patterns[k], line)
						}
					}
					if !named {
						away++
					}
					if name != "blown up" && named != may[k] && (named || !lanes.literals.on) {
						t.Fatalf("%s: %s and %q: %v, alone %v", name, patterns[k], line, named, may[k])
					}
				}
			}
		}
		if matched < 500 || away < 500 {
			t.Errorf("%s: %d matched, %d turned away", name, matched, away)
		}
	}
}

// BenchmarkLines is the DFA over many lines, one after the other and side by side.
func BenchmarkLines(b *testing.B) {
	set := NewSet(MustCompile(`^\[client (?P<ip>\S+):\d+\] (?:AH\d+: )?user \S+: authentication failure for "[^"]*": Password Mismatch$`, 0),
		MustCompile(`^\[client (?P<ip>\S+):\d+\] (?:AH\d+: )?client denied by server configuration: \S+$`, 0))
	set.lits = nil
	var lines [][]byte
	size := 0
	for i := range 1000 {
		lines = append(lines, fmt.Appendf(nil, "[client 192.0.2.%d:%d] AH%05d: client denied by server configuration: /srv/www/%d", i%256, 1000+i, i, i))
		size += len(lines[i])
	}
	m := set.NewMatcher()
	b.Run("one", func(b *testing.B) {
		b.SetBytes(int64(size))
		var maybe []int
		for b.Loop() {
			for _, l := range lines {
				maybe = m.MatchLine(l, maybe)
			}
		}
	})
	b.Run("two", func(b *testing.B) {
		b.SetBytes(int64(size))
		var masks []uint64
		for b.Loop() {
			masks = m.MatchLines(lines, masks)
		}
	})
}

// TestDigits: a number's end is found among eight bytes, whatever they are.
func TestDigits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200_000 {
		var b [8]byte
		for i := range b {
			if b[i] = byte('0' + r.IntN(10)); r.IntN(6) == 0 {
				b[i] = byte(r.IntN(256))
			}
		}
		want := 0
		for want < 8 && b[want] >= '0' && b[want] <= '9' {
			want++
		}
		if got := digits(binary.LittleEndian.Uint64(b[:])); got != want {
			t.Fatalf("%q begins with %d digits, not %d", b, want, got)
		}
	}
}
