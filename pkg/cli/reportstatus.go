package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"bailiff/pkg/control"
)

// printReport tells how reports to a service elsewhere stand.
func printReport(w io.Writer, r control.ReportStatus) {
	at := func(t *time.Time) string { return t.Local().Format(timeLayout) }
	parts := []string{fmt.Sprintf("%d sent, %d waiting, %d in the last 24 hours", r.Sent, r.Waiting, r.Day)}
	for _, n := range []struct {
		n    int
		what string
	}{
		{r.Dropped, "dropped"},
		{r.Refused, "refused"},
		{r.Unsure, "without an answer"},
		{r.Repeated, "reported not long ago"},
		{r.Withheld, "withheld"},
	} {
		if n.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n.n, n.what))
		}
	}
	if r.LastSuccess != nil {
		parts = append(parts, "last success "+at(r.LastSuccess))
	}
	if r.Error != "" {
		parts = append(parts, "error "+at(r.Failed)+": "+r.Error)
	}
	fmt.Fprintf(w, "report %s (%s): %s\n", r.Name, r.Kind, strings.Join(parts, "; "))
}
