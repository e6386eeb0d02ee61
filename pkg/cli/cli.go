// Package cli is the command line: it reads flags, calls the packages that do
// the work, and prints. It decides nothing.
package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

// Version is set at build time, from git.
var Version = "devel"

// Exit codes: what was asked for did not happen, and the command was not
// understood.
const (
	exitFailed = 1
	exitUsage  = 2
)

// exitError ends the program with a code; an empty text prints nothing more.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

// failedIf is the end of a command that has told what went wrong, if something did.
func failedIf(bad bool) error {
	if bad {
		return &exitError{exitFailed, ""}
	}
	return nil
}

func failed(format string, args ...any) error {
	return &exitError{exitFailed, fmt.Sprintf(format, args...)}
}

// Main runs the program under the name by which it was called, and returns its
// exit code.
func Main(args []string) int {
	clock.UsePOSIXZone()
	name := filepath.Base(args[0])
	stdout, out := printing(os.Stdout)
	defer out()
	stderr, errs := printing(os.Stderr)
	defer errs()
	switch name {
	case "fail2ban-regex":
		return fail2banRegex(args[0], args[1:], os.Stdin, stdout, stderr)
	case "fail2ban-server":
		return fail2banServer(args[1:], stdout, stderr)
	case "fail2ban-client":
		return fail2banClient(args[0], args[1:], os.Stdin, stdout, stderr)
	}
	root := newRoot
	if len(args) > 1 {
		switch args[1] {
		case "run":
			root = newRunRoot
		case "regex":
			root = newRegexRoot
		}
	}
	return execute(root(), args[1:], stdout, stderr)
}

func execute(root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetArgs(args)
	return finish(root.Execute(), stderr)
}

func finish(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	code := exitFailed
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, "bailiff: "+strings.ReplaceAll(text, "\n", "\nbailiff: "))
	}
	return code
}

// global holds the flags that every command has.
type global struct {
	socket string
}

func newRoot() *cobra.Command {
	root, g := bareRoot()
	root.AddCommand(
		g.runCommand(), g.statusCommand(), g.banCommand(), g.unbanCommand(), g.allowCommand(), g.neverCommand(), g.bansCommand(), g.eventsCommand(), g.topCommand(), g.reportCommand(), g.whyCommand(), g.webCommand(), g.fleetCommand(), hubCommand(), g.migrateCommand(), g.reloadCommand(), g.stopCommand(),
		checkCommand(), g.doctorCommand(), rewriteMapCommand(), wallsCommand(), removeTableCommand(), runnerCommand(), configCommand(), regexCommand(), explainCommand(), replayCommand(), filterCommand(),
		&cobra.Command{Use: "version", Short: "Print the version", Args: noArgs, Run: func(c *cobra.Command, _ []string) {
			fmt.Fprintln(c.OutOrStdout(), "bailiff", Version)
		}},
	)
	return root
}

// newRunRoot has the daemon's command alone: those beside it would be there for as long as it runs.
func newRunRoot() *cobra.Command {
	root, g := bareRoot()
	root.AddCommand(g.runCommand())
	return root
}

// newRegexRoot has one command alone: a log is read in less time than the flags of all take.
func newRegexRoot() *cobra.Command {
	root, _ := bareRoot()
	root.AddCommand(regexCommand())
	return root
}

func bareRoot() (root *cobra.Command, g *global) {
	g = &global{}
	root = &cobra.Command{
		Use:   "bailiff",
		Short: "Watch logs, ban what attacks",
		Long: `bailiff follows the logs of applications, matches their lines with filters in
the manner of fail2ban, and bans the addresses that fail too often, as elements
of nftables sets.`,
		Example: `  bailiff run --jail django-auth=/var/log/django/auth.log
  bailiff status django-auth
  bailiff unban 192.0.2.7`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       Version,
	}
	root.SetVersionTemplate("bailiff {{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &exitError{exitUsage, fmt.Sprintf("%v\nsee `%s --help`", err, c.CommandPath())}
	})
	root.PersistentFlags().StringVar(&g.socket, "socket", "", "the daemon's `path` (default as in "+config.DefaultDir+"/bailiff.toml, else "+config.DefaultSocket+")")
	root.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return &exitError{exitUsage, fmt.Sprintf("unknown command %q\nsee `bailiff --help`", args[0])}
		}
		return nil
	}
	root.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	return root, g
}

// args checks the number of arguments; most < 0 is no limit.
func args(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return &exitError{exitUsage, fmt.Sprintf("too few arguments\nusage: %s\nsee `%s --help`", c.UseLine(), c.CommandPath())}
		case most >= 0 && len(args) > most:
			if most == 0 && c.HasSubCommands() {
				return &exitError{exitUsage, fmt.Sprintf("%s has no command %s\nsee `%s --help`", c.CommandPath(), args[0], c.CommandPath())}
			}
			return &exitError{exitUsage, fmt.Sprintf("too many arguments: %s\nusage: %s\nsee `%s --help`", strings.Join(args[most:], " "), c.UseLine(), c.CommandPath())}
		}
		return nil
	}
}

var noArgs = args(0, 0)

func (g *global) client() *control.Client {
	return control.NewClient(cmp.Or(g.socket, config.ConfiguredSocket(config.DefaultDir)))
}

// clientAt is a client for the socket of a configuration.
func (g *global) clientAt(socket string) *control.Client {
	return control.NewClient(cmp.Or(g.socket, socket))
}

// completeJails offers the names of the running jails.
func (g *global) completeJails(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, err := g.client().Status()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, j := range s.Jails {
		names = append(names, j.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
