package ban

import (
	"math"
	"time"
)

// Increase is the family of bantime.increment as it is configured: who was banned
// before is banned for longer.
type Increase struct {
	Factor      string  // bantime.factor; empty: 1
	Formula     string  // bantime.formula; empty: fail2ban's, which doubles the time with each ban
	Multipliers []int64 // bantime.multipliers; not empty: in place of the formula
	MaxTime     time.Duration
	Random      time.Duration // bantime.rndtime: up to so much more, so that nobody can wait for the end
	// OverallJails counts the bans of all jails.
	OverallJails bool
}

// Growth computes ban times.
type Growth struct {
	Increase
	factor, formula *Formula
}

// Compile reads the expressions.
func (i Increase) Compile() (*Growth, error) {
	g := &Growth{Increase: i}
	for _, e := range []struct {
		text string
		to   **Formula
	}{{i.Factor, &g.factor}, {i.Formula, &g.formula}} {
		if e.text == "" {
			continue
		}
		var err error
		if *e.to, err = ParseFormula(e.text); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// longest is what a formula may come to; more is as good as for ever.
const longest = 100 * 365 * 24 * time.Hour

// doubling is fail2ban's own formula.
func doubling(x *formulaArgs) float64 {
	return x.time * math.Ldexp(1, int(min(x.count, 20))) * x.factor
}

// BanTime returns for how long an address is banned that was banned count times
// before. random is from 0 to 1. An error says what the formula can't do; the
// time is base then.
func (g *Growth) BanTime(base time.Duration, count int, random float64) (time.Duration, error) {
	if count <= 0 || base < 0 {
		return base, nil
	}
	args := &formulaArgs{time: base.Seconds(), count: float64(count), factor: 1}
	if g.factor != nil {
		f, err := g.factor.value(&formulaArgs{factor: 1})
		if err != nil {
			return base, err
		}
		args.factor = f
	}
	var seconds float64
	switch {
	case len(g.Multipliers) > 0:
		seconds = args.time * args.factor * float64(g.Multipliers[min(count, len(g.Multipliers)-1)])
	case g.formula != nil:
		v, err := g.formula.value(args)
		if err != nil {
			return base, err
		}
		seconds = math.Max(args.time, v)
	default:
		seconds = math.Max(args.time, doubling(args))
	}
	if g.MaxTime > 0 {
		seconds = math.Min(seconds, g.MaxTime.Seconds())
	}
	seconds += random * g.Random.Seconds()
	d := longest
	if seconds < longest.Seconds() {
		d = time.Duration(seconds * float64(time.Second))
	}
	// As in fail2ban, a ban is only ever made longer.
	return max(d, base), nil
}

// Retries is how many failures one counts for when its address was banned count
// times before: 1, 2, 3, 5, 9 …, at most maxRetry.
func Retries(count, maxRetry int) int {
	if count <= 0 {
		return 1
	}
	return min(1<<min(count, 20)/2+1, maxRetry)
}
