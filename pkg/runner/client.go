package runner

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/action"
)

// ErrEnded is told to whoever wants something run when there is no runner any more.
var ErrEnded = errors.New("the process that runs commands has ended: restart the daemon")

const (
	// answerMost is how long the runner may take beyond what it is asked to do.
	answerMost = 10 * time.Second
	// journalMost is how long journalctl may take to start, and reloadMost the
	// configuration to be read.
	journalMost = 10 * time.Second
	reloadMost  = 15 * time.Second
)

func sumOf(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

// Client is the daemon's end.
type Client struct {
	link  *link
	fixed bool
	cmd   *exec.Cmd
	ended chan struct{} // closed when there is no runner any more

	mu      sync.Mutex
	next    uint32
	waiting map[uint32]chan frame
	numbers map[[sha256.Size]byte]uint32
	settled bool     // it reads journals and asks engines, and does nothing else
	refused []string // why no commands are run
}

// Start starts the program of this process once more, as the runner: with arguments that
// have it call Serve.
func Start(fixed bool, args ...string) (*Client, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("runner: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "the runner's socket")
	defer theirs.Close()
	l, err := newLink(os.NewFile(uintptr(pair[0]), "socket to the runner"))
	if err != nil {
		return nil, fmt.Errorf("runner: %w", err)
	}
	c := &Client{link: l, fixed: fixed, ended: make(chan struct{}), waiting: map[uint32]chan frame{}}
	c.cmd = &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{"bailiff"}, args...), ExtraFiles: []*os.File{theirs},
		Stderr:      os.Stderr, // a panic of its own
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "GOMAXPROCS", "BAILIFF_RESTART_STATUS", "BAILIFF_RUNNER":
		default:
			c.cmd.Env = append(c.cmd.Env, v)
		}
	}
	if err := c.cmd.Start(); err != nil {
		l.conn.Close()
		return nil, fmt.Errorf("the process that runs commands can't be started: %w", err)
	}
	go c.hear()
	return c, nil
}

// connectMost is how long a service manager may take to start a runner, until that listens.
const connectMost = 5 * time.Second

// Connect takes a runner that a service manager has started, or starts now, as the one that listens
// at a socket (Accept). It runs what is configured, and nothing else.
func Connect(path string) (*Client, error) {
	conn, err := net.DialTimeout("unix", path, connectMost)
	if err != nil {
		return nil, fmt.Errorf("the process that runs commands: %w", err)
	}
	c := &Client{link: &link{conn: conn.(*net.UnixConn)}, fixed: true, ended: make(chan struct{}), waiting: map[uint32]chan frame{}}
	go c.hear()
	return c, nil
}

// Fixed reports whether nothing is run but what is configured.
func (c *Client) Fixed() bool { return c.fixed }

// Commands reports whether it runs commands; else it reads journals and asks engines.
func (c *Client) Commands() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.settled
}

// Ended is closed when there is no runner any more.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Close has the runner end, and waits for that, but not for long.
func (c *Client) Close() {
	c.link.conn.Close()
	select {
	case <-c.ended:
	case <-time.After(time.Second):
	}
}

// hear hands answers to those who wait for them.
func (c *Client) hear() {
	for {
		f, err := c.link.receive()
		if err != nil {
			break
		}
		c.mu.Lock()
		to := c.waiting[f.request]
		c.mu.Unlock()
		select {
		case to <- f: // nil: nobody waits any more
		default:
			f.closeAll()
		}
	}
	c.link.conn.Close()
	if c.cmd != nil {
		_ = c.cmd.Wait()
	}
	close(c.ended)
}

// ask sends a request; answers come to the channel until done is called.
func (c *Client) ask(write func(request uint32) *writer) (request uint32, answers chan frame, done func(), err error) {
	answers = make(chan frame, 2) // no request has more
	c.mu.Lock()
	for c.next++; c.waiting[c.next] != nil; c.next++ {
	}
	request = c.next
	c.waiting[request] = answers
	c.mu.Unlock()
	done = func() {
		c.mu.Lock()
		delete(c.waiting, request)
		c.mu.Unlock()
	}
	if err := c.link.send(write(request)); err != nil {
		done()
		select {
		case <-c.ended:
			err = ErrEnded
		default:
		}
		return 0, nil, nil, err
	}
	return request, answers, done, nil
}

func (c *Client) cancel(request uint32) { _ = c.link.send(newWriter(askCancel, request)) }

// Run runs a command as action.Command.Run does.
func (c *Client) Run(ctx context.Context, cmd action.Command, timeout time.Duration) (res action.Result, err error) {
	template, values := cmd.Configured()
	c.mu.Lock()
	number, known := c.numbers[sumOf(template)]
	refused := c.refused
	c.mu.Unlock()
	if c.fixed && len(refused) > 0 {
		return res, fmt.Errorf("command %q is not run, since others could change the configuration: %s", action.Cut(template, 200), refused[0])
	}
	if c.fixed && !known {
		return res, fmt.Errorf("command %q is none of the configuration's, and nothing else is run ([security] fixed_actions)", action.Cut(template, 200))
	}
	request, answers, done, err := c.ask(func(request uint32) *writer {
		if c.fixed {
			w := newWriter(askKnown, request)
			w.number(millis(timeout))
			w.number(uint64(number))
			w.number(uint64(len(values)))
			for _, v := range values {
				group := uint64(0)
				if v.Group {
					group = 1
				}
				w.number(group)
				w.text(v.Tag)
				w.text(action.Cut(v.Value, action.ValueMost))
			}
			return w
		}
		w := newWriter(askRun, request)
		w.number(millis(timeout))
		w.text(cmd.Text)
		w.number(uint64(len(cmd.Vars)))
		for _, v := range cmd.Vars {
			w.text(v.Name)
			w.text(action.Cut(v.Value, action.ValueMost))
		}
		return w
	})
	if err != nil {
		return res, err
	}
	defer done()
	late := time.NewTimer(timeout + answerMost)
	defer late.Stop()
	over := ctx.Done()
	for {
		select {
		case f := <-answers:
			return readResult(f, ctx, cmd, timeout)
		case <-over:
			c.cancel(request)
			over = nil
			late.Reset(2 * time.Second) // what was killed is over soon
		case <-late.C:
			if ctx.Err() != nil {
				return res, ctx.Err()
			}
			return res, fmt.Errorf("the process that runs commands does not answer within %v: command %q", timeout+answerMost, action.Cut(cmd.Text, 200))
		case <-c.ended:
			return res, ErrEnded
		}
	}
}

