package replay

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/config"
)

// Which settings are tried side by side.

// SweepMost is how many combinations are tried in one pass: each takes as much memory as a jail.
const SweepMost = 100

// SweepKeys are what can be swept, in the order of the table.
var SweepKeys = []string{"maxretry", "findtime", "bantime", "count.distinct", "success.forgives", "weight.N"}

// SweepError says what of a sweep can't be.
type SweepError struct {
	Arg  string // that is meant; empty: all of it
	Text string
}

func (e *SweepError) Error() string { return strings.TrimPrefix(e.Arg+": "+e.Text, ": ") }

// Sweep is what is tried, by key: numbers, seconds, or 0 and 1.
type Sweep struct {
	numbers  map[string][]int64
	distinct []string
	weights  []int // numbers of expressions, from 1, in the order in which they are named
}

// ParseSweep reads KEY=VALUE,… of some. The error is a *SweepError.
func ParseSweep(args []string) (*Sweep, error) {
	out := &Sweep{numbers: map[string][]int64{}}
	for _, arg := range args {
		key, list, ok := strings.Cut(arg, "=")
		number, weight := strings.CutPrefix(key, "weight.")
		if !ok || !weight && !slices.Contains(SweepKeys, key) {
			return nil, &SweepError{arg, fmt.Sprintf("want KEY=VALUE,VALUE with one of %s", strings.Join(SweepKeys, ", "))}
		}
		if weight {
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 {
				return nil, &SweepError{arg, "want weight.N=VALUE,VALUE, with the number of a failregex as bailiff regex has it, from 1"}
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
				return nil, &SweepError{arg, err.Error()}
			}
			if !slices.Contains(out.numbers[key], v) {
				out.numbers[key] = append(out.numbers[key], v)
			}
		}
	}
	all := max(len(out.distinct), 1)
	for _, list := range out.numbers {
		if all *= len(list); all > SweepMost {
			break
		}
	}
	if all > SweepMost {
		return nil, &SweepError{"", fmt.Sprintf("%d combinations or more, %d are the most", all, SweepMost)}
	}
	return out, nil
}

// Empty reports whether nothing is tried.
func (s *Sweep) Empty() bool { return len(s.numbers)+len(s.distinct) == 0 }

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

// Combinations are the settings of a sweep; what it does not name is as in the jail. The error is a *SweepError.
func (s *Sweep) Combinations(c *config.Jail) (out []Setting, err error) {
	if s.Empty() {
		return nil, nil
	}
	groups := config.Groups(&c.Filter)
	for _, name := range s.distinct {
		if name != "" && !slices.Contains(groups, name) {
			return nil, &SweepError{"count.distinct", fmt.Sprintf("jail %s: no failregex captures %q: want %s", c.Name, name, cmp.Or(strings.Join(groups, ", "), "nothing: it captures only addresses"))}
		}
	}
	if slices.Contains(s.numbers["success.forgives"], 1) && !config.KnowsLogins(&c.Filter) {
		return nil, &SweepError{"success.forgives", fmt.Sprintf("jail %s: the filter knows no successful logins (success)", c.Name)}
	}
	for _, n := range s.weights {
		if n > len(c.Filter.Failregex) {
			return nil, &SweepError{fmt.Sprintf("weight.%d", n), fmt.Sprintf("jail %s: there is no failregex of that number: the filter has %d", c.Name, len(c.Filter.Failregex))}
		}
	}
	out = []Setting{own(c)}
	each := func(n int, set func(*Setting, int)) {
		if n == 0 {
			return
		}
		var all []Setting
		for _, of := range out {
			for i := range n {
				one := of
				set(&one, i)
				all = append(all, one)
			}
		}
		out = all
	}
	numbers := func(key string, set func(*Setting, int64)) {
		list := s.numbers[key]
		each(len(list), func(to *Setting, i int) { set(to, list[i]) })
	}
	numbers("maxretry", func(s *Setting, v int64) { s.MaxRetry = int(v) })
	numbers("findtime", func(s *Setting, v int64) { s.FindTime = time.Duration(v) })
	numbers("bantime", func(s *Setting, v int64) { s.BanTime = time.Duration(v) })
	each(len(s.distinct), func(to *Setting, i int) { to.Distinct = s.distinct[i] })
	numbers("success.forgives", func(s *Setting, v int64) { s.Forgives = v == 1 })
	for _, n := range s.weights {
		numbers(fmt.Sprintf("weight.%d", n), func(s *Setting, v int64) {
			s.Weights = s.Weights.With(len(c.Filter.Failregex), n-1, int(v))
		})
	}
	return out, nil
}
