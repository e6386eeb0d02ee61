package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/doctor"
)

// doctorMost is how long a doctor looks at all jails.
const doctorMost = 2 * time.Minute

func (g *global) doctorCommand() *cobra.Command {
	var load config.Options
	var asJSON, all bool
	c := &cobra.Command{
		Use:   "doctor [JAIL…]",
		Short: "Look at the whole way from log to ban, and say what is wrong",
		Long: `Look at the whole way from a log to a ban on this host, for some jails or for all: the
configuration, the log, its lines, who is in them, what their failures come to, and the
ban in the kernel. Each is ok, doubtful or broken, with what was seen and what to do. The
first one that is shown is the cause; what comes behind may follow from it.

The last 100,000 lines of each jail's logs are read and counted; nothing is changed. A
running daemon is asked over its socket; where none answers, that is said, and all else is
looked at. Run it as root: who may not read the ruleset or a log can't say much.

The exit status is 0 if all is well, 1 if something is doubtful, 2 if something is broken.
docs/doctor.md lists what is found, by symptom.`,
		Example: `  bailiff doctor
  bailiff doctor sshd
  bailiff doctor --json | jq '.findings[0]'`,
		Args:              args(0, -1),
		ValidArgsFunction: g.completeJails,
		RunE: func(c *cobra.Command, jails []string) error {
			client := g.client()
			if load.Path == "" && len(load.Jails) == 0 {
				if s, err := client.Status(); err == nil {
					load.Path = s.Config
				}
			}
			cfg, err := config.LoadWithin(startMost, load)
			if err != nil {
				return printFindings(c.OutOrStdout(), doctor.Unread(cmp.Or(load.Path, config.DefaultDir), err), all, asJSON)
			}
			if g.socket == "" && load.Path != "" {
				client = g.clientAt(cfg.Socket)
			}
			said := lookThrough(cfg, load, false)
			ctx, cancel := context.WithTimeout(context.Background(), doctorMost)
			defer cancel()
			r := doctor.Look(ctx, cfg, doctor.Options{Jails: jails, Client: client, Config: load.Path, Problems: said.errors, Warnings: said.warnings})
			return printFindings(c.OutOrStdout(), r, all, asJSON)
		},
	}
	c.Flags().StringVarP(&load.Path, "config", "c", "", "a `path`: bailiff.toml, or the directory that holds it (default: the daemon's)")
	c.Flags().StringArrayVarP(&load.Jails, "jail", "j", nil, "as with run, `NAME=LOGPATH`")
	c.Flags().BoolVarP(&all, "verbose", "v", false, "report what is well, too")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printFindings prints what a doctor has found: what is wrong, the cause first, then a table.
// The error is the exit code for it.
func printFindings(w io.Writer, r *doctor.Report, all, asJSON bool) error {
	if asJSON {
		if err := printJSON(w, r); err != nil {
			return err
		}
		return leveled(r)
	}
	for _, f := range r.Findings {
		if !f.Level.Wrong() && !all {
			continue
		}
		fmt.Fprintf(w, "%s: %s%s: %s\n", f.Level, f.Link, of(f.Jail), strings.TrimSpace(f.Cause))
		for _, s := range f.Seen {
			fmt.Fprintf(w, "    seen: %s\n", s)
		}
		if f.Remedy != "" {
			fmt.Fprintf(w, "    to do: %s\n", strings.ReplaceAll(f.Remedy, "\n", "\n        "))
		}
		if f.Symptom != "" {
			fmt.Fprintf(w, "    symptom: %s\n", f.Symptom)
		}
	}
	if r.Level != doctor.OK || all {
		fmt.Fprintln(w)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "JAIL\t%s\n", strings.ToUpper(strings.Join(doctor.Links, "\t")))
	for _, j := range slices.Concat(r.Jails, r.Others()) {
		fmt.Fprint(t, cmp.Or(j, "(all)"))
		for _, link := range doctor.Links {
			fmt.Fprint(t, "\t", r.Of(j, link))
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	if r.Daemon != "" {
		fmt.Fprintf(w, "daemon: %s\n", r.Daemon)
	}
	fmt.Fprintln(w, r.Level)
	return leveled(r)
}

// leveled is the exit code for a report.
func leveled(r *doctor.Report) error {
	if r.Level == doctor.OK {
		return nil
	}
	return &exitError{int(r.Level), ""}
}

func of(jail string) string {
	if jail == "" {
		return ""
	}
	return " of " + jail
}
