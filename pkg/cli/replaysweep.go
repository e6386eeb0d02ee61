package cli

import (
	"cmp"
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
var sweepKeys = []string{"maxretry", "findtime", "bantime", "count.distinct", "success.forgives", "weight.N"}

// sweep is what is tried, by key: numbers, seconds, or 0 and 1.
type sweep struct {
	numbers  map[string][]int64
	distinct []string
	weights  []int // numbers of expressions, from 1, in the order in which they are named
}

// parseSweep reads KEY=VALUE,…
func parseSweep(args []string) (*sweep, error) {
	out := &sweep{numbers: map[string][]int64{}}
	for _, arg := range args {
		key, list, ok := strings.Cut(arg, "=")
		number, weight := strings.CutPrefix(key, "weight.")
		if !ok || !weight && !slices.Contains(sweepKeys, key) {
			return nil, usageError(fmt.Sprintf("--sweep %s: want KEY=VALUE,VALUE with one of %s", arg, strings.Join(sweepKeys, ", ")))
		}
		if weight {
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 {
				return nil, usageError(fmt.Sprintf("--sweep %s: want weight.N=VALUE,VALUE, with the number of a failregex as bailiff regex has it, from 1", arg))
			}
			if key = fmt.Sprintf("weight.%d", n); !slices.Contains(out.weights, n) {
				out.weights = append(out.weights, n)
			}
		}
		for _, text := range strings.Split(list, ",") {
			text = strings.TrimSpace(text)
			if key == "count.distinct" {
				if !slices.Contains(out.distinct, text) {
					out.distinct = append(out.distinct, text)
				}
				continue
			}
			v, err := sweepValue(key, text)
			if err != nil {
				return nil, usageError(fmt.Sprintf("--sweep %s: %v", arg, err))
			}
			if !slices.Contains(out.numbers[key], v) {
				out.numbers[key] = append(out.numbers[key], v)
			}
		}
	}
	all := max(len(out.distinct), 1)
	for _, list := range out.numbers {
		if all *= len(list); all > sweepMost {
			break
		}
	}
	if all > sweepMost {
		return nil, usageError(fmt.Sprintf("--sweep: %d combinations or more, %d are the most", all, sweepMost))
	}
	return out, nil
}

func (s *sweep) empty() bool { return len(s.numbers)+len(s.distinct) == 0 }

func sweepValue(key, text string) (int64, error) {
	if key == "maxretry" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return 0, fmt.Errorf("maxretry %q: want 1 or more", text)
		}
		return int64(n), nil
	}
	if key == "success.forgives" {
		switch text {
		case "true":
			return 1, nil
		case "false":
			return 0, nil
		}
		return 0, fmt.Errorf("success.forgives %q: want true or false", text)
	}
	if strings.HasPrefix(key, "weight.") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > config.WeightMost {
			return 0, fmt.Errorf("%s %q: want a whole number from 1 to %d", key, text, config.WeightMost)
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
func combinations(s *sweep, c *config.Jail) (out []replay.Setting, err error) {
	if s.empty() {
		return nil, nil
	}
	groups := config.Groups(&c.Filter)
	for _, name := range s.distinct {
		if name != "" && !slices.Contains(groups, name) {
			return nil, usageError(fmt.Sprintf("--sweep count.distinct: jail %s: no failregex captures %q: want %s", c.Name, name, cmp.Or(strings.Join(groups, ", "), "nothing: it captures only addresses")))
		}
	}
	if slices.Contains(s.numbers["success.forgives"], 1) && !config.KnowsLogins(&c.Filter) {
		return nil, usageError(fmt.Sprintf("--sweep success.forgives: jail %s: the filter knows no successful logins (success)", c.Name))
	}
	for _, n := range s.weights {
		if n > len(c.Filter.Failregex) {
			return nil, usageError(fmt.Sprintf("--sweep weight.%d: jail %s: the filter has %s", n, c.Name, counted(int64(len(c.Filter.Failregex)), "failregex")))
		}
	}
	out = []replay.Setting{{
		MaxRetry: c.MaxRetry, FindTime: c.FindTime, BanTime: c.BanTime,
		Distinct: c.Counting.Distinct, Forgives: c.Counting.Forgives, Weights: replay.WeightsOf(&c.Filter),
	}}
	each := func(n int, set func(*replay.Setting, int)) {
		if n == 0 {
			return
		}
		var all []replay.Setting
		for _, of := range out {
			for i := range n {
				one := of
				set(&one, i)
				all = append(all, one)
			}
		}
		out = all
	}
	numbers := func(key string, set func(*replay.Setting, int64)) {
		list := s.numbers[key]
		each(len(list), func(to *replay.Setting, i int) { set(to, list[i]) })
	}
	numbers("maxretry", func(s *replay.Setting, v int64) { s.MaxRetry = int(v) })
	numbers("findtime", func(s *replay.Setting, v int64) { s.FindTime = time.Duration(v) })
	numbers("bantime", func(s *replay.Setting, v int64) { s.BanTime = time.Duration(v) })
	each(len(s.distinct), func(to *replay.Setting, i int) { to.Distinct = s.distinct[i] })
	numbers("success.forgives", func(s *replay.Setting, v int64) { s.Forgives = v == 1 })
	for _, n := range s.weights {
		numbers(fmt.Sprintf("weight.%d", n), func(s *replay.Setting, v int64) {
			s.Weights = s.Weights.With(len(c.Filter.Failregex), n-1, int(v))
		})
	}
	return out, nil
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
	Distinct      string     `json:"count_distinct,omitempty"`
	Forgives      bool       `json:"success_forgives,omitempty"`
	Weights       []int      `json:"weights,omitempty"`  // of the failregexes; none: each counts once
	Forgiven      int64      `json:"forgiven,omitempty"` // how often failures were taken back
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
		o.MaxRetry, o.FindTime.Seconds(), max(o.BanTime.Seconds(), -1), o.Distinct, o.Forgives, o.Weights.Numbers(), o.Forgiven, o.Failures, o.LetThrough, o.ShutOut, o.Bans, o.Banned,
		o.HurtAddresses, o.HurtUsers, p.hurt(o),
	}
}
