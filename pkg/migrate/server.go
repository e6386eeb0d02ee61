package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/control"
)

// A server that runs, fail2ban's or ours: what it is, how it is stopped, and how it is
// started again as it was.

// Server is one.
type Server struct {
	Socket  string
	Ours    bool
	Version string
	PID     int
	Unit    string // of systemd's, that it is the process of; empty: none
	exe     string
	args    []string
	env     []string
	dir     string

	took time.Duration // from its start to its first answer; 0: it ran before
}

// Deadlines of single questions, and of what takes a server its time.
const (
	askMost   = 15 * time.Second
	changeAsk = 2 * time.Minute
	// endMost is how long a server may take to end: fail2ban lifts each ban by a command of
	// its own where an action can't flush.
	endMost = 5 * time.Minute
	// upMost is how long a server may take to answer. fail2ban took 50 seconds on a tenth of a
	// core.
	upMost = 2 * time.Minute
	// killMost is how long what a program has left running may keep its output open, once
	// it has ended or was killed.
	killMost = 2 * time.Second
)

// SystemdDir is there where systemd runs services. Tests name another.
var SystemdDir = "/run/systemd/system"

// systemd reports whether services are systemd's.
func systemd() bool {
	if _, err := os.Stat(SystemdDir); err != nil {
		return false
	}
	_, err := exec.LookPath("systemctl")
	return err == nil
}

// command is a program that is run, in a process group of its own: a Ctrl-C is for the change
// over alone, which has an orderly way back to go, and goes it by such programs.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.WaitDelay = killMost
	return c
}

// systemctl runs it.
func systemctl(ctx context.Context, args ...string) error {
	c := command(ctx, "systemctl", args...)
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// notThere says that nobody answers on a socket.
type notThere struct {
	socket string
	err    error
}

func (e *notThere) Error() string {
	return fmt.Sprintf("nobody answers at %s: %v", e.socket, e.err)
}
func (e *notThere) Unwrap() error { return e.err }

// ask asks something in fail2ban's words.
func ask(socket string, most time.Duration, words ...any) (any, error) {
	c, err := control.DialFail2ban(socket, askMost)
	if err != nil {
		return nil, &notThere{socket, err}
	}
	defer c.Close()
	return c.Do(words, most)
}

// find looks at who answers on a socket.
func find(socket string) (*Server, error) {
	v, err := ask(socket, askMost, "version")
	if err != nil {
		return nil, err
	}
	s := &Server{Socket: socket, Version: fmt.Sprint(v)}
	if v, err := ask(socket, askMost, "bailiff"); err == nil {
		s.Ours, s.Version = true, fmt.Sprint(v)
	}
	if s.PID, err = pidOf(socket); err != nil {
		return nil, err
	}
	return s, s.remember()
}

// pidOf returns the process that listens on a socket.
func pidOf(socket string) (int, error) {
	c, err := net.DialTimeout("unix", socket, askMost)
	if err != nil {
		return 0, &notThere{socket, err}
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var who *unix.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) { who, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if asked != nil {
		return 0, fmt.Errorf("%s: whose it is: %w", socket, asked)
	}
	return int(who.Pid), nil
}

// remember keeps how the server was started.
func (s *Server) remember() error {
	proc := fmt.Sprintf("/proc/%d/", s.PID)
	var err error
	if s.exe, err = os.Readlink(proc + "exe"); err != nil {
		return fmt.Errorf("process %d, which listens on %s: %w", s.PID, s.Socket, err)
	}
	s.exe = strings.TrimSuffix(s.exe, " (deleted)") // it was upgraded meanwhile
	fields := func(name string) ([]string, error) {
		text, err := os.ReadFile(proc + name)
		return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), err
	}
	if s.args, err = fields("cmdline"); err != nil {
		return err
	}
	if s.env, err = fields("environ"); err != nil {
		return err
	}
	if s.dir, err = os.Readlink(proc + "cwd"); err != nil {
		s.dir = "/"
	}
	// Of a process in another mount namespace, these are paths that may lead nowhere here.
	if _, err := os.Stat(s.exe); err != nil {
		if path, err := exec.LookPath(s.args[0]); err == nil {
			s.exe = path
		}
	}
	if _, err := os.Stat(s.dir); err != nil {
		s.dir = "/"
	}
	if groups, err := os.ReadFile(proc + "cgroup"); err == nil && systemd() {
		s.Unit = unitIn(string(groups))
	}
	return nil
}

// unitIn is the service of systemd's in what /proc/PID/cgroup says.
func unitIn(groups string) string {
	for line := range strings.Lines(groups) {
		name := filepath.Base(strings.TrimSpace(line))
		if strings.HasSuffix(name, ".service") && !strings.HasPrefix(name, "user@") {
			return name
		}
	}
	return ""
}

// startedBy says how the server would be started again.
func (s *Server) startedBy() string {
	if s.Unit != "" {
		return "systemctl start " + s.Unit
	}
	return strings.Join(s.args, " ")
}

// start starts the server as it was, and waits until it answers.
func (s *Server) start(ctx context.Context) error {
	if s.Unit != "" {
		ctx, cancel := context.WithTimeout(ctx, upMost)
		defer cancel()
		if err := systemctl(ctx, "start", s.Unit); err != nil {
			return err
		}
	} else if err := s.spawn(); err != nil {
		return err
	}
	return s.awaitAnswer(ctx)
}

// spawn starts the server's program, in a session of its own.
func (s *Server) spawn() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	c := &exec.Cmd{Path: s.exe, Args: s.args, Env: s.env, Dir: s.dir, Stdin: null, Stdout: null, Stderr: null, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err := c.Start(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(s.args, " "), err)
	}
	go func() { _ = c.Wait() }() // what went wrong is in its log
	return nil
}

