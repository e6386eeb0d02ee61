package check

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"bailiff/pkg/iplist"
)

// Holder knows who is shut out: a *Set, or a [List].
type Holder interface {
	// Holds is safe for concurrent use, and waits for nothing.
	Holds(netip.Addr) bool
}

// List is a list of addresses as a Holder.
type List struct{ Set *iplist.Set }

// Holds implements Holder.
func (l List) Holds(a netip.Addr) bool { return l.Set.Overlaps(netip.PrefixFrom(a, a.BitLen())) }

// Index knows who is shut out in which jail. Its zero value knows of no jail. It is safe
// for concurrent use; who asks waits for nobody.
type Index struct {
	mu    sync.Mutex // of who changes it
	jails atomic.Pointer[[]named]
	ready atomic.Bool
}

// All names, among jails, those that are in no group.
const All = "all"

type named struct {
	name  string
	group string
	of    Holder
}

// Put has a jail's holder take the place of the one that it had; nil: the jail is gone.
func (x *Index) Put(jail string, of Holder) { x.PutIn("", jail, of) }

// PutIn is Put for a jail of a group, whose bans count where the jail or the group is named, and nowhere else. A
// group's name ends with *, which no jail's does.
func (x *Index) PutIn(group, jail string, of Holder) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var next []named
	if had := x.jails.Load(); had != nil {
		next = slices.Clone(*had)
	}
	at, there := find(next, jail)
	switch {
	case there && of == nil:
		next = slices.Delete(next, at, at+1)
	case there:
		next[at] = named{jail, group, of}
	case of != nil:
		next = slices.Insert(next, at, named{jail, group, of})
	}
	x.jails.Store(&next)
}

// Complete says that all jails are there that were to be started, so that who is in none of
// them is not shut out.
func (x *Index) Complete() { x.ready.Store(true) }

// IsComplete reports whether Complete was called.
func (x *Index) IsComplete() bool { return x.ready.Load() }

// among reports whether a jail is one of those that are named, by its name or its group's; nil: All.
func (n *named) among(jails []string) bool {
	if jails == nil {
		return n.group == ""
	}
	return contains(jails, n.name) || contains(jails, cmp.Or(n.group, All))
}

// Names reports whether a jail is one of those that are named; nil: any is.
func (x *Index) Names(jails []string, jail string) bool {
	if jails == nil || contains(jails, jail) {
		return true
	}
	if all := x.jails.Load(); all != nil {
		if at, there := find(*all, jail); there {
			return (*all)[at].among(jails)
		}
	}
	return false
}

func find(all []named, jail string) (at int, there bool) {
	return slices.BinarySearchFunc(all, jail, func(n named, name string) int { return strings.Compare(n.name, name) })
}

// Each goes through the holders of some jails; nil: of all but groups'.
func (x *Index) Each(jails []string) iter.Seq[Holder] {
	return func(yield func(Holder) bool) {
		all := x.jails.Load()
		if all == nil {
			return
		}
		for _, n := range *all {
			if n.among(jails) && !yield(n.of) {
				return
			}
		}
	}
}

// Shut reports whether an address is shut out by one of some jails; nil: of all but groups'. If it is not, and one of
// those isn't there, gone is true and missing is its name.
func (x *Index) Shut(a netip.Addr, jails []string) (shut bool, missing string, gone bool) {
	all := x.jails.Load()
	if all == nil {
		all = &[]named{}
	}
	if jails == nil {
		for _, n := range *all {
			if n.group == "" && n.of.Holds(a) {
				return true, "", false
			}
		}
		return false, "", false
	}
	for _, jail := range jails {
		at, there := find(*all, jail)
		if !there && (jail == All || strings.HasSuffix(jail, "*")) {
			for _, n := range *all {
				if cmp.Or(n.group, All) == jail && n.of.Holds(a) {
					return true, "", false
				}
			}
			continue
		}
		if !there {
			missing, gone = jail, true
			continue
		}
		if (*all)[at].of.Holds(a) {
			return true, "", false
		}
	}
	return false, missing, gone
}
