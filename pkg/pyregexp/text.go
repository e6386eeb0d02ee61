package pyregexp

import (
	"unicode/utf8"
)

// Characters of a text, and what an instruction takes of it.

// takes returns where the text goes on behind what an instruction takes at pos, if it
// is one that takes a fixed text or a single character; -1 if that does not stand there.
func (p *program) takes(i *inst, in []byte, pos int) int {
	if i.op == opString {
		if len(in)-pos < len(i.str) || string(in[pos:pos+len(i.str)]) != i.str {
			return -1
		}
		return pos + len(i.str)
	}
	if pos >= len(in) {
		return -1
	}
	switch i.op {
	case opByte:
		if in[pos] != byte(i.arg) {
			return -1
		}
		return pos + 1
	case opSet:
		if size := p.sets[i.arg].takes(in, pos); size > 0 {
			return pos + size
		}
		return -1
	default: // opAny
		_, size := decode(in[pos:])
		return pos + size
	}
}

// decode returns the first character of b, which is not empty. A byte that is
// not valid UTF-8 is a character of its own.
func decode(b []byte) (rune, int) {
	if b[0] < 0x80 {
		return rune(b[0]), 1
	}
	r, size := utf8.DecodeRune(b)
	if r == utf8.RuneError && size == 1 {
		return invalidByte, 1
	}
	return r, size
}

func lastSize(b []byte) int {
	if b[len(b)-1] < 0x80 {
		return 1
	}
	_, size := utf8.DecodeLastRune(b)
	return size
}

func isWord(r rune, ascii bool) bool {
	if r < 0x80 {
		return r == '_' || '0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z'
	}
	return !ascii && wordSet.contains(r)
}

// holds tests a place in the text.
func holds(at assertKind, in []byte, pos int) bool {
	switch at {
	case atTextStart:
		return pos == 0
	case atLineStart:
		return pos == 0 || in[pos-1] == '\n'
	case atTextEnd:
		return pos == len(in)
	case atEnd:
		return pos == len(in) || pos == len(in)-1 && in[pos] == '\n'
	case atLineEnd:
		return pos == len(in) || in[pos] == '\n'
	}
	if len(in) == 0 {
		return false // Python 3.11: not even \B is at home in an empty text
	}
	ascii := at == atASCIIWord || at == atNotASCIIWord
	before, after := false, false
	if pos > 0 {
		if c := in[pos-1]; c < 0x80 {
			before = isWord(rune(c), ascii)
		} else if r, size := utf8.DecodeLastRune(in[:pos]); r != utf8.RuneError || size > 1 {
			before = isWord(r, ascii)
		}
	}
	if pos < len(in) {
		r, _ := decode(in[pos:])
		after = isWord(r, ascii)
	}
	return (before != after) == (at == atWord || at == atASCIIWord)
}
