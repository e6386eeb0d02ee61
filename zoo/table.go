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

// tell prints the row of one service.
func (r *result) tell() {
	verdict := "ok "
	if r.animal.Blind != "" {
		verdict = "---"
	}
	if len(r.problems) > 0 {
		verdict = "RED"
	}
	customer := "untouched"
	if !r.customer || r.found[animals.Customer] > 0 {
		customer = "TOUCHED"
	}
	refused := "refused"
	if !r.refused && r.animal.Blind == "" {
		refused = "NOT REFUSED"
	}
	name := r.animal.Name
	if r.animal.Filter != name {
		name += " (" + r.animal.Filter + ")"
	}
	if r.animal.Mode != "" {
		name += " [" + r.animal.Mode + "]"
	}
	say("%s %-9s %-28s %-28s attempts %2d  counted %2d  banned %-12s %-8s customer %-9s  fail2ban %s  %.0fs",
		verdict, r.suite, name, r.version, r.animal.Attempts(), r.found[animals.Attacker], strings.Join(r.banned, " "), refused, customer, strings.Join(r.theirs, ", "), r.took.Seconds())
	if r.animal.Blind != "" {
		say("      not counted: %s", r.animal.Blind)
	}
	for _, p := range r.problems {
		say("      %s", strings.ReplaceAll(p, "\n", "\n      "))
	}
}

// summary tells how many filters are green, and reports whether all are.
func summary(results []*result, took time.Duration) bool {
	green, red := map[string]bool{}, map[string]bool{}
	for _, r := range results {
		if len(r.problems) > 0 {
			red[r.animal.Filter] = true
		}
	}
	for _, r := range results {
		if !red[r.animal.Filter] && r.animal.Blind == "" {
			green[r.animal.Filter] = true
		}
	}
	say("%d plays, %d filters green, %d red, %s", len(results), len(green), len(red), took.Round(time.Second))
	if len(red) > 0 {
		say("red: %s", strings.Join(slices.Sorted(maps.Keys(red)), " "))
	}
	return len(red) == 0 && len(results) > 0
}