func readResult(f frame, ctx context.Context, cmd action.Command, timeout time.Duration) (res action.Result, err error) {
	f.closeAll()
	r := &reader{data: f.data}
	kind, text := r.number(), r.text()
	res.Code = int(int32(r.number()))
	res.Stdout, res.Stderr = []byte(r.text()), []byte(r.text())
	if f.kind != tellResult || r.end() != nil {
		return action.Result{}, errFrame
	}
	switch kind {
	case fine:
		return res, nil
	case tookTooLong:
		return res, &action.TimeoutError{Command: cmd.Text, After: timeout}
	case wasEnded:
		if ctx.Err() != nil {
			return res, ctx.Err()
		}
		return res, context.Canceled
	}
	return res, errors.New(text)
}

// Reload has the runner read the configuration, if it does not believe the daemon; else it
// tells it what commands find in their environment.
func (c *Client) Reload(environment []string) error {
	if !c.fixed {
		w := newWriter(askEnvironment, 0)
		w.texts(environment)
		return c.link.send(w)
	}
	_, answers, done, err := c.ask(func(request uint32) *writer { return newWriter(askReload, request) })
	if err != nil {
		return err
	}
	defer done()
	f, err := c.await(context.Background(), answers, reloadMost)
	if errors.Is(err, errLate) {
		return fmt.Errorf("the process that runs commands did not read the configuration within %v", reloadMost)
	} else if err != nil {
		return err
	}
	f.closeAll()
	r := &reader{data: f.data}
	text, commands, refused := r.text(), r.number(), r.texts()
	numbers := map[[sha256.Size]byte]uint32{}
	for range r.count(12 + sha256.Size) {
		number := uint32(r.number())
		var sum [sha256.Size]byte
		copy(sum[:], r.text())
		numbers[sum] = number
	}
	if f.kind != tellTable || r.end() != nil {
		return errFrame
	}
	if text != "" {
		return errors.New(text)
	}
	c.mu.Lock()
	c.numbers, c.settled, c.refused = numbers, commands == 0, refused
	c.mu.Unlock()
	return nil
}

// errLate says that an answer did not come in time.
var errLate = errors.New("no answer in time")

// await returns an answer, or why there is none: ErrEnded, ctx's error, or errLate.
func (c *Client) await(ctx context.Context, answers <-chan frame, most time.Duration) (frame, error) {
	late := time.NewTimer(most)
	defer late.Stop()
	select {
	case f := <-answers:
		return f, nil
	case <-c.ended:
		return frame{}, ErrEnded
	case <-ctx.Done():
		return frame{}, ctx.Err()
	case <-late.C:
		return frame{}, errLate
	}
}

// Journalctl is one that runs.
type Journalctl struct {
	Stdout, Stderr *os.File
	wait           func() error
}

// Wait waits for its end.
func (j *Journalctl) Wait() error { return j.wait() }

// Journal runs journalctl with arguments until ctx ends.
func (c *Client) Journal(ctx context.Context, args []string) (*Journalctl, error) {
	request, answers, done, err := c.ask(func(request uint32) *writer {
		w := newWriter(askJournal, request)
		w.texts(args)
		return w
	})
	if err != nil {
		return nil, err
	}
	f, err := c.await(ctx, answers, journalMost)
	if errors.Is(err, errLate) {
		err = fmt.Errorf("journalctl did not start within %v", journalMost)
	}
	if err == nil {
		r := &reader{data: f.data}
		text := r.text()
		switch {
		case f.kind != tellJournal || r.end() != nil:
			err = errFrame
		case text != "":
			err = errors.New(text)
		case len(f.fds) != 2:
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		f.closeAll()
		c.cancel(request)
		done()
		return nil, err
	}
	file := func(fd int) *os.File {
		_ = unix.SetNonblock(fd, true)
		return os.NewFile(uintptr(fd), "journalctl's output")
	}
	j := &Journalctl{Stdout: file(f.fds[0]), Stderr: file(f.fds[1])}
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { c.cancel(request) })
	go func() {
		defer done()
		defer stop()
		select {
		case f := <-answers:
			f.closeAll()
			r := &reader{data: f.data}
			text := r.text()
			switch {
			case f.kind != tellEnd || r.end() != nil:
				ended <- errFrame
			case text != "":
				ended <- errors.New(text)
			default:
				ended <- nil
			}
		case <-c.ended:
			ended <- ErrEnded
		}
	}()
	j.wait = func() error { err := <-ended; ended <- err; return err }
	return j, nil
}
