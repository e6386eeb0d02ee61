package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/jail"
	"bailiff/pkg/replay"
)

// sweepMost is how many combinations are tried in one pass: each takes as much memory as a jail.
const sweepMost = 100

// sweepKeys are what can be swept, in the order of the table.
var sweepKeys = []string{"maxretry", "findtime", "bantime"}

// parseSweep reads KEY=VALUE,… into numbers, or seconds, by key.
func parseSweep(args []string) (map[string][]int64, error) {
	out := map[string][]int64{}
	all := 1
	for _, arg := range args {
		key, list, ok := strings.Cut(arg, "=")
		if !ok || !slices.Contains(sweepKeys, key) {
			return nil, usageError(fmt.Sprintf("--sweep %s: want KEY=VALUE,VALUE with one of %s", arg, strings.Join(sweepKeys, ", ")))
		}
		for _, text := range strings.Split(list, ",") {
			v, err := sweepValue(key, strings.TrimSpace(text))
			if err != nil {
				return nil, usageError(fmt.Sprintf("--sweep %s: %v", arg, err))
			}
			if !slices.Contains(out[key], v) {
				out[key] = append(out[key], v)
			}
		}
	}
	for _, list := range out {
		all *= len(list)
	}
	if all > sweepMost {
		return nil, usageError(fmt.Sprintf("--sweep: %d combinations, %d are the most", all, sweepMost))
	}
	return out, nil
}

func sweepValue(key, text string) (int64, error) {
	if key == "maxretry" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return 0, fmt.Errorf("maxretry %q: want 1 or more", text)
		}
		return int64(n), nil
	}
	d, err := config.ParseTime(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s %q: %w", key, text, err)
	case key == "findtime" && d <= 0:
		return 0, fmt.Errorf("findtime %q: want more than nothing", text)
	case d == 0:
		return 0, fmt.Errorf("bantime %q: want more than nothing, or -1 for ever", text)
	}
	return int64(max(d, -1)), nil
}

// combinations are the settings of a sweep; what it does not name is as in the jail.
func combinations(sweep map[string][]int64, c *config.Jail) (out []replay.Setting) {
	if len(sweep) == 0 {
		return nil
	}
	of := func(key string, own int64) []int64 {
		if list := sweep[key]; list != nil {
			return list
		}
		return []int64{own}
	}
	for _, retry := range of("maxretry", int64(c.MaxRetry)) {
		for _, find := range of("findtime", int64(c.FindTime)) {
			for _, ban := range of("bantime", int64(c.BanTime)) {
				out = append(out, replay.Setting{MaxRetry: int(retry), FindTime: time.Duration(find), BanTime: time.Duration(ban)})
			}
		}
	}
	return out
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
	fmt.Fprintln(t, "\tmaxretry\tfindtime\tbantime\tbans\taddresses\tlet through\tshut out\thurt\tusers\t")
	best, own := r.Best(), false
	row := func(mark string, o *replay.Outcome) {
		hurt, users := "?", "?"
		if r.KnowsLogins {
			hurt, users = grouped(int64(o.HurtAddresses)), grouped(int64(o.HurtUsers))
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", mark, o.MaxRetry, jail.Span(o.FindTime), banTime(o.BanTime),
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
		fmt.Fprintf(w, "; whom it hurts can't be told: the filter knows no successful logins (success, or <F-MLFGAINED>)\n")
	case r.Logins == 0:
		fmt.Fprintf(w, "; whom it hurts can't be told: no successful login is in the logs\n")
	case o.HurtAddresses > 0:
		fmt.Fprintf(w, "; every setting hurts somebody, this one the fewest: %s\n", hurt(o))
	default:
		fmt.Fprintf(w, ", and hurts nobody who logged in\n")
	}
}

func setting(s *replay.Setting) string {
	return fmt.Sprintf("maxretry %d, findtime %s, bantime %s", s.MaxRetry, jail.Span(s.FindTime), banTime(s.BanTime))
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

// jsonHurt is somebody who was hurt.
type jsonHurt struct {
	Address string    `json:"address"`
	Users   []string  `json:"users"`
	Banned  time.Time `json:"banned"`
	Login   time.Time `json:"login"`
}

// jsonOutcome is what came of a setting of a sweep.
type jsonOutcome struct {
	MaxRetry      int        `json:"maxretry"`
	FindTime      float64    `json:"findtime"` // seconds
	BanTime       float64    `json:"bantime"`  // seconds; -1: for ever
	Failures      int64      `json:"failures"`
	LetThrough    int64      `json:"let_through"`
	ShutOut       int64      `json:"shut_out"`
	Bans          int64      `json:"ban_count"`
	Banned        int64      `json:"banned"`
	HurtAddresses int        `json:"hurt_addresses"`
	HurtUsers     int        `json:"hurt_users"`
	Hurt          []jsonHurt `json:"hurt"`
}

func (p *replayJSON) hurt(o *replay.Outcome) []jsonHurt {
	out := []jsonHurt{}
	for _, h := range o.Hurt {
		out = append(out, jsonHurt{h.Addr.String(), append([]string{}, h.Users...), h.Ban.In(p.o.location), h.Login.In(p.o.location)})
	}
	return out
}

func (p *replayJSON) outcome(o *replay.Outcome) jsonOutcome {
	return jsonOutcome{
		o.MaxRetry, o.FindTime.Seconds(), max(o.BanTime.Seconds(), -1), o.Failures, o.LetThrough, o.ShutOut, o.Bans, o.Banned,
		o.HurtAddresses, o.HurtUsers, p.hurt(o),
	}
}
