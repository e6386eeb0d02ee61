package daemon

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/filter"
	"bailiff/pkg/jail"
)

// The commands of fail2ban's server, with its answers position by position:
// other people's clients look at those.

// compatVersion is what `version` answers; some dashboards refuse what they don't
// know.
const compatVersion = "1.1.0"

func pyError(class string, args ...any) error { return &control.Exception{Class: class, Args: args} }

func unknownJail(name string) error {
	return &control.Exception{Module: "fail2ban.exceptions", Class: "UnknownJailException", Args: []any{name}}
}

// command is the words of a command. Looking for one that is not there is an
// IndexError, which clients print as "Sorry but the command is invalid".
type command struct{ words []string }

type missingWord struct{}

func (c *command) word(i int) string {
	if i >= len(c.words) {
		panic(missingWord{})
	}
	return c.words[i]
}

func (c *command) rest(i int) []string { return c.words[min(i, len(c.words)):] }

// Command implements control.Commander.
func (d *Daemon) Command(args []any) (v any, err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(missingWord); !ok {
				panic(r)
			}
			v, err = nil, pyError("IndexError", "list index out of range")
		}
		if err != nil {
			d.log.With("component", "transmitter").Error(fmt.Sprintf("Command %s has failed. Received %s", shown(args), pythonError(err)))
		}
	}()
	c := &command{}
	for _, a := range args {
		switch a := a.(type) {
		case string:
			c.words = append(c.words, a)
		case int, float64, bool:
			c.words = append(c.words, fmt.Sprint(a))
		case nil:
			c.words = append(c.words, "None")
		default: // the commands of a reload, which we read from the files
			c.words = append(c.words, "")
		}
	}
	return d.carryOut(c)
}

