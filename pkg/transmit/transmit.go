// Package transmit is the vocabulary of fail2ban's protocol: the words that its clients, and other people's, send over the
// socket (status, get, set, add, reload …), and its answers, position by position, since clients look at those. What the
// words ask for is done by the daemon (an interface), which knows none of them.
package transmit

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/control"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
)

func pyError(class string, args ...any) error { return &control.Exception{Class: class, Args: args} }

func unknownJail(name string) error {
	return &control.Exception{Module: "fail2ban.exceptions", Class: "UnknownJailException", Args: []any{name}}
}

// command is the words of a command, as control read and judged them; a list that
// stands where it may is an empty word.
type command struct {
	words []string
	of    *control.Request
}

// word is a word, or empty where there is none: least says so before.
func (c *command) word(i int) string {
	if i >= len(c.words) {
		return ""
	}
	return c.words[i]
}

func (c *command) rest(i int) []string { return c.words[min(i, len(c.words)):] }

// by is the user who asks.
func (c *command) by() string {
	if c.of == nil {
		return ""
	}
	return c.of.By
}

// least is an error if there are fewer words. Clients print it as "Sorry but the
// command is invalid".
func (c *command) least(n int) error {
	if len(c.words) < n {
		return pyError("IndexError", "list index out of range")
	}
	return nil
}

// list are the texts of a word that is a list, or the word alone.
func (c *command) list(i int) []string {
	if c.of == nil || i >= len(c.of.Words) {
		return nil
	}
	if w := c.of.Words[i]; w.IsList() {
		var out []string
		for _, x := range w.Items() {
			out = append(out, x.Text())
		}
		return out
	}
	return c.words[i : i+1]
}

// Daemon is what the words ask of the daemon. Each question has a deadline of the daemon's own.
type Daemon interface {
	Log() *slog.Logger
	// AwaitStart returns once the jails of a start are there.
	AwaitStart()
	// Running are the jails that there are, by their names; InOrder as they are configured.
	Running() []*jail.Jail
	InOrder() []*jail.Jail
	// ListFiles are those of a jail that is a list, and runs nothing.
	ListFiles(name string) (files []string, is bool)
	// Tree is the directory of fail2ban's configuration, if the daemon's is one.
	Tree() string
	// CheckConfig reads the configuration as a reload would, and does nothing with it.
	CheckConfig() error
	// FixedCommands says why no command can be set over the socket, where none can.
	FixedCommands() error
	// AddJail starts a jail beside the configured ones, ErrThere where there is one of that name. Remake starts one anew with
	// other settings, for what can't be changed while it reads: bans, failures and positions stay; nil without an error
	// where there is none.
	AddJail(*config.Jail) error
	Remake(name string, change func(*config.Jail) error) (*jail.Jail, error)
	StopJails(names []string) error
	ReloadJail(only string, restart bool, by string) (control.ReloadResult, error)
	Bans(name string) ([]jail.BanStatus, error)
	UnbanInWords(control.UnbanRequest) ([]control.UnbanResult, error)
	// Settle waits a moment until the kernel and actions have what was begun.
	Settle(begun time.Time, patient bool, jails ...*jail.Jail) (pending string)
	// End stops the daemon, and returns when it is down.
	End()
	// Server are the settings of the daemon itself. SetServer changes them until the next start.
	Server() Server
	SetServer(change func(*Server))
	// OpenLogTarget has the log go elsewhere, and says in it why it does not.
	OpenLogTarget(value string) error
}

// ErrThere says that there is such a jail.
var ErrThere = errors.New("there is a jail of that name")

// Options are what stays the same while a Transmitter is there.
type Options struct {
	Version string // of bailiff
	// Reopen opens the log's file anew, and reports whether there is one; nil: there is none.
	Reopen func() (file bool, err error)
	// Stopping is closed when the daemon begins to stop: nobody sleeps on.
	Stopping <-chan struct{}
	// Remedied adds to an error of a file what to do about it.
	Remedied func(path string, toWrite bool, err error) error
}

// Transmitter implements control.Commander.
type Transmitter struct {
	d        Daemon
	opts     Options
	failures eventlog.Few // of commands of readers, who can't fill the log
}

// New returns one that asks d.
func New(d Daemon, opts Options) *Transmitter { return &Transmitter{d: d, opts: opts} }

