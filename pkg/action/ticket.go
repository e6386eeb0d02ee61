package action

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Ticket is a failure or a ban, as tags tell of it.
type Ticket struct {
	ID       string     // what is banned
	IP       netip.Addr // of the ID, or beside it; not valid if there is none
	Time     string     // seconds since 1970, as fail2ban prints them
	Failures int
	BanTime  time.Duration
	BanCount int // how many times it was banned with this one; 0 is taken for 1
	Restored bool
	Matches  []string          // lines of the log
	Groups   map[string]string // of the filter, by name
	// Host finds the name of an address; nil: the Site does.
	Host func(context.Context, netip.Addr) string
	// Began is when it began, in seconds, by the clock of the Site's.
	Began int64

	site *Site           // nil: nobody knows more
	ctx  context.Context // of looking up; nil: none
	load bool            // some of it is only asked for when a command tells of it
}

// JailNumbers are what <jail.…> tells of.
type JailNumbers struct{ Banned, TotalBanned, Found, TotalFound int }

// all fills in what is only asked for when a command tells of it.
func (t *Ticket) all() {
	if t.load && t.site != nil && t.site.Known != nil {
		t.load = false
		t.site.Known(t)
	}
}

// family is that of the address, "" if there is none.
func (t *Ticket) family() string {
	switch {
	case !t.IP.IsValid():
		return ""
	case t.IP.Is4():
		return "inet4"
	}
	return "inet6"
}

// merged is what <ipmatches> and its like tell of.
func (t *Ticket) merged(allJails bool) (failures int, matches []string) {
	if t.site != nil && t.site.Merged != nil {
		if n, lines, ok := t.site.Merged(t, allJails); ok {
			return n, lines
		}
	}
	t.all()
	return t.Failures, t.Matches
}

// hostName is the name of the address, "" if it has none or nobody answers.
func (t *Ticket) hostName() string {
	find := t.Host
	if find == nil && t.site != nil {
		find = t.site.Host
	}
	if find == nil || !t.IP.IsValid() {
		return ""
	}
	ctx := t.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return find(ctx, t.IP)
}

// isNetwork reports whether the ID is the address, or a network that begins with it.
func (t *Ticket) isNetwork() bool {
	rest, ok := strings.CutPrefix(t.ID, t.IP.String())
	return ok && (rest == "" || rest[0] == '/' && strings.Trim(rest[1:], "0123456789") == "")
}

// Tags are those that a ban fills in; <F-NAME> for groups of the filter beside them.
var Tags = []string{
	"ip", "fid", "family", "ip-rev", "ip-host", "failures", "time", "bantime", "bancount", "restored", "matches", "ipmatches", "ipjailmatches",
	"ipfailures", "ipjailfailures", "jail.banned", "jail.banned_total", "jail.found", "jail.found_total", "raw-ticket",
	"br", "sp", "fq-hostname", "sh-hostname",
}

// KnownTag reports whether a tag is one that is filled in when a command is run.
func KnownTag(name string) bool {
	return slices.Contains(Tags, name) || groupTag.MatchString("<"+name+">")
}

// Tag returns the value of a tag.
func (t *Ticket) Tag(name string) (string, bool) {
	switch name {
	case "ip":
		if t.IP.IsValid() && !t.isNetwork() {
			return t.IP.String(), true
		}
		return t.ID, true
	case "fid":
		return t.ID, true
	case "family":
		return cmp.Or(t.family(), "None"), true
	case "ip-rev":
		return ReverseName(t.IP), true
	case "ip-host":
		return cmp.Or(t.hostName(), "None"), true
	case "failures":
		t.all()
		return strconv.Itoa(t.Failures), true
	case "time":
		return t.Time, true
	case "bantime":
		if t.BanTime < 0 {
			return "-1", true
		}
		return strconv.FormatInt(int64(t.BanTime/time.Second), 10), true
	case "bancount":
		return strconv.Itoa(max(t.BanCount, 1)), true
	case "restored":
		if t.Restored {
			return "1", true
		}
		return "0", true
	case "matches":
		t.all()
		return strings.Join(t.Matches, "\n"), true
	case "ipmatches", "ipjailmatches":
		_, lines := t.merged(name == "ipmatches")
		return strings.Join(lines, "\n"), true
	case "ipfailures", "ipjailfailures":
		n, _ := t.merged(name == "ipfailures")
		return strconv.Itoa(n), true
	case "jail.banned", "jail.banned_total", "jail.found", "jail.found_total":
		if t.site == nil || t.site.Numbers == nil {
			return "", false
		}
		n := t.site.Numbers()
		return strconv.Itoa(map[string]int{
			"jail.banned": n.Banned, "jail.banned_total": n.TotalBanned, "jail.found": n.Found, "jail.found_total": n.TotalFound,
		}[name]), true
	}
	return "", false
}

// Group returns a group of the filter.
func (t *Ticket) Group(name string) (string, bool) {
	if t.Groups == nil {
		t.all()
	}
	v, ok := t.Groups[name]
	return v, ok
}

// ReverseName is an address in the order of DNS, with a dot at its end, but
// without the zone: by bytes for IPv4, by half bytes for IPv6; empty if there is
// none.
func ReverseName(a netip.Addr) string {
	var b strings.Builder
	bytes := a.AsSlice()
	for i := len(bytes) - 1; i >= 0; i-- {
		if a.Is4() {
			fmt.Fprintf(&b, "%d.", bytes[i])
		} else {
			fmt.Fprintf(&b, "%x.%x.", bytes[i]&15, bytes[i]>>4)
		}
	}
	return b.String()
}
