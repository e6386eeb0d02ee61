package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func frame(stream byte, text string) string {
	head := make([]byte, 8)
	head[0] = stream
	binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
	return string(head) + text
}

const stamp = "2026-11-27T06:48:49.363102362Z "

func TestFrames(t *testing.T) {
	const podman = "2026-11-27T06:48:49Z "
	long := strings.Repeat("a", 16<<10)
	for _, c := range []struct {
		name, in string
		terminal bool
		want     string // records, and how it ends
	}{
		{"docker", frame(1, stamp+"one\n") + frame(2, stamp+"two\n"), false, "one|2:two|EOF"},
		{"podman", frame(1, podman+"one\n") + frame(2, podman+"\n"), false, "one|2:|EOF"},
		{"parts", frame(1, stamp+"on") + frame(2, stamp+"two\n") + frame(1, stamp+"e\n"), false, "on…|2:two|e|EOF"},
		{"empty", "", false, "EOF"},
		{"an empty frame", frame(1, "") + frame(1, stamp+"x\n"), false, "x|EOF"},
		{"without blanks at the end", frame(1, stamp[:len(stamp)-1]+"\n"), false, "|EOF"},
		{"two lines in a frame", frame(1, stamp+"one\n"+stamp+"two\n"), false, "one|two|EOF"},
		{"a line in two frames of one time", frame(1, stamp+"one\n") + frame(1, "two\n"), false, "one|two|EOF"},
		{"standard input's", frame(0, stamp+"x\n"), false, "x|EOF"},
		{"cut in the head", frame(1, stamp+"x\n") + "\x01\x00\x00", false, "x|unexpected EOF"},
		{"cut in the text", frame(1, stamp+"x\n")[:20], false, "unexpected EOF"},
		{"no stamp", frame(1, "x\n"), false, `what comes is not a container engine's log: "x" has no time before it`},
		{"a date that is none", frame(1, "2026-13-27T06:48:49Z x\n"), false, `what comes is not a container engine's log: "2026-13-27T06:48:49Z x" has no time before it`},
		{"what is no frame", "HTTP/1.1 400 Bad", false, "what comes is not a container engine's log: a frame begins with 48 54 54 50"},
		{"an error", frame(1, stamp+"x\n") + frame(3, "Error grabbing logs: \x1b[1mit is gone\n"), false, `x|the engine says: Error grabbing logs: \x1b[1mit is gone`},
		{"a length that is none", "\x01\x00\x00\x00\xff\xff\xff\xff" + stamp + "x\n", false, "unexpected EOF"},
		{"a terminal", stamp + "one\r\n" + stamp + "\x1b[1mtwo\r\n" + stamp + "three", true, "one\r|\x1b[1mtwo\r|three…|EOF"},
		{"a terminal's long line", stamp + long + stamp + "end\r\n" + stamp + "next\n", true, long + "end\r|next|EOF"},
		{"a terminal's line with a date in it", stamp + "x " + stamp + "y\n", true, "x " + stamp + "y|EOF"},
		{"a terminal without stamps", "x\n", true, `what comes is not a container engine's log: "x" has no time before it`},
	} {
		for _, in := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
			if got := told(NewReader(in, c.terminal)); got != c.want {
				t.Errorf("%s: %.200q, want %.200q", c.name, got, c.want)
			}
		}
	}
}

// told are the records of a reader, and how it ends.
func told(r *Reader) string {
	var out strings.Builder
	for {
		rec, err := r.Next()
		if err != nil {
			return out.String() + err.Error()
		}
		if rec.Stderr {
			out.WriteString("2:")
		}
		if out.Write(rec.Text); rec.Part {
			out.WriteString("…")
		}
		out.WriteString("|")
	}
}

// TestLongRecord: a line is taken up to MaxText, and what comes behind it is well.
func TestLongRecord(t *testing.T) {
	long := stamp + strings.Repeat("x", 3*MaxText) + "\n"
	for _, terminal := range []bool{false, true} {
		in := long + stamp + "next\n"
		if !terminal {
			in = frame(1, long) + frame(1, stamp+"next\n")
		}
		r := NewReader(strings.NewReader(in), terminal)
		rec, err := r.Next()
		if err != nil || len(rec.Text) > MaxText || len(rec.Text) < MaxText-stampMost || rec.Part {
			t.Fatalf("terminal %v: %d bytes, part %v, %v", terminal, len(rec.Text), rec.Part, err)
		}
		if rec, err = r.Next(); err != nil || string(rec.Text) != "next" {
			t.Errorf("terminal %v: %.40q, %v", terminal, rec.Text, err)
		}
	}
}

// FuzzReader: whatever comes, a reader ends, takes no more than it may, and frames that are well
// come as they are.
func FuzzReader(f *testing.F) {
	f.Add([]byte(frame(1, stamp+"one\n")+frame(2, stamp+"tw")), false, "text")
	f.Add([]byte(stamp+"one\r\n"+stamp+strings.Repeat("a", 9000)), true, "")
	f.Add([]byte("\x01\x00\x00\x00\xff\xff\xff\xff"), false, "x\ny")
	f.Fuzz(func(t *testing.T, data []byte, terminal bool, text string) {
		r := NewReader(bytes.NewReader(data), terminal)
		for n := 0; ; n++ {
			rec, err := r.Next()
			if err != nil {
				break
			}
			if len(rec.Text) > MaxText || bytes.IndexByte(rec.Text, '\n') >= 0 || rec.Stamp.IsZero() && rec.Stamp.Year() != 1 {
				t.Fatalf("%.100q at %v", rec.Text, rec.Stamp)
			}
			if n > len(data) {
				t.Fatal("more records than bytes")
			}
		}
		text = strings.ReplaceAll(text, "\n", " ")
		well := NewReader(strings.NewReader(frame(2, stamp+text+"\n")), false)
		rec, err := well.Next()
		if err != nil || string(rec.Text) != text || !rec.Stderr || rec.Part || rec.Stamp.UnixNano() != time.Date(2026, 11, 27, 6, 48, 49, 363102362, time.UTC).UnixNano() {
			t.Fatalf("%q: %+v, %v", text, rec, err)
		}
		if _, err := well.Next(); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	})
}

func TestParseSocket(t *testing.T) {
	for in, want := range map[string]string{
		"unix:///run/docker.sock": "/run/docker.sock", "/run/podman/podman.sock": "/run/podman/podman.sock",
		"tcp://127.0.0.1:2375": "", "docker.sock": "", "unix://docker.sock": "", "": "", "/" + strings.Repeat("x", 200): "",
	} {
		if got, err := ParseSocket(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}
