package config

import (
	"slices"
	"strings"

	"bailiff/pkg/lazyregexp"
)

// inVariable are tags whose values come from log lines: a command gets them in variables
// of the shell, as fail2ban's do.
var inVariable = lazyregexp.New(`^<((?:ip|ipjail)?matches|F-[A-Z0-9_-]+)>`)

// literalTags returns the tags of a command that stand between single quotes, where the
// shell does not look at variables: the command would get the variable's name.
func literalTags(text string) (tags []string) {
	single, double := false, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case single && c == '\'':
			single = false
		case single:
			if m := inVariable.FindString(text[i:]); m != "" && !slices.Contains(tags, m) {
				tags = append(tags, m)
			}
		case c == '\\':
			i++
		case c == '"':
			double = !double
		case c == '\'' && !double:
			single = strings.Contains(text[i+1:], "'") // else the shell refuses it anyway
		}
	}
	return tags
}
