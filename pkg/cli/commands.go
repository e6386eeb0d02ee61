package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/daemon"
	"bailiff/pkg/doctor"
	"bailiff/pkg/jail"
)

const timeLayout = "2006-01-02 15:04:05"

func (g *global) statusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status [JAIL]",
		Short: "Show what the daemon is doing, or one jail with its bans",
		Example: `  bailiff status
  bailiff status django-auth
  bailiff status --json | jq '.jails[].currently_banned'`,
		Args:              args(0, 1),
		ValidArgsFunction: g.completeJails,
		RunE: func(c *cobra.Command, args []string) error {
			out := c.OutOrStdout()
			if len(args) == 1 {
				j, err := g.client().Jail(args[0])
				if err != nil {
					return g.perhapsGroup(args[0], err)
				}
				if asJSON {
					return printJSON(out, j)
				}
				printJail(out, j)
				return nil
			}
			s, err := g.client().Status()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(out, s)
			}
			printStatus(out, s)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printStatus(w io.Writer, s control.Status) {
	dry := ""
	if s.DryRun {
		dry = ", dry run: nothing is banned"
	}
	fmt.Fprintf(w, "bailiff %s, pid %d, running since %s%s\n", s.Version, s.PID, s.Started.Local().Format(timeLayout), dry)
	for _, what := range slices.Concat(s.Waiting, s.Problems) {
		fmt.Fprintln(w, what)
	}
	if s.Fleet != nil {
		fmt.Fprintln(w, fleetLine(s.Fleet))
	}
	if len(s.Jails) == 0 {
		fmt.Fprintln(w, "no jails")
		for _, e := range s.Exports {
			printExport(w, e)
		}
		for _, r := range s.Reports {
			printReport(w, r)
		}
		return
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "JAIL\tFAILED\tBANNED\tTOTAL FAILED\tTOTAL BANNED\tLOG")
	for _, j := range s.Jails {
		if j.Error != "" && !j.List { // a list holds what it held
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\tnot running: %s\n", j.Name, strings.ReplaceAll(j.Error, "\n", "; "))
			continue
		}
		var logs []string
		for _, f := range j.Files {
			if f.Error != "" {
				logs = append(logs, f.Path+" ("+f.Error+")")
			} else {
				logs = append(logs, f.Path)
			}
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\n", j.Name, j.Failed, j.Banned, j.TotalFailed, j.TotalBanned, strings.Join(logs, " "))
	}
	t.Flush()
	for _, j := range s.Jails {
		if j.Observe && j.Error == "" {
			fmt.Fprintf(w, "%s: observe = true, nobody is banned; would be banned: %d now, %d in all\n", j.Name, j.WouldBan, j.TotalWouldBan)
		}
		if j.List && j.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", j.Name, j.Error)
		}
		for _, p := range j.Problems {
			fmt.Fprintf(w, "%s: %s\n", j.Name, p)
		}
	}
	for _, e := range s.Exports {
		printExport(w, e)
	}
	for _, r := range s.Reports {
		printReport(w, r)
	}
	var notes []string
	of := map[string][]string{}
	for _, j := range s.Jails {
		for _, n := range j.ByCommands {
			if of[n] == nil {
				notes = append(notes, n)
			}
			of[n] = append(of[n], j.Name)
		}
	}
	for _, n := range notes {
		fmt.Fprintln(w, config.ForJails(of[n], n))
	}
}

// short is a time without the units that are zero at its end.
func short(d time.Duration) string {
	s := d.String()
	for _, end := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, end) {
			s = strings.TrimSuffix(s, end[1:])
		}
	}
	return s
}

