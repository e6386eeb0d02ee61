package filter_test

import (
	"fmt"
	"time"

	"bailiff/pkg/filter"
)

// A line is a failure, or it tells of nothing. Whether the failure counts is for others to decide.
func ExampleFilter_Match() {
	f, err := filter.Compile(filter.Definition{
		Name:      "my-app",
		Failregex: []filter.Expr{{Text: `^\s*login of <F-USER>\S+</F-USER> failed: <ADDR>$`}},
	}, time.UTC)
	if err != nil {
		panic(err)
	}
	now := time.Date(2026, 1, 31, 12, 1, 0, 0, time.UTC)
	for _, line := range []string{
		"2026-01-31 12:00:00 login of bob failed: 203.0.113.7",
		"2026-01-31 12:00:30 login of alice: 203.0.113.8",
	} {
		failures := f.Match([]byte(line), now).Failures
		fmt.Println(len(failures), "failures")
		for _, failure := range failures {
			fmt.Println(failure.ID, failure.Groups["user"], failure.Time.Format(time.RFC3339))
		}
	}
	// Output:
	// 1 failures
	// 203.0.113.7 bob 2026-01-31T12:00:00Z
	// 0 failures
}
