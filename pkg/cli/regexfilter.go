package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"bailiff/pkg/config"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/control"
	"bailiff/pkg/filter"
	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/logtime"
	"bailiff/pkg/pyregexp"
	"bailiff/pkg/tags"
)

// maybeFilter is what fail2ban-regex takes for the name of a filter before it
// takes it for an expression.
var maybeFilter = sync.OnceValue(func() *pyregexp.Regexp { return pyregexp.MustCompile(`(?ms)^/{0,3}[\w/_\-.]+(?:\[.*\])?$`, 0) })

// definition finds out what the second argument is: the name of a filter, a
// filter's file, or an expression.
func (o *regexOptions) definition(arg string) (filter.Definition, error) {
	def := filter.Definition{Name: "REGEX", MaxLines: o.maxLines, Year: o.clock().Year(), LogTimezone: o.timezone, Transport: o.transport}
	if !o.fail2ban {
		def.Head, def.Proxies = filter.HeadEither, o.proxies
	}
	if o.maxLines < 0 {
		return def, errors.New("maxlines must be integer greater than zero")
	}
	if o.maxLines > 0 {
		o.printf("Use         maxlines : %d\n", o.maxLines)
	}
	if o.timezone != "" {
		if _, err := logtime.NewDetector(nil, logtime.Options{Zone: o.timezone}); err != nil {
			return def, &exitError{exitUsage, "Unknown or unsupported time zone: " + control.ReprString(o.timezone)}
		}
	}
	if o.datePattern != "" {
		if err := o.setDatePattern(&def, []string{o.datePattern}); err != nil {
			return def, err
		}
	}
	if o.useDNS != "" {
		switch u := filter.UseDNS(strings.ToLower(o.useDNS)); u {
		case filter.DNSYes, filter.DNSWarn, filter.DNSRaw:
			def.UseDNS = u
		default: // fail2ban: "Using safe 'no'"
			def.UseDNS = filter.DNSNo
		}
	}
	read, err := o.findFilter(arg)
	if err != nil {
		return def, err
	}
	if read == nil {
		o.printf("Use   failregex line : %s\n", shorten(arg))
		def.Failregex = []filter.Expr{{Text: arg}}
		return def, nil
	}
	def.Name, def.Prefregex, def.Failregex, def.Ignoreregex = read.Name, read.Prefregex, read.Failregex, read.Ignoreregex
	def.JSON, def.Attempts, def.Head, def.Success = read.JSON, read.Attempts, read.Head, read.Success
	if def.Proxies == nil && !o.fail2ban {
		def.Proxies = read.Proxies
	}
	if read.MaxLines > 0 && o.maxLines == 0 {
		def.MaxLines = read.MaxLines
		o.printf("Use         maxlines : %d\n", read.MaxLines)
	}
	if len(read.DatePattern) > 0 && o.datePattern == "" {
		if err := o.setDatePattern(&def, read.DatePattern); err != nil {
			return def, err
		}
	}
	if len(def.Failregex) == 0 && o.fail2ban {
		// fail2ban-regex counts the lines all the same.
		def.Failregex = []filter.Expr{}
	}
	return def, nil
}

func (o *regexOptions) setDatePattern(def *filter.Definition, patterns []string) error {
	def.DatePattern = patterns
	text := strings.TrimSpace(strings.Join(patterns, "\n"))
	dates, err := logtime.NewDetector(patterns, logtime.Options{Zone: o.timezone, Year: o.clock().Year()})
	if err != nil {
		var wrong *logtime.DirectiveError
		if !o.fail2ban || !errors.As(err, &wrong) {
			return err
		}
		return &exitError{exitUsage, fmt.Sprintf("Failed to set datepattern %s (may be an invalid format or unescaped percent char): %s", control.ReprString(text), pythonFormat(wrong))}
	}
	name := "Default Detectors"
	if t := dates.Templates(); len(t) == 1 || len(t) == 2 {
		name = t[0].Name
	}
	o.printf("Use      datepattern : %s : %s\n", text, name)
	return nil
}

// pythonFormat is what Python's % says of a pattern.
func pythonFormat(e *logtime.DirectiveError) string {
	rest := e.Pattern[e.At+1:]
	switch {
	case strings.Trim(rest, " #+-.0123456789") == "":
		return "incomplete format"
	case strings.Contains(e.Pattern[:e.At], "%"):
		return "not enough arguments for format string"
	}
	r, _ := utf8.DecodeRuneInString(rest)
	shown := r
	if r >= 0x7f {
		shown = '?'
	}
	return fmt.Sprintf("unsupported format character '%c' (0x%x) at index %d", shown, r, utf8.RuneCountInString(e.Pattern[:e.At+1]))
}

