package section_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/bench/section"
)

// TestMade has every table of the document stand in a section that a program makes, each section
// there once, and in every section a figure.
func TestMade(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	rest := string(data)
	for _, name := range section.Names {
		begin, end := section.Marks(name)
		if strings.Count(rest, begin) != 1 || strings.Count(rest, end) != 1 {
			t.Errorf("%d beginnings and %d ends of section %s: want one", strings.Count(rest, begin), strings.Count(rest, end), name)
			continue
		}
		before, after, _ := strings.Cut(rest, begin)
		text, after, ok := strings.Cut(after, end)
		if !ok {
			t.Errorf("section %s ends before it begins", name)
		}
		if !strings.ContainsAny(text, "0123456789") {
			t.Errorf("section %s is empty", name)
		}
		rest = before + after
	}
	for line := range strings.Lines(rest) {
		if strings.HasPrefix(line, "|") || strings.Contains(line, ": made by make bench") {
			t.Errorf("no program makes this line: %s", line)
		}
	}
}

// TestReplace puts a text in the place of another, and in no section that there isn't.
func TestReplace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "README.md")
	begin, end := section.Marks("around")
	if err := os.WriteFile(path, []byte("a\n"+begin+"old\n"+end+"b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := section.Replace(path, "around", "new\n"); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "a\n"+begin+"new\n"+end+"b\n" {
		t.Errorf("%q, %v", data, err)
	}
	for _, name := range []string{"reading", "no such"} {
		if err := section.Replace(path, name, ""); err == nil {
			t.Errorf("section %s: no error", name)
		}
	}
}
