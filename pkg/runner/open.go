package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/opener"
)

// What is opened for the daemon. The runner does so where it has read in the configuration that it
// is to, and hands the descriptor over.

// openMost is how long opening may take.
const openMost = 10 * time.Second

// opened answers with a descriptor, or with why there is none.
func (s *server) opened(request uint32, fd int, err error) {
	w := newWriter(tellOpened, request)
	if err != nil {
		w.text(err.Error())
		s.tell(w)
		return
	}
	w.text("")
	s.tell(w, fd)
}

// configured returns what may be opened.
func (s *server) configured() Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table
}

func (s *server) listen(ctx context.Context, request uint32, p opener.Place) {
	if s.opts.Fixed && !slices.Contains(s.configured().Listen, p) {
		s.opened(request, 0, fmt.Errorf("%s is not among what is configured", p))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, openMost)
	defer cancel()
	f, err := opener.Open(ctx, p)
	if err != nil {
		s.opened(request, 0, err)
		return
	}
	defer f.Close()
	s.opened(request, int(f.Fd()), nil)
}

// engine asks a container engine. Its answer goes through this process, so that nobody can ask
// anything else on the same connection.
func (s *server) engine(ctx context.Context, request uint32, socket, target string) {
	if s.opts.Fixed && !slices.Contains(s.configured().Engines, socket) {
		s.opened(request, 0, fmt.Errorf("%s is not among what is configured", socket))
		return
	}
	conn, err := opener.Request(ctx, socket, target)
	if err != nil {
		s.opened(request, 0, err)
		return
	}
	defer conn.Close()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		s.opened(request, 0, err)
		return
	}
	out, end := p[0], os.NewFile(uintptr(p[1]), "a container engine's answer")
	// Who calls it off has both ends closed, whichever of them is waited for.
	defer context.AfterFunc(ctx, func() { conn.Close(); end.Close() })()
	defer end.Close()
	s.opened(request, out, nil)
	unix.Close(out)
	_, _ = io.Copy(end, conn)
}

// Listen implements opener.Rights.
func (c *Client) Listen(ctx context.Context, p opener.Place) (*os.File, error) {
	_, f, done, err := c.open(ctx, p.String(), func(request uint32) *writer {
		w := newWriter(askListen, request)
		w.text(p.Network)
		w.text(p.Address)
		w.number(uint64(p.Mode.Perm()))
		return w
	})
	if err == nil {
		done()
	}
	return f, err
}

// Get implements opener.Rights.
func (c *Client) Get(ctx context.Context, socket, target string) (*opener.Answer, error) {
	request, f, done, err := c.open(ctx, socket, func(request uint32) *writer {
		w := newWriter(askEngine, request)
		w.text(socket)
		w.text(target)
		return w
	})
	if err != nil {
		return nil, err
	}
	return &opener.Answer{File: f, Cancel: func() { c.cancel(request); done() }}, nil
}

// open has something opened. The request goes on until done is called.
func (c *Client) open(ctx context.Context, what string, write func(request uint32) *writer) (request uint32, f *os.File, done func(), err error) {
	request, answers, done, err := c.ask(write)
	if err != nil {
		return 0, nil, nil, err
	}
	got, err := c.await(ctx, answers, openMost)
	if errors.Is(err, errLate) {
		err = fmt.Errorf("%s was not opened within %v", what, openMost)
	}
	if err == nil {
		r := &reader{data: got.data}
		text := r.text()
		switch {
		case got.kind != tellOpened || r.end() != nil:
			err = errFrame
		case text != "":
			err = errors.New(text)
		case len(got.fds) != 1:
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		got.closeAll()
		c.cancel(request)
		done()
		return 0, nil, nil, err
	}
	_ = unix.SetNonblock(got.fds[0], true)
	return request, os.NewFile(uintptr(got.fds[0]), what), done, nil
}
