package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/transport"
)

// wrapper puts something around a line; head is the length of its head of syslog, if it has
// one.
type wrapper struct {
	name string
	wrap func(line string, head int) string
}

// message is a line without its head, and what that says.
func message(line string, head int) (date, host, tag, text string) {
	if head == 0 {
		return "2026-01-31T12:00:00+00:00", "node", "app[41]", line
	}
	words := strings.Fields(line[:head])
	tag = strings.TrimSuffix(words[len(words)-1], ":")
	return "2026-01-31T12:00:00+00:00", words[len(words)-2], tag, line[head:]
}

var wrappers = []wrapper{
	{"docker", func(line string, _ int) string {
		text, _ := json.Marshal(line + "\n")
		return `{"log":` + string(text) + `,"stream":"stderr","time":"2026-01-31T12:00:00.123456789Z"}`
	}},
	{"docker, attrs", func(line string, _ int) string {
		text, _ := json.Marshal(line + "\n")
		return `{"log":` + string(text) + `,"stream":"stdout","attrs":{"tag":"x\"y"},"time":"2026-01-31T12:00:00.1Z"}`
	}},
	{"docker, two parts", func(line string, _ int) string {
		var out []string
		for _, part := range []string{line[:len(line)/2], line[len(line)/2:] + "\n"} {
			text, _ := json.Marshal(part)
			out = append(out, `{"log":`+string(text)+`,"stream":"stderr","time":"2026-01-31T12:00:00.123456789Z"}`)
		}
		return strings.Join(out, "\n")
	}},
	{"cri", func(line string, _ int) string { return "2026-01-31T12:00:00.123456789Z stdout F " + line }},
	{"cri, two parts", func(line string, _ int) string {
		half := len(line) / 2
		return "2026-01-31T12:00:00.123456789+00:00 stderr P " + line[:half] + "\n2026-01-31T12:00:00.123456790+00:00 stderr F " + line[half:]
	}},
	{"colours", func(line string, _ int) string { return "\x1b[2m" + line + "\x1b[0m" }},
	{"docker, colours", func(line string, _ int) string {
		text, _ := json.Marshal("\x1b[31;1m" + line + "\x1b[m\r\n")
		return `{"log":` + string(text) + `,"stream":"stdout","time":"2026-01-31T12:00:00Z"}`
	}},
	{"RFC 3164", func(line string, head int) string {
		_, host, tag, text := message(line, head)
		return fmt.Sprintf("Jan 31 12:00:00 %s %s: %s", host, tag, text)
	}},
	{"ISO", func(line string, head int) string {
		_, host, tag, text := message(line, head)
		return fmt.Sprintf("2026-01-31T12:00:00.123456+00:00 %s %s: %s", host, tag, text)
	}},
	{"<38> RFC 3164", func(line string, head int) string {
		_, host, tag, text := message(line, head)
		return fmt.Sprintf("<38>Jan 31 12:00:00 %s %s: %s", host, tag, text)
	}},
	{"RFC 5424", func(line string, head int) string {
		date, host, tag, text := message(line, head)
		program, pid, _ := strings.Cut(strings.TrimSuffix(tag, "]"), "[")
		if pid == "" {
			pid = "-"
		}
		return fmt.Sprintf("<38>1 %s %s %s %s - - %s", date, host, program, pid, text)
	}},
	{"RFC 5424, data", func(line string, head int) string {
		date, host, tag, text := message(line, head)
		program, pid, _ := strings.Cut(strings.TrimSuffix(tag, "]"), "[")
		if pid == "" {
			pid = "-"
		}
		return fmt.Sprintf(`<134>1 %s %s %s %s ID47 [a@1 b="c\"]d" e="f"][g@2] `+"\uFEFF"+`%s`, date, host, program, pid, text)
	}},
}

// TestAround has all filters look at their own samples behind everything that may stand
// around a line, and in the journal.
func TestAround(t *testing.T) {
	sequential(t)
	cfg, err := Load(Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 31, 12, 0, 30, 0, time.UTC)
	samples := 0
	for _, name := range sortedKeys(cfg.Filters) {
		f := cfg.Filters[name]
		for _, s := range f.Samples {
			if s.Trusted != nil {
				continue
			}
			samples++
			def, err := f.definition(s.Mode)
			if err != nil {
				t.Fatal(err)
			}
			check := func(how string, r *filter.Result) {
				t.Helper()
				got := ""
				if len(r.Failures) > 0 {
					got = r.Failures[0].ID
				}
				want := ""
				if s.Match {
					want = s.Host
				}
				switch {
				case got != want:
					t.Errorf("%s:%d: behind %s: %q, want %q: %s", s.File, s.LineNo, how, got, want, s.Line)
				case s.Match && (!r.Dated || r.Time.IsZero() || r.Failures[0].Time.IsZero()):
					t.Errorf("%s:%d: behind %s: no time: %s", s.File, s.LineNo, how, s.Line)
				}
			}
			for _, w := range wrappers {
				c := compileFilter(t, def)
				var lines []string
				for _, line := range strings.Split(s.Line, "\n") {
					lines = append(lines, strings.Split(w.wrap(line, headOf(line)), "\n")...)
				}
				r := apply(c, &def, lines, now)
				check(w.name, &r)
			}
			c := compileFilter(t, def)
			var r filter.Result
			for _, line := range strings.Split(s.Line, "\n") {
				_, host, tag, text := message(line, headOf(line))
				head := host + " " + tag + ": "
				r = c.MatchEntry("2026-01-31T12:00:00+00:00 ", []byte(head+text), transport.Frame{Head: len(head)}, now)
			}
			check("the journal", &r)
		}
	}
	t.Logf("%d samples of %d filters behind %d wrappers and in the journal", samples, len(cfg.Filters), len(wrappers))
}

func headOf(line string) int {
	log := transport.New(transport.Options{Heads: true})
	if _, frame, ok := log.One([]byte(line)); ok && transport.HasHead([]byte(line)) {
		return frame.Head
	}
	return 0
}

func compileFilter(t *testing.T, def filter.Definition) *filter.Filter {
	t.Helper()
	f, err := filter.Compile(def, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
