package cli

import (
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"bailiff/pkg/config/fail2ban"
)

// fail2banServer is the program of that name, as far as it is built: the daemon in
// the foreground, on fail2ban's configuration.
func fail2banServer(given []string, stdout, stderr io.Writer) int {
	f := pflag.NewFlagSet("fail2ban-server", pflag.ContinueOnError)
	f.SortFlags = false
	dir := f.StringP("conf", "c", fail2banDir, "`directory` of the configuration")
	socket := f.StringP("socket", "s", "", "`path` of the socket")
	level := f.String("loglevel", "", "`level` of the log, over that of fail2ban.conf")
	target := f.String("logtarget", "", "`file`, STDOUT, STDERR or SYSLOG, over that of fail2ban.conf")
	foreground := f.BoolP("foreground", "f", false, "run in the foreground")
	test := f.BoolP("test", "t", false, "read the configuration, report every error, start nothing")
	version := f.BoolP("version", "V", false, "print the version")
	help := f.BoolP("help", "h", false, "print this help")
	if err := f.Parse(given); err != nil {
		fmt.Fprintln(stderr, "fail2ban-server:", optionError(err))
		return exitUsage
	}
	root := newRoot()
	root.SetOut(stdout)
	root.SetErr(stderr)
	switch {
	case *help:
		fmt.Fprintf(stdout, "Usage: fail2ban-server [OPTIONS] -f|-t\n\nRun the daemon on fail2ban's configuration.\n\nOptions:\n%s", f.FlagUsages())
		return 0
	case *version:
		fmt.Fprintln(stdout, fail2ban.Version)
		return 0
	case *test:
		root.SetArgs([]string{"check", "--config", *dir})
	case *foreground && (f.NArg() == 0 || f.NArg() == 1 && f.Arg(0) == "start"):
		args := []string{"run", "--config", *dir}
		for _, o := range []struct{ name, value string }{{"--socket", *socket}, {"--log-level", *level}, {"--log-target", *target}} {
			if o.value != "" {
				args = append(args, o.name, o.value)
			}
		}
		root.SetArgs(args)
	default:
		fmt.Fprintln(stderr, "fail2ban-server: only the foreground is built yet: fail2ban-server -f, or `bailiff run --config /etc/fail2ban`")
		return exitUsage
	}
	return finish(root.Execute(), stderr)
}
