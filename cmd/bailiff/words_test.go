package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

const wordsGood = `[DEFAULT]
backend = polling
[a]
enabled = true
filter = own
logpath = @D@/x.log
action = noop
[b]
enabled = true
filter = own
logpath = @D@/x.log
action = noop
`

func wordsJail(more string) string {
	return wordsGood + "[c]\nenabled = true\nfilter = own\nlogpath = @D@/x.log\naction = noop\n" + more
}

// A wordSlip is a mistake in jail.local that is made while a server runs.
type wordSlip struct {
	name, text string
	says       string // what the client says at a reload; the same for both
	test       int    // ours: exit code of -t, where it is another than fail2ban's
	reload     int
	jails      string // ours: the jails after the reload
	why        string
}

// TestSlipsAsFail2ban: what a mistake in the configuration does at a reload, and what fail2ban's
// client says of it, is as with the newest fail2ban, but for what is better here: no slip
// stops a jail that runs, nor starts one with settings of another.
func TestSlipsAsFail2ban(t *testing.T) {
	t.Parallel()
	const stricter = "-t finds what fail2ban finds only when the server takes the jail over"
	const survives = "the reload costs the jail with the mistake; fail2ban ends the others, too"
	all := []wordSlip{
		{name: "missing filter", text: strings.Replace(wordsJail(""), "[c]\nenabled = true\nfilter = own", "[c]\nenabled = true\nfilter = nosuch", 1), says: "Errors in jail 'c'. Skipping..."},
		{name: "missing action", text: wordsGood + "[c]\nenabled = true\nfilter = own\nlogpath = @D@/x.log\naction = nosuch\n", says: "Unable to read action 'nosuch'"},
		{name: "options of an action", text: wordsGood + "[c]\nenabled = true\nfilter = own\nlogpath = @D@/x.log\naction = noop[a=1\n", says: "Invalid action definition"},
		{name: "regex", text: wordsJail("failregex = ^x (<HOST>\n"), says: "missing ), unterminated subpattern", test: 255, jails: "a, b", why: stricter + "; " + survives},
		{name: "no host", text: wordsJail("failregex = ^x\n"), says: "failure-id group in", test: 255, jails: "a, b", why: stricter + "; " + survives},
		{name: "bantime", text: wordsJail("bantime = soon\n"), says: "soon", test: 255, jails: "a, b", why: stricter + "; " + survives},
		{name: "maxretry", text: wordsJail("maxretry = x\n"), test: 255, jails: "a, b", why: stricter + "; " + survives},
		{name: "backend", text: wordsJail("backend = bogus\n"), says: "bogus", test: 255, jails: "a, b", why: stricter + "; " + survives},
		{name: "header", text: wordsGood + "[c\nenabled = true\nmaxretry = 1\n", says: "jail.local"},
		{name: "header amid", text: strings.Replace(wordsGood, "[b]", "[b", 1), says: "jail.local"},
		{name: "header after DEFAULT", text: "[DEFAULT]\nbackend = polling\n[sshd\nenabled = true\nmaxretry = 1\n", test: 255, reload: 255, jails: "a, b", why: "fail2ban takes the rest for DEFAULT's, and enables all jails that there are"},
		{name: "words", text: wordsJail("some words\n"), says: "jail.local"},
		{name: "missing log", text: strings.Replace(wordsJail(""), "[c]\nenabled = true\nfilter = own\nlogpath = @D@/x.log", "[c]\nenabled = true\nfilter = own\nlogpath = @D@/no.log", 1), says: "Have not found any log file for 'c' jail.", jails: "a, b, c", why: "the jail starts, and waits for its log"},
		{name: "missing log, skipped", text: wordsGood + "[c]\nenabled = true\nfilter = own\nlogpath = @D@/no.log\naction = noop\nskip_if_nologs = true\n", says: "Jail 'c' skipped, because of missing log files."},
		{name: "no such name", text: strings.Replace(wordsJail(""), "[c]\nenabled = true\nfilter = own\nlogpath = @D@/x.log", "[c]\nenabled = true\nfilter = own\nlogpath = %(nosuch)s", 1), says: "nosuch"},
		{name: "filter's file", text: strings.Replace(wordsJail(""), "[c]\nenabled = true\nfilter = own", "[c]\nenabled = true\nfilter = bad", 1), says: "bad.conf"},
		{name: "nothing wrong", text: wordsJail("")},
	}
	newest := hosttest.Fail2ban(t)
	lab := netlab.New(fmt.Sprintf("bailiff-slips-%d", os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	type outcome struct {
		test, reload                 int
		testSaid, reloadSaid, status string
	}
	play := func(r *playRun) (out []outcome) {
		put := func(text string) { r.write("etc/jail.local", strings.ReplaceAll(text, "@D@", r.dir), false) }
		r.write("etc/filter.d/own.conf", "[Definition]\nfailregex = ^failed <HOST>$\n", false)
		r.write("etc/filter.d/bad.conf", "[Definition\nfailregex = x <HOST>\n", false)
		r.write("etc/action.d/noop.conf", "[Definition]\nactionban = true\n", false)
		r.write("x.log", "", false)
		put(wordsGood)
		r.start()
		for _, s := range all {
			var o outcome
			put(s.text)
			o.testSaid, o.test = r.ask("-t")
			o.reloadSaid, o.reload = r.ask("reload")
			o.status, _ = r.ask("status")
			put(wordsGood)
			for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
				back, _ := r.ask("reload")
				if now, _ := r.ask("status"); strings.Contains(now, "Jail list:\ta, b\n") && strings.Contains(back, "OK") {
					break
				}
				if time.Now().After(end) {
					r.t.Errorf("%s: %s does not come back: %s", s.name, r.server, back)
					return out
				}
			}
			out = append(out, o)
		}
		return out
	}
	theirs := newPlayRun(t, lab, "theirs", newest.Config, newest.Program("fail2ban-server"), newest.Program("fail2ban-client"), newest.Env())
	ours := newPlayRun(t, lab, "ours", newest.Config, program(t, "fail2ban-server"), program(t, "fail2ban-client"), os.Environ())
	done := make(chan []outcome, 1)
	go func() { done <- play(ours) }()
	want := play(theirs)
	got := <-done
	if len(got) != len(all) || len(want) != len(all) {
		t.Fatalf("%d and %d of %d", len(got), len(want), len(all))
	}
	list := regexp.MustCompile(`Jail list:\t(.*)`)
	jails := func(o outcome) string {
		m := list.FindStringSubmatch(o.status)
		if m == nil {
			return o.status
		}
		names := strings.Split(m[1], ", ")
		slices.Sort(names)
		return strings.Join(names, ", ")
	}
	for i, s := range all {
		w, g := want[i], got[i]
		if s.why != "" {
			if s.test != 0 {
				w.test = s.test
			}
			if s.reload != 0 {
				w.reload = s.reload
			}
			w.status = "Jail list:\t" + s.jails
		}
		if g.test != w.test || g.reload != w.reload || jails(g) != jails(w) {
			t.Errorf("%s: -t %d, reload %d, jails %q; want %d, %d, %q\nours:\n%s%s\ntheirs:\n%s%s", s.name, g.test, g.reload, jails(g), w.test, w.reload, jails(w), g.testSaid, g.reloadSaid, w.testSaid, w.reloadSaid)
		}
		if !strings.Contains(g.reloadSaid, s.says) {
			t.Errorf("%s: ours does not say %q: %s", s.name, s.says, g.reloadSaid)
		}
		verdict := "OK: configuration test is successful"
		if g.test != 0 {
			verdict = "ERROR: test configuration failed"
		}
		if !strings.Contains(g.testSaid, verdict) {
			t.Errorf("%s: -t ends with %d, and says %s", s.name, g.test, g.testSaid)
		}
	}
}
