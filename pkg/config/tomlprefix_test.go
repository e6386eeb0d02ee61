package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPrefix: a filter's expressions share a beginning by its name, in every mode; a
// prefix that can't be used, or isn't, is told with its line.
func TestPrefix(t *testing.T) {
	load := func(text string) *Filter {
		t.Helper()
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "filters"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "filters", "app.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Filters["app"]
	}
	f := load(`
prefregex = '<head><F-CONTENT>.+</F-CONTENT>$'
failregex = """
^failed from <ADDR>$
^(?P<head>x) <ADDR>
"""
ignoreregex = '<head>.*never'

[prefix]
head = '^app\[\d+\]: '
tail = ' for bob$'

[mode.more]
failregex = '^refused <ADDR><tail>'
`)
	if len(f.Errors) > 0 {
		t.Fatal(f.Errors)
	}
	def, err := f.definition("more")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{def.Prefregex.Text, def.Ignoreregex[0].Text}
	for _, e := range def.Failregex {
		got = append(got, e.Text)
	}
	want := []string{
		`^app\[\d+\]: <F-CONTENT>.+</F-CONTENT>$`, `^app\[\d+\]: .*never`,
		"^failed from <ADDR>$", "^(?P<head>x) <ADDR>", "^refused <ADDR> for bob$",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q\nwant %q", got, want)
	}
	if def.Failregex[2].Line != 14 {
		t.Errorf("line %d of %q", def.Failregex[2].Line, def.Failregex[2].Text)
	}

	for text, want := range map[string]string{
		"failregex = '^<ADDR>'\n[prefix]\nhead = 'x'": "app.toml:3: prefix.head: no expression has <head>",
		"failregex = '^<HOST>'\n[prefix]\nHOST = 'x'": "app.toml:3: prefix.HOST: want small letters",
		"failregex = '<h><ADDR>'\n[prefix]\nh = 3":    "app.toml:3: prefix.h",
	} {
		f := load(text)
		if len(f.Errors) == 0 || !strings.Contains(f.Errors[0].Error(), want) {
			t.Errorf("%v, want %s", f.Errors, want)
		}
	}
}
