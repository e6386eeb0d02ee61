package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"bailiff/pkg/action"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/tags"
)

// What of an action's commands nothing fills in. The shell gets it as it stands, which is
// a redirection to it: no ban is made, and in fail2ban nobody is told before.

// looksLikeTag leaves out what stands in angle brackets in a command for other reasons:
// addresses of mail, redirections.
var (
	looksLikeTag = lazyregexp.New(`^[A-Za-z_][\w./-]*$`)
)

// unfilled are the mistakes in an action's parameters: a value for which it has nothing, a
// tag that is nobody's, a parameter that is a letter off.
func unfilled(f *fail2ban.Jail, a *fail2ban.Action, d *action.Definition) (faults, warnings []error) {
	known := map[string]bool{}
	for _, n := range d.Properties.Names {
		base, _, _ := strings.Cut(n, "?")
		known[base] = true
	}
	told := map[string]bool{}
	for _, family := range []string{"inet4", "inet6"} {
		all, err := d.Resolve(family)
		if err != nil {
			continue
		}
		for _, command := range all.Names {
			if !strings.HasPrefix(command, "action") || strings.Contains(command, "?") {
				continue
			}
			for _, m := range tags.Tag.FindAllStringSubmatch(all.Values[command], -1) {
				tag := m[1]
				if told[tag] || !looksLikeTag.MatchString(tag) || action.KnownTag(tag) {
					continue
				}
				told[tag] = true
				param, value, want, ok := a.Composed(tag)
				near := ""
				if !ok {
					if near = nearestTag(tag, known); near != "" {
						near = ": did you mean <" + near + ">?"
					}
					if at := cmp.Or(a.Where(command), f.Given(command)); near != "" || outsideQuotes(all.Values[command], m[0]) {
						warnings = append(warnings, fmt.Errorf("jail %s: %w", f.Name, &Error{at.File, at.Line, fmt.Sprintf("action %s: nothing fills in <%s> in %s, the shell gets it as it stands%s", a.Name, tag, command, near)}))
					}
					continue
				}
				key := param + "=" + value
				if told[key] {
					continue
				}
				told[key] = true
				at := f.Given(param)
				remedy := ""
				if len(want) > 0 {
					remedy = fmt.Sprintf(": it has %s", strings.Join(want, ", "))
				}
				faults = append(faults, &Error{at.File, at.Line, fmt.Sprintf("action %s: it has nothing for %s=%s%s; %s would be run with <%s> in it, and bans nobody", a.Name, param, value, remedy, command, tag)})
			}
		}
	}
	for _, m := range a.Misspelt() {
		at := f.Given(m[0])
		warnings = append(warnings, fmt.Errorf("jail %s: %w", f.Name, &Error{at.File, at.Line, fmt.Sprintf("action %s: it has no parameter %s, which has no effect: did you mean %s?", a.Name, m[0], m[1])}))
	}
	return faults, warnings
}

// outsideQuotes reports whether a tag stands outside of quotes, where the shell takes it for
// files to read and to write.
func outsideQuotes(text, tag string) bool {
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			} else if c == '\\' && quote == '"' {
				i++
			}
		case c == '\\':
			i++
		case c == '\'' || c == '"':
			quote = c
		case strings.HasPrefix(text[i:], tag):
			return true
		}
	}
	return false
}

// nearestTag returns what is known as a tag and a letter or two off one.
func nearestTag(tag string, known map[string]bool) string {
	names := slices.Clone(action.Tags)
	for n := range known {
		if !strings.HasPrefix(n, "action") {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return fail2ban.Nearest(tag, names)
}
