package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"bailiff/pkg/cli"
	"bailiff/pkg/config"
)

// TestPages: there is a page for every command, groff (of Debian's groff-base) has nothing
// to complain of, and the pages of files have every key. Built twice, they are the same.
func TestPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1769860800")
	dir, again := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, again} {
		if err := write(d); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	shown := map[string]string{}
	files, _ := filepath.Glob(filepath.Join(dir, "man*", "*"))
	for _, f := range files {
		name := filepath.Base(f)
		rel, _ := filepath.Rel(dir, f)
		if read(f) != read(filepath.Join(again, rel)) {
			t.Errorf("%s is another one when built again", name)
		}
		if strings.Contains(read(f), dir) {
			t.Errorf("%s names the directory in which it was made", name)
		}
		out, err := exec.Command("groff", "-k", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=200n", f).CombinedOutput()
		if err != nil {
			t.Fatalf("groff: %v: %s", err, out)
		}
		if text := string(out); strings.Contains(text, "warning:") || strings.Contains(text, "error:") && strings.Contains(text, "troff:") {
			t.Errorf("%s: %.300s", name, text)
		}
		shown[name] = string(out)
	}
	var commands func(c *cobra.Command)
	commands = func(c *cobra.Command) {
		if name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".8"; c.IsAvailableCommand() && shown[name] == "" {
			t.Errorf("no page %s", name)
		}
		for _, sub := range c.Commands() {
			commands(sub)
		}
	}
	commands(cli.Commands())
	for _, name := range cli.OtherNames {
		if !strings.Contains(shown[name+".8"], "Usage: "+name) {
			t.Errorf("%s hasn't what --help prints: %.200s", name, shown[name+".8"])
		}
	}
	for _, k := range config.Reference() {
		page := shown["bailiff.toml.5"]
		if k.File == config.FilterFile {
			page = shown["bailiff-filters.5"]
		}
		if !strings.Contains(page, k.Written()+" (") {
			t.Errorf("no %s %s in its page", k.Table, k.Name)
		}
		for _, line := range strings.Split(k.Example, "\n") {
			if !strings.Contains(page, line) {
				t.Errorf("%s %s: the example is not in its page as it is: %s", k.Table, k.Name, line)
			}
		}
	}
}
