package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"bailiff/pkg/filter"
	"bailiff/pkg/iplist"
)

// [proxy] trusted: the addresses of one's own proxies.

// parseProxies reads addresses, networks and lists of them. What can't be read is left
// out, and told.
func parseProxies(list []string) (*filter.Proxies, error) {
	var read IgnoreList
	var errs []error
	for _, s := range words(list) {
		if err := read.Add(s); err != nil {
			text := strings.Replace(err.Error(), "ignoreip", "proxy.trusted", 1)
			if has, ok := strings.CutSuffix(text, ", network, range or "+hostName); ok {
				text = has + ", network or range: want those, or file:PATH"
			}
			errs = append(errs, errors.New(text))
		}
	}
	for _, name := range read.Names {
		errs = append(errs, fmt.Errorf("proxy.trusted: %q is a name: want addresses, networks, ranges or file:PATH", name))
	}
	return &filter.Proxies{
		Prefixes: read.Prefixes, Files: read.Files,
		Unknown: len(errs) > 0 && len(read.Prefixes)+len(read.Files) == 0,
	}, errors.Join(errs...)
}

// ParseProxies reads the addresses, networks and lists of them that are named as one's
// proxies. Lists are read now: what they hold is among the Prefixes.
func ParseProxies(list []string) (*filter.Proxies, error) {
	p, err := parseProxies(list)
	if err != nil {
		return nil, err
	}
	return p, ReadProxies(p)
}

// ReadProxies reads the lists of proxies once, for a tool that does not follow them.
func ReadProxies(p *filter.Proxies) error {
	if p == nil || len(p.Files) == 0 {
		return nil
	}
	set, bad, err := iplist.ReadFiles(p.Files)
	if err := errors.Join(append(bad, err)...); err != nil {
		return fmt.Errorf("proxy.trusted: %w", err)
	}
	for _, file := range p.Files {
		if one, _, err := iplist.ReadFiles([]string{file}); err == nil && one.Entries == 0 {
			return fmt.Errorf("proxy.trusted file:%s: it names no proxy", file)
		}
	}
	own := slices.Clone(p.Prefixes)
	for r := range set.All() {
		own = slices.AppendSeq(own, iplist.Prefixes(r))
	}
	p.Prefixes, p.Files = own, nil
	return nil
}

// proxies finds out which proxies a jail trusts.
func (l *loader) proxies(r *resolver, j *Jail) *filter.Proxies {
	for _, at := range slices.Backward(r.layers) {
		if p := keyProxyTrusted.of(&at.raw); p != nil {
			out, err := parseProxies(*p)
			if err != nil {
				if at.doc != nil {
					err = &Error{at.file, at.line("proxy.trusted"), err.Error()}
				}
				j.Faults = append(j.Faults, fmt.Errorf("%w: left out, the others hold", err))
			}
			if err := wide("proxy.trusted", out.Prefixes); err != nil {
				if at.doc != nil {
					err = &Error{at.file, at.line("proxy.trusted"), err.Error()}
				}
				j.Warnings = append(j.Warnings, fmt.Errorf("jail %s: %w", j.Name, err))
			}
			return out
		}
	}
	return l.cfg.Proxies
}

// warnProxies says what a filter does not count as long as nobody has named the proxies.
func (j *Jail) warnProxies() {
	if j.Filter.Proxies != nil {
		return
	}
	if field := j.Filter.Settable(); field != "" {
		j.Warnings = append(j.Warnings, j.placed(filterPlaces, "jail %s: the address is taken from %s, which a client can write: where it isn't that of the connection, or is a list, it is not counted; to count it, name your proxies, [proxy] trusted = [\"ADDRESS\", …], or [] if there are none but the one that the service knows", j.Name, field))
	} else if j.Filter.Forwards() {
		j.Warnings = append(j.Warnings, j.placed(filterPlaces, "jail %s: if a proxy stands before the service, it is the proxy that is banned, and all its users with it: then name it, [proxy] trusted = [\"ADDRESS\", …]; [] says that there is none", j.Name))
	}
}

// filterPlaces are the settings that say where the filter of a jail was chosen.
var filterPlaces = []string{"filter", "enabled", "logpath"}

// placed says something of a jail, with where the first of those settings stands that was set.
func (j *Jail) placed(settings []string, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	for _, name := range settings {
		for _, s := range j.Settings {
			if s.Name == name && s.Line > 0 {
				return &Error{s.File, s.Line, text}
			}
		}
	}
	return errors.New(text)
}
