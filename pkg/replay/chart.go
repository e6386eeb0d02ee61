package replay

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"bailiff/pkg/filter"
)

// Chart is what a report is drawn from: failures and bans over time, who made most of them, and
// whom they tried. It takes as much for ten years as for a day.
type Chart struct {
	Begin time.Time // of the first of Times
	Width time.Duration
	Times []Bucket

	networks, users counts
}

// Bucket is what was in a time as long as Width.
type Bucket struct{ Failures, Bans int64 }

// Count is a name, and how often it was met.
type Count struct {
	Name string
	N    int64
}

const (
	bucketsMost = 120
	countsMost  = 10_000 // names at hand; the rarest half is forgotten beyond them
	userBytes   = 64     // of a name
)

// at is the bucket of a time. Where there are too many, two are made one.
func (c *Chart) at(t time.Time) *Bucket {
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

// failure counts one.
func (c *Chart) failure(f *filter.Failure, at time.Time) {
	c.at(at).Failures++
	a := f.Addr
	if f.IP.IsValid() {
		a = netip.PrefixFrom(f.IP, f.IP.BitLen())
	}
	if a.IsValid() {
		bits := 64
		if a.Addr().Is4() {
			bits = 24
		}
		if p, err := a.Addr().Prefix(min(bits, a.Bits())); err == nil {
			c.networks.add(p.String())
		}
	}
	if u := f.User; u != "" {
		c.users.add(u[:min(len(u), userBytes)])
	}
}

// Networks are those of most failures, /24 of IPv4 and /64 of IPv6, and Users those who were tried
// most.
func (c *Chart) Networks(most int) []Count { return c.networks.top(most) }
func (c *Chart) Users(most int) []Count    { return c.users.top(most) }

// counts counts names, the frequent ones.
type counts struct{ by map[string]int64 }

func (c *counts) add(name string) {
	if c.by == nil {
		c.by = map[string]int64{}
	}
	if _, ok := c.by[name]; !ok && len(c.by) >= countsMost {
		for _, old := range c.top(len(c.by))[countsMost/2:] {
			delete(c.by, old.Name)
		}
	}
	c.by[name]++
}

func (c *counts) top(most int) []Count {
	out := make([]Count, 0, len(c.by))
	for name, n := range c.by {
		out = append(out, Count{name, n})
	}
	slices.SortFunc(out, func(a, b Count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
	return out[:min(len(out), most)]
}
