package transmit

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/filter"
	"bailiff/pkg/jail"
	"bailiff/pkg/safefile"
)

// What `set` of fail2ban's commands changes.

func (t *Transmitter) set(c *command) (any, error) {
	switch name := c.word(1); name {
	case "loglevel", "logtarget", "syslogsocket", "dbfile", "dbmaxmatches", "dbpurgeage", "thread", "allowipv6":
		if err := c.least(3); err != nil {
			return nil, err
		}
		if name == "thread" {
			return nil, t.setThread(c)
		}
		return t.setServer(name, c.word(2))
	}
	if err := c.least(3); err != nil {
		return nil, err
	}
	what := c.word(2)
	if !setWords[what] && !strings.HasPrefix(what, "bantime.") {
		return nil, noSet(what)
	}
	j, err := t.known(c.word(1))
	if err != nil {
		return nil, err
	}
	if err := c.least(leastToSet(what)); err != nil {
		return nil, err
	}
	switch what {
	case "banip":
		return t.banAs(j, c.rest(3), c.by())
	case "unbanip":
		ips := c.rest(3)
		strict := c.word(3) == "--report-absent"
		if strict {
			ips = c.rest(4)
		}
		return t.unbanAs(j.Configured.Name, ips, false, strict, c.by())
	case "idle":
		return setIdle(j, c.word(3))
	case "action":
		return t.setAction(j, c)
	case "addaction":
		return t.addAction(j, c)
	case "delaction":
		return t.delAction(j, c.word(3))
	case "logencoding", "addjournalmatch", "deljournalmatch", "ignorecommand", "ignorecache":
		return t.setSource(j, what, c)
	case "addlogpath", "dellogpath":
		return t.setLog(j, what, c)
	case "attempt":
		id, err := ban.ParseID(c.word(3))
		if err != nil {
			return nil, pyError("ValueError", err.Error())
		}
		if jail.TooWide(id) {
			return nil, pyError("ValueError", (&jail.TooWideError{IP: ban.Name(id), Jail: c.word(1)}).Error())
		}
		begun, patient := time.Now(), j.Actions().Idle()
		counts, err := j.Attempt(id, c.rest(4))
		if err != nil {
			return nil, err
		}
		t.d.Settle(begun, patient, j)
		return number(counts), nil
	}
	switch {
	case what == "usedns" && !knownDNS(filter.UseDNS(strings.ToLower(c.word(3)))):
		t.d.Log().With("component", "filter").Error(fmt.Sprintf("Incorrect value %s specified for usedns. Using safe 'no'", control.ReprString(c.word(3))))
	case what == "addignoreip":
		for _, ip := range c.rest(3) {
			t.d.Log().With("component", "filter").Debug(fmt.Sprintf("  Add %s to ignore list (%[1]s)", control.ReprString(ip)))
		}
	}
	if err := j.Change(func(s *config.Jail) error { return change(s, what, c) }); err != nil {
		var e *control.Exception
		if !errors.As(err, &e) {
			err = compileError(err)
		}
		return nil, err
	}
	shownAs := strings.TrimPrefix(strings.TrimPrefix(what, "add"), "del")
	if shownAs == what || slices.Contains([]string{"ignoreip", "failregex", "ignoreregex"}, shownAs) {
		return t.getOf(j, shownAs, nil)
	}
	return nil, nil
}

// leastToSet is how many words it takes to set something of a jail.
func leastToSet(what string) int {
	switch what {
	case "banip", "addignoreip":
		return 3
	case "action":
		return 5
	}
	return 4
}

// multiSet carries out multi-set JAIL WHAT LIST, which is set for each of them.
func (t *Transmitter) multiSet(c *command) (any, error) {
	if err := c.least(4); err != nil {
		return nil, err
	}
	what := c.word(2)
	if what != "addfailregex" && what != "addignoreregex" {
		return t.set(c)
	}
	for _, value := range c.list(3) {
		if _, err := t.set(&command{words: []string{"set", c.word(1), what, value}}); err != nil {
			return nil, err
		}
	}
	return true, nil
}

// setWords are what can be set of a jail.
var setWords = map[string]bool{}

func init() {
	for _, w := range strings.Fields(`idle ignoreself addignoreip delignoreip ignorecommand ignorecache addlogpath dellogpath
		logencoding addjournalmatch deljournalmatch prefregex addfailregex delfailregex addignoreregex delignoreregex usedns
		findtime datepattern logtimezone maxmatches maxretry maxlines bantime attempt banip unbanip addaction delaction action`) {
		setWords[w] = true
	}
}

func noSet(what string) error {
	return pyError("Exception", fmt.Sprintf("Invalid command %s (no set action or not yet implemented)", control.ReprString(what)))
}

// compileError is an error of expressions in fail2ban's words.
func compileError(err error) error {
	var x *filter.ExprError
	switch {
	case !errors.As(err, &x):
		return pyError("ValueError", err.Error())
	case x.Err == nil:
		return regexError("No failure-id group in " + control.ReprString(x.Expanded))
	}
	return regexError(fmt.Sprintf("Unable to compile regular expression '%s':\n%v", x.Expanded, x.Err))
}

