package config

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/firewall"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/allow"
)

// Fleet says which bans this host shares with others, and which it takes of them.
type Fleet struct {
	// URLs are the hubs; nil: this host is in no fleet.
	URLs []string
	// Credentials and CA are the files that bailiff fleet join has written.
	Credentials, CA string
	// Lifts: the hub lets this host lift what others have banned.
	Lifts bool
	// Accept are the hosts whose bans count, as patterns; nil: all.
	Accept []string
	// MaxBan is how long a ban of another host's lasts at most, and Bans how many of each host are held.
	MaxBan time.Duration
	Bans   int
	// Shortest4 and Shortest6 are the lengths of the largest networks that are taken.
	Shortest4, Shortest6 int
	// AllowKey is the key by which the fleet's allow-list is signed; empty: none is taken.
	AllowKey string
	// Ignore is whom the fleet never shuts out, beside whom the jails ignore.
	Ignore IgnoreList
	// Count are the groups in which the hub counts failures over all hosts: this one tells of its own, and takes what that bans.
	Count  []string
	Groups []FleetGroup
	At     string // FILE:LINE of the table
}

// FleetGroup is a group of bans that hosts share.
type FleetGroup struct {
	Name    string
	Publish []string // jails of this host whose bans belong to it
	// Enforce: bans of others are in force here, by Rule, where Quorum hosts have made them.
	Enforce bool
	Quorum  int
	Rule    firewall.Rule
	At      string // FILE:LINE
}

// FleetSets is what stands before a group's name in the names of its sets.
const FleetSets = "fleet-"

// Group is the group of a name; nil: there is none.
func (f *Fleet) Group(name string) *FleetGroup {
	if i := slices.IndexFunc(f.Groups, func(g FleetGroup) bool { return g.Name == name }); i >= 0 {
		return &f.Groups[i]
	}
	return nil
}

// Of are the groups to which a jail's bans belong.
func (f *Fleet) Of(jail string) (names []string) {
	for _, g := range f.Groups {
		if slices.Contains(g.Publish, jail) {
			names = append(names, g.Name)
		}
	}
	return names
}

// Accepts reports whether a host's bans count here.
func (f *Fleet) Accepts(host string) bool {
	return f.Accept == nil || slices.ContainsFunc(f.Accept, func(pattern string) bool {
		is, err := path.Match(pattern, host)
		return err == nil && is
	})
}

type rawFleet struct {
	URL         stringList               `toml:"url"`
	Credentials string                   `toml:"credentials"`
	CA          string                   `toml:"ca"`
	LiftOthers  bool                     `toml:"lift_others"`
	Accept      stringList               `toml:"accept"`
	MaxBan      *text                    `toml:"max_ban"`
	Bans        *int                     `toml:"bans"`
	Widest4     *int                     `toml:"widest_ipv4"`
	Widest6     *int                     `toml:"widest_ipv6"`
	IgnoreIP    stringList               `toml:"ignoreip"`
	AllowKey    string                   `toml:"allow_key"`
	Count       stringList               `toml:"count"`
	Group       map[string]rawFleetGroup `toml:"group"`
}

type rawFleetGroup struct {
	Publish   stringList `toml:"publish"`
	Enforce   *bool      `toml:"enforce"`
	Quorum    *int       `toml:"quorum"`
	Port      stringList `toml:"port"`
	Protocol  stringList `toml:"protocol"`
	BlockType string     `toml:"blocktype"`
}

// fleetBansMost is how many bans may be held of a host.
const fleetBansMost = fleet.DefaultWords

