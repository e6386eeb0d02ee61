package source

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/transport"
)

var allAround = transport.Options{Runtime: true, Rewrite: true, Heads: true, Colours: true}

// inParts writes lines as a container runtime does, long ones in parts, those of both
// streams among each other; lines are those that are whole by then, in that order.
func inParts(r *rand.Rand, runtime string, n int) (log string, lines []string) {
	var b strings.Builder
	var waits [2][]string
	write := func(stream int, part string, last bool) {
		name := []string{"stdout", "stderr"}[stream]
		if runtime == transport.CRI {
			fmt.Fprintf(&b, "2026-01-31T12:00:00.123456789Z %s %s %s\n", name, map[bool]string{true: "F", false: "P"}[last], part)
			return
		}
		if last {
			part += "\n"
		}
		text, _ := json.Marshal(part)
		fmt.Fprintf(&b, `{"log":%s,"stream":"%s","time":"2026-01-31T12:00:00.123456789Z"}`+"\n", text, name)
	}
	var whole [2]string
	for i := 0; i < n || len(waits[0]) > 0 || len(waits[1]) > 0; {
		s := r.IntN(2)
		if len(waits[s]) == 0 {
			if i >= n {
				continue
			}
			parts := 1
			if r.IntN(3) == 0 {
				parts = 2 + r.IntN(5)
			}
			whole[s] = ""
			for p := range parts {
				text := fmt.Sprintf("line %d part %d %s", i, p, strings.Repeat("x", r.IntN(300)))
				if r.IntN(20) == 0 {
					text += strings.Repeat("y", 16<<10)
				}
				waits[s] = append(waits[s], text)
				whole[s] += text
			}
			i++
		}
		write(s, waits[s][0], len(waits[s]) == 1)
		if waits[s] = waits[s][1:]; len(waits[s]) == 0 {
			lines = append(lines, whole[s])
		}
	}
	return b.String(), lines
}

// TestPartsOverRestarts follows logs whose lines come in parts while they are written in
// pieces, and begins anew again and again where it was left: each line comes once, whole.
func TestPartsOverRestarts(t *testing.T) {
	for _, runtime := range []string{transport.Docker, transport.CRI} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(runtime, seed), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 1))
				log, want := inParts(r, runtime, 60)
				path := filepath.Join(t.TempDir(), "a.log")
				var got []string
				positions := map[string][]Position{}
				for written := 0; written < len(log); {
					x := takeFrom(t, &Files{Globs: []string{path}, Transport: allAround, Resume: positions})
					for range 1 + r.IntN(4) {
						n := min(1+r.IntN(len(log)/12), len(log)-written)
						appendTo(t, path, log[written:written+n])
						written += n
						x.until("what is whole by now", func() bool { return len(got)+len(x.lines) >= wholeIn(log[:written]) })
					}
					x.stop()
					got = append(got, x.lines...)
					for _, p := range x.pos { // there is one file
						positions = map[string][]Position{path: {p}}
					}
				}
				if !slices.Equal(got, want) {
					for i := range min(len(got), len(want)) {
						if got[i] != want[i] {
							t.Fatalf("line %d: %.60q, want %.60q", i, got[i], want[i])
						}
					}
					t.Fatalf("%d lines, want %d", len(got), len(want))
				}
			})
		}
	}
}

// wholeIn is how many lines are whole in a log, as far as it is written.
func wholeIn(log string) int {
	raw := strings.Split(log[:strings.LastIndexByte(log, '\n')+1], "\n")
	var read [][]byte
	for _, line := range raw[:len(raw)-1] {
		read = append(read, []byte(line))
	}
	lines, _, _ := transport.New(allAround).Lines(read)
	return len(lines)
}

// TestAroundWhileFollowed: what is taken off while a log is followed, over a change of its
// form and over a rotation in the middle of a line; and that jails which want the lines as
// they are get them.
func TestAroundWhileFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	docker := func(text string) string {
		b, _ := json.Marshal(text)
		return `{"log":` + string(b) + `,"stream":"stdout","time":"2026-01-31T12:00:00.1Z"}` + "\n"
	}
	appendTo(t, path, "2026/01/31 plain\n"+docker("one\n")+docker("tw"))
	c := start(t, &Files{Globs: []string{path}, Transport: allAround})
	asIs := start(t, &Files{Globs: []string{path}})
	c.expect("2026/01/31 plain", "one")
	asIs.until("the lines that are there", func() bool { return len(asIs.lines) == 3 }) // who comes after the renaming reads the new file alone
	rename(t, path, path+".1")
	appendTo(t, path, docker("o\n")+docker("\x1b[1mthree\x1b[0m\n"))
	c.expect("2026/01/31 plain", "one", "two", "three")
	asIs.until("the lines as they are", func() bool { return len(asIs.lines) == 5 })
	if want := strings.TrimSuffix(docker("one\n"), "\n"); asIs.lines[1] != want {
		t.Errorf("%q, want %q", asIs.lines[1], want)
	}
}

// TestEndlessPart: what never ends holds the place up within bounds only, and is not read
// again for ever.
func TestEndlessPart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	var b strings.Builder
	part := "2026-01-31T12:00:00.1Z stdout P " + strings.Repeat("x", 100) + "\n"
	for range transport.PartsFor + 10 {
		b.WriteString(part)
	}
	appendTo(t, path, b.String()+"2026-01-31T12:00:00.1Z stderr F next\n")
	x := takeFrom(t, &Files{Globs: []string{path}, Transport: allAround})
	x.until("the line behind it", func() bool { return slices.Contains(x.lines, "next") })
	if len(x.lines) != 2 || len(x.lines[0]) != 100*(transport.PartsFor+1) {
		t.Errorf("%d lines, the first of %d bytes", len(x.lines), len(x.lines[0]))
	}
	for _, p := range x.pos {
		if want := int64(b.Len() + len("2026-01-31T12:00:00.1Z stderr F next\n")); p.Offset != want {
			t.Errorf("the place is %d, want %d", p.Offset, want)
		}
	}
}
