package fail2ban

import (
	"regexp"
	"slices"
	"strings"

	"bailiff/pkg/lazyregexp"
)

// Tags of an action that nothing fills in, and parameters that it does not have: fail2ban
// runs the command with the tag in it, and reads over the parameter.

// nestedTag is one that is put together from a parameter: <rule_match-<type>>.
var nestedTag = lazyregexp.New(`<([\w./-]*)<([\w.-]+)>([\w./-]*)>`)

// Composed tells which parameter makes a tag what it is, in an action that puts it
// together as <BEFORE<PARAMETER>BEHIND>, and with which values there would be something to
// put in its place. Not ok: it is no such tag.
func (a *Action) Composed(tag string) (param, value string, want []string, ok bool) {
	if a.cfg == nil {
		return "", "", nil, false
	}
	for _, section := range []string{"Definition", "Init"} {
		for _, name := range sortedNames(a.cfg.Sections[section]) {
			for _, m := range nestedTag.FindAllStringSubmatch(a.cfg.Sections[section][name].Text, -1) {
				value := a.param(m[2])
				if m[1]+m[3] == "" || m[1]+value+m[3] != tag {
					continue
				}
				return m[2], value, a.fitting(strings.ToLower(m[1]), strings.ToLower(m[3])), true
			}
		}
	}
	return "", "", nil, false
}

// param is the value of a parameter, as it is written.
func (a *Action) param(name string) string {
	if v, ok := a.given.Get(name); ok {
		return v
	}
	for _, section := range []string{"Init", "Definition"} {
		if v, ok := a.cfg.Raw(section, strings.ToLower(name), nil); ok {
			return v.Text
		}
	}
	return ""
}

// fitting are the values between the ends of a composed tag for which the action has an
// option, or a section with it.
func (a *Action) fitting(before, behind string) (out []string) {
	note := func(name string) {
		rest, ok := strings.CutPrefix(strings.ToLower(name), before)
		rest, ok2 := strings.CutSuffix(rest, behind)
		if ok && ok2 && rest != "" && !strings.ContainsAny(rest, "<>/%(") && !slices.Contains(out, rest) {
			out = append(out, rest)
		}
	}
	for _, section := range []string{"Definition", "Init"} {
		for name := range a.cfg.Sections[section] {
			note(name)
		}
	}
	for section, options := range a.cfg.Sections {
		for name := range options {
			note(section + "/" + name)
		}
	}
	slices.Sort(out)
	return out
}

// Misspelt returns what of the parameters given in brackets the action does not have, and
// that is a letter or two off one which it has, each with that one.
func (a *Action) Misspelt() (out [][2]string) {
	if a.cfg == nil {
		return nil
	}
	known := map[string]bool{"name": true, "actname": true}
	for _, names := range [][]string{actionOptions, actionLate} {
		for _, n := range names {
			known[n] = true
		}
	}
	for name, s := range a.cfg.Sections {
		for n, v := range s {
			if name == "Definition" || strings.HasPrefix(name, "Init") {
				known[n] = true
			}
			for _, m := range reference.FindAllStringSubmatch(v.Text, -1) {
				known[strings.ToLower(m[1]+m[2])] = true
			}
			for _, m := range nestedTag.FindAllStringSubmatch(v.Text, -1) {
				known[strings.ToLower(m[2])] = true
			}
		}
	}
	names := make([]string, 0, len(known))
	for n := range known {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, given := range a.given.Names {
		base, _, _ := strings.Cut(given, "?")
		if known[strings.ToLower(base)] || a.mentions(base) {
			continue
		}
		if k := Nearest(base, names); k != "" {
			out = append(out, [2]string{given, k})
		}
	}
	return out
}

// mentions reports whether one of the parameters in brackets has another in it.
func (a *Action) mentions(name string) bool {
	for _, v := range a.given.Values {
		if strings.Contains(v, "<"+name+">") {
			return true
		}
	}
	return false
}

// Given tells where the jail says a parameter of an action in brackets, following action to
// what it refers to (%(action_)s, %(banaction)s); where action stands, if it is not found.
func (j *Jail) Given(param string) Value {
	return j.origin("action", regexp.MustCompile(`[\[,\s]`+regexp.QuoteMeta(param)+`\s*=`))
}

// Origin tells where what stands in an option was written, be it there or in what that
// refers to; where the option stands, if it is not found.
func (j *Jail) Origin(option, text string) Value {
	return j.origin(option, regexp.MustCompile(regexp.QuoteMeta(text)))
}

func (j *Jail) origin(option string, wanted *regexp.Regexp) Value {
	seen := map[string]bool{}
	at := j.Should(option)
	var look func(name string, depth int) bool
	look = func(name string, depth int) bool {
		v, ok := j.cfg.lookUp(j.section, name, nil)
		if !ok || seen[name] || depth > maxDepth {
			return false
		}
		seen[name] = true
		for _, m := range reference.FindAllStringSubmatch(v.Text, -1) {
			if m[1] != "" && look(strings.ToLower(m[1]), depth+1) {
				return true
			}
		}
		if !wanted.MatchString(reference.ReplaceAllString(v.Text, "")) {
			return false
		}
		at = v
		return true
	}
	look(option, 0)
	return at
}