// Command implements control.Commander: it carries out the words of a client.
func (t *Transmitter) Command(r *control.Request) (v any, err error) {
	c := &command{of: r, words: make([]string, len(r.Words))}
	for i, w := range r.Words {
		c.words[i] = w.Text()
	}
	v, err = t.carryOut(c)
	if err != nil && (r.Role == control.Owner || t.failures.Allow()) {
		t.d.Log().With("component", "transmitter").Error(fmt.Sprintf("Command %s has failed. Received %s", r.Shown(shownMost), pythonError(err)))
	}
	return v, err
}

// shownMost is how many bytes of a command the log tells.
const shownMost = 1000

func pythonError(err error) string {
	var e *control.Exception
	if !errors.As(err, &e) {
		e = &control.Exception{Class: "Exception", Args: []any{err.Error()}}
	}
	return e.Class + strings.Replace(control.Repr(control.Tuple(e.Args)), ",)", ")", 1)
}

// leastWords is how many words a command has at least.
var leastWords = map[string]int{"sleep": 2, "add": 2, "start": 2, "get": 2, "set": 2, "multi-set": 2}

func (t *Transmitter) carryOut(c *command) (any, error) {
	if err := c.least(1); err != nil {
		return nil, err
	}
	if n := leastWords[c.word(0)]; n > 0 {
		if err := c.least(n); err != nil {
			return nil, err
		}
	}
	switch name := c.word(0); name {
	case "ping":
		return "pong", nil
	case "version":
		return fail2ban.Version, nil // some dashboards refuse what they don't know
	case "bailiff": // so that a client knows whom it talks to
		if len(c.words) > 1 && c.word(1) == "tree" { // of fail2ban's, if it is one
			return t.d.Tree(), nil
		}
		return t.opts.Version, nil
	case "echo":
		out := control.List{}
		for _, w := range c.of.Words[1:] {
			out = append(out, w.Value())
		}
		return out, nil
	case "server-status":
		t.d.AwaitStart() // a start that fails is not ready
		return "Server ready", nil
	case "sleep":
		seconds, err := strconv.ParseFloat(c.word(1), 64)
		if err != nil || !(seconds >= 0 && seconds <= 60) { // NaN, too
			return nil, pyError("ValueError", "could not convert string to float: "+control.ReprString(c.word(1)))
		}
		awake := time.NewTimer(time.Duration(seconds * float64(time.Second)))
		defer awake.Stop()
		select {
		case <-awake.C:
		case <-t.opts.Stopping:
		}
		return nil, nil
	case "flushlogs":
		if t.opts.Reopen == nil {
			return "flushed", nil
		}
		file, err := t.opts.Reopen()
		if err != nil {
			return nil, err
		}
		if file {
			return "rolled over", nil
		}
		return "flushed", nil // what goes elsewhere is not kept back
	case "status":
		return t.fail2banStatus(c)
	case "stats", "statistic", "statistics":
		return t.fail2banStatus(&command{words: []string{"status", "--all", "stats"}})
	case "banned":
		return t.banned("", c.rest(1))
	case "unban":
		if len(c.words) == 1 {
			return nil, pyError("Exception", "Invalid command")
		}
		if c.word(1) == "--all" && len(c.words) == 2 {
			return t.unbanAs("", nil, true, false, c.by())
		}
		return t.unbanAs("", c.rest(1), false, false, c.by())
	case "get":
		return t.get(c)
	case "set":
		return t.set(c)
	case "multi-set":
		return t.multiSet(c)
	case "stop":
		if len(c.words) == 1 {
			t.d.End() // the program ends once this is answered
			return nil, nil
		}
		return nil, t.stopAs(c.word(1))
	case "add":
		return t.addJail(c)
	case "start":
		return t.startAs(c.word(1))
	case "reload":
		return t.reloadAs(c)
	case "server-stream", "config-error":
		return nil, nil // the configuration is read from its files
	}
	return nil, pyError("Exception", "Invalid command")
}

func (t *Transmitter) known(name string) (*jail.Jail, error) {
	t.d.AwaitStart()
	for _, j := range t.d.Running() {
		if j.Configured.Name == name {
			return j, nil
		}
	}
	if files, is := t.d.ListFiles(name); is {
		return nil, pyError("ValueError", (&control.ListError{Jail: name, Files: files}).Error())
	}
	return nil, unknownJail(name)
}

