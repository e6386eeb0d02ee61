package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/fleet"
)

// What a host tells of its part in a fleet.

func (g *global) fleetStatusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how this host stands with its fleet",
		Long: `Show how this host stands with its fleet: whether it is connected and since when, how far it has read, what waits to be
sent, which groups it shares, what it holds of each host, and what it has refused and why.

The exit status is 0 where it is connected, has read everything, and nothing waits for longer than a minute; 1 where
not, or where the host is in no fleet.`,
		Example: `  bailiff fleet status
  bailiff fleet status --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := g.client().Fleet()
			if err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(c.OutOrStdout(), s); err != nil {
					return err
				}
			} else {
				printOwnFleet(c.OutOrStdout(), &s)
			}
			late := s.WaitingSince != nil && time.Since(*s.WaitingSince) > time.Minute
			return failedIf(!s.Member || !s.Connected || !s.Complete || late)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// perhapsGroup says what can be asked of a group of the fleet, where somebody takes it for a jail.
func (g *global) perhapsGroup(name string, err error) error {
	group, ok := strings.CutPrefix(name, config.FleetSets)
	if !ok {
		return err
	}
	s, asked := g.client().Fleet()
	if asked != nil || !slices.ContainsFunc(s.Groups, func(one control.FleetGroup) bool { return one.Name == group }) {
		return err
	}
	return failed("%s is no jail but a group of the fleet: bailiff fleet status shows how many it shuts out, bailiff events --jail %[1]s who was banned and lifted in it, bailiff why ADDRESS by whom", name)
}

// fleetLine is how a host stands with its fleet, in a line.
func fleetLine(s *control.FleetStatus) string {
	if !s.Member {
		if s.Problem != "" {
			return "fleet: " + s.Problem
		}
		return "fleet: this host is in none (bailiff fleet join brings it into one)"
	}
	text := "fleet: " + s.Host + ", "
	if s.Connected {
		text += "connected since " + s.Since.Local().Format(timeLayout)
	} else {
		text += fmt.Sprintf("not connected since %s: %s", s.Since.Local().Format(timeLayout), plainly(s.Connection))
	}
	n := 0
	for _, g := range s.Groups {
		n += g.InForce
	}
	text += fmt.Sprintf("; %d bans in force", n)
	if s.QuietSince != nil {
		text += "; nothing from the hub since " + s.QuietSince.Local().Format(timeLayout)
	} else if s.Connected && !s.Complete {
		text += fmt.Sprintf("; %d entries not read yet", s.Lag)
	}
	if s.WaitingSince != nil {
		text += fmt.Sprintf("; %d wait to be sent since %s", s.Waiting, s.WaitingSince.Local().Format(timeLayout))
	}
	return text
}

func printOwnFleet(w io.Writer, s *control.FleetStatus) {
	fmt.Fprintln(w, fleetLine(s))
	if !s.Member {
		return
	}
	fmt.Fprintf(w, "hubs: %s (%s)\n", strings.Join(s.Hubs, " "), plainly(s.Connection))
	if s.Problem != "" && s.Problem != s.Connection {
		fmt.Fprintln(w, "problem:", plainly(s.Problem))
	}
	if s.ClockSteps > 0 {
		fmt.Fprintf(w, "clocks: the hub's or this host's was found to be set, %d times since the start (the log says when, and by how much)\n", s.ClockSteps)
	}
	if s.Unsaid > 0 {
		fmt.Fprintf(w, "%d bans were not sent, since too many waited\n", s.Unsaid)
	}
	if l := s.AllowList; l != nil {
		if l.Version == 0 {
			fmt.Fprintln(w, "allow-list: none yet")
		} else {
			fmt.Fprintf(w, "allow-list: version %d, %d addresses and networks\n", l.Version, len(l.IPs))
		}
		if l.Problem != "" {
			fmt.Fprintln(w, "allow-list:", plainly(l.Problem))
		}
	}
	if c := s.Counting; c != nil {
		fmt.Fprintf(w, "counted over all hosts (%s): %d failures of %d addresses reported, %d waiting", strings.Join(c.Groups, " "), c.Failures, c.Addresses, c.Waiting)
		if c.Lost > 0 {
			fmt.Fprintf(w, ", %d failures too many", c.Lost)
		}
		fmt.Fprintln(w)
		if c.Problem != "" {
			fmt.Fprintln(w, "not counted over all hosts:", plainly(c.Problem))
		}
	}
	if s.LiftsOthers {
		fmt.Fprintln(w, "it may lift what others ban")
	}
	for _, of := range []struct {
		what    string
		reasons map[string]uint64
	}{{"not taken of others", s.Refused}, {"not taken by the hub", s.RefusedByHub}} {
		var all []string
		for _, why := range sortedNames(of.reasons) {
			if n := of.reasons[why]; n > 0 {
				all = append(all, fmt.Sprintf("%s %d", plainly(why), n))
			}
		}
		if len(all) > 0 {
			fmt.Fprintf(w, "%s: %s\n", of.what, strings.Join(all, ", "))
		}
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "GROUP\tIN FORCE\tQUORUM\tPUBLISHES")
	for _, g := range s.Groups {
		in := "not enforced"
		if g.Enforce {
			in = fmt.Sprint(g.InForce)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", g.Name, in, g.Quorum, strings.Join(g.Publish, " "))
	}
	t.Flush()
	if len(s.Hosts) == 0 {
		return
	}
	fmt.Fprintln(w)
	fmt.Fprintln(t, "HOST\tBANS\tLIFTS\t")
	for _, h := range s.Hosts {
		note := ""
		switch {
		case h.Name == s.Host:
			note = "this host"
		case h.Name == fleet.Hub:
			note = "counted over all hosts"
		case h.Distrusted:
			note = "it left, or was taken out: what it had said is lifted"
		case !h.Accepted:
			note = "not accepted here"
		default:
			note = fmt.Sprintf("of %d at the most", s.Quota)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\n", plainly(h.Name), h.Bans, h.Lifts, note)
	}
	t.Flush()
}

func sortedNames(m map[string]uint64) (out []string) {
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// printFleetWords tells what hosts of the fleet have said of somebody.
func printFleetWords(w io.Writer, who string, words []control.FleetWord) {
	for _, f := range words {
		at := f.Made.Local().Format(timeLayout)
		of := ""
		if f.IP != strings.TrimSpace(who) {
			of = ", as " + plainly(f.IP)
		}
		switch {
		case f.Lift:
			fmt.Fprintf(w, "%s has lifted %s in the fleet%s (group %s), %s\n", f.Host, who, of, f.Group, at)
			continue
		case f.Gone:
			fmt.Fprintf(w, "%s has taken back its ban of %s in the fleet%s (group %s)\n", f.Host, who, of, f.Group)
			continue
		}
		comes := "it stands"
		switch {
		case f.Never:
			comes = "this host never shuts that out"
		case !f.Stands:
			comes = "it is lifted"
		case f.Quorum > 0:
			comes += quorumText(words, &f)
		}
		until := ""
		if f.Until != nil {
			until = ", until " + f.Until.Local().Format(timeLayout)
		}
		if f.Host == fleet.Hub {
			fmt.Fprintf(w, "the hub has banned %s in the fleet%s (group %s, %d failures on %d hosts: %s), %s%s: %s\n", who, of, f.Group, f.Failures, f.Count, plainly(f.Jail), at, until, comes)
			continue
		}
		why := fmt.Sprintf("jail %s, %d failures", plainly(f.Jail), f.Failures)
		if by, ok := (fleet.Entry{Jail: f.Jail}).Hand(); ok {
			why = "by hand, by " + plainly(by)
		}
		fmt.Fprintf(w, "%s has banned %s in the fleet%s (group %s, %s), %s%s: %s\n", f.Host, who, of, f.Group, why, at, until, comes)
	}
}

// quorumText says of a ban that stands whether so many hosts have made it as are wanted here; nothing: they have.
func quorumText(words []control.FleetWord, f *control.FleetWord) string {
	n, text := 0, fmt.Sprintf("; it is in force here when %d hosts have banned it (quorum), and ", f.Quorum)
	for _, o := range words {
		if o.Group == f.Group && o.IP == f.IP && o.Stands && o.Host != fleet.Hub {
			n++
		}
		if o.Group == f.Group && o.IP == f.IP && o.Stands && o.Host == fleet.Hub && int(o.Count) >= f.Quorum {
			return ""
		}
	}
	switch {
	case n >= f.Quorum:
		return ""
	case f.Host == fleet.Hub:
		return text + "it was counted on " + fmt.Sprint(f.Count)
	case n == 1:
		return text + "one has"
	}
	return fmt.Sprintf("%s%d have", text, n)
}
