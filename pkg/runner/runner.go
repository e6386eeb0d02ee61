// Package runner is the second process of a daemon: the small one that runs programs. The
// process that reads what strangers write can run none (package confine); it asks this one.
//
// The daemon starts it before it is confined, with a socket between the two that nobody
// else has. What it runs are the commands of actions, ignorecommand, the reloads of exports,
// and journalctl. With Fixed it reads the configuration by itself, and knows commands by
// number: the daemon names one, and values for its tags, journalctl reads those journals
// that are configured, and listeners and the sockets of container engines (package opener) are opened
// where they are configured. So who has taken over the daemon can have commands of the operator's
// run, with values of his, as who writes to a log can; and no other. Without Fixed it
// believes the daemon what is to be run: what fail2ban's socket takes is the operator's word.
//
// The two say frames to each other (wire.go): bytes and numbers, within bounds, and nothing
// in them is taken for anything else. Each request has a number, and a time by which it is
// over. When the daemon ends, however it does, the socket is closed, and the runner
// ends; a command that runs at that moment goes on to its own end, as one of a daemon that
// is killed. When the runner ends, each request fails at once, and the daemon says so.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/action"
	"bailiff/pkg/confine"
	"bailiff/pkg/opener"
)

// FD is the descriptor that the runner finds its end of the socket at.
const FD = 3

// Table is what a runner may do that does not believe the daemon.
type Table struct {
	// Commands are the texts of the configuration, with their tags.
	Commands []string
	// Journals are directories, files and namespaces of journals.
	Directories, Files, Namespaces []string
	// Listen is where somebody may listen, Sockets to which Unix sockets he may connect, Engines are
	// those of container engines.
	Listen  []opener.Place
	Sockets []string
	Engines []string
	// Exports are files that are replaced.
	Exports []string
	// Refused says why nothing is run, opened or written but the journal is read: others could
	// change the configuration.
	Refused []string
	// Environment is what commands get (action.SetEnvironment).
	Environment []string
}

// Options of Serve.
type Options struct {
	// Fixed: nothing is run but what Load returns.
	Fixed bool
	// Load reads the configuration.
	Load func() (Table, error)
	// Settle gives away what is not needed to read journals and to ask engines, once the
	// configuration is read for the first time: nothing else is done then. nil: nothing is given away.
	Settle func() error
	// Replace puts a file in the place of another one at once: content writes what is in it.
	Replace func(path string, content func(io.Writer) error) error
}

// atOnce is how many requests may be under way.
const atOnce = 4096

// generations is how many readings of the configuration a command may be gone: what it has
// begun has to be ended by commands of the same reading.
const generations = 4

// server is a runner at work.
type server struct {
	opts Options
	link *link

	listening sync.Mutex // of who opens a listener

	mu       sync.Mutex
	cancels  map[uint32]context.CancelFunc
	commands map[string]*known // by text
	numbers  []*known
	reading  int // of the configuration
	table    Table
	settled  bool
}

type known struct {
	text    string
	number  uint32
	reading int // the last one in which it was there
}

// Accept waits for a daemon at a socket that a service manager has handed over, and returns the
// connection to it. Who may connect is a matter of the socket's file.
func Accept(listener *os.File) (*os.File, error) {
	l, err := net.FileListener(listener)
	if err != nil {
		return nil, fmt.Errorf("runner: %w", err)
	}
	listener.Close()
	defer l.Close()
	conn, err := l.Accept()
	if err != nil {
		return nil, fmt.Errorf("runner: %w", err)
	}
	defer conn.Close()
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("runner: want a Unix socket, not %s", conn.LocalAddr().Network())
	}
	return c.File()
}

// Serve does what the daemon at the other end asks for, until that has gone.
func Serve(socket *os.File, opts Options) error {
	l, err := newLink(socket)
	if err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	// A stop is the daemon's: it still needs commands then.
	// (Caught, since what is ignored is so in commands, too.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	syscall.Umask(0o077) // as the daemon's
	debug.SetGCPercent(50)
	s := &server{opts: opts, link: l, cancels: map[uint32]context.CancelFunc{}, commands: map[string]*known{}}
	for {
		f, err := l.receive()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("runner: %w", err)
		}
		f.closeAll() // nobody sends it any
		a, err := parse(f)
		if err != nil {
			return fmt.Errorf("runner: %w", err) // nothing after it can be believed
		}
		s.take(f.request, a)
	}
}

