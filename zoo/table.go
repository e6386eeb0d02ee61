package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bailiff/zoo/animals"
)

// result is what came of one play.
type result struct {
	animal   *animals.Animal
	way      way
	suite    string
	version  string // of the service's package
	found    map[string]int
	banned   []string
	refused  bool // the attacker's next connection
	customer bool // got in, before and after
	theirs   []string
	problems []string
	took     time.Duration
}

func (r *result) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// name is the animal's, and how it was played.
func (r *result) name() string {
	if r.way.name == "" {
		return r.animal.Name
	}
	return r.animal.Name + "." + r.way.name
}

// blind says why nothing can be counted there.
func (r *result) blind() string { return r.animal.Blind[r.suite] }

// tell prints the row of one service.
func (r *result) tell() {
	verdict := "ok "
	if r.blind() != "" {
		verdict = "---"
	}
	if len(r.problems) > 0 {
		verdict = "RED"
	}
	customer := "untouched"
	if !r.customer || r.found[r.way.net.Customer] > 0 {
		customer = "TOUCHED"
	}
	refused := "refused"
	if !r.refused && r.blind() == "" {
		refused = "NOT REFUSED"
	}
	name := r.name()
	if r.animal.Filter != r.animal.Name {
		name += " (" + r.animal.Filter + ")"
	}
	if r.animal.Mode != "" {
		name += " [" + r.animal.Mode + "]"
	}
	text := fmt.Sprintf("%s %-9s %-28s %-28s attempts %2d  counted %2d  banned %-12s %-8s customer %-9s  fail2ban %s  %.0fs",
		verdict, r.suite, name, r.version, r.animal.Attempts(r.suite), r.found[r.way.net.Attacker], strings.Join(r.banned, " "), refused, customer, strings.Join(r.theirs, ", "), r.took.Seconds())
	if r.blind() != "" {
		text += "\n      not counted: " + r.blind()
	}
	for _, p := range r.problems {
		text += "\n      " + strings.ReplaceAll(p, "\n", "\n      ")
	}
	say("%s", text)
}

// page is the table of a whole run, for people who were not there.
func page(results []*result, took time.Duration) string {
	type row struct{ versions, theirs map[string]string }
	rows := map[string]*row{}
	first := map[string]*result{}
	for _, r := range results {
		if first[r.name()] == nil {
			first[r.name()], rows[r.name()] = r, &row{map[string]string{}, map[string]string{}}
		}
		_, version, _ := strings.Cut(r.version, " ")
		said := fmt.Sprintf("%s: %d of %d", version, r.found[r.way.net.Attacker], r.animal.Attempts(r.suite))
		if r.blind() != "" {
			said = version + ": not counted, see below"
		}
		rows[r.name()].versions[r.suite] = said
		rows[r.name()].theirs[r.suite] = strings.Join(r.theirs, ", ")
	}
	var b strings.Builder
	plays, filters, _ := tally(results)
	fmt.Fprintf(&b, `# The zoo

The last whole run of make zoo, which writes this page when nothing is red: %d plays, %d filters,
%s with %d plays beside each other.

For each play and each Debian that has the service: its version, and how many failures were
counted of how many that an attacker made. Banned was the attacker, whose next connection was
refused, and nobody else; a customer came in before and after it, and was never counted.
"ipv6" is over IPv6, "journal" with the log in systemd's journal. The last columns: how many lines
fail2ban's own filters find in the same log, of which the real fail2ban-regex and ours say the same.

| play | filter | Debian 12 | Debian 13 | sid | fail2ban, on Debian 12's log | on Debian 13's, or sid's |
| --- | --- | --- | --- | --- | --- | --- |
`, plays, len(filters), took.Round(time.Second), *jobs)
	for _, name := range slices.Sorted(maps.Keys(first)) {
		r, w := first[name], rows[name]
		filter := r.animal.Filter
		if r.animal.Mode != "" {
			filter += ", mode " + r.animal.Mode
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", name, filter, w.versions[animals.Bookworm], w.versions[animals.Trixie], w.versions[animals.Sid], w.theirs[animals.Bookworm], w.theirs[animals.Trixie]+w.theirs[animals.Sid])
	}
	b.WriteString("\n")
	for _, line := range animals.Missing() {
		b.WriteString("- " + line + "\n")
	}
	return b.String()
}

// summary tells how many filters are green, and reports whether all are.
func summary(results []*result, took time.Duration) bool {
	plays, green, red := tally(results)
	say("%d plays, %d filters green, %d red, %s", plays, len(green), len(red), took.Round(time.Second))
	if len(red) > 0 {
		say("red: %s", strings.Join(slices.Sorted(maps.Keys(red)), " "))
	}
	return len(red) == 0 && plays > 0
}

// tally returns the filters that are green in all plays that tell, and those that are red
// in any.
func tally(results []*result) (plays int, green, red map[string]bool) {
	green, red = map[string]bool{}, map[string]bool{}
	for _, r := range results {
		if len(r.problems) > 0 {
			red[r.animal.Filter] = true
		}
	}
	for _, r := range results {
		if !red[r.animal.Filter] && r.blind() == "" {
			green[r.animal.Filter] = true
		}
	}
	return len(results), green, red
}
