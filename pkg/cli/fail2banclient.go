package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"bailiff/pkg/config"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/control"
	"bailiff/pkg/daemon"
	"bailiff/pkg/safefile"
)

// fail2banSocket is where fail2ban listens if its configuration doesn't say.
const fail2banSocket = "/var/run/fail2ban/fail2ban.sock"

// clientOptions are those of fail2ban-client.
type clientOptions struct {
	dir, socket, pidFile string
	level, target        string
	timeout              float64
	force                bool
	verbose              int
	self                 string // the program's own path
	name                 string // of the server's process
	stdin                io.Reader
	out, err             io.Writer
}

// fail2banClient is the program of that name.
func fail2banClient(self string, given []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o := &clientOptions{self: self, stdin: stdin, out: stdout, err: stderr}
	f := pflag.NewFlagSet("fail2ban-client", pflag.ContinueOnError)
	f.SortFlags = false
	f.SetInterspersed(false)
	f.StringVarP(&o.dir, "conf", "c", fail2banDir, "`directory` of the configuration")
	f.StringVarP(&o.socket, "socket", "s", "", "`path` of the socket")
	f.StringVarP(&o.pidFile, "pidfile", "p", "", "`path` of the pid file")
	f.StringVar(&o.name, "pname", "fail2ban-server", "`name` of the process")
	f.StringVar(&o.level, "loglevel", "", "`level` of the log")
	f.StringVar(&o.target, "logtarget", "", "`target` of the log")
	f.String("syslogsocket", "auto", "auto or a `path`")
	dump := f.BoolP("dump", "d", false, "print the configuration as commands")
	pretty := f.Bool("dp", false, "the same, easier to read")
	f.Bool("dump-pretty", false, "the same as --dp")
	test := f.BoolP("test", "t", false, "test the configuration")
	interactive := f.BoolP("interactive", "i", false, "read commands from standard input")
	f.CountVarP(&o.verbose, "verbose", "v", "more messages")
	f.BoolP("quiet", "q", false, "fewer messages")
	f.BoolVarP(&o.force, "force", "x", false, "start even if something is left over where the socket is to be")
	f.BoolP("background", "b", true, "start the server in the background")
	foreground := f.BoolP("foreground", "f", false, "start the server in the foreground")
	f.Bool("async", false, "start the server and don't wait")
	f.Float64Var(&o.timeout, "timeout", 30, "`seconds` to wait for the server")
	span := f.String("str2sec", "", "print a `time` in seconds")
	version := f.Bool("version", false, "print name and version")
	short := f.BoolP("V", "V", false, "print the version only")
	help := f.BoolP("help", "h", false, "print this help")
	if err := f.Parse(given); err != nil {
		fmt.Fprintln(stderr, "fail2ban-client:", optionError(err))
		fmt.Fprintln(stderr, "Usage: fail2ban-client [OPTIONS] <COMMAND>\nfail2ban-client --help lists them all.")
		return exitFail2ban
	}
	switch {
	case *help:
		clientHelp(stdout, f)
		return 0
	case *version:
		fmt.Fprintln(stdout, "Fail2Ban v"+fail2ban.Version)
		return 0
	case *short:
		fmt.Fprintln(stdout, fail2ban.Version)
		return 0
	case f.Changed("str2sec"):
		n, err := config.ParseSeconds(*span)
		if err != nil {
			fmt.Fprintln(stderr, "fail2ban-client:", err)
			return exitFail2ban
		}
		fmt.Fprintln(stdout, n)
		return 0
	}
	if o.level != "" {
		if _, err := config.ParseLogLevel(o.level); err != nil {
			fmt.Fprintf(stdout, "ERROR: Invalid log level %s\n", control.ReprString(o.level))
			return exitFail2ban
		}
	}
	if !isDir(o.dir) {
		switch cmd := f.Args(); {
		case *dump || *pretty || *test || f.Changed("dump-pretty"), len(cmd) > 0 && cmd[0] == "start":
			o.complain("%s", noDir(o.dir))
			return exitFail2ban
		}
	}
	switch {
	case *dump || *pretty || f.Changed("dump-pretty"):
		return o.dump(!*dump)
	case *test:
		return o.test()
	}
	o.paths()
	if *interactive {
		return o.interact()
	}
	cmd := f.Args()
	if len(cmd) == 0 {
		clientHelp(stdout, f)
		return exitFail2ban
	}
	if len(cmd) == 1 && cmd[0] == "start" && *foreground {
		return fail2banServer(given, stdout, stderr)
	}
	if !o.command(cmd) {
		return exitFail2ban
	}
	return 0
}

