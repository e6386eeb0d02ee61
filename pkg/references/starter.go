package references

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed starter.py
var starter string

// A Starter runs a client program of one fail2ban (fail2ban-client, fail2ban-regex), each time
// in a process of its own, without loading Python and its modules each time.
type Starter struct {
	cmd    *exec.Cmd
	socket string
}

// NewStarter starts one, for a program as fail2ban-client. command prepares a process, with the
// environment that all are to have; dir is a folder of the test's.
func NewStarter(dir, program string, command func(name string, args ...string) *exec.Cmd) (*Starter, error) {
	s := &Starter{socket: filepath.Join(dir, "starter.sock")}
	module := "fail2ban.client." + strings.ReplaceAll(filepath.Base(program), "-", "")
	s.cmd = command("/usr/bin/python3", "-c", starter, s.socket, module)
	var said strings.Builder
	s.cmd.Stdout, s.cmd.Stderr = nil, &said
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", s.socket); err == nil {
			c.Close()
			return s, nil
		}
		if time.Now().After(end) {
			s.Close()
			return nil, fmt.Errorf("no starter of programs within two minutes: %s", said.String())
		}
	}
}

// Close ends it. What it has started goes on.
func (s *Starter) Close() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Run runs a program in a directory to its end and returns its exit code; it is negative
// where a signal ended it.
func (s *Starter) Run(ctx context.Context, dir string, stdout, stderr *os.File, program string, args ...string) (code int, err error) {
	c, err := net.Dial("unix", s.socket)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	none, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer none.Close()
	text, err := json.Marshal(map[string]any{"program": program, "args": append([]string{}, args...), "dir": dir})
	if err != nil {
		return 0, err
	}
	rights := unix.UnixRights(int(none.Fd()), int(stdout.Fd()), int(stderr.Fd()))
	if _, _, err := c.(*net.UnixConn).WriteMsgUnix(append(text, '\n'), rights, nil); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("%s %q: %w", program, args, err)
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// Combined runs a program in a directory and returns what it printed, and its exit code.
func (s *Starter) Combined(ctx context.Context, dir, program string, args ...string) (string, int, error) {
	out, err := os.CreateTemp(filepath.Dir(s.socket), "said")
	if err != nil {
		return "", 0, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	code, err := s.Run(ctx, dir, out, out, program, args...)
	if err != nil {
		return "", 0, err
	}
	text, err := os.ReadFile(out.Name())
	return string(text), code, err
}
