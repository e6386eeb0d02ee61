package cli

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/control"
)

func (g *global) neverCommand() *cobra.Command {
	var asJSON bool
	var req control.NeverRequest
	c := &cobra.Command{
		Use:   "never [IP…]",
		Short: "Have addresses never banned: lift their bans, and make none",
		Long: `Have addresses or networks never banned, in all jails or in one, as if they stood in
ignoreip: their bans are lifted, also those of networks that hold them, lists leave them
out, and their failures are not counted. It outlasts a restart, and holds until --end takes
it back; bailiff why says who wanted it. Without addresses: whom that is about.`,
		Example: `  bailiff never 192.0.2.7
  bailiff never 203.0.113.0/24 --jail sshd
  bailiff never --end 192.0.2.7`,
		RunE: func(c *cobra.Command, ips []string) error {
			if len(ips) == 0 {
				if req.End || req.Jail != "" {
					return usageError("whom?")
				}
				return g.listNever(c, asJSON)
			}
			req.IPs = ips
			res, err := g.client().Never(req)
			if err != nil {
				return err
			}
			where := ""
			if req.Jail != "" {
				where = " in " + req.Jail
			}
			return tellDecided(c, res, asJSON, func(r *control.AllowResult) string {
				switch {
				case req.End:
					return " may be banned again" + where
				case r.Count > 0:
					return " unbanned" + in(r.Jails) + ", and never banned from now on" + where
				}
				return " is never banned from now on" + where
			})
		},
	}
	c.Flags().StringVarP(&req.Jail, "jail", "j", "", "only in this `jail`, or on this list")
	c.Flags().BoolVar(&req.End, "end", false, "take it back: they may be banned again")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (g *global) listNever(c *cobra.Command, asJSON bool) error {
	list, err := g.client().Nevers()
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), list)
	}
	if len(list) == 0 {
		fmt.Fprintln(c.OutOrStdout(), "nobody is kept from being banned by bailiff never")
		return nil
	}
	t := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "IP\tJAIL\tSINCE\tBY")
	for _, n := range list {
		where := n.Jail
		if where == "" {
			where = "(all)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", n.IP, plainly(where), n.Since.Local().Format(time.DateTime), plainly(n.By))
	}
	return t.Flush()
}
