package fleet

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// CountRule says when failures that several hosts have seen are a ban.
type CountRule struct {
	// Retry is how many failures within Find ban.
	Retry int
	Find  time.Duration
	// Ban is how long.
	Ban time.Duration
	// Hosts is how many hosts must have seen one at least, and Share how many count of one host: so no host
	// has anybody banned by what it makes up.
	Hosts, Share int
}

// Bounds of a Counter. A host that tells more than its own is not counted further; others are.
const (
	countHostMost  = 10_000  // addresses of one host
	countMost      = 200_000 // of all hosts together
	countLiftsMost = 256     // lifts of networks that are remembered
	// countSlack is by how much a failure must be later than a lift: ages are whole seconds.
	countSlack = 1000
)

// Counter counts failures over all hosts, by what each tells of its own. It belongs to one goroutine; its clock is an argument:
// milliseconds of any clock that only goes forward.
type Counter struct {
	rules   map[string]CountRule
	at      map[countKey]*counted
	hosts   map[string]int // how many addresses there are of each
	pairs   int
	lifts   []countLift
	due     map[countKey]bool
	refused uint64
}

type countKey struct {
	group  string
	prefix netip.Prefix
}

// counted is what is known of an address. No failure counts that is not later than from: it was lifted, or banned, then.
type counted struct {
	from int64
	by   []countedBy
}

// countedBy is one host's: times of its run, and of runs before, the newest first, and no more than its share.
type countedBy struct {
	host, run     string
	times, before []int64
}

type countLift struct {
	countKey
	at int64
}

// NewCounter returns one that has counted nothing.
func NewCounter() *Counter {
	return &Counter{at: map[countKey]*counted{}, hosts: map[string]int{}, due: map[countKey]bool{}}
}

// Set has it go by other rules, by groups. What it has counted stays.
func (c *Counter) Set(rules map[string]CountRule) { c.rules = rules }

// Rule is that of a group.
func (c *Counter) Rule(group string) (CountRule, bool) {
	r, ok := c.rules[group]
	return r, ok
}

// Add takes what a host tells of an address; false: there is no room.
func (c *Counter) Add(now int64, host, run, group string, of FailuresOf) bool {
	rule, ok := c.rules[group]
	if !ok {
		return false
	}
	k := countKey{group, of.Prefix}
	r := c.at[k]
	i := -1
	if r != nil {
		i = slices.IndexFunc(r.by, func(b countedBy) bool { return b.host == host })
	}
	if len(of.Ages) == 0 {
		if i >= 0 {
			c.drop(k, r, i)
		}
		return true
	}
	times := make([]int64, 0, min(len(of.Ages), rule.Share))
	for _, age := range of.Ages {
		if len(times) < rule.Share && age*1000 < rule.Find.Milliseconds() {
			times = append(times, now-age*1000)
		}
	}
	if i < 0 {
		if len(times) == 0 {
			return true
		}
		if c.hosts[host] >= countHostMost || c.pairs >= countMost {
			c.refused++
			return false
		}
		if r == nil {
			r = &counted{}
			c.at[k] = r
		}
		r.by = append(r.by, countedBy{host: host, run: run})
		i = len(r.by) - 1
		c.hosts[host]++
		c.pairs++
	}
	b := &r.by[i]
	if b.run != run {
		b.before = newest(b.times, b.before, rule.Share)
		b.run = run
	}
	b.times = times
	if v := c.sum(now, k, r, rule); v.Failures >= rule.Retry && len(v.By) >= rule.Hosts {
		c.due[k] = true
	}
	return true
}

// newest are the newest of two lists, n at the most.
func newest(a, b []int64, n int) []int64 {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y int64) int { return cmp.Compare(y, x) })
	return slices.Clip(all[:min(len(all), n)])
}

func (c *Counter) drop(k countKey, r *counted, i int) {
	c.leave(r.by[i].host)
	r.by = slices.Delete(r.by, i, i+1)
	if len(r.by) == 0 && r.from == 0 {
		delete(c.at, k)
	}
}

func (c *Counter) leave(host string) {
	c.pairs--
	if c.hosts[host]--; c.hosts[host] == 0 {
		delete(c.hosts, host)
	}
}

// Verdict is what was counted of an address.
type Verdict struct {
	Group    string
	Prefix   netip.Prefix
	Failures int
	// By are the hosts that have seen some, and how many of each count, by name.
	By []CountedBy
}

// CountedBy is how many failures count of a host.
type CountedBy struct {
	Host     string
	Failures int
}

