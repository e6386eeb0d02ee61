package web

import (
	"context"
	"html"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/events"
)

func contextWith(r *http.Request, peer connInfo) context.Context {
	return context.WithValue(r.Context(), connKey{}, peer)
}

// TestTexts: all words are in one place: each that is named is there, each that is there is named, and
// templates have none of their own.
func TestTexts(t *testing.T) {
	var all strings.Builder
	for _, glob := range []string{"*.go", "templates/*.html"} {
		files, _ := filepath.Glob(glob)
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(data)
		}
	}
	source := all.String()
	made := []string{"theme.", "event.", "time.", "chart.", "try.", "span.", "top."} // whose ends are made
	for _, m := range regexp.MustCompile(`(?:\bt|text\()\s*"([a-z0-9.]+)"`).FindAllStringSubmatch(source, -1) {
		if _, ok := texts()[m[1]]; !ok && !slices.Contains(made, m[1]) {
			t.Errorf("no text %q", m[1])
		}
	}
	for key, words := range texts() {
		if !strings.Contains(source, `"`+key+`"`) && !slices.ContainsFunc(made, func(p string) bool { return strings.HasPrefix(key, p) }) {
			t.Errorf("text %q is not used", key)
		}
		if html.EscapeString(words) != words && !strings.ContainsAny(words, "'\"“”") {
			t.Errorf("text %q has markup: %s", key, words)
		}
	}
	for _, k := range events.Kinds { // the choice of kinds, and each event
		if _, ok := texts()["event."+string(k)]; !ok {
			t.Errorf("kind %s of events has no text", k)
		}
	}
	files, _ := filepath.Glob("templates/*.html")
	for _, f := range files {
		data, _ := os.ReadFile(f)
		bare := regexp.MustCompile(`(?s)\{\{.*?\}\}|<[^<>]*?>`).ReplaceAllString(regexp.MustCompile(`(?s)\{\{.*?\}\}`).ReplaceAllString(string(data), ""), "")
		if m := regexp.MustCompile(`[A-Za-z]{2,}`).FindString(bare); m != "" {
			t.Errorf("%s has a word of its own: %s", f, m)
		}
		if m := regexp.MustCompile(`\s(?:style|on[a-z]+)=`).Find(data); m != nil {
			t.Errorf("%s has%s, which the policy forbids", f, m)
		}
	}
}
