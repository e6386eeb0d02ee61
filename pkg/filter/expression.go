package filter

import (
	"slices"
	"strings"

	"bailiff/pkg/pyregexp"
)

type expression struct {
	Expr
	re      *pyregexp.Regexp
	names   []string
	merged  []merged
	skips   []int // groups of <SKIPLINES>
	order   []string
	places  places
	held    []named // the places that are somewhere
	content int     // group of that name; 0: none
	// alternatives are those for what identifies; tuples: there is more to merge than
	// alternatives.
	alternatives []alternative
	tuples       bool
	success      bool // of Definition.Success
}

// group is a list of expressions that are looked for at once.
type group struct {
	list    []expression
	set     *pyregexp.Set
	matcher *pyregexp.Matcher
	maybe   []int
}

func newGroup(list []expression, set *pyregexp.Set) group {
	return group{list: list, set: set, matcher: set.NewMatcher()}
}

func (x *expression) captured() (out []string) {
	names := slices.Clone(x.names)
	for _, m := range x.merged {
		names = append(names, m.into)
	}
	for _, n := range names {
		switch n {
		case "", "ip4", "ip6", "cidr", "dns", "content", "mlfid", "nofail", "mlfgained", "mlfforget", "chain", "forwarded":
			continue
		}
		if !strings.HasPrefix(n, "skiplines") {
			out = append(out, n)
		}
	}
	return out
}

func exprs(list []expression) []Expr {
	out := make([]Expr, len(list))
	for i, x := range list {
		out[i] = x.Expr
	}
	return out
}