// asked is a request. One of its fields says what for.
type asked struct {
	kind        byte
	timeout     time.Duration
	text        string       // askRun: filled in
	vars        []action.Var // the same
	number      uint32       // askKnown
	values      []action.Value
	args        []string // askJournal
	environment []string
	place       opener.Place // askListen
	socket      string       // askEngine, and text: what is asked for
	size        uint64       // askReplace, and text: the path
}

// parse reads a request.
func parse(f frame) (a asked, err error) {
	r := &reader{data: f.data}
	a.kind = f.kind
	switch f.kind {
	case askRun:
		a.timeout = fromMillis(r.number())
		a.text = r.text()
		for range r.count(8) {
			a.vars = append(a.vars, action.Var{Name: r.text(), Value: r.text()})
		}
	case askKnown:
		a.timeout = fromMillis(r.number())
		n := r.number()
		if n > 1<<31 {
			return a, errFrame
		}
		a.number = uint32(n)
		for range r.count(16) {
			a.values = append(a.values, action.Value{Group: r.number() == 1, Tag: r.text(), Value: r.text()})
		}
	case askJournal:
		a.args = r.texts()
	case askEnvironment:
		a.environment = r.texts()
	case askListen:
		a.place = opener.Place{Network: r.text(), Address: r.text(), Mode: fs.FileMode(r.number()) & fs.ModePerm}
	case askDial:
		a.socket = r.text()
	case askEngine:
		a.socket, a.text = r.text(), r.text()
	case askReplace:
		a.text, a.size = r.text(), r.number()
	case askCancel, askReload:
	default:
		return a, errFrame
	}
	return a, r.end()
}

