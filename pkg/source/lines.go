package source

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// blockSize is how much is read at once.
const blockSize = 256 << 10

// lineReader cuts a file into lines. A last line without its newline waits.
type lineReader struct {
	file    *os.File
	enc     *Encoding
	id      FileID
	offset  int64  // behind the last line given out
	part    []byte // of a line that is not complete yet
	block   []byte
	passed  int64  // bytes of the present line beyond MaxLine, not kept
	catchUp bool   // not at the end of what was there at first
	cut     int    // lines that were cut so far
	first   string // MD5 of the first line, once it is known
	bad     []byte // a line that the encoding does not allow, the first one
}

// read returns the next lines, at most a block of them. No lines and no error
// means that the file has nothing more for now.
func (r *lineReader) read() ([][]byte, error) {
	if r.block == nil {
		r.block = make([]byte, blockSize)
	}
	for {
		n, err := r.file.ReadAt(r.block, r.offset+r.pending())
		if n == 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return nil, err
		}
		if n -= int((r.pending() + int64(n)) % r.enc.width()); n <= 0 {
			return nil, nil // half a character
		}
		// The lines go to other goroutines: they get memory of their own.
		if lines := r.split(bytes.Clone(r.block[:n])); len(lines) > 0 {
			for i, line := range lines {
				if r.bad == nil && r.enc.damaged(line) {
					r.bad = bytes.Clone(line[:min(len(line), 200)])
				}
				lines[i] = bytes.TrimRight(r.enc.Decode(line), "\r")
			}
			return lines, nil
		}
	}
}

// pending is how much was read of the line that is not complete yet.
func (r *lineReader) pending() int64 {
	return int64(len(r.part)) + r.passed
}

func (r *lineReader) split(buf []byte) [][]byte {
	var lines [][]byte
	for {
		i := r.enc.index(buf)
		if i < 0 {
			break
		}
		lines = append(lines, r.finish(buf[:i]))
		next := i + int(r.enc.width())
		r.offset += r.pending() + int64(next)
		r.part, r.passed = nil, 0
		buf = buf[next:]
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
