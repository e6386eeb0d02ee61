package cli

import (
	"bufio"
	"encoding/binary"
	"strings"
	"time"
)

// textPile keeps many short texts in few pieces of memory.
type textPile struct{ in strings.Builder }

// textPiece is how large a piece is, in bytes.
const textPiece = 64 << 10

// room begins a new piece where the present one is too full for so many bytes, and
// returns where the next text begins.
func (t *textPile) room(n int) int {
	if t.in.Cap()-t.in.Len() < n {
		t.in = strings.Builder{}
		t.in.Grow(max(textPiece, n))
	}
	return t.in.Len()
}

// of is the text of a line, with what stands before it.
func (t *textPile) of(before string, line []byte) string {
	from := t.room(len(before) + len(line))
	t.in.WriteString(before)
	t.in.Write(line)
	return t.in.String()[from:]
}

// hitList is hits as they are listed with -v. There may be millions of them, so that they
// are kept as what they are made of.
type hitList struct{ pieces [][]byte }

// add adds one: whose it is, when, and whether several expressions matched the line.
func (h *hitList) add(id string, when time.Time, multiple bool) {
	last := len(h.pieces) - 1
	if need := len(id) + 3*binary.MaxVarintLen64; last < 0 || cap(h.pieces[last])-len(h.pieces[last]) < need {
		h.pieces = append(h.pieces, make([]byte, 0, max(min(1<<10<<min(len(h.pieces), 8), textPiece), need)))
		last++
	}
	b := binary.AppendVarint(h.pieces[last], when.Unix())
	b = binary.AppendUvarint(b, uint64(len(id))<<1|uint64(boolInt(multiple)))
	h.pieces[last] = append(b, id...)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// print writes them as they are listed.
func (h *hitList) print(w *bufio.Writer, at *time.Location) {
	var clock clockText
	for _, b := range h.pieces {
		for len(b) > 0 {
			when, n := binary.Varint(b)
			size, m := binary.Uvarint(b[n:])
			b = b[n+m:]
			id := b[:size>>1]
			b = b[size>>1:]
			_, _ = w.WriteString("|      ") // an error stays with w
			_, _ = w.Write(id)
			_, _ = w.WriteString("  ")
			_, _ = w.Write(clock.of(when, at))
			if size&1 != 0 {
				_, _ = w.WriteString(" (multiple regex matched)")
			}
			_ = w.WriteByte('\n')
		}
	}
}

// clockText writes times as Python's asctime does. It keeps the last minute's text, since
// many hits are of the same.
type clockText struct {
	from, to int64 // Unix times for which only the seconds are to be written
	second   int   // that of from
	text     []byte
}

const asctime = "Mon Jan 02 15:04:05 2006"

// of returns the text, which is valid until the next call.
func (c *clockText) of(unix int64, at *time.Location) []byte {
	if unix < c.from || unix >= c.to {
		when := time.Unix(unix, 0).In(at)
		c.from, c.second = unix, when.Second()
		c.to = unix + int64(60-c.second)
		if _, end := when.ZoneBounds(); !end.IsZero() { // clocks may be set in the midst of a minute
			c.to = min(c.to, end.Unix())
		}
		c.text = when.AppendFormat(c.text[:0], asctime)
	}
	second := c.second + int(unix-c.from)
	const where = len("Mon Jan 02 15:04:")
	c.text[where], c.text[where+1] = byte('0'+second/10), byte('0'+second%10)
	return c.text
}
