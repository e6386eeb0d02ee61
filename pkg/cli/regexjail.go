package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"bailiff/pkg/config"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/tags"
)

// jailAsFail2ban returns the filter of a jail, as it is with what the jail says over it,
// where the argument is the name of one; nil where it is not.
func (o *regexOptions) jailAsFail2ban(base, arg, name string, given *tags.Options) (*filter.Definition, error) {
	if strings.Contains(name, "/") || strings.HasSuffix(name, ".conf") || strings.HasSuffix(name, ".local") {
		return nil, nil
	}
	if _, err := os.Stat(base); err != nil && o.config != "" {
		return nil, &exitError{exitFail2ban, fmt.Sprintf("Wrong filter name or options: Base configuration directory %s does not exist \n       while parsing: %s", base, arg)}
	}
	tree, err := fail2ban.ReadTree(base)
	if err != nil {
		return nil, nil // there are no jails
	}
	j := tree.ResolveFor(name, given, o.backend)
	if j == nil {
		return nil, nil
	}
	o.printf("Use             jail : %s\n", name)
	if len(given.Names) > 0 {
		o.printf("Use jail/flt options : %s\n", pyDict(given.Names, func(k string) any { return given.Values[k] }))
	}
	if j.Err != nil {
		return nil, failed("Failed to get jail for '%s': %v", arg, j.Err)
	}
	if o.verbose > 1 {
		real := func(k string) (string, bool) {
			if j.Filter != nil {
				if v, ok := j.Filter.Options.Get(k); ok {
					return v, true
				}
			}
			return j.Options.Get(k)
		}
		var keys []string
		for _, k := range append([]string{"logtype", "datepattern"}, given.Names...) {
			if _, ok := real(k); (ok || j.Filter == nil) && !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
		o.printf("Real  filter options : %s\n", pyDict(append(keys, "backend"), func(k string) any {
			if k == "backend" {
				return o.backend
			}
			if v, ok := real(k); ok {
				return v
			}
			return nil
		}))
	}
	def, err := config.JailFilter(j)
	if err != nil {
		return nil, err
	}
	def.UseDNS, def.LogTimezone = "", o.timezone
	if j.Filter != nil {
		o.journalMatches = j.Filter.JournalMatch
	}
	if own, ok := j.Options.Get("journalmatch"); ok {
		o.journalMatches = strings.FieldsFunc(own, func(r rune) bool { return r == '\n' })
	}
	return &def, nil
}
