//go:build race

package daemon

import (
	"os"
	"path/filepath"
	"strings"
)

// raceLogs are where a build with the race detector tells of races.
func raceLogs() (out []string) {
	for _, option := range strings.Fields(os.Getenv("GORACE")) {
		if path, ok := strings.CutPrefix(option, "log_path="); ok {
			out = append(out, filepath.Dir(path))
		}
	}
	return out
}
