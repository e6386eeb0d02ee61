package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// TestDocs takes the examples of all pages but README.md, which TestREADME does: settings
// are read, JSON is JSON, commands of bailiff's that look only are run, and of the others
// there is each with the options that it names; tests, files and targets that are named are
// there. A block of another kind fails: it wants to be looked at here.
func TestDocs(t *testing.T) {
	d := docs{t: t, bailiff: program(t, "bailiff"), dir: t.TempDir(), tests: map[string]bool{}}
	d.names()
	var pages []string
	for _, p := range []string{"../../docs/*.md", "../../docs/decisions/*.md", "../../bench/*.md", "../../examples/*/*.md", "../../zoo/*.md", "../../README.md", "../../CONTRIBUTING.md"} {
		found, err := filepath.Glob(p)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	blocks, spans := 0, 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		d.page = page
		if filepath.Base(page) != "README.md" || filepath.Dir(page) != "../.." {
			for _, block := range codeBlocks(unlisted(string(text))) {
				d.block(block)
				blocks++
			}
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(string(text), -1) {
			d.span(m[1])
			spans++
		}
	}
	if blocks < 20 || spans < 500 {
		t.Errorf("only %d blocks and %d texts in backquotes were found", blocks, spans)
	}
	t.Logf("%d pages, %d blocks, %d texts in backquotes, %d commands", len(pages), blocks, spans, d.commands)
}

// docs looks at examples.
type docs struct {
	t        *testing.T
	bailiff  string
	dir      string
	page     string
	tests    map[string]bool // by name
	targets  string          // the Makefile
	commands int
}

// names finds the tests that there are, and the Makefile's targets.
func (d *docs) names() {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		d.t.Fatal(err)
	}
	d.targets = "\n" + string(makefile)
	is := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
	err = filepath.WalkDir("../..", func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() && (e.Name() == ".git" || e.Name() == "tmp" && filepath.Dir(path) == "../..") {
			return cmpOr(err, filepath.SkipDir)
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range is.FindAllStringSubmatch(string(text), -1) {
			d.tests[m[1]] = true
		}
		return err
	})
	if err != nil || len(d.tests) < 300 {
		d.t.Fatalf("%d tests found, %v", len(d.tests), err)
	}
}

func cmpOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// unlisted takes the text of lists, which is indented, too, out of a page: what belongs to
// a numbered or dotted point and is no block of its own.
func unlisted(text string) string {
	var out []string
	in, blank, drawn := false, true, false
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "```"): // a drawing
			drawn = !drawn
			continue
		case drawn:
			continue
		case regexp.MustCompile(`^(?:\d+\.|[-*]) `).MatchString(line):
			in = true
		case line != "" && line[0] != ' ':
			in = false
		}
		if in && strings.HasPrefix(line, "    ") {
			// A block within a point has two or three columns more than its text, and a blank
			// line before it.
			more := strings.HasPrefix(line, "      ")
			if !more || !blank && (len(out) == 0 || out[len(out)-1] == "" || !strings.HasPrefix(out[len(out)-1], "    ")) {
				out, blank = append(out, ""), false
				continue
			}
			line = "    " + strings.TrimLeft(line, " ")
		}
		blank = line == ""
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// others are the commands of other programs that examples run.
var others = regexp.MustCompile(`^(?:curl|nft|docker|podman|printf|systemctl|apt-get|ssh|mkdir|export|gunicorn|cp|\./manage\.py|\w+=\S+ \./manage\.py|go tool pprof|gpgv|sha256sum|promtool) `)

