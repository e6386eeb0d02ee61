// Package engine asks a container engine, docker or podman, what containers there are, what
// happens to them, and what they have written: by the part of Docker's API over a Unix socket
// that both have, and nothing but GET.
//
//	c := engine.New("/run/docker.sock")
//	list, err := c.Containers(ctx)
//	records, err := c.Logs(ctx, list[0].ID, engine.LogOptions{Follow: true})
//	for {
//		r, err := records.Next()
//		…
//	}
//
// Paths have no version of the API in them: each engine then speaks its own, and no version is
// spoken by all that are about. A request is a connection of its own.
//
// What comes is read within bounds: the engine is believed to be root's, but what containers,
// images and labels are called, and what they write, is others' text.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bailiff/pkg/opener"
)

// Sockets of the engines, as their packages have them.
const (
	DockerSocket = "/run/docker.sock"
	PodmanSocket = "/run/podman/podman.sock"
)

const (
	// askMost is how long an engine may take to answer a question that has an end.
	askMost = 30 * time.Second
	// answerMost is how many bytes such an answer may have: some kilobytes a container.
	answerMost = 32 << 20
)

// ParseSocket reads unix:///run/docker.sock, or a path.
func ParseSocket(text string) (path string, err error) {
	path = text
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if scheme != "unix" {
			return "", fmt.Errorf("socket %q: want unix:///PATH: engines are asked over their Unix sockets alone", text)
		}
		path = rest
	}
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("socket %q: want unix:///PATH, from the root on", text)
	}
	if len(path) > 107 {
		return "", fmt.Errorf("socket %q: a socket's path has 107 bytes at the most", text)
	}
	return path, nil
}

// Container is one that the engine has.
type Container struct {
	ID     string // 64 hexadecimal digits
	Name   string
	Image  string // as it was asked for
	Labels map[string]string
	State  string // created, running, exited and the like
	Ports  []Port // that are published on the host
	// Turn counts what happened to it that may have it write again; a Watcher's.
	Turn uint64
}

// Short is its name with the beginning of its ID, as people know it.
func (c *Container) Short() string { return c.Name + "/" + c.ID[:12] }

// Port is one of the host's that leads to a container.
type Port struct {
	Number   uint16
	Protocol string // tcp, udp, sctp
}

// GoneError says that there is no such container.
type GoneError struct{ Text string }

func (e *GoneError) Error() string { return e.Text }

// Client asks one engine. It is safe for use by several goroutines.
type Client struct {
	socket string
	http   *http.Client
}

// New returns a Client of the engine that listens at a socket.
func New(socket string) *Client {
	return &Client{socket: socket, http: &http.Client{Transport: opener.Engine(socket)}}
}

// get asks for a path. The body is to be closed.
func (c *Client) get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	target := "http://engine" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, c.unreached(err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	text := said(res.Body)
	if res.StatusCode == http.StatusNotFound {
		return nil, &GoneError{fmt.Sprintf("engine %s: %s", c.socket, text)}
	}
	return nil, fmt.Errorf("engine %s answers %.60s: %s", c.socket, res.Status, text)
}

// said is what an engine says of an error.
func said(body io.Reader) string {
	data, _ := io.ReadAll(io.LimitReader(body, 4<<10))
	var object struct {
		Message string `json:"message"`
	}
	text := strings.TrimSpace(string(data))
	if json.Unmarshal(data, &object) == nil && object.Message != "" {
		text = object.Message
	}
	return printable(text, 300)
}

// printable makes a text of others fit for a message.
func printable(text string, most int) string {
	q := strconv.Quote(text[:min(len(text), most)])
	return q[1 : len(q)-1]
}

// unreached says what to do about an engine that can't be spoken to.
func (c *Client) unreached(err error) error {
	var no net.Error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("engine %s: the socket is not there: is the engine running? ([docker] socket says where it is)", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("engine %s: user %d may not connect to the socket: have the daemon be in the group that it belongs to", c.socket, os.Geteuid())
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("engine %s: nobody listens at the socket: is the engine running?", c.socket)
	case errors.As(err, &no) && no.Timeout():
		return fmt.Errorf("engine %s doesn't answer", c.socket)
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the address, which is made up
	}
	return fmt.Errorf("engine %s: %s", c.socket, printable(err.Error(), 300))
}

