package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/control"
	"bailiff/pkg/filter"
)

// exitFail2ban is the exit code of fail2ban's programs for what went wrong.
const exitFail2ban = 255

// fail2banRegex is the program of that name: the same work, arguments, texts and
// exit codes.
func fail2banRegex(program string, given []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o := regexOptions{fail2ban: true, stdin: stdin, out: stdout, progress: newProgress(stderr), location: time.Local}
	f := pflag.NewFlagSet("fail2ban-regex", pflag.ContinueOnError)
	o.flags(f)
	f.BoolP("log-traceback", "t", false, "taken and without effect: there are no tracebacks")
	f.Bool("full-traceback", false, "the same")
	f.StringVar(&o.timezone, "TZ", "", "")
	f.BoolVar(&o.verboseDate, "VD", false, "")
	for _, name := range []string{"TZ", "VD"} {
		f.Lookup(name).Hidden = true
	}
	help := f.BoolP("help", "h", false, "print this help")
	version := f.Bool("version", false, "print the version")
	short := f.BoolP("short-version", "V", false, "print the version, nothing else")
	usage := func(w io.Writer) {
		fmt.Fprintf(w, "Usage: %s [OPTIONS] <LOG> <REGEX> [IGNOREREGEX]\n\n", program)
	}
	args, err := longNames(f, given)
	if err == nil {
		err = f.Parse(args)
	}
	if err != nil {
		usage(stderr)
		fmt.Fprintf(stderr, "%s: error: %s\n", filepath.Base(program), optionError(err))
		return exitUsage
	}
	printHelp := func() {
		usage(stdout)
		fmt.Fprint(stdout, fail2banRegexHelp, f.FlagUsages(), "\n")
	}
	switch {
	case *help:
		printHelp()
		return 0
	case *version:
		fmt.Fprintln(stdout, "fail2ban-regex", fail2ban.Version)
		return 0
	case *short:
		fmt.Fprintln(stdout, fail2ban.Version)
		return 0
	}
	var wrong []string
	if o.noMissed && o.allMissed {
		wrong = append(wrong, "ERROR: --print-no-missed and --print-all-missed are mutually exclusive.")
	}
	if o.noIgnored && o.allIgnored {
		wrong = append(wrong, "ERROR: --print-no-ignored and --print-all-ignored are mutually exclusive.")
	}
	if n := f.NArg(); n != 2 && n != 3 {
		wrong = append(wrong, "ERROR: provide both <LOG> and <REGEX>.")
	}
	if len(wrong) > 0 {
		printHelp()
		fmt.Fprintf(stderr, "\n%s\n", strings.Join(wrong, "\n"))
		return exitFail2ban
	}
	if err := o.run(f.Args()); err != nil {
		if text := fail2banText(err); text != "" {
			fmt.Fprintln(stdout, "ERROR: "+text)
		}
		return exitFail2ban
	}
	return 0
}

const fail2banRegexHelp = `Try a failregex or a filter on a log, and report what matched.

LOG:
  a line of a log, or several with newlines between them
  the path of a log

REGEX:
  a failregex, as 'Login failure <HOST>'
  the name of a filter, also with options: sshd[mode=aggressive]
  the path of a filter's file

IGNOREREGEX:
  an ignoreregex

Options:
`

// longNames writes shortened names of options out, where only one begins so.
func longNames(f *pflag.FlagSet, args []string) ([]string, error) {
	args = slices.Clone(args)
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			break
		}
		if !strings.HasPrefix(a, "--") {
			if takesNext(f, a) {
				i++
			}
			continue
		}
		name, value, hasValue := strings.Cut(a[2:], "=")
		flag := f.Lookup(name)
		if flag == nil || name == "short-version" {
			var found []string
			f.VisitAll(func(x *pflag.Flag) {
				if strings.HasPrefix(x.Name, name) && x.Name != "short-version" {
					found = append(found, "--"+x.Name)
				}
			})
			slices.Sort(found)
			switch len(found) {
			case 0:
				return nil, fmt.Errorf("no such option: --%s", name)
			case 1:
				flag = f.Lookup(found[0][2:])
			default:
				return nil, fmt.Errorf("ambiguous option: --%s (%s?)", name, strings.Join(found, ", "))
			}
		}
		args[i] = "--" + flag.Name
		if hasValue {
			args[i] += "=" + value
		} else if flag.NoOptDefVal == "" {
			i++
		}
	}
	return args, nil
}

// takesNext reports whether short options take the next argument as a value.
func takesNext(f *pflag.FlagSet, arg string) bool {
	if len(arg) < 2 || arg[0] != '-' {
		return false
	}
	for i := 1; i < len(arg); i++ {
		flag := f.ShorthandLookup(arg[i : i+1])
		if flag == nil {
			return false
		}
		if flag.NoOptDefVal == "" {
			return i == len(arg)-1
		}
	}
	return false
}

// optionError is an error of the options in the words that fail2ban's users know.
func optionError(err error) string {
	var none *pflag.NotExistError
	var value *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	dashed := func(shorts, long string) string {
		if shorts != "" {
			return "-" + shorts[:1]
		}
		return "--" + long
	}
	switch {
	case errors.As(err, &none):
		return "no such option: " + dashed(none.GetSpecifiedShortnames(), none.GetSpecifiedName())
	case errors.As(err, &value):
		return dashed(value.GetSpecifiedShortnames(), value.GetSpecifiedName()) + " option requires 1 argument"
	case errors.As(err, &invalid):
		if _, numErr := strconv.Atoi(invalid.GetValue()); numErr != nil {
			return fmt.Sprintf("option -%s: invalid integer value: %s", invalid.GetFlag().Shorthand, control.ReprString(invalid.GetValue()))
		}
	}
	return err.Error()
}

// fail2banText is an error in fail2ban's words, where it has some.
func fail2banText(err error) string {
	var x *filter.ExprError
	switch {
	case errors.Is(err, os.ErrPermission):
		return err.Error()
	case !errors.As(err, &x):
		return err.Error()
	case x.Err == nil:
		return fmt.Sprintf("No failure-id group in '%s'", x.Text)
	}
	return fmt.Sprintf("Unable to compile regular expression '%s':\n%v", x.Expanded, x.Err)
}
