package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// directory writes files into a directory of the test: name, text, …
func directory(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		hosttest.Write(t, path, files[i+1])
	}
	return dir
}

func load(t *testing.T, opts Options) *Config {
	t.Helper()
	cfg, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func jail(t *testing.T, cfg *Config, name string) *Jail {
	t.Helper()
	for _, j := range cfg.Jails {
		if j.Name == name {
			return j
		}
	}
	t.Fatalf("no jail %s", name)
	return nil
}

// TestStock checks that everything the program carries is whole.
func TestStock(t *testing.T) {
	cfg := load(t, Options{Path: t.TempDir()})
	if p := cfg.Problems(); len(p) > 0 {
		t.Errorf("problems: %v", p)
	}
	if len(cfg.Jails) != 0 {
		t.Error("a stock jail is enabled by itself")
	}
	jails, _ := filepath.Glob("../../jails/*.toml")
	var args []string
	for _, j := range jails {
		args = append(args, strings.TrimSuffix(filepath.Base(j), ".toml")+"=/tmp/x.log")
	}
	cfg = load(t, Options{Path: t.TempDir(), Jails: args})
	if len(cfg.Jails) != len(jails) {
		t.Errorf("%d jails of %d", len(cfg.Jails), len(jails))
	}
	for _, j := range cfg.Jails {
		if err := j.Broken(); err != nil {
			t.Errorf("jail %s: %v", j.Name, err)
		}
	}
}

// TestLayers checks which word counts where several files speak of a jail.
func TestLayers(t *testing.T) {
	dir := directory(
		t,
		"bailiff.toml", "[default]\nmaxretry = 9\nfindtime = '1h'\nbantime = '2h'\nport = 'smtp'\n[jail.mine]\nbantime = '4h'\n",
		"jails/mine.toml", "enabled = true\nbantime = '3h'\nfindtime = 90\nfilter = 'django-auth'\nlogpath = ['/a/*.log /b.log', '/c.log']\n",
	)
	j := jail(t, load(t, Options{Path: dir}), "mine")
	if err := j.Broken(); err != nil {
		t.Fatal(err)
	}
	if j.MaxRetry != 9 || j.FindTime != 90*time.Second || j.BanTime != 4*time.Hour {
		t.Errorf("maxretry %d, findtime %v, bantime %v", j.MaxRetry, j.FindTime, j.BanTime)
	}
	if fmt.Sprint(j.Rule.Ports) != "[{25 25}]" || fmt.Sprint(j.Rule.Protocols) != "[tcp]" {
		t.Errorf("ports %v, protocols %v", j.Rule.Ports, j.Rule.Protocols)
	}
	if !slices.Equal(j.LogPath, []string{"/a/*.log", "/b.log", "/c.log"}) {
		t.Errorf("logpath %v", j.LogPath)
	}
	// The command line has the last word, on the log.
	j = jail(t, load(t, Options{Path: dir, Jails: []string{"mine=/tmp/other.log"}}), "mine")
	if !slices.Equal(j.LogPath, []string{"/tmp/other.log"}) || j.BanTime != 4*time.Hour {
		t.Errorf("with --jail: logpath %v, bantime %v", j.LogPath, j.BanTime)
	}
}

// TestErrors checks that mistakes come with file, line and what would be right.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'django-auth'\nmaxretri = 3\n", `bailiff.toml:5: unknown key "jail.x.maxretri" (did you mean "maxretry"?)`},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'django-auth'\nmaxretry = 'many'\n", "bailiff.toml:5: "},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'django-auth'\nport = 'htpp'\n", `bailiff.toml:5: port "htpp"`},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'django-auth'\nport = '10:5'\n", `bailiff.toml:5: port "10:5"`},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'django-auth'\nprotocol = 'tpc'\n", `bailiff.toml:5: protocol "tpc"`},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'django-auth'\nprotocol = 'icmp'\nport = 'ssh'\n", "bailiff.toml:5: protocol: ports need tcp"},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'django-auth'\nbantime = 0\n", "bantime 0: want a time, or -1 for ever"},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'django-auth'\nblocktype = 'deny'\n", `bailiff.toml:5: blocktype "deny": want reject or drop`},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'django-auth'\nusedns = 'maybe'\n", `bailiff.toml:5: usedns "maybe": want yes, warn, no or raw`},
		{"[jail.x]\nenabled = true\nlogpath = 'x['\nfilter = 'django-auth'\n", `bailiff.toml:3: logpath "x[": syntax error in pattern`},
		{"[jail.x]\nenabled = true\nfilter = 'django-auth'\n", "no logpath: set it in jails/x.toml"},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'sshd[mode=agressive]'\n", `bailiff.toml:4: filter "sshd[mode=agressive]": unknown mode "agressive" (normal, aggressive, ddos, extra)`},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfailregex = ['a <HOST>', '''\n  b\n  ]c <HOST>[''']\n", `bailiff.toml:5: no failure-id group in "b"`},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfailregex = ['a <HOST>', '''\n  b\n  ]c <HOST>[''']\n", `bailiff.toml:6: unable to compile regular expression "]c <HOST>[": unterminated character set`},
		{"[jail.x]\nenabled = true\nlogpath = 'x'\nfilter = 'django-auth'\ndatepattern = '%Q'\n", "datepattern"},
		{"[jail.'a b']\nenabled = true\nlogpath = 'x'\nfilter = 'django-auth'\n", `jail name "a b"`},
		{"loglevel = 'LOUD'\n", "bailiff.toml:1: "},
		{"[firewall]\nhook = 'outpt'\n", "bailiff.toml:2: "},
		{"enabled = \n", "bailiff.toml:1: "},
	} {
		dir := directory(t, "bailiff.toml", c.text)
		cfg, err := Load(Options{Path: dir})
		var all []string
		if err != nil {
			all = append(all, err.Error())
		} else {
			for _, p := range cfg.Problems() {
				all = append(all, p.Error())
			}
		}
		if text := strings.Join(all, "\n"); !strings.Contains(text, c.want) {
			t.Errorf("%q:\n%s\nlacks %q", c.text, text, c.want)
		}
	}
	cfg := load(t, Options{Path: directory(t, "jail.conf", "enabled = 1\n[x]\n")})
	if p := fmt.Sprint(cfg.Problems()); !strings.Contains(p, `jail.conf:1: "enabled = 1" stands before the first [section]`) {
		t.Errorf("a jail.conf without a section: %s", p)
	}
}

