// Package fail2ban reads fail2ban's configuration language: INI files with
// includes and local overrides, interpolation of %(names)s, <tags>, and options
// in brackets behind the name of a filter or an action. It follows jail.conf(5)
// and what fail2ban 1.0.2 makes of the cases that the manual leaves open; what a
// value means is for others to say.
package fail2ban

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"unicode"

	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/safefile"
)

// Error is a mistake in a file.
type Error struct {
	File string
	Line int // from 1; 0: unknown
	Msg  string
	// Skips: the jail alone is left out for it, and what else there is goes on as if
	// nothing was; whatever else is wrong fails a whole start or reload of fail2ban's.
	Skips bool
}

func (e *Error) Error() string {
	switch {
	case e.File == "":
		return e.Msg
	case e.Line == 0:
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
}

// Value is the text of an option with the place where it stands.
type Value struct {
	Text string
	File string
	Line int
}

// Section holds options by their names, which are in lower case.
type Section map[string]Value

// Config is one or several files read over one another.
type Config struct {
	Defaults Section // of [DEFAULT]
	Sections map[string]Section
	Order    []string // of the sections, as they first come
	// Places are where the sections begin, in the last file that has them.
	Places map[string]Value
	// known holds what a later file replaced, for %(known/name)s.
	known map[string]Section
	Files []string // as they were read
	// Warnings are mistakes that fail2ban passes over.
	Warnings []error
}

func newConfig() *Config {
	return &Config{Defaults: Section{}, Sections: map[string]Section{}, Places: map[string]Value{}, known: map[string]Section{}}
}

// Read reads BASE.conf, BASE.d/*.conf, BASE.local and BASE.d/*.local, as far as
// they are there, each with its includes. found is false if none is.
func Read(base string) (c *Config, found bool, err error) {
	var files []string
	more := func(pattern string) {
		m := glob(pattern)
		sort.Strings(m)
		files = append(files, m...)
	}
	if exists(base + ".conf") {
		files = append(files, base+".conf")
	}
	more(base + ".d/*.conf")
	if exists(base + ".local") {
		files = append(files, base+".local")
	}
	more(base + ".d/*.local")
	if len(files) == 0 {
		return newConfig(), false, nil
	}
	c, err = ReadFiles(files...)
	return c, true, err
}

func exists(path string) bool {
	defer safefile.Asking(path)()
	_, err := os.Stat(path)
	return err == nil
}

func glob(pattern string) []string {
	defer safefile.Asking(pattern)()
	m, _ := filepath.Glob(pattern)
	return m
}

// ReadFiles reads files over one another, each with its includes.
func ReadFiles(files ...string) (*Config, error) {
	c := newConfig()
	var errs []error
	var order []string
	for _, f := range files {
		order = append(order, includes(f, nil, &c.Warnings)...)
	}
	for _, f := range order {
		data, err := safefile.ReadConfig(f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		one, err := parseINI(f, string(data))
		if err != nil {
			errs = append(errs, err)
		}
		if one != nil {
			c.Files = append(c.Files, f)
			c.merge(one)
		}
	}
	return c, errors.Join(errs...)
}

// includes lists a file after those of its `before` and before those of its
// `after`. A file that includes itself is not read again.
func includes(file string, seen []string, warnings *[]error) []string {
	if slices.Contains(seen, file) {
		return nil
	}
	data, err := safefile.ReadConfig(file)
	if err != nil {
		return []string{file} // the error is told when it is read
	}
	one, _ := parseINI(file, string(data)) // its mistakes are told when it is read
	if one == nil {
		return []string{file}
	}
	list := func(option string) (out []string) {
		text, err := one.Get("INCLUDES", option, nil)
		if err != nil {
			return nil
		}
		for _, name := range strings.Split(text, "\n") {
			if name = strings.TrimSpace(name); name == "" {
				continue
			}
			if !filepath.IsAbs(name) {
				name = filepath.Join(filepath.Dir(file), name)
			}
			if !exists(name) {
				// fail2ban passes over it, and its own files count on that.
				if !strings.HasSuffix(name, ".local") {
					v := one.Sections["INCLUDES"][option]
					*warnings = append(*warnings, &Error{File: v.File, Line: v.Line, Msg: fmt.Sprintf("%s: no such file: %s", option, name)})
				}
				continue
			}
			out = append(out, includes(name, append(seen, file), warnings)...)
		}
		return out
	}
	before, after := list("before"), list("after")
	return append(append(before, file), after...)
}

// conditional is [Section?family=inet6].
var conditional = lazyregexp.New(`^(.+)(\?.+)$`)

func (c *Config) merge(one *Config) {
	for k, v := range one.Defaults {
		c.Defaults[k] = v
	}
	for _, name := range one.Order {
		s := one.Sections[name]
		c.Places[name] = one.Places[name]
		if m := conditional.FindStringSubmatch(name); m != nil {
			name = m[1]
			with := Section{}
			for k, v := range s {
				with[k+m[2]] = v
			}
			s = with
		}
		have := c.Sections[name]
		if have == nil {
			have = Section{}
			c.Sections[name] = have
			c.Order = append(c.Order, name)
		}
		for k, v := range s {
			if old, ok := have[k]; ok {
				if c.known[name] == nil {
					c.known[name] = Section{}
				}
				c.known[name][k] = old
			}
			have[k] = v
		}
	}
}

var (
	sectionLine = lazyregexp.New(`^\[(.+)\]`)
	optionLine  = lazyregexp.New(`^(.*?)\s*(?:([=:])\s*(.*))$`)
)

// parseINI reads one file as Python's configparser does: a value goes on on lines
// that are indented deeper than its name, comments begin a line with # or ;, or
// follow white space and a ;. The error is for the first mistake; what is right
// is there even so, unless the file has no section at all.
func parseINI(file, text string) (*Config, error) {
	c := newConfig()
	var errs []error
	fail := func(line int, format string, args ...any) {
		errs = append(errs, &Error{File: file, Line: line, Msg: fmt.Sprintf(format, args...)})
	}
	var section Section
	sectionName, option := "", ""
	indent := 0
	var lines []string
	var at int
	flush := func() {
		if option != "" {
			for len(lines) > 0 && lines[len(lines)-1] == "" {
				lines = lines[:len(lines)-1]
			}
			section[option] = Value{strings.Join(lines, "\n"), file, at}
		}
		option = ""
	}
	text = strings.TrimPrefix(text, "\ufeff")
	for n, raw := range strings.Split(text, "\n") {
		raw = strings.TrimSuffix(raw, "\r")
		line, comment := cutComment(raw)
		value := strings.TrimFunc(line, unicode.IsSpace)
		if value == "" {
			if !comment && option != "" {
				lines = append(lines, "")
			}
			continue
		}
		here := len(raw) - len(strings.TrimLeftFunc(raw, unicode.IsSpace))
		if section != nil && option != "" && here > indent {
			lines = append(lines, value)
			continue
		}
		indent = here
		if m := sectionLine.FindStringSubmatch(value); m != nil {
			flush()
			sectionName = m[1]
			switch s, ok := c.Sections[sectionName]; {
			case sectionName == "DEFAULT":
				section = c.Defaults
			case ok:
				fail(n+1, "section [%s] is there twice", sectionName)
				section = s
			default:
				section = Section{}
				c.Sections[sectionName] = section
				c.Order = append(c.Order, sectionName)
			}
			c.Places[sectionName] = Value{File: file, Line: n + 1}
			continue
		}
		if section == nil {
			return nil, &Error{File: file, Line: n + 1, Msg: fmt.Sprintf("%q stands before the first [section]", value)}
		}
		flush()
		if value[0] == '[' {
			// Whose options follow can't be known; they are not to be taken for another's.
			fail(n+1, "%q: want [section]: what follows up to the next one belongs to none", value)
			section, sectionName = Section{}, value
			continue
		}
		m := optionLine.FindStringSubmatch(value)
		if m == nil || m[1] == "" {
			fail(n+1, "%q: want name = value, or indent it if it belongs to the line above", value)
			continue
		}
		name := strings.ToLower(m[1])
		if _, twice := section[name]; twice {
			fail(n+1, "option %q is there twice in [%s]", name, sectionName)
		}
		option, at = name, n+1
		lines = []string{m[3]}
	}
	if section != nil {
		flush()
	}
	return c, errors.Join(errs...)
}

// cutComment takes a comment off a line.
func cutComment(line string) (rest string, comment bool) {
	trimmed := strings.TrimLeftFunc(line, unicode.IsSpace)
	if strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
		return "", true
	}
	for i := 0; i < len(line); i++ {
		if line[i] == ';' && i > 0 && (line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i], true
		}
	}
	return line, false
}

