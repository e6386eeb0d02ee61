package config

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// Every line of configurations is deleted, doubled, changed in a character, and given a
// value of another type. What comes of it is a new meaning, or a message with file and
// line; the same each time.

// mutationsMost is how many a test of all packages makes; MUTATIONS=n in the environment
// for more, MUTATIONS=all for all that there are, MUTATIONS_SEED for the same again.
const mutationsMost = 250

type mutation struct {
	file, text string // file is below the directory
	line       int
	kind       string
}

// changed are characters that take the place of one.
const changed = "abxz019 =[]\"'#;.,%<>()\\\t"

// mutations of a text.
func mutations(file, text string, r *rand.Rand) (out []mutation) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		with := func(kind string, instead ...string) {
			var all []string
			all = append(append(append(all, lines[:i]...), instead...), lines[i+1:]...)
			if t := strings.Join(all, "\n") + "\n"; t != text {
				out = append(out, mutation{file, t, i + 1, kind})
			}
		}
		with("deleted")
		with("doubled", line, line)
		if line == "" {
			continue
		}
		for range 2 {
			at := r.IntN(len(line))
			with("character", line[:at]+string(changed[r.IntN(len(changed))])+line[at+1:])
		}
		with("character gone", line[:len(line)-1])
		with("type", otherType(line))
	}
	return out
}

var aNumber = regexp.MustCompile(`^-?\d+$`)

// otherType gives the value of a line another type.
func otherType(line string) string {
	key, value, ok := strings.Cut(line, "=")
	value = strings.TrimSpace(value)
	switch {
	case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
		return "[" + line + "]"
	case !ok || strings.HasPrefix(line, "#"):
		return line
	case value == "true" || value == "false":
		return key + "= 'maybe'"
	case aNumber.MatchString(value):
		return key + "= 'many'"
	case strings.HasPrefix(value, "["):
		return key + "= true"
	}
	return key + "= [1.5]"
}

