package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/ban"
)

// Networks says what is banned in place of a single address.
type Networks struct {
	// Prefix4 and Prefix6 are the lengths of the networks that are counted and
	// banned for their addresses: 32 and 128 are the addresses themselves.
	Prefix4, Prefix6 int
	// Aggregate is how many bans within one /24 or /48 become one of it; 0: never.
	Aggregate int
}

// Networks that ban.aggregate bans as a whole.
const (
	AggregateBits4 = 24
	AggregateBits6 = 48
)

// IncreaseKeys are the family of bantime.increment.
var IncreaseKeys = []string{
	"bantime.increment", "bantime.factor", "bantime.formula", "bantime.multipliers", "bantime.maxtime", "bantime.rndtime", "bantime.overalljails",
}

// ParseIncrease reads the family of bantime.increment; nil if that is off. get
// tells what is set, fail is told of mistakes.
func ParseIncrease(get func(key string) string, fail func(key string, err error)) *ban.Increase {
	if !Truth(get("bantime.increment")) {
		return nil
	}
	i := &ban.Increase{
		Factor: strings.TrimSpace(get("bantime.factor")), Formula: strings.TrimSpace(get("bantime.formula")),
		OverallJails: Truth(get("bantime.overalljails")),
	}
	for _, e := range []struct{ key, text string }{{"bantime.factor", i.Factor}, {"bantime.formula", i.Formula}} {
		if e.text == "" {
			continue
		}
		if _, err := ban.ParseFormula(e.text); err != nil {
			fail(e.key, fmt.Errorf("%s: %w", e.key, err))
		}
	}
	for _, m := range strings.Fields(get("bantime.multipliers")) {
		n, err := strconv.ParseInt(m, 10, 64)
		if err != nil || n < 0 {
			fail("bantime.multipliers", fmt.Errorf("bantime.multipliers: %q is no number", m))
			break
		}
		i.Multipliers = append(i.Multipliers, n)
	}
	span := func(key string) time.Duration {
		text := get(key)
		if text == "" {
			return 0
		}
		d, err := ParseTime(text)
		if err == nil && d < 0 {
			err = fmt.Errorf("%s is no time", text)
		}
		if err != nil {
			fail(key, fmt.Errorf("%s: %w", key, err))
		}
		return d
	}
	i.MaxTime, i.Random = span("bantime.maxtime"), span("bantime.rndtime")
	return i
}

// check bounds the lengths: a network wider than these holds people who have
// nothing to do with each other.
func (n *Networks) check(fail func(key string, err error)) {
	for _, p := range []struct {
		key         string
		bits        int
		least, most int
	}{{"ban.prefix4", n.Prefix4, 8, 32}, {"ban.prefix6", n.Prefix6, 32, 128}} {
		if p.bits < p.least || p.bits > p.most {
			fail(p.key, fmt.Errorf("%s %d: want %d to %d", p.key, p.bits, p.least, p.most))
		}
	}
	if n.Aggregate < 0 || n.Aggregate == 1 {
		fail("ban.aggregate", fmt.Errorf("ban.aggregate %d: want 2 or more, or 0 for never", n.Aggregate))
	}
}

// bans is how bans grow, and what they are of.
func (l *loader) bans(r *resolver, j *Jail) {
	at := map[string]*layer{}
	get := func(key string) string {
		text, of := r.text(key)
		at[key] = of
		return text
	}
	fail := func(key string, err error) { r.fail(at[key], key, err) }
	j.Increase = ParseIncrease(get, fail)
	j.MaxMatches = j.MaxRetry
	if most := pick(r, keyMaxMatches); most.at != nil {
		if j.MaxMatches = most.v; most.v < 0 {
			r.fail(most.at, "maxmatches", fmt.Errorf("maxmatches %d: want 0 or more", most.v))
		}
	}
	number := func(k *jailKey[int]) int {
		v := pick(r, k)
		at[k.name] = v.at
		return v.v
	}
	j.Networks = Networks{number(keyBanPrefix4), number(keyBanPrefix6), number(keyBanAggregate)}
	j.Networks.check(fail)
}
