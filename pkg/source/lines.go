package source

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"bailiff/pkg/lineends"
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
	first   string // sum of the first line, once it is known
	born    int64  // as in Batch
	bad     []byte // a line that the encoding does not allow, the first one
	before  string // what stands before offset, up to tailSize bytes
	head    []byte // the file's beginning, up to pastSize bytes, as it was read
	past    []byte // what was read last, with what waits; from pastSize bytes on
	notes   *Notes // on the lines that were given out last; nil: nobody else has them
	// ended is when these were read, if they were the last of the file then.
	ended time.Time
	// dry is when the file was last read to its end.
	dry time.Time
	// was is what was read before the file was written anew, as long as lines may
	// repeat it; until, up to where they do in any case; anew, whether they began to.
	was    *memory
	until  int64
	anew   bool
	wasAt  time.Time
	shown  place // as it was last told; guarded by the lock of Files
	age    age
	apart  framing
	closed bool
}

// errRewritten says that the file was emptied and has grown again: what stands
// before the place of reading is not what was read there.
var errRewritten = errors.New("file was emptied and written again")

// tailSize is how many bytes before the place of reading are compared. Lines that
// bear a time are not the same there by chance.
const tailSize = 64

// newReader makes a reader of a file that is read from an offset on.
func newReader(file *os.File, enc *Encoding, id FileID, offset int64) *lineReader {
	r := &lineReader{file: file, enc: enc, id: id, offset: offset}
	if l, err := lookAt(file); err == nil {
		r.born = l.born
	}
	shared.join(id)
	r.recall()
	return r
}

// recall reads what stands before the place of reading, and the file's beginning.
func (r *lineReader) recall() {
	r.apart.restart()
	if r.offset == 0 {
		return
	}
	r.past = make([]byte, min(r.offset, pastSize))
	n, _ := r.file.ReadAt(r.past, r.offset-int64(len(r.past)))
	if n < len(r.past) { // the file is shorter by now: nothing is known to stand there
		r.past = bytes.Repeat([]byte{0}, len(r.past))
	}
	r.before = string(r.past[max(0, len(r.past)-tailSize):])
	r.head = make([]byte, min(r.offset, pastSize))
	n, _ = r.file.ReadAt(r.head, 0)
	r.head = r.head[:n]
}

// goTo goes on at a place that was looked at.
func (r *lineReader) goTo(s spot) {
	r.offset, r.head, r.past = s.at, bytes.Clone(s.head), bytes.Clone(s.past)
	r.before = string(r.past[max(0, len(r.past)-tailSize):])
}

// close gives the file back.
func (r *lineReader) close() {
	if r.closed {
		return
	}
	r.closed = true
	shared.leave(r.id)
	r.file.Close()
}

// place is how far the file was read.
func (r *lineReader) place() place {
	offset, before := r.accounted()
	return place{r.firstLine(), offset, before}
}

// firstLine returns the sum of the file's first line with its newline; empty if
// it is not complete yet.
func (r *lineReader) firstLine() string {
	if r.first == "" { // as it was read: by now, the file may be another one
		r.first, _ = firstLineSums(bytes.NewReader(r.head))
	}
	if r.first == "" {
		r.first, _ = firstLineSums(r.file)
	}
	return r.first
}

// read returns the next lines, at most a block of them. No lines and no error
// means that the file has nothing more for now.
func (r *lineReader) read() ([][]byte, error) {
	from, fresh := r.offset, r.pending() == 0
	r.notes, r.ended = nil, time.Time{}
	upTo := int64(0)
	if fresh {
		var b *block
		var past, lines int
		if b, past, lines, upTo = shared.take(r.id, from, r.enc); b != nil && r.continues(b, past) {
			return r.takeOver(b, past, lines), nil
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
				r.dry, err = begun, nil
			}
			return nil, err
		}
		if n -= int((r.pending() + int64(n)) % r.enc.width()); n <= 0 {
			return nil, nil // half a character
		}
		ended := errors.Is(err, io.EOF)
		if r.pending() == 0 && shared.several(r.id) {
			if upTo > from && from+int64(n) > upTo { // from there on, another one has read it
				n, ended = int(upTo-from), false
			}
			whole := r.enc.lastIndex(data[:n]) + int(r.enc.width())
			if whole < int(r.enc.width()) {
				whole = 0
			}
			if n-whole <= partMost && (whole > 0 || ended) {
				if n = whole; n == 0 {
					r.dry = begun
					return nil, nil
				}
			}
		}
		// The lines go to other goroutines: they get memory of their own.
		cut := r.cut
		if ended {
			r.ended, r.dry = begun, begun
		}
		before, raw, begins := r.before, bytes.Clone(data[:n]), r.pending() == 0
		if lines := r.split(raw); len(lines) > 0 {
			r.apart.block = raw[:len(raw)-int(r.pending())]
			bad := r.decode(lines, begins && r.enc.plain() && lineends.ASCII(raw))
			if fresh && begins { // else it is not all in raw
				r.notes = shared.give(r.id, block{
					enc: r.enc.name(), from: from, lines: lines, raw: raw[:r.offset-from], before: before, next: r.offset,
					cut: r.cut - cut, bad: bad, ended: r.ended,
				})
			}
			return lines, nil
		}
	}
}

