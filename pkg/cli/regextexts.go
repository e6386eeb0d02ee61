package cli

import (
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

// join puts texts together.
func (t *textPile) join(parts ...string) string {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	from := t.room(n)
	for _, p := range parts {
		t.in.WriteString(p)
	}
	return t.in.String()[from:]
}

// clockText writes times as Python's asctime does. It keeps the last one, since many
// lines have the same second.
type clockText struct {
	second int64
	text   string // "": none yet
}

func (c *clockText) of(when time.Time, at *time.Location) string {
	if s := when.Unix(); c.text == "" || s != c.second {
		c.second, c.text = s, when.In(at).Format("Mon Jan 02 15:04:05 2006")
	}
	return c.text
}
