package filter

import (
	"slices"
	"strconv"
	"strings"

	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/tags"
)

// What the tags of an expression stand for. The expressions are those that
// fail2ban prints for `get JAIL failregex`, so that both see the same text.
const (
	exprIP4  = `(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})`
	exprIP6  = `(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|:){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):))`
	exprDNS  = `(?P<dns>[\w\-.^_]*\w)`
	exprCIDR = `(?P<cidr>\d+)`
	exprBoth = `(?:` + exprIP4 + `|` + exprIP6 + `)`
	exprAddr = `\[?` + exprBoth + `\]?`
	exprHost = `(?:` + exprAddr + `|` + exprDNS + `)`
	exprNet  = `\[?` + exprBoth + `(?:/` + exprCIDR + `)?\]?`
)

var plainTags = map[string]string{
	"IP4": exprIP4, "F-IP4/": exprIP4, "IP6": exprIP6, "F-IP6/": exprIP6,
	"ADDR": exprAddr, "F-ADDR/": exprAddr, "CIDR": exprCIDR, "F-CIDR/": exprCIDR,
	"SUBNET": exprNet, "F-SUBNET/": exprNet, "DNS": exprDNS, "F-DNS/": exprDNS,
	"F-ID/": `(?P<fid>\S+)`, "F-PORT/": `(?P<fport>\w+)`,
}

// idGroups are the groups of which one must be in every failregex: what is
// banned is the first of them that matched.
var idGroups = []string{"fid", "ip4", "ip6", "dns"}

var (
	anyTag    = lazyregexp.New(`</?[\pL\pN_\-]+/?>`)
	customTag = lazyregexp.New(`^(/?)F-([A-Z0-9_\-]+)$`)
	// flags that stand first in a group: ((?i)x) is taken for (?i:x).
	groupFlags = lazyregexp.New(`(^|[^\\])\((?:\?:)?(\(\?[a-z]+)\)`)
	complexTag = lazyregexp.New(`^(alt_|tuple_)(.*?)(?:_\d+)?$`)
)

// expandTags writes the tags of an expression out. hostNames says whether
// <HOST> may be a name (usedns = no forbids it).
func expandTags(expr string, hostNames bool) string {
	expanded, _ := expandTagsAt(expr, hostNames)
	return expanded
}

// tagAt is where a tag stood, and where what it stands for came to stand.
type tagAt struct{ from, to, expFrom, expTo int }

// expandTagsAt also tells where each tag went; nil if that can't be told.
func expandTagsAt(expr string, hostNames bool) (string, []tagAt) {
	opened := map[string]bool{}
	skips := 0
	replace := func(tag string) string {
		name := tag[1 : len(tag)-1]
		switch name {
		case "HOST":
			if hostNames {
				return exprHost
			}
			return exprAddr
		case "SKIPLINES":
			skips++
			return `\n(?P<skiplines` + strconv.Itoa(skips-1) + `>(?:(?:.*\n)*?))`
		}
		if e, ok := plainTags[name]; ok {
			return e
		}
		m := customTag.FindStringSubmatch(name)
		switch {
		case m == nil:
			return tag
		case m[1] == "":
			opened[m[2]] = true
			return "(?P<" + tags.GroupName(m[2]) + ">"
		case opened[m[2]]:
			return ")"
		}
		return tag // closes what was never opened
	}
	var b strings.Builder
	var tags []tagAt
	done := 0
	for _, m := range anyTag.FindAllStringIndex(expr, -1) {
		b.WriteString(expr[done:m[0]])
		at := tagAt{from: m[0], to: m[1], expFrom: b.Len()}
		b.WriteString(replace(expr[m[0]:m[1]]))
		at.expTo = b.Len()
		tags = append(tags, at)
		done = m[1]
	}
	b.WriteString(expr[done:])
	expanded := b.String()
	if with := groupFlags.ReplaceAllString(expanded, "$1$2:"); with != expanded {
		return with, nil
	}
	return expanded, tags
}

// ownSpan is the part of the expression as configured that a part of the expanded
// one comes from.
func ownSpan(tags []tagAt, from, to int) (int, int) {
	shift := 0
	for _, t := range tags {
		if from < t.expFrom {
			break
		}
		if from < t.expTo {
			return t.from, t.to
		}
		shift = t.to - t.expTo
	}
	return from + shift, to + shift
}

// merged is a group whose value goes into another one: of ALT_ the first that
// holds something, of TUPLE_ all, in order.
type merged struct {
	group int
	from  string
	into  string
	tuple bool
}

// mergedGroups finds them by their names, in the order of these; alternatives
// come first.
func mergedGroups(names []string) []merged {
	var out []merged
	for i, n := range names {
		if m := complexTag.FindStringSubmatch(n); m != nil && len(n) > len("alt_") {
			out = append(out, merged{group: i, from: n, into: tags.GroupName(m[2]), tuple: m[1] == "tuple_"})
		}
	}
	slices.SortFunc(out, func(a, b merged) int {
		if a.tuple != b.tuple {
			if b.tuple {
				return -1
			}
			return 1
		}
		return strings.Compare(a.from, b.from)
	})
	return out
}