// findFilter returns the filter that the argument names, nil if it names none.
func (o *regexOptions) findFilter(arg string) (*filter.Definition, error) {
	if !maybeFilter().Match([]byte(arg)) {
		if !o.fail2ban && isFile(arg) {
			return o.filterFile(arg, &tags.Options{})
		}
		return nil, nil
	}
	name, given, err := tags.Extract(arg)
	if err != nil {
		var wrong *tags.OptionsError
		if o.fail2ban && errors.As(err, &wrong) {
			fmt.Fprintf(o.out, "ERROR: Wrong filter name or options: %s\n       while parsing: %s\n", wrong.Fail2ban(), arg)
			return nil, &exitError{code: exitFail2ban}
		}
		return nil, err
	}
	if o.fail2ban {
		return o.filterAsFail2ban(arg, name, given)
	}
	if isFile(name) {
		return o.filterFile(name, given)
	}
	def, err := o.filterByName(name, given)
	if def == nil && err == nil && onlyName.MatchString(name) {
		return nil, o.noFilter(name)
	}
	return def, err
}

// onlyName is what can be a filter's name only: an expression has at least to say where the
// address stands.
var onlyName = lazyregexp.New(`^[A-Za-z][A-Za-z0-9_.-]*$`)

// noFilter says that there is no filter of a name, and which ones are near it.
func (o *regexOptions) noFilter(name string) error {
	var known []string
	where := "among the stock filters and in " + join(cmp.Or(o.config, config.DefaultDir), "filters")
	if config.IsTree(o.config) {
		dir := join(strings.TrimRight(o.config, "/"), "filter.d")
		where = "in " + dir
		files, _ := filepath.Glob(join(dir, "*.conf"))
		for _, f := range files {
			known = append(known, strings.TrimSuffix(pathBase(f), ".conf"))
		}
	} else if cfg, err := config.LoadWithin(startMost, config.Options{Path: o.config}); err == nil {
		known = slices.Sorted(maps.Keys(cfg.Filters))
	}
	near := ""
	if list := nearNames(name, known); len(list) > 0 {
		near = ": did you mean " + strings.Join(list, ", ") + "?"
	}
	return fmt.Errorf("no filter %s %s%s; as an expression it has no failure-id group: mark the address with <HOST>", name, where, near)
}

// nearNames are the names, five at most, that are a letter or two off, or have the name as a
// part, or are a part of it.
func nearNames(name string, known []string) (near []string) {
	low := strings.ToLower(name)
	for _, k := range known {
		l := strings.ToLower(k)
		if len(near) < 5 && (fail2ban.Nearest(low, []string{l}) != "" || low == l || len(low) > 2 && strings.Contains(l, low) || len(l) > 2 && strings.Contains(low, l)) {
			near = append(near, k)
		}
	}
	return near
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}

// fail2banDir is where fail2ban has its configuration.
const fail2banDir = "/etc/fail2ban"

// filterAsFail2ban looks a filter up where fail2ban-regex does. Where that finds
// none and would go on with what can be no expression, a file of that name is
// taken, and without any configuration of fail2ban's, a filter of ours.
func (o *regexOptions) filterAsFail2ban(arg, name string, given *tags.Options) (*filter.Definition, error) {
	base := o.config
	if base == "" {
		base = fail2banDir
	}
	if def, err := o.jailAsFail2ban(base, arg, name, given); def != nil || err != nil {
		return def, err
	}
	tries := []string{name, name + ".conf", name + ".local"}
	if strings.Contains(name[max(0, len(name)-6):], ".") {
		tries = tries[:1]
	}
	for _, file := range tries {
		dir := base
		switch {
		case pathDir(file) == "filter.d":
			file = join(base, file)
		case strings.Contains(file, "/"):
			dir = pathDir(file)
		case filepath.Base(base) == "filter.d":
			file = join(base, file)
		default:
			file = join(base, "filter.d", file)
		}
		if !isFile(file) {
			continue
		}
		if dir != base && filepath.Base(dir) != "filter.d" && (strings.Contains(name[max(0, len(name)-6):], ".") || strings.Contains(name, "/")) {
			return o.filterFile(name, given)
		}
		if filepath.Base(dir) == "filter.d" {
			dir = pathDir(dir)
		}
		stem := pathBase(name)
		if i := strings.LastIndexByte(stem, '.'); i > 0 {
			stem = stem[:i]
		}
		o.printf("Use      filter file : %s, basedir: %s\n", stem, dir)
		o.tellOptions(given)
		return o.fail2banFilter(given, stem, func() (*fail2ban.Config, error) {
			c, _, err := fail2ban.Read(join(dir, "filter.d", stem))
			return c, err
		})
	}
	if isFile(name) {
		return o.filterFile(name, given)
	}
	if !fail2ban.Exists(base) && o.config == "" {
		if cfg, err := config.LoadWithin(startMost, config.Options{}); err == nil && cfg.Filters[name] != nil {
			return o.filterByName(name, given)
		}
	}
	return nil, nil
}

