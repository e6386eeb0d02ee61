package config

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/config/fail2ban"

	"bailiff/pkg/firewall"
)

// unitSeconds are fail2ban's abbreviations of time; a month is a twelfth of a
// year of 365.25 days… as fail2ban counts it.
var unitSeconds = map[string]float64{
	"s": 1, "sec": 1, "second": 1, "seconds": 1, "secs": 1, "ss": 1,
	"m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60, "mm": 60,
	"h": 3600, "hour": 3600, "hours": 3600, "hh": 3600,
	"d": 86400, "day": 86400, "days": 86400, "da": 86400, "dd": 86400,
	"w": 604800, "week": 604800, "weeks": 604800, "we": 604800, "ww": 604800,
	"mo": 2629800, "mon": 2629800, "month": 2629800, "months": 2629800,
	"y": 31557600, "year": 31557600, "years": 31557600, "ye": 31557600, "yy": 31557600,
}

var timePart = regexp.MustCompile(`^\s*([+-]?\d+(?:\.\d+)?)\s*([a-z]*)`)

// ParseTime reads a span as fail2ban writes them: 600, 10m, "1d 12h", -1 (for
// ever). A number without a unit is seconds.
func ParseTime(s string) (time.Duration, error) {
	rest := strings.TrimSpace(strings.ToLower(s))
	if rest == "" {
		return 0, fmt.Errorf("empty time: want something like 10m, \"1d 12h\", 600 or -1")
	}
	total := 0.0
	for rest != "" {
		m := timePart.FindStringSubmatch(rest)
		if m == nil {
			return 0, fmt.Errorf("time %q: want something like 10m, \"1d 12h\", 600 or -1", s)
		}
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, fmt.Errorf("time %q: %w", s, err)
		}
		factor := 1.0
		if m[2] != "" {
			var ok bool
			if factor, ok = unitSeconds[m[2]]; !ok {
				return 0, fmt.Errorf("time %q: unknown unit %q (s, m, h, d, w, mo, y)", s, m[2])
			}
		}
		total += n * factor
		rest = strings.TrimLeft(rest[len(m[0]):], " \t")
	}
	if math.Abs(total) > math.MaxInt64/1e9/2 {
		return 0, fmt.Errorf("time %q is too long", s)
	}
	return time.Duration(total * 1e9).Round(time.Millisecond), nil
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
			if n, ok := services()[p]; ok {
				out = append(out, firewall.PortRange{First: n, Last: n})
				continue
			}
			first, last, ranged := strings.Cut(strings.Replace(p, ":", "-", 1), "-")
			if !ranged {
				last = first
			}
			a, errA := portNumber(first)
			b, errB := portNumber(last)
			if errA != nil || errB != nil || a > b {
				return nil, fmt.Errorf("port %q: want a number from 1 to 65535, a name of /etc/services, or a range like 1000:2000", p)
			}
			out = append(out, firewall.PortRange{First: a, Last: b})
		}
	}
	return out, nil
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
	_, opts, err := fail2ban.ExtractOptions("ignorecache[" + s + "]")
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
