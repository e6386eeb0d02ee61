package config

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"bailiff/pkg/filter"
)

// ReadFilterFile reads a filter from a file of its own: TOML, or one in the form
// of fail2ban's filter.d whose values stand for themselves.
func ReadFilterFile(path, mode string) (filter.Definition, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return filter.Definition{}, err
	}
	if strings.HasSuffix(path, ".toml") {
		l := &loader{cfg: &Config{Filters: map[string]*Filter{}}}
		l.filter(path, path, data, nil)
		return l.cfg.FilterDefinition(path, mode)
	}
	def, err := parseFilterINI(path, data)
	if err == nil && mode != "" {
		err = &Error{path, 0, fmt.Sprintf("unknown mode %q: this filter has none", mode)}
	}
	return def, err
}

// parseFilterINI reads the [Definition] of a filter.d file. A value goes on on
// the lines below it that are indented.
func parseFilterINI(path string, data []byte) (filter.Definition, error) {
	def := filter.Definition{Name: path}
	section, key := "definition", ""
	for i, raw := range bytes.Split(data, []byte("\n")) {
		line := strings.TrimRight(string(raw), "\r \t")
		fail := func(format string, args ...any) (filter.Definition, error) {
			return def, &Error{path, i + 1, fmt.Sprintf(format, args...)}
		}
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';':
			continue
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			section, key = strings.ToLower(line[1:len(line)-1]), ""
			if section == "includes" {
				return fail("[INCLUDES] can't be followed yet: put the included text in")
			}
			continue
		}
		value := trimmed
		if line[0] != ' ' && line[0] != '\t' {
			at := strings.IndexAny(line, "=:")
			if at < 0 {
				return fail("want key = value")
			}
			key, value = strings.ToLower(strings.TrimSpace(line[:at])), strings.TrimSpace(line[at+1:])
		} else if key == "" {
			return fail("a line that is indented belongs to a key, and there is none above")
		}
		if section != "definition" || value == "" {
			continue
		}
		if strings.Contains(value, "%(") {
			return fail("%s: %%(…)s can't be filled in yet: write the value out", key)
		}
		if key != "datepattern" {
			value = strings.ReplaceAll(value, "%%", "%")
		}
		e := filter.Expr{Text: value, File: path, Line: i + 1}
		switch key {
		case "failregex":
			def.Failregex = append(def.Failregex, e)
		case "ignoreregex":
			def.Ignoreregex = append(def.Ignoreregex, e)
		case "datepattern":
			def.DatePattern = append(def.DatePattern, strings.ReplaceAll(value, "%%", "%"))
		case "prefregex", "maxlines", "journalmatch":
			return fail("%s is not built yet", key)
		}
	}
	return def, nil
}
