package syslog

import (
	"bytes"
	"errors"
	"io"
)

// Framer cuts a stream into messages by RFC 6587: by the count of bytes before each of them,
// or at newlines. Which of the two it is, the first byte says, for the whole stream: else who
// can write a newline into a message could have what comes behind it counted.
type Framer struct {
	in         io.Reader
	buf        []byte
	start, end int // of what was read and is not cut yet
	kind       byte
	skip       int  // bytes that are passed over
	passing    bool // what comes up to the next newline is
	over       error
	// Cut is how many messages were longer than MaxMessage.
	Cut int
}

// ErrFraming says that a stream is no syslog, from some byte on. Nothing behind it can be told.
var ErrFraming = errors.New("it begins neither with <PRIORITY> nor with the count of a message's bytes")

// Kinds of framing.
const (
	counted byte = 'c'
	newline byte = 'n'
)

const (
	frameBuffer = 4 << 10
	countDigits = 7 // of a count
)

// NewFramer cuts what in reads.
func NewFramer(in io.Reader) *Framer { return &Framer{in: in} }

// Partial reports whether some of a message was read, and not all.
func (f *Framer) Partial() bool { return f.start < f.end || f.skip > 0 || f.passing }

// Next returns the next message. It is valid until the next call. At the end the error is
// io.EOF, or io.ErrUnexpectedEOF within a message that is counted; what a newline would have
// ended is given out.
func (f *Framer) Next() ([]byte, error) {
	for {
		msg, ok, err := f.cut()
		if ok || err != nil {
			return msg, err
		}
		if f.over != nil {
			if f.kind == newline && f.start < f.end && !f.passing {
				msg := f.buf[f.start:f.end]
				f.start = f.end
				return msg, nil
			}
			if f.over == io.EOF && f.kind == counted && f.Partial() {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, f.over
		}
		f.fill()
	}
}

// fill reads more.
func (f *Framer) fill() {
	switch {
	case f.start == f.end:
		f.start, f.end = 0, 0
		if len(f.buf) != frameBuffer { // after a long message, and at the beginning
			f.buf = make([]byte, frameBuffer)
		}
	case f.end == len(f.buf):
		to := f.buf
		if f.end-f.start > len(f.buf)/2 {
			to = make([]byte, min(2*len(f.buf), MaxMessage+16))
		}
		copy(to, f.buf[f.start:f.end])
		f.buf, f.start, f.end = to, 0, f.end-f.start
	}
	n, err := f.in.Read(f.buf[f.end:])
	f.end += n
	if err != nil {
		f.over = err
	}
}

// cut cuts the next message off what was read; ok is false if it needs more.
func (f *Framer) cut() (msg []byte, ok bool, err error) {
	if f.skip > 0 {
		n := min(f.skip, f.end-f.start)
		f.start, f.skip = f.start+n, f.skip-n
		if f.skip > 0 {
			return nil, false, nil
		}
	}
	if f.kind == 0 || f.kind == counted {
		for f.start < f.end && bytes.IndexByte([]byte("\n\r \x00"), f.buf[f.start]) >= 0 { // some end a message with one that they don't count
			f.start++
		}
	}
	if f.start == f.end {
		return nil, false, nil
	}
	if f.kind == 0 {
		switch c := f.buf[f.start]; {
		case c == '<':
			f.kind = newline
		case c > '0' && c <= '9':
			f.kind = counted
		default:
			return nil, false, ErrFraming
		}
	}
	if f.kind == counted {
		return f.cutCounted()
	}
	for {
		have := f.buf[f.start:f.end]
		n := bytes.IndexByte(have, '\n')
		switch {
		case n < 0 && f.passing:
			f.start = f.end
			return nil, false, nil
		case n < 0 && len(have) >= MaxMessage:
			f.Cut++
			f.passing, f.start = true, f.start+MaxMessage
			return have[:MaxMessage], true, nil
		case n < 0:
			return nil, false, nil
		}
		f.start += n + 1
		if f.passing {
			f.passing = false
			continue
		}
		if n > MaxMessage {
			f.Cut++
			n = MaxMessage
		}
		return have[:n], true, nil
	}
}

// cutCounted cuts "LENGTH MESSAGE".
func (f *Framer) cutCounted() (msg []byte, ok bool, err error) {
	have := f.buf[f.start:f.end]
	n, size := 0, 0
	for n < len(have) && n <= countDigits && isDigit(have[n]) {
		size = size*10 + int(have[n]-'0')
		n++
	}
	switch {
	case n == len(have) && n <= countDigits && have[0] != '0':
		return nil, false, nil
	case n == 0 || n > countDigits || have[0] == '0' || have[n] != ' ':
		return nil, false, ErrFraming
	}
	n++
	whole := min(size, MaxMessage)
	if len(have) < n+whole {
		return nil, false, nil
	}
	f.start += n + whole
	if size > whole {
		f.Cut++
		f.skip = size - whole
	}
	return have[n : n+whole], true, nil
}
