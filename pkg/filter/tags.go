package filter

import (
	"fmt"
	"regexp"
	"strings"
)

// What the tags of a failregex stand for. The expressions are those that
// fail2ban prints for `get JAIL failregex`, so that both see the same text.
const (
	exprIP4  = `(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})`
	exprIP6  = `(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|::){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):))`
	exprDNS  = `(?P<dns>[\w\-.^_]*\w)`
	exprCIDR = `(?P<cidr>\d+)`
	exprBoth = `(?:` + exprIP4 + `|` + exprIP6 + `)`
	exprAddr = `\[?` + exprBoth + `\]?`
	exprHost = `(?:` + exprAddr + `|` + exprDNS + `)`
	exprNet  = `\[?` + exprBoth + `(?:/` + exprCIDR + `)?\]?`
)

// idGroups are the groups of which one must be in every failregex: what is
// banned is the first of them that matched.
var idGroups = []string{"fid", "ip4", "ip6", "dns"}

var fTag = regexp.MustCompile(`<(/?)F-([A-Z0-9_]+)(/?)>`)

// expandTags writes the tags of an expression out. hostNames says whether
// <HOST> may be a name (usedns = no forbids it).
func expandTags(expr string, hostNames bool) string {
	host := exprAddr
	if hostNames {
		host = exprHost
	}
	expr = strings.NewReplacer(
		"<HOST>", host, "<ADDR>", exprAddr, "<IP4>", exprIP4, "<IP6>", exprIP6,
		"<DNS>", exprDNS, "<CIDR>", exprCIDR, "<SUBNET>", exprNet,
	).Replace(expr)
	skips := 0
	for strings.Contains(expr, "<SKIPLINES>") {
		expr = strings.Replace(expr, "<SKIPLINES>", fmt.Sprintf(`\n(?P<skiplines%d>(?:(?:.*\n)*?))`, skips), 1)
		skips++
	}
	return fTag.ReplaceAllStringFunc(expr, func(tag string) string {
		m := fTag.FindStringSubmatch(tag)
		name := strings.ToLower(m[2])
		if name == "id" {
			name = "fid"
		}
		if name == "port" {
			name = "fport"
		}
		switch {
		case m[1] == "/":
			return ")"
		case m[3] == "":
			return "(?P<" + name + ">"
		case name == "fid":
			return `(?P<fid>\S+)`
		case name == "fport":
			return `(?P<fport>\w+)`
		}
		return tag
	})
}
