package cli

import (
	"strings"
	"testing"
)

// TestVisible: what would steer a terminal is shown, in whatever pieces it comes; all else is
// as it was.
func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"a line\n\tof Zeiß, 日本, 🦊 and \u00a0\n": "a line\n\tof Zeiß, 日本, 🦊 and \u00a0\n",
		"\x1b]0;title\x07":          `\x1b]0;title\x07`,
		"\x1b[2J\x08\x7f\r\n":       `\x1b[2J\x08\x7f\x0d` + "\n",
		"\u009b31m":                 `\x9b31m`, // CSI in one character
		"\x9b31m \xff":              `\x9b31m \xff`,
		"192.0.2.7 \u202e7.2.0.291": `192.0.2.7 \u202e7.2.0.291`,
		"cut \xe6\x97":              `cut \xe6\x97`,
	} {
		for step := 1; step <= len(text); step++ {
			var out, rest []byte
			for from := 0; from < len(text); from += step {
				out, rest = madeVisible(out, append(rest, text[from:min(from+step, len(text))]...))
			}
			got := string(out)
			for _, b := range rest {
				got += `\x` + string("0123456789abcdef"[b>>4]) + string("0123456789abcdef"[b&15])
			}
			if got != want {
				t.Errorf("%q in pieces of %d: %q, want %q", text, step, got, want)
			}
		}
	}
}

func FuzzVisible(f *testing.F) {
	f.Add([]byte("a\x1bb\xc2\x9b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		out, rest := madeVisible(nil, text)
		if strings.ContainsFunc(string(out), func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 }) || len(rest) > 3 {
			t.Errorf("%q: %q, %q", text, out, rest)
		}
	})
}
