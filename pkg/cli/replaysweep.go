package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"bailiff/pkg/jail"
	"bailiff/pkg/replay"
)

// sweepUsage says what of --sweep can't be.
func sweepUsage(err error) error {
	if e, ok := errors.AsType[*replay.SweepError](err); ok && e.Arg == "" {
		return usageError("--sweep: " + e.Text)
	}
	return usageError("--sweep " + err.Error())
}

// hurt says who was hurt.
func hurt(o *replay.Outcome) string {
	switch {
	case o.HurtAddresses == 0:
		return "nobody who logged in was banned within a day of it"
	case o.HurtUsers == 0:
		return addresses(int64(o.HurtAddresses)) + " logged in within a day of being banned"
	}
	return fmt.Sprintf("%s, %s, logged in within a day of being banned", addresses(int64(o.HurtAddresses)), counted(int64(o.HurtUsers), "user"))
}

// table prints what came of a sweep.
func (p *replayText) table(r *replay.Report) {
	w := p.w
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	counting := slices.ContainsFunc(append(slices.Clone(r.Sweep), r.Outcome), func(o replay.Outcome) bool { return countingOf(&o.Setting) != "" })
	as := func(text string) string {
		if !counting {
			return ""
		}
		return text + "\t"
	}
	fmt.Fprintln(t, "\tmaxretry\tfindtime\tbantime\t"+as("counting")+"bans\taddresses\tlet through\tshut out\thurt\tusers\t")
	best, own := r.Best(), false
	row := func(mark string, o *replay.Outcome) {
		hurt, users := "?", "?"
		if r.KnowsLogins {
			hurt, users = grouped(int64(o.HurtAddresses)), grouped(int64(o.HurtUsers))
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s%s\t%s\t%s\t%s\t%s\t%s\t\n", mark, o.MaxRetry, jail.Span(o.FindTime), banTime(o.BanTime), as(cmp.Or(countingOf(&o.Setting), "each")),
			grouped(o.Bans), grouped(o.Banned), grouped(o.LetThrough), grouped(o.ShutOut), hurt, users)
	}
	for i := range r.Sweep {
		o := &r.Sweep[i]
		mark := ""
		if o.Setting == r.Setting {
			mark, own = "now", true
		}
		if i == best {
			mark = strings.TrimSpace(mark + " best")
		}
		row(mark, o)
	}
	if !own {
		row("now", &r.Outcome)
	}
	_ = t.Flush() // into a buffer
	fmt.Fprintln(w)
	for i := range r.Sweep {
		if o := &r.Sweep[i]; o.HurtAddresses > 0 {
			fmt.Fprintf(w, "hurt by %s: %s\n", setting(&o.Setting), hurtList(o))
		}
	}
	o := &r.Sweep[best]
	fmt.Fprintf(w, "best: %s: shuts out %s of %s failures", setting(&o.Setting), grouped(o.ShutOut), grouped(o.Failures))
	switch {
	case !r.KnowsLogins:
		fmt.Fprintf(w, "; whom it hurts can't be determined: the filter knows no successful logins (success, or <F-MLFGAINED>)\n")
	case r.Logins == 0:
		fmt.Fprintf(w, "; whom it hurts can't be determined: no successful login is in the logs\n")
	case o.HurtAddresses > 0:
		fmt.Fprintf(w, "; every setting hurts somebody, this one the fewest: %s\n", hurt(o))
	default:
		fmt.Fprintf(w, ", and hurts nobody who logged in\n")
	}
}

func setting(s *replay.Setting) string {
	text := fmt.Sprintf("maxretry %d, findtime %s, bantime %s", s.MaxRetry, jail.Span(s.FindTime), banTime(s.BanTime))
	if c := countingOf(s); c != "" {
		text += ", " + c
	}
	return text
}

// countingOf says how a setting counts; empty: each failure once.
func countingOf(s *replay.Setting) string {
	var parts []string
	if s.Distinct != "" {
		parts = append(parts, "distinct "+s.Distinct)
	}
	if s.Forgives {
		parts = append(parts, "forgives")
	}
	for i := range len(s.Weights) {
		if s.Weights[i] != 1 {
			parts = append(parts, fmt.Sprintf("weight.%d %d", i+1, s.Weights[i]))
		}
	}
	return strings.Join(parts, ", ")
}

// hurtShown is how many addresses a line of text names.
const hurtShown = 5

func hurtList(o *replay.Outcome) string {
	var out []string
	for _, h := range o.Hurt[:min(len(o.Hurt), hurtShown)] {
		text := h.Addr.String()
		if len(h.Users) > 0 {
			quoted := make([]string, len(h.Users))
			for i, u := range h.Users {
				quoted[i] = visible(u)
			}
			text += " (" + strings.Join(quoted, ", ") + ")"
		}
		out = append(out, text)
	}
	if more := o.HurtAddresses - len(out); more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}
