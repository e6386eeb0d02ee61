package config

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/hosttest"
)

// noted is a command that was to be run.
type noted struct {
	Text    string   `json:"text"`
	Values  []string `json:"values"`
	Timeout float64  `json:"timeout"` // seconds
}

// actionJails are jails with actions: all of Debian's fail2ban, as they are and
// with options, and some of our own for what none of those has.
func actionJails(t *testing.T, tree string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(tree, "action.d", "*.conf"))
	if err != nil || len(files) < 50 {
		t.Fatalf("%d actions, %v: make test installs Debian's fail2ban", len(files), err)
	}
	var jails strings.Builder
	var names []string
	add := func(name, text string) {
		names = append(names, name)
		fmt.Fprintf(&jails, "[%s]\nenabled = true\nfilter = f\nlogpath = /dev/null\naction = %s\n\n", name, text)
	}
	for _, f := range files {
		a := strings.TrimSuffix(filepath.Base(f), ".conf")
		if strings.HasSuffix(a, "-common") {
			continue // a part of others, and no action
		}
		add(a, a)
		add(a+"-options", a+`[name=web, port="80,443", protocol="tcp,udp", chain=FORWARD, blocktype=drop, dest="a@example.org b@example.org", sender=s@example.org, ipmset=xy]`)
	}
	for name, text := range map[string]string{
		"own-families": "[Definition]\nactionstart = start <family> <x>\nactionban = ban <ip> <family> <x> <bantime> <bancount> <F-USER> <F-NONE>.\nactionunban = unban <fid> <failures> <time>\nactionstop = stop <x>\n[Init]\nx = four\n[Init?family=inet6]\nx = six\n",
		"own-same":     "[Definition]\nactionstart = start <name>\nactionban = ban <ip>\nactionunban = unban <ip>\nactionstop = stop <family>\nactionflush = flush <x>\n[Init]\nx = four\n[Init?family=inet6]\nx = six\n",
		"own-start":    "[Definition]\nactionstart_on_demand = true\nactionstart = start <name> <jail.banned_total>\nactionban = ban <ip-rev> <ip> <br>x<sp>y\nactionstop = stop\n",
		"own-early":    "[Definition]\nactionstart_on_demand = false\nactionstart = start <x>\nactionban = ban <ip> <matches>\nactionunban = unban <matches> <ipfailures>\nactionstop = stop <x>\n[Init]\nx = four\n[Init?family=inet6]\nx = six\n",
		"own-prolong":  "[Definition]\nactionban = ban <ip>\nactionprolong = prolong <ip> <bantime> <bancount>\nactionreload = reload\nactionreban = reban <ip>\n",
		"own-timeout":  "[Definition]\nactionban = ban <ip> <timeout>\nactionunban = unban <nest_<kind>>\n[Init]\ntimeout = 2m\nkind = a\nnest_a = deep <ip>\n",
		"own-broken":   "[Definition]\nactionstart = start\nactionstop = stop\nactioncheck = check\nactionban = ban fail-once <ip>\nactionunban = unban <ip>\n",
		"own-repair":   "[Definition]\nactionstart = start\nactionstop = stop\nactioncheck = check fail-once\nactionrepair = repair\nactionban = ban fail-once\nactionunban = unban <ip>\n",
		"own-restart":  "[Definition]\nactionstart = start\nactionstop = stop\nactioncheck = check fail-once\nactionban = ban fail-once\nactionunban = unban fail-once <ip>\n",
		"own-flush":    "[Definition]\nactionstart = start\nactionstop = stop\nactioncheck = check\nactionflush = flush fail-once\nactionban = ban <ip>\nactionunban = unban <ip>\n",
	} {
		hosttest.Write(t, filepath.Join(tree, "action.d", name+".conf"), text)
		add(name, name)
		add(name+"-twice", name+"\n         "+name+"[actname=other, name=other]")
	}
	for file, text := range map[string]string{
		"jail.local":      "[DEFAULT]\nbantime = 3600\nbackend = polling\n" + jails.String(),
		"filter.d/f.conf": "[Definition]\nfailregex = ^x <HOST>$\n",
	} {
		hosttest.Write(t, filepath.Join(tree, file), text)
	}
	return names
}

// TestActionCommands: the commands of all of fail2ban's actions, and of some more,
// are those that fail2ban runs, in the same order and with the same values.
func TestActionCommands(t *testing.T) {
	sequential(t)
	all := hosttest.Fail2bans(t)
	for _, r := range all {
		t.Run(r.Version, func(t *testing.T) { commandsOf(t, r.Config) })
	}
}

