package cli

import (
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"bailiff/pkg/control"
	"bailiff/pkg/iplist"
)

func (g *global) unbanCommand() *cobra.Command {
	var req control.UnbanRequest
	var asJSON, inside bool
	c := &cobra.Command{
		Use:   "unban IP… | --all",
		Short: "Lift bans, in the kernel and in the daemon's memory",
		Long: `Lift the bans of addresses or networks, in all jails or in one. The failures
that are counted of them are forgotten, too. An address that is not banned is
said, and so is one that stays shut out, since a network that holds it is banned or
a list has it, with the remedy; the exit status is 1 then.

In a fleet (docs/fleet.md), what is known here to be banned there is lifted on all its hosts, too, if the hub lets this host
do so; a ban of this host's own is taken back in any case. With --fleet, it is lifted there alone, whether a ban is known
here or not.`,
		Example: `  bailiff unban 192.0.2.7
  bailiff unban 192.0.2.7 --jail django-auth
  bailiff unban --inside 192.0.2.0/24
  bailiff unban --fleet 192.0.2.7
  bailiff unban --all`,
		Args: func(c *cobra.Command, given []string) error {
			if req.All {
				return noArgs(c, given)
			}
			return args(1, -1)(c, given)
		},
		RunE: func(c *cobra.Command, args []string) error {
			req.IPs = args
			client := g.client()
			res, err := client.Unban(req)
			if err != nil {
				return err
			}
			if inside {
				if res, err = unbanInside(client, res); err != nil {
					return err
				}
			}
			out := c.OutOrStdout()
			if asJSON {
				if err := printJSON(out, res); err != nil {
					return err
				}
			}
			bad := false
			for _, r := range res {
				switch {
				case r.Error != "":
					bad = true
					fmt.Fprintln(c.ErrOrStderr(), "bailiff:", r.Error)
				case req.All && !asJSON:
					fmt.Fprintf(out, "%d bans lifted%s%s\n", r.Count, in(r.Jails), later(r.Pending))
				case !req.All && len(r.Jails) == 0 && r.Pending != "":
					if !asJSON {
						fmt.Fprintf(out, "%s will be unbanned if it is banned%s\n", plainly(r.IP), later(r.Pending))
					}
				case !req.All && len(r.Jails) == 0 && req.Fleet && len(r.By) == 0:
					bad = true
					fmt.Fprintf(c.ErrOrStderr(), "bailiff: %s is not banned in the fleet by this host, and it may not lift what others ban\n", plainly(r.IP))
				case !req.All && len(r.Jails) == 0 && len(r.By) > 0:
					bad = true
					fmt.Fprintf(c.ErrOrStderr(), "bailiff: %s is not banned by itself, but %s\n", plainly(r.IP), r.Still())
				case !req.All && len(r.Jails) == 0:
					bad = true
					where := ""
					if req.Jail != "" {
						where = " in " + req.Jail
					}
					fmt.Fprintf(c.ErrOrStderr(), "bailiff: %s is not banned%s\n", plainly(r.IP), where)
				default:
					if !asJSON {
						fmt.Fprintf(out, "%s unbanned%s%s\n", plainly(r.IP), in(r.Jails), later(r.Pending))
					}
					if len(r.By) > 0 {
						bad = true
						tellStill(c.ErrOrStderr(), r.IP, r.Still())
					}
				}
			}
			return failedIf(bad)
		},
	}
	c.Flags().BoolVar(&req.All, "all", false, "lift all bans")
	c.Flags().BoolVar(&req.Fleet, "fleet", false, "on all hosts of the fleet, and in no jail")
	c.Flags().StringVar(&req.Group, "group", "", "with --fleet, only in this `group`")
	c.Flags().BoolVar(&inside, "inside", false, "of a network, lift the bans of addresses and networks inside it, too")
	c.Flags().StringVarP(&req.Jail, "jail", "j", "", "only in this `jail`")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// tellStill says what shuts somebody out who was let in.
func tellStill(w io.Writer, ip, still string) {
	fmt.Fprintf(w, "bailiff: %s is still shut out: it is %s\n", plainly(ip), still)
}

// unbanInside lifts the bans inside of networks that were asked for, too. What it returns is
// what is to be told: of a network that holds bans, those in its place.
func unbanInside(client *control.Client, res []control.UnbanResult) (out []control.UnbanResult, err error) {
	for _, r := range res {
		var still []control.Wider
		var lifted []control.UnbanResult
		for _, w := range r.By {
			if w.Inside == 0 {
				still = append(still, w)
				continue
			}
			network, err := netip.ParsePrefix(w.IP)
			if err != nil {
				still = append(still, w)
				continue
			}
			s, err := client.Jail(w.Jail)
			if err != nil {
				return nil, err
			}
			var ids []string
			for _, b := range s.Bans {
				if p, err := iplist.Parse(b.IP); err == nil && p.Bits() >= network.Bits() && network.Contains(p.Addr()) {
					ids = append(ids, b.IP)
				}
			}
			for some := range slices.Chunk(ids, 1000) {
				more, err := client.Unban(control.UnbanRequest{IPs: some, Jail: w.Jail})
				if err != nil {
					return nil, err
				}
				lifted = append(lifted, more...)
			}
		}
		if r.By = still; len(lifted) == 0 || len(r.Jails) > 0 || len(still) > 0 {
			out = append(out, r)
		}
		out = append(out, lifted...)
	}
	return out, nil
}
