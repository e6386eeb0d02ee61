package fail2ban

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/tags"
)

// commands puts a jail into the form of the oracle's answer, sorted.
func (j *Jail) commands() []string {
	if j.Err != nil {
		return []string{j.Name + ": error"}
	}
	var out []string
	add := func(format string, args ...any) { out = append(out, j.Name+": "+fmt.Sprintf(format, args...)) }
	add("add %s", j.Options.Values["backend"])
	given := map[string]bool{}
	for _, n := range j.Options.Names {
		given[n] = true
	}
	regexes := func(key string, list []string) {
		if len(list) > 0 {
			add("%s %q", key, list)
		}
	}
	one := func(key, value string) {
		if value != "" {
			add("%s %q", key, value)
		}
	}
	f := j.Filter
	if f == nil {
		f = &Filter{Options: &tags.Options{}}
	}
	get := func(o *tags.Options, n string) string { v, _ := o.Get(n); return v }
	for _, o := range []*tags.Options{f.Options, j.Options} {
		if o == f.Options {
			regexes("addfailregex", f.FailRegex)
			regexes("addignoreregex", f.IgnoreRegex)
		} else {
			regexes("addfailregex", lines(get(o, "failregex")))
			regexes("addignoreregex", lines(get(o, "ignoreregex")))
		}
		for _, n := range []string{"usedns", "maxlines", "prefregex", "datepattern"} {
			if v, ok := o.Get(n); ok {
				add("%s %q", n, v)
			}
		}
		for _, m := range lines(get(o, "journalmatch")) {
			one("addjournalmatch", m)
		}
	}
	skip := map[string]bool{"action": true, "filter": true, "enabled": true, "backend": true, "logpath": true}
	for _, n := range filterOptions {
		skip[n] = true
	}
	for _, n := range j.Options.Names {
		v := j.Options.Values[n]
		switch {
		case n == "ignoreip":
			add("addignoreip %q", strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(", \t\n", r) }))
		case skip[n]:
		case n == "ignoreself" || n == "bantime.increment" || n == "bantime.overalljails":
			add("%s %v", n, yes(v))
		default:
			add("%s %s", n, v)
		}
	}
	if !strings.HasPrefix(j.Options.Values["backend"], "systemd") {
		for _, l := range j.LogFiles() {
			paths, _ := filepath.Glob(l.Glob)
			for _, p := range paths {
				where := "head"
				if l.Tail {
					where = "tail"
				}
				add("addlogpath %s %s", p, where)
			}
		}
	}
	for _, a := range j.Actions {
		if a.Python != "" {
			add("addaction %s %s %s", a.Name, a.Python, pairs(a.Options.Values))
			continue
		}
		add("addaction %s", a.Name)
		add("action %s %s", a.Name, pairs(a.Options.Values))
	}
	add("start")
	slices.Sort(out)
	return out
}