// fleet reads [fleet].
func (l *loader) fleet(doc *document, raw rawFleet, fail func(string, ...any) func(...string)) {
	table, isTable := doc.get("fleet").(map[string]any)
	if !isTable {
		return
	}
	f := Fleet{Lifts: raw.LiftOthers, MaxBan: fleet.DefaultMost, Bans: fleet.DefaultBans, Shortest4: 16, Shortest6: 32}
	f.At = fmt.Sprintf("%s:%d", doc.file, doc.line("fleet"))
	for _, text := range raw.URL {
		if err := fleet.CheckURL(text); err != nil {
			fail("url %v", err)("fleet", "url")
			continue
		}
		f.URLs = append(f.URLs, text)
	}
	if len(raw.URL) == 0 && len(table) > 0 {
		l.cfg.Warnings = append(l.cfg.Warnings, &Error{doc.file, doc.line("fleet"), "[fleet] has no effect without url: where the hub is (bailiff fleet join prints it)"})
	}
	for _, file := range []struct {
		key, given, usual string
		to                *string
	}{{"credentials", raw.Credentials, "fleet.creds", &f.Credentials}, {"ca", raw.CA, "fleet-ca.pem", &f.CA}} {
		if file.given != "" && !filepath.IsAbs(file.given) {
			fail("%s %q: want a path from the root", file.key, file.given)("fleet", file.key)
			file.given = ""
		}
		*file.to = cmp.Or(file.given, filepath.Join(filepath.Dir(doc.file), file.usual))
		if abs, err := filepath.Abs(*file.to); err == nil {
			*file.to = abs
		}
	}
	if raw.AllowKey != "" {
		if err := allow.CheckKey(raw.AllowKey); err != nil {
			fail("allow_key %v", err)("fleet", "allow_key")
		} else {
			f.AllowKey = raw.AllowKey
		}
	}
	for _, pattern := range raw.Accept {
		if _, err := path.Match(pattern, "x"); err != nil || pattern == "" || strings.Trim(pattern, "abcdefghijklmnopqrstuvwxyz0123456789-*?[]^") != "" {
			fail("accept %q: want a host's name in the fleet, or a pattern like web-*", pattern)("fleet", "accept")
			continue
		}
		f.Accept = append(f.Accept, pattern)
	}
	if raw.Accept != nil && f.Accept == nil {
		f.Accept = []string{} // nobody: what was meant for some is not for all
	}
	if raw.MaxBan != nil {
		d, err := ParseTime(string(*raw.MaxBan))
		if err != nil || d < time.Minute || d > fleet.DefaultMost {
			fail("max_ban %q: want a time of 1m to 7d: a lift is kept for as long, so that it outlives what it lifts", *raw.MaxBan)("fleet", "max_ban")
		} else {
			f.MaxBan = d
		}
	}
	for _, n := range []struct {
		key         string
		given       *int
		least, most int
		to          *int
	}{{"bans", raw.Bans, 1, fleetBansMost, &f.Bans}, {"widest_ipv4", raw.Widest4, 8, 32, &f.Shortest4}, {"widest_ipv6", raw.Widest6, 19, 128, &f.Shortest6}} {
		switch {
		case n.given == nil:
		case *n.given < n.least || *n.given > n.most:
			fail("%s %d: want %d to %d", n.key, *n.given, n.least, n.most)("fleet", n.key)
		default:
			*n.to = *n.given
		}
	}
	for _, item := range raw.IgnoreIP {
		for _, s := range strings.FieldsFunc(item, isListSpace) {
			if err := f.Ignore.Add(s); err != nil {
				l.complain(&Error{doc.file, lineWith(doc.text, doc.line("fleet", "ignoreip"), s), fmt.Sprintf("[fleet] %v: left out, the others hold", err)})
			}
		}
	}
	groups, _ := doc.get("fleet", "group").(map[string]any)
	for _, name := range sortedKeys(groups) {
		if x, ok := raw.Group[name]; ok { // not one with a value of another type, which is told
			l.fleetGroup(doc, &f, name, x)
		}
	}
	for _, name := range raw.Count {
		_, there := groups[name]
		switch {
		case f.Group(name) != nil && !slices.Contains(f.Count, name):
			f.Count = append(f.Count, name)
		case !there:
			fail("count %q: there is no [fleet.group.%s]", name, name)("fleet", "count")
		}
	}
	if len(f.URLs) > 0 && len(groups) == 0 {
		l.cfg.Warnings = append(l.cfg.Warnings, &Error{doc.file, doc.line("fleet"), "[fleet] shares nothing: say in [fleet.group.NAME] which jails' bans are shared, and whose are in force here"})
	}
	l.cfg.Fleet = f
}