// take begins with a request.
func (s *server) take(request uint32, a asked) {
	switch a.kind {
	case askCancel:
		s.mu.Lock()
		cancel := s.cancels[request]
		s.mu.Unlock()
		if cancel != nil {
			cancel()
		}
		return
	case askEnvironment:
		if !s.opts.Fixed {
			action.SetEnvironment(a.environment)
		}
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	busy := len(s.cancels) >= atOnce || s.cancels[request] != nil
	if !busy {
		s.cancels[request] = cancel
	}
	s.mu.Unlock()
	go func() {
		defer cancel()
		if busy {
			s.result(request, action.Result{}, fmt.Errorf("the runner has %d requests under way", atOnce))
			return
		}
		defer func() {
			s.mu.Lock()
			delete(s.cancels, request)
			s.mu.Unlock()
		}()
		switch a.kind {
		case askRun, askKnown:
			res, err := s.run(ctx, a)
			s.result(request, res, err)
		case askJournal:
			s.journal(ctx, request, a.args)
		case askListen:
			s.listen(ctx, request, a.place)
		case askDial:
			s.dial(ctx, request, a.socket)
		case askEngine:
			s.engine(ctx, request, a.socket, a.text)
		case askReplace:
			s.replace(ctx, request, a.text, a.size)
		case askReload:
			s.reload(request)
		}
	}()
}

// run runs a command.
func (s *server) run(ctx context.Context, a asked) (action.Result, error) {
	c := action.Command{Text: a.text, Vars: a.vars}
	switch {
	case a.kind == askKnown:
		s.mu.Lock()
		var text string
		ok := false
		if int(a.number) < len(s.numbers) {
			k := s.numbers[a.number]
			text, ok = k.text, s.reading-k.reading < generations
		}
		s.mu.Unlock()
		if !ok {
			return action.Result{}, fmt.Errorf("there is no command of number %d", a.number)
		}
		c = action.Refill(text, a.values)
	case s.opts.Fixed:
		return action.Result{}, errors.New("nothing is run but what is configured ([security] fixed_actions)")
	}
	return c.Run(ctx, a.timeout)
}

// Kinds of errors of a command.
const (
	fine uint64 = iota
	tookTooLong
	wasEnded
	couldNot
)

func (s *server) result(request uint32, res action.Result, err error) {
	w := newWriter(tellResult, request)
	var late *action.TimeoutError
	switch {
	case err == nil:
		w.number(fine)
	case errors.As(err, &late):
		w.number(tookTooLong)
	case errors.Is(err, context.Canceled):
		w.number(wasEnded)
	default:
		w.number(couldNot)
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	w.text(text)
	w.number(uint64(res.Code))
	w.text(string(res.Stdout))
	w.text(string(res.Stderr))
	s.tell(w)
}

// tell answers. Who doesn't take it has gone, and so does the runner.
func (s *server) tell(w *writer, fds ...int) {
	if err := s.link.send(w, fds...); err != nil {
		s.link.conn.Close()
	}
}

// journal runs journalctl, whose output goes to the daemon past this process.
func (s *server) journal(ctx context.Context, request uint32, args []string) {
	failed := func(err error) {
		w := newWriter(tellJournal, request)
		w.text(err.Error())
		s.tell(w)
	}
	s.mu.Lock()
	table := s.table
	s.mu.Unlock()
	if err := checkJournal(args, s.opts.Fixed, table); err != nil {
		failed(err)
		return
	}
	out, outEnd, err := pipe()
	if err != nil {
		failed(err)
		return
	}
	errs, errEnd, err := pipe()
	if err != nil {
		unix.Close(out)
		outEnd.Close()
		failed(err)
		return
	}
	cmd := exec.CommandContext(ctx, "journalctl", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if s.mayAll() {
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_DAC_READ_SEARCH}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Stdout, cmd.Stderr = outEnd, errEnd
	err = cmd.Start()
	outEnd.Close()
	errEnd.Close()
	if err != nil {
		unix.Close(out)
		unix.Close(errs)
		failed(err)
		return
	}
	w := newWriter(tellJournal, request)
	w.text("")
	s.tell(w, out, errs)
	unix.Close(out)
	unix.Close(errs)
	text := ""
	if err := cmd.Wait(); err != nil {
		text = err.Error()
	}
	w = newWriter(tellEnd, request)
	w.text(text)
	s.tell(w)
}

// mayAll reports whether this process has kept the right to read all, which journalctl needs then.
func (s *server) mayAll() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settled && confine.Has(unix.CAP_DAC_READ_SEARCH)
}

// pipe is one whose end for reading is handed on, and is not looked at by Go.
func pipe() (read int, write *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, nil, err
	}
	return p[0], os.NewFile(uintptr(p[1]), "journalctl's output"), nil
}

// settle gives away what is not needed, once.
func (s *server) settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settled || s.opts.Settle == nil {
		return nil
	}
	s.settled = true
	return s.opts.Settle()
}

// reload reads the configuration, and tells the numbers of its commands.
func (s *server) reload(request uint32) {
	w := newWriter(tellTable, request)
	t, err := Table{}, error(nil)
	if s.opts.Fixed {
		t, err = s.opts.Load()
		debug.FreeOSMemory()
	}
	if err == nil {
		err = s.settle()
	}
	if err != nil {
		w.text(err.Error())
		w.number(0)
		w.texts(nil)
		w.number(0)
		s.tell(w)
		return
	}
	if s.opts.Fixed {
		action.SetEnvironment(t.Environment)
	}
	s.mu.Lock()
	commands := uint64(1)
	if s.settled {
		commands = 0
	}
	if s.settled || len(t.Refused) > 0 {
		t.Commands, t.Listen, t.Sockets, t.Exports = nil, nil, nil, nil
	}
	if len(t.Refused) > 0 {
		t.Engines = nil
	}
	s.reading++
	if len(t.Refused) > 0 {
		s.reading += generations // those of before as well
	}
	s.table = t
	for _, text := range t.Commands {
		k := s.commands[text]
		if k == nil {
			k = &known{text: text, number: uint32(len(s.numbers))}
			s.commands[text] = k
			s.numbers = append(s.numbers, k)
		}
		k.reading = s.reading
	}
	var all []*known
	for _, k := range s.numbers {
		if s.reading-k.reading < generations {
			all = append(all, k)
		}
	}
	s.mu.Unlock()
	w.text("")
	w.number(commands)
	w.texts(t.Refused)
	w.number(uint64(len(all)))
	for _, k := range all {
		w.number(uint64(k.number))
		sum := sumOf(k.text)
		w.text(string(sum[:]))
	}
	s.tell(w)
}
