package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
)

func (g *global) eventsCommand() *cobra.Command {
	from := bansFrom{global: g}
	var q control.EventsQuery
	var asJSON bool
	var since string
	var most int
	var kinds []string
	c := &cobra.Command{
		Use:   "events",
		Short: "Show what has happened: failures, bans, unbans, reloads, errors",
		Long: `Show what has happened, in order: failures and what became of them, bans and
unbans and by whom, restarts, reloads, lists that were loaded, repairs, errors. Each
event has a number, which never comes twice. Where no daemon answers, the files beside
its database are read, and it is said.

With --follow events are shown as they come, those of before only as far as --since or
--number ask for them. A daemon that ends ends the command, with exit status 1: who
goes on gives the last number to --since.`,
		Example: `  bailiff events --ip 192.0.2.7
  bailiff events --jail sshd --since 1h --kind ban --kind unban
  bailiff events --follow --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, k := range kinds {
				q.Kinds = append(q.Kinds, events.Kind(k))
			}
			if err := checkKinds(kinds); err != nil {
				return err
			}
			if since != "" {
				if err := sinceWhat(since, time.Now(), time.Local, &q); err != nil {
					return err
				}
			}
			if !c.Flags().Changed("number") && (since != "" || !q.Follow) {
				most = -1
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return g.events(ctx, &from, q, most, c.OutOrStdout(), c.ErrOrStderr(), asJSON)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.BoolVarP(&q.Follow, "follow", "f", false, "go on with events as they come")
	f.StringVar(&since, "since", "", "those behind a `number`, or since a time: 2026-01-31T12:00:00Z, 2026-01-31 12:00, or 2h ago as 2h")
	f.IntVarP(&most, "number", "n", 10, "of those before, the last `N` (default with --follow 10, else all)")
	f.StringVarP(&q.Jail, "jail", "j", "", "of this `jail`")
	f.StringVar(&q.ID, "ip", "", "of this `address`, of a network and what is in it, or of an id")
	f.StringArrayVar(&kinds, "kind", nil, "of this `kind`: "+kindNames()+"; may be repeated")
	f.BoolVar(&asJSON, "json", false, "print JSON, a line each")
	from.flags(c)
	_ = c.RegisterFlagCompletionFunc("kind", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return strings.Split(kindNames(), ", "), cobra.ShellCompDirectiveNoFileComp
	})
	_ = c.RegisterFlagCompletionFunc("jail", g.completeJails)
	return c
}

func kindNames() string {
	var names []string
	for _, k := range events.Kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func checkKinds(kinds []string) error {
	for _, k := range kinds {
		if !strings.Contains(", "+kindNames()+", ", ", "+k+", ") {
			return &exitError{exitUsage, fmt.Sprintf("--kind %s: want %s", k, kindNames())}
		}
	}
	return nil
}

// sinceWhat reads a number or a time.
func sinceWhat(text string, now time.Time, zone *time.Location, q *control.EventsQuery) error {
	if n, err := strconv.ParseUint(text, 10, 63); err == nil {
		q.Since = n
		return nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		q.From = at
		return nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			q.From = at
			return nil
		}
	}
	if ago, err := config.ParseTime(text); err == nil && ago > 0 {
		q.From = now.Add(-ago)
		return nil
	}
	return &exitError{exitUsage, fmt.Sprintf("--since %s: want a number of an event, a time as 2026-01-31T12:00:00Z or \"2026-01-31 12:00\", or how long ago, as 2h", text)}
}

// events prints events.
func (g *global) events(ctx context.Context, from *bansFrom, q control.EventsQuery, most int, out, complaints io.Writer, asJSON bool) error {
	print := func(line []byte) error {
		if asJSON {
			_, err := out.Write(append(line, '\n'))
			return err
		}
		e, err := events.Parse(line)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, eventLine(&e))
		return err
	}
	where, err := from.find()
	if err != nil {
		return err
	}
	if where.client == nil && q.Follow {
		if where.silent != nil {
			return where.silent
		}
		return failed("no daemon answers, so no events can be followed: without --follow, those kept beside %s are shown", where.database)
	}
	ask := func(q control.EventsQuery, f func([]byte) error) error {
		if where.client != nil {
			return where.client.Events(ctx, q, f)
		}
		return eventsOfFiles(where.database, q, complaints, f)
	}
	if where.client == nil {
		fmt.Fprintf(complaints, "no daemon answers: what follows is read from the files beside %s\n", where.database)
	}
	if most >= 0 { // the last ones first
		first := q
		first.Follow = false
		var last [][]byte
		err := ask(first, func(line []byte) error {
			if e, err := events.Parse(line); err == nil && e.N > q.Since {
				q.Since = e.N
			}
			if last = append(last, bytes.Clone(line)); len(last) > most {
				last = last[len(last)-most:]
			}
			return nil
		})
		for _, line := range last {
			if err := print(line); err != nil {
				return err
			}
		}
		if err != nil || !q.Follow {
			return err
		}
	}
	err = ask(q, print)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if err == nil && q.Follow {
		return failed("the daemon has ended: bailiff events --follow --since NUMBER goes on behind the last event")
	}
	return err
}

// eventsOfFiles reads events where no daemon answers.
func eventsOfFiles(database string, q control.EventsQuery, complaints io.Writer, f func([]byte) error) error {
	if database == "" {
		return failed("no daemon answers, and nothing is kept without one: [database] path is none")
	}
	r, err := events.Files(database, q.Since, func(text string) { fmt.Fprintln(complaints, "bailiff:", text) })
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, events.ErrNone) {
		return failed("no daemon answers, and no events are kept beside %s", database)
	}
	if err != nil {
		return err
	}
	var failed error
	if err := r.Each(func(_ uint64, line []byte) bool {
		if q.Wants(line) {
			failed = f(line)
		}
		return failed == nil
	}); err != nil {
		return err
	}
	return failed
}

// eventLine is an event as a person reads it.
func eventLine(e *events.Event) string {
	head := strings.Repeat(" ", len(timeLayout))
	if !e.Time.IsZero() {
		head = e.Time.Local().Format(timeLayout)
	}
	number := ""
	if e.N > 0 {
		number = "#" + strconv.FormatUint(e.N, 10)
	}
	jail := ""
	if e.Jail != "" {
		jail = " [" + e.Jail + "]"
	}
	return fmt.Sprintf("%s %-8s %-8s%s %s", head, number, e.Kind, jail, eventText(e))
}

// eventText says what has happened, without when, of which kind, and in which jail.
func eventText(e *events.Event) string {
	who := plainly(e.IP)
	if e.Address != "" {
		who += " (" + e.Address + ")"
	}
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch e.Kind {
	case events.Found:
		switch {
		case e.Counted != nil && !*e.Counted:
			add("not counted: %s", e.Why)
		case e.MaxRetry > 0:
			add("%d of %d", e.Failures, e.MaxRetry)
			if e.Count > 1 {
				add("counts for %d", e.Count)
			}
		}
		if e.Counted == nil && e.Why != "" {
			add("%s", e.Why)
		}
		if e.Regex > 0 {
			add("failregex %d", e.Regex)
		}
		if e.At != nil {
			add("of %s", e.At.Local().Format(timeLayout))
		}
		text := who + ": " + strings.Join(parts, ", ")
		if e.Log != "" {
			text += "; " + e.Log
		}
		if e.Line != "" {
			text += ": " + show(e.Line)
		}
		return text
	case events.Ban, events.Restored:
		if e.IP == "" {
			return show(e.Text)
		}
		switch {
		case e.Permanent:
			add("for ever")
		case e.Until != nil:
			add("until %s", e.Until.Local().Format(timeLayout))
		}
		if e.Count > 1 {
			add("the %s time", ordinal(e.Count))
		}
		if e.Failures > 0 && e.Why == "" {
			add("after %d failures", e.Failures)
		}
	case events.Forgiven:
		if e.Count > 0 {
			add("%s taken back, %d left", counted(int64(e.Count), "failure"), e.Failures)
		}
	case events.Allow:
		if e.Until != nil {
			add("until %s", e.Until.Local().Format(timeLayout))
		}
	case events.Unban:
	case events.More:
		return fmt.Sprintf("%d more %s: %s", e.Count, e.What, e.Why)
	case events.Gap:
		return fmt.Sprintf("numbers %d to %d: %s", e.From, e.To, e.Why)
	default:
		text := show(e.Text)
		if e.By != "" {
			text = strings.TrimPrefix(text+"; by "+show(e.By), "; ")
		}
		return text
	}
	if e.Why != "" {
		add("%s", show(e.Why))
	}
	if e.By != "" {
		add("%s", "by "+show(e.By))
	}
	return strings.TrimSuffix(who+": "+strings.Join(parts, ", "), ": ")
}

func ordinal(n int) string {
	switch {
	case n%100 >= 11 && n%100 <= 13:
	case n%10 == 1:
		return strconv.Itoa(n) + "st"
	case n%10 == 2:
		return strconv.Itoa(n) + "nd"
	case n%10 == 3:
		return strconv.Itoa(n) + "rd"
	}
	return strconv.Itoa(n) + "th"
}
