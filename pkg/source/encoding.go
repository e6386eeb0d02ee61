package source

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"

	"bailiff/pkg/lazyregexp"
)

// Encoding is how the characters of a log are written: fail2ban's logencoding. A
// nil Encoding is UTF-8.
type Encoding struct {
	Name    string // as fail2ban prints it
	newline []byte // nil: "\n"
	kind    encodingKind
	text    encoding.Encoding
}

type encodingKind uint8

const (
	utf8Encoding encodingKind = iota
	asciiEncoding
	otherEncoding
)

var (
	codePage    = lazyregexp.New(`^(?:cp|windows)(\d+)$`)
	windowsPage = lazyregexp.New(`^(?:874|125[0-8])$`)
)

// LookupEncoding finds an encoding by its name, as Python's codecs, the IANA and
// locales have it: utf-8, ascii, latin-1, cp1252, koi8-r, utf-16le, … The empty
// name and "auto" are the encoding of the locale.
func LookupEncoding(name string) (*Encoding, error) {
	if name == "" || strings.EqualFold(name, "auto") {
		name = localeEncoding(os.Getenv)
	}
	e := &Encoding{Name: name}
	plain := strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name))
	switch plain {
	case "utf8", "u8", "utf", "utf8ucs2", "utf8ucs4", "cp65001":
		return e, nil
	case "ascii", "usascii", "646", "ansix3.41968", "iso646us":
		e.kind = asciiEncoding
		return e, nil
	}
	e.kind = otherEncoding
	switch plain {
	case "utf16", "u16":
		e.text, e.newline = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), []byte("\n\x00")
	case "utf16le", "unicodelittleunmarked":
		e.text, e.newline = unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), []byte("\n\x00")
	case "utf16be", "unicodebigunmarked":
		e.text, e.newline = unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), []byte("\x00\n")
	case "utf32", "u32", "utf32le":
		e.text, e.newline = utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM), []byte("\n\x00\x00\x00")
	case "utf32be":
		e.text, e.newline = utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM), []byte("\x00\x00\x00\n")
	default:
		e.text = named(name, plain)
	}
	if e.text == nil {
		return nil, fmt.Errorf("unknown encoding: %s", name)
	}
	return e, nil
}

// named asks the IANA's register, in the spellings that people use.
func named(name, plain string) encoding.Encoding {
	tries := []string{name, strings.ReplaceAll(name, "_", "-")}
	if m := codePage.FindStringSubmatch(plain); m != nil {
		if windowsPage.MatchString(m[1]) {
			tries = append(tries, "windows-"+m[1])
		}
		tries = append(tries, "IBM"+m[1])
	}
	for _, prefix := range []string{"iso8859", "8859", "latin", "l"} {
		n, ok := strings.CutPrefix(plain, prefix)
		if !ok {
			continue
		}
		if prefix == "iso8859" || prefix == "8859" {
			tries = append(tries, "iso-8859-"+n)
		} else {
			tries = append(tries, "latin"+n)
		}
	}
	if s, ok := strings.CutPrefix(plain, "koi8"); ok {
		tries = append(tries, "koi8-"+s)
	}
	switch plain {
	case "sjis", "shiftjis":
		tries = append(tries, "Shift_JIS")
	case "eucjp", "ujis":
		tries = append(tries, "EUC-JP")
	case "euckr":
		tries = append(tries, "EUC-KR")
	}
	for _, t := range tries {
		if e, err := ianaindex.IANA.Encoding(t); err == nil && e != nil {
			return e
		}
	}
	return nil
}

// localeEncoding is the encoding that the environment names, under the name that
// Python gives it.
func localeEncoding(env func(string) string) string {
	for _, v := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		locale := env(v)
		if locale == "" {
			continue
		}
		if _, charset, ok := strings.Cut(locale, "."); ok {
			charset, _, _ = strings.Cut(charset, "@")
			if strings.EqualFold(strings.ReplaceAll(charset, "-", ""), "utf8") {
				return "UTF-8"
			}
			return charset
		}
		break
	}
	return "utf-8"
}

