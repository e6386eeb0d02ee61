// Package chart counts failures and bans over time, by network and by the user who was tried, in
// memory that is bounded: what `bailiff replay` and `bailiff report` draw. It knows nothing of
// where they come from.
//
//	var c chart.Chart
//	c.Failure(netip.MustParseAddr("192.0.2.7"), "root", at)
//	c.At(at).Bans++
//	c.Networks(10) // 192.0.2.0/24, 1
package chart

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Chart is what a report is drawn from: failures and bans over time, who made most of them, and
// whom they tried. It takes as much for ten years as for a day.
type Chart struct {
	Begin time.Time // of the first of Times
	Width time.Duration
	Times []Bucket

	networks, users Counts
}

// Bucket is what was in a time as long as Width.
type Bucket struct{ Failures, Bans int64 }

// Count is a name, and how often it was met.
type Count struct {
	Name string `json:"name"`
	N    int64  `json:"count"`
}

const (
	bucketsMost = 120
	countsMost  = 10_000 // names at hand; the rarest half is forgotten beyond them
	userBytes   = 64     // of a name
)

// At is the bucket of a time. Where there are too many, two are made one.
func (c *Chart) At(t time.Time) *Bucket {
	if c.Width == 0 {
		c.Begin, c.Width = t.Truncate(time.Minute), time.Minute
	}
	n := int64(max(t.Sub(c.Begin), 0) / c.Width)
	for n >= bucketsMost {
		half := c.Times[:0]
		for i := 0; i < len(c.Times); i += 2 {
			b := c.Times[i]
			if i+1 < len(c.Times) {
				b.Failures += c.Times[i+1].Failures
				b.Bans += c.Times[i+1].Bans
			}
			half = append(half, b)
		}
		clear(c.Times[len(half):])
		c.Times, c.Width = half, 2*c.Width
		n /= 2
	}
	for int64(len(c.Times)) <= n {
		c.Times = append(c.Times, Bucket{})
	}
	return &c.Times[n]
}

// Range has the chart span a time from its first bucket on, in buckets of whole minutes.
func (c *Chart) Range(from, to time.Time) {
	c.Begin, c.Width = from.Truncate(time.Minute), time.Minute
	for to.Sub(c.Begin) > bucketsMost*c.Width {
		c.Width *= 2
	}
	if to.After(from) {
		c.At(to.Add(-1))
	}
}

// Failure counts one of an address or a network, which may be invalid, and of a user, who may be "".
func (c *Chart) Failure(who netip.Prefix, user string, at time.Time) {
	c.At(at).Failures++
	if n := Network(who); n.IsValid() {
		c.networks.Add(n.String(), 1)
	}
	if user != "" {
		c.users.Add(user[:min(len(user), userBytes)], 1)
	}
}

// Network is the one that an address is counted in: /24 of IPv4, /64 of IPv6, or one that is wider
// by itself.
func Network(who netip.Prefix) netip.Prefix {
	if !who.IsValid() {
		return netip.Prefix{}
	}
	bits := 64
	if who.Addr().Is4() {
		bits = 24
	}
	return netip.PrefixFrom(who.Addr(), min(bits, who.Bits())).Masked()
}

// Networks are those of most failures, and Users those who were tried most.
func (c *Chart) Networks(most int) []Count { return c.networks.Top(most) }
func (c *Chart) Users(most int) []Count    { return c.users.Top(most) }

// Counts counts names, the frequent ones: of 10,000, the rarer half is forgotten when one more comes.
type Counts struct {
	by        map[string]int64
	forgotten bool
}

// Add counts a name so many times.
func (c *Counts) Add(name string, n int64) {
	if c.by == nil {
		c.by = map[string]int64{}
	}
	if _, ok := c.by[name]; !ok && len(c.by) >= countsMost {
		for _, old := range c.Top(len(c.by))[countsMost/2:] {
			delete(c.by, old.Name)
		}
		c.forgotten = true
	}
	c.by[name] += n
}

// Len is how many names there are; at least so many, if !exact.
func (c *Counts) Len() (n int, exact bool) { return len(c.by), !c.forgotten }

// Top are the most frequent ones, by name where they are equal.
func (c *Counts) Top(most int) []Count {
	out := make([]Count, 0, len(c.by))
	for name, n := range c.by {
		out = append(out, Count{name, n})
	}
	slices.SortFunc(out, func(a, b Count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
	return out[:min(len(out), most)]
}