// fleetGroup reads one of [fleet.group.NAME]. What is wrong with one costs that one; where a daemon runs, it stays as it was.
func (l *loader) fleetGroup(doc *document, f *Fleet, name string, x rawFleetGroup) {
	g := FleetGroup{Name: name, Publish: x.Publish, Enforce: x.Enforce == nil || *x.Enforce, Quorum: 1, At: fmt.Sprintf("%s:%d", doc.file, doc.line("fleet", "group", name))}
	ok := true
	fail := func(key string, err error) {
		ok = false
		line := doc.line("fleet", "group", name)
		if key != "" {
			line = doc.line("fleet", "group", name, key)
		}
		l.complain(l.stays(&Error{doc.file, line, fmt.Sprintf("[fleet.group.%s] %v", name, err)}))
	}
	if err := fleet.CheckName(name); err != nil {
		fail("", err)
	}
	if n := x.Quorum; n != nil {
		if g.Quorum = *n; *n < 1 || *n > 1000 {
			fail("quorum", fmt.Errorf("quorum %d: want 1 to 1000 hosts", *n))
		}
	}
	g.Rule = firewall.Rule{Jail: FleetSets + name}
	var err error
	if g.Rule.Ports, err = ParsePorts(x.Port); err != nil {
		fail("port", err)
	}
	protocols := x.Protocol
	if protocols == nil && len(g.Rule.Ports) > 0 {
		protocols = stringList{"tcp"}
	}
	if g.Rule.Protocols, err = parseProtocols(protocols); err != nil {
		fail("protocol", err)
	}
	if err := portsNeed(&g.Rule); err != nil {
		fail("protocol", err)
	}
	switch x.BlockType {
	case "", "reject":
	case "drop":
		g.Rule.Drop = true
	default:
		fail("blocktype", fmt.Errorf("blocktype %q: want reject or drop", x.BlockType))
	}
	if ok {
		f.Groups = append(f.Groups, g)
	} else if l.was != nil {
		f.Groups = stayed(f.Groups, l.was.Fleet.Groups, name, func(g FleetGroup) string { return g.Name })
	}
}

// portsNeed says what is wrong with a rule whose protocols have no ports.
func portsNeed(r *firewall.Rule) error {
	if len(r.Ports) > 0 && (len(r.Protocols) == 0 || slices.ContainsFunc(r.Protocols, func(p string) bool { return strings.HasPrefix(p, "icmp") })) {
		return errors.New("protocol: ports need tcp, udp, sctp, dccp or udplite; for everything set port = \"all\" too")
	}
	return nil
}

// fleetEnds adds to [fleet] what the rest of the file says: whom [default] ignores, and jails that have the names of its sets.
func (l *loader) fleetEnds(doc *document) {
	f := &l.cfg.Fleet
	if len(f.Groups) == 0 && len(f.URLs) == 0 {
		return
	}
	if list := keyIgnoreIP.of(&l.defaults.raw); list != nil {
		for _, item := range *list {
			for _, s := range strings.FieldsFunc(item, isListSpace) {
				_ = f.Ignore.Add(s) // each jail tells what is wrong with it
			}
		}
	}
	f.Groups = slices.DeleteFunc(f.Groups, func(g FleetGroup) bool {
		if l.jails[g.Rule.Jail] == nil {
			return false
		}
		l.complain(&Error{doc.file, doc.line("fleet", "group", g.Name), fmt.Sprintf("[fleet.group.%s]: there is a jail %s, whose sets have the same names: rename one of them; the group is left out", g.Name, g.Rule.Jail)})
		return true
	})
}