// width is the length of a newline in bytes.
// Wide reports whether characters are of two or four bytes.
func (e *Encoding) Wide() bool { return e.width() > 1 }

func (e *Encoding) width() int64 {
	if e == nil || e.newline == nil {
		return 1
	}
	return int64(len(e.newline))
}

// count counts the newlines in a text that begins with a whole character.
func (e *Encoding) count(b []byte) (n int) {
	if e == nil || e.newline == nil {
		return bytes.Count(b, []byte{'\n'})
	}
	for {
		i := e.index(b)
		if i < 0 {
			return n
		}
		n, b = n+1, b[i+len(e.newline):]
	}
}

// index finds the first newline in a text that begins with a whole character.
func (e *Encoding) index(b []byte) int {
	if e == nil || e.newline == nil {
		return bytes.IndexByte(b, '\n')
	}
	for from := 0; ; {
		i := bytes.Index(b[from:], e.newline)
		if i < 0 {
			return -1
		}
		if i += from; i%len(e.newline) == 0 {
			return i
		}
		from = i + 1
	}
}

// Decode returns a line, given without its newline, in UTF-8. What can't be read
// becomes U+FFFD, one for each sequence, as Python's "replace" makes it.
func (e *Encoding) Decode(line []byte) []byte {
	if e == nil {
		return validUTF8(line)
	}
	switch e.kind {
	case utf8Encoding:
		return validUTF8(line)
	case asciiEncoding:
		return asciiOnly(line)
	}
	out, err := e.text.NewDecoder().Bytes(line)
	if err != nil {
		return validUTF8(line)
	}
	return bytes.TrimPrefix(out, []byte("\uFEFF"))
}

// damaged reports whether a line holds bytes that are no characters.
func (e *Encoding) damaged(line []byte) bool {
	if e == nil || e.kind == utf8Encoding {
		return !utf8.Valid(line)
	}
	if e.kind == asciiEncoding {
		return bytes.IndexFunc(line, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0
	}
	return false
}

func (e *Encoding) name() string {
	if e == nil {
		return "UTF-8"
	}
	return e.Name
}

const replacement = "\uFFFD"

func asciiOnly(line []byte) []byte {
	out := line
	for i, c := range line {
		if c < utf8.RuneSelf {
			continue
		}
		out = bytes.Clone(line[:i])
		for _, c := range line[i:] {
			if c < utf8.RuneSelf {
				out = append(out, c)
			} else {
				out = append(out, replacement...)
			}
		}
		break
	}
	return out
}

// validUTF8 replaces each ill-formed sequence by one U+FFFD: a sequence is as long
// as it could still have become a character (The Unicode Standard 3.9, best
// practice for using U+FFFD).
func validUTF8(line []byte) []byte {
	if utf8.Valid(line) {
		return line
	}
	out := make([]byte, 0, len(line)+8)
	for len(line) > 0 {
		if r, size := utf8.DecodeRune(line); r != utf8.RuneError || size > 1 {
			out = append(out, line[:size]...)
			line = line[size:]
			continue
		}
		out = append(out, replacement...)
		line = line[illFormed(line):]
	}
	return out
}

// illFormed is the length of the ill-formed sequence at the beginning.
func illFormed(b []byte) int {
	lo, hi, n := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		n = 1
	case c >= 0xe0 && c <= 0xef:
		n = 2
		if c == 0xe0 {
			lo = 0xa0
		} else if c == 0xed {
			hi = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		n = 3
		if c == 0xf0 {
			lo = 0x90
		} else if c == 0xf4 {
			hi = 0x8f
		}
	}
	size := 1
	for ; size <= n && size < len(b) && b[size] >= lo && b[size] <= hi; size++ {
		lo, hi = 0x80, 0xbf
	}
	return size
}
