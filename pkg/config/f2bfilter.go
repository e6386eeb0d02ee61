package config

import (
	"fmt"
	"strconv"
	"strings"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
)

// FromFail2ban makes a definition of a filter that was read from a tree of
// fail2ban's.
func FromFail2ban(f *fail2ban.Filter) (filter.Definition, error) {
	def := filter.Definition{Name: f.Name, Prefregex: filter.Expr{Text: f.PrefRegex}, DatePattern: f.DatePattern}
	file := ""
	if len(f.Files) > 0 {
		file = f.Files[len(f.Files)-1]
	}
	for _, e := range f.FailRegex {
		def.Failregex = append(def.Failregex, filter.Expr{Text: e, File: file})
	}
	for _, e := range f.IgnoreRegex {
		def.Ignoreregex = append(def.Ignoreregex, filter.Expr{Text: e, File: file})
	}
	if def.Prefregex.Text != "" {
		def.Prefregex.File = file
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
