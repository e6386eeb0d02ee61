package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// What cannot be measured on one machine is computed: a tree of hubs, each of which is a queue with as many cores as it has, and hands on
// each ban to those below it, one after the other. What that costs is measured on this machine, in the same run.

// costs are what a ban costs, in time of a core.
type costs struct {
	put    time.Duration // at the root: the gate, the stream, the disk
	leaf   time.Duration // at a hub, for each region below it
	mirror time.Duration // at a region's hub: the copy
	copy   time.Duration // at a hub, for each host
	agent  time.Duration // at a host
	// fixed is what passes until a ban begins to be handed on, though nobody waits: the way to the hub, and the disk. hop is what passes
	// from hub to hub.
	fixed, hop time.Duration
}

// shape is a tree: how many are below each hub, from the root down; the last are hosts.
type shape []int

// hubs is how many there are in a level, hosts how many hosts.
func (s shape) hubs(level int) int {
	n := 1
	for _, below := range s[:level] {
		n *= below
	}
	return n
}

func (s shape) hosts() int { return s.hubs(len(s)) }

// parts are what a ban costs a hub of a level before the first copy, and for each.
func (s shape) parts(c costs, level int) (first, each time.Duration) {
	first, each = c.mirror, c.leaf
	if level == 0 {
		first = c.put
	}
	if level == len(s)-1 {
		each = c.copy
	}
	return first, each
}

// outcome is what comes of bans in a tree.
type outcome struct {
	// use is the share of its cores that a hub of each level is at work.
	use []float64
	// over: one of them has more than it can do, and what waits there grows without end.
	over bool
	// host is when hosts know of a ban, all when the last one does.
	host, all []time.Duration
	// sent are the messages that all hubs send, for one ban.
	sent int
}

// samples is how many hosts of each hub are looked at; the first and the last are.
const samples = 11

// simulate lets so many bans come, at random, and follows each down the tree. cores are those of each hub. shared: the hosts of a hub
// have the same cores, as where it was measured.
func simulate(s shape, c costs, cores int, rate float64, bans int, even, shared bool, seed uint64) (o outcome) {
	random := rand.New(rand.NewPCG(seed, 1))
	at := make([]time.Duration, bans)
	now := time.Duration(0)
	for i := range at {
		gap := 1.0
		if !even {
			gap = random.ExpFloat64()
		}
		now += time.Duration(gap / rate * float64(time.Second))
		at[i] = now
	}
	said := slices.Clone(at)
	for i := range at {
		at[i] += c.fixed
	}
	arrivals := [][]time.Duration{at} // of each hub of a level
	o.all = make([]time.Duration, bans)
	for level := range s {
		first, each := s.parts(c, level)
		if shared && level == len(s)-1 {
			each += c.agent
		}
		first, each = first/time.Duration(cores), each/time.Duration(cores)
		use := rate * (first + time.Duration(s[level])*each).Seconds()
		o.use = append(o.use, use)
		o.over = o.over || use >= 1
		o.sent += s.hubs(level) * s[level]
		var below [][]time.Duration
		if level < len(s)-1 {
			below = make([][]time.Duration, 0, s.hubs(level+1))
		}
		for _, comes := range arrivals {
			next := make([][]time.Duration, 0, s[level])
			if level < len(s)-1 {
				for range s[level] {
					next = append(next, make([]time.Duration, len(comes)))
				}
			}
			free := time.Duration(0)
			for i, t := range comes {
				start := max(t, free) + first
				free = start + time.Duration(s[level])*each
				for k := range next {
					next[k][i] = start + time.Duration(k+1)*each + c.hop
				}
				if level < len(s)-1 {
					continue
				}
				last := free - said[i]
				if !shared {
					last += c.agent
				}
				o.all[i] = max(o.all[i], last)
				for n := range samples {
					k := 1 + n*(s[level]-1)/(samples-1)
					o.host = append(o.host, last-time.Duration(s[level]-k)*each)
				}
			}
			below = append(below, next...)
		}
		arrivals = below
	}
	return o
}
