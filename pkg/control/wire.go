package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"time"

	pickle "github.com/kisielk/og-rek"
)

// fail2ban's protocol: a request is a pickled list of strings, then
// <F2B_END_COMMAND>; the answer is a pickled pair, (0, value) or (1, exception),
// and then the same. A connection may bring many; <F2B_CLOSE_COMMAND> ends it.
// Pickles are read as data: one that names a class or a function is refused, and
// nothing that it names is ever looked up.

var (
	endCommand   = []byte("<F2B_END_COMMAND>")
	closeCommand = []byte("<F2B_CLOSE_COMMAND>")
)

// Bounds of what a client may do.
const (
	maxRequest  = 8 << 20 // a reload of fail2ban-client brings all jails at once
	maxItems    = 200_000 // in one request
	maxDepth    = 8
	maxClients  = 100              // more wait until one of them has gone, or is pushed out
	idleTimeout = 10 * time.Minute // exporters keep a connection between their rounds
	readTimeout = 30 * time.Second // from the first byte of a request to its last
	sendTimeout = 10 * time.Second
	// Who may be pushed out for another: who does not read his answer, and who was
	// quiet for a while.
	stuckAfter = 200 * time.Millisecond
	quietAfter = 5 * time.Second
	waitInLine = 30 * time.Second
)

// List is a Python list, Tuple a tuple, Dict a dict with strings as keys, in the
// order given.
type (
	List  []any
	Tuple []any
)

// Dict is a Python dict of few entries.
type Dict struct {
	Keys   []string
	Values map[string]any
}

// Exception is an error as fail2ban's clients expect it.
type Exception struct {
	Module string // empty: Python's own
	Class  string
	Args   []any
}

func (e *Exception) Error() string {
	if len(e.Args) == 1 {
		if s, ok := e.Args[0].(string); ok {
			return s
		}
	}
	return fmt.Sprint(e.Args...)
}

// Commander carries out a command of fail2ban's. The answer is made of nil, bool,
// int, float64, string, List, Tuple and Dict; an error that is no *Exception
// becomes a plain one.
type Commander interface {
	Command(args []any) (any, error)
}

// DecodeRequest reads a pickled request. Nothing but lists, tuples, strings,
// numbers, booleans and None is taken.
func DecodeRequest(data []byte) (args []any, err error) {
	v, err := unpickle(data)
	if err != nil {
		return nil, err
	}
	n := 0
	plain, err := asData(v, 0, &n)
	if err != nil {
		return nil, err
	}
	switch v := plain.(type) {
	case List:
		args = v
	case Tuple:
		args = v
	default:
		return nil, errors.New("the request is no list")
	}
	if len(args) == 0 {
		return nil, errors.New("the request is empty")
	}
	return args, nil
}

func unpickle(data []byte) (v any, err error) {
	// The library is a good one; a request is still nothing to die of.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("pickle: %v", r)
		}
	}()
	d := pickle.NewDecoderWithConfig(bytes.NewReader(data), &pickle.DecoderConfig{
		StrictUnicode:  true,
		PersistentLoad: func(pickle.Ref) (any, error) { return nil, errors.New("a persistent reference is no data") },
	})
	if v, err = d.Decode(); err != nil {
		return nil, fmt.Errorf("pickle: %w", err)
	}
	return v, nil
}

