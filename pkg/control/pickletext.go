package control

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Texts and bytes in pickles, which older protocols write with escapes.

// countedText reads a text behind its length.
func (u *unpickler) countedText(size int, unicode bool) error {
	n, err := u.number(size)
	if err != nil {
		return err
	}
	data, err := u.bytes(n)
	if err != nil {
		return err
	}
	if unicode && !utf8.Valid(data) {
		if data = unescapeBytes(data); data == nil {
			return errText
		}
	}
	return u.pushText(string(data))
}

// unescapeBytes turns what Python makes of bytes that are no UTF-8 (in a path, say:
// the surrogates U+DC80 to U+DCFF) into those bytes. nil: there are others.
func unescapeBytes(data []byte) []byte {
	out := data[:0]
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r != utf8.RuneError || n > 1:
			out = append(out, data[:n]...)
		case len(data) > 2 && data[0] == 0xed && (data[1] == 0xb2 || data[1] == 0xb3) && data[2]&0xc0 == 0x80:
			out, n = append(out, 0x80|data[1]&1<<6|data[2]&0x3f), 3
		default:
			return nil
		}
		data = data[n:]
	}
	return out
}

// lineText reads a text that ends with its line: a quoted str of Python 2 with its
// escapes, or Unicode with \u escapes.
func (u *unpickler) lineText(op byte) error {
	var raw []byte
	for {
		b, err := u.byte()
		if err != nil {
			return err
		}
		if b == '\n' {
			break
		}
		raw = append(raw, b)
	}
	if op == 'V' {
		return u.rawUnicode(raw)
	}
	n := len(raw)
	if n < 2 || raw[0] != raw[n-1] || raw[0] != '\'' && raw[0] != '"' {
		return errText
	}
	out := make([]byte, 0, n-2)
	for s := string(raw[1 : n-1]); s != ""; {
		if s[0] != '\\' {
			out, s = append(out, s[0]), s[1:]
			continue
		}
		if len(s) > 1 && (s[1] == '\'' || s[1] == '"') {
			out, s = append(out, s[1]), s[2:]
			continue
		}
		if len(s) > 1 && (s[1] == 'u' || s[1] == 'U' || s[1] == 'N') { // bytes know no characters
			return errText
		}
		v, _, rest, err := strconv.UnquoteChar(s, 0)
		if err != nil || v > 0xff {
			return errText
		}
		out, s = append(out, byte(v)), rest
	}
	return u.pushText(string(out))
}

// rawUnicode reads Python's raw-unicode-escape: bytes are Latin-1, \uXXXX and
// \UXXXXXXXX are characters, every other backslash is one.
func (u *unpickler) rawUnicode(raw []byte) error {
	var b strings.Builder
	b.Grow(len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] == '\\' && i+1 < len(raw) && (raw[i+1] == 'u' || raw[i+1] == 'U') {
			digits := 4
			if raw[i+1] == 'U' {
				digits = 8
			}
			if i+2+digits > len(raw) {
				return errText
			}
			v, err := strconv.ParseUint(string(raw[i+2:i+2+digits]), 16, 32)
			if err != nil || !utf8.ValidRune(rune(v)) {
				return errText
			}
			b.WriteRune(rune(v))
			i += 1 + digits
			continue
		}
		b.WriteRune(rune(raw[i]))
	}
	return u.pushText(b.String())
}
