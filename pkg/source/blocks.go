package source

import (
	"bytes"
	"io"

	"bailiff/pkg/lineends"
)

// Blocks reads a log from its beginning to its end, once, in blocks of whole lines.
// Blocks are read one after the other, and may be cut into their lines by other
// goroutines.
type Blocks struct {
	in   io.Reader
	enc  *Encoding
	rest []byte // of a line that is not complete yet
	long bool   // what comes up to the next newline belongs to a line that was cut
	eof  bool
	read int64
}

// NewBlocks reads a log; a nil encoding is UTF-8.
func NewBlocks(r io.Reader, enc *Encoding) *Blocks { return &Blocks{in: r, enc: enc} }

// Block is some whole lines of a log. Its memory is used again by the next Read into
// it.
type Block struct {
	// Lines are in UTF-8, without their newlines and the carriage returns before
	// those; one of more than MaxLine bytes is cut. They are there after Cut.
	Lines [][]byte
	// Damaged is the first line, with its newline, that holds bytes which are no
	// characters; it is looked for where TellDamaged is set, and there after Cut.
	Damaged     []byte
	TellDamaged bool
	// Read is how many bytes of the log were read up to here.
	Read int64

	data []byte
	enc  *Encoding
}

// Next reads the next block, without cutting it. At the end, the error is io.EOF.
func (r *Blocks) Next(b *Block) error {
	b.Lines, b.data, b.enc = b.Lines[:0], append(b.data[:0], r.rest...), r.enc
	r.rest = r.rest[:0]
	w := int(r.enc.width())
	for {
		if r.eof {
			if b.Read = r.read; len(b.data) == 0 {
				return io.EOF
			}
			return nil
		}
		had := len(b.data)
		if cap(b.data)-had < blockSize {
			grown := make([]byte, had, had+blockSize)
			copy(grown, b.data)
			b.data = grown
		}
		n, err := r.in.Read(b.data[had : had+blockSize])
		b.data = b.data[:had+n]
		r.read += int64(n)
		if err == io.EOF {
			r.eof = true
		} else if err != nil {
			return err
		}
		if r.long {
			i := r.enc.index(b.data)
			if i < 0 {
				b.data = append(b.data[:0], b.data[len(b.data)-len(b.data)%w:]...)
				continue
			}
			b.data, r.long, had = append(b.data[:0], b.data[i+w:]...), false, 0
		}
		had -= had % w // before that there is no newline
		if i := r.enc.lastIndex(b.data[had:]); i >= 0 {
			i += had
			r.rest = append(r.rest, b.data[i+w:]...)
			b.data, b.Read = b.data[:i+w], r.read
			return nil
		}
		if len(b.data) >= MaxLine+w {
			r.rest = append(r.rest, b.data[len(b.data)-len(b.data)%w:]...)
			b.data, b.Read, r.long = b.data[:MaxLine], r.read, true
			return nil
		}
	}
}

// Cut cuts what was read into lines.
func (b *Block) Cut() {
	w := int(b.enc.width())
	plain := b.enc.plain() && lineends.ASCII(b.data)
	for data := b.data; len(data) > 0; {
		i, next := b.enc.index(data), 0
		if next = i + w; i < 0 {
			i, next = len(data), len(data)
		}
		line := data[:min(i, MaxLine)]
		if !plain {
			if b.TellDamaged && b.Damaged == nil && b.enc.damaged(line) {
				b.Damaged = bytes.Clone(data[:next])
			}
			line = b.enc.Decode(line)
		}
		if n := len(line); n > 0 && (line[n-1] == '\r' || line[n-1] == '\n') {
			line = bytes.TrimRight(line, "\r\n")
		}
		b.Lines = append(b.Lines, line)
		data = data[next:]
	}
}

// Text returns what was read, where lines stand in it as Cut would make them if all of it is
// ASCII, which is for the caller to see: none is so long that it is cut. A carriage return at the
// end of a line is no part of it. Else, it returns nil.
func (b *Block) Text() []byte {
	if len(b.data) > MaxLine || b.TellDamaged || !b.enc.plain() {
		return nil
	}
	return b.data
}

// plain reports whether text in ASCII is what it is.
func (e *Encoding) plain() bool {
	return e == nil || e.kind == utf8Encoding || e.kind == asciiEncoding
}

// lastIndex finds the last newline in a text that begins with a whole character.
func (e *Encoding) lastIndex(b []byte) int {
	if e == nil || e.newline == nil {
		return bytes.LastIndexByte(b, '\n')
	}
	w := len(e.newline)
	for i := len(b) - len(b)%w - w; i >= 0; i -= w {
		if bytes.Equal(b[i:i+w], e.newline) {
			return i
		}
	}
	return -1
}