// filterFile reads a filter from a file anywhere.
func (o *regexOptions) filterFile(path string, given *tags.Options) (*filter.Definition, error) {
	o.printf("Use      filter file : %s\n", path)
	o.tellOptions(given)
	if strings.HasSuffix(path, ".toml") || !fail2ban.HasSections(path) {
		def, err := config.ReadFilterFile(path, given.Values["mode"])
		return &def, err
	}
	return o.fail2banFilter(given, path, func() (*fail2ban.Config, error) { return fail2ban.ReadFiles(path) })
}

// filterByName looks a filter up in our own configuration, or in one of
// fail2ban's that --config names.
func (o *regexOptions) filterByName(name string, given *tags.Options) (*filter.Definition, error) {
	if config.IsTree(o.config) { // its jails need not be read
		dir := strings.TrimRight(o.config, "/")
		if !isFile(join(dir, "filter.d", name+".conf")) && !isFile(join(dir, "filter.d", name+".local")) {
			return nil, nil
		}
		o.printf("Use      filter file : %s, basedir: %s\n", name, dir)
		o.tellOptions(given)
		return o.fail2banFilter(given, name, func() (*fail2ban.Config, error) {
			c, _, err := fail2ban.Read(join(dir, "filter.d", name))
			return c, err
		})
	}
	cfg, err := config.LoadWithin(startMost, config.Options{Path: o.config})
	if err != nil {
		return nil, err
	}
	known, ok := cfg.Filters[name]
	if !ok {
		return nil, nil
	}
	base := "stock"
	if !known.Stock {
		base = strings.TrimSuffix(known.Source, "/filters/"+name+".toml")
	}
	o.printf("Use      filter file : %s, basedir: %s\n", name, base)
	o.tellOptions(given)
	for _, n := range given.Names {
		if n != "mode" {
			return nil, fmt.Errorf("filter %s: unknown option %q: a filter of bailiff's has mode only", name, n)
		}
	}
	def, err := cfg.FilterDefinition(name, given.Values["mode"])
	def.Proxies = cfg.Proxies
	return &def, errors.Join(err, config.ReadProxies(def.Proxies))
}

func (o *regexOptions) tellOptions(given *tags.Options) {
	if len(given.Names) > 0 {
		o.printf("Use   filter options : %s\n", pyDict(given.Names, func(k string) any { return given.Values[k] }))
	}
}

// fail2banFilter reads a filter of fail2ban's with the options given, and with
// the one that tells a filter where lines come from.
func (o *regexOptions) fail2banFilter(given *tags.Options, name string, read func() (*fail2ban.Config, error)) (*filter.Definition, error) {
	c, err := read()
	if err != nil {
		if o.fail2ban {
			fmt.Fprintf(o.out, "Wrong config file: %v\n", err)
			return nil, fmt.Errorf("failed to load filter %s", name)
		}
		return nil, err
	}
	with := given.Clone()
	c.AutoOptions(with, o.backend)
	f, err := fail2ban.NewFilter(c, name, with)
	if err != nil {
		return nil, err
	}
	if o.verbose > 1 {
		var keys []string
		for _, k := range append([]string{"logtype", "datepattern"}, f.Params...) {
			if _, ok := f.Options.Get(k); ok && !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
		o.printf("Real  filter options : %s\n", pyDict(keys, func(k string) any { return f.Options.Values[k] }))
	}
	def, err := config.FromFail2ban(f)
	if err != nil {
		return nil, err
	}
	def.UseDNS = ""
	o.journalMatches = f.JournalMatch
	return &def, nil
}

// join, pathDir and pathBase are those of Python's os.path: they clean nothing.
func join(parts ...string) string {
	out := parts[0]
	for _, p := range parts[1:] {
		out = strings.TrimRight(out, "/") + "/" + p
	}
	return out
}

func pathDir(p string) string {
	dir := p[:strings.LastIndexByte(p, '/')+1]
	if t := strings.TrimRight(dir, "/"); t != "" {
		return t
	}
	return dir
}

func pathBase(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }
