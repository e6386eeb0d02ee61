package cli

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
)

func configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Show the configuration as it was resolved, explain its keys, import one of fail2ban's",
		Args:  args(0, 0),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(configShowCommand(), configImportCommand(), configReferenceCommand())
	return c
}

// shownConfig is what `config show --json` prints.
type shownConfig struct {
	Server []config.Setting `json:"server"`
	Jails  []shownJail      `json:"jails"`
	Errors []string         `json:"errors"`
}

type shownJail struct {
	Name     string           `json:"name"`
	Enabled  bool             `json:"enabled"`
	Settings []config.Setting `json:"settings"`
	Parts    []config.Part    `json:"parts"`
	Errors   []string         `json:"errors"`
	Warnings []string         `json:"warnings"`
}

func configShowCommand() *cobra.Command {
	var load config.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "show [JAIL…]",
		Short: "Print what was resolved, and from which file and line each value came",
		Long: `Print what was resolved, and from which file and line each value came: of all
enabled jails, or of the jails named, enabled or not. With --config /etc/fail2ban
it does so for a configuration of fail2ban's: jail.conf, jail.d, .local files,
filters and actions.`,
		Example: `  bailiff config show
  bailiff config show --config /etc/fail2ban sshd
  bailiff config show --json | jq '.jails[].settings[] | select(.name == "bantime")'`,
		RunE: func(c *cobra.Command, names []string) error {
			load.All = len(names) > 0
			cfg, err := config.LoadWithin(startMost, load)
			if err != nil {
				return err
			}
			out := shownConfig{Server: cfg.Settings, Jails: []shownJail{}, Errors: errorTexts(cfg.Errors)}
			for _, j := range cfg.Jails {
				if len(names) == 0 || slices.Contains(names, j.Name) {
					out.Jails = append(out.Jails, shownJail{
						j.Name, !j.Disabled, append([]config.Setting{}, j.Settings...), append([]config.Part{}, j.Parts...),
						errorTexts(slices.Concat(j.Errors, j.Faults)), errorTexts(j.Warnings),
					})
				}
			}
			for _, n := range names {
				if !slices.ContainsFunc(out.Jails, func(j shownJail) bool { return j.Name == n }) {
					return failed("no jail %q in the configuration", n)
				}
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), out)
			}
			showConfig(c.OutOrStdout(), &out, len(names) == 0)
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			load.All = true
			cfg, err := config.LoadWithin(startMost, load)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, j := range cfg.Jails {
				names = append(names, j.Name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().StringVarP(&load.Path, "config", "c", "", "a `path`: bailiff.toml, the directory that holds it, or one of fail2ban's")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func errorTexts(errs []error) []string {
	out := []string{}
	for _, err := range errs {
		out = append(out, strings.Split(err.Error(), "\n")...)
	}
	return out
}

func showConfig(w io.Writer, c *shownConfig, server bool) {
	if server && len(c.Server) > 0 {
		fmt.Fprintln(w, "[server]")
		showSettings(w, c.Server)
		fmt.Fprintln(w)
	}
	for i, j := range c.Jails {
		if i > 0 {
			fmt.Fprintln(w)
		}
		note := ""
		if !j.Enabled {
			note = "  # not enabled"
		}
		fmt.Fprintf(w, "[%s]%s\n", j.Name, note)
		for _, e := range j.Errors {
			fmt.Fprintf(w, "# error: %s\n", e)
		}
		for _, e := range j.Warnings {
			fmt.Fprintf(w, "# warning: %s\n", e)
		}
		showSettings(w, j.Settings)
		for _, p := range j.Parts {
			fmt.Fprintf(w, "\n[%s: %s %s]\n", j.Name, p.Kind, p.Name)
			showSettings(w, p.Settings)
		}
	}
	if len(c.Jails) == 0 {
		fmt.Fprintln(w, "# no jail is enabled")
	}
	for _, e := range c.Errors {
		fmt.Fprintf(w, "# error: %s\n", e)
	}
}

// showSettings prints settings with the places that they come from behind them.
func showSettings(w io.Writer, list []config.Setting) {
	const column = 56
	width := 0
	for _, s := range list {
		width = max(width, len(s.Name))
	}
	for _, s := range list {
		from := "default"
		switch {
		case s.File != "" && s.Line > 0:
			from = fmt.Sprintf("%s:%d", s.File, s.Line)
		case s.File != "":
			from = s.File
		}
		for i, line := range strings.Split(visible(s.Value), "\n") {
			text := fmt.Sprintf("%-*s = %s", width, s.Name, line)
			if i > 0 {
				text = fmt.Sprintf("%*s   %s", width, "", line)
			} else {
				text += strings.Repeat(" ", max(1, column-utf8.RuneCountInString(text))) + "# " + from
			}
			fmt.Fprintln(w, strings.TrimRight(text, " "))
		}
	}
}

// visible makes control characters but newlines visible.
func visible(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = show(l)
	}
	return strings.Join(lines, "\n")
}

func configImportCommand() *cobra.Command {
	var output string
	var force, dryRun bool
	c := &cobra.Command{
		Use:   "import DIR",
		Short: "Write fail2ban's enabled jails, with their local changes, as TOML",
		Long: `Read a configuration of fail2ban's and write its enabled jails with all of their
local changes, and their filters, as TOML. What can't be carried is listed, a line
each. Files that are there are kept unless --force is given.

Nothing needs to be imported: bailiff run --config /etc/fail2ban runs the
configuration as it is.`,
		Example: `  bailiff config import /etc/fail2ban --dry-run
  bailiff config import /etc/fail2ban --output /etc/bailiff`,
		Args: args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := config.LoadWithin(startMost, config.Options{Path: args[0]})
			if err != nil {
				return err
			}
			if cfg.Fail2ban == nil {
				return failed("%s holds no configuration of fail2ban's: no jail.conf and no jail.local there", args[0])
			}
			for _, e := range cfg.Errors {
				fmt.Fprintln(c.ErrOrStderr(), "bailiff:", e)
			}
			files, notes := config.Export(cfg)
			for _, n := range notes {
				fmt.Fprintln(c.ErrOrStderr(), "bailiff:", n)
			}
			names := slices.Sorted(maps.Keys(files))
			if dryRun {
				for _, n := range names {
					fmt.Fprintf(c.OutOrStdout(), "# ---- %s\n%s\n", n, files[n])
				}
				return nil
			}
			for _, n := range names {
				if _, err := os.Stat(filepath.Join(output, n)); err == nil && !force {
					return failed("%s is there already: nothing was written (--force writes over it)", filepath.Join(output, n))
				}
			}
			for _, n := range names {
				to := filepath.Join(output, n)
				if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
					return err
				}
				if err := os.WriteFile(to, []byte(files[n]), 0o644); err != nil {
					return err
				}
			}
			jails := 0
			for _, n := range names {
				if strings.HasPrefix(n, "jails/") {
					jails++
				}
			}
			fmt.Fprintf(c.OutOrStdout(), "%d jails written to %s; %d things not carried\n", jails, output, len(notes))
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", config.DefaultDir, "the `directory` to write to")
	c.Flags().BoolVar(&force, "force", false, "write over files that are there")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "print the files, write nothing")
	return c
}
