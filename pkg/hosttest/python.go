package hosttest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"bailiff/pkg/references"
)

// python is Debian's, which has what fail2ban needs, where another may come first in PATH.
const python = "/usr/bin/python3"

// Python runs a program of Python's that reads stdin, and returns what it prints. It has the fail2ban that
// it imports from env; nil: Debian's.
func Python(t testing.TB, env []string, stdin string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(python, args...)
	cmd.Env, cmd.Stdin = env, strings.NewReader(stdin)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %.60q: %v (make packages installs python3 and fail2ban)\n%s%s", python, args, err, out, said.String())
	}
	return out
}

// Fail2bans are those that there are to ask, the oldest first.
func Fail2bans(t testing.TB) []references.Fail2ban {
	t.Helper()
	all, err := references.All()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Fail2ban is the newest of them, whose behaviour counts.
func Fail2ban(t testing.TB) references.Fail2ban {
	t.Helper()
	all := Fail2bans(t)
	return all[len(all)-1]
}

// Newest is the environment of that one.
func Newest(t testing.TB) []string {
	t.Helper()
	return Fail2ban(t).Env()
}

// Oracle is a program of Python's that answers each line of JSON with one.
type Oracle struct {
	In  io.WriteCloser
	Out *bufio.Reader
}

// StartOracle starts it; it ends with the test.
func StartOracle(t testing.TB, env []string, script string) *Oracle {
	t.Helper()
	cmd := exec.Command(python, script)
	cmd.Env, cmd.Stderr = env, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (make packages installs python3)", err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	return &Oracle{in, bufio.NewReaderSize(out, 1<<20)}
}

// Ask sends a question.
func (o *Oracle) Ask(t testing.TB, question, answer any) {
	t.Helper()
	if err := json.NewEncoder(o.In).Encode(question); err != nil {
		t.Fatal(err)
	}
	o.Answer(t, answer)
}

// Answer reads an answer.
func (o *Oracle) Answer(t testing.TB, answer any) {
	t.Helper()
	line, err := o.Out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("Python has ended: %v", err)
	}
	if err := json.Unmarshal(line, answer); err != nil {
		t.Fatalf("%v: %.200s", err, line)
	}
}
