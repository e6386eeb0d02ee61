package fail2ban

import (
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	"bailiff/pkg/tags"
)

// Filter is a filter with everything filled in but the tags of expressions.
type Filter struct {
	Name         string
	PrefRegex    string
	FailRegex    []string
	IgnoreRegex  []string
	DatePattern  []string // nil: the default ones
	MaxLines     string
	JournalMatch []string
	UseDNS       string
	Options      *tags.Options // all of [Definition] and [Init], resolved
	// Params are the names of the options that were given from outside or stand in
	// [Init], in their order.
	Params []string
	Files  []string

	cfg   *Config
	given *tags.Options
}

// Where tells where an option of the filter stands; the zero Value if it was given
// from outside, or nowhere.
func (f *Filter) Where(option string) Value { return f.cfg.definedAt(option, f.given) }

func (c *Config) definedAt(option string, given *tags.Options) Value {
	if c == nil {
		return Value{}
	}
	if _, ok := given.Get(option); ok {
		return Value{}
	}
	for _, section := range []string{"Definition", "Init"} {
		if s, ok := c.Sections[section]; ok {
			if v, ok := s[strings.ToLower(option)]; ok {
				return v
			}
		}
	}
	return c.Defaults[strings.ToLower(option)]
}

// filterOptions are those of a filter's [Definition], in fail2ban's order.
var filterOptions = []string{"usedns", "prefregex", "ignoreregex", "failregex", "maxlines", "datepattern", "journalmatch", "logtype", "mode"}

// definition is a file with [Definition] and [Init], and the options given to it
// from outside.
type definition struct {
	cfg  *Config
	vars map[string]string // as given
	opts *tags.Options     // of [Definition], without those given from outside
	init *tags.Options     // given, and of [Init]
	memo map[string]*string
}

// readDefinition resolves the options named. Those that stand in outer (a jail's
// options) or given (the ones in brackets, which win) are taken from there; with
// all, every option of [Definition] is read.
func readDefinition(c *Config, names []string, outer, given *tags.Options, all bool) (*definition, error) {
	d := &definition{cfg: c, vars: map[string]string{}, opts: &tags.Options{}, init: given.Clone(), memo: map[string]*string{}}
	if outer != nil {
		for _, n := range outer.Names {
			d.vars[strings.ToLower(n)] = outer.Values[n]
		}
	}
	for _, n := range given.Names {
		d.vars[strings.ToLower(n)] = given.Values[n]
	}
	var errs []error
	read := func(name string) {
		v, err := c.Get("Definition", name, d.vars)
		var none *NoOptionError
		switch {
		case errors.As(err, &none):
		case err != nil:
			errs = append(errs, err)
		default:
			d.opts.Set(name, v)
		}
	}
	for _, name := range names {
		if _, ok := d.vars[name]; !ok {
			read(name)
		}
	}
	if s, ok := c.Sections["Init"]; ok {
		for _, name := range sortedNames(s) {
			v, err := c.Get("Init", name, nil)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			d.init.Set("known/"+name, v)
			if _, ok := d.init.Get(name); ok {
				continue
			}
			// As of 1.1.1 what is given stands in place of [Init?family=…]'s, too.
			if m := conditional.FindStringSubmatch(name); m != nil {
				if given, ok := d.vars[m[1]]; ok {
					v = given
				}
			}
			d.init.Set(name, v)
		}
	}
	if all {
		s := Section{}
		for k, v := range c.Defaults {
			s[k] = v
		}
		for k, v := range c.Sections["Definition"] {
			s[k] = v
		}
		for _, name := range sortedNames(s) {
			if _, ok := d.opts.Get(name); !ok {
				read(name)
			}
		}
	}
	return d, errors.Join(errs...)
}

// combined returns all options with their <tags> replaced.
func (d *definition) combined(family string, ignore ...string) (*tags.Options, error) {
	all := d.opts.Clone()
	for _, n := range d.init.Names {
		all.Set(n, d.init.Values[n])
	}
	skip := map[string]bool{}
	for _, n := range ignore {
		skip[n] = true
	}
	if family == "" {
		for _, n := range all.Names {
			if m := conditional.FindStringSubmatch(n); m != nil {
				skip[m[1]] = true
			}
		}
	}
	return tags.Substitute(all, family, skip, func(name string) (string, bool) {
		if v, ok := d.memo[name]; ok {
			if v == nil {
				return "", false
			}
			return *v, true
		}
		v, ok := d.ofSection(name)
		var err error
		if !ok {
			v, err = d.cfg.Get("Definition", name, d.vars)
		}
		if err != nil {
			d.memo[name] = nil
			return "", false
		}
		d.memo[name] = &v
		return v, true
	})
}

