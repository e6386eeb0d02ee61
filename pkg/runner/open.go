package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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

// allowed says why something is not opened; nil: it is among what is configured, or the daemon
// is believed.
func (s *server) allowed(what string, among func(Table) bool) error {
	if !s.opts.Fixed {
		return nil
	}
	s.mu.Lock()
	t := s.table
	s.mu.Unlock()
	switch {
	case len(t.Refused) > 0:
		return fmt.Errorf("%s is left alone, since others could change the configuration: %s", what, t.Refused[0])
	case !among(t):
		return fmt.Errorf("%s is not among what is configured", what)
	}
	return nil
}

func (s *server) listen(ctx context.Context, request uint32, p opener.Place) {
	if err := s.allowed(p.String(), func(t Table) bool { return slices.Contains(t.Listen, p) }); err != nil {
		s.opened(request, 0, err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, openMost)
	defer cancel()
	// One after the other: until it is closed here, a socket that was handed over looks taken.
	s.listening.Lock()
	defer s.listening.Unlock()
	f, err := opener.Open(ctx, p)
	if err != nil {
		s.opened(request, 0, err)
		return
	}
	defer f.Close()
	s.opened(request, int(f.Fd()), nil)
}

func (s *server) dial(ctx context.Context, request uint32, socket string) {
	if err := s.allowed(socket, func(t Table) bool { return slices.Contains(t.Sockets, socket) }); err != nil {
		s.opened(request, 0, err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, openMost)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		s.opened(request, 0, err)
		return
	}
	defer conn.Close()
	f, err := conn.(*net.UnixConn).File()
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
	if err := s.allowed(socket, func(t Table) bool { return slices.Contains(t.Engines, socket) }); err != nil {
		s.opened(request, 0, err)
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
	_, f, done, err := c.openFor(ctx, p.String(), func(request uint32) *writer {
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

// Dial implements opener.Rights.
func (c *Client) Dial(ctx context.Context, path string) (*os.File, error) {
	_, f, done, err := c.openFor(ctx, path, func(request uint32) *writer {
		w := newWriter(askDial, request)
		w.text(path)
		return w
	})
	if err == nil {
		done()
	}
	return f, err
}

// Get implements opener.Rights.
func (c *Client) Get(ctx context.Context, socket, target string) (*opener.Answer, error) {
	_, f, done, err := c.openFor(ctx, socket, func(request uint32) *writer {
		w := newWriter(askEngine, request)
		w.text(socket)
		w.text(target)
		return w
	})
	if err != nil {
		return nil, err
	}
	return &opener.Answer{File: f, Cancel: done}, nil
}

// openFor has something opened. The request goes on until done is called.
func (c *Client) openFor(ctx context.Context, what string, write func(request uint32) *writer) (answers chan frame, f *os.File, done func(), err error) {
	request, answers, forget, err := c.ask(write)
	if err != nil {
		return nil, nil, nil, err
	}
	done = func() { c.cancel(request); forget() }
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
		done()
		return nil, nil, nil, err
	}
	_ = unix.SetNonblock(got.fds[0], true)
	return answers, os.NewFile(uintptr(got.fds[0]), what), done, nil
}

// replaceMost is how large a file may be that is replaced, and how long that may take.
const (
	replaceMost = 1 << 30
	replaceLast = time.Minute
)

// replace writes a file anew, with what comes through a pipe.
func (s *server) replace(ctx context.Context, request uint32, path string, size uint64) {
	if err := s.allowed(path, func(t Table) bool { return slices.Contains(t.Exports, path) }); err != nil {
		s.opened(request, 0, err)
		return
	}
	if s.opts.Replace == nil || size > replaceMost {
		s.opened(request, 0, fmt.Errorf("%s: %d bytes can't be written", path, size))
		return
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		s.opened(request, 0, err)
		return
	}
	in := os.NewFile(uintptr(p[0]), "what is to be in "+path)
	ctx, cancel := context.WithTimeout(ctx, replaceLast)
	defer cancel()
	defer context.AfterFunc(ctx, func() { in.Close() })()
	defer in.Close()
	s.opened(request, p[1], nil)
	unix.Close(p[1])
	err := s.opts.Replace(path, func(w io.Writer) error {
		n, err := io.Copy(w, io.LimitReader(in, int64(size)))
		if err == nil && n < int64(size) {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	text := ""
	if err != nil {
		text = err.Error()
	}
	w := newWriter(tellEnd, request)
	w.text(text)
	s.tell(w)
}

// Replace has a file that is configured replaced by the runner.
func (c *Client) Replace(ctx context.Context, path string, data []byte) error {
	answers, f, done, err := c.openFor(ctx, path, func(request uint32) *writer {
		w := newWriter(askReplace, request)
		w.text(path)
		w.number(uint64(len(data)))
		return w
	})
	if err != nil {
		return err
	}
	defer done()
	_ = f.SetWriteDeadline(time.Now().Add(replaceLast))
	_, wrong := f.Write(data)
	wrong = errors.Join(wrong, f.Close())
	got, err := c.await(ctx, answers, replaceLast+openMost)
	if errors.Is(err, errLate) {
		err = fmt.Errorf("%s was not written within %v", path, replaceLast)
	}
	if err != nil {
		return errors.Join(err, wrong)
	}
	got.closeAll()
	r := &reader{data: got.data}
	text := r.text()
	switch {
	case got.kind != tellEnd || r.end() != nil:
		return errFrame
	case text != "":
		return errors.New(text)
	}
	return wrong
}
