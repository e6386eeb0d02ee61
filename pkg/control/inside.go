package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// The same requests from within this process: the page asks what anybody can ask at the socket,
// by the same table of who may, and has no other way to the daemon.

// Caller is who asks from within this process.
type Caller struct {
	Name string // what events say of who it was
	Role Role
}

// RoleError says that a role is not enough.
type RoleError struct{ Have, Want Role }

func (e *RoleError) Error() string {
	return fmt.Sprintf("this wants the role %s, yours is %s", e.Want, e.Have)
}

// Bounds of requests from within.
const (
	insideMost  = 512      // at a time, beside streamsMost that follow events
	insideBytes = 32 << 20 // of requests and answers on their way
)

// Inside answers the requests of docs/api.md without a socket.
type Inside struct {
	crowd   *crowd
	handler http.Handler
	closed  chan struct{}
}

// NewInside makes one. warn is told of who does not read what he follows.
func NewInside(d Daemon, warn func(string)) *Inside {
	in := &Inside{closed: make(chan struct{})}
	in.crowd = newCrowd(Owner, warn)
	in.crowd.bounds = bounds{clients: insideMost, perUser: insideMost, bytes: insideBytes, userBytes: insideBytes, streams: streamsMost, userStreams: streamsMost}
	in.handler = newWebServer(d, Reader, newTurns(Owner), in.closed).Handler
	return in
}

// Close ends what is followed, and answers nobody any more.
func (in *Inside) Close() {
	close(in.closed)
	in.crowd.finish(closeGrace)
}

// Serve answers a request of a caller's. The answer's header may have something in it already.
func (in *Inside) Serve(who Caller, w http.ResponseWriter, r *http.Request) {
	c := in.crowd.enter(nowhere{}, uint32(os.Geteuid()))
	if c == nil {
		fail(w, http.StatusServiceUnavailable, errBusy)
		return
	}
	defer c.Close()
	c.caller = &who
	c.note(waiting)
	in.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), connKey{}, c)))
}

// Client returns one that asks as a caller.
func (in *Inside) Client(who Caller) *Client {
	return &Client{socket: "inside", http: http.Client{Transport: &insideTransport{in, who}}, inside: true}
}

// insideTransport carries a request over to Serve. Its answers are whole: what is followed goes
// by Serve.
type insideTransport struct {
	in  *Inside
	who Caller
}

// RoundTrip implements http.RoundTripper.
func (t *insideTransport) RoundTrip(r *http.Request) (res *http.Response, err error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	defer r.Body.Close()
	type answer struct {
		kept *keptAnswer
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		a := answer{kept: &keptAnswer{header: http.Header{}, status: http.StatusOK}}
		defer func() {
			if p := recover(); p != nil {
				if p != http.ErrAbortHandler {
					panic(p)
				}
				a.err = errBusy
			}
			got <- a
		}()
		t.in.Serve(t.who, a.kept, r)
	}()
	select {
	case a := <-got:
		if a.err != nil {
			return nil, a.err
		}
		return &http.Response{
			Status: strconv.Itoa(a.kept.status) + " " + http.StatusText(a.kept.status), StatusCode: a.kept.status,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: a.kept.header, Request: r,
			Body: io.NopCloser(&a.kept.body), ContentLength: int64(a.kept.body.Len()),
		}, nil
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
}

// keptAnswer keeps an answer.
type keptAnswer struct {
	onlyKept
	header http.Header
	status int
	body   bytes.Buffer
}

// onlyKept has deadlines that nothing needs.
type onlyKept struct{}

func (onlyKept) SetWriteDeadline(time.Time) error { return nil }
func (onlyKept) Flush()                           {}

func (a *keptAnswer) Header() http.Header         { return a.header }
func (a *keptAnswer) WriteHeader(status int)      { a.status = status }
func (a *keptAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }

// nowhere is the connection of who has none.
type nowhere struct{}

func (nowhere) Read([]byte) (int, error)         { return 0, io.EOF }
func (nowhere) Write([]byte) (int, error)        { return 0, errNowhere }
func (nowhere) Close() error                     { return nil }
func (nowhere) LocalAddr() net.Addr              { return nil }
func (nowhere) RemoteAddr() net.Addr             { return nil }
func (nowhere) SetDeadline(time.Time) error      { return nil }
func (nowhere) SetReadDeadline(time.Time) error  { return nil }
func (nowhere) SetWriteDeadline(time.Time) error { return nil }

var errNowhere = errors.New("there is no connection")
