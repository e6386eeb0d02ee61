package config

import (
	"reflect"
	"regexp"
	"strings"
)

// CommentTable is the text of a bailiff.toml with a table commented out, and those below it; all else stays as it is. first is
// the line of its first key or header, 0: there is no such table. The text is empty where it can't be done by
// lines, as with keys like table.key, or where the text is no TOML.
func CommentTable(text, table string) (out string, first int) {
	was, err := parseDocument(MainFile, []byte(text))
	if err != nil {
		return "", 1
	}
	if was.get(table) == nil {
		return text, 0
	}
	first = was.line(table)
	header := regexp.MustCompile(`^\[\[?\s*["']?` + regexp.QuoteMeta(table) + `["']?\s*[.\]]`)
	lines, in := strings.Split(text, "\n"), false
	for i, line := range lines {
		bare := strings.TrimSpace(line)
		if strings.HasPrefix(bare, "[") {
			in = header.MatchString(bare)
		}
		if in && bare != "" && bare[0] != '#' {
			lines[i] = "# " + line
		}
	}
	out = strings.Join(lines, "\n")
	is, err := parseDocument(MainFile, []byte(out))
	delete(was.table, table)
	if err != nil || !reflect.DeepEqual(is.table, was.table) {
		return "", first
	}
	return out, first
}
