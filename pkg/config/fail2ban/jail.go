package fail2ban

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"

	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/tags"
)

// Version is the fail2ban whose configuration this reads; %(fail2ban_version)s.
const Version = "1.1.1"

// Jail is a jail with everything filled in.
type Jail struct {
	Name    string
	Enabled bool
	// Faults are entries that cost only themselves: of ignoreip.
	Faults []error
	// Options are those of the jail itself, by fail2ban's names.
	Options *tags.Options
	Filter  *Filter // nil: the jail names none
	Actions []Action
	// Err is why the jail can't start.
	Err error
	// Warnings are what fail2ban only mentions.
	Warnings []error

	section string
	cfg     *Config
	// more are options of its filter, and backend is where lines come from, in place of
	// what the jail says.
	more    *tags.Options
	backend string
}

// Action is one action of a jail.
type Action struct {
	Name string // unique within the jail
	File string // of action.d, without directory and ending
	// Options are actionban and its like, and all parameters, with what can be
	// filled in before a ban filled in.
	Options *tags.Options
	// Python is the path of an action that is a program of Python's; its
	// parameters are Options.
	Python string
	Files  []string

	cfg   *Config
	given *tags.Options
}

// Where tells where an option of the action stands; the zero Value if it was given
// from outside, or nowhere.
func (a *Action) Where(option string) Value { return a.cfg.definedAt(option, a.given) }

// jailOptions are those of a jail, in fail2ban's order.
var jailOptions = []string{
	"enabled", "backend", "maxretry", "maxmatches", "findtime", "bantime",
	"bantime.increment", "bantime.factor", "bantime.formula", "bantime.multipliers", "bantime.maxtime", "bantime.rndtime", "bantime.overalljails",
	"ignorecommand", "ignoreself", "ignoreip", "ignorecache", "filter", "logtimezone", "logencoding", "logpath", "skip_if_nologs", "systemd_if_nologs", "action",
	"usedns", "prefregex", "ignoreregex", "failregex", "maxlines", "datepattern", "journalmatch", "logtype", "mode",
	// Not fail2ban's, which reads over them.
	"ban.prefix4", "ban.prefix6", "ban.aggregate", "ignoressh", "transport",
}

var jailDefaults = map[string]string{"enabled": "false", "backend": "auto", "filter": "", "action": ""}

// actionOptions are those of an action's [Definition].
var actionOptions = []string{
	"actionstart", "actionstart_on_demand", "actionstop", "actionflush", "actionreload", "actioncheck", "actionrepair", "actionrepair_on_unban",
	"actionban", "actionprolong", "actionreban", "actionunban", "norestored",
}

// actionLate are tags that are filled in at the ban.
var actionLate = []string{"matches", "ipmatches", "ipjailmatches", "timeout", "bantime"}

// Tree is a configuration directory, read.
type Tree struct {
	Dir   string
	Jails []*Jail // all of them, in the order of their files; those that are not enabled have only a name
	Jail  *Config // jail.conf with everything over it
	// Server is fail2ban.conf with everything over it; nil: there is none.
	Server *Config
	// Errors are mistakes outside of jails.
	Errors []error
	// Unread are those of them for which a part of a file can't be read: fail2ban takes
	// nothing of a tree then.
	Unread []error
}

// ReadTree reads fail2ban's configuration directory. The error is for a tree
// without a jail.conf that can be read; what is wrong with one jail stays there.
func ReadTree(dir string) (*Tree, error) {
	dir = strings.TrimRight(dir, "/")
	c, found, err := Read(filepath.Join(dir, "jail"))
	if !found {
		return nil, fmt.Errorf("%s: no jail.conf and no jail.local there", dir)
	}
	t := &Tree{Dir: dir, Jail: c}
	t.unread(err)
	t.Errors = append(t.Errors, c.Warnings...)
	c.Defaults["fail2ban_version"] = Value{Text: Version}
	c.Defaults["fail2ban_confpath"] = Value{Text: dir}
	for _, name := range c.Order {
		if name == "INCLUDES" {
			continue
		}
		j := &Jail{Name: name, Options: &tags.Options{}, section: name, cfg: c}
		j.Err = j.read(dir, false)
		t.Jails = append(t.Jails, j)
	}
	server, found, err := Read(filepath.Join(dir, "fail2ban"))
	t.unread(err)
	if found {
		t.Server = server
	}
	return t, nil
}

