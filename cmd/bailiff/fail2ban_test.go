package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// realRegex is Debian's fail2ban-regex, the oracle. make test installs it.
const realRegex = "/usr/bin/fail2ban-regex"

var processed = regexp.MustCompile(`(?m)^\[processed in .* sec\]$`)

// output runs a program in dir and returns what it printed, without the line
// that says how long it took, and its exit code.
func output(t *testing.T, dir, program string, args ...string) (string, int) {
	t.Helper()
	c := exec.Command(program, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "TZ=UTC", "LANG=C.UTF-8", "LC_ALL=C.UTF-8")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return processed.ReplaceAllString(out.String(), ""), c.ProcessState.ExitCode()
}

// TestSameAsFail2banRegex compares what fail2ban-regex and ours print.
func TestSameAsFail2banRegex(t *testing.T) {
	if _, err := os.Stat(realRegex); err != nil {
		t.Fatalf("%v: this test needs Debian's package fail2ban (make test installs it)", err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	line := "2015-03-10 21:31:23,899 ERROR Login failure 555.5.5.6\n"
	write("django.log", strings.Repeat(line, 30))
	write("mixed.log", "# a comment\n"+line+"2015-03-10 21:31:24,000 INFO nothing\n\nMar 10 21:31:25 host x[1]: Login failure 192.0.2.7\nLogin failure 2001:db8::7 without a date\n1426023083 Login failure 192.0.2.8\n")
	write("many-missed.log", strings.Repeat("2015-03-10 21:31:24,000 INFO nothing\n", 25))
	write("filter.conf", "[Definition]\nfailregex = Login failure <HOST>\n")
	write("two.conf", "[Definition]\n\nfailregex = Login failure <ADDR>$\n            failure <HOST>\n")
	ours, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "fail2ban-regex")
	if err := os.Symlink(ours, link); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"django.log", "./filter.conf"},
		{"django.log", "Login failure <HOST>"},
		{"mixed.log", "./filter.conf"},
		{"mixed.log", "./two.conf"},
		{"mixed.log", "Login failure <HOST>", `192\.0\.2`},
		{"mixed.log", `(?P<user>ERROR|INFO).*failure <F-ID>\S+</F-ID>`},
		{"mixed.log", `^\s*ERROR Login failure <ADDR>$`, "--print-all-matched"},
		{"mixed.log", "Login failure <HOST>", "--print-no-missed"},
		{"many-missed.log", "Login failure <HOST>"},
		{"many-missed.log", "Login failure <HOST>", "--print-all-missed"},
		{"2015-03-10 21:31:23 Login failure 192.0.2.7", "Login failure <HOST>"},
		{"2015-03-10 21:31:23 Login failure 192.0.2.7", "Login failure (?:from somebody who has a long name|<HOST>) *.{0,20}$"},
		{"django.log", "no host in it"},
		{"django.log", "(broken <HOST>"},
		{"-d", "%Y-%m-%d %H:%M", "mixed.log", "Login failure <HOST>"},
		{"--usedns", "no", "mixed.log", "Login failure <HOST>"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			want, wantCode := output(t, dir, realRegex, args...)
			got, gotCode := output(t, dir, link, args...)
			if got != want || gotCode != wantCode {
				t.Errorf("exit code %d, want %d\n--- ours\n%s\n--- fail2ban-regex\n%s", gotCode, wantCode, got, want)
			}
		})
	}
	// The same filter without its section, as fail2ban does not take it.
	write("bare.conf", "failregex = Login failure <HOST>\n")
	want, _ := output(t, dir, realRegex, "django.log", "./filter.conf")
	got, _ := output(t, dir, link, "django.log", "./bare.conf")
	if got != strings.Replace(want, "filter.conf", "bare.conf", 1) {
		t.Errorf("bare.conf: ours\n%s\nwant\n%s", got, want)
	}
}
