package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"bailiff/pkg/iplist"
)

// hostName is what a list of proxies can't have.
const hostName = "host name"

// MaxNames is how many host names an ignoreip may have: each is asked for once a minute.
const MaxNames = iplist.MaxNames

// Add takes an address, a network, a range, a host name, or file:PATH, a list of them.
// An error is of this entry alone.
func (g *IgnoreList) Add(s string) error {
	if path, ok := strings.CutPrefix(s, "file:"); ok {
		if strings.HasPrefix(path, "//") { // file:///PATH
			path = "/" + strings.TrimLeft(path, "/")
		}
		if !filepath.IsAbs(path) {
			return fmt.Errorf("ignoreip %q: want a path from the root", s)
		}
		g.Files = append(g.Files, filepath.Clean(path))
		return nil
	}
	p, err := iplist.Parse(s)
	if err == nil {
		g.Prefixes = append(g.Prefixes, p)
		return nil
	}
	if iplist.HostName.MatchString(s) {
		if len(g.Names) >= MaxNames {
			return fmt.Errorf("ignoreip %q: there are %d host names already, and no more are looked up", s, MaxNames)
		}
		g.Names = append(g.Names, s)
		return nil
	}
	if strings.Contains(s, "-") {
		if r, err := iplist.ParseRange(s); err == nil {
			for p := range iplist.Prefixes(r) {
				g.Prefixes = append(g.Prefixes, p)
			}
			return nil
		}
	}
	if strings.ContainsAny(s, "/%:") { // what is wrong with it is known
		return fmt.Errorf("ignoreip %w", err)
	}
	return fmt.Errorf("ignoreip %.80q is no address, network, range or "+hostName, s)
}

// wide returns a warning of what is so wide that it switches banning off.
func wide(what string, prefixes []netip.Prefix) error {
	if text := iplist.Of(prefixes).Wide(); text != "" {
		return fmt.Errorf("%s: %s", what, text)
	}
	return nil
}

// lineWith returns the number of the line, from one on, in which a text stands: in the
// value that begins there, or in that line if it isn't found.
func lineWith(data string, line int, text string) int {
	lines := strings.Split(data, "\n")
	for i := max(line, 1); i <= len(lines); i++ {
		l := lines[i-1]
		if at := strings.IndexByte(l, '#'); at >= 0 {
			l = l[:at]
		}
		if strings.Contains(l, text) {
			return i
		}
		if i > line && (strings.Contains(l, "]") || strings.Contains(l, "=")) {
			break
		}
	}
	return line
}
