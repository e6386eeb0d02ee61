package source

import (
	"bytes"
	"io"
)

// Scanner reads the lines of a log one by one: what Blocks is compared with.
type Scanner struct {
	in         io.Reader
	enc        *Encoding
	buf        []byte
	start, end int // of what is in buf and was not given out
	searched   int // bytes from start on that hold no newline
	eof        bool
	read       int64
}

// NewScanner makes a Scanner; a nil encoding is UTF-8.
func NewScanner(r io.Reader, enc *Encoding) *Scanner {
	return &Scanner{in: r, enc: enc, buf: make([]byte, blockSize)}
}

// Read is how many bytes were read so far.
func (s *Scanner) Read() int64 { return s.read }

// Next returns the next line in UTF-8, without its newline and the carriage
// returns before that; it is valid until the next call. A line of more than
// MaxLine bytes is cut. At the end, the error is io.EOF.
func (s *Scanner) Next() ([]byte, error) {
	w := int(s.enc.width())
	for {
		s.searched -= s.searched % w
		if i := s.enc.index(s.buf[s.start+s.searched : s.end]); i >= 0 {
			size := s.searched + i
			line := s.buf[s.start : s.start+min(size, MaxLine)]
			s.start, s.searched = s.start+size+w, 0
			return s.finish(line), nil
		}
		s.searched = s.end - s.start
		if s.eof {
			if s.searched == 0 {
				return nil, io.EOF
			}
			line := s.buf[s.start : s.start+min(s.searched, MaxLine)]
			s.start, s.searched = s.end, 0
			return s.finish(line), nil
		}
		if err := s.fill(w); err != nil {
			return nil, err
		}
	}
}

func (s *Scanner) finish(line []byte) []byte {
	line = s.enc.Decode(line)
	if n := len(line); n == 0 || line[n-1] != '\r' && line[n-1] != '\n' {
		return line
	}
	return bytes.TrimRight(line, "\r\n")
}

// fill reads more. What is beyond MaxLine of a line is dropped.
func (s *Scanner) fill(w int) error {
	if s.start > 0 {
		s.end = copy(s.buf, s.buf[s.start:s.end])
		s.start = 0
	}
	if s.end >= MaxLine+w {
		s.end = MaxLine + copy(s.buf[MaxLine:], s.buf[s.end-s.end%w:s.end])
		s.searched = s.end
	}
	if s.end == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	n, err := s.in.Read(s.buf[s.end:])
	s.end += n
	s.read += int64(n)
	if err == io.EOF {
		s.eof = true
		err = nil
	}
	return err
}