// takeOver takes over what another one has read, but for so many bytes and lines.
func (r *lineReader) takeOver(b *block, past, lines int) [][]byte {
	raw := b.raw[past:]
	r.before = after(r.past, raw)
	r.remember(raw)
	r.apart.block = raw
	r.offset, r.ended = b.next, b.ended
	if past == 0 {
		r.notes = b.notes
	}
	if !r.ended.IsZero() {
		r.dry = r.ended
	}
	r.cut += b.cut
	if r.bad == nil {
		r.bad = b.bad
	}
	return b.lines[lines:]
}

// decode makes lines text, and returns the first one that its encoding does not allow, if none
// is known yet. plain: they are what they are.
func (r *lineReader) decode(lines [][]byte, plain bool) (bad []byte) {
	for i, line := range lines {
		if !plain {
			if r.bad == nil && r.enc.damaged(line) {
				bad = bytes.Clone(line[:min(len(line), 200)])
				r.bad = bad
			}
			line = r.enc.Decode(line)
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = bytes.TrimRight(line, "\r")
		}
		lines[i] = line
	}
	return bad
}

// continues reports whether a block that another reader found, but for its first bytes, is of
// what this one reads: the file may have been emptied and written again.
func (r *lineReader) continues(b *block, past int) bool {
	if r.offset > 0 {
		before := b.before
		if past > 0 {
			before = after([]byte(before), b.raw[:past])
		}
		n := min(len(before), len(r.before))
		return before[len(before)-n:] == r.before[len(r.before)-n:]
	}
	var have [tailSize]byte
	n, _ := r.file.ReadAt(have[:], 0)
	m := min(len(b.raw), tailSize)
	return n >= m && bytes.Equal(have[:m], b.raw[:m])
}

// known is what stands before the place of reading.
func (r *lineReader) known() []byte {
	return r.past[max(0, len(r.past)-tailSize):]
}

// memory is what was read of the file, as far as it is known.
func (r *lineReader) memory() *memory {
	return newMemory(r.head, r.past[:max(0, len(r.past)-int(min(r.pending(), pastSize)))], r.offset)
}

// rewind goes back to the beginning: the file was emptied.
func (r *lineReader) rewind() {
	shared.forget(r.id)
	r.apart.restart()
	r.offset, r.part, r.passed, r.first, r.before = 0, nil, 0, "", ""
	r.head, r.past, r.until, r.anew = nil, nil, 0, false
}

// pending is how much was read of the line that is not complete yet.
func (r *lineReader) pending() int64 {
	return int64(len(r.part)) + r.passed
}

// after returns what stands last when more is read behind what was read.
func after(past, more []byte) string {
	if len(more) >= tailSize {
		return string(more[len(more)-tailSize:])
	}
	n := min(len(past), tailSize-len(more))
	var b [tailSize]byte
	n = copy(b[:], past[len(past)-n:])
	n += copy(b[n:], more)
	return string(b[:n])
}

// remember keeps the end of what was read.
func (r *lineReader) remember(b []byte) {
	if at := r.offset + r.pending(); at < pastSize && int64(len(r.head)) == at {
		r.head = append(r.head, b[:min(len(b), pastSize-len(r.head))]...)
	}
	if len(b) >= pastSize {
		r.past = append(r.past[:0], b[len(b)-pastSize:]...)
		return
	}
	if len(r.past)+len(b) > 4*pastSize {
		r.past = append(r.past[:0], r.past[len(r.past)-pastSize:]...)
	}
	r.past = append(r.past, b...)
}

func (r *lineReader) split(buf []byte) [][]byte {
	var lines [][]byte
	if n := r.enc.count(buf); n > 0 {
		lines = make([][]byte, 0, n)
	}
	all, used := buf, 0
	var prior [tailSize]byte
	past := prior[:copy(prior[:], r.known())]
	r.remember(buf)
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
		r.before = after(past, all[:used])
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
