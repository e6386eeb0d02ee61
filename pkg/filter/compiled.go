package filter

import (
	"sync"
	"unique"
	"weak"

	"bailiff/pkg/pyregexp"
)

// compiled is what filters with the same definition have in common, be they those of
// several jails, or of one that is looked at, made and made again: the expressions,
// and the tables of those who look at lines with them. It is safe for concurrent use.
type compiled struct {
	pref         *expression
	fail, ignore []expression
	// These look for all at once; within does so in what the prefregex leaves of a line
	// and is nil where what may match in there is not known beforehand.
	failSet, ignoreSet, within *pyregexp.Set

	mu     sync.Mutex
	scouts []*Scout // that nobody uses now
}

// known are those that some filter still has.
var known = struct {
	sync.Mutex
	byKey map[unique.Handle[string]]weak.Pointer[compiled]
}{byKey: map[unique.Handle[string]]weak.Pointer[compiled]{}}

// compiledBefore returns what was compiled of an equal definition; nil if nobody has
// it any more.
func compiledBefore(key unique.Handle[string]) *compiled {
	known.Lock()
	defer known.Unlock()
	return known.byKey[key].Value()
}

// join makes the sets, and the whole known for other filters.
func (c *compiled) join(key unique.Handle[string]) {
	set := func(list []expression) *pyregexp.Set {
		res := make([]*pyregexp.Regexp, len(list))
		for i, x := range list {
			res[i] = x.re
		}
		return pyregexp.NewSet(res...)
	}
	c.failSet, c.ignoreSet = set(c.fail), set(c.ignore)
	if c.pref != nil {
		c.within = pyregexp.NewSetWithin(c.pref.re, "content", c.failSet.Members()...)
	}
	known.Lock()
	defer known.Unlock()
	for k, p := range known.byKey {
		if p.Value() == nil {
			delete(known.byKey, k)
		}
	}
	known.byKey[key] = weak.Make(c)
}

// take returns a scout, which is to be given back. Its tables are warm where another
// jail's filter has used it.
func (c *compiled) take(f *Filter) *Scout {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.scouts); n > 0 {
		s := c.scouts[n-1]
		c.scouts = c.scouts[:n-1]
		return s
	}
	return f.NewScout()
}

func (c *compiled) give(s *Scout) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scouts = append(c.scouts, s)
}
