package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
	"bailiff/pkg/references"
)

// side is a server, fail2ban's or ours, with a network and a folder of its own,
// and the two clients.
type side struct {
	t      *testing.T
	host   *netlab.Host
	dir    string
	server *exec.Cmd
	ours   string // our client
	theirs references.Fail2ban
	client *references.Starter // of fail2ban's client
}

const clientJails = `[DEFAULT]
banaction = nftables-multiport
backend = polling
ignoreip = 127.0.0.1/8
[sshd]
enabled = true
backend = polling
logpath = %[1]s/auth.log
maxretry = 3
findtime = 1h
bantime = 1h
[web]
enabled = true
filter = web
logpath = %[1]s/web.log
maxretry = 2
bantime = -1
usedns = no
`

func newSide(t *testing.T, lab *netlab.Lab, name string, f2b references.Fail2ban, server string) *side {
	t.Helper()
	host, err := lab.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	s := &side{t: t, host: host, dir: t.TempDir(), ours: program(t, "fail2ban-client"), theirs: f2b}
	conf := filepath.Join(s.dir, "etc")
	if out, err := exec.Command("cp", "-a", f2b.Config, conf).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s (make test installs Debian's fail2ban)", err, out)
	}
	if err := os.RemoveAll(filepath.Join(conf, "jail.d")); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"etc/jail.local":        fmt.Sprintf(clientJails, s.dir),
		"etc/fail2ban.local":    fmt.Sprintf("[Definition]\nlogtarget = %[1]s/f2b.log\ndbfile = %[1]s/f2b.sqlite3\nsocket = %[1]s/f2b.sock\npidfile = %[1]s/f2b.pid\nallowipv6 = auto\n[Thread]\nstacksize = 64\n", s.dir),
		"etc/filter.d/web.conf": "[Definition]\nfailregex = ^ failed <HOST>$\n            ^ refused <ADDR>$\nignoreregex = ignored\ndatepattern = ^%%Y-%%m-%%d %%H:%%M:%%S\n",
		"auth.log":              "", "web.log": "",
	} {
		hosttest.Write(t, filepath.Join(s.dir, file), text)
	}
	s.client = starterOf(t, f2b.Program("fail2ban-client"), func(name string, args ...string) *exec.Cmd {
		c := exec.Command(name, args...)
		c.Env = append(f2b.Env(), "TZ=UTC")
		return c
	})
	s.server = host.Command(context.Background(), server, "-f", "-c", conf, "start")
	s.server.Env = append(f2b.Env(), "TZ=UTC")
	var out bytes.Buffer
	s.server.Stdout, s.server.Stderr = &out, &out
	if err := s.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.server.Process.Kill(); _ = s.server.Wait() })
	awaitFail2ban(filepath.Join(s.dir, "f2b.sock"))
	if !hosttest.Soon(func() bool {
		got, _ := s.ask(true, "status", "web")
		return strings.HasPrefix(got, "Status for")
	}) {
		t.Fatalf("%s does not answer: %s", server, out.String())
	}
	return s
}