// regexError is fail2ban's own, which its clients load.
func regexError(text string) error {
	return &control.Exception{Module: "fail2ban.server.failregex", Class: "RegexException", Args: []any{text}}
}

// setLog has a jail follow a log, or no longer. The answer names the logs.
func (t *Transmitter) setLog(j *jail.Jail, what string, c *command) (any, error) {
	path := c.word(3)
	if what == "dellogpath" {
		j.RemoveLog(path)
		return t.logsWithout(j, path)
	}
	tail, fifo := false, false
	switch len(c.words) {
	case 4:
	case 5:
		switch strings.ToLower(c.word(4)) {
		case "tail":
			tail = true
		case "fifo": // fail2ban reads none
			fifo = true
		case "head":
		default:
			return nil, pyError("ValueError", "File option must be 'head' or 'tail'")
		}
	default:
		return nil, pyError("ValueError", "Only one file can be added at a time")
	}
	if err := t.canRead(path); err != nil {
		return nil, err
	}
	add := func() bool { return j.AddLog(path, tail) }
	if fifo {
		add = func() bool { return j.AddFIFO(path) }
	}
	if !add() {
		return control.List{}, nil
	}
	for range 100 { // until it is followed
		if list, _ := t.getOf(j, "logpath", nil); slices.Contains(list.(control.List), any(path)) {
			return list, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return t.getOf(j, "logpath", nil)
}

// openTimeout is how long a file system may take to open a log that is to be added.
const openTimeout = 5 * time.Second

// canRead looks whether a log is there and can be read.
func (t *Transmitter) canRead(path string) error {
	opened := make(chan error, 1)
	go func() {
		f, err := safefile.OpenLog(path)
		if err == nil {
			f.Close()
		}
		opened <- err
	}()
	late := time.NewTimer(openTimeout)
	defer late.Stop()
	select {
	case err := <-opened:
		switch {
		case err == nil:
			return nil
		case errors.Is(err, fs.ErrNotExist):
			return &control.Exception{Class: "FileNotFoundError", Args: []any{2, "No such file or directory", path}}
		case errors.Is(err, fs.ErrPermission):
			why := t.opts.Remedied(path, false, fs.ErrPermission).Error()
			return &control.Exception{Class: "PermissionError", Args: []any{13, "P" + strings.TrimPrefix(why, "p"), path}}
		}
		return pyError("ValueError", err.Error())
	case <-late.C:
		return pyError("TimeoutError", fmt.Sprintf("%s: its file system does not answer within %v", path, openTimeout))
	}
}

func (t *Transmitter) logsWithout(j *jail.Jail, path string) (any, error) {
	for range 100 {
		if list, _ := t.getOf(j, "logpath", nil); !slices.Contains(list.(control.List), any(path)) {
			return list, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return t.getOf(j, "logpath", nil)
}

func (t *Transmitter) banAs(j *jail.Jail, ips []string, by string) (any, error) {
	var ids []ban.ID
	for _, ip := range ips { // all of them, or none
		id, err := ban.ParseID(ip)
		if err != nil {
			return nil, pyError("ValueError", err.Error())
		}
		if jail.TooWide(id) {
			return nil, pyError("ValueError", (&jail.TooWideError{IP: ip, Jail: j.Configured.Name}).Error())
		}
		ids = append(ids, id)
	}
	var wrong error
	begun, n, patient := time.Now(), 0, j.Actions().Idle()
	for _, res := range j.BanEach(ids, jail.ByHand{By: by}) {
		var wide *jail.TooWideError
		var busy *jail.BusyError
		switch {
		case errors.As(res.Err, &wide): // there is no --force in these commands
			wrong = pyError("ValueError", res.Err.Error())
		case errors.As(res.Err, &busy):
			if wrong == nil {
				wrong = pyError("TimeoutError", res.Err.Error())
			}
		case res.Err != nil:
			t.d.Log().With("component", "actions").Warn(res.Err.Error())
		default:
			n += number(res.Added)
		}
	}
	t.d.Settle(begun, patient, j)
	if wrong != nil {
		return nil, wrong
	}
	return n, nil
}

// leastRetry and leastMatches are what less of it comes to.
const leastRetry, leastMatches = 1, 0

func knownDNS(u filter.UseDNS) bool {
	return slices.Contains([]filter.UseDNS{filter.DNSYes, filter.DNSWarn, filter.DNSNo, filter.DNSRaw}, u)
}

// once leaves each of them in once, at its first place.
func once[T comparable](list []T) []T {
	out := list[:0]
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// change sets one option of a jail.
func change(s *config.Jail, what string, c *command) error {
	value := strings.Join(c.rest(3)[:min(len(c.rest(3)), 1)], "")
	integer := func(to *int, least int) error {
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return pyError("ValueError", "invalid literal for int() with base 10: "+control.ReprString(value))
		}
		if n < least {
			return pyError("ValueError", fmt.Sprintf("%s %d: want %d or more", what, n, least))
		}
		*to = n
		return nil
	}
	span := func(to *time.Duration) error {
		t, err := config.ParseTime(value)
		if err != nil {
			return pyError("ValueError", err.Error())
		}
		*to = t
		return nil
	}
	expressions := func(list *[]filter.Expr, add bool) error {
		if add {
			if c.of != nil && len(c.of.Words) > 3 && c.of.Words[3].IsNumber() {
				return pyError("TypeError", "an expression is text, not "+value)
			}
			*list = append(slices.Clone(*list), filter.Expr{Text: value})
			return nil
		}
		i := -1
		if err := integer(&i, 0); err != nil {
			return err
		}
		if i >= len(*list) {
			return nil // fail2ban passes over it
		}
		*list = slices.Delete(slices.Clone(*list), i, i+1)
		return nil
	}
	switch what {
	case "maxretry", "maxmatches":
		// fail2ban takes any number: less than one failure is as good as one.
		n := 0
		if err := integer(&n, math.MinInt); err != nil {
			return err
		}
		if what == "maxretry" {
			s.MaxRetry = max(n, leastRetry)
		} else {
			s.MaxMatches = max(n, leastMatches)
		}
		s.Settings = withSetting(s.Settings, what, strconv.Itoa(n)) // it is told as it was given
	case "maxlines":
		return integer(&s.Filter.MaxLines, 1)
	case "findtime", "bantime":
		to := &s.FindTime
		if what == "bantime" {
			to = &s.BanTime
		}
		err := span(to)
		if err == nil && (*to < 0 || *to == config.LongestTime) {
			s.Settings = withSetting(s.Settings, what, value) // it is told as it was given
		}
		return err
	case "addignoreip":
		ignore := s.Ignore
		ignore.Prefixes, ignore.Names, ignore.Files = slices.Clone(ignore.Prefixes), slices.Clone(ignore.Names), slices.Clone(ignore.Files)
		for _, ip := range c.rest(3) {
			if err := ignore.Add(ip); err != nil {
				return pyError("ValueError", err.Error())
			}
		}
		ignore.Prefixes, ignore.Names, ignore.Files = once(ignore.Prefixes), once(ignore.Names), once(ignore.Files)
		s.Ignore = ignore
	case "delignoreip":
		var gone config.IgnoreList
		if err := gone.Add(value); err != nil {
			return pyError("ValueError", err.Error())
		}
		if !slices.ContainsFunc(gone.Prefixes, func(p netip.Prefix) bool { return slices.Contains(s.Ignore.Prefixes, p) }) &&
			!slices.ContainsFunc(gone.Names, func(n string) bool { return slices.Contains(s.Ignore.Names, n) }) &&
			!slices.ContainsFunc(gone.Files, func(f string) bool { return slices.Contains(s.Ignore.Files, f) }) {
			return pyError("ValueError", "list.remove(x): x not in list")
		}
		s.Ignore.Prefixes = slices.DeleteFunc(slices.Clone(s.Ignore.Prefixes), func(p netip.Prefix) bool { return slices.Contains(gone.Prefixes, p) })
		s.Ignore.Names = slices.DeleteFunc(slices.Clone(s.Ignore.Names), func(n string) bool { return slices.Contains(gone.Names, n) })
		s.Ignore.Files = slices.DeleteFunc(slices.Clone(s.Ignore.Files), func(f string) bool { return slices.Contains(gone.Files, f) })
	case "ignoreself":
		s.Ignore.Self = config.Truth(value)
	case "usedns":
		s.Filter.UseDNS = filter.UseDNS(strings.ToLower(value))
		if !knownDNS(s.Filter.UseDNS) {
			s.Filter.UseDNS = filter.DNSNo
		}
	case "datepattern":
		s.Filter.DatePattern = []string{value}
	case "logtimezone":
		s.Filter.LogTimezone = value
	case "prefregex":
		s.Filter.Prefregex = filter.Expr{Text: value}
	case "addfailregex", "delfailregex":
		return expressions(&s.Filter.Failregex, what == "addfailregex")
	case "addignoreregex", "delignoreregex":
		return expressions(&s.Filter.Ignoreregex, what == "addignoreregex")
	default:
		if slices.Contains(config.IncreaseKeys, what) {
			return changeIncrease(s, what, value)
		}
		return noSet(what)
	}
	return nil
}

// changeIncrease sets one of the family of bantime.increment.
func changeIncrease(s *config.Jail, what, value string) (err error) {
	s.Settings = slices.DeleteFunc(slices.Clone(s.Settings), func(x config.Setting) bool { return x.Name == what })
	s.Settings = append(s.Settings, config.Setting{Name: what, Value: value})
	s.Increase = config.ParseIncrease(func(key string) string {
		v, _ := setting(s, key).(string)
		return v
	}, func(_ string, e error) {
		if err == nil {
			err = pyError("ValueError", e.Error())
		}
	})
	return err
}
