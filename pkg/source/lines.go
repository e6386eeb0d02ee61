package source

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// blockSize is how much is read at once.
const blockSize = 256 << 10

// blocks are what files are read into; few are needed at once.
var blocks = sync.Pool{New: func() any {
	b := make([]byte, blockSize)
	return &b
}}

// lineReader cuts a file into lines. A last line without its newline waits.
type lineReader struct {
	file    *os.File
	enc     *Encoding
	id      FileID
	offset  int64  // behind the last line given out
	part    []byte // of a line that is not complete yet
	passed  int64  // bytes of the present line beyond MaxLine, not kept
	catchUp bool   // not at the end of what was there at first
	cut     int    // lines that were cut so far
	first   string // MD5 of the first line, once it is known
	bad     []byte // a line that the encoding does not allow, the first one
	tail    []byte // what stands before offset
	notes   *Notes // on the lines that were given out last; nil: nobody else has them
	// ended is when these were read, if they were the last of the file then.
	ended time.Time
}

// errRewritten says that the file was emptied and has grown again: what stands
// before the place of reading is not what was read there.
var errRewritten = errors.New("file was emptied and written again")

// tailSize is how many bytes before the place of reading are compared. Lines that
// bear a time are not the same there by chance.
const tailSize = 64

// close gives the file back.
func (r *lineReader) close() {
	shared.leave(r.id)
	r.file.Close()
}

// read returns the next lines, at most a block of them. No lines and no error
// means that the file has nothing more for now.
func (r *lineReader) read() ([][]byte, error) {
	from, fresh := r.offset, r.pending() == 0
	r.notes, r.ended = nil, time.Time{}
	if fresh {
		if b := shared.take(r.id, from, r.enc); b != nil {
			r.offset, r.tail, r.notes, r.ended = b.next, b.tail, b.notes, b.ended
			r.cut += b.cut
			if r.bad == nil {
				r.bad = b.bad
			}
			return b.lines, nil
		}
	}
	buf := blocks.Get().(*[]byte)
	defer blocks.Put(buf)
	for {
		known, begun := r.known(), time.Now()
		n, err := r.file.ReadAt(*buf, r.offset+r.pending()-int64(len(known)))
		if !bytes.Equal(known, (*buf)[:min(n, len(known))]) && (err == nil || errors.Is(err, io.EOF)) {
			return nil, errRewritten
		}
		data := (*buf)[min(n, len(known)):n]
		if n = len(data); n == 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return nil, err
		}
		if n -= int((r.pending() + int64(n)) % r.enc.width()); n <= 0 {
			return nil, nil // half a character
		}
		// The lines go to other goroutines: they get memory of their own.
		cut := r.cut
		if errors.Is(err, io.EOF) {
			r.ended = begun
		}
		if lines := r.split(bytes.Clone(data[:n])); len(lines) > 0 {
			var bad []byte
			for i, line := range lines {
				if r.bad == nil && r.enc.damaged(line) {
					bad = bytes.Clone(line[:min(len(line), 200)])
					r.bad = bad
				}
				lines[i] = bytes.TrimRight(r.enc.Decode(line), "\r")
			}
			if fresh {
				r.notes = shared.give(r.id, from, r.enc, block{lines: lines, next: r.offset, tail: r.tail, cut: r.cut - cut, bad: bad, ended: r.ended})
			}
			return lines, nil
		}
	}
}

// known is what stands before the place of reading.
func (r *lineReader) known() []byte {
	switch {
	case r.passed > 0:
		return nil
	case len(r.part) > 0:
		return r.part[max(0, len(r.part)-tailSize):]
	}
	return r.tail
}

// rewind goes back to the beginning: the file was emptied.
func (r *lineReader) rewind() {
	shared.forget(r.id)
	r.offset, r.part, r.passed, r.first, r.tail = 0, nil, 0, "", nil
}

// pending is how much was read of the line that is not complete yet.
func (r *lineReader) pending() int64 {
	return int64(len(r.part)) + r.passed
}

func (r *lineReader) split(buf []byte) [][]byte {
	var lines [][]byte
	all, used := buf, 0
	for {
		i := r.enc.index(buf)
		if i < 0 {
			break
		}
		lines = append(lines, r.finish(buf[:i]))
		next := i + int(r.enc.width())
		used += next
		r.offset += r.pending() + int64(next)
		r.part, r.passed = nil, 0
		buf = buf[next:]
	}
	if used > 0 {
		r.tail = bytes.Clone(all[max(0, used-tailSize):used])
	}
	room := MaxLine - len(r.part)
	if len(buf) > room {
		r.passed += int64(len(buf) - room)
		buf = buf[:room]
	}
	r.part = append(r.part, buf...)
	return lines
}

// finish joins what was read before with the end of the line.
func (r *lineReader) finish(end []byte) []byte {
	line := end
	if len(r.part) > 0 {
		line = append(r.part, end...)
	}
	if len(line) > MaxLine || r.passed > 0 {
		line = line[:min(len(line), MaxLine)]
		r.cut++
	}
	return line
}
