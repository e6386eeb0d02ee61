package syslog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func frames(in io.Reader) (out []string, cut int, err error) {
	f := NewFramer(in)
	for {
		msg, err := f.Next()
		if err != nil {
			return out, f.Cut, err
		}
		out = append(out, string(msg))
	}
}

func TestFramer(t *testing.T) {
	long := strings.Repeat("x", MaxMessage)
	for _, c := range []struct {
		name, in string
		want     []string
		cut      int
		err      error
	}{
		{"newlines", "<1>a\n<2>b\r\n\n<3>c\n", []string{"<1>a", "<2>b\r", "", "<3>c"}, 0, io.EOF},
		{"the last one without", "<1>a\n<2>b", []string{"<1>a", "<2>b"}, 0, io.EOF},
		{"counts", "4 <1>a5 <2>\nb4 <3>c", []string{"<1>a", "<2>\nb", "<3>c"}, 0, io.EOF},
		{"counts, with newlines that aren't counted", "4 <1>a\n4 <2>b\n", []string{"<1>a", "<2>b"}, 0, io.EOF},
		{"a count that is too large", "9 <1>a", nil, 0, io.ErrUnexpectedEOF},
		{"what looks like a count behind a newline", "<1>a\n4 <2>b\n", []string{"<1>a", "4 <2>b"}, 0, io.EOF},
		{"a newline in place of a count", "4 <1>a<2>b\n", []string{"<1>a"}, 0, ErrFraming},
		{"a count of nothing", "0 4 <1>a", nil, 0, ErrFraming},
		{"no blank behind a count", "4<1>a", nil, 0, ErrFraming},
		{"a date", "2026-01-31T12:00:00 host", nil, 0, ErrFraming},
		{"a count of more than anybody sends", "12345678 x", nil, 0, ErrFraming},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", nil, 0, ErrFraming},
		{"TLS", "\x16\x03\x01\x02\x00\x01", nil, 0, ErrFraming},
		{"nothing", "", nil, 0, io.EOF},
		{"blanks", " \n \n", nil, 0, io.EOF},
		{"a long line", "<1>" + long + "yz\n<2>b\n", []string{("<1>" + long)[:MaxMessage], "<2>b"}, 1, io.EOF},
		{"a long line without an end", "<1>" + long + long + "yz", []string{("<1>" + long)[:MaxMessage]}, 1, io.EOF},
		{"a long message", fmt.Sprintf("%d %syz4 <2>b", MaxMessage+2, long), []string{long, "<2>b"}, 1, io.EOF},
		{"as long as can be", "<" + long[1:] + "\n" + "<2>b\n", []string{"<" + long[1:], "<2>b"}, 0, io.EOF},
	} {
		for _, how := range []struct {
			name string
			in   io.Reader
		}{{"at once", strings.NewReader(c.in)}, {"byte by byte", iotest.OneByteReader(strings.NewReader(c.in))}, {"by halves", iotest.HalfReader(strings.NewReader(c.in))}} {
			got, cut, err := frames(how.in)
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) || !errors.Is(err, c.err) || errors.Is(c.err, io.EOF) != (err == io.EOF) {
				t.Errorf("%s, %s: %.200q, %v, want %.200q, %v", c.name, how.name, got, err, c.want, c.err)
			}
			// A line of exactly so many bytes may be taken for cut until its newline comes.
			if cut != c.cut && !strings.HasPrefix(c.name, "as long") {
				t.Errorf("%s, %s: %d were cut, want %d", c.name, how.name, cut, c.cut)
			}
		}
	}
}

func FuzzFramer(f *testing.F) {
	f.Add([]byte("<1>a\n<2>b\n"), 3)
	f.Add([]byte("4 <1>a\n5 <2>bc"), 1)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		piece = max(1, min(piece, 100))
		whole, _, err := frames(bytes.NewReader(data))
		parts, _, partsErr := frames(&pieces{data, piece})
		if fmt.Sprint(whole, err) != fmt.Sprint(parts, partsErr) {
			t.Errorf("%q at once: %q, %v; in pieces: %q, %v", data, whole, err, parts, partsErr)
		}
		n := 0
		for _, msg := range whole {
			n += len(msg)
		}
		if n > len(data) {
			t.Errorf("%d bytes of %d", n, len(data))
		}
	})
}

type pieces struct {
	data []byte
	n    int
}

func (p *pieces) Read(to []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(to, p.data[:min(p.n, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}
