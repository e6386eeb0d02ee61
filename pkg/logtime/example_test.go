package logtime_test

import (
	"fmt"
	"time"

	"bailiff/pkg/logtime"
)

// A date without a year is of the one in which it is not in the future.
func ExampleDetector_Find() {
	d, err := logtime.NewDetector(nil, logtime.Options{Location: time.UTC, Year: 2026})
	if err != nil {
		panic(err)
	}
	now := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	for _, line := range []string{
		"Jan 31 12:00:00 host sshd[41]: Connection closed",
		"Dec 31 23:59:59 host sshd[41]: Connection closed",
	} {
		if m, ok := d.Find([]byte(line), now); ok {
			fmt.Printf("%s |%s%s\n", m.Time.Format(time.RFC3339), line[:m.Start], line[m.End:])
		}
	}
	// Output:
	// 2026-01-31T12:00:00Z | host sshd[41]: Connection closed
	// 2025-12-31T23:59:59Z | host sshd[41]: Connection closed
}
