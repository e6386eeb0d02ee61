package transport

import (
	"slices"
	"testing"
	"time"
)

// TestEnginesFiles: files as the engines wrote them: podman 4.3's k8s-file, with a line in pieces
// of any length and an end by itself, and a container that ended in the middle of a line; docker's
// json-file and containerd's with parts of both streams between one another.
func TestEnginesFiles(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"podman", []string{
			"2026-11-27T06:57:12.335689956+00:00 stdout F hello",
			"2026-11-27T06:57:12.335689956+00:00 stdout P one ",
			"2026-11-27T06:57:12.644213956+00:00 stdout F two",
			"2026-11-27T07:05:14.005000000+00:00 stdout P aaaa",
			"2026-11-27T07:05:14.005008000+00:00 stderr F err 0",
			"2026-11-27T07:05:14.005030901+00:00 stdout F ",
			"2026-11-27T07:05:14.005056449+00:00 stdout P no newline",
		}, []string{"hello", "one two", "err 0", "aaaa"}},
		{"docker", []string{
			`{"log":"10.88.0.1 - - \"GET / HTTP/1.1\" 401\n","stream":"stdout","time":"2026-11-27T06:57:12.335689956Z"}`,
			`{"log":"first part, ","stream":"stdout","time":"2026-11-27T06:57:12.4Z"}`,
			`{"log":"\u001b[31merror\u001b[0m\r\n","stream":"stderr","time":"2026-11-27T06:57:12.5Z"}`,
			`{"log":"second\n","stream":"stdout","time":"2026-11-27T06:57:12.4Z"}`,
			`{"log":"\n","stream":"stdout","time":"2026-11-27T06:57:13Z"}`,
		}, []string{`10.88.0.1 - - "GET / HTTP/1.1" 401`, "error", "first part, second", ""}},
		{"containerd", []string{
			"2026-11-27T06:57:12.335689956Z stdout F one",
			"2026-11-27T06:57:12.4Z stdout P tw",
			"2026-11-27T06:57:12.4Z stderr P thr",
			"2026-11-27T06:57:12.5Z stdout F o",
			"2026-11-27T06:57:12.6Z stderr F ee",
		}, []string{"one", "two", "three"}},
	} {
		l := New(Options{Runtime: true, Colours: true})
		var got []string
		for _, line := range c.lines {
			if text, frame, ok := l.One([]byte(line)); ok {
				if got = append(got, string(text)); frame.Stamp.Year() != 2026 {
					t.Errorf("%s: %q is of %v", c.name, text, frame.Stamp)
				}
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestRecords: lines out of whose wrapper somebody else has taken them.
func TestRecords(t *testing.T) {
	at := time.Date(2026, 11, 27, 6, 57, 12, 0, time.UTC)
	type step struct {
		r    Record
		want string // … where it is a part
	}
	for _, c := range []struct {
		name  string
		opt   Options
		steps []step
		rest  []string
	}{
		{"parts", Options{Runtime: true}, []step{
			{Record{Text: []byte("a"), Stamp: at, Part: true}, "…"},
			{Record{Text: []byte("x"), Stamp: at, Stderr: true}, "x"},
			{Record{Text: []byte("b\r"), Stamp: at}, "ab"},
			{Record{Text: []byte("no end"), Stamp: at, Part: true}, "…"},
		}, []string{"no end"}},
		{"what looks like another wrapper is text", Options{Runtime: true, Heads: true}, []step{
			{Record{Text: []byte("2026-11-27T06:57:12Z stdout F forged"), Stamp: at}, "2026-11-27T06:57:12Z stdout F forged"},
			{Record{Text: []byte(`{"log":"forged\n","stream":"stdout","time":"2026-11-27T06:57:12Z"}`), Stamp: at}, `{"log":"forged\n","stream":"stdout","time":"2026-11-27T06:57:12Z"}`},
		}, nil},
		{"nothing is taken off", Options{Names: []string{None}, Colours: true}, []step{
			{Record{Text: []byte("\x1b[1mx"), Stamp: at}, "\x1b[1mx"},
		}, nil},
	} {
		l := NewRecords(c.opt)
		for _, s := range c.steps {
			text, frame, ok := l.Take(s.r)
			got := string(text)
			if !ok {
				got = "…"
			}
			if got != s.want || ok && !frame.Stamp.Equal(at) || ok && frame.Head != 0 {
				t.Errorf("%s: %q of %v, head %d; want %q", c.name, got, frame.Stamp, frame.Head, s.want)
			}
		}
		var rest []string
		waits := l.Parts().Waits()
		lines, _ := l.Rest()
		for _, line := range lines {
			rest = append(rest, string(line))
		}
		if !slices.Equal(rest, c.rest) || waits != (len(c.rest) > 0) || l.Parts().Waits() {
			t.Errorf("%s: %q is left, waits %v", c.name, rest, waits)
		}
	}
}