func (t *Transmitter) stopAs(name string) error {
	names := []string{name}
	switch {
	case name == "--all":
		names = nil
		for _, j := range t.d.Running() {
			names = append(names, j.Configured.Name)
		}
	default:
		if _, err := t.known(name); err != nil {
			return err
		}
	}
	return t.d.StopJails(names)
}

// reloadAs is reload JAIL|--all OPTIONS COMMANDS, as fail2ban-client sends it. The
// commands are what it has read from the configuration; we read that ourselves.
func (t *Transmitter) reloadAs(c *command) (any, error) {
	name := "--all"
	if len(c.words) > 1 {
		name = c.word(1)
	}
	options := ""
	if len(c.words) > 2 {
		options = strings.Join(c.list(2), " ")
	}
	if name != "--all" {
		_, err := t.known(name)
		_, list := t.d.ListFiles(name)
		if err != nil && !list && !strings.Contains(options, "--if-exists") {
			if t.d.Tree() != "" { // who looks for the end of a reload in the log finds it
				log := t.d.Log().With("component", "server")
				log.Info("Reload jail " + name)
				log.Info("Reload finished.")
			}
			return nil, err
		}
	}
	only := name
	if name == "--all" {
		only = ""
	}
	if strings.Contains(options, "--unban") {
		if err := t.d.CheckConfig(); err != nil { // then nothing is done, this neither
			return nil, pyError("ValueError", err.Error())
		}
		if _, err := t.unbanAs(only, nil, true, false, c.by()); err != nil {
			return nil, err
		}
	}
	res, err := t.d.ReloadJail(only, strings.Contains(options, "--restart"), c.by())
	if err != nil {
		return nil, err
	}
	if len(res.Errors) > res.Skipped {
		return nil, pyError("ValueError", strings.Join(res.Errors, "\n"))
	}
	_ = t.d.Settle(time.Now(), false, t.d.Running()...)
	return "OK", nil
}

// unbanAs lifts bans and returns how many. strict makes it an error that one is
// not there.
func (t *Transmitter) unbanAs(name string, ips []string, all, strict bool, by string) (any, error) {
	r := control.UnbanRequest{IPs: ips, All: all, Jail: name, By: by}
	if name != "" {
		if _, err := t.known(name); err != nil {
			return nil, err
		}
	}
	var within []string // a network stands for the bans in it
	for _, ip := range ips {
		id, err := iplist.Parse(ip)
		if err != nil || id.IsSingleIP() {
			within = append(within, ip)
			continue
		}
		inside := []string{ip}
		bans, err := t.d.Bans(name)
		if err != nil {
			return nil, err
		}
		for _, b := range bans {
			if one, err := iplist.Parse(b.IP); err == nil && one != id && id.Bits() <= one.Bits() && id.Contains(one.Addr()) && !slices.Contains(inside, b.IP) {
				inside = append(inside, b.IP)
			}
		}
		within = append(within, inside...)
	}
	r.IPs = within
	res, err := t.d.UnbanInWords(r)
	if err != nil {
		return nil, err
	}
	n := 0
	var missed, why []string
	for _, x := range res {
		if x.Count == 0 && x.Undone {
			return nil, pyError("TimeoutError", x.Pending)
		}
		n += x.Count
		log := t.d.Log().With("component", "actions")
		still := x.Still()
		switch asked := slices.Contains(ips, x.IP); {
		case x.Count == 0 && asked && still != "":
			missed = append(missed, x.IP)
			why = append(why, x.IP+" is "+still)
			log.Warn(told(x.IP) + " is not banned by itself, but " + still)
		case x.Count == 0 && asked:
			missed = append(missed, x.IP)
			log.Info(told(x.IP) + " is not banned")
		case still != "":
			log.Warn(told(x.IP) + " is unbanned, but still " + still)
		}
	}
	if strict && len(missed) > 0 {
		quoted := make([]string, len(missed))
		for i, m := range missed {
			quoted[i] = control.ReprString(m)
		}
		text := "not banned: [" + strings.Join(quoted, ", ") + "]"
		if len(why) > 0 {
			text += ": " + strings.Join(why, "; ")
		}
		return nil, pyError("ValueError", text)
	}
	return n, nil
}

// told is who was asked for, as the log tells him.
func told(who string) string {
	if id := ban.Named(who); id.IsValid() {
		if _, err := iplist.Parse(who); err != nil {
			return ban.Told(id)
		}
	}
	return who
}