func (t *Tree) unread(err error) {
	if err != nil {
		t.Errors, t.Unread = append(t.Errors, err), append(t.Unread, err)
	}
}

// Needed are the files, of those that were read, that are no matter of taste: jail.conf,
// fail2ban.conf and what they include. One that is missing all at once was not taken
// away to change something.
func (t *Tree) Needed() (out []string) {
	for _, c := range []*Config{t.Jail, t.Server} {
		if c == nil {
			continue
		}
		for _, f := range c.Files {
			if filepath.Dir(f) == t.Dir && strings.HasSuffix(f, ".conf") {
				out = append(out, f)
			}
		}
	}
	return out
}

// Where tells where an option of the jail stands; the zero Value if it is nowhere.
func (j *Jail) Where(option string) Value {
	v, _ := j.cfg.Raw(j.section, option, nil)
	return v
}

// Should tells where an option stands, or should: below the header of the jail's section.
func (j *Jail) Should(option string) Value {
	if v := j.Where(option); v.File != "" {
		return v
	}
	return j.cfg.Places[j.section]
}

// ParseTruth reads a boolean. fail2ban takes every other word as false; that is how a
// slip of the pen puts a jail out of work, so it is an error here.
func ParseTruth(s string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "1", "on", "true", "yes":
		return true, nil
	case "0", "off", "false", "no", "none", "":
		return false, nil
	}
	return false, fmt.Errorf("%q: want true or false", s)
}

func (j *Jail) options(names []string) error {
	j.Options = &tags.Options{}
	var errs []error
	for _, name := range names {
		v, err := j.cfg.Get(j.section, name, nil)
		var none *NoOptionError
		switch {
		case errors.As(err, &none):
			if d, ok := jailDefaults[name]; ok {
				j.Options.Set(name, d)
			}
		case err != nil && name == "ignoreip":
			text, faults := j.ignoreIP()
			j.Options.Set(name, text)
			j.Faults = append(j.Faults, faults...)
		case err != nil:
			errs = append(errs, err)
		default:
			j.Options.Set(name, v)
		}
	}
	return errors.Join(errs...)
}

// ignoreIP reads an ignoreip with an entry that can't be, such as fe80::1%eth0, which
// looks like the beginning of a %(name)s: entry by entry, so that the others hold.
func (j *Jail) ignoreIP() (text string, faults []error) {
	var words []string
	var read func(v Value, depth int)
	read = func(v Value, depth int) {
		for _, word := range strings.FieldsFunc(v.Text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
			text, err := j.cfg.interpolate(j.section, "ignoreip", Value{word, v.File, v.Line}, nil, depth)
			name, whole := strings.CutPrefix(strings.TrimSuffix(word, ")s"), "%(")
			inner, known := j.cfg.lookUp(j.section, strings.ToLower(name), nil)
			switch {
			case err == nil:
				words = append(words, text)
			case whole && known && depth < maxDepth: // it is in there
				read(inner, depth+1)
			case strings.Contains(word, "%("):
				faults = append(faults, err)
			default:
				words = append(words, word) // what else is wrong with it is found where it is read
			}
		}
	}
	read(j.Where("ignoreip"), 1)
	return strings.Join(words, " "), faults
}

// Resolve reads a jail whether it is enabled or not; nil: there is none of that
// name.
func (t *Tree) Resolve(name string) *Jail {
	for _, known := range t.Jails {
		if known.Name != name {
			continue
		}
		if known.Enabled {
			return known
		}
		j := &Jail{Name: name, Options: &tags.Options{}, section: name, cfg: t.Jail}
		j.Err = j.read(t.Dir, true)
		j.Enabled = false
		return j
	}
	return nil
}

