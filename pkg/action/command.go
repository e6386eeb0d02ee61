// Package action runs fail2ban's commands: texts with tags like <ip>, which are
// filled in from a failure or a ban, given to the shell.
//
// What an attacker wrote never becomes part of the shell's text: a value that
// holds any character that means something to a shell is handed over as an
// argument, and only the name of a variable takes its place, as fail2ban does it.
//
//	c := action.Fill(`echo <ip> >>/run/list`, ticket.Tag, ticket.Group)
//	res, err := c.Run(ctx, time.Minute)
package action

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/tags"
)

// Command is a shell command with its tags filled in.
type Command struct {
	Text string
	// Vars are the values that the text names as variables.
	Vars []Var

	// template is what was filled in, and values what with, for who may run what is
	// configured and nothing else.
	template string
	values   []Value
}

// Value is what a tag of a command is filled with.
type Value struct {
	Tag   string
	Group bool // the tag is <F-TAG>
	Value string
}

// Configured is the command as it is configured, with the values of its tags: Refill makes
// the same command of them.
func (c Command) Configured() (template string, values []Value) {
	if c.template == "" {
		return c.Text, nil
	}
	return c.template, c.values
}

// Refill fills a configured text with values that somebody else has found.
func Refill(template string, values []Value) Command {
	find := func(group bool) func(string) (string, bool) {
		return func(tag string) (string, bool) {
			for _, v := range values {
				if v.Tag == tag && v.Group == group {
					return v.Value, true
				}
			}
			return "", false
		}
	}
	var group func(string) (string, bool)
	if slices.ContainsFunc(values, func(v Value) bool { return v.Group }) {
		group = find(true)
	}
	return Fill(template, find(false), group)
}

// Var is one of them.
type Var struct{ Name, Value string }

var (
	groupTag = lazyregexp.New(`<F-([A-Z0-9_\-]+)>`)
	// unsafe are the characters that mean something to a shell.
	unsafe  = lazyregexp.New("[\\\\#&;`|*?~<>^()\\[\\]{}$'\"\\n\\r]")
	notWord = lazyregexp.New(`[^\pL\pN_]`)
)

// String is the command as a person reads it: the text, and the values that it
// names as variables; of what is long, the beginning.
func (c Command) String() string {
	var b strings.Builder
	for _, v := range c.Vars {
		if b.Len() > saidMost {
			b.WriteString("… ")
			break
		}
		fmt.Fprintf(&b, "%s=%q ", v.Name, Cut(v.Value, saidMost/4))
	}
	if len(c.Vars) > 0 {
		b.WriteByte('\n')
	}
	b.WriteString(Cut(c.Text, saidMost))
	return b.String()
}

// first is the word that the command begins with.
func (c Command) first() string {
	if words := strings.Fields(c.Text); len(words) > 0 {
		return words[0]
	}
	return ""
}

// Fill replaces the tags of a text, once: what a value holds is not looked at
// again. <F-NAME> is a group of the filter, and nothing if that has no such group;
// other tags that are not known stay as they are.
func Fill(text string, value, group func(name string) (string, bool)) Command {
	c := Command{template: text}
	note := func(tag, value string, group bool) {
		for _, v := range c.values {
			if v.Tag == tag && v.Group == group {
				return
			}
		}
		c.values = append(c.values, Value{tag, group, value})
	}
	inline := 0
	put := func(name, value string) string {
		value = strings.ReplaceAll(value, "\x00", "\uFFFD")
		if len(value) <= inlineEach && inline+len(value) <= inlineMost && !unsafe.MatchString(value) {
			inline += len(value)
			return value
		}
		name = "f2bV_" + notWord.ReplaceAllString(name, "_")
		for _, v := range c.Vars {
			if v.Name == name {
				return "$" + name
			}
		}
		c.Vars = append(c.Vars, Var{name, value})
		return "$" + name
	}
	c.Text = tags.Tag.ReplaceAllStringFunc(text, func(t string) string {
		name := t[1 : len(t)-1]
		if v, ok := value(name); ok {
			note(name, v, false)
			return put(name, v)
		}
		return always(t)
	})
	if group == nil {
		return c
	}
	c.Text = groupTag.ReplaceAllStringFunc(c.Text, func(t string) string {
		name := tags.GroupName(t[3 : len(t)-1])
		v, _ := group(name)
		note(name, v, true)
		return put("F_"+name, v)
	})
	return c
}

// Result is what a command did.
type Result struct {
	Code int // exit code; 128 and the signal if one ended it
	// Stdout and Stderr are the beginnings of what it wrote, maxOutput bytes of each.
	Stdout, Stderr []byte
}

// Output is all that is kept of what it wrote: what went to stdout comes first.
func (r *Result) Output() string { return string(r.Stdout) + string(r.Stderr) }

// TimeoutError says that a command took too long and was killed with all that it
// had started.
type TimeoutError struct {
	Command string
	After   time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("command killed after %v: %s", e.After, Cut(e.Command, saidMost))
}

// maxOutput is how much is kept of what a command writes to stdout, and to stderr.
const maxOutput = 64 << 10

// Elsewhere runs the commands of a process that can't run any.
type Elsewhere func(ctx context.Context, c Command, timeout time.Duration) (Result, error)

var byOther atomic.Pointer[Elsewhere]

// RunElsewhere has all commands of this process be run by somebody else.
func RunElsewhere(by Elsewhere) { byOther.Store(&by) }

// Run runs the command with /bin/sh. The error is for one that could not be
// started or took too long; a failure of the command itself is in the Result.
func (c Command) Run(ctx context.Context, timeout time.Duration) (Result, error) {
	if by := byOther.Load(); by != nil {
		return (*by)(ctx, c, timeout)
	}
	var head strings.Builder
	args := []string{"-c", ""}
	for i, v := range c.Vars {
		fmt.Fprintf(&head, "%s=${%d} ", v.Name, i)
	}
	args[1] = c.Text
	if len(c.Vars) > 0 {
		args[1] = head.String() + "\n" + c.Text
	}
	env := environ()
	others := len(args[1])
	for _, v := range env {
		others += len(v) + 16
	}
	args = append(args, c.fitting(others)...)
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, "/bin/sh", args...)
	cmd.Env = env
	var out, errs limitedBuffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // whatever still holds its output is not waited for
	err := cmd.Run()
	res := Result{Stdout: out.kept.Bytes(), Stderr: errs.kept.Bytes()}
	var exit *exec.ExitError
	switch {
	case limited.Err() == context.DeadlineExceeded && ctx.Err() == nil:
		return res, &TimeoutError{c.Text, timeout}
	case ctx.Err() != nil:
		return res, ctx.Err()
	case errors.As(err, &exit):
		res.Code = exit.ExitCode()
		if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() {
			res.Code = 128 + int(st.Signal())
		}
		return res, nil
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return res, fmt.Errorf("command %q: %w", Cut(c.Text, saidMost), err)
	}
	return res, nil
}

type limitedBuffer struct{ kept bytes.Buffer }

// Write keeps the beginning and takes the rest without complaint.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := maxOutput - b.kept.Len(); room > 0 {
		b.kept.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