// NoOptionError says that an option is nowhere.
type NoOptionError struct{ Section, Option string }

func (e *NoOptionError) Error() string {
	return fmt.Sprintf("no option %q in section [%s]", e.Option, e.Section)
}

// Raw returns an option before interpolation: from vars, the section, or
// [DEFAULT].
func (c *Config) Raw(section, option string, vars map[string]string) (Value, bool) {
	if v, ok := vars[option]; ok {
		return Value{Text: v}, true
	}
	if v, ok := c.Sections[section][option]; ok {
		return v, true
	}
	v, ok := c.Defaults[option]
	return v, ok
}

// Get returns an option with its %(names)s filled in.
func (c *Config) Get(section, option string, vars map[string]string) (string, error) {
	option = strings.ToLower(option)
	v, ok := c.Raw(section, option, vars)
	if !ok {
		return "", &NoOptionError{section, option}
	}
	text, err := c.interpolate(section, option, v, vars, 1)
	if err != nil {
		return "", err
	}
	return text, nil
}

// longestValue is how long a value may get by what is filled in: a few lines that name one
// another can ask for more than there is memory.
const longestValue = 1 << 20

// maxDepth is Python's: values within values.
const maxDepth = 10

func (c *Config) interpolate(section, option string, v Value, vars map[string]string, depth int) (string, error) {
	fail := func(format string, args ...any) error {
		return &Error{File: v.File, Line: v.Line, Msg: fmt.Sprintf("[%s] %s: ", section, option) + fmt.Sprintf(format, args...)}
	}
	if depth > maxDepth {
		return "", fail("%%(…)s more than %d deep: does it hold itself?", maxDepth)
	}
	var out strings.Builder
	rest := v.Text
	for {
		i := strings.IndexByte(rest, '%')
		if i < 0 {
			out.WriteString(rest)
			return out.String(), nil
		}
		out.WriteString(rest[:i])
		rest = rest[i:]
		switch {
		case strings.HasPrefix(rest, "%%"):
			out.WriteByte('%')
			rest = rest[2:]
		case strings.HasPrefix(rest, "%("):
			end := strings.Index(rest, ")s")
			if close := strings.IndexByte(rest, ')'); close < 0 || end != close {
				return "", fail("%q: want %%(name)s", rest)
			}
			name := strings.ToLower(rest[2:end])
			rest = rest[end+2:]
			if name == "__name__" {
				out.WriteString(section)
				continue
			}
			inner, ok := c.lookUp(section, name, vars)
			if !ok {
				return "", fail("%%(%s)s: no such option", name)
			}
			if !strings.Contains(inner.Text, "%") {
				if out.WriteString(inner.Text); out.Len() > longestValue {
					return "", fail("%%(%s)s makes it longer than %d bytes", name, longestValue)
				}
				continue
			}
			text, err := c.interpolate(section, option, inner, vars, depth+1)
			if err != nil {
				return "", err
			}
			if out.WriteString(text); out.Len() > longestValue {
				return "", fail("%%(%s)s makes it longer than %d bytes", name, longestValue)
			}
		default:
			return "", fail("%q: '%%' must be followed by '%%' or '(': write %%%% for a percent sign", rest)
		}
	}
}

// lookUp finds a name: plain, known/name (what a later file replaced), or
// section/name.
func (c *Config) lookUp(section, name string, vars map[string]string) (Value, bool) {
	if v, ok := c.Raw(section, name, vars); ok {
		return v, true
	}
	other, option, ok := strings.Cut(name, "/")
	if !ok {
		return Value{}, false
	}
	var s Section
	switch other {
	case "known":
		s = c.known[section]
	case "default":
		s = c.Defaults
	default:
		for _, n := range c.Order { // the name asked for is in lower case by now
			if strings.ToLower(n) == other {
				s = c.Sections[n]
			}
		}
		if s == nil {
			return Value{}, false
		}
	}
	if v, ok := s[option]; ok {
		return v, true
	}
	v, ok := c.Defaults[option]
	return v, ok
}

// HasSections reports whether a file has a [section], so that it can be one of
// fail2ban's.
func HasSections(path string) bool {
	data, err := safefile.ReadConfig(path)
	if err != nil {
		return true
	}
	for _, line := range strings.Split(string(data), "\n") {
		if strings.HasPrefix(strings.TrimPrefix(line, "\ufeff"), "[") {
			return true
		}
	}
	return false
}
