package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

// printExport tells how a list elsewhere stands.
func printExport(w io.Writer, e control.ExportStatus) {
	at := func(t *time.Time) string { return t.Local().Format(timeLayout) }
	var parts []string
	if e.Provider == config.ExportHook {
		if e.Behind < 0 {
			parts = append(parts, "it has not begun yet")
		} else {
			parts = append(parts, fmt.Sprintf("sent up to event %d, %d behind", e.Event, e.Behind))
		}
	} else if e.Behind < 0 {
		parts = append(parts, "the list is not read yet")
	} else {
		parts = append(parts, fmt.Sprintf("%d on the list, %d behind", e.On, e.Behind))
	}
	if e.LastSuccess != nil {
		parts = append(parts, "last success "+at(e.LastSuccess))
	}
	if e.Widened > 0 {
		parts = append(parts, fmt.Sprintf("%d as a wider network", e.Widened))
	}
	if e.LeftOut > 0 {
		parts = append(parts, fmt.Sprintf("%d can't be on it (%s)", e.LeftOut, e.Why))
	}
	if e.Waits != "" {
		parts = append(parts, e.Waits)
	}
	if e.Error != "" {
		parts = append(parts, "error "+at(e.Failed)+": "+e.Error)
	}
	fmt.Fprintf(w, "export %s (%s): %s\n", e.Name, e.Provider, strings.Join(parts, "; "))
}
