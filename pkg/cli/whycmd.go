package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/ban"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/jail"
)

func (g *global) whyCommand() *cobra.Command {
	from := bansFrom{global: g}
	var asJSON, isID bool
	var most int
	c := &cobra.Command{
		Use:   "why ADDRESS|LINE",
		Short: "Explain why an address is banned or not, or what the jails make of a line",
		Long: `Show what is known of an address, a network, or an id that a filter found: what holds
now (its bans, the kernel's sets and rules that hold it, the lists that it stands in, what
never bans it, the failures that are counted), and what has happened to it, in order.

Where no daemon answers, what has happened is read from the files beside its database,
and it is said that nothing is known of what holds now.

What has a blank in it is a line of a log: it is shown to each enabled jail, which says
whether it is a failure that counts, and why not, as explain does. Of several lines the
last one is meant. The exit code is 1 then if it counts for none. An id that has a blank
in it wants --id.`,
		Example: `  bailiff why 192.0.2.7
  bailiff why 2001:db8::/64 --json
  bailiff why "$(grep 192.0.2.7 /var/log/auth.log | tail -1)"`,
		Args: args(1, 1),
		RunE: func(c *cobra.Command, given []string) error {
			if strings.ContainsAny(strings.TrimSpace(given[0]), " \t\n") && !isID {
				return g.whyOfLine(c.OutOrStdout(), from.config, given[0], asJSON, most)
			}
			where, err := from.find()
			if err != nil {
				return err
			}
			var w control.Why
			if where.client != nil {
				w, err = where.client.Why(given[0])
			} else {
				w, err = whyOfFiles(where.database, given[0], c.ErrOrStderr())
			}
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), w)
			}
			printWhy(c.OutOrStdout(), &w)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&isID, "id", false, "it is an id, though it has a blank in it")
	c.Flags().IntVarP(&most, "number", "n", 1, "of a line: how many expressions that do not match are listed of a jail; 0: all")
	from.flags(c)
	return c
}

// whyOfFiles tells what the files beside a database know.
func whyOfFiles(database, text string, complaints io.Writer) (w control.Why, err error) {
	id, err := ban.ParseID(text)
	if err != nil {
		return w, err
	}
	r, err := events.Files(database, 0, func(text string) { fmt.Fprintln(complaints, "bailiff:", text) })
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, events.ErrNone) {
		return w, failed("no daemon answers, and no events are kept beside %s", database)
	}
	if err != nil {
		return w, err
	}
	t, err := events.TimelineOf(r, ban.Name(id), control.EventsMost, time.Now())
	w = control.Why{
		IP: ban.Name(id), Name: id.IsName(), Banned: []jail.BanStatus{}, Kernel: []control.WhyKernel{}, Failures: []control.WhyFailures{},
		Lists: []control.Wider{}, Never: []control.WhyNever{}, Events: append([]events.Event{}, t.Events...), Omitted: t.Omitted,
		Problems: []string{"no daemon answers: what holds now is not known, and what has happened is read from the files beside " + database},
	}
	if !t.Oldest.IsZero() {
		w.Oldest = &t.Oldest
	}
	return w, err
}

func printWhy(out io.Writer, w *control.Why) {
	who := plainly(w.IP)
	for _, p := range w.Problems {
		fmt.Fprintln(out, "not known:", p)
	}
	bans := func(list []jail.BanStatus, what string) {
		for _, b := range list {
			until := "for ever"
			if b.End != nil {
				until = "until " + b.End.Local().Format(timeLayout)
			}
			as := ""
			if b.IP != w.IP {
				as = ", as " + plainly(b.IP)
			}
			fmt.Fprintf(out, "%s in %s%s, since %s, %s\n", what, b.Jail, as, b.Start.Local().Format(timeLayout), until)
		}
	}
	bans(w.Banned, who+" is banned")
	bans(w.Would, who+" would be banned")
	for _, i := range w.Inside {
		fmt.Fprintf(out, "%d bans inside %s in %s\n", i.Inside, who, i.Jail)
	}
	for _, k := range w.Kernel {
		left := "for ever"
		if k.Left > 0 {
			left = "for " + time.Duration(k.Left*1e9).Round(time.Second).String() + " more"
		}
		fmt.Fprintf(out, "the kernel shuts %s out %s: %s\n", k.IP, left, k.Rule)
	}
	for _, l := range w.Lists {
		fmt.Fprintf(out, "%s is %s\n", who, l.String())
	}
	printFleetWords(out, strings.TrimSpace(who), w.Fleet)
	for _, n := range w.Never {
		fmt.Fprintf(out, "%s is never banned%s: %s\n", who, in(n.Jails), n.Why)
	}
	for _, f := range w.Failures {
		fmt.Fprintf(out, "%d of %d failures of %s are counted in %s, the last of %s\n", len(f.Times), f.MaxRetry, plainly(f.IP), f.Jail, f.Times[len(f.Times)-1].Local().Format(timeLayout))
	}
	if len(w.Banned)+len(w.Would)+len(w.Inside)+len(w.Kernel)+len(w.Lists)+len(w.Never)+len(w.Failures)+len(w.Problems) == 0 {
		fmt.Fprintf(out, "%s is not banned, in no set and on no list, and no failure of it is counted\n", who)
	}
	fmt.Fprintln(out)
	switch {
	case len(w.Events) == 0 && w.Oldest == nil:
		fmt.Fprintln(out, "no events are kept")
		return
	case len(w.Events) == 0:
		fmt.Fprintf(out, "nothing has happened to it since %s, when the events begin that are kept\n", w.Oldest.Local().Format(timeLayout))
		return
	case w.Omitted > 0:
		fmt.Fprintf(out, "%d events before these are not shown: bailiff events --ip %s\n", w.Omitted, strings.TrimSpace(who))
	}
	for i := range w.Events {
		fmt.Fprintln(out, eventLine(&w.Events[i]))
	}
}
