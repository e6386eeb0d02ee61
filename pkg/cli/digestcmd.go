package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/digest"
	"bailiff/pkg/doctor"
	"bailiff/pkg/events"
	"bailiff/pkg/safefile"
)

// digestOptions are those of `bailiff report`.
type digestOptions struct {
	bansFrom
	since, until string
	jail         string
	output       string
	most         int
	html, json   bool
	quiet        bool
	doctor       bool

	zone *time.Location
	now  time.Time
}

// digested is what `bailiff report` tells, and the form of its JSON.
type digested struct {
	Host string `json:"host"`
	Zone string `json:"zone"`
	Jail string `json:"jail,omitempty"`
	digest.Sum
	// Wrong is what is wrong now; null: that was not looked at.
	Wrong []string `json:"wrong_now"`
	// Source is where the events are from: a daemon, or the files beside a database.
	Source string `json:"source"`
}

func (g *global) reportCommand() *cobra.Command {
	o := digestOptions{bansFrom: bansFrom{global: g}}
	var zone string
	c := &cobra.Command{
		Use:   "report",
		Short: "Sum up a day, or another while, for a mail or a page",
		Long: `Sum up what has happened in a while: failures and bans by jail and over time, the addresses
and networks that made most of them, users that were tried, errors, actions that failed, repairs
of the firewall, restarts; and what is wrong now. The daemon is asked; where none answers, the
files beside its database are read, and it is said.

--since and --until take a time, as 2026-01-31T12:00:00Z or "2026-01-31 12:00", or how long ago, as
1d; a day is 24 hours. All times are shown in one zone, which is named: this machine's, or --tz.
Failures that are not kept one by one, in a flood, are counted, but nobody knows whose they were.

The exit status is 0 if the report is whole, whatever is in it; 1 if it could not be made, or not
all of it could be read; 2 if the command was not understood. cron mails what is printed, and with
--quiet nothing is where nothing has happened and nothing is wrong.`,
		Example: `  bailiff report --since 1d
  bailiff report --since 7d --html --output /var/www/bailiff.html
  bailiff report --since 1d --json | jq '.jails[] | {name, bans}'`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.html && o.json {
				return usageError("--html or --json?")
			}
			if o.most < 1 || o.most > 1000 {
				return usageError(fmt.Sprintf("--number %d: want 1 to 1000", o.most))
			}
			var err error
			if o.zone, _, err = clockFlags(zone, ""); err != nil {
				return err
			}
			o.now = time.Now()
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return o.run(ctx, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&o.since, "since", "1d", "from this `time` on, or how long ago")
	f.StringVar(&o.until, "until", "", "to before this `time`, or how long ago (default: now)")
	f.StringVarP(&o.jail, "jail", "j", "", "of this `jail`")
	f.IntVarP(&o.most, "number", "n", 10, "so `many` addresses, networks, users and texts of a kind")
	f.BoolVar(&o.html, "html", false, "a page of HTML that needs no other file and no network")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.StringVarP(&o.output, "output", "o", "", "a `file` to write to in place of standard output; who is not its owner may not read it")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print nothing if nothing has happened and nothing is wrong")
	f.BoolVar(&o.doctor, "doctor", false, "look for what is wrong now as bailiff doctor does, which reads the ends of the logs")
	f.StringVar(&zone, "tz", "", "the `zone` of times, as Europe/Zurich")
	o.flags(c)
	_ = c.RegisterFlagCompletionFunc("jail", g.completeJails)
	return c
}

// when reads a time, or how long ago.
func (o *digestOptions) when(flag, text string) (time.Time, error) {
	var q control.EventsQuery
	if err := sinceWhat(text, o.now, o.zone, &q); err != nil || q.From.IsZero() {
		return o.now, usageError(fmt.Sprintf("--%s %s: want a time as 2026-01-31T12:00:00Z or \"2026-01-31 12:00\", or how long ago, as 1d", flag, text))
	}
	return q.From, nil
}

func (o *digestOptions) run(ctx context.Context, out, complaints io.Writer) error {
	from, err := o.when("since", o.since)
	if err != nil {
		return err
	}
	to := o.now
	if o.until != "" {
		if to, err = o.when("until", o.until); err != nil {
			return err
		}
	}
	if !from.Before(to) {
		return usageError(fmt.Sprintf("--since %s is not before --until %s", from.In(o.zone).Format(timeLayout), to.In(o.zone).Format(timeLayout)))
	}
	where, err := o.find()
	if err != nil {
		return err
	}
	bar := newProgress(complaints)
	d := digest.New(from, to)
	all := true
	n := 0
	err = o.read(ctx, where, from, d, complaints, func(line []byte) error {
		if n++; n&0xfff == 0 {
			bar.number("events read", n)
		}
		return d.Add(line)
	})
	bar.end()
	if err != nil {
		if n == 0 {
			return err
		}
		fmt.Fprintf(complaints, "bailiff: not all events could be read: %v\n", err)
		all = false
	}
	r := digested{Zone: zoneOf(from, o.zone), Jail: o.jail, Sum: d.Sum(o.most), Source: "the files beside " + where.database}
	r.Host, _ = os.Hostname()
	if where.client != nil {
		r.Source = "the daemon"
	}
	r.Wrong = o.wrong(ctx, where)
	if o.quiet && r.Nothing() && len(r.Wrong) == 0 {
		return failedIf(!all)
	}
	if o.output != "" && o.output != "-" {
		f, err := safefile.Create(o.output, os.O_WRONLY|os.O_TRUNC, 0o600) // it names addresses and users
		if err != nil {
			return err
		}
		if err := errors.Join(o.print(f, &r), f.Close()); err != nil {
			return err
		}
		return failedIf(!all)
	}
	if err := o.print(out, &r); err != nil {
		return err
	}
	return failedIf(!all)
}

func (o *digestOptions) print(w io.Writer, r *digested) error {
	switch {
	case o.json:
		return printJSON(w, r)
	case o.html:
		b := bufio.NewWriter(w)
		return errors.Join(digestPage().ExecuteTemplate(b, "report", o.page(r)), b.Flush())
	}
	b := bufio.NewWriter(w)
	o.text(b, r)
	return b.Flush()
}

// read gives the events since a time to f.
func (o *digestOptions) read(ctx context.Context, where found, from time.Time, d *digest.Digest, complaints io.Writer, f func([]byte) error) error {
	ask := func(q control.EventsQuery, f func([]byte) error) error {
		if where.client != nil {
			return where.client.Events(ctx, q, f)
		}
		return eventsOfFiles(where.database, q, complaints, f)
	}
	enough := errors.New("enough")
	err := ask(control.EventsQuery{}, func(line []byte) error {
		if e, err := events.Parse(line); err == nil && !e.Time.IsZero() {
			d.KeptSince(e.Time)
			return enough
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return err
	}
	return ask(control.EventsQuery{Filter: events.Filter{From: from, Jail: o.jail}}, f)
}

// wrong is what is wrong now.
func (o *digestOptions) wrong(ctx context.Context, where found) []string {
	list := []string{}
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	path := o.config
	if where.client == nil {
		if o.database != "" {
			return nil // it was told to look elsewhere
		}
		add("no daemon answers: nothing is watched, and what is shown here is read from the files beside %s", where.database)
	} else if s, err := where.client.Status(); err != nil {
		add("the daemon's status can't be read: %v", err)
	} else {
		path = cmp.Or(path, s.Config)
		for _, p := range s.Problems {
			add("%s", p)
		}
		for _, j := range s.Jails {
			if o.jail != "" && j.Name != o.jail {
				continue
			}
			if j.Error != "" {
				add("jail %s: %s", j.Name, strings.ReplaceAll(j.Error, "\n", "; "))
			}
			for _, f := range j.Files {
				if f.Error != "" {
					add("jail %s: %s: %s", j.Name, f.Path, f.Error)
				}
			}
			for _, p := range j.Problems {
				add("jail %s: %s", j.Name, p)
			}
		}
		for _, e := range s.Exports {
			if e.Error != "" {
				add("export %s: %s", e.Name, e.Error)
			}
		}
		for _, r := range s.Reports {
			if r.Error != "" {
				add("report %s: %s", r.Name, r.Error)
			}
		}
	}
	if o.doctor {
		cfg, err := config.LoadWithin(startMost, config.Options{Path: path})
		if err != nil {
			add("the configuration can't be read: %v", err)
			return list
		}
		ctx, cancel := context.WithTimeout(ctx, doctorMost)
		defer cancel()
		only := []string{}
		if o.jail != "" {
			only = append(only, o.jail)
		}
		for _, f := range doctor.Look(ctx, cfg, doctor.Options{Jails: only, Client: where.client, Config: path}).Findings {
			if f.Level.Wrong() {
				text := fmt.Sprintf("%s: %s%s: %s", f.Level, f.Link, of(f.Jail), strings.TrimSpace(f.Cause))
				if f.Remedy != "" {
					text += "; to do: " + strings.ReplaceAll(f.Remedy, "\n", " ")
				}
				add("%s", text)
			}
		}
	}
	return list
}

// zoneOf tells a zone as it was at a time.
func zoneOf(t time.Time, zone *time.Location) string {
	name, _ := t.In(zone).Zone()
	if zone != time.Local && zone.String() != name {
		name = zone.String() + ", " + name
	}
	return name + " (" + t.In(zone).Format("-07:00") + ")"
}
