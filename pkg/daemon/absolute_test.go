package daemon

import (
	"path/filepath"
	"testing"
)

// TestAbsolute: a path that was given from where the daemon was started is the same file for who asks from elsewhere.
func TestAbsolute(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{"": "", "etc": filepath.Join(here, "etc"), "/etc/bailiff": "/etc/bailiff"} {
		if got := absolute(given); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}