// Text says who has counted what in no more than a jail's name has.
func (v *Verdict) Text() string {
	var out strings.Builder
	for i, b := range v.By {
		more := fmt.Sprintf("+%d", len(v.By)-i)
		one := fmt.Sprintf("%s:%d ", b.Host, b.Failures)
		if out.Len()+len(one)+len(more) > textMost {
			out.WriteString(more)
			break
		}
		out.WriteString(one)
	}
	return strings.TrimSpace(out.String())
}

func (c *Counter) sum(now int64, k countKey, r *counted, rule CountRule) Verdict {
	v := Verdict{Group: k.group, Prefix: k.prefix}
	from := c.from(k, r, now, rule)
	for i := range r.by {
		b := &r.by[i]
		n := 0
		for _, list := range [][]int64{b.times, b.before} {
			for _, t := range list {
				if t > from {
					n++
				}
			}
		}
		if n > 0 {
			v.By = append(v.By, CountedBy{b.host, min(n, rule.Share)})
			v.Failures += min(n, rule.Share)
		}
	}
	slices.SortFunc(v.By, func(a, b CountedBy) int { return strings.Compare(a.Host, b.Host) })
	return v
}

// from is the time behind which failures count.
func (c *Counter) from(k countKey, r *counted, now int64, rule CountRule) int64 {
	from := now - rule.Find.Milliseconds()
	if r.from != 0 {
		from = max(from, r.from+countSlack)
	}
	for _, l := range c.lifts {
		if l.at+countSlack > from && l.holds(k) {
			from = l.at + countSlack
		}
	}
	return from
}

func (k countKey) holds(other countKey) bool {
	return k.group == other.group && k.prefix.Bits() <= other.prefix.Bits() && k.prefix.Contains(other.prefix.Addr())
}

// Due are those who are to be banned now, some at the most. They are told again until Done.
func (c *Counter) Due(now int64, some int) (out []Verdict) {
	for k := range c.due {
		if len(out) == some {
			break
		}
		r, rule := c.at[k], c.rules[k.group]
		if r != nil && rule.Retry > 0 {
			if v := c.sum(now, k, r, rule); v.Failures >= rule.Retry && len(v.By) >= rule.Hosts {
				out = append(out, v)
				continue
			}
		}
		delete(c.due, k)
	}
	return out
}

// Done has failures of an address, or of those in a network, count no more that are not later: they have led to a ban, or were
// lifted.
func (c *Counter) Done(now int64, group string, p netip.Prefix) {
	k := countKey{group, p}
	if _, counts := c.rules[group]; !counts {
		return
	}
	if !p.IsSingleIP() {
		c.lifts = append(c.lifts, countLift{k, now})
		if over := len(c.lifts) - countLiftsMost; over > 0 {
			c.lifts = slices.Delete(c.lifts, 0, over)
		}
	}
	delete(c.due, k)
	r := c.at[k]
	if r == nil {
		if len(c.at) >= 2*countMost {
			return
		}
		r = &counted{}
		c.at[k] = r
	}
	r.from = now
	for i := range r.by {
		c.leave(r.by[i].host)
	}
	r.by = nil
}

// Forget takes back all that a host has told.
func (c *Counter) Forget(host string) {
	for k, r := range c.at {
		if i := slices.IndexFunc(r.by, func(b countedBy) bool { return b.host == host }); i >= 0 {
			c.drop(k, r, i)
		}
	}
}

// Sweep looks at some addresses and forgets what counts no more.
func (c *Counter) Sweep(now int64, some int) {
	for k, r := range c.at { // from anywhere
		if some--; some < 0 {
			break
		}
		rule, find := c.rules[k.group], FindMost.Milliseconds()
		if rule.Find > 0 {
			find = rule.Find.Milliseconds()
		}
		old := func(t int64) bool { return t <= now-find }
		r.by = slices.DeleteFunc(r.by, func(b countedBy) bool {
			over := rule.Retry == 0 || !slices.ContainsFunc(b.times, func(t int64) bool { return !old(t) }) && !slices.ContainsFunc(b.before, func(t int64) bool { return !old(t) })
			if over {
				c.leave(b.host)
			}
			return over
		})
		if len(r.by) == 0 && (r.from == 0 || old(r.from+countSlack)) {
			delete(c.at, k)
		}
	}
	c.lifts = slices.DeleteFunc(c.lifts, func(l countLift) bool { return l.at <= now-FindMost.Milliseconds() })
}

// Held is how many addresses are counted of a host.
func (c *Counter) Held(host string) int { return c.hosts[host] }

// Len is how many addresses are held.
func (c *Counter) Len() int { return len(c.at) }

// Refused is how many addresses were not counted, since there was no room.
func (c *Counter) Refused() uint64 { return c.refused }
