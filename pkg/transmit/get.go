package transmit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/jail"
)

// What `get` of fail2ban's commands answers.

func seconds(d time.Duration) any {
	if d < 0 {
		return -1
	}
	return int(d / time.Second)
}

// BanTime is what get answers for bantime, in seconds: as it was written if it is too long for a Duration.
func BanTime(c *config.Jail) any {
	if text, ok := setting(c, "bantime").(string); ok && c.BanTime == config.LongestTime {
		if n, err := config.ParseSeconds(text); err == nil && n.Duration() == c.BanTime && !n.IsFloat {
			return int(n.Int)
		}
	}
	if n, err := strconv.Atoi(fmt.Sprint(setting(c, "bantime"))); err == nil && n < 0 && c.BanTime < 0 {
		return n
	}
	return seconds(c.BanTime)
}

// FindTime is what get answers for findtime, in seconds: any number below zero means the same, and is told as it was given.
func FindTime(c *config.Jail) any {
	if n, err := strconv.Atoi(fmt.Sprint(setting(c, "findtime"))); err == nil && n < 0 && c.FindTime < 0 {
		return n
	}
	return seconds(c.FindTime)
}

// MaxRetry is what get answers for maxretry.
func MaxRetry(c *config.Jail) int { return toldBelow(c, "maxretry", c.MaxRetry, leastRetry) }

// toldBelow is a number as it was given, where that is less than the least that it can be.
func toldBelow(c *config.Jail, name string, now, least int) int {
	if n, err := strconv.Atoi(fmt.Sprint(setting(c, name))); err == nil && n < least && now == least {
		return n
	}
	return now
}

func stringsList(list []string) control.List {
	out := control.List{}
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

// setting finds an option as it was configured.
func setting(c *config.Jail, name string) any {
	for _, s := range c.Settings {
		if s.Name == name && s.Value != "" {
			return s.Value
		}
	}
	return nil
}

func (t *Transmitter) get(c *command) (any, error) {
	if v, err := t.getServer(c.word(1)); err != errNotServer {
		return v, err
	}
	if err := c.least(3); err != nil {
		return nil, err
	}
	what := c.word(2)
	if !getWords[what] && !strings.HasPrefix(what, "bantime.") {
		return nil, noGet()
	}
	j, err := t.known(c.word(1))
	if err != nil {
		return nil, err
	}
	return t.getOf(j, what, c.rest(3))
}

func (t *Transmitter) getOf(j *jail.Jail, what string, more []string) (any, error) {
	s := j.Settings()
	switch what {
	case "banned":
		return t.banned(s.Name, more)
	case "banip":
		out := control.List{}
		bans, err := j.Bans()
		if err != nil {
			return nil, err
		}
		for _, b := range byEnd(bans) {
			if len(more) == 0 || more[0] != "--with-time" {
				out = append(out, b.IP)
				continue
			}
			lasts, end := "-1", "9999-12-31 23:59:59"
			if b.End != nil {
				lasts, end = strconv.Itoa(int(b.End.Sub(b.Start).Round(time.Second)/time.Second)), b.End.Local().Format(time.DateTime)
			}
			out = append(out, fmt.Sprintf("%s \t%s + %s = %s", b.IP, b.Start.Local().Format(time.DateTime), lasts, end))
		}
		return out, nil
	case "logpath":
		if s.Journal != nil {
			return control.List{}, nil
		}
		return logPaths(j, j.Status(false)), nil
	case "logencoding":
		if s.Encoding == nil {
			return "UTF-8", nil
		}
		return s.Encoding.Name, nil
	case "journalmatch":
		out := control.List{}
		if s.Journal != nil {
			for _, m := range s.Journal.Matches {
				out = append(out, stringsList(m))
			}
		}
		return out, nil
	case "ignoreself":
		return s.Ignore.Self, nil
	case "ignoreip":
		return ignoreList(&s), nil
	case "ignorecommand":
		return s.IgnoreCommand, nil
	case "ignorecache":
		if k := s.IgnoreCache; k != nil {
			return control.List{k.Key, k.Max, seconds(k.MaxAge)}, nil
		}
		return nil, nil
	case "prefregex":
		x, err := j.Expressions()
		return x.Pref, err
	case "failregex", "ignoreregex":
		x, err := j.Expressions()
		if err != nil {
			return nil, err
		}
		if what == "failregex" {
			return stringsList(x.Fail), nil
		}
		return stringsList(x.Ignore), nil
	case "usedns":
		if s.Filter.UseDNS == "" {
			return "warn", nil
		}
		return string(s.Filter.UseDNS), nil
	case "findtime":
		return FindTime(&s), nil
	case "bantime":
		return BanTime(&s), nil
	case "maxretry":
		return MaxRetry(&s), nil
	case "maxmatches":
		return toldBelow(&s, what, s.MaxMatches, leastMatches), nil
	case "maxlines":
		return max(s.Filter.MaxLines, 1), nil
	case "logtimezone":
		if s.Filter.LogTimezone == "" {
			return nil, nil
		}
		return s.Filter.LogTimezone, nil
	case "datepattern":
		x, err := j.Expressions()
		if err != nil {
			return nil, err
		}
		dates := x.Dates
		switch len(dates) {
		case 0:
			return nil, nil
		case 1:
			if slices.Contains([]string{"Epoch", "LongEpoch", "TAI64N"}, strings.TrimPrefix(dates[0][1], "{^LN-BEG}")) {
				return control.Tuple{nil, dates[0][1]}, nil
			}
			return control.Tuple{dates[0][0], dates[0][1]}, nil
		}
		return control.Tuple{nil, "Default Detectors"}, nil
	case "actions":
		return stringsList(actionNames(j, &s)), nil
	case "action", "actionproperties", "actionmethods":
		return getAction(j, &s, what, more)
	}
	if opt, ok := strings.CutPrefix(what, "bantime."); ok {
		if opt == "increment" {
			if setting(&s, what) == nil {
				return nil, nil
			}
			return s.Increase != nil, nil
		}
		if v := setting(&s, what); v != nil && (opt == "maxtime" || opt == "rndtime") {
			t, err := config.ParseTime(fmt.Sprint(v))
			if err != nil {
				return nil, pyError("ValueError", err.Error())
			}
			return seconds(t), nil
		}
		return setting(&s, what), nil
	}
	return nil, noGet()
}

func noGet() error {
	return pyError("Exception", "Invalid command (no get action or not yet implemented)")
}

// getWords are what can be asked of a jail.
var getWords = map[string]bool{}

func init() {
	for _, w := range strings.Fields(`banned logpath logencoding journalmatch ignoreself ignoreip ignorecommand ignorecache prefregex
		failregex ignoreregex usedns findtime datepattern logtimezone maxmatches maxretry maxlines bantime banip actions action
		actionproperties actionmethods`) {
		getWords[w] = true
	}
}

func ignoreList(s *config.Jail) control.List {
	// Networks come first, as fail2ban has them.
	var networks, single control.List
	for _, p := range s.Ignore.Prefixes {
		if p.IsSingleIP() {
			single = append(single, p.Addr().String())
		} else {
			networks = append(networks, p.String())
		}
	}
	out := append(control.List{}, networks...)
	for _, n := range s.Ignore.Names {
		out = append(out, n)
	}
	for _, path := range s.Ignore.Files {
		out = append(out, "file:"+path)
	}
	return append(out, single...)
}