func printJail(w io.Writer, j jail.Status) {
	forever := func(sec float64) string {
		if sec < 0 {
			return "for ever"
		}
		return short(time.Duration(sec * 1e9))
	}
	lasts := forever(j.BanTime)
	if j.BanTime >= 0 {
		lasts = "for " + lasts
	}
	if j.List {
		fmt.Fprintf(w, "jail %s: a list, refused from the start\n", j.Name)
	} else {
		fmt.Fprintf(w, "jail %s: %d failures within %s ban %s\n", j.Name, j.MaxRetry, forever(j.FindTime), lasts)
	}
	if j.Counting != "" {
		fmt.Fprintf(w, "counts: %s\n", j.Counting)
	}
	fmt.Fprintf(w, "failed: %d addresses now, %d failures in all\n", j.Failed, j.TotalFailed)
	for _, f := range j.Files {
		if f.Error != "" {
			fmt.Fprintf(w, "log: %s: %s\n", f.Path, f.Error)
		} else {
			fmt.Fprintf(w, "log: %s, read up to byte %d\n", f.Path, f.Offset)
		}
	}
	if j.List && j.Error != "" {
		fmt.Fprintln(w, "problem:", j.Error)
	}
	for _, p := range j.Problems {
		fmt.Fprintln(w, "problem:", p)
	}
	for _, n := range j.ByCommands {
		fmt.Fprintln(w, "note:", n)
	}
	bans := j.Bans
	if j.Observe {
		bans = j.WouldBans
		fmt.Fprintf(w, "observe = true, nobody is banned; would be banned: %d now, %d in all\n", j.WouldBan, j.TotalWouldBan)
	} else {
		fmt.Fprintf(w, "banned: %d now, %d in all\n", j.Banned, j.TotalBanned)
	}
	if j.Busy != "" {
		fmt.Fprintln(w, j.Busy)
	}
	if len(bans) == 0 {
		return
	}
	printBans(w, bans)
}