// answers asks for a sign of life.
func answers(socket string) bool {
	c, err := control.DialFail2ban(socket, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	v, err := c.Do([]any{"ping"}, time.Second)
	return err == nil && v == "pong"
}

func (s *Server) awaitAnswer(ctx context.Context) error {
	for end := time.Now().Add(upMost); ; {
		if answers(s.Socket) {
			pid, err := pidOf(s.Socket)
			s.PID = pid
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s was started (%s) and does not answer at %s after %v: its log says why", s.name(), s.startedBy(), s.Socket, upMost)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *Server) name() string {
	if s.Ours {
		return "bailiff"
	}
	return "fail2ban"
}

// lives reports whether the process is there.
func (s *Server) lives() bool {
	err := unix.Kill(s.PID, 0)
	return !errors.Is(err, unix.ESRCH) && !zombie(s.PID)
}

// zombie reports whether a process has ended, and nobody has asked for its end.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(after, "Z")
}

// stop has the server end, and waits until it has.
func (s *Server) stop(ctx context.Context) error {
	if s.Unit != "" {
		ctx, cancel := context.WithTimeout(ctx, endMost)
		defer cancel()
		if err := systemctl(ctx, "stop", s.Unit); err != nil {
			return err
		}
	} else if _, err := ask(s.Socket, changeAsk, "stop"); err != nil {
		var none *notThere // it is at its end already
		if !errors.As(err, &none) && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s does not stop: %w", s.name(), err)
		}
	}
	for end := time.Now().Add(endMost); s.lives(); {
		if time.Now().After(end) {
			return fmt.Errorf("%s (process %d) was told to stop and is still there after %v: its log says what it waits for", s.name(), s.PID, endMost)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// jails returns the names of a server's jails.
func (s *Server) jails() ([]string, error) {
	v, err := ask(s.Socket, askMost, "status")
	if err != nil {
		return nil, err
	}
	for _, pair := range items(v) {
		if kv := items(pair); len(kv) == 2 && fmt.Sprint(kv[0]) == "Jail list" {
			return strings.FieldsFunc(fmt.Sprint(kv[1]), func(r rune) bool { return r == ',' || r == ' ' }), nil
		}
	}
	return nil, fmt.Errorf("%s answers status with what has no list of jails", s.Socket)
}

// items are the elements of a list or a tuple.
func items(v any) []any {
	switch v := v.(type) {
	case control.List:
		return v
	case control.Tuple:
		return v
	case []any:
		return v
	}
	return nil
}

// zone is the time zone in which a server tells times.
func (s *Server) zone() *time.Location {
	for _, e := range s.env {
		if name, ok := strings.CutPrefix(e, "TZ="); ok {
			if l, err := time.LoadLocation(strings.TrimPrefix(name, ":")); err == nil {
				return l
			}
		}
	}
	return time.Local
}

// number reads the digits of a text.
func number(text string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil
}