// ofSection returns what the file says of <SECTION/OPTION>, whatever was given from outside:
// so an option in brackets can hold the one that it takes the place of. <known/OPTION> is
// what a later file replaced, or the option itself.
func (d *definition) ofSection(name string) (string, bool) {
	section, option, ok := strings.Cut(name, "/")
	if !ok {
		return "", false
	}
	option = strings.ToLower(option)
	switch strings.ToLower(section) {
	case "known":
		section = "Definition"
		if v, ok := d.cfg.known[section][option]; ok {
			text, err := d.cfg.interpolate(section, option, v, nil, 1)
			return text, err == nil
		}
	case "default":
		section = "DEFAULT"
	default:
		if d.cfg.Sections[section] == nil {
			return "", false
		}
	}
	text, err := d.cfg.Get(section, option, nil)
	return text, err == nil
}

// ReadFilter reads filter.d/NAME of a tree with options from outside.
func ReadFilter(tree, name string, given *tags.Options) (*Filter, error) {
	base := filepath.Join(tree, "filter.d", name)
	c, found, err := Read(base)
	if !found {
		return nil, fmt.Errorf("no filter %q: %s.conf is not there", name, base)
	}
	if err != nil {
		return nil, fmt.Errorf("filter %s: %w", name, err)
	}
	return NewFilter(c, name, given)
}

// AutoOptions gives the option that tells a filter whether lines come from a file
// or from the journal, if the filter does not say that itself.
func (c *Config) AutoOptions(given *tags.Options, backend string) {
	if _, ok := given.Get("logtype"); ok {
		return
	}
	if _, own := c.Sections["Definition"]["logtype"]; own { // that of [DEFAULT] does not count
		return
	}
	kind := "file"
	if strings.HasPrefix(backend, "systemd") {
		kind = "journal"
	}
	given.Set("logtype", kind)
}

// NewFilter resolves a filter.
func NewFilter(c *Config, name string, given *tags.Options) (*Filter, error) {
	return newFilter(c, name, nil, given, false)
}

func newFilter(c *Config, name string, outer, given *tags.Options, all bool) (*Filter, error) {
	d, err := readDefinition(c, filterOptions, outer, given, all)
	if err != nil {
		return nil, fmt.Errorf("filter %s: %w", name, err)
	}
	opts, err := d.combined("")
	if err != nil {
		return nil, fmt.Errorf("filter %s: %w", name, err)
	}
	f := &Filter{Name: name, Options: opts, Params: d.init.Names, Files: c.Files, cfg: c, given: given}
	get := func(n string) string { v, _ := opts.Get(n); return v }
	f.PrefRegex, f.MaxLines, f.UseDNS = get("prefregex"), get("maxlines"), get("usedns")
	f.FailRegex, f.IgnoreRegex = lines(get("failregex")), lines(get("ignoreregex"))
	if p, ok := opts.Get("datepattern"); ok && p != "" {
		f.DatePattern = []string{p}
	}
	f.JournalMatch = lines(get("journalmatch"))
	return f, nil
}

// lines parts a value of several lines; empty ones are dropped.
func lines(s string) []string {
	var out []string
	for _, l := range strings.Split(s, "\n") {
		if l != "" {
			out = append(out, l)
		}
	}
	return out
}

func sortedNames(s Section) []string {
	names := make([]string, 0, len(s))
	for n := range s {
		names = append(names, n)
	}
	// As they stand in their files, so that what refers to what reads naturally.
	sort.Slice(names, func(i, j int) bool {
		a, b := names[i], names[j]
		x, y := s[a], s[b]
		if x.File != y.File {
			return x.File < y.File
		}
		if x.Line != y.Line {
			return x.Line < y.Line
		}
		return a < b
	})
	return names
}