// meaning is all that a configuration says, but for the places where.
func meaning(c *Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v %q %q %q %+v %+v %v %v %q %+v %+v %+v %+v\n", c.Log, c.Socket, c.ReadSocket, c.ReadGroup, c.Database, c.Firewall, c.RemoveForeign, c.NoFirewall, c.Environment, c.Exports, c.Check, c.HTTPExports, c.Reports)
	for _, j := range c.Jails {
		x := *j
		x.Settings, x.Parts, x.Sources, x.Warnings, x.Errors, x.Faults = nil, nil, nil, nil, nil, nil
		x.Encoding, x.Native = nil, nil
		x.Filter.Failregex, x.Filter.Ignoreregex = nil, nil
		x.Filter.Prefregex.File, x.Filter.Prefregex.Line = "", 0
		if x.Filter.JSON != nil {
			x.Filter.JSON = nil
		}
		data, err := json.Marshal(&x)
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
		}
		fmt.Fprintf(&b, "%s %s", data, j.Filter.UseDNS)
		for _, e := range j.Filter.Failregex {
			fmt.Fprintf(&b, " %q", e.Text)
		}
		fmt.Fprint(&b, " ;")
		for _, e := range j.Filter.Ignoreregex {
			fmt.Fprintf(&b, " %q", e.Text)
		}
		if j.Encoding != nil {
			fmt.Fprintf(&b, " %s", j.Encoding.Name)
		}
		if j.Filter.JSON != nil {
			fmt.Fprintf(&b, " %v %v %v", j.Filter.JSON.Host, j.Filter.JSON.Time, j.Filter.JSON.User)
			for _, m := range j.Filter.JSON.Match {
				for _, c := range m.Conditions {
					fmt.Fprintf(&b, " %s=%q %v", c.Field, c.Values, c.Regexp)
				}
			}
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// outcome is what loading gives: the meaning, and all messages.
func outcome(dir string) (says string, messages []string, err error) {
	cfg, err := Load(Options{Path: dir})
	if err != nil {
		return "", strings.Split(err.Error(), "\n"), err
	}
	for _, p := range cfg.Problems() {
		messages = append(messages, strings.Split(p.Error(), "\n")...)
	}
	for _, w := range cfg.Warnings {
		messages = append(messages, w.Error())
	}
	for _, j := range cfg.Jails {
		for _, w := range j.Warnings {
			messages = append(messages, w.Error())
		}
	}
	return meaning(cfg), messages, nil
}

// configurations are what is mutated: files below a directory.
func configurations(t *testing.T) map[string]map[string]string {
	out := map[string]map[string]string{}
	add := func(name string, files ...string) {
		out[name] = map[string]string{}
		for i := 0; i < len(files); i += 2 {
			out[name][files[i]] = files[i+1]
		}
	}
	add("native", nativeFiles()...)
	add("tree", treeFiles()...)
	add("rich",
		"bailiff.toml", richMain, "jails/app.toml", richJail, "filters/app.toml", richFilter, "filters/js.toml", richJSON)
	// Debian's own fail2ban, with some jails enabled.
	debian := map[string]string{"jail.local": "[DEFAULT]\nbanaction = nftables\n[sshd]\nenabled = true\nbackend = auto\nlogpath = /var/log/auth.log\n[apache-auth]\nenabled = true\n[recidive]\nenabled = true\nbantime = 1w\nbanaction_allports = nftables[type=allports]\n"}
	for _, f := range []string{
		"jail.conf", "fail2ban.conf", "paths-debian.conf", "paths-common.conf", "jail.d/defaults-debian.conf", "filter.d/sshd.conf", "filter.d/common.conf", "filter.d/apache-auth.conf",
		"filter.d/apache-common.conf", "filter.d/recidive.conf", "action.d/nftables.conf", "action.d/iptables-allports.conf", "action.d/iptables.conf",
	} {
		data, err := os.ReadFile(filepath.Join("/etc/fail2ban", f))
		if err != nil {
			t.Fatalf("%v: this test needs Debian's package fail2ban (make test installs it)", err)
		}
		debian[f] = string(data)
	}
	out["debian"] = debian
	return out
}

const (
	richMain = `loglevel = "INFO"
logtarget = "stderr"
socket = "/run/x.sock"
environment = ["A=b", "HOME"]

[read]
socket = "/run/read.sock"
group = "adm"

[database]
path = "none"
purgeage = 86400
maxmatches = 5

[firewall]
table = "t"
chain = "c"
hook = ["input", "forward"]
priority = -5
foreign = "adopt"

[export.geo]
file = "/run/geo.conf"
format = "nginx"
jails = ["app", "js"]
reload = "true"

[export.edge]
kind = "http"
provider = "cloudflare"
account = "0123"
list = "4567"
token_file = "/run/token"
url = "https://192.0.2.1/v4"
ca_file = "/run/ca.pem"
comment = "ours"
max_items = 10

[default]
bantime = "1h"
"bantime.increment" = true
"bantime.factor" = 2
"bantime.maxtime" = "5w"
ignoreip = ["192.0.2.0/24", "2001:db8::1"]
ban.prefix4 = 32
maxretry = 3

[jail.app]
logpath = "/var/log/app.log"
ignorecommand = "/bin/false"
ignorecache = 'key="<ip>", max-count=10, max-time=5m'

[jail.app.action.tell]
ban = "echo <ip> <word>"
unban = "true"
timeout = "10s"
param = { word = "up" }

[jail.js]
enabled = true
filter = "js"
backend = "systemd"
journalmatch = "_SYSTEMD_UNIT=js.service"
protocol = ["tcp", "udp"]
port = "http,8000:8100"
blocktype = "drop"
usedns = "no"
ignoreself = false

[jail.sshd]
enabled = true
mode = "aggressive"
logpath = "/var/log/auth.log tail"
logtimezone = "+0100"
logencoding = "latin-1"
`
	richJail = `enabled = true
filter = "app[mode=extra]"
findtime = "10m"
maxlines = 2
maxmatches = 7
`
	richFilter = `description = "An application"
prefregex = '^app: <F-CONTENT>.+</F-CONTENT>$'
failregex = '''
  ^login failed from <HOST>$
  ^bad password .* from <HOST>$
'''
ignoreregex = ["test"]
datepattern = "%Y-%m-%d %H:%M:%S"

[mode.extra]
with = ["normal"]
failregex = '^extra <HOST>$'

[[sample]]
line = "2026-01-02 03:04:05 app: login failed from 192.0.2.1"
host = "192.0.2.1"
time = "2026-01-02T03:04:05"

[[sample]]
line = "2026-01-02 03:04:05 app: fine"
match = false
`
	richJSON = `[json]
host = "client.ip"
time = "ts"
[[json.match]]
status = 401
path = "/^.login/"
[[json.match]]
event = ["failed", "locked"]
`
)

var (
	placed  = regexp.MustCompile(`(^|[ "(:])(/|\(stock\)/)[^ :]*:\d+: |^configuration: |no logpath: set it in`)
	comment = regexp.MustCompile(`^\s*([#;].*)?$`)
)

func TestMutations(t *testing.T) {
	sequential(t)
	most, seed := mutationsMost, rand.Uint64()
	if raced {
		most /= 10
	}
	if s := os.Getenv("MUTATIONS"); s != "" && s != "all" {
		most, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("MUTATIONS_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("MUTATIONS_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	all := subjects(t)
	type place struct {
		of   *subject
		file string
		size int
	}
	var places []place
	lines := 0
	for _, s := range all {
		for _, f := range s.mutate {
			n := strings.Count(s.files[f], "\n") + 1
			places = append(places, place{s, f, n})
			lines += n
		}
	}
	c := &counts{}
	if os.Getenv("MUTATIONS") == "all" {
		most = 0
		for _, p := range places {
			for _, m := range mutations(p.file, p.of.files[p.file], r) {
				c.try(t, p.of, m)
				most++
			}
		}
	} else { // as many of each file as it has lines
		for range most {
			at := r.IntN(lines)
			for _, p := range places {
				if at -= p.size; at < 0 {
					if ms := mutations(p.file, p.of.files[p.file], r); len(ms) > 0 {
						c.try(t, p.of, ms[r.IntN(len(ms))])
					}
					break
				}
			}
		}
	}
	t.Logf("%d mutations of %d files with %d lines: %d with a new meaning, %d with a message, %d without effect, %d anything else",
		most, len(places), lines, c.accepted, c.refused, c.same, c.other)
	if c.accepted == 0 || c.refused == 0 {
		t.Error("nothing was accepted, or nothing was refused")
	}
}

// counts is what came of mutations.
type counts struct{ accepted, refused, same, other int }

// try mutates a file, and looks what comes of it, twice.
func (c *counts) try(t *testing.T, s *subject, m mutation) {
	t.Helper()
	s.ready(t)
	original := s.files[m.file]
	path := filepath.Join(s.dir, m.file)
	write := func(text string) {
		hosttest.Write(t, path, text)
	}
	write(m.text)
	got, messages, err := func() (got string, messages []string, err error) {
		defer func() {
			if p := recover(); p != nil {
				c.other++
				t.Errorf("panic: %v", p)
			}
		}()
		return outcome(s.dir)
	}()
	again, messagesAgain, _ := outcome(s.dir)
	write(original)
	lines := strings.Split(original, "\n")
	describe := func() string {
		was, is := lines[m.line-1], ""
		if l := strings.Split(m.text, "\n"); m.line <= len(l) {
			is = l[m.line-1]
		}
		return fmt.Sprintf("%s/%s:%d %s: %q → %q", s.name, m.file, m.line, m.kind, was, is)
	}
	switch {
	case got != again || strings.Join(messages, "\n") != strings.Join(messagesAgain, "\n"):
		c.other++
		t.Errorf("%s: two outcomes:\n%q\n%q", describe(), messages, messagesAgain)
	case err != nil || len(messages) > 0 && !slices.Equal(messages, s.messages):
		c.refused++
		some := false
		for _, text := range messages {
			some = some || placed.MatchString(text)
		}
		if !some {
			c.other++
			t.Errorf("%s: no place in %q", describe(), messages)
		}
	case got != s.means:
		c.accepted++
	default:
		c.same++
		if os.Getenv("MUTATIONS_SHOW") != "" && m.kind != "doubled" && m.kind != "deleted" && !comment.MatchString(lines[m.line-1]) {
			t.Logf("without effect: %s", describe())
		}
	}
}