var (
	clientTime = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (\S+) *\[\d+\]: `)
	anyTime    = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
)

// ask runs a client, ours or fail2ban's, and returns what it printed and its exit
// code, without what differs from run to run.
func (s *side) ask(ours bool, args ...string) (string, int) {
	s.t.Helper()
	args = append([]string{"-c", filepath.Join(s.dir, "etc")}, args...)
	var printed [2]*os.File
	for i, name := range []string{"stdout", "stderr"} {
		var err error
		if printed[i], err = os.Create(filepath.Join(s.dir, name)); err != nil {
			s.t.Fatal(err)
		}
		defer printed[i].Close()
	}
	code := 0
	if ours {
		c := exec.Command(s.ours, args...)
		c.Env = append(s.theirs.Env(), "TZ=UTC")
		c.Stdout, c.Stderr = printed[0], printed[1]
		_ = c.Run()
		code = c.ProcessState.ExitCode()
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		var err error
		if code, err = s.client.Run(ctx, ".", printed[0], printed[1], s.theirs.Program("fail2ban-client"), args...); err != nil {
			s.t.Fatal(err)
		}
	}
	out, _ := os.ReadFile(printed[0].Name())
	errs, _ := os.ReadFile(printed[1].Name())
	text := string(out) + clientTime.ReplaceAllString(string(errs), "$1: ")
	text = strings.ReplaceAll(text, s.dir, "@D@")
	return anyTime.ReplaceAllString(text, "TIME"), code
}

func (s *side) log(name, text string) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// exporter reads every jail's numbers as a Prometheus exporter does that uses
// fail2ban's own client class, all over one connection.
func (s *side) exporter() string {
	s.t.Helper()
	out := hosttest.Python(s.t, nil, "", "-c", `
import sys
sys.path.insert(0, sys.argv[2])
from fail2ban.client.csocket import CSocket
s = CSocket(sys.argv[1])
code, status = s.send(["status"])
print(code, status)
for jail in dict(status)["Jail list"].split(", "):
    code, value = s.send(["status", jail])
    value = dict(value)
    print(jail, value["Filter"][:2], value["Actions"][:2])
    print(type(value["Actions"][2][1]).__name__, [type(x).__name__ for x in value["Actions"][2][1]])
    code, bans = s.send(["get", jail, "banip", "--with-time"])
    print(code, [len(b.split("\t")) for b in bans])
s.close()
`, filepath.Join(s.dir, "f2b.sock"), s.theirs.Lib)
	return string(out)
}

// TestClients plays the same on fail2ban's server and on ours, with fail2ban's
// client and with ours: what they print is the same, all four ways.
func TestClients(t *testing.T) {
	t.Parallel()
	lab := netlab.New(fmt.Sprintf("bailiff-clients-%d", os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	newest := hosttest.Fail2ban(t)
	theirs := newSide(t, lab, "theirs", newest, newest.Program("fail2ban-server"))
	ours := newSide(t, lab, "ours", newest, program(t, "fail2ban-server"))
	step := func(args ...string) {
		t.Helper()
		want, wantCode := theirs.ask(false, args...)
		for _, way := range []struct {
			name    string
			side    *side
			ourTool bool
		}{{"our client, our server", ours, true}, {"fail2ban's client, our server", ours, false}, {"our client, fail2ban's server", theirs, true}} {
			got, code := way.side.ask(way.ourTool, args...)
			if got != want || code != wantCode {
				t.Errorf("%q, %s: exit %d\n%s\nwant %d\n%s", args, way.name, code, got, wantCode, want)
			}
		}
	}
	// change carries out what changes something, once on each side.
	change := func(args ...string) {
		t.Helper()
		want, wantCode := theirs.ask(false, args...)
		got, code := ours.ask(true, args...)
		if args[0] != "get" && strings.Contains(got, busyWith) {
			t.Logf("%q: %s", args, got) // a busy machine, and it is carried out
			return
		}
		if got != want || code != wantCode {
			t.Errorf("%q: exit %d\n%s\nwant %d\n%s", args, code, got, wantCode, want)
		}
	}
	for _, q := range []string{
		"ping", "status", "status sshd", "status web", "status nosuch", "banned", "banned 192.0.2.7", "echo a b",
		"get loglevel", "get logtarget", "get dbfile", "get dbpurgeage", "get dbmaxmatches", "get syslogsocket",
		"get sshd maxretry", "get sshd maxlines", "get sshd bantime", "get web bantime", "get sshd findtime", "get sshd ignoreip", "get web ignoreip",
		"get sshd ignoreself", "get sshd usedns", "get web usedns", "get sshd failregex", "get web failregex", "get web ignoreregex", "get sshd ignoreregex",
		"get sshd prefregex", "get sshd datepattern", "get sshd logpath", "get web logpath", "get sshd logencoding", "get sshd journalmatch",
		"get sshd actions", "get sshd banip", "get sshd banned", "get sshd banned 192.0.2.7 192.0.2.8", "get sshd banned 192.0.2.7",
		"get sshd ignorecommand", "get sshd logtimezone", "get sshd bantime.increment",
		"set thread 5", "get nosuch maxretry", "set sshd maxretry many", "bogus", "get", "get sshd", "set sshd", "get sshd bogus", "set sshd bogus 1", "unban", "set nosuch maxretry 1",
		"set sshd delfailregex 999", "set sshd unbanip 192.0.2.77", "set sshd unbanip --report-absent 192.0.2.77", "unban 192.0.2.77", "reload nosuch",
	} {
		step(strings.Fields(q)...)
	}
	// Our own client says whose socket it is in place of waiting for an answer.
	for _, words := range [][]string{{"status"}, {"ban", "web", "192.0.2.9"}, {"stop"}} {
		said, _ := exec.Command(program(t, "bailiff"), append(words, "--socket", filepath.Join(theirs.dir, "f2b.sock"))...).CombinedOutput()
		if !strings.Contains(string(said), "is fail2ban's own server, not bailiff") {
			t.Errorf("bailiff %s, fail2ban's socket: %s", words[0], said)
		}
	}
	for _, s := range []*side{theirs, ours} {
		now := time.Now().UTC()
		s.log("web.log", strings.Repeat(now.Format("2006-01-02 15:04:05")+" failed 192.0.2.7\n", 2))
		s.log("auth.log", strings.Repeat(now.Format("Jan _2 15:04:05")+" host sshd[41]: Failed password for root from 2001:db8::7 port 4711 ssh2\n", 3))
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			a, _ := s.ask(true, "get", "web", "banip")
			b, _ := s.ask(true, "get", "sshd", "banip")
			if strings.TrimSpace(a+b) != "" && strings.Contains(a, "192.0.2.7") && strings.Contains(b, "2001:db8::7") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("not banned: %s%s", a, b)
			}
		}
	}
	all := func() {
		t.Helper()
		for _, q := range []string{
			"status", "status sshd", "status web", "get sshd banip", "get web banip", "get web banip --with-time", "banned", "banned 192.0.2.7 192.0.2.9",
			"get web banned", "get web banned 192.0.2.7", "get sshd maxretry", "get sshd ignoreip", "get web failregex", "get sshd bantime", "get sshd findtime",
		} {
			step(strings.Fields(q)...)
		}
	}
	all()
	theirNumbers, ourNumbers := theirs.exporter(), ours.exporter()
	if theirNumbers != ourNumbers || !strings.Contains(ourNumbers, "sshd [('Currently failed', 0), ('Total failed', 3)] [('Currently banned', 1), ('Total banned', 1)]") {
		t.Errorf("an exporter with fail2ban's own client class reads\n%s\nof fail2ban's server, and of ours\n%s", theirNumbers, ourNumbers)
	}
	for _, q := range []string{
		"set sshd banip 198.51.100.4", "set sshd banip 198.51.100.5 198.51.100.6 198.51.100.4", "set web unbanip 192.0.2.7", "set sshd maxretry 4",
		"set sshd findtime 2h", "set sshd bantime 1d", "set sshd addignoreip 203.0.113.9", "set sshd addignoreip 198.51.100.0/24 2001:db8:9::/48",
		"set sshd delignoreip 203.0.113.9", "set web addfailregex ^again:<HOST>$", "set web delfailregex 0", "set web addignoreregex nobody",
		"set sshd maxmatches 3", "set sshd ignoreself false",
		"set sshd bantime.increment true", "set sshd bantime.maxtime 5w", "set sshd bantime.rndtime 10m", "set sshd bantime.factor 2", "set sshd bantime.formula ban.Time*2",
		"set sshd bantime.multipliers 1", "set sshd bantime.overalljails true", "get sshd bantime.maxtime", "get sshd bantime.increment", "get sshd bantime.factor",
		"set sshd datepattern ^%Y-%m-%d", "get sshd datepattern", "set sshd logtimezone UTC+0100", "set web prefregex ^<F-CONTENT>.+</F-CONTENT>$", "set sshd maxlines 2",
		"set sshd addignoreregex a<HOST>", "set sshd delignoreregex 0", "set sshd usedns no", "unban 198.51.100.5", "set sshd unbanip 198.51.100.4 198.51.100.99",
	} {
		change(strings.Fields(q)...)
	}
	all()
	for _, s := range []*side{theirs, ours} {
		if err := os.WriteFile(filepath.Join(s.dir, "more.log"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	logs := func(args ...string) {
		t.Helper()
		want, wantCode := theirs.ask(false, append(args[:3:3], strings.ReplaceAll(args[3], "@D@", theirs.dir))...)
		got, code := ours.ask(true, append(args[:3:3], strings.ReplaceAll(args[3], "@D@", ours.dir))...)
		if got != want || code != wantCode {
			t.Errorf("%q: exit %d\n%s\nwant %d\n%s", args, code, got, wantCode, want)
		}
	}
	logs("set", "web", "addlogpath", "@D@/more.log")
	logs("get", "web", "logpath", "x")
	logs("set", "web", "dellogpath", "@D@/more.log")
	logs("set", "web", "dellogpath", "@D@/nobody.log")
	change("flushlogs")
	change("reload")
	if out, code := ours.ask(false, "reload"); out != "OK\n" || code != 0 { // with a dict in its stream
		t.Errorf("reload by fail2ban's client: %d, %s", code, out)
	}
	if out, code := theirs.ask(true, "reload"); out != "OK\n" || code != 0 {
		t.Errorf("our client reloads fail2ban's server: exit %d, %s", code, out)
	}
	change("status")
	change("-d")
	change("--dp")
	change("unban", "--all")
	all()
	change("stop", "web")
	change("status")
	change("stop")
	for _, s := range []*side{theirs, ours} {
		if !hosttest.Soon(func() bool {
			_, err := os.Stat(filepath.Join(s.dir, "f2b.sock"))
			return err != nil
		}) {
			t.Fatal("the socket stays")
		}
	}
	step("ping")
	step("status")
}
