package opener

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"bailiff/pkg/lazyregexp"
)

// Readable are the requests to a container engine that another process sends: its version, what
// containers there are, what happens to them, and their logs.
var Readable = lazyregexp.New(`^(/v[0-9]{1,3}\.[0-9]{1,3}(\.[0-9]{1,3})?)?(/libpod)?/(_ping|version|info|events|containers/json|containers/[a-zA-Z0-9][a-zA-Z0-9_.-]*/(json|logs))(\?[a-zA-Z0-9_.~&=%+:,-]*)?$`)

// dialMost is how long an engine may take to take a connection, headMost how long until it begins
// with its answer.
const (
	dialMost = 5 * time.Second
	headMost = 30 * time.Second
	// headBytes is how long the head of an answer may be.
	headBytes = 64 << 10
	// targetMost is how long a path may be, with what follows it.
	targetMost = 4096
)

// Answer is what comes of a request, byte for byte, as the engine sends it.
type Answer struct {
	*os.File
	// Cancel ends the request, if it has not ended.
	Cancel func()
}

// Close ends it.
func (a *Answer) Close() error {
	a.Cancel()
	return a.File.Close()
}

// Engine sends requests to the socket of a container engine: by this process, where that may
// write to it; else those that only read, by another one.
func Engine(socket string) http.RoundTripper {
	transport := func(headMost time.Duration) *http.Transport {
		return &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				d := net.Dialer{Timeout: dialMost}
				return d.DialContext(ctx, "unix", socket)
			},
			DisableKeepAlives: true, ResponseHeaderTimeout: headMost, MaxResponseHeaderBytes: headBytes,
		}
	}
	return &engine{socket: socket, direct: transport(headMost), following: transport(0)}
}

type engine struct {
	socket            string
	direct, following *http.Transport
}

// follows reports whether a request is for a log that is followed: podman begins with its answer when
// there is a line.
func follows(r *http.Request) bool { return r.URL.Query().Get("follow") == "1" }

// RoundTrip implements http.RoundTripper.
func (e *engine) RoundTrip(r *http.Request) (*http.Response, error) {
	direct := e.direct
	if follows(r) {
		direct = e.following
	}
	res, err := direct.RoundTrip(r)
	if !denied(err) {
		return res, err
	}
	by := elsewhere()
	switch {
	case by == nil:
		return nil, fmt.Errorf("%w: have the daemon be in the group of the socket (systemctl edit: SupplementaryGroups=)", err)
	case r.Method != http.MethodGet || r.Body != nil && r.Body != http.NoBody:
		return nil, fmt.Errorf("%w; and the process that runs commands only reads", err)
	}
	a, err := by.Get(r.Context(), e.socket, r.URL.RequestURI())
	if err != nil {
		return nil, err
	}
	late := time.AfterFunc(headMost, func() { _ = a.Close() })
	if follows(r) {
		late.Stop()
	}
	gone := context.AfterFunc(r.Context(), func() { _ = a.Close() })
	res, err = http.ReadResponse(bufio.NewReader(a), r)
	if !late.Stop() && err != nil && !follows(r) {
		err = fmt.Errorf("%s: no answer within %v", e.socket, headMost)
	}
	if err != nil {
		gone()
		_ = a.Close()
		return nil, err
	}
	res.Body = &body{res.Body, func() { gone(); _ = a.Close() }}
	return res, nil
}

type body struct {
	io.ReadCloser
	end func()
}

// Close ends the request first: what is left of a body that never ends is not to be waited for.
func (b *body) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

// Request sends a request to read to an engine, and returns the connection on which the answer
// comes.
func Request(ctx context.Context, socket, target string) (*net.UnixConn, error) {
	if len(target) > targetMost || !Readable.MatchString(target) {
		return nil, fmt.Errorf("%.200q is not among what is read from a container engine", target)
	}
	d := net.Dialer{Timeout: dialMost}
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	_ = conn.SetWriteDeadline(time.Now().Add(dialMost))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: engine\r\nUser-Agent: bailiff\r\nConnection: close\r\n\r\n", target); err != nil {
		conn.Close()
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}
