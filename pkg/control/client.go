package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"bailiff/pkg/jail"
)

// Client speaks to a daemon.
type Client struct {
	socket string
	http   http.Client
	inside bool // it asks this very process
}

// For how long an answer is waited for: to who asks, the daemon answers within a tenth of
// a second; to who changes something, when that is done.
const (
	asksFor    = 15 * time.Second
	changesFor = time.Minute
)

// NewClient makes a client for the daemon on a socket.
func NewClient(socket string) *Client {
	return &Client{socket: socket, http: http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}},
	}}
}

// Close gives back connections that are kept for the next question. The client can be used
// all the same.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// NotRunningError says that no daemon answers on the socket.
type NotRunningError struct {
	Socket string
	Err    error
}

func (e *NotRunningError) Error() string {
	switch {
	case errors.Is(e.Err, os.ErrPermission):
		return fmt.Sprintf("no permission for the socket %s: be root, or the user that the daemon runs as", e.Socket)
	case errors.Is(e.Err, os.ErrNotExist) || errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no daemon is running at %s: start one with `bailiff run`, or name its --socket", e.Socket)
	}
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return fmt.Sprintf("the daemon at %s has taken the request and not answered in time: it hangs, or is stopped (SIGSTOP); it may still carry the request out later", e.Socket)
	}
	return fmt.Sprintf("the daemon at %s does not answer: %v", e.Socket, e.Err)
}

func (e *NotRunningError) Unwrap() error { return e.Err }

func (c *Client) call(method, path string, body, into any) error {
	most := changesFor
	if method == http.MethodGet {
		most = asksFor
	}
	ctx, end := context.WithTimeout(context.Background(), most)
	defer end()
	return c.callFor(ctx, method, path, body, into)
}

// callFor is call for what may take as long as a context lasts. A body that is an io.Reader is sent
// as it is.
func (c *Client) callFor(bounded context.Context, method, path string, body, into any) error {
	var b bytes.Buffer
	send, raw := body.(io.Reader)
	switch {
	case raw:
	case body != nil:
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return err
		}
		fallthrough
	default:
		send = &b
	}
	ctx, cancel := context.WithCancelCause(bounded)
	defer cancel(nil)
	look := time.AfterFunc(whoseAfter, func() {
		if !c.inside && ofFail2ban(c.socket) {
			cancel(&Fail2banError{c.socket})
		}
	})
	defer look.Stop()
	req, err := http.NewRequestWithContext(ctx, method, "http://bailiff"+path, send)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		if e, theirs := context.Cause(ctx).(*Fail2banError); theirs {
			return e
		}
		return &NotRunningError{c.socket, err}
	}
	look.Stop()
	defer func() { // to its end: else the connection is no good for the next question
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
		res.Body.Close()
	}()
	if res.StatusCode != http.StatusOK {
		return failureOf(res)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return fmt.Errorf("the daemon's answer: %w", err)
	}
	return nil
}

// failureOf is the error that an answer tells.
func failureOf(res *http.Response) error {
	var f Failure
	if err := json.NewDecoder(res.Body).Decode(&f); err != nil || f.Error == "" {
		return &AnswerError{res.StatusCode, "the daemon answered " + res.Status}
	}
	return &AnswerError{res.StatusCode, f.Error}
}

// AnswerError is the daemon's word on why it did not do what it was asked for.
type AnswerError struct {
	Status int // of HTTP
	Text   string
}

func (e *AnswerError) Error() string { return e.Text }

// Ping asks whether a daemon answers.
func (c *Client) Ping() error { return c.call("GET", "/v1/ping", nil, nil) }

// Status returns the daemon's state.
func (c *Client) Status() (s Status, err error) {
	return s, c.call("GET", "/v1/status", nil, &s)
}

// Jail returns the state of one jail with its bans.
func (c *Client) Jail(name string) (s jail.Status, err error) {
	return s, c.call("GET", "/v1/jails/"+url.PathEscape(name), nil, &s)
}

// Ban bans addresses in a jail.
func (c *Client) Ban(jail string, r BanRequest) (out []BanResult, err error) {
	return out, c.call("POST", "/v1/jails/"+url.PathEscape(jail)+"/ban", r, &out)
}

// Bans returns all bans in force.
func (c *Client) Bans() (out []jail.BanStatus, err error) {
	return out, c.call("GET", "/v1/bans", nil, &out)
}

// Import hands over bans that were made elsewhere, as many as a request may have.
func (c *Client) Import(r ImportRequest) (out []ImportResult, err error) {
	return out, c.call("POST", "/v1/import", r, &out)
}

// ImportMost is how many bans are handed over in one request.
const ImportMost = 500

// Unban lifts bans.
func (c *Client) Unban(r UnbanRequest) (out []UnbanResult, err error) {
	return out, c.call("POST", "/v1/unban", r, &out)
}

// Allow lifts bans, and has nobody ban these addresses again for a while.
func (c *Client) Allow(r AllowRequest) (out []AllowResult, err error) {
	return out, c.call("POST", "/v1/allow", r, &out)
}

// Allowed returns who is let in for a while.
func (c *Client) Allowed() (out []Allowance, err error) {
	return out, c.call("GET", "/v1/allow", nil, &out)
}

// Reload has the daemon read its configuration anew.
func (c *Client) Reload() (r ReloadResult, err error) {
	return r, c.call("POST", "/v1/reload", nil, &r)
}

// stopPatience is how long a client waits for the end of the daemon, which takes 15
// seconds at the most.
const stopPatience = 20 * time.Second

// Stop ends the daemon. It returns when that has ended, or after a while.
func (c *Client) Stop() error {
	ended := WatchEnd(c.socket)
	if err := c.call("POST", "/v1/stop", nil, nil); err != nil {
		return err
	}
	deadline := time.Now().Add(stopPatience)
	for time.Now().Before(deadline) {
		c.http.CloseIdleConnections()
		if ended != nil && ended() {
			return nil
		}
		if _, err := os.Stat(c.socket); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("the daemon said that it stops, but is still there after %v: its log says what it waits for", stopPatience)
}
