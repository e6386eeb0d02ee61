package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/guard"
	"bailiff/pkg/replay"
	"bailiff/pkg/source"
)

// replayOptions are those of `bailiff replay`.
type replayOptions struct {
	config   string
	jails    []string // NAME[=FILTER]
	encoding string
	summary  bool
	sweep    []string // KEY=VALUE,VALUE…
	lines    bool
	json     bool
	plot     bool
	html     string

	location *time.Location
	now      time.Time
	stdin    io.Reader
	out      *bufio.Writer
	errs     io.Writer
	progress *progress
}

func replayCommand() *cobra.Command {
	var o replayOptions
	var now, zone string
	c := &cobra.Command{
		Use:   "replay LOG…",
		Short: "Run jails over past logs: who would have been banned, and when",
		Long: `Run jails over past logs, in the logs' own time, and tell who would have been banned, when,
for how long and after which lines. It is the daemon's own code, with a clock that the lines
move; nothing is touched: no firewall, no database, no action.

LOG is a file, also one that was rotated and compressed (.gz, .zst, .xz, .bz2), or - for
standard input. The files of one log are read in the order in which they were written,
whatever order they are named in; several logs are followed at the same time, as a daemon does.

--jail names the jail whose settings hold, enabled or not, and with =FILTER one with another
filter: the name of a filter, also with options as NAME[mode=MODE], a filter's file, or an
expression with a tag like <HOST>. Without it, the enabled jails that follow such a log.

--sweep tries other settings in the same pass over the logs, all combinations of them: of maxretry,
findtime, bantime, count.distinct (empty: each failure counts), success.forgives, and weight.N, the
weight of the failregex that bailiff regex shows as number N. It prints a table: bans, failures let through and shut out, and who was hurt, addresses and users that
logged in within a day of being banned, as far as the filter knows of logins (success, in one of
fail2ban's <F-MLFGAINED>). It names the setting that shuts out most without hurting anybody.

Who is never banned is what ignoreip says, and this host's own addresses. ignorecommand is
not run, and hosts' names in a log are not looked up: how many failures that is about is said.

The exit code is 1 if a log could not be read to its end, or a jail is broken.`,
		Example: `  bailiff replay /var/log/auth.log* --jail sshd
  bailiff replay --config /etc/fail2ban --summary /var/log/auth.log /var/log/auth.log.1
  bailiff replay /var/log/auth.log* --jail sshd --sweep maxretry=3,5,10 --sweep findtime=5m,10m,1h
  bailiff replay /var/log/auth.log* --jail sshd --sweep count.distinct=,user --sweep success.forgives=false,true
  bailiff replay access.log.*.gz --jail 'nginx=^<ADDR> .* 401 '
  bailiff replay /var/log/auth.log* --jail sshd --json | jq -r '.jails[].bans[].id'`,
		Args: args(1, -1),
		RunE: func(c *cobra.Command, logs []string) error {
			var err error
			if o.location, o.now, err = clockFlags(zone, now); err != nil {
				return err
			}
			collectLater()
			o.stdin, o.errs, o.progress = c.InOrStdin(), c.ErrOrStderr(), newProgress(c.ErrOrStderr())
			o.out = bufio.NewWriterSize(behindBar{c.OutOrStdout(), o.progress}, 64<<10)
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			err = o.run(ctx, logs)
			return errors.Join(err, o.out.Flush())
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVarP(&o.config, "config", "c", "", "a `path`: bailiff.toml, or the directory that holds it, or fail2ban's")
	f.StringArrayVarP(&o.jails, "jail", "j", nil, "the jail, `NAME` or NAME=FILTER; several times: one after the other")
	f.StringArrayVar(&o.sweep, "sweep", nil, "try all combinations of values, `KEY=VALUE,…`: of maxretry, findtime, bantime, count.distinct, success.forgives, weight.N")
	f.BoolVar(&o.plot, "plot", false, "draw failures over time, networks and users, in plain characters")
	f.StringVar(&o.html, "html", "", "write the report with pictures into a `file`, which needs no other")
	f.BoolVarP(&o.summary, "summary", "s", false, "print the sums only, no list of bans")
	f.BoolVarP(&o.lines, "lines", "l", false, "print the lines that led to each ban, as many as maxmatches")
	f.BoolVar(&o.json, "json", false, "print JSON, with the lines that led to each ban")
	f.StringVarP(&o.encoding, "encoding", "e", "", "the log's `encoding`, in place of the jail's")
	f.StringVar(&now, "now", "", "the `time` by which dates without a year are read, RFC 3339; without it, when a file was written to last")
	f.StringVar(&zone, "tz", "", "the local `zone`, as Europe/Zurich")
	return c
}

// behindBar takes the bar away before it writes.
type behindBar struct {
	io.Writer
	bar *progress
}

func (b behindBar) Write(p []byte) (int, error) {
	b.bar.end()
	return b.Writer.Write(p)
}

// replayed is a jail with its logs.
type replayed struct {
	jail *config.Jail
	logs []replay.Log
}

func (o *replayOptions) run(ctx context.Context, paths []string) error {
	set, err := replay.Files(paths)
	if err != nil {
		return err
	}
	for _, n := range set.Notes {
		fmt.Fprintln(o.errs, "bailiff:", n)
	}
	var enc *source.Encoding
	if o.encoding != "" {
		if enc, err = source.LookupEncoding(o.encoding); err != nil {
			return &exitError{exitUsage, "--encoding: " + err.Error()}
		}
	}
	sweep, err := replay.ParseSweep(o.sweep)
	if err != nil {
		return sweepUsage(err)
	}
	if !sweep.Empty() {
		o.summary = true
	}
	list, err := o.choose(set.Logs)
	if err != nil {
		return err
	}
	if slices.Contains(paths, replay.Stdin) && len(list) > 1 {
		return usageError("- can be read by one jail only")
	}
	g := guard.New(guard.Options{Log: slog.New(slog.DiscardHandler)})
	defer g.Close()
	p := o.printer()
	p.begin()
	missing := false
	var reports []*replay.Report
	for i, of := range list {
		settings, err := sweep.Combinations(of.jail)
		if err != nil {
			return sweepUsage(err)
		}
		p.jail(i, of.jail)
		r, err := replay.Run(ctx, replay.Options{
			Jail: of.jail, Logs: of.logs, Encoding: enc, Location: o.location, Now: o.now, Stdin: o.stdin, Guard: g, Sweep: settings,
			Ban: p.ban(len(list) > 1), Progress: func(lines int, read, all int64) { o.progress.block(lines, read, all) },
		})
		o.progress.end()
		if err != nil {
			return err
		}
		p.sums(r)
		reports = append(reports, r)
		for _, problem := range r.Problems {
			fmt.Fprintln(o.errs, "bailiff:", problem)
			missing = missing || problem.Missing
		}
	}
	p.end()
	if o.html != "" {
		if err := writePage(o, reports); err != nil {
			return err
		}
	}
	if missing {
		return &exitError{code: exitFailed}
	}
	return nil
}

// choose finds out which jails are meant, and which logs each reads.
func (o *replayOptions) choose(logs []replay.Log) ([]replayed, error) {
	load := config.Options{Path: o.config, All: true, Bare: true}
	for _, j := range o.jails {
		name, _, _ := strings.Cut(j, "=")
		load.Jails = append(load.Jails, name+"="+logs[0].Name)
	}
	load.All = len(o.jails) > 0
	cfg, err := config.LoadWithin(startMost, load)
	if err != nil {
		return nil, err
	}
	var out []replayed
	for _, arg := range o.jails {
		name, as, with := strings.Cut(arg, "=")
		i := slices.IndexFunc(cfg.Jails, func(j *config.Jail) bool { return j.Name == name })
		j := *cfg.Jails[i]
		switch {
		case with:
			if err := o.useFilter(&j, as); err != nil {
				return nil, fmt.Errorf("--jail %s: %w", arg, err)
			}
		case slices.Equal(j.Sources, []string{"--jail"}):
			if cfg.Filters[name] == nil {
				return nil, &exitError{exitUsage, fmt.Sprintf("--jail %s: there is no such jail, and no filter of that name%s: give the filter as --jail %s=FILTER", name, nearJail(name, cfg), name)}
			}
			if err := o.useFilter(&j, name); err != nil {
				return nil, err
			}
		}
		out = append(out, replayed{&j, logs})
	}
	if len(o.jails) == 0 {
		if out, err = following(cfg, logs); err != nil {
			return nil, err
		}
	}
	for _, of := range out {
		switch errs := slices.Concat(of.jail.Errors, of.jail.Faults); {
		case len(of.jail.Errors) > 0:
			return nil, fmt.Errorf("jail %s can't start: %w", of.jail.Name, errors.Join(errs...))
		case of.jail.List != nil:
			return nil, fmt.Errorf("jail %s is a list of addresses, and reads no log", of.jail.Name)
		}
		for _, err := range of.jail.Faults {
			fmt.Fprintf(o.errs, "bailiff: jail %s: %v\n", of.jail.Name, err)
		}
		of.jail.Filter.Journal = false // dates are in the lines
	}
	return out, nil
}

// nearJail suggests what may have been meant.
func nearJail(name string, cfg *config.Config) string {
	var known []string
	for _, j := range cfg.Jails {
		if j.Name != name {
			known = append(known, j.Name)
		}
	}
	if near := nearNames(name, known); len(near) > 0 {
		return " (did you mean " + strings.Join(near, ", ") + "?)"
	}
	return ""
}

// useFilter gives a jail another filter.
func (o *replayOptions) useFilter(j *config.Jail, arg string) error {
	r := regexOptions{config: o.config, location: o.location, now: o.now, json: true, out: io.Discard, backend: "auto"}
	def, err := r.definition(arg)
	if err != nil {
		return err
	}
	was := j.Filter
	def.UseDNS, def.LogTimezone, def.Transport, def.Proxies = was.UseDNS, was.LogTimezone, was.Transport, was.Proxies
	j.Filter = def
	return nil
}

// following finds the enabled jails that follow logs of these names.
func following(cfg *config.Config, logs []replay.Log) (out []replayed, err error) {
	read := map[string]bool{}
	for _, j := range cfg.Jails {
		of := replayed{jail: j}
		for _, l := range logs {
			path, err := filepath.Abs(l.Name)
			if err != nil {
				return nil, err
			}
			if slices.ContainsFunc(j.LogPath, func(glob string) bool {
				absolute, _ := filepath.Match(glob, path)
				as, _ := filepath.Match(glob, l.Name)
				return absolute || as
			}) {
				of.logs = append(of.logs, l)
				read[l.Name] = true
			}
		}
		if len(of.logs) > 0 {
			out = append(out, of)
		}
	}
	for _, l := range logs {
		if !read[l.Name] {
			return nil, &exitError{exitUsage, fmt.Sprintf("no enabled jail follows %s: name one with --jail", l.Name)}
		}
	}
	return out, nil
}

// writePage writes the report of --html.
func writePage(o *replayOptions, reports []*replay.Report) error {
	f, err := os.OpenFile(o.html, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // it names addresses and users
	if err != nil {
		return err
	}
	return errors.Join(o.page(f, reports), f.Close())
}
