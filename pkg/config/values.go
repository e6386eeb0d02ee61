package config

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/firewall"
	"bailiff/pkg/tags"
)

func wrongFindTime(d time.Duration) string {
	if d <= 0 {
		return "want more than 0"
	}
	return ""
}

func wrongBanTime(d time.Duration) string {
	if d == 0 {
		return "want a time, or -1 for ever"
	}
	return ""
}

// services reads /etc/services once: names of ports.
var services = sync.OnceValue(func() map[string]uint16 {
	out := map[string]uint16{"http": 80, "https": 443, "ssh": 22, "smtp": 25, "submission": 587, "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995, "ftp": 21, "domain": 53}
	f, err := os.Open("/etc/services")
	if err != nil {
		return out // a container without it: what is above must do
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line, _, _ := strings.Cut(sc.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		number, _, _ := strings.Cut(fields[1], "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			continue
		}
		for _, name := range append(fields[2:], fields[0]) {
			if _, ok := out[name]; !ok {
				out[name] = uint16(n)
			}
		}
	}
	return out
})

// ParsePorts reads fail2ban's port: numbers, names and ranges (1000:2000 or
// 1000-2000) with commas. An empty list, 0:65535 and "all" mean every port.
func ParsePorts(list []string) ([]firewall.PortRange, error) {
	var out []firewall.PortRange
	for _, item := range list {
		for _, p := range strings.FieldsFunc(item, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
			if p == "all" || p == "any" || p == "0:65535" || p == "0-65535" {
				return nil, nil
			}
			r, ok := portRange(p)
			if !ok {
				return nil, fmt.Errorf("port %q: want a number from 1 to 65535, a name of /etc/services, or a range like 1000:2000", p)
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// portRange reads one port or a range of them. A name may hold a hyphen: http-alt:9000.
func portRange(s string) (r firewall.PortRange, ok bool) {
	if n, err := portNumber(s); err == nil {
		return firewall.PortRange{First: n, Last: n}, true
	}
	for i := range len(s) {
		if s[i] != ':' && s[i] != '-' {
			continue
		}
		a, errA := portNumber(s[:i])
		b, errB := portNumber(s[i+1:])
		if errA == nil && errB == nil && a <= b {
			return firewall.PortRange{First: a, Last: b}, true
		}
	}
	return r, false
}

func portNumber(s string) (uint16, error) {
	if n, ok := services()[s]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return uint16(n), err
}

func parseProtocols(list []string) ([]string, error) {
	var out []string
	for _, item := range list {
		for _, p := range strings.FieldsFunc(strings.ToLower(item), func(r rune) bool { return r == ',' || r == ' ' }) {
			if p == "all" || p == "any" {
				return nil, nil
			}
			if !firewall.KnownProtocol(p) {
				return nil, fmt.Errorf("protocol %q: want tcp, udp, sctp, dccp, udplite, icmp, icmpv6 or all", p)
			}
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// ParseIgnoreCache reads fail2ban's ignorecache: key="<ip>", max-count=100,
// max-time=5m.
func ParseIgnoreCache(s string) (*IgnoreCache, error) {
	_, opts, err := tags.Extract("ignorecache[" + s + "]")
	if err != nil {
		return nil, err
	}
	c := &IgnoreCache{Max: 100, MaxAge: 5 * time.Minute}
	for _, name := range opts.Names {
		v := opts.Values[name]
		switch name {
		case "key":
			c.Key = v
		case "max-count":
			if c.Max, err = strconv.Atoi(v); err != nil || c.Max < 1 {
				return nil, fmt.Errorf("ignorecache: max-count %q: want a number from 1", v)
			}
		case "max-time":
			if c.MaxAge, err = ParseTime(v); err != nil || c.MaxAge <= 0 {
				return nil, fmt.Errorf("ignorecache: max-time %q: want a time", v)
			}
		default:
			return nil, fmt.Errorf("ignorecache: unknown option %q (key, max-count, max-time)", name)
		}
	}
	if c.Key == "" {
		return nil, fmt.Errorf("ignorecache %q: want key=\"…\", as key=\"<ip>\"", s)
	}
	return c, nil
}
