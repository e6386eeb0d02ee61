package runner

import (
	"fmt"
	"slices"
	"strings"

	"bailiff/pkg/lazyregexp"
)

// journalArgs are what journalctl may be told. Others write files, or change the journal.
var journalArgs = lazyregexp.New(`^(--output=export|--no-pager|--quiet|--output-fields=[A-Z_0-9,]+|--merge|--system|--user|--no-tail|--follow|--lines=[0-9]+|--(until|since)=@[0-9.]+|--(after-)?cursor=[a-z0-9;=]+)$`)

// field is one of the journal's, and what it is to be.
var field = lazyregexp.New(`^[A-Z_][A-Z_0-9]*=`)

// checkJournal says what of journalctl's arguments is none of reading, or, if that is fixed,
// of reading what is configured.
func checkJournal(args []string, fixed bool, t Table) error {
	for i, a := range args {
		if a == "--" {
			for _, m := range args[i+1:] {
				// A path is the name of a program, which journalctl looks up.
				if m != "+" && !field.MatchString(m) && !(strings.HasPrefix(m, "/") && !fixed) {
					return fmt.Errorf("journalctl: %q is no match", m)
				}
			}
			return nil
		}
		name, value, _ := strings.Cut(a, "=")
		ok := journalArgs.MatchString(a)
		switch name {
		case "--directory":
			ok = !fixed || value == "/run/log/journal" || slices.Contains(t.Directories, value)
		case "--file":
			ok = !fixed || slices.Contains(t.Files, value)
		case "--namespace":
			ok = !fixed || slices.Contains(t.Namespaces, value)
		}
		if !ok {
			return fmt.Errorf("journalctl: %q is not among what is configured", a)
		}
	}
	return nil
}