// ResolveFor reads a jail, enabled or not, with more options for its filter, and with
// lines that come from another backend than it says; nil: there is none of that name.
func (t *Tree) ResolveFor(name string, more *tags.Options, backend string) *Jail {
	if _, ok := t.Jail.Sections[name]; !ok || name == "INCLUDES" {
		return nil
	}
	j := &Jail{Name: name, Options: &tags.Options{}, section: name, cfg: t.Jail, more: more, backend: backend}
	j.Err = j.read(t.Dir, true)
	return j
}

func (j *Jail) read(dir string, disabled bool) error {
	if err := j.options([]string{"enabled", "backend", "filter"}); err != nil {
		j.Enabled = true // so that somebody is told
		return err
	}
	word := j.Options.Values["enabled"]
	on, err := ParseTruth(word)
	if err != nil { // fail2ban takes it as no
		j.Enabled = true
		return j.fail("enabled", "enabled %v", err)
	}
	if j.Enabled = on; !j.Enabled && !disabled {
		return nil
	}
	var filterName string
	var given *tags.Options
	var filterConf *Config
	if text := j.Options.Values["filter"]; text != "" {
		var err error
		if filterName, given, err = tags.Extract(text); err != nil {
			return j.skip("filter", text, "Invalid filter definition: %v", err)
		}
		c, found, err := Read(filepath.Join(dir, "filter.d", filterName))
		if !found {
			return j.skip("filter", filterName, "Unable to read the filter '%s': %s is not there", filterName, filepath.Join(dir, "filter.d", filterName+".conf"))
		}
		if err != nil {
			return err
		}
		filterConf = c
		if j.more != nil {
			given = given.Clone()
			for _, n := range j.more.Names {
				given.Set(n, j.more.Values[n])
			}
		}
		c.AutoOptions(given, cmp.Or(j.backend, j.Options.Values["backend"]))
		// The filter's options are there as %(known/name)s.
		f, err := newFilter(c, filterName, j.Options, given, true)
		if err != nil {
			return err
		}
		known := Section{}
		for k, v := range j.cfg.Sections[j.section] {
			known[k] = v
		}
		for _, n := range f.Options.Names {
			if !strings.HasPrefix(n, "known/") {
				known["known/"+strings.ToLower(n)] = Value{Text: f.Options.Values[n]}
			}
		}
		j.cfg.Sections[j.section] = known
	} else {
		j.Warnings = append(j.Warnings, fmt.Errorf("jail %s: %w", j.Name, j.fail("filter", "no filter set")))
	}
	if err := j.options(jailOptions); err != nil {
		return err
	}
	if filterConf != nil {
		f, err := newFilter(filterConf, filterName, j.Options, given, false)
		if err != nil {
			return err
		}
		j.Filter = f
	}
	for _, text := range SplitActions(j.Options.Values["action"]) {
		a, err := readAction(dir, text, j)
		if err != nil {
			return err
		}
		j.Actions = append(j.Actions, a)
	}
	if len(j.Actions) == 0 {
		j.Warnings = append(j.Warnings, fmt.Errorf("jail %s: %w", j.Name, j.fail("action", "no actions were defined: whom it bans is in its list, and nothing is done to him")))
	}
	return nil
}

// skip is fail for what leaves out this jail alone. about is what of the option is wrong.
func (j *Jail) skip(option, about, format string, args ...any) error {
	v := j.Origin(option, about)
	return &Error{File: v.File, Line: v.Line, Msg: fmt.Sprintf(format, args...), Skips: true}
}

func (j *Jail) fail(option, format string, args ...any) error {
	v := j.Should(option)
	return &Error{File: v.File, Line: v.Line, Msg: fmt.Sprintf(format, args...)}
}

var oneAction = lazyregexp.New(`(?s)^(?:[^\[\s]+(?:\s*\[\s*(?:` + tags.OptionName + `=(?:"[^"]*"|'[^']*'|[^,\]]*)\s*(?:,|\]\s*\[)?\s*)*\])?)`)

