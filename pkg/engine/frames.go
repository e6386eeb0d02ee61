package engine

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// What an engine sends of a container's log. Without a terminal it is frames: a byte that says
// which stream, three that are zero, the length in four bytes, the first one first, and a line
// with its newline, or a part of one without. With a terminal, it is the lines themselves. Before
// each line, and each part of one, stands when the engine took it, and a blank.

// MaxText is the length in bytes to which a line, or a part of one, is taken; the rest is passed
// over.
const MaxText = 1 << 20

// stampMost is the longest stamp with its blank.
const stampMost = 40

// Record is a line that a container wrote, or a part of one.
type Record struct {
	Text   []byte // without its newline; it stays valid
	Stamp  time.Time
	Stderr bool
	Part   bool // more of the line is to come
}

// Reader reads the records of a log.
type Reader struct {
	in       *bufio.Reader
	body     io.Closer
	terminal bool
	last     [2]time.Time // stamps, by stream
	rest     []byte       // of a frame
	stderr   bool         // of rest
	part     bool         // rest ends in one
}

// NewReader reads from a stream: of a terminal, or in frames.
func NewReader(in io.Reader, terminal bool) *Reader {
	return &Reader{in: bufio.NewReaderSize(in, 32<<10), terminal: terminal}
}

// Close ends the request.
func (r *Reader) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}

// More reports whether some of the next record is there already.
func (r *Reader) More() bool { return len(r.rest) > 0 || r.in.Buffered() > 0 }

// errStreams are no streams of an engine's.
var errStreams = errors.New("what comes is not a container engine's log")

// Next returns the next record; at the end the error is io.EOF, in the middle of one
// io.ErrUnexpectedEOF.
func (r *Reader) Next() (Record, error) {
	if r.terminal {
		return r.line()
	}
	for len(r.rest) == 0 {
		if err := r.frame(); err != nil {
			return Record{}, err
		}
	}
	text, more, cut := bytes.Cut(r.rest, []byte("\n"))
	r.rest = more
	return r.record(text, r.stderr, !cut && r.part)
}

// frame reads one frame.
func (r *Reader) frame() error {
	var head [8]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		return err
	}
	if head[0] > 3 || head[1]|head[2]|head[3] != 0 {
		return fmt.Errorf("%w: a frame begins with % x", errStreams, head[:4])
	}
	length := int64(binary.BigEndian.Uint32(head[4:]))
	// It is read as it comes: a length is no promise.
	var data bytes.Buffer
	if _, err := io.CopyN(&data, r.in, min(length, MaxText+stampMost)); err != nil {
		return cutOff(err)
	}
	text := data.Bytes()
	whole := bytes.HasSuffix(text, []byte("\n"))
	if over := length - int64(len(text)); over > 0 {
		if _, err := io.CopyN(io.Discard, r.in, over-1); err != nil {
			return cutOff(err)
		}
		last, err := r.in.ReadByte()
		if err != nil {
			return cutOff(err)
		}
		whole = last == '\n'
	}
	if head[0] == 3 {
		return fmt.Errorf("the engine says: %s", printable(string(bytes.TrimSpace(text)), 300))
	}
	r.rest, r.stderr, r.part = text, head[0] == 2, !whole
	return nil
}

func cutOff(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// record takes the stamp off a text. One without is of the time of what came before it.
func (r *Reader) record(text []byte, stderr, part bool) (Record, error) {
	of := &r.last[0]
	if stderr {
		of = &r.last[1]
	}
	stamp, rest, ok := cutStamp(text)
	switch {
	case ok:
		*of = stamp
		text = rest
	case of.IsZero():
		return Record{}, fmt.Errorf("%w: %.40q has no time before it", errStreams, text)
	}
	return Record{Text: text[:min(len(text), MaxText)], Stamp: *of, Stderr: stderr, Part: part}, nil
}

// cutStamp cuts the stamp off a text.
func cutStamp(text []byte) (stamp time.Time, rest []byte, ok bool) {
	if len(text) < 20 || text[10] != 'T' {
		return stamp, text, false
	}
	n := bytes.IndexByte(text[:min(len(text), stampMost)], ' ')
	if n < 0 {
		if len(text) >= stampMost {
			return stamp, text, false
		}
		n = len(text) // an empty line, of which blanks were taken off
	}
	stamp, err := time.Parse(time.RFC3339Nano, string(text[:n]))
	if err != nil {
		return stamp, text, false
	}
	return stamp, text[min(n+1, len(text)):], true
}

// line reads a line of a terminal.
func (r *Reader) line() (Record, error) {
	line, err := r.in.ReadSlice('\n')
	text := bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.in.ReadSlice('\n')
		ended := err == nil
		if ended {
			line = line[:len(line)-1]
		}
		if room := MaxText + stampMost - len(text); room > 0 {
			text = append(text, line[:min(room, len(line))]...)
		}
		if ended {
			text = append(text, '\n')
		}
	}
	if err != nil && (len(text) == 0 || err != io.EOF) {
		return Record{}, err
	}
	whole := bytes.HasSuffix(text, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\n"))
	rec, err := r.record(text, false, !whole)
	if err == nil {
		rec.Text = joined(rec.Text, rec.Stamp)
	}
	return rec, err
}

// partSizes are the lengths in bytes of the parts in which engines take long lines: docker's and
// podman's.
var partSizes = [...]int{16 << 10, 8 << 10}

// joined takes the stamps out of a line of a terminal that came in parts: each part has one. The
// engines' parts are of a size, and of the same moment or one behind it: so nothing else is taken
// for one.
func joined(text []byte, stamp time.Time) []byte {
	for _, size := range partSizes {
		at := size
		for len(text) > at+20 {
			next, rest, ok := cutStamp(text[at:])
			if !ok || next.Before(stamp) {
				break
			}
			text = append(text[:at], rest...)
			at += size
		}
		if at > size {
			break
		}
	}
	return text
}