// clientHelp prints how fail2ban-client is used, as fail2ban's own is laid out.
func clientHelp(w io.Writer, f *pflag.FlagSet) {
	fmt.Fprintf(w, "Usage: fail2ban-client [OPTIONS] <COMMAND>\n\nAsk and steer a running server, bailiff's or fail2ban's.\n\nOptions:\n%s\nCommand:\n", f.FlagUsages())
	printClientCommands(w)
	fmt.Fprint(w, reportBugs)
}

// reportBugs ends the help of fail2ban's programs.
const reportBugs = "\nReport bugs to bailiff's issue tracker: they are not fail2ban's.\n"

// noDir is what fail2ban says of a directory of the configuration that is not there.
func noDir(dir string) string { return "Base configuration directory " + dir + " does not exist" }

func isDir(path string) bool {
	is := false
	known := safefile.Within(pathsMost, func() {
		fi, err := os.Stat(path)
		is = err == nil && fi.IsDir()
	})
	return !known || is
}

// pathsMost is how long is waited for the file that says where socket and pid file are:
// who asks a daemon does not wait for a disk.
const pathsMost = time.Second

// paths takes socket and pid file from fail2ban.conf where they are not given.
func (o *clientOptions) paths() {
	var server *fail2ban.Config
	var found bool
	var err error
	file := filepath.Join(o.dir, "fail2ban")
	if !safefile.Within(pathsMost, func() { server, found, err = fail2ban.Read(file) }) {
		o.socket = cmp.Or(o.socket, fail2banSocket)
		return
	}
	get := func(name string) string {
		if !found || err != nil {
			return ""
		}
		s, err := server.Get("Definition", name, nil)
		if err != nil {
			return ""
		}
		return s
	}
	o.socket = cmp.Or(o.socket, get("socket"), fail2banSocket)
	o.pidFile = cmp.Or(o.pidFile, get("pidfile"))
}

// complain prints an error as fail2ban-client's log does.
func (o *clientOptions) complain(format string, args ...any) {
	o.say("ERROR", fmt.Sprintf(format, args...))
}

func (o *clientOptions) warn(format string, args ...any) {
	o.say("WARNING", fmt.Sprintf(format, args...))
}

func (o *clientOptions) say(level, text string) {
	now := time.Now()
	fmt.Fprintf(o.err, "%s,%03d %-24s[%d]: %-7s %s\n", now.Format("2006-01-02 15:04:05"), now.Nanosecond()/1e6, "fail2ban", os.Getpid(), level, text)
}

func (o *clientOptions) wait() time.Duration { return time.Duration(o.timeout * float64(time.Second)) }

// command carries out one command line.
func (o *clientOptions) command(cmd []string) bool {
	switch cmd[0] {
	case "start":
		if len(cmd) == 1 {
			return o.start()
		}
	case "restart":
		if len(cmd) > 1 {
			return o.command(append([]string{"reload", "--restart"}, cmd[1:]...))
		}
		gone := o.gone()
		o.send([]any{"stop"}, true)
		if !gone() {
			o.complain("Could not stop server")
			return false
		}
		return o.start()
	case "stop":
		if len(cmd) == 1 {
			gone := o.gone()
			return o.send([]any{"stop"}, true) && gone()
		}
	case "reload":
		return o.reload(cmd[1:])
	}
	args := make([]any, len(cmd))
	for i, w := range cmd {
		args[i] = w
	}
	return o.send(args, true)
}

