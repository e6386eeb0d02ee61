package cli

import (
	"fmt"
	"io"
	"os"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// What is printed may be what a stranger wrote into a log, or what a server answers that is
// none of ours. On a terminal, characters that would steer that are shown in place of being
// carried out, as \x1b. Into a file or a pipe everything goes as it is.

// screen is a terminal.
type screen struct {
	f    *os.File
	rest []byte // the beginning of a character
}

// printing returns what to print to, and what is called when all was printed.
func printing(f *os.File) (w io.Writer, end func()) {
	if !term.IsTerminal(int(f.Fd())) {
		return f, func() {}
	}
	v := &screen{f: f}
	return v, v.end
}

// terminal returns the terminal that a writer prints to, if it is one.
func terminal(w io.Writer) (*os.File, bool) {
	switch w := w.(type) {
	case *screen:
		return w.f, true
	case *os.File:
		return w, term.IsTerminal(int(w.Fd()))
	}
	return nil, false
}

func (v *screen) Write(p []byte) (int, error) {
	text := append(v.rest, p...)
	var out []byte
	out, v.rest = madeVisible(make([]byte, 0, len(text)), text)
	if _, err := v.f.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// end prints what may have been the beginning of a character.
func (v *screen) end() {
	for _, b := range v.rest {
		fmt.Fprintf(v.f, `\x%02x`, b)
	}
	v.rest = nil
}

// madeVisible appends a text to out. rest is the beginning of a character at its end.
func madeVisible(out, text []byte) (_, rest []byte) {
	for len(text) > 0 {
		if !utf8.FullRune(text) {
			return out, append([]byte(nil), text...)
		}
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			out = fmt.Appendf(out, `\x%02x`, text[0])
		case r == '\n' || r == '\t':
			out = append(out, byte(r))
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			out = fmt.Appendf(out, `\x%02x`, r)
		case unicode.Is(unicode.Bidi_Control, r): // a line that reads the other way round
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, text[:n]...)
		}
		text = text[n:]
	}
	return out, nil
}
