package filter

import (
	"math/rand/v2"
	"strings"
	"time"

	"bailiff/pkg/lazyregexp"
)

// Refute makes up lines of a probe at random and looks for one that the filter takes for
// somebody else's, or does not take: a check of the prover by other means. What a client
// writes is put together of the filter's own texts, of the line's, of other addresses, of
// what stands around lines, and of characters of all kinds. made counts the lines; "" is
// returned if none refutes the proof.
func Refute(d Definition, loc *time.Location, p Probe, r *rand.Rand, lines int, made *int) (string, error) {
	x := newProver(d, loc, p)
	if err := x.check(); err != nil {
		return "", err
	}
	pieces := append([]string{
		"", " ", "  ", "\t", "\"", "'", "\\", "\\\"", "(", ")", "[", "]", "<", ">", ",", ";", ":", "=", "/", "%", "é", "\u00a0", "\u2028", "\xff", "\x00", "\r", "\x1b[0m", "\x1b[", "\x1b]", "\a", "\x1b[31",
		"203.0.113.9", "2001:db8::9", "::ffff:203.0.113.9", "203.0.113.0/24", "example.com", "0", "a", "Z", "_", "-", p.Host,
		"stdout F ", `{"log":"`, "]: ", "2026-01-31 12:00:00 ", "Jan 31 12:00:00 host ", `\n","stream":"stdout"}`, " from ", " port 22",
	}, wordsOf(d, x.line)...)
	f, err := Compile(d, loc)
	if err != nil {
		return "", err
	}
	for range lines * 4 {
		if *made >= lines {
			break
		}
		var b strings.Builder
		at := 0
		ok := true
		for _, part := range x.parts {
			b.WriteString(x.line[at:part.from])
			at = part.to
			text := ""
			for try := 0; ; try++ {
				text = ""
				for range r.IntN(6) {
					text += pieces[r.IntN(len(pieces))]
				}
				if r.IntN(4) == 0 { // around what the line has behind
					rest := x.line[part.to:]
					text += rest[:r.IntN(len(rest)+1)]
					text = strings.ReplaceAll(text, p.Host, "203.0.113.9")
				}
				if x.allowed(part.Chars, text) {
					break
				}
				if try > 20 {
					ok = false
					break
				}
			}
			if d.JSON != nil {
				text = quoted(text)
			}
			b.WriteString(text)
		}
		if !ok {
			continue
		}
		b.WriteString(x.line[at:])
		*made++
		line := b.String()
		if len(x.earlier)+len(x.later) > 0 { // what is known of connections must not grow
			id, _, err := x.try(line)
			if err != nil || id != p.Host {
				return line, err
			}
			continue
		}
		res := x.match(f, line)
		if res.Err != nil {
			return line, res.Err
		}
		if id := ""; len(res.Failures) > 0 || p.Host != "" {
			if len(res.Failures) > 0 {
				id = res.Failures[0].ID
			}
			if id != p.Host {
				return line, nil
			}
		}
	}
	return "", nil
}

var words = lazyregexp.New(`[A-Za-z]{2,}[^\pL]*|[^\w\s\\]+`)

// wordsOf are texts that a filter looks for, and those of a line.
func wordsOf(d Definition, line string) (out []string) {
	out = words.FindAllString(line, -1)
	for _, e := range append([]Expr{d.Prefregex}, d.Failregex...) {
		out = append(out, words.FindAllString(e.Text, -1)...)
	}
	for at := 0; at < len(line); at += 7 {
		out = append(out, line[at:min(at+14, len(line))])
	}
	return out
}