// ask asks for a path, and reads the whole answer.
func (c *Client) ask(ctx context.Context, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askMost, fmt.Errorf("engine %s hasn't answered for %v", c.socket, askMost))
	defer cancel()
	body, err := c.get(ctx, path, query)
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, answerMost+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return c.unreached(err)
	case len(data) > answerMost:
		return fmt.Errorf("engine %s: its answer has more than %d MiB", c.socket, answerMost>>20)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("engine %s: its answer to %s is not one that an engine gives: %s", c.socket, path, printable(err.Error(), 200))
	}
	return nil
}

// Containers returns all containers, also those that don't run.
func (c *Client) Containers(ctx context.Context) ([]Container, error) {
	var list []struct {
		ID     string `json:"Id"`
		Names  []string
		Image  string
		Labels map[string]string
		State  string
		Ports  []struct {
			PublicPort uint16
			Type       string
		}
	}
	if err := c.ask(ctx, "/containers/json", url.Values{"all": {"1"}}, &list); err != nil {
		return nil, err
	}
	out := make([]Container, 0, len(list))
	for _, l := range list {
		if !isID(l.ID) {
			return nil, fmt.Errorf("engine %s: %.80q is no container's ID", c.socket, l.ID)
		}
		one := Container{ID: l.ID, Name: l.ID[:12], Image: l.Image, Labels: l.Labels, State: l.State}
		for _, n := range l.Names { // docker has a name for each link to it, too: /other/alias
			if n = strings.TrimPrefix(n, "/"); isName(n) {
				one.Name = n
				break
			}
		}
		for _, p := range l.Ports {
			if p.PublicPort != 0 {
				one.Ports = append(one.Ports, Port{p.PublicPort, p.Type})
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// Inspected is what is known of one container beyond the list.
type Inspected struct {
	// Terminal: its output is one of a terminal, a single stream.
	Terminal bool
	Running  bool
}

// Inspect looks at one container. The error is a [GoneError] if it is not there.
func (c *Client) Inspect(ctx context.Context, id string) (Inspected, error) {
	var object struct {
		State  struct{ Running, Paused, Restarting bool }
		Config struct{ Tty bool }
	}
	err := c.ask(ctx, "/containers/"+id+"/json", nil, &object)
	return Inspected{object.Config.Tty, object.State.Running || object.State.Paused}, err
}

// LogOptions say what of a log is read.
type LogOptions struct {
	// Since is the second since 1970 from which on; 0: from the beginning.
	Since int64
	// Follow goes on with what is written, until the container ends.
	Follow bool
	// Terminal is as Inspect says.
	Terminal bool
}

// Logs reads what a container has written. What it returns is to be closed, and ends with ctx.
func (c *Client) Logs(ctx context.Context, id string, o LogOptions) (*Reader, error) {
	query := url.Values{"stdout": {"1"}, "stderr": {"1"}, "timestamps": {"1"}}
	if o.Follow {
		query.Set("follow", "1")
	}
	if o.Since > 0 {
		query.Set("since", strconv.FormatInt(o.Since, 10))
	}
	body, err := c.get(ctx, "/containers/"+id+"/logs", query)
	if err != nil {
		return nil, err
	}
	r := NewReader(body, o.Terminal)
	r.body = body
	return r, nil
}

func isID(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c-'0' > 9 && c-'a' > 5 {
			return false
		}
	}
	return true
}

// isName reports whether it is a name as engines allow them; those can be in paths and messages.
func isName(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c-'0' <= 9, c|0x20 >= 'a' && c|0x20 <= 'z':
		case i > 0 && (c == '_' || c == '.' || c == '-'):
		default:
			return false
		}
	}
	return true
}
