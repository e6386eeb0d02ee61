package config

import (
	"fmt"
	"strings"
	"time"

	"bailiff/pkg/filter"
)

// Check runs a sample of the filter and says what is wrong with it, "" if nothing
// is. Dates without a zone are read as UTC.
func (f *Filter) Check(s Sample) string {
	def, err := f.definition(s.Mode)
	if err != nil {
		return err.Error()
	}
	compiled, err := filter.Compile(def, time.UTC)
	if err != nil {
		return err.Error()
	}
	var r filter.Result
	for _, line := range strings.Split(s.Line, "\n") {
		r = compiled.Match([]byte(line), time.Now())
	}
	switch {
	case r.Err != nil:
		return r.Err.Error()
	case !s.Match && len(r.Failures) > 0:
		return fmt.Sprintf("matches with host %s, and should not", r.Failures[0].ID)
	case !s.Match:
		return ""
	case len(r.Failures) == 0:
		return "does not match, and should"
	case s.Host == "":
		return "the sample names no host"
	case r.Failures[0].ID != s.Host:
		return fmt.Sprintf("host %s, want %s", r.Failures[0].ID, s.Host)
	case !r.Dated:
		return "no time was found in the line"
	case !s.Time.IsZero() && !r.Time.Equal(s.Time):
		return fmt.Sprintf("time %s, want %s", r.Time.Format(time.RFC3339Nano), s.Time.Format(time.RFC3339Nano))
	}
	return ""
}
