package action

import (
	"context"
	"fmt"
	"net/netip"
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
	BanCount int
	Restored bool
	Matches  []string          // lines of the log
	Groups   map[string]string // of the filter, by name
	// Host finds the name of an address; nil: none has one.
	Host func(context.Context, netip.Addr) string
}

// Tag returns the value of a tag.
func (t *Ticket) Tag(name string) (string, bool) {
	switch name {
	case "ip":
		if t.IP.IsValid() && !strings.HasPrefix(t.ID, t.IP.String()) {
			return t.IP.String(), true
		}
		return t.ID, true
	case "fid":
		return t.ID, true
	case "family":
		switch {
		case !t.IP.IsValid():
			return "None", true
		case t.IP.Is4():
			return "inet4", true
		}
		return "inet6", true
	case "ip-rev":
		return ReverseName(t.IP), true
	case "ip-host":
		if t.Host == nil || !t.IP.IsValid() {
			return "None", true
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if host := t.Host(ctx, t.IP); host != "" {
			return host, true
		}
		return "None", true
	case "failures":
		return strconv.Itoa(t.Failures), true
	case "time":
		return t.Time, true
	case "bantime":
		if t.BanTime < 0 {
			return "-1", true
		}
		return strconv.FormatInt(int64(t.BanTime/time.Second), 10), true
	case "bancount":
		return strconv.Itoa(t.BanCount), true
	case "restored":
		if t.Restored {
			return "1", true
		}
		return "0", true
	case "matches":
		return strings.Join(t.Matches, "\n"), true
	}
	return "", false
}

// Group returns a group of the filter.
func (t *Ticket) Group(name string) (string, bool) {
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
