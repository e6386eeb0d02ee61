package filter

import (
	"slices"
	"strings"

	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/pyregexp"
)

// Where an id (<F-ID>) stands alone, what it takes is who is banned. If that is a text of
// the client's, and may read as an address, he has whom he likes banned.

var (
	idBody = lazyregexp.New(`<F-ID>(.*)</F-ID>`)
	// addressOnly are expressions of nothing but what addresses consist of.
	addressOnly = lazyregexp.New(`^(?:\\[d.:/]|[0-9a-fA-F:/]|\[(?:\\[d.:/]|[0-9a-fA-F.:/-])+\]|\(\?:|[()|?*+]|\{[\d,]+\})+$`)
	// likeAddresses are some that a client could write.
	likeAddresses = []string{"192.0.2.7", "203.0.113.178", "2001:db8::7", "2001:db8:0:1:2:3:4:5", "[2001:db8::7]", "::ffff:192.0.2.7"}
)

// lone returns which of an expression and the prefregex has an id that may read as an
// address while nothing tells an address beside it; nil: neither.
func lone(pref, x *expression) *expression {
	var with *expression
	for _, e := range []*expression{x, pref} {
		if e == nil {
			continue
		}
		for _, n := range e.names {
			switch {
			case n == "fid":
				if with == nil {
					with = e
				}
			case n == "mlfid", slices.Contains(idGroups, n), strings.HasPrefix(n, "alt_"):
				return nil // of this line, or of another one of its connection
			}
		}
	}
	if with == nil {
		return nil
	}
	body := `\S+` // of <F-ID/>
	if m := idBody.FindStringSubmatch(with.Text); m != nil {
		body = m[1]
	} else if !strings.Contains(with.Text, "<F-ID/>") {
		return with
	}
	if addressOnly.MatchString(body) {
		return nil
	}
	re, err := pyregexp.Compile(`^(?:`+expandTags(body, true)+`)$`, 0)
	if err != nil { // it needs what stands around it
		return with
	}
	if slices.ContainsFunc(likeAddresses, func(s string) bool { return re.Match([]byte(s)) }) {
		return with
	}
	return nil
}
