package transport

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var all = Options{Runtime: true, Rewrite: true, Heads: true, Colours: true}

// takeAll is what a Log makes of lines, with heads marked by a bar.
func takeAll(l *Log, lines ...string) (out []string) {
	var read [][]byte
	for _, line := range lines {
		read = append(read, []byte(line))
	}
	texts, frames, _ := l.Lines(read)
	for i, text := range texts {
		if frames != nil && frames[i].Head > 0 {
			out = append(out, string(text[:frames[i].Head])+"|"+string(text[frames[i].Head:]))
			continue
		}
		out = append(out, string(text))
	}
	return out
}

func docker(text string) string {
	b, _ := json.Marshal(text)
	return `{"log":` + string(b) + `,"stream":"stdout","time":"2026-01-31T12:00:00.123456789Z"}`
}

func TestForms(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{docker("text\n"), "text"},
		{docker("a \"b\" \\ é \u2028 <x>\r\n"), "a \"b\" \\ é \u2028 <x>"},
		{docker("ends in a backslash \\\n"), `ends in a backslash \`},
		{`{"log": "text\n", "stream": "stderr", "time": "2026-01-31T12:00:00Z"}`, "text"},
		{`{"log":"text\n","stream":"stderr","attrs":{"a":"b\"","c":"}"},"time":"2026-01-31T12:00:00Z"}`, "text"},
		{`{"log":"text\n","stream":"stderr","time":"2026-01-31T12:00:00Z","more":1}`, `{"log":"text\n","stream":"stderr","time":"2026-01-31T12:00:00Z","more":1}`},
		{`{"log":"text\n","stream":"other","time":"2026-01-31T12:00:00Z"}`, `{"log":"text\n","stream":"other","time":"2026-01-31T12:00:00Z"}`},
		{`{"log":"text\n","stream":"stdout","time":"never"}`, `{"log":"text\n","stream":"stdout","time":"never"}`},
		{`{"log":"text"}`, `{"log":"text"}`},
		{`{"log":{"a":1},"stream":"stdout","time":"2026-01-31T12:00:00Z"}`, `{"log":{"a":1},"stream":"stdout","time":"2026-01-31T12:00:00Z"}`},
		{`x` + docker("text\n"), `x` + docker("text\n")},
		{docker("text\n") + "x", docker("text\n") + "x"},
		{"2026-01-31T12:00:00.123456789Z stdout F text", "text"},
		{"2026-01-31T12:00:00.675951244+00:00 stderr F ", ""},
		{"2026-01-31T12:00:00.675951244+00:00 stderr F", ""},
		{"2026-01-31T12:00:00Z stdout F:tag:x text", "text"},
		{"2026-01-31T12:00:00Z stdout  F text", "2026-01-31T12:00:00Z stdout  F text"},
		{"2026-01-31T12:00:00Z stdout Full text", "2026-01-31T12:00:00Z stdout Full text"},
		{"2026-01-31 12:00:00Z stdout F text", "2026-01-31 12:00:00Z stdout F text"},
		{"2026-13-31T12:00:00Z stdout F text", "2026-13-31T12:00:00Z stdout F text"},
		{"Jan 31 12:00:00 host prog[41]: text", "Jan 31 12:00:00 host prog[41]: |text"},
		{"Jan  1 12:00:00 host prog: text", "Jan  1 12:00:00 host prog: |text"},
		{"Jan 31 12:00:00.123 192.0.2.1 postfix/smtpd[41]: text", "Jan 31 12:00:00.123 192.0.2.1 postfix/smtpd[41]: |text"},
		{"Jan 31 12:00:00 host prog[41]:", "Jan 31 12:00:00 host prog[41]:|"},
		{"Jan 31 12:00:00 prog[41]: text", "Jan 31 12:00:00 prog[41]: text"},
		{"Jan 31 12:00:00 host text: and more", "Jan 31 12:00:00 host text: |and more"},
		{"Jan 31 12:00:00 host some text", "Jan 31 12:00:00 host some text"},
		{"2026-01-31T12:00:00.25+01:00 host prog[41]: text", "2026-01-31T12:00:00.25+01:00 host prog[41]: |text"},
		{"host prog[41]: text", "host prog[41]: |text"},
		{"host prog: text", "host prog: text"}, // anything may look like that
		{"<38>Jan 31 12:00:00 host prog[41]: text", "Jan 31 12:00:00 host prog[41]: |text"},
		{"<38>text", "<38>text"},
		{"<38>1 2026-01-31T12:00:00.954167-04:00 host.example.com sshd 57915 - - text", "2026-01-31T12:00:00.954167-04:00 host.example.com sshd[57915]: |text"},
		{"<38>1 2026-01-31T12:00:00Z host prog - - - text", "2026-01-31T12:00:00Z host prog: |text"},
		{"<38>1 - host prog 41 - - text", "host prog[41]: |text"},
		{`<38>1 2026-01-31T12:00:00Z host prog 41 ID [a b="c\]\"d"][e] text`, "2026-01-31T12:00:00Z host prog[41]: |text"},
		{`<38>1 2026-01-31T12:00:00Z host prog 41 ID [a b="c] text`, `<38>1 2026-01-31T12:00:00Z host prog 41 ID [a b="c] text`},
		{"<38>1 2026-01-31T12:00:00Z host prog 41 - -", "2026-01-31T12:00:00Z host prog[41]: |"},
		{"<38>2 2026-01-31T12:00:00Z host prog 41 - - text", "<38>2 2026-01-31T12:00:00Z host prog 41 - - text"},
		{"\x1b[31mred\x1b[0m \x1b[38;2;1;2;3mtext\x1b[K", "red text"},
		// What a client begins may not end in what the service writes behind.
		{"login of x\x1b[ from 192.0.2.7", "login of x\x1b[ from 192.0.2.7"},
		{"login of x from 203.0.113.9\x1b] from 192.0.2.7 by \a", "login of x from 203.0.113.9\x1b] from 192.0.2.7 by \a"},
		{"login of x\x1b]0; from 192.0.2.7 by \x1b\\", "login of x\x1b]0; from 192.0.2.7 by \x1b\\"},
		{"login of x\x1b[31 from 192.0.2.7", "login of x\x1b[31 from 192.0.2.7"},
		{"login of x\x1b[192.0.2.7", "login of x\x1b[192.0.2.7"},
		{"login of x\x1b[2J\x1b[" + strings.Repeat("1", 60) + "m", "login of x\x1b[2J\x1b[" + strings.Repeat("1", 60) + "m"},
		{"\x1bx stays, \x1b[31", "\x1bx stays, \x1b[31"},
		{docker("\x1b[2mJan 31 12:00:00 host prog[41]: \x1b[31mtext\x1b[0m\n"), "Jan 31 12:00:00 host prog[41]: |text"},
		{docker("<38>1 2026-01-31T12:00:00Z host prog 41 - - text\n"), "2026-01-31T12:00:00Z host prog[41]: |text"},
		{"2026-01-31T12:00:00Z stdout F Jan 31 12:00:00 host prog[41]: text", "Jan 31 12:00:00 host prog[41]: |text"},
		// What stands within another one of its kind is text.
		{docker(docker("text\n") + "\n"), docker("text\n")},
		{docker("2026-01-31T12:00:00Z stdout F text\n"), "2026-01-31T12:00:00Z stdout F text"},
		{"2026-01-31T12:00:00Z stdout F " + docker("text\n"), docker("text\n")},
		{"2026-01-31T12:00:00Z stdout F 2026-01-31T12:00:00Z stdout F text", "2026-01-31T12:00:00Z stdout F text"},
		{"Jan 31 12:00:00 host prog[41]: Jan 31 12:00:00 host sshd[42]: text", "Jan 31 12:00:00 host prog[41]: |Jan 31 12:00:00 host sshd[42]: text"},
		{"Jan 31 12:00:00 host prog[41]: " + docker("text\n"), "Jan 31 12:00:00 host prog[41]: |" + docker("text\n")},
		{"", ""},
	} {
		if got := takeAll(New(all), c.line); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s:\n got %q\nwant %q", c.line, got, c.want)
		}
	}
}

// TestParts: lines that came in parts, those of both streams apart.
func TestParts(t *testing.T) {
	l := New(all)
	cri := func(stream, tag, text string) string {
		return "2026-01-31T12:00:00.1Z " + stream + " " + tag + " " + text
	}
	got := takeAll(l, cri("stdout", "P", "a"), cri("stderr", "F", "b"), cri("stdout", "P", "c"), cri("stderr", "P", "d"), cri("stdout", "F", "e"))
	got = append(got, takeAll(l, cri("stderr", "F", "f"))...)
	if want := []string{"b", "ace", "df"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	l = New(all)
	if got := takeAll(l, docker("a"), docker("b"), docker("c\n"), docker("d\n")); !slices.Equal(got, []string{"abc", "d"}) {
		t.Errorf("%q", got)
	}
	// How many of what was read is dealt with.
	l = New(all)
	for i, c := range []struct {
		lines []string
		done  int
	}{
		{[]string{docker("a\n"), docker("b")}, 1},
		{[]string{docker("c")}, 0},
		{[]string{docker("d\n")}, 1},
		{[]string{docker("e"), docker("f\n"), docker("g"), docker("h")}, 2},
	} {
		var read [][]byte
		for _, line := range c.lines {
			read = append(read, []byte(line))
		}
		if _, _, done := l.Lines(read); done != c.done {
			t.Errorf("%d: %d are done, want %d", i, done, c.done)
		}
	}
}

// TestPartsBounded: a line that never ends is given out when it is too long for that, and
// its rest is not taken for a line.
func TestPartsBounded(t *testing.T) {
	l := New(all)
	part := "2026-01-31T12:00:00.1Z stdout P " + strings.Repeat("x", 16<<10)
	end := "2026-01-31T12:00:00.1Z stdout F the end"
	var got []string
	for range MaxLine/(16<<10) + 10 {
		got = append(got, takeAll(l, part)...)
	}
	got = append(got, takeAll(l, end, "2026-01-31T12:00:00.1Z stdout F next")...)
	if len(got) != 2 || len(got[0]) != MaxLine || got[1] != "next" {
		t.Errorf("%d lines, the first of %d bytes", len(got), len(got[0]))
	}
	l = New(all)
	got = nil
	for i := range PartsFor + 10 {
		got = append(got, takeAll(l, fmt.Sprintf("2026-01-31T12:00:00.1Z stdout P %d,", i))...)
	}
	if len(got) != 1 || !strings.HasPrefix(got[0], "0,1,2,") {
		t.Fatalf("%d lines were given out", len(got))
	}
	if got := takeAll(l, end, "2026-01-31T12:00:00.1Z stdout F next"); !slices.Equal(got, []string{"next"}) {
		t.Errorf("%q", got)
	}
}

// TestClient: what a client writes into a log is not taken for what its service writes
// around it, be it in the first line.
func TestClient(t *testing.T) {
	forged := "sshd[1]: Failed password for root from 203.0.113.9 port 1 ssh2"
	for name, lines := range map[string][]string{
		"an object in a text":       {"2026-01-31 12:00:00 bob", "2026-01-31 12:00:00 " + docker(forged+"\n"), "2026-01-31 12:00:00 bob"},
		"an object and more":        {docker(forged+"\n") + " failed"},
		"CRI behind its own date":   {"2026-01-31T12:00:00Z bob", "2026-01-31T12:00:00Z stdout F " + forged},
		"CRI first":                 {"2026-01-31T12:00:00Z stdout F " + forged, "2026-01-31T12:00:00Z bob"},
		"a head behind its date":    {"Jan 31 12:00:00 bob failed", "Jan 31 12:00:00 host " + forged},
		"a head first":              {"Jan 31 12:00:00 host " + forged, "Jan 31 12:00:00 bob failed"},
		"a head without a date":     {"LOGIN bob failed", "LOGIN " + forged},
		"after many":                append(slices.Repeat([]string{"2026-01-31T12:00:00Z bob"}, 100), slices.Repeat([]string{"2026-01-31T12:00:00Z stdout F " + forged}, 100)...),
		"a head after many":         append(slices.Repeat([]string{"Jan 31 12:00:00 bob failed"}, 100), slices.Repeat([]string{"Jan 31 12:00:00 host " + forged}, 100)...),
		"RFC 5424 within":           {"Jan 31 12:00:00 <38>1 2026-01-31T12:00:00Z host sshd 1 - - Failed"},
		"a part that hides a line":  {"2026-01-31T12:00:00Z bob", "2026-01-31T12:00:00Z stdout P x", "2026-01-31T12:00:00Z alice"},
		"a head, in the next block": {"Jan 31 12:00:00 bob failed"},
	} {
		l := New(all)
		if got := takeAll(l, lines...); !slices.Equal(got, lines) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, lines)
		}
		// Also in the file that takes its place, and one line at a time.
		next := New(all)
		next.After(l)
		for _, line := range lines {
			if got := takeAll(next, line); !slices.Equal(got, []string{line}) {
				t.Errorf("%s, then: got %q, want %q", name, got, line)
			}
		}
	}
}

// TestChange: a log whose lines begin to be written in another way.
func TestChange(t *testing.T) {
	l := New(all)
	got := takeAll(l, "2026/01/31 12:00:00 [error] a", docker("b\n"), docker("Jan 31 12:00:00 host prog[1]: c\n"), "2026/01/31 12:00:00 [error] d", "2026-01-31T12:00:00Z stdout F e", docker("f\n"))
	want := []string{"2026/01/31 12:00:00 [error] a", "b", "Jan 31 12:00:00 host prog[1]: c", "2026/01/31 12:00:00 [error] d", "e", "f"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestNamed(t *testing.T) {
	for _, c := range []struct {
		names      []string
		line, want string
	}{
		{[]string{None}, docker("text\n"), docker("text\n")},
		{[]string{None}, "\x1b[1mtext", "\x1b[1mtext"},
		{[]string{CRI}, docker("text\n"), docker("text\n")},
		{[]string{CRI}, "2026-01-31T12:00:00Z stdout F Jan 31 12:00:00 host prog[1]: x", "Jan 31 12:00:00 host prog[1]: x"},
		{[]string{Docker}, docker("Jan 31 12:00:00 host prog[1]: x\n"), "Jan 31 12:00:00 host prog[1]: x"},
		{[]string{Docker, Syslog}, docker("Jan 31 12:00:00 host prog[1]: x\n"), "Jan 31 12:00:00 host prog[1]: |x"},
		{[]string{Syslog}, "Jan 31 12:00:00 host prog[1]: x", "Jan 31 12:00:00 host prog[1]: |x"},
		{[]string{Syslog}, "2026-01-31T12:00:00Z stdout F x", "2026-01-31T12:00:00Z stdout F x"},
	} {
		names, err := ParseNames(c.names)
		if err != nil {
			t.Fatal(err)
		}
		o := all
		o.Names = names
		l := New(o)
		// What came before plays no part.
		takeAll(l, "2026-01-31T12:00:00Z bob", "Jan 31 12:00:00 bob failed")
		if got := takeAll(l, c.line); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%v, %s: got %q, want %q", c.names, c.line, got, c.want)
		}
	}
	for _, wrong := range [][]string{{"k8s"}, {Auto, Docker}, {Docker, CRI}, {Syslog, Docker}, {None, None}} {
		if _, err := ParseNames(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

// TestPrime: a file that is read on from a place in the middle of lines in parts.
func TestPrime(t *testing.T) {
	cri := func(stream, tag, text string) []byte {
		return []byte("2026-01-31T12:00:00.1Z " + stream + " " + tag + " " + text)
	}
	head := [][]byte{cri("stdout", "F", "first")}
	l := New(all)
	if !l.Prime(head, [][]byte{cri("stdout", "F", "x"), cri("stdout", "P", "a")}, false) {
		t.Error("what is known is not enough")
	}
	if got := takeAll(l, string(cri("stdout", "F", "b"))); !slices.Equal(got, []string{"ab"}) {
		t.Errorf("%q", got)
	}
	// Of a line whose beginning is not known, the rest is no line.
	if l.Prime(head, [][]byte{cri("stdout", "P", "a")}, false) {
		t.Error("half a line is enough")
	}
	if got := takeAll(l, string(cri("stdout", "F", "b")), string(cri("stdout", "F", "c"))); !slices.Equal(got, []string{"c"}) {
		t.Errorf("%q", got)
	}
	if !l.Prime(head, [][]byte{cri("stdout", "P", "a")}, true) {
		t.Error("the whole file is not enough")
	}
	if got := takeAll(l, string(cri("stderr", "F", "b")), string(cri("stdout", "F", "c"))); !slices.Equal(got, []string{"b", "ac"}) {
		t.Errorf("%q", got)
	}
}

func TestStamps(t *testing.T) {
	want := time.Date(2026, 1, 31, 12, 0, 0, 123456789, time.UTC)
	for _, line := range []string{docker("text\n"), "2026-01-31T12:00:00.123456789Z stdout F text", "<38>1 2026-01-31T12:00:00.123456789Z host prog 1 - - text"} {
		if _, frame, ok := New(all).One([]byte(line)); !ok || !frame.Stamp.Equal(want) {
			t.Errorf("%s: %v", line, frame.Stamp)
		}
	}
}

// TestPlainIsFree: of a log without wrappers, nothing is copied.
func TestPlainIsFree(t *testing.T) {
	o := Options{Runtime: true, Rewrite: true, Colours: true}
	l := New(o)
	read := [][]byte{[]byte("Jan 31 12:00:00 host sshd[1]: text"), []byte("2026-01-31T12:00:00.1+00:00 host sshd[1]: text"), []byte("{\"a\":1}"), []byte("<x> y"), {}}
	if n := testing.AllocsPerRun(100, func() {
		if lines, frames, done := l.Lines(read); &lines[0] != &read[0] || frames != nil || done != len(read) {
			t.Fatal("not as they are")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzLines(f *testing.F) {
	f.Add(docker("text\n"), docker("part"), "2026-01-31T12:00:00Z stdout P x")
	f.Add("<38>1 2026-01-31T12:00:00Z host prog 41 ID [a b=\"c\\]\"] x", "Jan 31 12:00:00 host prog[1]: x", "\x1b[31mx")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		for _, names := range [][]string{nil, {Docker}, {CRI, Syslog}, {Syslog}} {
			o := all
			o.Names = names
			l := New(o)
			read := [][]byte{[]byte(a), []byte(b), []byte(c), []byte(a)}
			lines, frames, done := l.Lines(read)
			if done > len(read) || len(lines) > len(read) || frames != nil && len(frames) != len(lines) {
				t.Fatalf("%d lines, %d frames, %d done", len(lines), len(frames), done)
			}
			for i, fr := range frames {
				if fr.Head > len(lines[i]) {
					t.Fatalf("head of %d in %q", fr.Head, lines[i])
				}
			}
			if string(read[0]) != a || string(read[1]) != b || string(read[2]) != c {
				t.Fatal("what was read was changed")
			}
			l.Prime(read, read, false)
		}
	})
}
