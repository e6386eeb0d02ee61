package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// fail2ban's protocol: a request is a pickled list of strings, then
// <F2B_END_COMMAND>; the answer is a pickled pair, (0, value) or (1, exception),
// and then the same. A connection may bring many; <F2B_CLOSE_COMMAND> ends it.

var (
	endCommand   = []byte("<F2B_END_COMMAND>")
	closeCommand = []byte("<F2B_CLOSE_COMMAND>")
)

// How long a client may take.
const (
	idleTimeout = 10 * time.Minute // exporters keep a connection between their rounds
	readTimeout = 30 * time.Second // from the first byte of a request to its last
	sendTimeout = 10 * time.Second
	// maxRefused is how much more of a refused request is passed over for its answer's
	// sake, before its connection is closed.
	maxRefused = 16 << 20
)

// turnTimeout is how long a client waits for a turn. Tests make it shorter.
var turnTimeout = 10 * time.Second

// Commander carries out a command of fail2ban's. The answer is made of nil, bool,
// int, float64, string, List, Tuple and Dict; an error that is no *Exception
// becomes a plain one.
type Commander interface {
	Command(r *Request) (any, error)
}

// requestReader gives out the bytes of one request after the other: a request ends
// at the first <F2B_END_COMMAND>, whatever stands around it.
type requestReader struct {
	from io.Reader
	buf  []byte
	at   int // what was given out
	safe int // up to here there is no end of a request, nor the beginning of one
	end  bool
	// grow is asked before bytes are taken in; nil: nobody.
	grow func(n int) error
	pace *pace
	free int // bytes until the next rest
}

// pace bounds how many bytes all clients of a socket together have read: so many
// between rests, one client at a time. nil: there is no bound.
type pace struct{ mu sync.Mutex }

const (
	paceBytes = 64 << 10
	paceRest  = time.Millisecond
)

// rest is called after paceBytes.
func (p *pace) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	time.Sleep(paceRest)
}

func newRequestReader(from io.Reader) *requestReader {
	return &requestReader{from: from, buf: make([]byte, 0, 4<<10), free: paceBytes}
}