// printBans lists bans. Only where some are of ids that are no addresses is there more than
// one column of who that is.
func printBans(w io.Writer, bans []jail.BanStatus) {
	head := "IP"
	beside := slices.ContainsFunc(bans, func(b jail.BanStatus) bool { return b.Address != "" })
	if beside || slices.ContainsFunc(bans, func(b jail.BanStatus) bool { return b.Name }) {
		head = "ID"
	}
	if beside {
		head += "\tADDRESS"
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "  %s\tSINCE\tUNTIL\n", head)
	for _, b := range bans {
		who, until := plainly(b.IP), "for ever"
		if beside {
			switch {
			case b.Address != "":
				who += "\t" + b.Address
			case b.Name:
				who += "\t-"
			default:
				who += "\t" + b.IP
			}
		}
		if b.End != nil {
			until = b.End.Local().Format(timeLayout)
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", who, b.Start.Local().Format(timeLayout), until)
	}
	t.Flush()
}

func (g *global) banCommand() *cobra.Command {
	var asJSON, force, inFleet bool
	var last, group string
	c := &cobra.Command{
		Use:   "ban JAIL IP… | --fleet IP…",
		Short: "Ban addresses or networks by hand",
		Long: `Ban addresses or networks by hand. What is neither is an id, as a filter finds
it with <F-ID>: a user, a session, a path. The jail's actions get it; nftables
can't hold it. With --for, bans last so long from now, also those of who is banned
already, and a bantime that is shorter does not cut them.

With --fleet, they are banned in no jail, but on all hosts of the fleet that enforce the group (docs/fleet.md), for an
hour without --for.`,
		Example: `  bailiff ban django-auth 192.0.2.7
  bailiff ban sshd 192.0.2.7 --for 30d
  bailiff ban sshd 203.0.113.0/24 2001:db8::/48
  bailiff ban --fleet 192.0.2.7 --for 1d`,
		Args: func(c *cobra.Command, given []string) error {
			if inFleet {
				return args(1, -1)(c, given)
			}
			return args(2, -1)(c, given)
		},
		ValidArgsFunction: g.completeJails,
		RunE: func(c *cobra.Command, args []string) error {
			lasts, err := banTimeOf(last)
			if err != nil {
				return err
			}
			var res []control.BanResult
			if inFleet {
				args = append([]string{"the fleet"}, args...)
				res, err = g.client().FleetBan(control.FleetBanRequest{Group: group, IPs: args[1:], Seconds: lasts})
			} else {
				res, err = g.client().Ban(args[0], control.BanRequest{IPs: args[1:], Force: force, Seconds: lasts})
			}
			if err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(c.OutOrStdout(), res); err != nil {
					return err
				}
			}
			bad := false
			for _, r := range res {
				switch {
				case r.Error != "":
					bad = true
					fmt.Fprintln(c.ErrOrStderr(), "bailiff:", r.Error)
				case asJSON:
				case r.Added:
					fmt.Fprintf(c.OutOrStdout(), "%s banned in %s%s%s%s\n", plainly(r.IP), args[0], untilOf(&r), later(r.Pending), later(r.Note))
				case r.Changed:
					fmt.Fprintf(c.OutOrStdout(), "%s was banned in %s already, and is banned now%s%s\n", plainly(r.IP), args[0], untilOf(&r), later(r.Pending))
				case r.Pending != "":
					fmt.Fprintf(c.OutOrStdout(), "%s will be banned in %s%s\n", plainly(r.IP), args[0], later(r.Pending))
				case r.By != "":
					fmt.Fprintf(c.OutOrStdout(), "%s was banned in %s already, as part of %s\n", plainly(r.IP), args[0], r.By)
				default:
					fmt.Fprintf(c.OutOrStdout(), "%s was banned in %s already\n", plainly(r.IP), args[0])
				}
			}
			return failedIf(bad)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&inFleet, "fleet", false, "ban on all hosts of the fleet")
	c.Flags().StringVar(&group, "group", "", "with --fleet, the `group` in which; without it the only one")
	c.Flags().StringVar(&last, "for", "", "for how `long`, as 1d, 1w, 30d, -1 for good; else as long as the jail bans for")
	c.Flags().BoolVar(&force, "force", false, "ban even an address of ignoreip or of this host, and networks wider than /8 (IPv6: /19)")
	return c
}

// banTimeOf is how long --for says a ban is to last, in seconds.
func banTimeOf(text string) (seconds float64, err error) {
	if text == "" {
		return 0, nil
	}
	d, err := config.ParseTime(text)
	switch {
	case err == nil && d < 0:
		return -1, nil
	case err != nil || d < time.Second || d.Seconds() > control.BanLongest:
		return 0, usageError(fmt.Sprintf("--for %s: want a time as 1d, 1w or 30d, at least a second and 100 years at the most; -1 for good", text))
	}
	return d.Seconds(), nil
}

// untilOf says until when a ban lasts that was asked for with a time.
func untilOf(r *control.BanResult) string {
	switch {
	case r.Permanent:
		return " for good"
	case r.Until != nil:
		return " until " + r.Until.Local().Format(timeLayout)
	}
	return ""
}

// plainly is who is banned, as a terminal can show it.
func plainly(id string) string {
	if strings.ContainsFunc(id, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(id)
	}
	return id
}

// later is what of an answer is still to come.
func later(pending string) string {
	if pending == "" {
		return ""
	}
	return "; " + pending
}

func in(jails []string) string {
	if len(jails) == 0 {
		return ""
	}
	return " in " + strings.Join(jails, ", ")
}

func (g *global) reloadCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon read its configuration anew",
		Long: `Have the daemon read its configuration anew. Jails that did not change go on
undisturbed; those that changed start again and keep their bans. If a jail's new
settings are wrong it goes on with the old ones, and the exit status is 1.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := g.client().Reload()
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			if asJSON {
				if err := printJSON(out, r); err != nil {
					return err
				}
			} else {
				for _, part := range []struct {
					what  string
					jails []string
				}{{"started", r.Started}, {"changed", r.Changed}, {"stopped", r.Stopped}} {
					if len(part.jails) > 0 {
						fmt.Fprintf(out, "%s: %s\n", part.what, strings.Join(part.jails, ", "))
					}
				}
				switch {
				case r.Anew != "":
					fmt.Fprintln(out, r.Anew)
				case len(r.Errors) == 0:
					fmt.Fprintln(out, "reloaded")
				}
			}
			if len(r.Errors) > 0 {
				return failed("%s", strings.Join(r.Errors, "\n"))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (g *global) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "Stop the daemon; its bans stay in the kernel until they end",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := g.client().Stop(); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "stopped")
			return nil
		},
	}
}

func checkCommand() *cobra.Command {
	var load config.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Read the whole configuration and report every error; start nothing",
		Example: `  bailiff check
  bailiff check --config ./my-config`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.LoadWithin(startMost, load)
			if err != nil {
				return err
			}
			if _, err := os.Stat(config.DefaultDir); load.Path == "" && len(load.Jails) == 0 && errors.Is(err, os.ErrNotExist) {
				cfg.Warnings = append(cfg.Warnings, fmt.Errorf("%s is not there, so no jail is enabled: make it, with a bailiff.toml, or name another by --config, or a jail by --jail", config.DefaultDir))
			}
			found := lookThrough(cfg, load, true)
			names, texts, warnings, notes := found.jails, found.errors, found.warnings, found.notes
			if asJSON {
				if err := printJSON(c.OutOrStdout(), map[string]any{"jails": names, "errors": texts, "warnings": warnings, "notes": notes}); err != nil {
					return err
				}
			} else {
				for _, t := range texts {
					fmt.Fprintln(c.ErrOrStderr(), "bailiff:", t)
				}
				for _, w := range warnings {
					fmt.Fprintln(c.ErrOrStderr(), "bailiff: warning:", w)
				}
				for _, n := range notes {
					fmt.Fprintln(c.OutOrStdout(), n)
				}
			}
			if len(texts) > 0 {
				return &exitError{exitFailed, ""}
			}
			if !asJSON {
				fmt.Fprintf(c.OutOrStdout(), "no errors; %d jails enabled%s\n", len(names), enabledList(names))
			}
			return nil
		},
	}
	c.Flags().StringVarP(&load.Path, "config", "c", "", "a `path`: bailiff.toml, or the directory that holds it")
	c.Flags().StringArrayVarP(&load.Jails, "jail", "j", nil, "as with run, `NAME=LOGPATH`")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// checkLink is how long a link of a jail may take in `bailiff check`, and checkLooks all of
// them.
const checkLink, checkLooks = 5 * time.Second, 20 * time.Second

// checked is what is to be said of a configuration.
type checked struct{ jails, errors, warnings, notes []string }

// lookThrough finds all that is to be said of a configuration that was read from somewhere;
// and, unless somebody else looks at them, of the logs.
func lookThrough(cfg *config.Config, from config.Options, logs bool) checked {
	daemon.Trust(cfg, daemon.Options{Config: from})
	problems := append(cfg.Problems(), daemon.CheckFilters(cfg, func() {})...)
	names, warnings := []string{}, []string{}
	lists, leftOut := daemon.CheckLists(cfg)
	problems = append(problems, lists...)
	published, notLooked := daemon.CheckPublished(cfg)
	for _, w := range slices.Concat(leftOut, daemon.CheckFiles(cfg), published, daemon.CheckFleet(cfg)) {
		warnings = append(warnings, w.Error())
	}
	for _, w := range cfg.Warnings {
		warnings = append(warnings, w.Error())
	}
	for _, j := range cfg.Jails {
		names = append(names, j.Name)
		for _, w := range j.Warnings {
			warnings = append(warnings, w.Error())
		}
	}
	if logs {
		ctx, cancel := context.WithTimeout(context.Background(), checkLooks)
		defer cancel()
		for _, f := range doctor.ForCheck(doctor.Look(ctx, cfg, doctor.Options{Most: checkLink})) {
			warnings = append(warnings, f.String())
		}
	}
	return checked{names, daemon.Texts(problems), warnings, slices.Concat([]string{}, config.CommandNotes(cfg.Jails), notLooked)}
}

func enabledList(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ": " + strings.Join(names, ", ")
}

func sortedFilters(cfg *config.Config) []string {
	names := make([]string, 0, len(cfg.Filters))
	for n := range cfg.Filters {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
