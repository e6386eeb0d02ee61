package cli

import (
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/spf13/pflag"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/control"
)

// fail2banServer is the program of that name: the daemon on fail2ban's
// configuration, in the background unless -f says otherwise.
func fail2banServer(given []string, stdout, stderr io.Writer) int {
	f := pflag.NewFlagSet("fail2ban-server", pflag.ContinueOnError)
	f.SortFlags = false
	f.SetInterspersed(false) // what follows a command is that one's
	dir := f.StringP("conf", "c", fail2banDir, "`directory` of the configuration")
	socket := f.StringP("socket", "s", "", "`path` of the socket")
	level := f.String("loglevel", "", "`level` of the log, over that of fail2ban.conf")
	pidFile := f.StringP("pidfile", "p", "", "`path` of the pid file")
	background := f.BoolP("background", "b", false, "run in the background")
	name := f.String("pname", "fail2ban-server", "`name` of the process")
	f.String("syslogsocket", "auto", "auto or a `path`")
	force := f.BoolP("force", "x", false, "start even if something is left over where the socket is to be")
	f.CountP("verbose", "v", "more messages")
	f.BoolP("quiet", "q", false, "fewer messages")
	f.Bool("async", false, "start the server and don't wait")
	timeout := f.Float64("timeout", 30, "`seconds` to wait for the server")
	target := f.String("logtarget", "", "`file`, STDOUT, STDERR or SYSLOG, over that of fail2ban.conf")
	foreground := f.BoolP("foreground", "f", false, "run in the foreground")
	test := f.BoolP("test", "t", false, "read the configuration, report every error, start nothing")
	version := f.Bool("version", false, "print name and version")
	short := f.BoolP("V", "V", false, "print the version only")
	help := f.BoolP("help", "h", false, "print this help")
	err := f.Parse(given)
	if err == nil && f.NArg() > 1 && f.Arg(0) == "start" { // which has none of its own
		err = f.Parse(f.Args()[1:])
	}
	if err != nil {
		fmt.Fprintln(stderr, "fail2ban-server:", optionError(err))
		fmt.Fprintln(stderr, "Usage: fail2ban-server [OPTIONS] [start]\nfail2ban-server --help lists them all.")
		return exitFail2ban
	}
	root := newRunRoot()
	root.SetOut(stdout)
	root.SetErr(stderr)
	switch {
	case *help:
		fmt.Fprintf(stdout, "Usage: fail2ban-server [OPTIONS] [start]\n\nRun the daemon on fail2ban's configuration.\n\nOptions:\n%s%s", f.FlagUsages(), reportBugs)
		return 0
	case *version:
		fmt.Fprintln(stdout, "Fail2Ban v"+fail2ban.Version)
		return 0
	case *short:
		fmt.Fprintln(stdout, fail2ban.Version)
		return 0
	case !isDir(*dir) && (f.NArg() == 0 || f.Arg(0) == "start"):
		(&clientOptions{err: stderr}).complain("%s", noDir(*dir))
		return exitFail2ban
	case *test:
		return (&clientOptions{dir: *dir, out: stdout, err: stderr}).test()
	case f.NArg() > 1 || f.NArg() == 1 && f.Arg(0) != "start":
		// As fail2ban-server does with commands: they are the client's.
		return fail2banClient("", given, os.Stdin, stdout, stderr)
	case *background || !*foreground:
		o := &clientOptions{dir: *dir, socket: *socket, pidFile: *pidFile, level: *level, target: *target, timeout: 30, name: *name, force: *force, out: stdout, err: stderr}
		o.paths()
		if !o.start() {
			return exitFail2ban
		}
		return 0
	default:
		o := &clientOptions{dir: *dir, socket: *socket, pidFile: *pidFile, timeout: *timeout, out: stdout, err: stderr}
		o.paths()
		switch {
		case control.HandedOver(): // by who listens on the socket
		case o.ping():
			o.complain("Server already running")
			return exitFail2ban
		case *force:
			o.removeLeft()
		}
		go func() { // as fail2ban's does, when all jails have started
			if o.waitFor(true) {
				o.send([]any{"server-status"}, true)
			}
		}()
		// It is looked for by this name (pgrep -x fail2ban-server), not by that of its file.
		_ = os.WriteFile("/proc/self/comm", []byte(*name), 0)
		args := []string{"run", "--config", *dir}
		for _, o := range []struct{ name, value string }{{"--socket", o.socket}, {"--pid-file", o.pidFile}, {"--log-level", *level}, {"--log-target", *target}} {
			if o.value != "" {
				args = append(args, o.name, o.value)
			}
		}
		root.SetArgs(args)
	}
	var told *os.File
	if os.Getenv(startErrors) == "3" {
		syscall.CloseOnExec(3)
		told = os.NewFile(3, "errors of the start")
		os.Unsetenv(startErrors)
	}
	err = root.Execute()
	if err != nil && told != nil {
		fmt.Fprintln(told, err)
	}
	return finish(err, stderr)
}
