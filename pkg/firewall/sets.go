package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
)

// Which set what belongs in.

// SetNames returns the names of the sets that a jail's bans are in. nft can't read back
// a name with a colon, so a slash stands for it, which no jail's name has.
func SetNames(jail string) [6]string {
	var out [6]string
	for i, p := range setPrefixes {
		out[i] = p + strings.ReplaceAll(jail, ":", "/")
	}
	return out
}

// beside leads the name of a set, and ends that of a chain, which we use beside one of
// somebody else's that has ours.
const beside = "own-"

// namedAs returns the name in setPrefixes' manner that a set has, without beside.
func namedAs(set string) (kind int, jail string, ok bool) {
	for strings.HasPrefix(set, beside) {
		set = strings.TrimPrefix(set, beside)
	}
	for kind, p := range setPrefixes {
		if jail, ok := strings.CutPrefix(set, p); ok {
			return kind, strings.ReplaceAll(jail, "/", ":"), true
		}
	}
	return 0, "", false
}

func (f *Firewall) newSet(kind int, name string) *nftables.Set {
	key := nftables.TypeIPAddr
	if kind%2 == 1 {
		key = nftables.TypeIP6Addr
	}
	return &nftables.Set{
		Table: f.table, Name: name, KeyType: key,
		HasTimeout: true, Interval: kind == setNet4 || kind == setNet6,
	}
}

// kindOf says in which of the jail's sets an address or network belongs.
func (r *Rule) kindOf(id netip.Prefix) int {
	six := 0
	if id.Addr().Is6() {
		six = 1
	}
	switch {
	case id.IsSingleIP():
		return setAddr4 + six
	case id.Bits() == [2]int{r.Prefix4, r.Prefix6}[six]:
		return setPrefix4 + six
	}
	return setNet4 + six
}

// Apart reports whether a ban lies in a hash set, where it may stand beside those of
// networks that hold it. Interval sets take nothing that overlaps.
func (r *Rule) Apart(id netip.Prefix) bool {
	k := r.kindOf(id)
	return k != setNet4 && k != setNet6
}

// bansNetworks reports whether a kind of sets for networks of the jail's own length is
// used at all.
func (r *Rule) bansNetworks(kind int) bool {
	bits := r.bitsOf(kind)
	return bits > 0 && bits < [2]int{32, 128}[kind%2]
}

// maskOf returns the mask under which a packet's address is looked up in a set;
// nil: as it is.
func (r *Rule) maskOf(kind int) []byte {
	switch {
	case kind == setPrefix4:
		return net.CIDRMask(r.Prefix4, 32)
	case kind == setPrefix6:
		return net.CIDRMask(r.Prefix6, 128)
	}
	return nil
}

// sorted puts what sets held into the kinds of sets that it belongs in. In interval
// sets nothing may overlap: of two spans that do, the one that begins first keeps its
// addresses, for as long as the longer of both lasts.
func (r *Rule) sorted(all []span) [6][]span {
	var out [6][]span
	seen := map[netip.Prefix]int{} // where in its kind
	for _, s := range all {
		kind := setNet4
		if s.first.Is6() {
			kind = setNet6
		}
		p, whole := s.prefix()
		if whole {
			kind = r.kindOf(p)
		}
		if !whole || kind == setNet4 || kind == setNet6 {
			out[kind] = append(out[kind], s)
			continue
		}
		if i, twice := seen[p]; twice {
			out[kind][i].left = longer(out[kind][i].left, s.left)
			continue
		}
		seen[p] = len(out[kind])
		out[kind] = append(out[kind], s)
	}
	for _, kind := range []int{setNet4, setNet6} {
		list := out[kind]
		slices.SortFunc(list, func(a, b span) int {
			if c := a.first.Compare(b.first); c != 0 {
				return c
			}
			return b.last.Compare(a.last)
		})
		var apart []span
		for _, s := range list {
			if n := len(apart); n > 0 && !apart[n-1].last.Less(s.first) {
				apart[n-1].left = longer(apart[n-1].left, s.left)
				if !apart[n-1].last.Less(s.last) {
					continue
				}
				s.first = apart[n-1].last.Next()
			}
			apart = append(apart, s)
		}
		out[kind] = apart
	}
	return out
}

// elementsOf returns the set elements of spans that belong in a set.
func elementsOf(spans []span, interval bool) []nftables.SetElement {
	out := make([]nftables.SetElement, 0, len(spans))
	for _, s := range spans {
		if interval {
			out = append(out, intervalOf(s)...)
		} else {
			out = append(out, nftables.SetElement{Key: s.first.AsSlice(), Timeout: s.left})
		}
	}
	return out
}

// longer returns the longer of two times; 0 is for ever.
func longer(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// setIDs is held while the library gives a new set a number in its transaction: it counts
// them for the whole process, in a variable that nothing guards.
var setIDs sync.Mutex

// addSet is the library's AddSet, for firewalls that are at work beside one another.
func addSet(c *nftables.Conn, s *nftables.Set, elements []nftables.SetElement) error {
	setIDs.Lock()
	defer setIDs.Unlock()
	return c.AddSet(s, elements)
}

// setsOf returns a jail's sets and its rule, as they are now.
func (f *Firewall) setsOf(jail string) (sets [6]*nftables.Set, rule Rule, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jails[jail]
	if j == nil {
		return sets, rule, fmt.Errorf("nftables: jail %s has no sets", jail)
	}
	return j.sets, j.rule, nil
}
