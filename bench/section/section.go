// Package section replaces a part of a document that a program writes.
package section

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Names are those of bench/README.md, whose figures all stand in one of them: the program
// bench/PROGRAM makes them by `make bench`, and with --only NAME --write bench/README.md the one
// behind PROGRAM/.
var Names = []string{
	"reading", "around",
	"daemon/restarts", "daemon/latency", "forwarded", "daemon/idle", "daemon/busy", "daemon/bursts", "daemon/disk", "daemon/start", "daemon/hour", "daemon/watched", "daemon/search",
	"promises/answers", "promises/latency", "promises/fair", "promises/burst", "promises/million", "promises/lists", "promises/packets",
	"promises/table", "promises/memory", "promises/metrics", "promises/idle", "promises/confined", "promises",
	"proxies", "regexps", "replay",
	"fleet/latency", "fleet/kernel", "fleet/snapshot", "fleet/faults", "fleet/tree",
}

// Marks are the lines between which a section stands.
func Marks(name string) (begin, end string) {
	return "<!-- " + name + ": made by make bench -->\n", "<!-- end of " + name + " -->\n"
}

// Replace puts a text between the marks of a section.
func Replace(path, name, text string) error {
	if !slices.Contains(Names, name) {
		return fmt.Errorf("%s has no section %q", path, name)
	}
	begin, end := Marks(name)
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
