package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	nativeMain = `loglevel = "NOTICE"
[database]
purgeage = "2d"
[firewall]
hook = ["input", "forward"]
[export.x]
file = "/run/x"
format = "plain"
[default]
maxretry = 4
[jail.one]
enabled = true
logpath = "/1.log"
failregex = "one <HOST>"
`
	nativeTwo = "enabled = true\nlogpath = '/2.log'\nfilter = 'own'\n"
	nativeOwn = "failregex = 'own <HOST>'\n"

	treeJails = "[INCLUDES]\nbefore = paths-x.conf\n[DEFAULT]\nmaxretry = 4\nlogpath = %(log)s\nfilter = f\naction = a\n[one]\nenabled = true\n[two]\nenabled = true\n"
	treePaths = "[DEFAULT]\nlog = /x.log\n"
)

func nativeFiles() []string {
	return []string{"bailiff.toml", nativeMain, "jails/two.toml", nativeTwo, "filters/own.toml", nativeOwn}
}

func treeFiles() []string {
	return []string{
		"jail.conf", treeJails, "paths-x.conf", treePaths, "filter.d/f.conf", "[Definition]\nfailregex = ^f <HOST>\n", "action.d/a.conf", "[Definition]\nactionban = true\n",
		"fail2ban.conf", "[Definition]\nloglevel = NOTICE\ndbpurgeage = 2d\n", "jail.d/more.conf", "[three]\nenabled = true\n",
	}
}

