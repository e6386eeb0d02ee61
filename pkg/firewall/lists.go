package firewall

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A list of many networks at once, in the interval sets of a jail.

// Interval is addresses of one family from First to Last; both belong to it.
type Interval struct{ First, Last netip.Addr }

// LoadList puts a list in the place of everything that a jail's sets hold, in one
// transaction: at no moment is what both lists have let through. The intervals
// neither touch nor overlap.
func (f *Firewall) LoadList(jail string, list []Interval) error {
	return f.LoadIntervals(jail, slices.Values(list))
}

// LoadIntervals is LoadList of a sequence, which is gone through several times.
func (f *Firewall) LoadIntervals(jail string, list iter.Seq[Interval]) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jails[jail]
	if j == nil {
		return fmt.Errorf("nftables: jail %s has no sets", jail)
	}
	var count [2]int // of a family
	for r := range list {
		count[sixth(r)]++
	}
	if err := f.listSets(jail, j, count); err != nil {
		return err
	}
	b := newBatch(40*count[0] + 64*count[1])
	for _, set := range j.sets {
		if set != nil {
			b.flush(set)
		}
	}
	for r := range list {
		b.put(j.sets[setNet4+sixth(r)], span{r.First, r.Last, 0})
	}
	t := f.guardTx(0)
	t.clear(jail)
	t.write(b)
	if err := f.gens.own(b.send); err != nil {
		t.rollback()
		return explain(fmt.Sprintf("load a list of %d intervals", count[0]+count[1]), err)
	}
	j.loaded, j.known = true, true
	for kind := range j.filled {
		j.filled[kind] = filling{}
	}
	for six, n := range count {
		j.filled[setNet4+six] = filling{some: n > 0}
	}
	return nil
}

// sixth is 1 for an interval of IPv6, and else 0.
func sixth(r Interval) int {
	if r.First.Is4() {
		return 0
	}
	return 1
}

// listSets makes the sets of a list, and has the guard ask them.
func (f *Firewall) listSets(jail string, j *jailSets, count [2]int) error {
	change := !j.rule.List
	j.rule.List = true
	for six, kind := range []int{setNet4, setNet6} {
		some := count[six] > 0
		change = change || some && !j.listed[six] || j.sets[kind] == nil
		j.listed[six] = j.listed[six] || some
		j.want[kind] = true
	}
	if !change {
		return nil
	}
	report, err := f.settle(false)
	f.aside.add(report)
	if err == nil && (j.sets[setNet4] == nil || j.sets[setNet6] == nil) {
		err = fmt.Errorf("nftables: sets of jail %s could not be made", jail)
	}
	return err
}

// HoldsList reports whether a jail's sets hold just a list, whose intervals come in
// ascending order, IPv4 first.
func (f *Firewall) HoldsList(jail string, list []Interval) (bool, error) {
	return f.HoldsIntervals(jail, slices.Values(list))
}

// HoldsIntervals is HoldsList of a sequence.
func (f *Firewall) HoldsIntervals(jail string, list iter.Seq[Interval]) (bool, error) {
	sets, _, err := f.setsOf(jail)
	if err != nil {
		return false, err
	}
	for _, set := range sets {
		if set == nil || set.Interval {
			continue
		}
		if empty, err := f.isEmpty(set.Name); err != nil || !empty {
			return false, err
		}
	}
	var count [2]int
	for r := range list {
		count[sixth(r)]++
	}
	next, stop := iter.Pull(list)
	defer stop()
	for six, kind := range []int{setNet4, setNet6} {
		if sets[kind] == nil {
			if count[six] > 0 {
				return false, nil
			}
			continue
		}
		edges, plain, err := f.readEdges(sets[kind].Name, count[six])
		if err != nil || !plain {
			return false, err
		}
		for range count[six] {
			r, _ := next()
			behind := r.Last.Next()
			for _, want := range []edge{edgeOf(r.First, false), edgeOf(behind, true)} {
				if want.end && !behind.IsValid() {
					continue
				}
				if len(edges) == 0 || edges[0] != want {
					return false, nil
				}
				edges = edges[1:]
			}
		}
		if len(edges) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// edge is the beginning of an interval, or the address behind its last one.
type edge struct {
	high, low uint64
	end       bool
}

func edgeOf(a netip.Addr, end bool) edge {
	if !a.IsValid() {
		return edge{end: end}
	}
	if a.Is4() {
		b := a.As4()
		return edge{low: uint64(binary.BigEndian.Uint32(b[:])), end: end}
	}
	b := a.As16()
	return edge{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), end}
}

func (e edge) compare(o edge) int {
	if c := cmp.Or(cmp.Compare(e.high, o.high), cmp.Compare(e.low, o.low)); c != 0 || e.end == o.end {
		return c
	}
	if e.end { // at the same key, an end comes before a beginning
		return -1
	}
	return 1
}

// readEdges returns what an interval set holds, in order, as it comes piece by piece. Not
// plain: there is a timeout, or much more than count intervals.
func (f *Firewall) readEdges(set string, count int) (edges []edge, plain bool, err error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, false, explain("open a netlink socket", err)
	}
	defer c.Close()
	if err := roomForDumps(c); err != nil {
		return nil, false, explain("read set "+set, err)
	}
	most := 2*count + 10
	for range maxReads {
		edges, plain = make([]edge, 0, most), true
		err = dumpEach(c, unix.NFT_MSG_GETSETELEM, names(f.opts.Table, set), func(data []byte) {
			eachElement(data, func(e element) {
				a, ok := netip.AddrFromSlice(e.key)
				if e.end && ok && a.IsUnspecified() {
					return // of nothing: nft marks the beginning of the address space so
				}
				if plain = plain && ok && !e.timeout && len(edges) < most; plain {
					edges = append(edges, edgeOf(a, e.end))
				}
			})
		})
		if !errors.Is(err, errInterrupted) {
			break
		}
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, false, explain("read set "+set, err)
	}
	slices.SortFunc(edges, edge.compare)
	return edges, plain, nil
}