// ReadByte implements io.ByteReader. io.EOF is the request's end.
func (r *requestReader) ReadByte() (byte, error) {
	for r.at >= r.safe {
		if r.end {
			return 0, io.EOF
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	b := r.buf[r.at]
	r.at++
	return b, nil
}

// fill reads on.
func (r *requestReader) fill() error {
	r.buf = r.buf[:copy(r.buf, r.buf[r.at:])]
	r.at, r.safe = 0, 0
	if r.look(); r.end || r.safe > 0 {
		return nil
	}
	// Whoever sends much, and keeps sending, takes no more of the core for it.
	if r.free <= 0 && r.pace != nil {
		r.pace.rest()
		r.free = paceBytes
	}
	n, err := r.from.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	r.free -= n
	if n > 0 {
		if r.grow != nil {
			if err := r.grow(n); err != nil {
				return err
			}
		}
		r.look()
		return nil
	}
	if err == nil {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// look finds the request's end in what is there.
func (r *requestReader) look() {
	if i := bytes.Index(r.buf, endCommand); i >= 0 {
		r.safe, r.end = i, true
		return
	}
	r.safe = len(r.buf)
	for n := min(len(endCommand)-1, len(r.buf)); n > 0; n-- {
		if bytes.HasSuffix(r.buf, endCommand[:n]) {
			r.safe -= n
			return
		}
	}
}

// skip passes over the rest of a request, of at most so many bytes, and its end.
func (r *requestReader) skip(most int) error {
	for {
		most -= r.safe - r.at
		r.at = r.safe
		switch {
		case r.end:
			r.at += len(endCommand)
			r.safe, r.end = r.at, false
			r.grow = nil
			return nil
		case most < 0:
			return errors.New("a request without end")
		}
		if err := r.fill(); err != nil {
			return err
		}
	}
}

// DecodeRequest reads one request of fail2ban's protocol, without its end.
// Nothing but lists, tuples, texts, numbers, booleans and None is taken.
func DecodeRequest(data []byte, role Role) (*Request, error) {
	words, err := readPickle(bytes.NewReader(data), limitsOf(role))
	if err != nil {
		return nil, err
	}
	return &Request{Words: words, Role: role}, nil
}

func limitsOf(role Role) *limits {
	if role == Owner {
		return &ownerLimits
	}
	return &readerLimits
}

// wireServer answers fail2ban's protocol.
type wireServer struct {
	d     Commander
	crowd *crowd
	turns *turns
	pace  *pace
}

var (
	errTooMuch = errors.New("too many bytes of requests and answers are on their way for this user: read your answers")
	errBusy    = errors.New("the daemon is busy with what others ask: try again")
)

// serve answers one client.
func (s *wireServer) serve(c *conn) {
	defer c.Close()
	in := newRequestReader(c)
	in.pace = s.pace
	for {
		if !s.next(c, in) {
			return
		}
	}
}

// next reads a request and answers it. It returns false where there will be no more.
func (s *wireServer) next(c *conn, in *requestReader) bool {
	_ = c.SetReadDeadline(time.Now().Add(idleTimeout))
	first, err := in.ReadByte()
	if err != nil && err != io.EOF {
		return false
	}
	c.note(asking)
	defer c.release()
	_ = c.SetReadDeadline(time.Now().Add(readTimeout))
	in.grow = func(n int) error {
		if !c.hold(n) {
			return errTooMuch
		}
		return nil
	}
	if first == closeCommand[0] && err == nil {
		return s.closing(c, in)
	}
	words, err := readPickle(&unread{in, first, err == nil}, limitsOf(s.crowd.role))
	if err != nil {
		return s.refuse(c, in, err)
	}
	if err := in.skip(limitsOf(s.crowd.role).bytes); err != nil {
		return s.broken(err)
	}
	r := &Request{Words: words, Role: s.crowd.role, By: userName(c.uid)}
	c.note(waiting)
	if err := r.permit(); err != nil {
		return s.send(c, nil, err, func() {})
	}
	done := s.turns.take()
	if done == nil {
		return s.send(c, nil, errBusy, func() {})
	}
	defer done()
	v, err := s.d.Command(r)
	return s.send(c, v, err, done)
}

// unread gives out a byte that was read already.
type unread struct {
	in    io.ByteReader
	first byte
	have  bool
}

func (u *unread) ReadByte() (byte, error) {
	if u.have {
		u.have = false
		return u.first, nil
	}
	return u.in.ReadByte()
}

// closing reads <F2B_CLOSE_COMMAND>, which ends a connection, or something that only
// begins so.
func (s *wireServer) closing(c *conn, in *requestReader) bool {
	for _, want := range closeCommand[1:] {
		b, err := in.ReadByte()
		if err != nil && err != io.EOF {
			return s.broken(err)
		}
		if b != want || err != nil {
			return s.refuse(c, in, errStack)
		}
	}
	return false
}

// broken is told why a request has no end.
func (s *wireServer) broken(err error) bool {
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		s.complain("a client on the socket began a request and did not end it", "")
	}
	return false
}

func (s *wireServer) complain(kind, detail string) {
	s.crowd.mu.Lock()
	defer s.crowd.mu.Unlock()
	s.crowd.complain(kind, detail)
}

// refuse answers a request that is none; its answer comes at once, and what is still
// on its way is passed over.
func (s *wireServer) refuse(c *conn, in *requestReader, err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		return s.broken(err)
	}
	s.complain("a request on the socket was refused", err.Error())
	c.release()
	in.grow = nil
	if !s.send(c, nil, &Exception{Class: "ValueError", Args: []any{"request refused: " + err.Error()}}, func() {}) {
		return false
	}
	c.note(asking)
	if err := in.skip(maxRefused); err != nil {
		return s.broken(err)
	}
	c.note(quiet)
	return true
}

// send answers. encoded is called when the answer is bytes.
func (s *wireServer) send(c *conn, v any, err error, encoded func()) bool {
	out, err := EncodeAnswer(v, err)
	if err != nil {
		out, err = EncodeAnswer(nil, fmt.Errorf("the answer can't be encoded: %w", err))
	}
	c.release() // the request
	held := err == nil && c.holdAnswer(len(out))
	encoded()
	if !held {
		return false
	}
	_ = c.SetWriteDeadline(time.Now().Add(sendTimeout))
	_, err = c.Write(append(out, endCommand...))
	c.release()
	c.note(quiet)
	return err == nil
}

// turns bounds how many commands are carried out, and their answers made, at a time.
type turns struct{ free chan struct{} }

// readersAtOnce are the commands of readers that are carried out at a time: the
// daemon's other work goes on beside them.
const readersAtOnce = 2

func newTurns(role Role) *turns {
	if role == Owner {
		return &turns{} // a reload that takes long keeps no "status" waiting
	}
	return &turns{free: make(chan struct{}, readersAtOnce)}
}

// take waits for a turn; what it returns gives it back. nil: none came.
func (t *turns) take() (done func()) {
	if t.free == nil {
		return func() {}
	}
	select {
	case t.free <- struct{}{}:
	default:
		late := time.NewTimer(turnTimeout)
		defer late.Stop()
		select {
		case t.free <- struct{}{}:
		case <-late.C:
			return nil
		}
	}
	return sync.OnceFunc(func() { <-t.free })
}