// TestReloaded: what a daemon reads anew is the new meaning, or what it has.
func TestReloaded(t *testing.T) {
	replace := func(file, old, new string) func(string) {
		return func(dir string) {
			path := filepath.Join(dir, file)
			data, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(data), old) {
				panic(fmt.Sprint(file, " has no ", old))
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(data), old, new, 1)), 0o644); err != nil {
				panic(err)
			}
		}
	}
	remove := func(file string) func(string) {
		return func(dir string) {
			if err := os.RemoveAll(filepath.Join(dir, file)); err != nil {
				panic(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		files  []string
		change func(string)
		whole  string   // the error of all
		broken []string // jails that are known, with an error
		gone   []string
		want   string // an error
		server bool   // settings of the daemon change
	}{
		{name: "nothing", files: nativeFiles(), change: func(string) {}},
		{name: "syntax", files: nativeFiles(), change: replace("bailiff.toml", "[jail.one]", "[jail.one"), whole: "bailiff.toml:11: expected"},
		{name: "main gone", files: nativeFiles(), change: remove("bailiff.toml"), whole: "bailiff.toml was read before and is gone"},
		{name: "jails gone", files: nativeFiles(), change: remove("jails"), whole: "jails was read before and is gone"},
		{name: "filters gone", files: nativeFiles(), change: remove("filters"), whole: "filters was read before and is gone"},
		{name: "all gone", files: nativeFiles(), change: remove(""), whole: "no such file"},
		{name: "one jail's file gone", files: nativeFiles(), change: remove("jails/two.toml"), gone: []string{"two"}},
		{name: "its syntax", files: nativeFiles(), change: replace("jails/two.toml", "= true", "= true x"), broken: []string{"two"}, want: "jail two: DIR/jails/two.toml:1: "},
		{name: "no file", files: nativeFiles(), change: func(dir string) {
			remove("jails/two.toml")(dir)
			if err := os.Mkdir(filepath.Join(dir, "jails/two.toml"), 0o755); err != nil {
				panic(err)
			}
		}, broken: []string{"two"}, want: "two.toml: is a directory"},
		{name: "its type", files: nativeFiles(), change: replace("jails/two.toml", "= true", "= 'true'"), broken: []string{"two"}, want: "jails/two.toml:1: enabled: want true or false"},
		{name: "its filter", files: nativeFiles(), change: replace("filters/own.toml", "<HOST>", ""), broken: []string{"two"}, want: "filters/own.toml:1: "},
		{name: "its filter's syntax", files: nativeFiles(), change: replace("filters/own.toml", "= '", "= "), broken: []string{"two"}, want: "filters/own.toml:1: "},
		{name: "a type", files: nativeFiles(), change: replace("bailiff.toml", "\"/1.log\"", "true"), broken: []string{"one"}, want: "bailiff.toml:13: logpath: want"},
		{name: "a table", files: nativeFiles(), change: replace("bailiff.toml", "[jail.one]", "[[jail.one]]"), broken: []string{"one"}, want: "bailiff.toml:11: one: want a table"},
		{name: "jail is none", files: nativeFiles(), change: replace("bailiff.toml", "[jail.one]", "[[jail]]"), whole: "bailiff.toml:11: jail: want a table"},
		{name: "an unknown table", files: nativeFiles(), change: replace("bailiff.toml", "[jail.one]", "[jial.one]"), whole: "bailiff.toml:11: unknown key \"jial\" (did you mean \"jail\"?)"},
		{name: "a default", files: nativeFiles(), change: replace("bailiff.toml", "maxretry = 4", "maxretry = 'x'"), broken: []string{"one", "two"}, want: "bailiff.toml:10: maxretry"},
		{name: "enabled by default", files: nativeFiles(), change: replace("bailiff.toml", "maxretry = 4", "enabled = 'x'"), want: "bailiff.toml:10: enabled"},
		{name: "level", files: nativeFiles(), change: replace("bailiff.toml", "NOTICE", "LOUD"), want: "bailiff.toml:1: log level"},
		{name: "level's type", files: nativeFiles(), change: replace("bailiff.toml", "\"NOTICE\"", "5"), want: "bailiff.toml:1: loglevel: want a string, not 5; it stays as it was"},
		{name: "purgeage", files: nativeFiles(), change: replace("bailiff.toml", "2d", "soon"), want: "bailiff.toml:3: purgeage"},
		{name: "hook", files: nativeFiles(), change: replace("bailiff.toml", "forward", "forwart"), want: "bailiff.toml:5: hook"},
		{name: "firewall's type", files: nativeFiles(), change: replace("bailiff.toml", "[firewall]\n", ""), want: "bailiff.toml:4: unknown key \"database.hook\""},
		{name: "export", files: nativeFiles(), change: replace("bailiff.toml", "plain", "plan"), want: "bailiff.toml:8: export x: format"},
		{name: "export's type", files: nativeFiles(), change: replace("bailiff.toml", "\"plain\"", "1"), want: "bailiff.toml:8: export.x.format: want a string"},
		{name: "a new level", files: nativeFiles(), change: replace("bailiff.toml", "NOTICE", "DEBUG"), server: true},

		{name: "tree", files: treeFiles(), change: func(string) {}},
		{name: "jail.conf gone", files: treeFiles(), change: remove("jail.conf"), whole: "jail.conf was read before and is gone"},
		{name: "jail.conf and jail.d gone", files: treeFiles(), change: func(dir string) { remove("jail.conf")(dir); remove("jail.d")(dir) }, whole: "neither jail.conf nor jail.local"},
		{name: "an include gone", files: treeFiles(), change: remove("paths-x.conf"), whole: "paths-x.conf was read before and is gone"},
		{name: "fail2ban.conf gone", files: treeFiles(), change: remove("fail2ban.conf"), whole: "fail2ban.conf was read before and is gone"},
		{name: "filter.d gone", files: treeFiles(), change: remove("filter.d"), broken: []string{"one", "two", "three"}, want: "jail.conf:6: Unable to read the filter"},
		{name: "a file of jail.d gone", files: treeFiles(), change: remove("jail.d/more.conf"), gone: []string{"three"}},
		{name: "a line", files: treeFiles(), change: replace("jail.d/more.conf", "enabled = true", "enabled"), whole: "jail.d/more.conf:2: "},
		{name: "no section", files: treeFiles(), change: replace("jail.d/more.conf", "[three]\n", ""), whole: "jail.d/more.conf:1: "},
		{name: "twice", files: treeFiles(), change: replace("jail.conf", "[two]\n", "[one]\n"), whole: "jail.conf:10: "},
		{name: "a line of fail2ban.conf", files: treeFiles(), change: replace("fail2ban.conf", "loglevel = ", ""), whole: "fail2ban.conf:2: "},
		{name: "enabled", files: treeFiles(), change: replace("jail.d/more.conf", "true", "trye"), broken: []string{"three"}, want: "jail.d/more.conf:2: enabled \"trye\": want true or false"},
		{name: "an interpolation", files: treeFiles(), change: replace("jail.conf", "%(log)s", "%(lok)s"), broken: []string{"one", "two", "three"}, want: "jail.conf:5: "},
		{name: "a level", files: treeFiles(), change: replace("fail2ban.conf", "NOTICE", "LOUD"), want: "fail2ban.conf:2: log level"},
		{name: "a level's interpolation", files: treeFiles(), change: replace("fail2ban.conf", "NOTICE", "%(nix)s"), want: "fail2ban.conf:2: [Definition] loglevel: %(nix)s"},
		{name: "a time", files: treeFiles(), change: replace("fail2ban.conf", "2d", "soon"), want: "fail2ban.conf:3: dbpurgeage"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := directory(t, c.files...)
			was := load(t, Options{Path: dir})
			if p := was.Problems(); len(p) > 0 {
				t.Fatal(p)
			}
			var running []string
			for _, j := range was.Jails {
				running = append(running, j.Name)
			}
			c.change(dir)
			cfg, err := Load(Options{Path: dir, Was: was})
			if c.whole != "" {
				if err == nil || !strings.Contains(err.Error(), c.whole) {
					t.Fatalf("%v; want %s", err, c.whole)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range running {
				i := slices.IndexFunc(cfg.Jails, func(j *Jail) bool { return j.Name == name })
				if (i < 0) != slices.Contains(c.gone, name) {
					t.Errorf("jail %s: at %d", name, i)
				}
				if i >= 0 && (cfg.Jails[i].Broken() != nil) != (slices.Contains(c.broken, name) || c.name == "enabled by default" && cfg.Jails[i].Broken() != nil) {
					t.Errorf("jail %s: %v", name, cfg.Jails[i].Broken())
				}
			}
			problems := strings.ReplaceAll(fmt.Sprint(cfg.Problems()), dir, "DIR")
			if !strings.Contains(problems, c.want) || c.want == "" && problems != "[]" {
				t.Errorf("%s lacks %s", problems, c.want)
			}
			same := reflect.DeepEqual([]any{cfg.Log, cfg.Database, cfg.Firewall, cfg.Exports, cfg.Socket}, []any{was.Log, was.Database, was.Firewall, was.Exports, was.Socket})
			if same == c.server {
				t.Errorf("%+v %+v, were %+v %+v", cfg.Log, cfg.Firewall, was.Log, was.Firewall)
			}
		})
	}
}

// TestLoadsAtOnce: a configuration that is read while the same one is still being read, as
// when a disk hung, says the same: readers share nothing that changes.
func TestLoadsAtOnce(t *testing.T) {
	for name, files := range configurations(t) {
		var list []string
		for _, f := range sortedKeys(files) {
			list = append(list, f, files[f])
		}
		dir := directory(t, list...)
		want, _, err := outcome(dir)
		if err != nil {
			t.Fatal(err)
		}
		was, err := Load(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 2 {
					cfg, err := Load(Options{Path: dir, Was: was})
					if err != nil || meaning(cfg) != want {
						t.Errorf("%s: another meaning, or %v", name, err)
					}
				}
			})
		}
		wg.Wait()
	}
}
