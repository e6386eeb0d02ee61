// Package docs_test checks that the pages can be read as one book: each is reached from the
// contents, and no link leads nowhere.
package docs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestContents wants every page of docs in docs/README.md, every decision in architecture.md's
// list by its number and title, and the numbers without a gap.
func TestContents(t *testing.T) {
	contents := links(t, "README.md")
	pages := glob(t, "*.md")
	for _, page := range pages {
		if page != "README.md" && !contents[page] {
			t.Errorf("docs/%s is not in docs/README.md", page)
		}
	}
	decisions := glob(t, "decisions/*.md")
	list := read(t, "architecture.md")
	for i, page := range decisions {
		title, _, _ := strings.Cut(strings.TrimPrefix(read(t, page), "# "), "\n")
		if entry := fmt.Sprintf("\n- [%s](%s): ", title, page); !strings.Contains(list, entry) {
			t.Errorf("docs/architecture.md has no line that begins with %q", strings.TrimSpace(entry))
		}
		number := filepath.Base(page)[:2]
		if n, err := strconv.Atoi(number); err != nil || n != i+1 || !strings.HasPrefix(title, strconv.Itoa(n)+". ") {
			t.Errorf("docs/%s, %q: want number %d in its name and title", page, title, i+1)
		}
		for _, part := range []string{"Decision", "Why", "What was measured", "What it means for a change"} {
			if !strings.Contains(read(t, page), "\n## "+part+"\n") {
				t.Errorf("docs/%s has no section %q", page, part)
			}
		}
	}
	if len(pages) < 15 || len(decisions) < 44 {
		t.Errorf("only %d pages and %d decisions were found", len(pages), len(decisions))
	}
}

// TestLinks follows every relative link of the pages to its file, and to its heading there.
func TestLinks(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "decisions/*.md", "../*.md", "../bench/*.md", "../examples/*/*.md"} {
		pages = append(pages, glob(t, pattern)...)
	}
	followed := 0
	for _, page := range pages {
		for link := range links(t, page) {
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			followed++
			path, heading, _ := strings.Cut(link, "#")
			target := filepath.Join(filepath.Dir(page), path)
			if path == "" {
				target = page
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: (%s): %v", page, link, err)
			} else if heading != "" && !headings(read(t, target))[heading] {
				t.Errorf("%s: (%s): %s has no such heading", page, link, target)
			}
		}
	}
	if followed < 100 {
		t.Errorf("only %d links were found in %d pages", followed, len(pages))
	}
}

// TestHeadings has the names that links use for headings, as those who show the pages make them.
func TestHeadings(t *testing.T) {
	got := headings("# What to do when …\n\n## `kind`, and more: a-b\n\n    # a comment\n\n```\n# another\n```\n## Twice\n## Twice\n")
	for _, want := range []string{"what-to-do-when-", "kind-and-more-a-b", "twice", "twice-1"} {
		if !got[want] {
			t.Errorf("no %q among %v", want, got)
		}
	}
	if len(got) != 4 {
		t.Errorf("too many: %v", got)
	}
}

// TestMakeHelp: make help has a line for each of the Makefile's targets, and for nothing else.
func TestMakeHelp(t *testing.T) {
	out, err := exec.Command("make", "--no-print-directory", "-C", "..", "help").CombinedOutput()
	if err != nil {
		t.Fatalf("make help: %v\n%s", err, out)
	}
	listed := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		m := regexp.MustCompile(`^make ([a-z-]+) +\S.*$`).FindStringSubmatch(line)
		if m == nil || listed[m[1]] || len(line) > 110 {
			t.Errorf("%q: want a target and what it is, once, in 110 characters", line)
			continue
		}
		listed[m[1]] = true
	}
	targets := regexp.MustCompile(`(?m)^([a-z][a-z-]*):(?: |$)`).FindAllStringSubmatch(read(t, "../Makefile"), -1)
	there := map[string]bool{}
	for _, m := range targets {
		there[m[1]] = true
		if !listed[m[1]] {
			t.Errorf("make help says nothing of %s", m[1])
		}
	}
	for name := range listed {
		if !there[name] {
			t.Errorf("make help names %s, which is no target", name)
		}
	}
}

// headings are the names by which a page's headings are linked.
func headings(text string) map[string]bool {
	found := map[string]bool{}
	other := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, line := range strings.Split(prose(text), "\n") {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		name := strings.ReplaceAll(other.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-")
		unique := name
		for i := 1; found[unique]; i++ {
			unique = name + "-" + strconv.Itoa(i)
		}
		found[unique] = true
	}
	return found
}

// prose is a page without its fenced blocks.
func prose(text string) string {
	return regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(text, "")
}

// links are those of a page's text. Code holds no links.
func links(t *testing.T, page string) map[string]bool {
	t.Helper()
	text := regexp.MustCompile("`[^`\n]*`").ReplaceAllString(prose(read(t, page)), "code")
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
	}
	return found
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(found), err)
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
