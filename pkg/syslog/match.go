package syslog

import (
	"bytes"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Match says which messages somebody wants: any of its alternatives. The zero value is all
// of them.
type Match struct {
	any []alternative
	// ByHost: a name is asked for that a message tells itself.
	ByHost bool
	// ByCert: a certificate's name is.
	ByCert bool
}

// alternative holds for what all of its parts hold for; an empty one holds for everything.
type alternative struct {
	programs, hosts, certs []string // patterns
	facilities             uint32   // a bit for each; 0: any
	severity               uint8    // as grave as that, or graver
	from                   []netip.Prefix
	texts                  [][]byte
}

var facilities = []string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

var severities = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

// otherNames are those that people use beside them.
var otherNames = map[string]string{"security": "auth", "panic": "emerg", "error": "err", "warn": "warning"}

// ParseMatch reads KEY=VALUE: program, facility, severity, host, from, cert, text. Of one key
// any may hold, of several keys all have to; + stands between alternatives. Several may be in
// one text.
func ParseMatch(list []string) (m Match, err error) {
	now := alternative{severity: 7}
	some := false
	for _, item := range list {
		if text, ok := strings.CutPrefix(strings.TrimSpace(item), "text="); ok { // it may have blanks in it
			if text == "" {
				return m, fmt.Errorf("match %q: want a text", item)
			}
			now.texts = append(now.texts, []byte(text))
			some = true
			continue
		}
		for _, word := range strings.Fields(item) {
			if word == "+" {
				if !some {
					return m, fmt.Errorf("match: there is nothing before +")
				}
				m.any, now, some = append(m.any, now), alternative{severity: 7}, false
				continue
			}
			if err := m.add(&now, word); err != nil {
				return m, err
			}
			some = true
		}
	}
	switch {
	case some:
		m.any = append(m.any, now)
	case len(m.any) > 0:
		return m, fmt.Errorf("match: there is nothing behind +")
	}
	return m, nil
}

func (m *Match) add(to *alternative, word string) error {
	key, value, ok := strings.Cut(word, "=")
	if !ok || value == "" {
		return fmt.Errorf("match %q: want KEY=VALUE, with program, facility, severity, host, from, cert or text for KEY", word)
	}
	pattern := func(list *[]string) error {
		if _, err := path.Match(value, ""); err != nil {
			return fmt.Errorf("match %q: %w", word, err)
		}
		*list = append(*list, value)
		return nil
	}
	switch key {
	case "program":
		return pattern(&to.programs)
	case "host":
		m.ByHost = true
		return pattern(&to.hosts)
	case "cert":
		m.ByCert = true
		return pattern(&to.certs)
	case "facility":
		n, err := numbered(value, facilities)
		if err != nil {
			return fmt.Errorf("match %q: %w", word, err)
		}
		to.facilities |= 1 << n
	case "severity":
		n, err := numbered(value, severities)
		if err != nil {
			return fmt.Errorf("match %q: %w", word, err)
		}
		to.severity = uint8(n)
	case "from":
		p, err := ParsePrefix(value)
		if err != nil {
			return fmt.Errorf("match %q: %w", word, err)
		}
		to.from = append(to.from, p)
	case "text":
		to.texts = append(to.texts, []byte(value))
	default:
		return fmt.Errorf("match %q: unknown key %q (program, facility, severity, host, from, cert, text)", word, key)
	}
	return nil
}

// numbered finds a name, or reads a number.
func numbered(value string, names []string) (int, error) {
	value = strings.ToLower(value)
	if other, ok := otherNames[value]; ok {
		value = other
	}
	if n := slices.Index(names, value); n >= 0 {
		return n, nil
	}
	if n, err := strconv.Atoi(value); err == nil && n >= 0 && n < len(names) {
		return n, nil
	}
	return 0, fmt.Errorf("want %s, or a number", strings.Join(names, ", "))
}

// ParsePrefix reads an address or a network.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q: want an address or a network, as 192.0.2.7 or 192.0.2.0/24", s)
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("%q: want IPv4 as 192.0.2.0/24", s)
	}
	return p.Masked(), nil
}

// holds reports whether a message is wanted.
func (m *Match) holds(msg *Message, from *origin) bool {
	if len(m.any) == 0 {
		return true
	}
	for i := range m.any {
		if m.any[i].holds(msg, from) {
			return true
		}
	}
	return false
}

func (a *alternative) holds(msg *Message, from *origin) bool {
	return (a.facilities == 0 || a.facilities&(1<<msg.Facility) != 0) &&
		msg.Severity <= a.severity &&
		(a.programs == nil || like(a.programs, msg.Program)) &&
		(a.hosts == nil || like(a.hosts, msg.Host)) &&
		(a.from == nil || within(a.from, from.addr)) &&
		(a.certs == nil || slices.ContainsFunc(from.certs, func(name string) bool { return like(a.certs, []byte(name)) })) &&
		(a.texts == nil || slices.ContainsFunc(a.texts, func(t []byte) bool { return bytes.Contains(msg.Text, t) }))
}

// like reports whether a name is like any of some patterns.
func like(patterns []string, name []byte) bool {
	if name == nil {
		return false
	}
	for _, p := range patterns {
		if string(name) == p {
			return true
		}
		if strings.ContainsAny(p, `*?[\`) {
			if ok, _ := path.Match(p, string(name)); ok {
				return true
			}
		}
	}
	return false
}

// within reports whether an address is in any of some networks.
func within(networks []netip.Prefix, addr netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