// asData takes over plain data and refuses everything else.
func asData(v any, depth int, n *int) (any, error) {
	if *n++; *n > maxItems || depth > maxDepth {
		return nil, errors.New("the request is too large or too deep")
	}
	list := func(items []any) ([]any, error) {
		out := make([]any, len(items))
		for i, x := range items {
			var err error
			if out[i], err = asData(x, depth+1, n); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	switch v := v.(type) {
	case nil, pickle.None:
		return nil, nil
	case string, bool, float64:
		return v, nil
	case int64:
		return int(v), nil
	case *big.Int:
		return v.String(), nil
	case pickle.ByteString: // a str of Python 2
		return string(v), nil
	case pickle.Bytes:
		return string(v), nil
	case []any:
		out, err := list(v)
		return List(out), err
	case pickle.Tuple:
		out, err := list(v)
		return Tuple(out), err
	}
	return nil, fmt.Errorf("the request holds something that is no data (%T)", v)
}

// EncodeAnswer pickles an answer.
func EncodeAnswer(v any, err error) ([]byte, error) {
	message := pickle.Tuple{0, asPickle(v)}
	if err != nil {
		var e *Exception
		if !errors.As(err, &e) {
			e = &Exception{Class: "Exception", Args: []any{err.Error()}}
		}
		module := e.Module
		if module == "" {
			module = "builtins"
		}
		args := pickle.Tuple{}
		for _, a := range e.Args {
			args = append(args, asPickle(a))
		}
		message = pickle.Tuple{1, pickle.Call{Callable: pickle.Class{Module: module, Name: e.Class}, Args: args}}
	}
	return pickled(message)
}

// pickled writes protocol 3: the oldest that every Python 3 reads as str.
func pickled(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := pickle.NewEncoderWithConfig(&b, &pickle.EncoderConfig{Protocol: 3, StrictUnicode: true}).Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func asPickle(v any) any {
	list := func(items []any) []any {
		out := make([]any, len(items))
		for i, x := range items {
			out[i] = asPickle(x)
		}
		return out
	}
	switch v := v.(type) {
	case nil:
		return pickle.None{}
	case List:
		return list(v)
	case []string:
		out := make([]any, len(v))
		for i, s := range v {
			out[i] = s
		}
		return out
	case Tuple:
		return pickle.Tuple(list(v))
	case Dict:
		out := map[any]any{}
		for k, x := range v.Values {
			out[k] = asPickle(x)
		}
		return out
	}
	return v
}

// wireServer answers fail2ban's protocol.
type wireServer struct {
	d     Commander
	warn  func(string)
	mu    sync.Mutex
	conns map[net.Conn]*clientState
	told  map[string]time.Time // what was warned of
	done  bool
}

// clientState is what a client does.
type clientState struct {
	since   time.Time // since when
	sending bool      // an answer is on its way; else it is quiet, or asks
	asked   bool      // a command of its is carried out, or answered
}

func newWireServer(d Commander, warn func(string)) *wireServer {
	return &wireServer{d: d, warn: warn, conns: map[net.Conn]*clientState{}, told: map[string]time.Time{}}
}

// enter counts a connection. Where there are too many, it waits for one that goes,
// or that may be pushed out.
func (s *wireServer) enter(c net.Conn) bool {
	for end := time.Now().Add(waitInLine); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		s.mu.Lock()
		if s.done {
			s.mu.Unlock()
			return false
		}
		if len(s.conns) >= maxClients {
			s.pushOut()
		}
		room := len(s.conns) < maxClients
		if room {
			s.conns[c] = &clientState{since: time.Now()}
		}
		s.mu.Unlock()
		if room {
			return true
		}
	}
	return false
}

// pushOut closes the connection that is of least use. The caller holds the lock.
func (s *wireServer) pushOut() {
	var worst net.Conn
	var over time.Duration // by how much it is over its time
	for c, state := range s.conns {
		allowed := quietAfter
		if state.sending {
			allowed = stuckAfter
		}
		if o := time.Since(state.since) - allowed; o > over {
			worst, over = c, o
		}
	}
	if worst == nil {
		return
	}
	worst.Close()
	delete(s.conns, worst)
	s.complain("too many clients on the socket: those that don't read, or were quiet for long, are cut off")
}

func (s *wireServer) leave(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *wireServer) note(c net.Conn, sending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state := s.conns[c]; state != nil {
		state.since, state.sending = time.Now(), sending
	}
}

// complain logs each kind of complaint once a minute. The caller holds the lock.
func (s *wireServer) complain(text string) {
	if time.Since(s.told[text]) < time.Minute {
		return
	}
	if len(s.told) > 100 {
		clear(s.told)
	}
	s.told[text] = time.Now()
	s.warn(text)
}

// closeGrace is how long a server that ends waits for its last answers: the one to
// "stop" is among them.
const closeGrace = 2 * time.Second

func (s *wireServer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	for end := time.Now().Add(closeGrace); ; {
		busy := false
		for c, state := range s.conns {
			if state.asked && time.Now().Before(end) {
				busy = true
				continue
			}
			c.Close()
		}
		if !busy {
			return
		}
		s.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		s.mu.Lock()
	}
}

// asked notes that a command of a client's is carried out, or is answered.
func (s *wireServer) asked(c net.Conn, yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state := s.conns[c]; state != nil {
		state.asked = yes
	}
}

// serve answers one client.
func (s *wireServer) serve(c net.Conn) {
	if !s.enter(c) {
		c.Close()
		return
	}
	defer s.leave(c)
	var buf []byte
	chunk := make([]byte, 16<<10)
	for {
		request, rest, closed, ok := nextRequest(buf)
		if closed {
			return
		}
		if ok {
			buf = rest
			s.note(c, false)
			s.asked(c, true)
			answered := s.answer(c, request)
			s.asked(c, false)
			if !answered {
				return
			}
			continue
		}
		if len(buf) > maxRequest {
			s.refuse(c, fmt.Errorf("a request is longer than %d bytes", maxRequest))
			return
		}
		wait := idleTimeout
		if len(buf) > 0 {
			wait = readTimeout
		}
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(chunk)
		buf = append(buf, chunk[:n]...)
		if err != nil && n == 0 {
			if len(buf) > 0 && !errors.Is(err, io.EOF) {
				s.mu.Lock()
				s.complain("a client on the socket began a request and did not end it")
				s.mu.Unlock()
			}
			return
		}
	}
}

// nextRequest cuts the first request off.
func nextRequest(buf []byte) (request, rest []byte, closed, ok bool) {
	end, shut := bytes.Index(buf, endCommand), bytes.Index(buf, closeCommand)
	if shut >= 0 && (end < 0 || shut < end) {
		return nil, nil, true, false
	}
	if end < 0 {
		return nil, buf, false, false
	}
	return buf[:end], buf[end+len(endCommand):], false, true
}

func (s *wireServer) answer(c net.Conn, request []byte) bool {
	args, err := DecodeRequest(request)
	if err != nil {
		s.refuse(c, err)
		return true
	}
	v, err := s.d.Command(args)
	return s.send(c, v, err)
}

func (s *wireServer) refuse(c net.Conn, err error) {
	s.mu.Lock()
	s.complain(fmt.Sprintf("a request on the socket was refused: %v", err))
	s.mu.Unlock()
	s.send(c, nil, &Exception{Class: "ValueError", Args: []any{"request refused: " + err.Error()}})
}

func (s *wireServer) send(c net.Conn, v any, err error) bool {
	out, err := EncodeAnswer(v, err)
	if err != nil {
		out, err = EncodeAnswer(nil, fmt.Errorf("the answer can't be told: %w", err))
	}
	if err != nil {
		return false
	}
	_ = c.SetWriteDeadline(time.Now().Add(sendTimeout))
	s.note(c, true)
	_, err = c.Write(append(out, endCommand...))
	s.note(c, false)
	return err == nil
}

// Call sends commands of fail2ban's to a server and returns its answers, on one
// connection.
type Call struct {
	conn net.Conn
	buf  []byte
}

// DialFail2ban connects to a server's socket.
func DialFail2ban(path string, timeout time.Duration) (*Call, error) {
	c, err := net.DialTimeout("unix", path, timeout)
	if err != nil {
		return nil, err
	}
	return &Call{conn: c}, nil
}

// Close ends the connection as fail2ban's client does.
func (c *Call) Close() error {
	_, _ = c.conn.Write(append([]byte(closeCommand), endCommand...))
	return c.conn.Close()
}

// Do sends one command. An *Exception is the server's error.
func (c *Call) Do(args []any, timeout time.Duration) (any, error) {
	out, err := pickled(asPickle(List(args)))
	if err != nil {
		return nil, err
	}
	if timeout > 0 {
		_ = c.conn.SetDeadline(time.Now().Add(timeout))
	}
	if _, err := c.conn.Write(append(out, endCommand...)); err != nil {
		return nil, err
	}
	chunk := make([]byte, 64<<10)
	for {
		if i := bytes.Index(c.buf, endCommand); i >= 0 {
			answer := c.buf[:i]
			c.buf = c.buf[i+len(endCommand):]
			return decodeAnswer(answer)
		}
		n, err := c.conn.Read(chunk)
		c.buf = append(c.buf, chunk[:n]...)
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

func decodeAnswer(data []byte) (any, error) {
	v, err := unpickle(data)
	if err != nil {
		return nil, err
	}
	pair, ok := v.(pickle.Tuple)
	if !ok || len(pair) != 2 {
		return nil, errors.New("the answer is no pair")
	}
	value := fromAnswer(pair[1])
	if code, _ := pair[0].(int64); code == 0 {
		return value, nil
	}
	if e, ok := value.(*Exception); ok {
		return nil, e
	}
	return nil, &Exception{Class: "Exception", Args: []any{value}}
}

// fromAnswer takes over what a server says. Of the classes that it may name, str
// is its text, and the others are exceptions; none is ever called.
func fromAnswer(v any) any {
	list := func(items []any) []any {
		out := make([]any, len(items))
		for i, x := range items {
			out[i] = fromAnswer(x)
		}
		return out
	}
	switch v := v.(type) {
	case pickle.None:
		return nil
	case int64:
		return int(v)
	case pickle.ByteString:
		return string(v)
	case pickle.Bytes:
		return string(v)
	case *big.Int:
		return v.String()
	case []any:
		return List(list(v))
	case pickle.Tuple:
		return Tuple(list(v))
	case map[any]any:
		d := Dict{Values: map[string]any{}}
		for k, x := range v {
			key := fmt.Sprint(fromAnswer(k))
			d.Keys = append(d.Keys, key)
			d.Values[key] = fromAnswer(x)
		}
		return d
	case pickle.Call:
		args := list(v.Args)
		if v.Callable.Name == "str" && len(args) == 1 {
			return fmt.Sprint(args[0])
		}
		return &Exception{Module: v.Callable.Module, Class: v.Callable.Name, Args: args}
	}
	return v
}