func TestClosest(t *testing.T) {
	known := []string{"sshd", "django-auth"}
	for name, want := range map[string]string{"ssh": "sshd", "django-aut": "django-auth", "nginx": ""} {
		if got := closest(name, known); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func FuzzTOML(f *testing.F) {
	f.Add("[jail.x]\nenabled = true\nfailregex = '''a <HOST>\nb'''\n[[sample]]\nline = 'x'")
	f.Add("[firewall]\nhook = ['input', 'forward']\npriority = -1\n")
	f.Fuzz(func(t *testing.T, text string) {
		dir := directory(t, "bailiff.toml", text, "jails/a.toml", text, "filters/a.toml", text)
		cfg, err := Load(Options{Path: dir})
		if err != nil {
			return
		}
		// Read again, as by a daemon that runs with it: the same.
		again, err := Load(Options{Path: dir, Was: cfg})
		if err != nil && strings.Contains(err.Error(), "unknown key") || err != nil && strings.Contains(err.Error(), "want a table") {
			return // it may be anybody's
		}
		if err != nil || meaning(again) != meaning(cfg) {
			t.Errorf("%q: %v\n%s\n%s", text, err, meaning(cfg), meaning(again))
		}
		cfg.Problems()
	})
}

func FuzzTree(f *testing.F) {
	f.Add(treeJails, treePaths)
	f.Add("[DEFAULT]\nbantime = 24*3600\n[x]\nenabled = yes\nfilter = f[a=<b>]\nfailregex = %(known/failregex)s\n a <HOST>\n", "[one]\nenabled=trye")
	f.Fuzz(func(t *testing.T, text, more string) {
		dir := directory(t, "jail.conf", text, "paths-x.conf", more, "filter.d/f.conf", "[Definition]\nfailregex = ^f <HOST>\n", "fail2ban.conf", "[Definition]\nloglevel = NOTICE\n")
		cfg, err := Load(Options{Path: dir})
		if err != nil {
			return
		}
		again, err := Load(Options{Path: dir, Was: cfg})
		if len(cfg.Fail2ban.Unread) > 0 {
			if err == nil {
				t.Errorf("%q %q: what can't be read is taken by a daemon that runs", text, more)
			}
			return
		}
		if err != nil || meaning(again) != meaning(cfg) {
			t.Errorf("%q %q: %v\n%s\n%s", text, more, err, meaning(cfg), meaning(again))
		}
	})
}
