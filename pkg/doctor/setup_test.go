package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/daemon"
	"bailiff/pkg/doctor"
	"bailiff/pkg/hosttest"
)

// setup is a set-up of a host, built for real in a directory, and what a doctor is to name
// as its cause.
type setup struct {
	symptom string // of docs/doctor.md
	level   doctor.Level
	jails   []string          // that are asked for; nil: all
	files   map[string]string // by path in the directory; @ stands for that
	// build does what files can't say; nil: there is nothing.
	build func(t *testing.T, dir string)
	// inside: it has a network of its own, and is built and looked at in there; as: by whom.
	inside bool
	as     uint32
	// cause and remedy are texts in what is told.
	cause, remedy string
}

// sshJail is a jail of ours that reads auth.log.
const sshJail = "[jail.sshd]\nenabled = true\nlogpath = '@/auth.log'\n"

// tree is a configuration of fail2ban's with a jail of its own.
func tree(jail string) map[string]string {
	return map[string]string{
		"jail.conf":           "[DEFAULT]\nbackend = auto\nfilter = %(__name__)s\naction = note\n",
		"action.d/note.conf":  "[Definition]\nactionban = true\n",
		"jail.local":          jail,
		"filter.d/sshd.conf":  "[Definition]\nfailregex = ^.*sshd\\[\\d+\\]: Failed password for .* from <HOST> port \\d+ ssh2$\n",
		"filter.d/other.conf": "[Definition]\nfailregex = ^.*other: no entry for <HOST>$\n",
	}
}

// with puts files together.
func with(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// lines makes lines of a log, of the last minutes: each is given its time, as syslog writes it.
func lines(n int, line func(i int, at time.Time) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(line(i, time.Now().Add(time.Duration(i-n)*10*time.Second)) + "\n")
	}
	return b.String()
}

const stamp = "Jan _2 15:04:05"

// guess is a line of sshd.
func guess(at time.Time, who string, i int) string {
	return fmt.Sprintf("%s host sshd[%d]: Failed password for invalid user u%d from %s port %d ssh2", at.Format(stamp), 1000+i, i%7, who, 40000+i)
}

// attacks are guesses of several addresses.
func attacks(n, addresses int) string {
	return lines(n, func(i int, at time.Time) string { return guess(at, fmt.Sprintf("203.0.113.%d", 10+i%addresses), i) })
}

// build makes a set-up, and returns the path of its configuration.
func (s *setup) make(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range s.files {
		path := filepath.Join(dir, name)
		hosttest.Write(t, path, strings.ReplaceAll(text, "@", dir))
	}
	if s.build != nil {
		s.build(t, dir)
	}
	return dir
}

// look has a doctor look at a configuration.
func look(t *testing.T, dir string, jails []string) *doctor.Report {
	t.Helper()
	cfg, err := config.Load(config.Options{Path: dir})
	if err != nil {
		return doctor.Unread(dir, err)
	}
	o := doctor.Options{Jails: jails, Config: dir, Journal: filepath.Join(dir, "journal")}
	for _, p := range cfg.Problems() {
		o.Problems = append(o.Problems, p.Error())
	}
	for _, w := range cfg.Warnings {
		o.Warnings = append(o.Warnings, w.Error())
	}
	for _, j := range cfg.Jails {
		for _, w := range j.Warnings {
			o.Warnings = append(o.Warnings, w.Error())
		}
	}
	published, _ := daemon.CheckPublished(cfg)
	for _, w := range published {
		o.Warnings = append(o.Warnings, w.Error())
	}
	return doctor.Look(context.Background(), cfg, o)
}

// told is a report as a person reads it.
func told(r *doctor.Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s/%s %s: %s\n", f.Level, f.Jail, f.Link, f.Symptom, f.Cause)
		for _, s := range f.Seen {
			fmt.Fprintf(&b, "\tseen %s\n", s)
		}
		fmt.Fprintf(&b, "\tto do %s\n", f.Remedy)
	}
	return b.String()
}

// insideVariable says to a test that it runs in a network of its own.
const insideVariable = "DOCTOR_TEST_INSIDE"

// goInside runs this very test once more, in a network of its own.
func (s *setup) goInside(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=yes", "GOMAXPROCS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if s.as != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.as, Gid: s.as}
		cmd.Env = append(cmd.Env, "HOME=/nonexistent")
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v: run it as root (make test says how)\n%s", err, out)
	}
}

func (s *setup) judge(t *testing.T, r *doctor.Report) {
	t.Helper()
	if len(r.Findings) == 0 {
		t.Fatal("nothing was found")
	}
	f := r.Findings[0]
	if f.Symptom != s.symptom || f.Level != s.level || r.Level != s.level || !strings.Contains(f.Cause, s.cause) || !strings.Contains(f.Remedy, s.remedy) {
		t.Errorf("want %s %s, %q, to do %q; the doctor says:\n%s", s.level, s.symptom, s.cause, s.remedy, told(r))
	}
	if s.level != doctor.OK && (len(f.Seen) == 0 || f.Remedy == "") {
		t.Errorf("%s: nothing was seen, or there is nothing to do:\n%s", f.Symptom, told(r))
	}
}