func (o *clientOptions) ping() bool {
	c, err := control.DialFail2ban(o.socket, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	v, err := c.Do([]any{"ping"}, time.Second)
	return err == nil && v == "pong"
}

// waitFor waits until the server answers, or does no more.
func (o *clientOptions) waitFor(alive bool) bool {
	for end := time.Now().Add(o.wait()); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if o.ping() == alive {
			return true
		}
	}
	return false
}

// gone returns what waits until the server that is there now has ended: who asks next is
// not to meet one that is about to.
func (o *clientOptions) gone() (wait func() bool) {
	ended := control.WatchEnd(o.socket)
	if ended == nil { // fail2ban's own, or none
		ended = func() bool {
			c, err := control.DialFail2ban(o.socket, time.Second)
			if err == nil {
				c.Close()
			}
			return err != nil
		}
	}
	return func() bool {
		for end := time.Now().Add(o.wait()); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if ended() {
				return true
			}
		}
		o.complain("The server said that it stops, and still listens on %s", o.socket)
		return false
	}
}

// start starts the server in the background and waits until it is ready.
func (o *clientOptions) start() bool {
	if o.ping() {
		o.complain("Server already running")
		return false
	}
	if o.force {
		o.removeLeft()
	}
	if fi, err := os.Lstat(o.socket); err == nil && fi.Mode().Type() != os.ModeSocket {
		o.complain("Fail2ban seems to be in unexpected state (not running but the socket exists): %s is no socket; -x removes it", o.socket)
		return false
	}
	if _, err := fail2ban.ReadTree(o.dir); err != nil { // nothing that could be started
		o.complain("Failed during configuration: %v", err)
		return false
	}
	waiting, sound := o.problems("", " Skipping...")
	self, err := os.Executable()
	if err != nil {
		o.complain("%v", err)
		return false
	}
	args := []string{"fail2ban-server", "-f", "-c", o.dir, "-s", o.socket}
	if o.pidFile != "" {
		args = append(args, "-p", o.pidFile)
	}
	if o.name != "" {
		args = append(args, "--pname", o.name)
	}
	if o.level != "" {
		args = append(args, "--loglevel", o.level)
	}
	if o.target != "" {
		args = append(args, "--logtarget", o.target)
	}
	c := &exec.Cmd{Path: self, Args: args, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	why, told, err := os.Pipe() // in which it says why it can't start
	if err != nil {
		o.complain("%v", err)
		return false
	}
	defer why.Close()
	c.ExtraFiles, c.Env = []*os.File{told}, append(os.Environ(), startErrors+"=3")
	err = c.Start()
	told.Close()
	if err != nil {
		o.complain("%v", err)
		return false
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	failed := func(err error) bool {
		_ = why.SetReadDeadline(time.Now().Add(time.Second))
		text, _ := io.ReadAll(io.LimitReader(why, 4096))
		for line := range strings.Lines(string(text)) {
			o.complain("%s", strings.TrimSpace(line))
		}
		o.complain("Could not start server: %v", err)
		return false
	}
	for end := time.Now().Add(o.wait()); time.Now().Before(end); {
		if o.ping() {
			answered := o.send([]any{"server-status"}, true)
			if !answered {
				select {
				case err := <-ended:
					return failed(err)
				case <-time.After(5 * time.Second):
				}
			}
			for _, err := range waiting {
				o.complain("Failed during configuration: %v The other jails have started, and this one waits for its log.", err)
			}
			return answered && sound && len(waiting) == 0
		}
		select {
		case err := <-ended:
			return failed(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	o.complain("Could not start server: it does not answer on %s", o.socket)
	return false
}

// startErrors is the variable that names the descriptor in which a server says why it
// can't start.
const startErrors = "BAILIFF_START_ERRORS"

// reload has the server read its configuration anew.
func (o *clientOptions) reload(args []string) bool {
	var opts []any
	for len(args) > 0 && (args[0] == "--restart" || args[0] == "--unban" || args[0] == "--if-exists") {
		opts, args = append(opts, args[0]), args[1:]
	}
	if len(args) > 1 {
		o.complain("Unexpected argument(s) for reload: %s", pyList(args))
		return false
	}
	jail := "--all"
	if len(args) == 1 {
		jail = args[0]
	}
	if !o.ping() {
		o.complain("Could not find server")
		return false
	}
	dir, ours := o.ours()
	switch {
	case ours && dir != "":
		o.dir = dir
	case !ours && !isDir(o.dir):
		o.complain("%s", noDir(o.dir))
		return false
	}
	if jail != "--all" && (!ours || dir != "") {
		tree, err := fail2ban.ReadTree(o.dir)
		if err == nil && !slices.ContainsFunc(tree.Jails, func(j *fail2ban.Jail) bool { return j.Name == jail }) {
			o.complain("Failed during configuration: No section: %s", control.ReprString(jail))
			return false
		}
	}
	stream := control.List{}
	var waiting []error
	switch {
	case ours && dir == "": // its configuration is none of fail2ban's
	case ours: // it reads the configuration itself, and says what can't be done
		only := jail
		if jail == "--all" {
			only = ""
		}
		cfg, err := config.LoadWithin(startMost, config.Options{Path: o.dir})
		if err != nil {
			break // it says so, too, and what becomes of it
		}
		waiting = daemon.LookForLogs(cfg)
		for _, j := range cfg.Jails {
			switch {
			case only != "" && only != j.Name || !j.Skipped():
			case j.NoLogs.Skipped:
				o.warn("%v", j.Broken())
			default:
				o.complain("%v", j.Broken())
				o.complain("Errors in jail '%s'. Skipping...", j.Name)
			}
		}
	default: // fail2ban's own server does not read the configuration itself
		tree, err := fail2ban.ReadTree(o.dir)
		if err != nil {
			o.complain("Failed during configuration: %v", err)
			return false
		}
		only := jail
		if jail == "--all" {
			only = ""
		}
		for _, c := range config.Fail2banCommands(tree, only) {
			stream = append(stream, control.List(wireCommand(c)))
		}
	}
	set := func() bool { // as fail2ban's client: what it was given holds, whatever is configured
		for _, s := range [][2]string{{"loglevel", o.level}, {"logtarget", o.target}} {
			if s[1] != "" && jail == "--all" && !o.send([]any{"set", s[0], s[1]}, false) {
				return false
			}
		}
		return true
	}
	if !set() {
		return false
	}
	done := o.send([]any{"reload", jail, control.List(opts), stream}, len(waiting) == 0)
	if !set() {
		done = false
	}
	for _, err := range waiting {
		o.complain("Failed during configuration: %v The other jails are reloaded, and this one waits for its log.", err)
		done = false
	}
	return done
}

// removeLeft removes what stands at the socket's path (-x). A server that answers was
// looked for before.
func (o *clientOptions) removeLeft() {
	if fi, err := os.Lstat(o.socket); err != nil || fi.IsDir() {
		return
	}
	if err := os.Remove(o.socket); err != nil {
		o.complain("%v", err)
	}
}

// ours asks the server whether it is bailiff's, and for the directory of fail2ban's
// configuration that it runs on; empty: on another.
func (o *clientOptions) ours() (dir string, ours bool) {
	c, err := control.DialFail2ban(o.socket, time.Second)
	if err != nil {
		return "", false
	}
	defer c.Close()
	v, err := c.Do([]any{"bailiff", "tree"}, time.Second)
	dir, _ = v.(string)
	return dir, err == nil
}
