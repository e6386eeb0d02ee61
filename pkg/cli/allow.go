package cli

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

func (g *global) allowCommand() *cobra.Command {
	var asJSON bool
	var req control.AllowRequest
	last := "1h"
	c := &cobra.Command{
		Use:   "allow [IP…]",
		Short: "Let addresses in for a while: lift their bans, and make none",
		Long: `Lift the bans of addresses or networks in all jails, also those of networks that hold
them, leave them out of lists, and ban them no more for a while. Their failures are
counted meanwhile, and the log says when they would have been banned. It outlasts a
restart. Without addresses: who is let in, until when. For good: bailiff never, ignoreip.`,
		Example: `  bailiff allow 192.0.2.7
  bailiff allow 192.0.2.7 --for 2h
  bailiff allow --end 192.0.2.7`,
		RunE: func(c *cobra.Command, ips []string) error {
			if len(ips) == 0 {
				if req.End || c.Flags().Changed("for") {
					return usageError("whom?")
				}
				return g.listAllowed(c, asJSON)
			}
			d, err := config.ParseTime(last)
			if err != nil || d <= 0 {
				return usageError(fmt.Sprintf("--for %s: want a time such as 30m, 2h, 1d", last))
			}
			if d > control.AllowLongest {
				return usageError(fmt.Sprintf("--for %s: at most %dd; for good: bailiff never", last, int(control.AllowLongest.Hours()/24)))
			}
			if req.End && c.Flags().Changed("for") {
				return usageError("--end or --for?")
			}
			req.IPs, req.Seconds = ips, d.Seconds()
			res, err := g.client().Allow(req)
			if err != nil {
				return err
			}
			return tellDecided(c, res, asJSON, func(r *control.AllowResult) string {
				switch {
				case r.Until == nil:
					return " is no longer let in"
				case r.Count > 0:
					return fmt.Sprintf(" unbanned%s, and let in until %s", in(r.Jails), r.Until.Local().Format(time.DateTime))
				}
				return " is let in until " + r.Until.Local().Format(time.DateTime)
			})
		},
	}
	c.Flags().StringVar(&last, "for", last, "for how `long`: 30m, 2h, 1d, at most 366d")
	c.Flags().BoolVar(&req.End, "end", false, "let them in no more")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// tellDecided prints what came of it that addresses are let in, or never banned; what is what is said of one
// for whom it was done.
func tellDecided(c *cobra.Command, res []control.AllowResult, asJSON bool, what func(*control.AllowResult) string) error {
	out := c.OutOrStdout()
	if asJSON {
		if err := printJSON(out, res); err != nil {
			return err
		}
	}
	bad := false
	for _, r := range res {
		also := r.AlsoLifted()
		if also != "" {
			also = "; " + also
		}
		switch {
		case r.Error != "":
			bad = true
			fmt.Fprintln(c.ErrOrStderr(), "bailiff:", r.Error)
		case !asJSON:
			fmt.Fprintf(out, "%s%s%s\n", plainly(r.IP), what(&r), also+later(r.Pending))
		}
		if len(r.By) > 0 {
			bad = true
			tellStill(c.ErrOrStderr(), r.IP, r.Still())
		}
	}
	return failedIf(bad)
}

func (g *global) listAllowed(c *cobra.Command, asJSON bool) error {
	list, err := g.client().Allowed()
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), list)
	}
	if len(list) == 0 {
		fmt.Fprintln(c.OutOrStdout(), "nobody is let in by bailiff allow")
		return nil
	}
	t := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "IP\tUNTIL")
	for _, a := range list {
		fmt.Fprintf(t, "%s\t%s\n", a.IP, a.Until.Local().Format(time.DateTime))
	}
	return t.Flush()
}