func pairs(m map[string]string) string {
	var out []string
	for k, v := range m {
		switch k { // what fail2ban makes booleans of
		case "actionstart_on_demand", "actionrepair_on_unban", "norestored":
			v = fmt.Sprint(yes(v))
		}
		out = append(out, fmt.Sprintf("%s=%q", k, v))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// theirJails brings the oracle's commands into the same form.
func theirJails(t *testing.T, a answer) []string {
	t.Helper()
	var out []string
	text := func(v any) string { return fmt.Sprint(v) }
	for _, c := range a.Commands {
		if c[0] == "config-error" {
			name := strings.TrimPrefix(c[1].(string), "Jail '")
			out = append(out, name[:strings.Index(name, "'")]+": error")
			continue
		}
		name := text(c[1])
		add := func(format string, args ...any) { out = append(out, name+": "+fmt.Sprintf(format, args...)) }
		switch {
		case c[0] == "add":
			add("add %s", c[2])
		case c[0] == "start":
			add("start")
		case c[2] == "addfailregex" || c[2] == "addignoreregex":
			var list []string
			if l, ok := c[3].([]any); ok {
				for _, v := range l {
					list = append(list, v.(string))
				}
			} else {
				list = []string{c[3].(string)}
			}
			add("%s %q", c[2], list)
		case c[2] == "addjournalmatch":
			var words []string
			for _, v := range c[3:] {
				words = append(words, text(v))
			}
			add("addjournalmatch %q", strings.Join(words, " "))
		case c[2] == "addignoreip":
			list := []string{}
			for _, v := range c[3:] {
				list = append(list, text(v))
			}
			add("addignoreip %q", list)
		case c[2] == "usedns" || c[2] == "maxlines" || c[2] == "prefregex" || c[2] == "datepattern":
			add("%s %q", c[2], text(c[3]))
		case c[2] == "addlogpath":
			add("addlogpath %s %s", c[3], c[4])
		case c[2] == "addaction" && len(c) > 4:
			m := map[string]string{}
			for _, kv := range strings.Split(strings.Trim(text(c[5]), "{}"), `", "`) {
				if k, v, ok := strings.Cut(kv, `": "`); ok {
					m[strings.Trim(k, `"`)] = strings.Trim(v, `"`)
				}
			}
			add("addaction %s %s %s", c[3], c[4], pairs(m))
		case c[2] == "addaction":
			add("addaction %s", c[3])
		case c[2] == "action":
			m := map[string]string{}
			list, ok := c[4].([]any)
			if !ok {
				list = []any{[]any{c[4], c[5]}}
			}
			for _, kv := range list {
				p := kv.([]any)
				m[text(p[0])] = text(p[1])
			}
			add("action %s %s", c[3], pairs(m))
		default:
			add("%s %s", c[2], text(c[3]))
		}
	}
	slices.Sort(out)
	return out
}

// compareTree resolves all jails of a tree, here and in the real fail2ban.
func compareTree(t *testing.T, o *oracle, dir string) (jails int) {
	t.Helper()
	a := o.ask(t, map[string]any{"tree": dir, "jails": true})
	tree, err := ReadTree(dir)
	if a.Error != "" || err != nil {
		if (a.Error != "") != (err != nil) {
			t.Errorf("%s: ours %v, theirs %s", dir, err, a.Error)
		}
		return 0
	}
	var got []string
	for _, j := range tree.Jails {
		if j.Enabled {
			jails++
			got = append(got, j.commands()...)
		}
	}
	slices.Sort(got)
	want := theirJails(t, a)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %s", dir, difference(got, want))
		for _, j := range tree.Jails {
			if j.Err != nil {
				t.Logf("ours: %s: %v", j.Name, j.Err)
			}
		}
	}
	return jails
}

func difference(got, want []string) string {
	var b strings.Builder
	n := 0
	for _, g := range got {
		if !slices.Contains(want, g) && n < 12 {
			fmt.Fprintf(&b, "\n only ours   %.700s", g)
			n++
		}
	}
	for _, w := range want {
		if !slices.Contains(got, w) && n < 24 {
			fmt.Fprintf(&b, "\n only theirs %.700s", w)
			n++
		}
	}
	return b.String()
}

// TestDebianJails compares every option of every jail of each fail2ban, all of
// them enabled.
func TestDebianJails(t *testing.T) {
	o := startOracle(t)
	for _, r := range hosttest.Fail2bans(t) {
		t.Run(r.Version, func(t *testing.T) {
			dir := t.TempDir()
			if out, err := exec.Command("cp", "-r", r.Config+"/.", dir).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			hosttest.Write(t, filepath.Join(dir, "jail.local"), "[DEFAULT]\nenabled = true\n")
			if n := compareTree(t, o, dir); n < 80 {
				t.Errorf("%d jails: is the package whole?", n)
			} else {
				t.Logf("%d jails", n)
			}
		})
	}
}

// TestGrowingValue: values that name one another don't grow beyond a bound.
func TestGrowingValue(t *testing.T) {
	var b strings.Builder
	b.WriteString("[Definition]\na0 = xxxxxxxxxx\n")
	for i := range 9 {
		fmt.Fprintf(&b, "a%d = %s\n", i+1, strings.Repeat(fmt.Sprintf("%%(a%d)s", i), 10))
	}
	path := filepath.Join(t.TempDir(), "f.conf")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := ReadFiles(path)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := c.Get("Definition", "a9", nil); err == nil || !strings.Contains(err.Error(), "longer than 1048576 bytes") {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// trees are configurations that show how parts play together: file, text, …
// Each has the filter f and the actions a and b unless it brings its own.
var trees = map[string][]string{
	"plain":                       {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a\nmaxretry = 3\n"},
	"local over conf":             {"jail.conf", "[DEFAULT]\nbantime = 10m\n[x]\nenabled = false\nfilter = f\naction = a\nmaxretry = 3\n", "jail.local", "[DEFAULT]\nbantime = 1h\n[x]\nenabled = true\nfindtime = 5m\n"},
	"jail.d, in order":            {"jail.conf", "[x]\nfilter = f\naction = a\nmaxretry = 1\n", "jail.d/20.conf", "[x]\nmaxretry = 20\nenabled = true\n", "jail.d/10.conf", "[x]\nmaxretry = 10\n", "jail.d/10.local", "[x]\nmaxretry = 11\n", "jail.local", "[x]\nmaxretry = 5\nbantime = 5\n"},
	"known in options":            {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = c[actionban='<known/actionban>; echo x', port=\"<known/port>,1\"]\n\tc[actname=two, actionban='<Definition/actionban>; <Init/port> <Init/nosuch> <DEFAULT/base>', actionunban=\"<known/actionunban>\"]\n", "action.d/c.conf", "[DEFAULT]\nbase = B\n[Definition]\nactionban = c <ip> <port> %(base)s\nactionunban = u <ip>\n[Init]\nport = 22\n", "action.d/c.local", "[Definition]\nactionunban = later; <known/port>\n"},
	"known in a filter's options": {"jail.conf", "[x]\nenabled = true\nfilter = k[failregex='<known/failregex>|more <HOST>', where=\"<Definition/base>\"]\naction = a\n", "filter.d/k.conf", "[Definition]\nbase = b\nwhere = w\nfailregex = ^<where> <HOST>\n"},
	"an option of a family":       {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = c[blocktype=\"DROP\", blocktype?family=inet6=\"REJECT\"]\n", "action.d/c.conf", "[Definition]\nactionban = c <blocktype>\n[Init]\nblocktype = A\n[Init?family=inet6]\nblocktype = B\nother = C\n"},
	"an option for all families":  {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = c[blocktype=DROP, other=D]\n\tc[actname=two, other?family=inet6=E]\n", "action.d/c.conf", "[Definition]\nactionban = c <blocktype>\n[Init]\nblocktype = A\n[Init?family=inet6]\nblocktype = B\nother = C\n"},
	"only local":                  {"jail.local", "[x]\nenabled = yes\nfilter = f\naction = a\n"},
	"includes":                    {"jail.conf", "[INCLUDES]\nbefore = one.conf two.conf\n  paths.conf\nafter = last.local\n[x]\nenabled = 1\nfilter = f\nport = %(myport)s\naction = a[port=%(port)s]\nlogpath = %(mylog)s\n", "paths.conf", "[INCLUDES]\nbefore = deep.conf\n[DEFAULT]\nmyport = 1234\nmylog = /nowhere/x.log\n", "deep.conf", "[DEFAULT]\nmyport = 99\n", "last.local", "[x]\nmaxretry = 7\n"},
	"include of itself":           {"jail.conf", "[INCLUDES]\nbefore = jail.conf\n[x]\nenabled = on\nfilter = f\naction = a\n"},
	"known of a later file":       {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a\nignoreip = 127.0.0.1\n", "jail.local", "[x]\nignoreip = %(known/ignoreip)s, 10.0.0.0/8 ::1\n"},
	"known of DEFAULT":            {"jail.conf", "[DEFAULT]\nbase = a\nenabled = true\nfilter = f\n[x]\naction = %(base)s[name=%(__name__)s]\n"},
	"known of the filter":         {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a\nfailregex = %(known/failregex)s\n  ^more <HOST>$\n"},
	"section/option":              {"jail.conf", "[y]\nport = 42\n[x]\nenabled = true\nfilter = f\naction = a[port=%(y/port)s]\n"},
	"nested interpolation":        {"jail.conf", "[DEFAULT]\na1 = b\nact = %(a1)s[x=\"%(word)s\"]\nword = w %(deep)s\ndeep = d%%d\n[x]\nenabled = true\nfilter = f\naction = %(act)s\n"},
	"filter options":              {"jail.conf", "[x]\nenabled = true\nfilter = f[what=\"a, b\", other='c d']\naction = a\n"},
	"filter options in groups":    {"jail.conf", "[x]\nenabled = true\nfilter = f[what=1][other=2]\naction = a\n"},
	"filter with local":           {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a\n", "filter.d/f.local", "[Definition]\nfailregex = ^local <HOST> %(known/failregex)s$\nmaxlines = 3\n"},
	"filter's parameter":          {"jail.conf", "[x]\nenabled = true\nfilter = p[who=me]\naction = a\n", "filter.d/p.conf", "[Definition]\n_x = <who> and %(__name__)s\nfailregex = ^%(_x)s <HOST> <inner_<who>>$\ninner_me = I\ninner_you = you\ndatepattern = ^%%Y\n[Init]\nwho = you\n"},
	"own regexes":                 {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a\nfailregex = ^own <HOST>\nignoreregex = ^never\n  ^nobody\nusedns = no\ndatepattern = {^LN-BEG}\n"},
	"journal":                     {"jail.conf", "[x]\nenabled = true\nbackend = systemd[journalflags=1]\nfilter = j\naction = a\nlogpath = /nowhere\n", "filter.d/j.conf", "[Definition]\nfailregex = ^<lt_<logtype>/pre> <HOST>\njournalmatch = _A=1 + _B=2\n [lt_file]\n[lt_file]\npre = file\n[lt_journal]\npre = journal\n"},
	"several actions":             {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a[port=1]\n         b[name=second, port=\"2,3\"]\n   a[actname=third]\n"},
	"action over lines":           {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a[port=1,\n     protocol=udp,\n  text=\"several\n   lines\"]\n"},
	"action's conditional":        {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = c[block=now]\n", "action.d/c.conf", "[Definition]\nactionban = ban <ip> <block> <cmd> <known/block>\nactionstart = start <name> %(opt)s\nopt = of <name>\n[Init]\nblock = later\ncmd = iptables\n[Init?family=inet6]\ncmd = ip6tables\n"},
	"action with local":           {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a\n", "action.d/a.local", "[Init]\nport = 99\n[Definition]\nactionunban = local <ip>\n"},
	"python action":               {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = mail.py[host=localhost, actname=post]\n"},
	"times and increments":        {"jail.conf", "[DEFAULT]\nbantime.increment = true\nbantime.rndtime = 5m\nbantime.maxtime = 1w\nbantime.factor = 2\nbantime.formula = ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor\nbantime.multipliers = 1 2 4\nbantime.overalljails = no\n[x]\nenabled = true\nfilter = f\naction = a\nbantime = 1d 12h\nmaxmatches = 9\n"},
	"ignore things":               {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a\nignoreself = false\nignoreip = 1.2.3.4,5.6.7.8\n  www.example.org\nignorecommand = /bin/test <ip>\nignorecache = key=\"<ip>\", max-count=100, max-time=5m\nlogtimezone = UTC+0100\nlogencoding = latin1\n"},
	"comments":                    {"jail.conf", "# first\n; second\n[x] \nenabled = true ; why\nfilter = f\n# between\naction = a\n  # within\n\n  b[port=7]\nmaxretry: 4\n"},
	"unknown filter":              {"jail.conf", "[x]\nenabled = true\nfilter = nowhere\naction = a\n[y]\nenabled = true\nfilter = f\naction = a\n"},
	"unknown action":              {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = nowhere\n[y]\nenabled = true\nfilter = f\naction = a\n"},
	"bad options":                 {"jail.conf", "[x]\nenabled = true\nfilter = f[what\naction = a\n[y]\nenabled = true\nfilter = f\naction = a\n"},
	"no filter":                   {"jail.conf", "[x]\nenabled = true\naction = a\n"},
	"no action":                   {"jail.conf", "[x]\nenabled = true\nfilter = f\n"},
	"not enabled and broken":      {"jail.conf", "[x]\nfilter = nowhere\n[y]\nenabled = true\nfilter = f\naction = a\n"},
	"capital names":               {"jail.conf", "[X]\nEnabled = TRUE\nFilter = f\nACTION = a[Port=1]\nMaxRetry = 2\n"},
	"log files":                   {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a\nlogpath = %(fail2ban_confpath)s/log*.txt\n   %(fail2ban_confpath)s/tail.txt tail\n", "log1.txt", "", "log2.txt", "", "tail.txt", ""},
	"percent signs":               {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a[text=\"100%%\"]\ndatepattern = %%Y-%%m\n"},
	"tags that stay":              {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = b[text=\"<ip> <nosuch> <HOST>\"]\n"},
	"default in a later file":     {"jail.conf", "[DEFAULT]\nmaxretry = 1\n[x]\nenabled = true\nfilter = f\naction = a\n", "jail.d/z.local", "[DEFAULT]\nmaxretry = 8\n"},
	"same jail in three files":    {"jail.conf", "[x]\nfilter = f\n", "jail.d/a.conf", "[x]\naction = a\n", "jail.d/b.conf", "[x]\nenabled = true\n"},
	"options with equals signs":   {"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a[text=\"a=b, c=d\", cmd='x=\"y\"']\n"},
}

var common = []string{
	"filter.d/f.conf", "[INCLUDES]\nbefore = c.conf\n[Definition]\nfailregex = ^%(_pre)s failed from <HOST> <what>$\n            ^again <HOST>$\nignoreregex =\n[Init]\nwhat = nothing\nother =\n",
	"filter.d/c.conf", "[DEFAULT]\n_pre = pre\n",
	"action.d/a.conf", "[Definition]\nactionstart = start <name> <port>/<protocol>\nactionban = ban <ip> <bantime> <matches>\nactionunban = unban <ip>\nactionstop =\n[Init]\nport = ssh\nprotocol = tcp\n",
	"action.d/b.conf", "[INCLUDES]\nbefore = a.conf\n[Definition]\nactionban = <cmd> <ip>: <text> %(known/actionban)s\nnorestored = 1\nactionstart_on_demand = false\n[Init]\ncmd = do\ntext = <cmd> it\n",
}

// TestTrees compares configurations written for this, one for each way in which
// their parts play together.
func TestTrees(t *testing.T) {
	o := startOracle(t)
	n := 0
	for name, files := range trees {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			all := append(slices.Clone(common), files...)
			for i := 0; i < len(all); i += 2 {
				path := filepath.Join(dir, all[i])
				hosttest.Write(t, path, all[i+1])
			}
			compareTree(t, o, dir)
			n++
			if broken := map[string]bool{"unknown filter": true, "unknown action": true, "bad options": true}; !broken[name] {
				tree, err := ReadTree(dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, j := range tree.Jails {
					if j.Enabled && j.Err != nil {
						t.Errorf("jail %s: %v", j.Name, j.Err)
					}
				}
			}
		})
	}
	if n < 25 {
		t.Errorf("%d trees", n)
	}
}

func FuzzINI(f *testing.F) {
	for _, files := range trees {
		f.Add(files[1])
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseINI("fuzz", text)
		if c == nil {
			if err == nil {
				t.Fatal("neither a file nor an error")
			}
			return
		}
		for name, s := range c.Sections {
			for option := range s {
				_, _ = c.Get(name, option, nil)
			}
		}
	})
}

func FuzzOptions(f *testing.F) {
	f.Add(`sshd[mode=aggressive, a="b,c"][d='e']`)
	f.Add("a[\nb=c,\n d=\"e\nf\"]\n g")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range SplitActions(text) {
			_, _, _ = tags.Extract(a)
		}
	})
}

func yes(s string) bool {
	b, _ := ParseTruth(s)
	return b
}
