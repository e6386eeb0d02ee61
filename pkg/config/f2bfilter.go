package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
)

// FromFail2ban makes a definition of a filter that was read from a tree of
// fail2ban's.
func FromFail2ban(f *fail2ban.Filter) (filter.Definition, error) {
	def := filter.Definition{Name: f.Name, Prefregex: filter.Expr{Text: f.PrefRegex}, DatePattern: f.DatePattern}
	exprs := func(option string, list []string) []filter.Expr {
		at := f.Where(option)
		whole := len(lines(at.Text)) == len(list) // a line each, where nothing was filled in that has several
		var out []filter.Expr
		for i, e := range list {
			x := filter.Expr{Text: e, File: at.File, Line: at.Line}
			if whole {
				x.Line += lineOffset(at.Text, i)
			}
			out = append(out, x)
		}
		return out
	}
	def.Failregex, def.Ignoreregex = exprs("failregex", f.FailRegex), exprs("ignoreregex", f.IgnoreRegex)
	if def.Prefregex.Text != "" {
		at := f.Where("prefregex")
		def.Prefregex.File, def.Prefregex.Line = at.File, at.Line
	}
	if f.MaxLines != "" {
		n, err := strconv.Atoi(strings.TrimSpace(f.MaxLines))
		if err != nil || n < 1 {
			return def, fmt.Errorf("filter %s: maxlines %q: want a number from 1", f.Name, f.MaxLines)
		}
		def.MaxLines = n
	}
	if f.UseDNS != "" {
		def.UseDNS = filter.UseDNS(f.UseDNS)
	}
	return def, nil
}

// JailFilter makes a definition of a jail's filter, with what the jail says in its place.
func JailFilter(f *fail2ban.Jail) (filter.Definition, error) {
	def := filter.Definition{Name: f.Name}
	if f.Filter != nil {
		var err error
		if def, err = FromFail2ban(f.Filter); err != nil {
			return def, err
		}
	}
	if text, ok := f.Options.Get("maxlines"); ok {
		if n, err := strconv.Atoi(strings.TrimSpace(text)); err == nil && n > 0 {
			def.MaxLines = n
		}
	}
	exprs := func(name string) ([]filter.Expr, bool) {
		text, ok := f.Options.Get(name)
		if !ok || strings.TrimSpace(text) == "" {
			return nil, false
		}
		var out []filter.Expr
		v := f.Where(name)
		for i, line := range strings.Split(text, "\n") {
			if line != "" {
				out = append(out, filter.Expr{Text: line, File: v.File, Line: v.Line + i})
			}
		}
		return out, true
	}
	if own, ok := exprs("failregex"); ok {
		def.Failregex = own
	}
	if own, ok := exprs("ignoreregex"); ok {
		def.Ignoreregex = own
	}
	if text, ok := f.Options.Get("prefregex"); ok {
		def.Prefregex.Text = text
	}
	if text, ok := f.Options.Get("datepattern"); ok && text != "" {
		def.DatePattern = []string{text}
	}
	return def, nil
}

// lines are those of a value that are not empty.
func lines(s string) []string {
	return slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return l == "" })
}

// lineOffset is where the n-th line that is not empty stands in a value.
func lineOffset(s string, n int) int {
	for i, l := range strings.Split(s, "\n") {
		if l == "" {
			continue
		}
		if n--; n < 0 {
			return i
		}
	}
	return 0
}
