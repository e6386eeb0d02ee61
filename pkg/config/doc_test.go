package config

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"testing"
)

// TestFileMap: the package's documentation says of each file where it belongs, and of none that isn't
// there.
func TestFileMap(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`[a-z0-9*]+\.go`).FindAllString(string(doc), -1)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, file := range files {
		if test, _ := path.Match("*_test.go", file); test || file == "doc.go" {
			continue
		}
		found := false
		for _, pattern := range named {
			if ok, _ := path.Match(pattern, file); ok {
				found, used[pattern] = true, true
			}
		}
		if !found {
			t.Errorf("doc.go says nothing of %s: what does it read, and of which language?", file)
		}
	}
	for _, pattern := range named {
		if !used[pattern] {
			t.Errorf("doc.go speaks of %s, which isn't there", pattern)
		}
	}
}