// documented are the symptoms of docs/doctor.md.
func documented(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSetups: broken set-ups, each built for real; the doctor names the cause of each first,
// and docs/doctor.md lists it.
func TestSetups(t *testing.T) {
	page := documented(t)
	for i, s := range slices.Concat(setups, kernelSetups) {
		t.Run(fmt.Sprint(i, "-", s.symptom), func(t *testing.T) {
			if os.Getenv(insideVariable) == "" {
				t.Parallel()
				if s.inside {
					s.goInside(t)
					return
				}
			} else if !s.inside {
				t.Skip("it is looked at outside")
			}
			s.judge(t, look(t, s.make(t), s.jails))
			if !strings.Contains(page, "`"+s.symptom+"`") {
				t.Errorf("docs/doctor.md doesn't list %s", s.symptom)
			}
		})
	}
}

// TestHealthy: set-ups in which nothing is wrong.
func TestHealthy(t *testing.T) {
	if os.Getenv(insideVariable) == "" { // what listens on this host is nobody's business
		(&setup{}).goInside(t)
		return
	}
	accepted := func(i int, at time.Time) string {
		return fmt.Sprintf("%s host sshd[%d]: Accepted publickey for me from 203.0.113.200 port %d ssh2", at.Format(stamp), 1000+i, 40000+i)
	}
	listen(t, "sshd", ":22")
	listen(t, "nginx", "[::]:80")
	open(t, "sshd", "nginx-http-auth", "nginx-botsearch")
	run(t, "nft add table inet mine; nft 'add chain inet mine first { type filter hook input priority -300; }'; nft add rule inet mine first accept")
	for name, files := range map[string]map[string]string{
		"attacked": {"bailiff.toml": sshJail, "auth.log": attacks(40, 6)},
		"quiet":    {"bailiff.toml": sshJail, "auth.log": lines(40, accepted)},
		"nginx": {"bailiff.toml": "[jail.nginx-http-auth]\nenabled = true\nlogpath = '@/error.log'\n[jail.nginx-botsearch]\nenabled = true\nlogpath = '@/access.log'\n", "error.log": lines(40, func(i int, at time.Time) string {
			return fmt.Sprintf(`%s [error] 12#12: *%d open() "/var/www/x%d" failed (2: No such file or directory), client: 203.0.113.%d, server: _, request: "GET /x%[3]d HTTP/1.1", host: "www.example.org"`, at.Format("2006/01/02 15:04:05"), i, i, i%6)
		}), "access.log": lines(40, func(i int, at time.Time) string {
			return fmt.Sprintf(`203.0.113.%d - - [%s] "GET /login?failed=password HTTP/1.1" 200 612 "-" "curl"`, i%6, at.Format("02/Jan/2006:15:04:05 -0700"))
		})},
		"sshd and others": {"bailiff.toml": sshJail, "auth.log": lines(60, func(i int, at time.Time) string {
			who, when := fmt.Sprintf("203.0.113.%d", i%6), at.Format(stamp)
			return []string{
				guess(at, who, i),
				fmt.Sprintf("%s host sshd[%d]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=%s  user=root", when, 1000+i, who),
				fmt.Sprintf("%s host sshd[%d]: Connection closed by authenticating user root %s port 4 [preauth]", when, 1000+i, who),
				fmt.Sprintf("%s host sudo: pam_unix(sudo:auth): authentication failure; logname= uid=1000 euid=0 tty=/dev/pts/1 ruser=me rhost=  user=me", when),
				fmt.Sprintf("%s host postfix/smtpd[%d]: warning: unknown[198.51.100.%d]: SASL LOGIN authentication failed: UGFzc3dvcmQ6", when, 1000+i, i%6),
			}[i%5]
		})},
		"new":      {"bailiff.toml": sshJail, "auth.log": ""},
		"fail2ban": with(tree("[sshd]\nenabled = true\nlogpath = @/auth.log\n"), map[string]string{"auth.log": attacks(40, 6)}),
		"one typo": {"bailiff.toml": sshJail, "auth.log": lines(40, accepted) + attacks(2, 1)},
		"container": {"bailiff.toml": sshJail, "auth.log": lines(30, func(i int, at time.Time) string {
			return fmt.Sprintf(`{"log":%q,"stream":"stdout","time":%q}`, guess(at, fmt.Sprintf("203.0.113.%d", i%6), i)+"\n", at.UTC().Format(time.RFC3339Nano))
		})},
	} {
		t.Run(name, func(t *testing.T) {
			s := setup{files: files}
			r := look(t, s.make(t), nil)
			if r.Level != doctor.OK {
				t.Errorf("the doctor says:\n%s", told(r))
			}
		})
	}
}

// must ends a test for an error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// age gives a file the age of something that was written a while ago.
func age(t *testing.T, path string, ago time.Duration) {
	t.Helper()
	at := time.Now().Add(-ago)
	must(t, os.Chtimes(path, at, at))
}
