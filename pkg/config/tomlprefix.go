package config

import (
	"fmt"
	"strings"

	"bailiff/pkg/filter"
	"bailiff/pkg/lazyregexp"
)

// Expressions of one filter mostly begin alike. [prefix] names such beginnings, and an
// expression has them as <NAME>.

// prefixName is what a prefix may be called: what regular expressions and fail2ban have in
// angle brackets (<HOST>, <F-USER>, (?P<name>…)) is none.
var prefixName = lazyregexp.New(`^[a-z][a-z0-9-]*$`)

// prefixed puts in what a filter's prefixes stand for. A prefix has none in it.
func (f *Filter) prefixed(text string) string {
	if len(f.raw.Prefix) == 0 {
		return text
	}
	var list []string
	for _, name := range sortedKeys(f.raw.Prefix) {
		// A group's name stands in such brackets, too.
		list = append(list, "(?P<"+name+">", "(?P<"+name+">", "<"+name+">", f.raw.Prefix[name])
	}
	return strings.NewReplacer(list...).Replace(text)
}

// exprTexts are the expressions' texts, one behind the other.
func exprTexts(list []filter.Expr) string {
	var out strings.Builder
	for _, e := range list {
		out.WriteString(e.Text)
	}
	return out.String()
}

// checkPrefixes finds prefixes that no expression could have, and those that none has.
func (f *Filter) checkPrefixes() {
	all := []string{f.raw.Prefregex}
	all = append(append(all, f.raw.Failregex.texts()...), f.raw.Ignoreregex...)
	for _, m := range f.raw.Mode {
		all = append(all, m.Failregex.texts()...)
	}
	text := strings.Join(all, "\n")
	for _, name := range sortedKeys(f.raw.Prefix) {
		wrong := ""
		switch {
		case !prefixName.MatchString(name):
			wrong = "want small letters, digits and hyphens, a letter first"
		case !strings.Contains(strings.ReplaceAll(text, "(?P<"+name+">", ""), "<"+name+">"):
			wrong = fmt.Sprintf("no expression has <%s>", name)
		case strings.Contains(f.raw.Prefix[name], "\n"):
			wrong = "want one line"
		}
		if wrong != "" {
			f.Errors = append(f.Errors, &Error{f.Source, f.doc.line("prefix", name), fmt.Sprintf("prefix.%s: %s", name, wrong)})
		}
	}
}
