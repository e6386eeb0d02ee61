package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// What [check] may say of those about whom nothing can be said.
const (
	failOpen   = "open"
	failClosed = "closed"
)

// listensAt reads where a server listens: a path from the root, with unix: before it or not, or an address with its
// port, which is not valid for a path.
func listensAt(text string) (at string, addr netip.AddrPort, ok bool) {
	if path := strings.TrimPrefix(text, "unix:"); strings.HasPrefix(path, "/") {
		return filepath.Clean(path), netip.AddrPort{}, true
	}
	addr, err := netip.ParseAddrPort(text)
	return text, addr, err == nil && addr.Port() != 0
}

// check reads [check].
func (l *loader) check(doc *document, raw rawCheck, fail func(string, ...any) func(...string)) {
	c := Check{Group: raw.Group, Jails: raw.Jails, At: fmt.Sprintf("%s:%d", doc.file, doc.line("check", "jails"))}
	if len(raw.Listen) > 0 {
		c.Where = fmt.Sprintf("%s:%d: ", doc.file, doc.line("check", "listen"))
	}
	for _, at := range raw.Listen {
		at, addr, ok := listensAt(at)
		switch {
		case !ok:
			fail("listen %q: want a path from the root (unix:/run/bailiff/check.sock), or ADDRESS:PORT (127.0.0.1:8787)", at)("check", "listen")
			continue
		case addr.IsValid() && addr.Addr().IsUnspecified():
			l.cfg.Warnings = append(l.cfg.Warnings, &Error{doc.file, doc.line("check", "listen"), "listen " + at + ": whoever reaches this host can ask there who is banned; 127.0.0.1 is for this host alone"})
		}
		if !slices.Contains(c.Listen, at) {
			c.Listen = append(c.Listen, at)
		}
	}
	switch raw.Fail {
	case "", failOpen:
	case failClosed:
		c.Closed = true
	default:
		fail("fail %q: want %s or %s", raw.Fail, failOpen, failClosed)("check", "fail")
	}
	if slices.Equal(c.Jails, []string{allJails}) {
		c.Jails = nil
	}
	if _, isTable := doc.get("check").(map[string]any); isTable && len(raw.Listen) == 0 {
		l.cfg.Warnings = append(l.cfg.Warnings, &Error{doc.file, doc.line("check"), "[check] has no effect without listen: where proxies ask, a path or ADDRESS:PORT"})
	}
	l.cfg.Check = c
}

// unknownJails says which jails are named outside of them that don't run: their bans count
// nowhere then.
func (l *loader) unknownJails() {
	doubt := func(at, what, key string, groups bool, jails []string) {
		for _, name := range jails {
			switch {
			case groups && name == allJails:
				continue
			case l.cfg.Docker.Labels.Allowed && strings.HasPrefix(name, labelJail) && (groups || name != LabelJails):
				continue // containers come and go
			case groups && slices.ContainsFunc(l.cfg.Fleet.Groups, func(g FleetGroup) bool { return g.Rule.Jail == name }):
				continue
			}
			if !slices.ContainsFunc(l.cfg.Jails, func(j *Jail) bool { return j.Name == name }) {
				l.cfg.Warnings = append(l.cfg.Warnings, fmt.Errorf("%s: %s: %s names %q, which is no jail that is enabled", at, what, key, name))
			}
		}
	}
	doubt(l.cfg.Check.At, "[check]", "jails", true, l.cfg.Check.Jails)
	for _, x := range l.cfg.Exports {
		doubt(x.At, "export "+x.Name, "jails", true, x.Jails)
	}
	for _, x := range l.cfg.HTTPExports {
		doubt(x.At, "export "+x.Name, "jails", true, x.Jails)
	}
	for _, x := range l.cfg.Reports {
		doubt(x.At, "report "+x.Name, "jails", false, x.Jails)
	}
	for _, g := range l.cfg.Fleet.Groups {
		doubt(g.At, "[fleet.group."+g.Name+"]", "publish", false, g.Publish)
	}
}