func commandsOf(t *testing.T, config string) {
	newest := hosttest.Fail2ban(t)
	tree := filepath.Join(t.TempDir(), "etc")
	if out, err := exec.Command("cp", "-a", config, tree).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s (make test installs Debian's fail2ban)", err, out)
	}
	if err := os.RemoveAll(filepath.Join(tree, "jail.d")); err != nil {
		t.Fatal(err)
	}
	names := actionJails(t, tree)
	out := hosttest.Python(t, newest.Env(), "", "testdata/actions.py", tree)
	type theirs struct {
		Jail     string  `json:"jail"`
		Error    string  `json:"error"`
		Commands []noted `json:"commands"`
	}
	want := map[string]theirs{}
	in := bufio.NewScanner(bytes.NewReader(out))
	in.Buffer(nil, 1<<24)
	for in.Scan() {
		var one theirs
		if err := json.Unmarshal(in.Bytes(), &one); err != nil {
			t.Fatalf("%v: %s", err, in.Text())
		}
		want[one.Jail] = one
	}
	allCommands = true
	defer func() { allCommands = false }()
	cfg, err := Load(Options{Path: tree})
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]*Jail{}
	for _, j := range cfg.Jails {
		ours[j.Name] = j
	}
	total := 0
	for _, name := range names {
		w, ok := want[name]
		j := ours[name]
		switch {
		case !ok || j == nil:
			t.Errorf("%s: fail2ban knows it: %v; we: %v", name, ok, j != nil)
			continue
		case w.Error != "":
			if j.Broken() == nil {
				t.Errorf("%s: fail2ban refuses it: %s", name, w.Error)
			}
			continue
		case j.Broken() != nil:
			t.Errorf("%s: %v", name, j.Broken())
			continue
		}
		got := play(j)
		total += len(got)
		expected := show(w.Commands)
		if strings.HasPrefix(name, "own-restart") {
			// fail2ban takes the same start for another family for done, and checks
			// again without having started.
			check := show([]noted{{"check fail-once", nil, 60}})
			again := show([]noted{{"stop", nil, 60}, {"start", nil, 60}})
			expected = strings.Replace(expected, check, check+again, 1)
		}
		if a, b := show(got), expected; a != b {
			t.Errorf("%s:\n--- we\n%s\n--- fail2ban\n%s", name, a, b)
		}
	}
	t.Logf("%d jails, %d commands", len(names), total)
	if total < 500 {
		t.Errorf("only %d commands were compared", total)
	}
}

// play does with a jail's actions what testdata/actions.py does.
func play(j *Jail) []noted {
	var mu sync.Mutex
	var got []noted
	failed := map[string]bool{}
	run := func(_ context.Context, c action.Command, timeout time.Duration) bool {
		mu.Lock()
		defer mu.Unlock()
		n := noted{Text: c.Text, Values: []string{}, Timeout: timeout.Seconds()}
		for _, v := range c.Vars {
			n.Values = append(n.Values, v.Value)
		}
		got = append(got, n)
		if strings.Contains(c.Text, "fail-once") && !failed[c.Text] {
			failed[c.Text] = true
			return false
		}
		return true
	}
	total := 0
	site := &action.Site{
		Jail: j.Name, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Run: run,
		Now:     func() string { return "1764000001" },
		Numbers: func() action.JailNumbers { return action.JailNumbers{TotalBanned: total} },
	}
	g := action.NewGroup(j.Actions, site)
	g.Begin()
	sync := func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		g.Sync(ctx)
	}
	ban := func(ip, at string, failures int, user string, lines ...string) *action.Ticket {
		return &action.Ticket{
			ID: ip, IP: netip.MustParseAddr(ip), Time: at, Failures: failures, BanTime: time.Hour, Matches: lines,
			Groups: map[string]string{"user": user, "fid": ip},
		}
	}
	v4 := ban("192.0.2.7", "1764000000", 3, "bob`x`", "one <ip> $(x)", "two ; 'three'")
	v6 := ban("2001:db8::7", "1764000000.5", 5, "alice", "plain")
	sync()
	total = 1
	g.Ban(v4)
	sync()
	total = 2
	g.Ban(v6)
	longer := *v6
	longer.BanTime, longer.BanCount = 2*time.Hour, 2
	g.Prolong(&longer)
	g.Unban("192.0.2.7")
	sync()
	<-g.Close(time.Time{})
	return got
}

func show(list []noted) string {
	var b strings.Builder
	for _, n := range list {
		fmt.Fprintf(&b, "%q %q %v\n", n.Text, n.Values, n.Timeout)
	}
	return b.String()
}
