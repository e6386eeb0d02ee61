// Package section replaces a part of a document that a program writes.
package section

import (
	"fmt"
	"os"
	"strings"
)

// Replace puts a text between the marks of a section: the lines
// "<!-- NAME: made by make bench -->" and "<!-- end of NAME -->".
func Replace(path, name, text string) error {
	begin, end := "<!-- "+name+": made by make bench -->\n", "<!-- end of "+name+" -->\n"
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), begin)
	if !ok {
		return fmt.Errorf("%s lacks the mark %q", path, strings.TrimSpace(begin))
	}
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		return fmt.Errorf("%s lacks the mark %q", path, strings.TrimSpace(end))
	}
	return os.WriteFile(path, []byte(before+begin+text+end+after), 0o644)
}
