// Package tags is the small language that fail2ban's filters, jails and actions share: options in brackets,
// as in sshd[mode=aggressive], and values in which <tags> stand for other values.
//
//	name, options, err := tags.Extract(`sshd[mode="aggressive", port=22]`)
//	options, err = tags.Substitute(options, "inet6", nil, nil)
//
// Nothing in here asks the system, and no input panics. What fills an action's commands, where a shell reads
// the values, is in package action.
package tags

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"bailiff/pkg/lazyregexp"
)

// Options are name=value pairs in the order in which they were written.
type Options struct {
	Names  []string
	Values map[string]string
}

// Set adds an option or replaces its value.
func (o *Options) Set(name, value string) {
	if o.Values == nil {
		o.Values = map[string]string{}
	}
	if _, ok := o.Values[name]; !ok {
		o.Names = append(o.Names, name)
	}
	o.Values[name] = value
}

// Get returns a value. A nil Options has none.
func (o *Options) Get(name string) (string, bool) {
	if o == nil {
		return "", false
	}
	v, ok := o.Values[name]
	return v, ok
}

// Clone copies the options.
func (o *Options) Clone() *Options {
	c := &Options{}
	for _, n := range o.Names {
		c.Set(n, o.Values[n])
	}
	return c
}

// OptionName is the regular expression of an option's name in brackets, as of 1.1.1 also of one for a family only:
// NAME?family=inet6.
const OptionName = `[\w\-.]+(?:\?[\w\-.]+=[\w\-.]+)?`

var (
	nameWithOptions = lazyregexp.New(`(?s)^([^\[]+)(?:\[(.*)\])?\s*$`)
	oneOption       = lazyregexp.New(`(?s)^\s*(` + OptionName + `)=(?:"([^"]*)"|'([^']*)'|([^,\]]*))`)
	afterOption     = lazyregexp.New(`(?s)^(?:,|\]\s*\[|$)`)
)

// OptionsError says what is wrong with options in brackets.
type OptionsError struct {
	Text string // NAME[…], as given
	// At is where in the brackets what can't be read begins, in characters; -1: it
	// is not even NAME[…].
	At    int
	Rest  string // from there on
	After string // the option that it follows without a comma; empty: none
}

func (e *OptionsError) Error() string {
	switch {
	case e.At < 0:
		return fmt.Sprintf("%q: want NAME or NAME[option=value, …]", e.Text)
	case e.After != "":
		return fmt.Sprintf("%q: want a comma after option %s, not %q", e.Text, e.After, e.Rest)
	}
	return fmt.Sprintf("%q: want option=value at %q", e.Text, e.Rest)
}

// Fail2ban returns the error in fail2ban's words.
func (e *OptionsError) Fail2ban() string {
	rest := []rune(e.Rest)
	rest = rest[:min(len(rest), 25)]
	switch {
	case e.At < 0:
		return "unexpected option syntax"
	case e.After != "":
		return fmt.Sprintf("unexpected syntax at %d after option '%s': %s", e.At, e.After, string(rest))
	}
	return fmt.Sprintf("expected option, wrong syntax at %d: %s", e.At, string(rest))
}

// Extract parts NAME[a=1, b="x,y"][c=2]. The error is an *OptionsError.
func Extract(text string) (name string, opts *Options, err error) {
	opts = &Options{}
	m := nameWithOptions.FindStringSubmatch(text)
	if m == nil {
		return "", opts, &OptionsError{Text: text, At: -1}
	}
	rest := m[2]
	wrong := func(after string) (string, *Options, error) {
		at := utf8.RuneCountInString(m[2][:len(m[2])-len(rest)])
		return "", opts, &OptionsError{Text: text, At: at, Rest: rest, After: after}
	}
	for strings.TrimSpace(strings.TrimPrefix(rest, ",")) != "" {
		o := oneOption.FindStringSubmatchIndex(rest)
		if o == nil {
			return wrong("")
		}
		value := ""
		for g := 2; g <= 4; g++ {
			if o[2*g] >= 0 {
				value = rest[o[2*g]:o[2*g+1]]
			}
		}
		key := rest[o[2]:o[3]]
		rest = rest[o[1]:]
		sep := afterOption.FindString(rest)
		if sep == "" && rest != "" {
			return wrong(key)
		}
		rest = rest[len(sep):]
		opts.Set(key, strings.TrimSpace(value))
	}
	return m[1], opts, nil
}

// Tag finds a tag; its group is the name.
var Tag = lazyregexp.New(`<([^ <>]+)>`)

// maxTagUse is how often a tag may be replaced in one value.
const maxTagUse = 25

// Substitute replaces <tags> in values by other values, until nothing
// changes. What no value is known for stays as it is: it may be one of a regular
// expression, or of an action at work. more, if not nil, is asked for names that
// opts does not have; ignore names tags to leave alone.
func Substitute(opts *Options, family string, ignore map[string]bool, more func(string) (string, bool)) (*Options, error) {
	out := opts.Clone()
	done := map[string]bool{}
	for again := true; again; {
		again = false
		for _, name := range out.Names {
			if ignore[name] || done[name] {
				continue
			}
			value, err := substitute(out, name, family, ignore, more)
			if err != nil {
				return nil, err
			}
			if value != out.Values[name] {
				out.Values[name] = value
				again = again || Tag.MatchString(value)
			}
			if !strings.Contains(value, "<") {
				done[name] = true
			}
		}
	}
	return out, nil
}

func substitute(opts *Options, name, family string, ignore map[string]bool, more func(string) (string, bool)) (string, error) {
	value := opts.Values[name]
	uses := map[string]int{}
	for from := 0; ; {
		m := Tag.FindStringSubmatchIndex(value[from:])
		if m == nil {
			return value, nil
		}
		start, end := from+m[0], from+m[1]
		t := value[from+m[2] : from+m[3]]
		if ignore[t] {
			from = end
			continue
		}
		if t == name || uses[t] > maxTagUse {
			return "", fmt.Errorf("%s: <%s> leads back to itself in %q", name, t, value)
		}
		replacement, ok := "", false
		if family != "" {
			replacement, ok = opts.Values[t+"?"+family]
		}
		if !ok {
			replacement, ok = opts.Values[t]
		}
		if !ok && more != nil {
			replacement, ok = more(t)
		}
		if !ok {
			from = end
			continue
		}
		if len(value)+len(replacement) > 1<<20 {
			return "", fmt.Errorf("%s: <%s> makes it longer than 1 MiB", name, t)
		}
		value = strings.ReplaceAll(value, "<"+t+">", replacement)
		uses[t]++
		from = min(start, len(value)) // it may stand before, too, and be shorter now
	}
}

// GroupName is the name of the group that <F-NAME> makes in an expression, and stands for in a command.
func GroupName(tag string) string {
	switch tag = strings.ToLower(tag); tag {
	case "id":
		return "fid"
	case "port":
		return "fport"
	}
	return tag
}
