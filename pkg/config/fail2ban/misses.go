package fail2ban

import (
	"fmt"
	"slices"
	"strings"

	"bailiff/pkg/lazyregexp"
)

// Options that nobody knows are no mistake in fail2ban's files: they are there for
// %(name)s. One that nothing refers to, and that is a letter or two off a known one, is
// most likely meant to be that.

var reference = lazyregexp.New(`%\(([^)]+)\)s|<([^ <>]+)>`)

// serverOptions are those of fail2ban.conf.
var serverOptions = strings.Fields("loglevel logtarget syslogsocket socket pidfile dbfile dbpurgeage dbmaxmatches allowipv6 environment stacksize")

// jailSection is the name of one that is likely meant to be a jail's.
var jailSection = lazyregexp.New(`^[\w.:-]+$`)

// Misses returns what of the tree is likely written wrong and means nothing therefore.
func (t *Tree) Misses() (out []error) {
	used := map[string]bool{}
	for _, c := range []*Config{t.Jail, t.Server} {
		if c == nil {
			continue
		}
		note := func(s Section) {
			for _, v := range s {
				for _, m := range reference.FindAllStringSubmatch(v.Text, -1) {
					for _, name := range strings.Split(m[1]+m[2], "/") {
						used[strings.ToLower(name)] = true
					}
				}
			}
		}
		note(c.Defaults)
		for _, s := range c.Sections {
			note(s)
		}
	}
	look := func(section string, s Section, known []string) {
		var names []string
		for n := range s {
			names = append(names, n)
		}
		slices.SortFunc(names, func(a, b string) int {
			if f := strings.Compare(s[a].File, s[b].File); f != 0 {
				return f
			}
			return s[a].Line - s[b].Line
		})
		for _, n := range names {
			v := s[n]
			if v.File == "" || used[n] || slices.Contains(known, n) || strings.Contains(n, "/") {
				continue
			}
			if k := Nearest(n, known); k != "" {
				out = append(out, &Error{File: v.File, Line: v.Line, Msg: fmt.Sprintf("[%s] %s: no such option: did you mean %s?", section, n, k)})
			}
		}
	}
	if c := t.Jail; c != nil {
		look("DEFAULT", c.Defaults, jailOptions)
		for _, name := range c.Order {
			if name == "INCLUDES" {
				continue
			}
			if at := c.Places[name]; !jailSection.MatchString(name) || Nearest(strings.ToUpper(name), []string{"DEFAULT", "INCLUDES"}) != "" && strings.ToUpper(name) == name || name != "DEFAULT" && strings.EqualFold(name, "DEFAULT") {
				out = append(out, &Error{File: at.File, Line: at.Line, Msg: fmt.Sprintf("section [%s]: not the name of a jail, and not DEFAULT or INCLUDES", name)})
			}
			look(name, c.Sections[name], jailOptions)
		}
	}
	if c := t.Server; c != nil {
		look("DEFAULT", c.Defaults, serverOptions)
		look("Definition", c.Sections["Definition"], serverOptions)
		look("firewall", c.Sections["firewall"], []string{"translate"}) // ours: fail2ban reads over it
		for _, name := range c.Order {
			if at := c.Places[name]; Nearest(strings.ToLower(name), []string{"definition"}) != "" {
				out = append(out, &Error{File: at.File, Line: at.Line, Msg: fmt.Sprintf("section [%s]: did you mean [Definition]?", name)})
			}
		}
	}
	return out
}

// Nearest returns the known name that is one or two letters off, if the name is long
// enough for that to be no accident.
func Nearest(name string, known []string) string {
	for _, k := range known {
		most := 1
		if len(k) > 6 {
			most = 2
		}
		d := Letters(name, k, most)
		if swapped(name, k) {
			d = 1
		}
		if d > 0 && d <= most && len(k) > 3 {
			return k
		}
	}
	return ""
}

// swapped reports whether two names differ by two letters that have changed places.
func swapped(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) - 1 {
		if a[i] != b[i] {
			return a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
		}
	}
	return false
}

// Letters is how many letters two names differ by; more than most: any larger number.
func Letters(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
