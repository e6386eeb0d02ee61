package jail

import "time"

// wall writes a time for the log as a clock on this host's wall shows it, whatever zone
// it was read in.
func wall(t time.Time) string { return t.Local().Format(time.DateTime) }
