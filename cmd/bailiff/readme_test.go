package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// TestREADME takes the examples of README.md as a reader does: what it prints as TOML is
// written into a directory, and passes check, filter test and filter lint; what it prints
// as commands of bailiff is run, or is one that there is, with the options that it names.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		hosttest.Write(t, path, text)
	}
	bailiff := program(t, "bailiff")
	run := func(args ...string) (string, error) {
		cmd := exec.Command(bailiff, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	good := func(want string, args ...string) {
		t.Helper()
		if out, err := run(args...); err != nil || !strings.Contains(out, want) {
			t.Errorf("bailiff %s: %v, want %q\n%s", strings.Join(args, " "), err, want, out)
		}
	}

	var main, explained string
	var commands []string
	for _, block := range codeBlocks(string(text)) {
		first, _, _ := strings.Cut(block, "\n")
		switch {
		case strings.HasPrefix(first, "# /etc/bailiff/filters/"):
			put("conf"+strings.TrimPrefix(first, "# /etc/bailiff"), block)
		case strings.HasPrefix(first, "# /etc/bailiff/bailiff.toml"):
			main = block + main
		case strings.HasPrefix(first, "[json]"):
			put("conf/filters/json-app.toml", block)
		case strings.HasPrefix(first, "["):
			main += block
		case strings.HasPrefix(first, "$ bailiff explain"):
			explained = block
		default:
			for _, line := range strings.Split(block, "\n") {
				if strings.HasPrefix(line, "bailiff ") {
					commands = append(commands, line)
				}
			}
		}
	}
	// What has a place on this machine has it in the directory.
	main = strings.NewReplacer("/etc/bailiff/", dir+"/conf/", "/etc/nginx/", dir+"/nginx/", "/var/log/django", dir, "/var/lib/docker", dir).Replace(main)
	put("nginx/nginx.conf", "") // a directory of its own: it is no part of the configuration
	put("conf/bailiff.toml", main)
	put("conf/lists/feed.txt", "203.0.113.0/24\n")
	put("conf/allow.txt", "203.0.113.7\n")
	put("conf/cdn.txt", "203.0.113.128/28\n")
	put("conf/cloudflare.token", "t0ken")
	if err := os.Chmod(filepath.Join(dir, "conf/cloudflare.token"), 0o600); err != nil {
		t.Fatal(err)
	}
	put("app.log", "")
	put("containers/c/c-json.log", "")
	good("no errors; 4 jails enabled: blocklist, caddy, django-auth, sshd", "check", "--config", "conf")
	if out, _ := run("check", "--config", "conf"); strings.Contains(out, "warning") {
		t.Errorf("check warns:\n%s", out)
	}
	good("1 filters, 1 samples passed, 0 failed", "filter", "test", "--config", "conf", "myapp")
	good("1 filters, 1 samples passed, 0 failed", "filter", "test", "conf/filters/myapp.toml")
	good("1 filters: 1 proved, 0 forgeable", "filter", "prove", "--config", "conf", "myapp")
	good("2 filters, 0 findings", "filter", "lint", "--config", "conf", "myapp", "json-app")

	// A filter without a place for its date is told what to write.
	myapp, err := os.ReadFile(filepath.Join(dir, "conf/filters/myapp.toml"))
	if err != nil {
		t.Fatal(err)
	}
	put("nodate.toml", regexp.MustCompile(`(?m)^datepattern.*\n`).ReplaceAllString(string(myapp), ""))
	if out, err := run("filter", "lint", "nodate.toml"); err == nil || !strings.Contains(out, "in TOML datepattern = '{^LN-BEG}'") {
		t.Errorf("lint of a filter without datepattern: %v\n%s", err, out)
	}

	// The line that does not match, and what is said of it.
	put("auth.log", "Jan 31 12:00:00 web sshd[41]: Failed password for root form 192.0.2.7 port 22 ssh2\n")
	line, _ := os.ReadFile(filepath.Join(dir, "auth.log"))
	out, _ := run("explain", "--config", "/etc/fail2ban", strings.TrimSpace(string(line)), "sshd")
	place := regexp.MustCompile(`sshd\.conf:\d+`) // another one in another release of fail2ban's
	out, explained = place.ReplaceAllString(out, "sshd.conf:N"), place.ReplaceAllString(explained, "sshd.conf:N")
	for _, want := range strings.Split(explained, "\n")[2:] {
		if want = strings.TrimSpace(want); want != "" && !strings.Contains(out, want) {
			t.Errorf("explain does not say %q:\n%s", want, out)
		}
	}

	if len(commands) < 15 {
		t.Fatalf("only %d commands found: %q", len(commands), commands)
	}
	for _, line := range commands {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)[1:]
		if slices.Contains(words, "/etc/fail2ban") && words[0] != "run" {
			words = strings.Fields(strings.Replace(strings.Join(words, " "), "/etc/bailiff", dir+"/imported", 1))
			good("", words...)
			continue
		}
		// A table of commands, some with words for what to give, some with several commands in
		// a line.
		for _, one := range strings.Split(line, ", bailiff ") {
			words := strings.Fields(strings.ReplaceAll(strings.TrimPrefix(one, "bailiff "), ",", ""))
			verbs := [][]string{{words[0]}}
			if len(words) > 1 && strings.Contains(words[1], "|") {
				verbs = nil
				for _, v := range strings.Split(words[1], "|") {
					verbs = append(verbs, []string{words[0], v})
				}
			} else if len(words) > 1 && regexp.MustCompile(`^[a-z]`).MatchString(words[1]) {
				// A command within a command has options of its own.
				if help, _ := run(words[0], "--help"); strings.Contains(help, "Available Commands:") {
					verbs = [][]string{words[:2]}
				}
			}
			for _, v := range verbs {
				help, err := run(append(slices.Clone(v), "--help")...)
				if err != nil || !strings.Contains(help, "bailiff "+strings.Join(v, " ")) {
					t.Errorf("%q: no command %q: %v\n%s", line, v, err, help)
				}
				for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(one, -1) {
					if !strings.Contains(help, flag) {
						t.Errorf("%q: %q has no option %s", line, v, flag)
					}
				}
			}
		}
	}
}

// codeBlocks are the indented blocks of a text in Markdown, without their indent.
func codeBlocks(text string) (out []string) {
	var block strings.Builder
	for _, line := range append(strings.Split(text, "\n"), "end") {
		code, ok := strings.CutPrefix(line, "    ")
		switch {
		case ok:
			block.WriteString(code + "\n")
		case line == "" && block.Len() > 0:
			block.WriteString("\n")
		case block.Len() > 0:
			out = append(out, block.String())
			block.Reset()
		}
	}
	return out
}
