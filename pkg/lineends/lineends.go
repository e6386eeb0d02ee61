// Package lineends finds where the lines of a text in ASCII end, 64 bytes at a time, and sees
// on the same way that it is ASCII. A log is passed by this once before anything else is done
// with it; to look for one newline after the other would take as long as the newlines are many,
// and the look for other bytes as long again.
//
// Where the processor has AVX2, it is done by that, 32 bytes an instruction (ends_amd64.s);
// elsewhere in Go, with the same result.
//
//	ends, ok := lineends.Mark(text, ends)
//	places = lineends.Places(ends, places)
package lineends

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Mark says where the newlines of a text are, if the text is ASCII: bit i%64 of word i/64
// stands for byte i. Words are put into dst's memory where that is large enough. Not ok: some
// byte is none of ASCII's, and the words say nothing.
func Mark(text []byte, dst []uint64) (ends []uint64, ok bool) {
	n := (len(text) + 63) / 64
	if cap(dst) < n {
		dst = make([]uint64, n)
	}
	ends = dst[:n]
	return ends, mark(text, ends)
}

// Places appends to dst[:0] where the newlines are that Mark has found. Which texts are long and
// which are not is as good as random in a log, so that it does not ask: room is made for two in
// 64 bytes, be they there or not, and only where there are more is it asked how many.
func Places(ends []uint64, dst []int32) []int32 {
	n := 0
	dst = dst[:cap(dst)]
	for i, m := range ends {
		if len(dst)-n < 64 {
			dst = append(dst[:n], make([]int32, n+64)...)
			dst = dst[:cap(dst)]
		}
		at, two := int32(i*64), dst[n:n+2]
		two[0] = at + int32(bits.TrailingZeros64(m))
		rest := m & (m - 1)
		two[1] = at + int32(bits.TrailingZeros64(rest))
		if rest &= rest - 1; rest == 0 {
			n += bits.OnesCount64(m)
			continue
		}
		for n += 2; rest != 0; rest &= rest - 1 {
			dst[n] = at + int32(bits.TrailingZeros64(rest))
			n++
		}
	}
	return dst[:n]
}

// markGo is mark without the processor's help.
func markGo(text []byte, ends []uint64) bool {
	if !ASCII(text) {
		return false
	}
	clear(ends)
	for at := 0; ; at++ {
		n := bytes.IndexByte(text[at:], '\n')
		if n < 0 {
			return true
		}
		at += n
		ends[at/64] |= 1 << (at % 64)
	}
}

// ASCII reports whether a text is ASCII.
func ASCII(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 32 {
		x := binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) | binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:])
		if x&high != 0 {
			return false
		}
		b = b[32:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