func shown(args []any) string {
	var out []string
	for _, a := range args {
		if s, ok := a.(string); ok {
			out = append(out, pyString(s))
		} else {
			out = append(out, fmt.Sprintf("%.100v", a))
		}
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func pyString(s string) string {
	if len(s) > 500 {
		s = s[:500] + "…"
	}
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		return strconv.Quote(s)
	}
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", `\n`).Replace(s) + "'"
}

func pythonError(err error) string {
	if e, ok := err.(*control.Exception); ok {
		var args []string
		for _, a := range e.Args {
			if s, ok := a.(string); ok {
				args = append(args, pyString(s))
			} else {
				args = append(args, fmt.Sprint(a))
			}
		}
		return e.Class + "(" + strings.Join(args, ", ") + ")"
	}
	return "Exception(" + pyString(err.Error()) + ")"
}

func (d *Daemon) carryOut(c *command) (any, error) {
	switch name := c.word(0); name {
	case "ping":
		return "pong", nil
	case "version":
		return compatVersion, nil
	case "bailiff": // so that a client knows whom it talks to
		return d.opts.Version, nil
	case "echo":
		out := control.List{}
		for _, w := range c.rest(1) {
			out = append(out, w)
		}
		return out, nil
	case "server-status":
		return "Server ready", nil
	case "sleep":
		seconds, err := strconv.ParseFloat(c.word(1), 64)
		if err != nil || seconds < 0 || seconds > 60 {
			return nil, pyError("ValueError", "could not convert string to float: "+pyString(c.word(1)))
		}
		time.Sleep(time.Duration(seconds * float64(time.Second)))
		return nil, nil
	case "flushlogs":
		if d.opts.Reopen == nil {
			return "flushed", nil
		}
		file, err := d.opts.Reopen()
		if err != nil {
			return nil, err
		}
		if file {
			return "rolled over", nil
		}
		return "flushed", nil // what goes elsewhere is not kept back
	case "status":
		return d.fail2banStatus(c)
	case "banned":
		return d.banned("", c.rest(1))
	case "unban":
		if len(c.words) == 1 {
			return nil, pyError("Exception", "Invalid command")
		}
		if c.word(1) == "--all" && len(c.words) == 2 {
			return d.unbanAs("", nil, true, false)
		}
		return d.unbanAs("", c.rest(1), false, false)
	case "get":
		return d.get(c)
	case "set", "multi-set":
		return d.set(c)
	case "stop":
		if len(c.words) == 1 {
			time.AfterFunc(100*time.Millisecond, d.Stop) // once this is answered
			return nil, nil
		}
		return nil, d.stopAs(c.word(1))
	case "start":
		name := c.word(1)
		if _, err := d.known(name); err != nil {
			return nil, err
		}
		return nil, nil // it runs
	case "reload":
		return d.reloadAs(c)
	case "server-stream", "config-error":
		return nil, nil // the configuration is read from its files
	}
	return nil, pyError("Exception", "Invalid command")
}

func (d *Daemon) known(name string) (*jail.Jail, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if j := d.jails[name]; j != nil {
		return j, nil
	}
	return nil, unknownJail(name)
}

func (d *Daemon) stopAs(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := []string{name}
	if name == "--all" {
		names = sortedJails(d.jails)
	}
	for _, n := range names {
		j := d.jails[n]
		if j == nil {
			return unknownJail(n)
		}
		j.Stop(true)
		delete(d.jails, n)
		if d.store != nil {
			d.store.disable(n)
		}
		d.log.With("component", "jail").Info(fmt.Sprintf("Jail '%s' stopped", n))
	}
	return nil
}

// reloadAs is reload JAIL|--all OPTIONS COMMANDS, as fail2ban-client sends it. The
// commands are what it has read from the configuration; we read that ourselves.
func (d *Daemon) reloadAs(c *command) (any, error) {
	name := "--all"
	if len(c.words) > 1 {
		name = c.word(1)
	}
	options := strings.Join(c.rest(2), " ")
	if name != "--all" {
		if _, err := d.known(name); err != nil && !strings.Contains(options, "--if-exists") {
			return nil, err
		}
	}
	if strings.Contains(options, "--unban") {
		only := name
		if name == "--all" {
			only = ""
		}
		if _, err := d.unbanAs(only, nil, true, false); err != nil {
			return nil, err
		}
	}
	if _, err := d.Reload(); err != nil {
		return nil, err
	}
	return "OK", nil
}

func (d *Daemon) fail2banStatus(c *command) (any, error) {
	if len(c.words) == 1 {
		var names []string
		for _, j := range d.running() {
			names = append(names, j.Configured.Name)
		}
		return control.List{control.Tuple{"Number of jail", len(names)}, control.Tuple{"Jail list", strings.Join(names, ", ")}}, nil
	}
	flavour := "basic"
	if len(c.words) > 2 {
		flavour = c.word(2)
	}
	if c.word(1) == "--all" {
		out := control.Dict{Values: map[string]any{}}
		for _, j := range d.running() {
			v, err := jailStatus(j, flavour)
			if err != nil {
				return nil, err
			}
			out.Keys = append(out.Keys, j.Configured.Name)
			out.Values[j.Configured.Name] = v
		}
		return out, nil
	}
	j, err := d.known(c.word(1))
	if err != nil {
		return nil, err
	}
	return jailStatus(j, flavour)
}

func jailStatus(j *jail.Jail, flavour string) (any, error) {
	s := j.Status(true)
	if flavour == "stats" {
		backend := "auto"
		if j.Configured.Journal != nil {
			backend = "systemd"
		} else if j.Configured.Polling {
			backend = "polling"
		}
		return control.List{backend, control.Tuple{s.Banned, s.TotalBanned}, control.Tuple{s.Failed, s.TotalFailed}}, nil
	}
	if flavour != "basic" && flavour != "short" {
		return nil, pyError("ValueError", "unknown flavor "+pyString(flavour)+": basic, short or stats")
	}
	ids := control.List{}
	for _, b := range byEnd(s.Bans) {
		ids = append(ids, b.IP)
	}
	found := control.List{control.Tuple{"Currently failed", s.Failed}, control.Tuple{"Total failed", s.TotalFailed}}
	banned := control.List{control.Tuple{"Currently banned", s.Banned}, control.Tuple{"Total banned", s.TotalBanned}}
	if flavour == "basic" {
		if journal := j.Configured.Journal; journal != nil {
			var all []string
			for _, m := range journal.Matches {
				all = append(all, strings.Join(m, " "))
			}
			found = append(found, control.Tuple{"Journal matches", control.List{strings.Join(all, " + ")}})
		} else {
			found = append(found, control.Tuple{"File list", logPaths(j, s)})
		}
		banned = append(banned, control.Tuple{"Banned IP list", ids})
	}
	return control.List{control.Tuple{"Filter", found}, control.Tuple{"Actions", banned}}, nil
}

// logPaths are the logs that are there, in the order in which they are configured.
func logPaths(j *jail.Jail, s jail.Status) control.List {
	out := control.List{}
	for _, glob := range j.Settings().LogPath {
		for _, f := range s.Files {
			if ok, _ := filepath.Match(glob, f.Path); (ok || f.Path == filepath.Clean(glob)) && f.Error == "" && !slices.Contains(out, any(f.Path)) {
				out = append(out, f.Path)
			}
		}
	}
	return out
}

// byEnd sorts bans by their end, those for ever last.
func byEnd(bans []jail.BanStatus) []jail.BanStatus {
	out := slices.Clone(bans)
	slices.SortStableFunc(out, func(a, b jail.BanStatus) int {
		switch {
		case a.End == nil && b.End == nil:
			return 0
		case a.End == nil:
			return 1
		case b.End == nil:
			return -1
		}
		return a.End.Compare(*b.End)
	})
	return out
}

// banned answers `banned` and `get JAIL banned`.
func (d *Daemon) banned(name string, ids []string) (any, error) {
	has := func(j *jail.Jail, ip string) bool {
		id, err := ParseIP(ip)
		return err == nil && slices.ContainsFunc(j.Bans(), func(b jail.BanStatus) bool { return b.IP == ban.Name(id) })
	}
	all := func(j *jail.Jail) control.List {
		out := control.List{}
		for _, b := range j.Bans() {
			out = append(out, b.IP)
		}
		return out
	}
	if name != "" {
		j, err := d.known(name)
		if err != nil {
			return nil, err
		}
		switch len(ids) {
		case 0:
			return all(j), nil
		case 1:
			return number(has(j, ids[0])), nil
		}
		out := control.List{}
		for _, ip := range ids {
			out = append(out, number(has(j, ip)))
		}
		return out, nil
	}
	out := control.List{}
	if len(ids) == 0 {
		for _, j := range d.running() {
			out = append(out, control.Dict{Keys: []string{j.Configured.Name}, Values: map[string]any{j.Configured.Name: all(j)}})
		}
		return out, nil
	}
	for _, ip := range ids {
		in := control.List{}
		for _, j := range d.running() {
			if has(j, ip) {
				in = append(in, j.Configured.Name)
			}
		}
		out = append(out, in)
	}
	return out, nil
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// unbanAs lifts bans and returns how many. strict makes it an error that one is
// not there.
func (d *Daemon) unbanAs(name string, ips []string, all, strict bool) (any, error) {
	r := control.UnbanRequest{IPs: ips, All: all, Jail: name}
	if name != "" {
		if _, err := d.known(name); err != nil {
			return nil, err
		}
	}
	var within []string // a network stands for the bans in it
	for _, ip := range ips {
		id, err := ParseIP(ip)
		if err != nil || id.IsSingleIP() {
			within = append(within, ip)
			continue
		}
		inside := []string{ip}
		bans, err := d.Bans(name)
		if err != nil {
			return nil, err
		}
		for _, b := range bans {
			if one, err := ParseIP(b.IP); err == nil && one != id && id.Bits() <= one.Bits() && id.Contains(one.Addr()) && !slices.Contains(inside, b.IP) {
				inside = append(inside, b.IP)
			}
		}
		within = append(within, inside...)
	}
	r.IPs = within
	res, err := d.Unban(r)
	if err != nil {
		return nil, err
	}
	n := 0
	var missed []string
	for _, x := range res {
		n += x.Count
		if x.Count == 0 && slices.Contains(ips, x.IP) {
			missed = append(missed, x.IP)
			d.log.With("component", "actions").Info(x.IP + " is not banned")
		}
	}
	if strict && len(missed) > 0 {
		quoted := make([]string, len(missed))
		for i, m := range missed {
			quoted[i] = pyString(m)
		}
		return nil, pyError("ValueError", "not banned: ["+strings.Join(quoted, ", ")+"]")
	}
	return n, nil
}

func seconds(d time.Duration) any {
	if d < 0 {
		return -1
	}
	return int(d / time.Second)
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

func (d *Daemon) get(c *command) (any, error) {
	switch c.word(1) {
	case "loglevel":
		return d.cfg.Log.Level, nil
	case "logtarget":
		switch d.cfg.Log.Target {
		case "stderr", "stdout":
			return strings.ToUpper(d.cfg.Log.Target), nil
		case "journal":
			return "SYSTEMD-JOURNAL", nil
		}
		return d.cfg.Log.Target, nil
	case "syslogsocket":
		return "auto", nil
	case "thread":
		return control.Dict{Keys: []string{"stacksize"}, Values: map[string]any{"stacksize": 0}}, nil
	case "dbfile":
		if d.store == nil {
			return nil, nil
		}
		return d.store.Path(), nil
	case "dbmaxmatches":
		return d.cfg.Database.MaxMatches, nil
	case "dbpurgeage":
		return seconds(d.cfg.Database.PurgeAge), nil
	}
	what := c.word(2)
	j, err := d.known(c.word(1))
	if err != nil {
		return nil, err
	}
	return d.getOf(j, what, c.rest(3))
}

func (d *Daemon) getOf(j *jail.Jail, what string, more []string) (any, error) {
	s := j.Settings()
	switch what {
	case "banned":
		return d.banned(s.Name, more)
	case "banip":
		out := control.List{}
		for _, b := range byEnd(j.Bans()) {
			if len(more) == 0 || more[0] != "--with-time" {
				out = append(out, b.IP)
				continue
			}
			lasts, end := "-1", "9999-12-31 23:59:59"
			if b.End != nil {
				lasts, end = strconv.Itoa(int(b.End.Sub(b.Start).Round(time.Second)/time.Second)), b.End.Format(time.DateTime)
			}
			out = append(out, fmt.Sprintf("%s \t%s + %s = %s", b.IP, b.Start.Format(time.DateTime), lasts, end))
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
		return setting(&s, "ignorecache"), nil
	case "prefregex":
		pref, _, _, _ := j.Expressions()
		return pref, nil
	case "failregex", "ignoreregex":
		_, fail, ignore, _ := j.Expressions()
		if what == "failregex" {
			return stringsList(fail), nil
		}
		return stringsList(ignore), nil
	case "usedns":
		if s.Filter.UseDNS == "" {
			return "warn", nil
		}
		return string(s.Filter.UseDNS), nil
	case "findtime":
		return seconds(s.FindTime), nil
	case "bantime":
		return seconds(s.BanTime), nil
	case "maxretry":
		return s.MaxRetry, nil
	case "maxmatches":
		return s.MaxMatches, nil
	case "maxlines":
		return max(s.Filter.MaxLines, 1), nil
	case "logtimezone":
		if s.Filter.LogTimezone == "" {
			return nil, nil
		}
		return s.Filter.LogTimezone, nil
	case "datepattern":
		_, _, _, dates := j.Expressions()
		switch len(dates) {
		case 0:
			return nil, nil
		case 1:
			return control.Tuple{dates[0][0], dates[0][1]}, nil
		}
		return control.Tuple{nil, "Default Detectors"}, nil
	case "actions":
		out := control.List{}
		for _, p := range s.Parts {
			if p.Kind == "action" {
				out = append(out, p.Name)
			}
		}
		return out, nil
	case "actionproperties":
		p, err := actionPart(&s, more)
		if err != nil {
			return nil, err
		}
		out := control.List{}
		for _, x := range p.Settings {
			out = append(out, x.Name)
		}
		return out, nil
	case "actionmethods":
		if _, err := actionPart(&s, more); err != nil {
			return nil, err
		}
		return stringsList([]string{"ban", "flush", "start", "stop", "unban"}), nil
	case "action":
		p, err := actionPart(&s, more)
		if err != nil {
			return nil, err
		}
		if len(more) < 2 {
			panic(missingWord{})
		}
		for _, x := range p.Settings {
			if x.Name == more[1] {
				return x.Value, nil
			}
		}
		return nil, pyError("AttributeError", more[1])
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
	return nil, pyError("Exception", "Invalid command (no get action or not yet implemented)")
}

func actionPart(s *config.Jail, more []string) (*config.Part, error) {
	if len(more) == 0 {
		panic(missingWord{})
	}
	for i := range s.Parts {
		if s.Parts[i].Kind == "action" && s.Parts[i].Name == more[0] {
			return &s.Parts[i], nil
		}
	}
	return nil, pyError("KeyError", "Invalid Action name: "+pyString(more[0]))
}

func ignoreList(s *config.Jail) control.List {
	// Networks come first, as fail2ban has them.
	var networks, single control.List
	for _, p := range s.Ignore.Prefixes {
		if p.IsSingleIP() {
			single = append(single, ban.Name(p))
		} else {
			networks = append(networks, ban.Name(p))
		}
	}
	out := append(append(control.List{}, networks...), single...)
	for _, n := range s.Ignore.Names {
		out = append(out, n)
	}
	return out
}

func (d *Daemon) set(c *command) (any, error) {
	switch name := c.word(1); name {
	case "loglevel", "logtarget", "syslogsocket", "dbfile", "dbmaxmatches", "dbpurgeage", "thread", "allowipv6":
		c.word(2)
		return nil, pyError("Exception", name+" can't be changed while the daemon runs: set it in the configuration and restart")
	}
	what := c.word(2)
	j, err := d.known(c.word(1))
	if err != nil {
		return nil, err
	}
	switch what {
	case "banip":
		return d.banAs(j, c.rest(3))
	case "unbanip":
		ips := c.rest(3)
		strict := c.word(3) == "--report-absent"
		if strict {
			ips = c.rest(4)
		}
		return d.unbanAs(j.Configured.Name, ips, false, strict)
	case "addlogpath", "dellogpath":
		return d.setLog(j, what, c)
	case "attempt":
		id, err := ParseIP(c.word(3))
		if err != nil {
			return nil, pyError("ValueError", err.Error())
		}
		n := j.Attempt(id, c.rest(4))
		d.settle()
		return n, nil
	}
	if err := j.Change(func(s *config.Jail) error { return change(s, what, c) }); err != nil {
		return nil, err
	}
	shownAs := strings.TrimPrefix(strings.TrimPrefix(what, "add"), "del")
	if shownAs == what || slices.Contains([]string{"ignoreip", "failregex", "ignoreregex"}, shownAs) {
		return d.getOf(j, shownAs, nil)
	}
	return nil, nil
}

// setLog has a jail follow a log, or no longer. The answer names the logs.
func (d *Daemon) setLog(j *jail.Jail, what string, c *command) (any, error) {
	path := c.word(3)
	if what == "dellogpath" {
		j.RemoveLog(path)
		return d.logsWithout(j, path)
	}
	tail := false
	switch len(c.words) {
	case 4:
	case 5:
		switch strings.ToLower(c.word(4)) {
		case "tail":
			tail = true
		case "head":
		default:
			return nil, pyError("ValueError", "File option must be 'head' or 'tail'")
		}
	default:
		return nil, pyError("ValueError", "Only one file can be added at a time")
	}
	if f, err := os.Open(path); err != nil {
		return nil, &control.Exception{Class: "FileNotFoundError", Args: []any{2, "No such file or directory"}}
	} else {
		f.Close()
	}
	if !j.AddLog(path, tail) {
		return control.List{}, nil
	}
	for range 100 { // until it is followed
		if list, _ := d.getOf(j, "logpath", nil); slices.Contains(list.(control.List), any(path)) {
			return list, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return d.getOf(j, "logpath", nil)
}

func (d *Daemon) logsWithout(j *jail.Jail, path string) (any, error) {
	for range 100 {
		if list, _ := d.getOf(j, "logpath", nil); !slices.Contains(list.(control.List), any(path)) {
			return list, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return d.getOf(j, "logpath", nil)
}

func (d *Daemon) banAs(j *jail.Jail, ips []string) (any, error) {
	n := 0
	for _, ip := range ips {
		id, err := ParseIP(ip)
		if err != nil {
			return nil, pyError("ValueError", err.Error())
		}
		added, err := j.Ban(id, false)
		if err != nil {
			d.log.With("component", "actions").Warn(err.Error())
			continue
		}
		n += number(added)
	}
	d.settle()
	return n, nil
}

// change sets one option of a jail.
func change(s *config.Jail, what string, c *command) error {
	value := c.word(3)
	integer := func(to *int, least int) error {
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return pyError("ValueError", "invalid literal for int() with base 10: "+pyString(value))
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
	case "maxretry":
		return integer(&s.MaxRetry, 1)
	case "maxmatches":
		return integer(&s.MaxMatches, 0)
	case "maxlines":
		return integer(&s.Filter.MaxLines, 1)
	case "findtime":
		return span(&s.FindTime)
	case "bantime":
		return span(&s.BanTime)
	case "addignoreip":
		ignore := s.Ignore
		ignore.Prefixes = slices.Clone(ignore.Prefixes)
		for _, ip := range c.rest(3) {
			if err := ignore.Add(ip); err != nil {
				return pyError("ValueError", err.Error())
			}
		}
		s.Ignore = ignore
	case "delignoreip":
		var gone config.IgnoreList
		if err := gone.Add(value); err != nil {
			return pyError("ValueError", err.Error())
		}
		s.Ignore.Prefixes = slices.DeleteFunc(slices.Clone(s.Ignore.Prefixes), func(p netip.Prefix) bool { return slices.Contains(gone.Prefixes, p) })
		s.Ignore.Names = slices.DeleteFunc(slices.Clone(s.Ignore.Names), func(n string) bool { return slices.Contains(gone.Names, n) })
	case "ignoreself":
		s.Ignore.Self = config.Truth(value)
	case "usedns":
		u := filter.UseDNS(strings.ToLower(value))
		if !slices.Contains([]filter.UseDNS{filter.DNSYes, filter.DNSWarn, filter.DNSNo, filter.DNSRaw}, u) {
			return pyError("ValueError", "usedns "+pyString(value)+": want yes, warn, no or raw")
		}
		s.Filter.UseDNS = u
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
		return pyError("Exception", fmt.Sprintf("Invalid command %s (no set action or not yet implemented)", pyString(what)))
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
