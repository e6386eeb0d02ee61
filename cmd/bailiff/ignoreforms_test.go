package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// TestIgnoreForms: ignoreip in all forms, from the configuration, over the socket and in
// files that change, is to ours what it is to the newest fail2ban. (There, nothing may follow
// a file but another one: it compares what comes with the file's name.)
func TestIgnoreForms(t *testing.T) {
	t.Parallel()
	newest := hosttest.Fail2ban(t)
	lab := netlab.New(fmt.Sprintf("bailiff-ignore-%d", os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	theirs := newPlayRun(t, lab, "theirs", newest.Config, newest.Program("fail2ban-server"), newest.Program("fail2ban-client"), newest.Env())
	ours := newPlayRun(t, lab, "ours", newest.Config, program(t, "fail2ban-server"), program(t, "fail2ban-client"), os.Environ())
	var wg sync.WaitGroup
	for _, r := range []*playRun{theirs, ours} {
		wg.Go(func() { ignoreForms(t, r) })
	}
	wg.Wait()
	if got := lineDiff(strings.Split(theirs.out.String(), "\n"), strings.Split(ours.out.String(), "\n")); len(got) > 0 {
		t.Errorf("differs:\n%s\n--- fail2ban's whole\n%s", strings.Join(got, "\n"), theirs.out.String())
	}
	if n := strings.Count(ours.out.String(), "\n"); n < 60 {
		t.Errorf("only %d lines are compared:\n%s", n, ours.out.String())
	}
}

func ignoreForms(t *testing.T, r *playRun) {
	r.write("etc/jail.local", strings.ReplaceAll(`[web]
enabled = true
filter = web
backend = polling
usedns = no
ignoreself = false
maxretry = 1
ignoreip = 127.0.0.1/8 ::1, 192.0.2.1
   203.0.113.0/24 file:@D@/a.txt,file://@D@/b.txt
logpath = @D@/web.log
action = none
`, "@D@", r.dir), false)
	r.write("etc/action.d/none.conf", "[Definition]\nactionban = true\n", false)
	r.write("etc/filter.d/web.conf", "[Definition]\nfailregex = ^ failed <HOST>$\ndatepattern = ^%%Y-%%m-%%d %%H:%%M:%%S\n", false)
	r.write("a.txt", "# a comment\n192.0.2.7, 192.0.2.8   192.0.2.9 # trailing, 192.0.2.10\n198.51.100.0/24,2001:db8::/32\n\n\t192.0.2.12\n", false)
	r.write("b.txt", "192.0.2.20\n", false)
	r.write("web.log", "", false)
	r.start()
	ask := func(args ...string) {
		out, code := r.ask(args...)
		out = strings.NewReplacer(r.dir, "@D@", "file:///", "file:/", "file://", "file:/", "|- ", "- ", "`- ", "- ").Replace(strings.ReplaceAll(out, "file:/"+r.dir, "file:"+r.dir))
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) > 1 {
			slices.Sort(lines[1:]) // fail2ban has some of it in a set
		}
		fmt.Fprintf(&r.out, "$ %s\n%s\n[%d]\n", strings.ReplaceAll(strings.Join(args, " "), r.dir, "@D@"), playPID.ReplaceAllString(playTime.ReplaceAllString(strings.Join(lines, "\n"), "<time>"), "[pid]: $1"), code)
	}
	// fail has these fail, and waits until the last, whom nobody ignores, is banned.
	fail := func(last string, others ...string) {
		now := time.Now().UTC().Format(time.DateTime)
		for _, who := range append(others, last) {
			r.write("web.log", now+" failed "+who+"\n", true)
		}
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			out, _ := r.ask("get", "web", "banip")
			words := strings.Fields(out)
			if slices.Contains(words, last) {
				slices.Sort(words)
				fmt.Fprintln(&r.out, "banned:", words)
				return
			}
			if time.Now().After(end) {
				t.Errorf("%s: %s is not banned: %s", r.server, last, out)
				return
			}
		}
	}
	ask("get", "web", "ignoreip")
	fail("192.0.2.100", "192.0.2.1", "192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.10", "192.0.2.12", "192.0.2.20", "192.0.2.21", "198.51.100.9", "203.0.113.9", "2001:db8::5")
	// The file is another one now, and looked at now and then: who stood in it is banned.
	r.write("b.txt", "192.0.2.30,192.0.2.31\n", false)
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		r.write("web.log", time.Now().UTC().Format(time.DateTime)+" failed 192.0.2.20\n", true)
		if out, _ := r.ask("get", "web", "banip"); slices.Contains(strings.Fields(out), "192.0.2.20") {
			break
		}
		if time.Now().After(end) {
			t.Errorf("%s: the file is not read anew", r.server)
			return
		}
	}
	fail("192.0.2.101", "192.0.2.30", "192.0.2.31")
	for _, q := range [][]string{
		{"delignoreip", "file://" + r.dir + "/b.txt"},
		{"delignoreip", "file:" + r.dir + "/a.txt"},
		{"addignoreip", "192.0.2.2"},
		{"addignoreip", "192.0.2.2"},
		{"addignoreip", "192.0.2.3", "2001:db8:1::/48"},
		{"delignoreip", "192.0.2.2"},
		{"delignoreip", "192.0.2.99"},
		{"delignoreip", "203.0.113.0/24"},
		{"addignoreip", "file:" + r.dir + "/a.txt"},
	} {
		ask(append([]string{"set", "web"}, q...)...)
	}
	ask("get", "web", "ignoreip")
	fail("192.0.2.102", "192.0.2.3", "192.0.2.12", "203.0.113.9")
	_, _ = r.ask("stop")
	r.ended()
}