func (d *docs) block(block string) {
	first, _, _ := strings.Cut(strings.TrimLeft(block, "\n"), "\n")
	lines := strings.Split(strings.TrimSpace(block), "\n")
	at := func(text string) string { return filepath.Join(d.dir, text) }
	switch {
	case strings.HasPrefix(first, "{"):
		text := strings.NewReplacer("[jail, …]", "[]", "[ban, …]", "[]", ", …]", "]").Replace(block)
		if !json.Valid([]byte(text)) {
			d.t.Errorf("%s: this is no JSON:\n%s", d.page, block)
		}
	case strings.HasPrefix(first, "[Socket]"), strings.HasPrefix(first, "[Service]"):
		unit := at("x" + map[bool]string{true: ".socket", false: ".service"}[strings.HasPrefix(first, "[Socket]")])
		for _, line := range lines {
			if line != "" && line[0] != '[' && !regexp.MustCompile(`^[A-Z]\w+=\S`).MatchString(line) {
				d.t.Errorf("%s: %s is nothing that systemd reads in %s", d.page, line, unit)
			}
		}
	case strings.Contains(block, "translate = true"):
		d.write("f2b/jail.conf", "[DEFAULT]\nbantime = 600\n")
		d.write("f2b/fail2ban.conf", "[Definition]\n")
		d.write("f2b/fail2ban.local", block)
		d.run("check", "--config", at("f2b"))
	case strings.HasPrefix(first, "["):
		d.write("conf/bailiff.toml", block)
		d.run("check", "--config", at("conf"))
	default:
		for _, line := range lines {
			line, _, _ := strings.Cut(line, "  #")
			line = strings.TrimSpace(line)
			if m := regexp.MustCompile(`^[\d*/,-]+(?: [\d*/,-]+){4} root (.*)`).FindStringSubmatch(line); m != nil { // of /etc/cron.d
				line = m[1]
			}
			switch {
			case line == "" || strings.HasPrefix(line, "#"):
			case regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ `).MatchString(line): // a log's
				d.logged(line)
			case regexp.MustCompile(`^report \w+ \(\S+\): \d+ sent, `).MatchString(line): // of status; TestReports has it
			case d.command(line), others.MatchString(line):
			default:
				d.t.Errorf("%s: an example of a kind that no test runs: %s", d.page, line)
			}
		}
	}
}

// logged is a line that an example has an application write: its filter takes it.
func (d *docs) logged(line string) {
	d.write("page.log", line+"\n")
	if out := d.run("regex", "-o", "id", filepath.Join(d.dir, "page.log"), "django-auth"); strings.TrimSpace(out) != "192.0.2.7" {
		d.t.Errorf("%s: %s: %q is found in it", d.page, line, out)
	}
}

func (d *docs) write(name, text string) {
	path := filepath.Join(d.dir, name)
	hosttest.Write(d.t, path, text)
}

// run runs a command that must end well.
func (d *docs) run(args ...string) string {
	d.t.Helper()
	cmd := exec.Command(d.bailiff, args...)
	cmd.Dir = d.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Errorf("%s: bailiff %s: %v\n%s", d.page, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// command looks at one of ours; false: it is none.
func (d *docs) command(line string) bool {
	words := strings.Fields(line)
	switch {
	case len(words) == 0:
		return false
	case words[0] == "make":
		for _, w := range words[1:] {
			if !strings.Contains(w, "=") && w != "&&" && !strings.Contains(d.targets, "\n"+w+":") {
				d.t.Errorf("%s: %s: there is no target %s", d.page, line, w)
			}
			if w == "&&" {
				break
			}
		}
	case words[0] == "go" && len(words) > 2 && words[1] == "test":
		for i, w := range words[:len(words)-1] {
			if (w == "-run" || w == "-bench") && words[i+1] != "xxx" {
				d.test(line, words[i+1], w == "-bench")
			}
		}
		for _, w := range words {
			if strings.HasPrefix(w, "./") && !strings.HasSuffix(w, "...") {
				d.file(strings.TrimPrefix(w, "./"))
			}
		}
	case words[0] == "go" && len(words) > 2 && words[1] == "run":
		d.file(strings.TrimPrefix(words[2], "./"))
	case words[0] == "fail2ban-client" || words[0] == "fail2ban-regex" || words[0] == "fail2ban-server":
	case words[0] == "bailiff" && len(words) > 1:
		d.ours(line, words[1:])
	default:
		return false
	}
	d.commands++
	return true
}

// ours runs a command that looks only, and asks the help of any other.
func (d *docs) ours(line string, words []string) {
	if slices.Contains(words, "/etc/fail2ban") && (words[0] == "check" || words[0] == "config") {
		d.run(strings.Fields(strings.ReplaceAll(strings.Join(words, " "), "/etc/bailiff", filepath.Join(d.dir, "imported")))...)
		return
	}
	if words[0] == "regex" && len(words) > 2 && strings.HasPrefix(words[1], "/var/log/") {
		d.write("page.log", "Jan 31 12:00:00 host x[1]: y\n")
		d.run(append([]string{"regex", filepath.Join(d.dir, "page.log")}, words[2:]...)...)
		return
	}
	verb := words[:1]
	if slices.Contains([]string{"filter", "config", "bans", "hub", "fleet"}, words[0]) && len(words) > 1 && words[1][0] != '-' {
		verb = words[:2]
	}
	help := d.run(append(slices.Clone(verb), "--help")...)
	if !strings.Contains(help, "bailiff "+strings.Join(verb, " ")) {
		d.t.Errorf("%s: %q: there is no such command", d.page, line)
	}
	for _, flag := range regexp.MustCompile(`(?:^| )(--?[a-z][a-z-]*)`).FindAllStringSubmatch(line, -1) {
		if !regexp.MustCompile(`(?m)(?:^|\s)` + regexp.QuoteMeta(flag[1]) + `\b`).MatchString(help) {
			d.t.Errorf("%s: %q: there is no option %s", d.page, line, flag[1])
		}
	}
}

// test looks for a test, or for a benchmark, by the expression that would find it.
func (d *docs) test(line, pattern string, bench bool) {
	name, _, _ := strings.Cut(strings.Trim(pattern, `'"`), "/")
	re, err := regexp.Compile(name)
	if err != nil {
		d.t.Errorf("%s: %q: %v", d.page, line, err)
		return
	}
	for n := range d.tests {
		if strings.HasPrefix(n, "Benchmark") == bench && re.MatchString(n) {
			return
		}
	}
	d.t.Errorf("%s: %q: there is no test %s", d.page, line, pattern)
}

// file looks for a file or a directory of this tree.
func (d *docs) file(path string) {
	path, _, _ = strings.Cut(strings.TrimSuffix(path, "/"), "*")
	if found, _ := filepath.Glob(filepath.Join("../..", path) + "*"); len(found) == 0 {
		d.t.Errorf("%s: there is no %s", d.page, path)
	}
}

// span is a text in backquotes: a command, a test, a file.
func (d *docs) span(text string) {
	switch {
	case regexp.MustCompile(`^(?:bailiff|make|go test|go run) [a-z./-]+`).MatchString(text) && !strings.HasPrefix(text, "bailiff.toml"):
		if text = strings.ReplaceAll(text, "…", ""); !strings.Contains(text, "|") {
			d.command(text)
		}
	case regexp.MustCompile(`^(?:Test|Fuzz|Benchmark)[A-Z]\w+$`).MatchString(text):
		if !d.tests[text] {
			d.t.Errorf("%s: there is no test %s", d.page, text)
		}
	case regexp.MustCompile(`^(?:pkg|cmd|bench|zoo|examples|scripts|test)/[\w/.-]+$`).MatchString(text):
		d.file(text)
	}
}