// SplitActions parts several actions with their options, which may go over
// several lines.
func SplitActions(text string) []string {
	var out []string
	for {
		text = strings.TrimLeft(text, " \t\r\n")
		if text == "" {
			return out
		}
		one := oneAction.FindString(text)
		if rest := text[len(one):]; one == "" || rest != "" && !strings.ContainsAny(rest[:1], " \t\r\n") {
			if one = text; strings.ContainsAny(text, " \t\r\n") {
				one = text[:strings.IndexAny(text, " \t\r\n")]
			}
		}
		out = append(out, one)
		text = text[len(one):]
	}
}

func readAction(dir, text string, j *Jail) (Action, error) {
	file, given, err := tags.Extract(text)
	if err != nil {
		return Action{}, j.skip("action", text, "Invalid action definition: %v", err)
	}
	if strings.HasSuffix(file, ".py") {
		a := Action{Name: strings.TrimSuffix(file, ".py"), File: file, Python: filepath.Join(dir, "action.d", file), Options: &tags.Options{}}
		for _, n := range given.Names {
			if n == "actname" {
				a.Name = given.Values[n]
				continue
			}
			a.Options.Set(n, given.Values[n])
		}
		return a, nil
	}
	name, ok := given.Get("name")
	if !ok {
		name = j.Name
		given.Set("name", name)
	}
	unique, ok := given.Get("actname")
	if !ok {
		unique = file
		if name != j.Name {
			if rest, ok := strings.CutPrefix(name, j.Name); ok {
				unique += rest
			} else {
				unique += "-" + name
			}
		}
		given.Set("actname", unique)
	}
	base := filepath.Join(dir, "action.d", file)
	c, found, err := Read(base)
	if !found {
		return Action{}, j.skip("action", file, "Unable to read action '%s': %s.conf is not there", file, base)
	}
	if err != nil {
		return Action{}, err
	}
	d, err := readDefinition(c, actionOptions, j.Options, given, false)
	if err != nil {
		return Action{}, fmt.Errorf("action %s: %w", file, err)
	}
	opts, err := d.combined("", actionLate...)
	if err != nil {
		return Action{}, fmt.Errorf("action %s: %w", file, err)
	}
	a := Action{Name: unique, File: file, Options: &tags.Options{}, Files: c.Files, cfg: c, given: given}
	isOption := map[string]bool{}
	for _, n := range actionOptions {
		isOption[n] = true
	}
	for _, n := range opts.Names {
		if isOption[n] {
			a.Options.Set(n, opts.Values[n])
		}
	}
	for _, n := range d.init.Names {
		if !isOption[n] && !strings.HasPrefix(n, "known/") {
			a.Options.Set(n, d.init.Values[n])
		}
	}
	return a, nil
}

// LogFile is one file of a jail's logpath.
type LogFile struct {
	Glob string
	Tail bool // only what is written from now on
	FIFO bool // it is a named pipe: our own, fail2ban reads none
}

// LogFiles parts logpath: a glob a line, with "tail", "head" or "fifo"
// behind it.
func (j *Jail) LogFiles() []LogFile {
	text, ok := j.Options.Get("logpath")
	if !ok {
		return nil
	}
	var out []LogFile
	for _, line := range strings.Split(text, "\n") {
		f := LogFile{Glob: line}
		if i := strings.LastIndexByte(line, ' '); i >= 0 {
			f.Glob, f.Tail, f.FIFO = line[:i], line[i+1:] == "tail", line[i+1:] == "fifo"
		}
		if f.Glob != "" {
			out = append(out, f)
		}
	}
	return out
}

// Exists reports whether a tree of fail2ban's is in a directory: any file of its jails.
func Exists(dir string) bool {
	for _, f := range []string{"jail.conf", "jail.local", "jail.d/*.conf", "jail.d/*.local"} {
		if len(glob(filepath.Join(dir, f))) > 0 {
			return true
		}
	}
	return false
}

// PartOf returns what else of a tree of fail2ban's is in a directory; empty: nothing.
func PartOf(dir string) string {
	for _, f := range []string{"fail2ban.conf", "fail2ban.local", "filter.d", "action.d"} {
		if exists(filepath.Join(dir, f)) {
			return f
		}
	}
	return ""
}
