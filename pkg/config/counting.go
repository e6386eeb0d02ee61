package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/filter"
)

// Counting says what of a jail's failures counts, beside the weights of its expressions.
type Counting struct {
	// Distinct is a group of the filter's: of failures that captured the same there, one counts.
	// Empty: each does.
	Distinct string
	// Forgives: who logs in takes back what failed of him from the same address, Most times a day at
	// most.
	Forgives bool
	Most     int
}

const (
	// ForgivesMost is how often a day that is where nothing is said, and mostForgives the most that
	// can be said.
	ForgivesMost = 3
	mostForgives = 100
)

// counting is how a jail counts. Its filter is there already. What can't be is left out, and each
// failure counts as ever: a jail that is too strict is better than none.
func (r *resolver) counting(j *Jail) {
	j.Counting.Most = ForgivesMost
	fault := func(at *layer, key, format string, args ...any) {
		var err error = fmt.Errorf(format, args...)
		if at != nil && at.doc != nil {
			err = &Error{at.file, at.line(key), err.Error()}
		}
		j.Faults = append(j.Faults, err)
	}
	ofAll := func(at *layer) bool { return at != nil && len(at.table) == 1 && at.table[0] == "default" }
	distinct := pick(r, keyCountDistinct)
	if name := distinct.v; name != "" {
		known := Groups(&j.Filter)
		switch {
		case slices.Contains(known, name):
			j.Counting.Distinct = name
		case ofAll(distinct.at): // it is for those that can
		case len(known) == 0:
			fault(distinct.at, "count.distinct", "count.distinct = %q: the filter captures nothing but addresses: left out, each failure counts", name)
		default:
			fault(distinct.at, "count.distinct", "count.distinct = %q: no failregex captures it: want %s: left out, each failure counts", name, strings.Join(known, ", "))
		}
	}
	forgives, most := pick(r, keySuccessForgives), pick(r, keySuccessMost)
	if most.v < 1 || most.v > mostForgives {
		r.fail(most.at, "success.most", fmt.Errorf("success.most %d: want 1 to %d; success.forgives = false for never", most.v, mostForgives))
		return
	}
	j.Counting.Most = most.v
	if !forgives.v {
		return
	}
	var why string
	switch {
	case !KnowsLogins(&j.Filter):
		why = "the filter knows no successful logins (success)"
	case !slices.Contains(Groups(&j.Filter), "user"):
		why = "no failregex captures the user (<F-USER>)"
	}
	switch {
	case why == "":
		j.Counting.Forgives = true
		with := j.Filter
		with.Logins = true
		if _, err := filter.Compile(with, time.UTC); err != nil && len(r.errs) == 0 && len(j.Errors) == 0 {
			if placed := (*filter.ExprError)(nil); errors.As(err, &placed) && placed.File != "" {
				r.errs = append(r.errs, err)
			} else {
				r.fail(forgives.at, "success.forgives", err)
			}
		}
	case !ofAll(forgives.at):
		fault(forgives.at, "success.forgives", "success.forgives = true: %s: left out, nobody is forgiven", why)
	}
}

// KnowsLogins reports whether a filter tells of successful logins.
func KnowsLogins(d *filter.Definition) bool {
	is := func(x filter.Expr) bool {
		return strings.Contains(x.Text, "F-MLFGAINED") || strings.Contains(x.Text, "?P<mlfgained>")
	}
	return len(d.Success) > 0 || is(d.Prefregex) || slices.ContainsFunc(d.Failregex, is)
}

// Groups are the names of what a filter's failregexes capture, but for addresses and what is of
// connections, sorted. One that can't be compiled has none.
func Groups(d *filter.Definition) []string {
	if d.JSON != nil {
		if d.JSON.User != "" {
			return []string{"user"}
		}
		return nil
	}
	f, err := filter.Compile(*d, time.UTC)
	if err != nil {
		return nil
	}
	return f.Captures()
}
