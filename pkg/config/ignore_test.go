package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// TestIgnoreEntries: an entry that is none costs itself, with its place, under both
// configurations; a netmask is a network.
func TestIgnoreEntries(t *testing.T) {
	write := func(dir, name, text string) {
		t.Helper()
		hosttest.Write(t, filepath.Join(dir, name), text)
	}
	const prefixes = "[192.0.2.0/24 198.51.100.7/32 203.0.113.0/24 192.0.2.16/30]"
	check := func(t *testing.T, cfg *Config, wantAt ...string) {
		t.Helper()
		var j *Jail
		for _, c := range cfg.Jails {
			if c.Name == "web" {
				j = c
			}
		}
		if j == nil {
			t.Fatal("no jail")
		}
		if err := j.Broken(); err != nil {
			t.Errorf("the jail does not start: %v", err)
		}
		if got := fmt.Sprint(j.Ignore.Prefixes); got != prefixes {
			t.Errorf("%s, want %s", got, prefixes)
		}
		if fmt.Sprint(j.Ignore.Names) != "[admin.example.org]" || fmt.Sprint(j.Ignore.Files) != "[/etc/allowed]" {
			t.Errorf("%v %v", j.Ignore.Names, j.Ignore.Files)
		}
		if len(j.Faults) != len(wantAt) {
			t.Errorf("%d faults: %v", len(j.Faults), j.Faults)
		}
		problems := fmt.Sprint(cfg.Problems())
		for i, w := range wantAt {
			if i < len(j.Faults) && !strings.HasPrefix(j.Faults[i].Error(), w) {
				t.Errorf("%v, want %s…", j.Faults[i], w)
			}
			if !strings.Contains(problems, w) {
				t.Errorf("not among the problems: %s", w)
			}
		}
	}
	t.Run("toml", func(t *testing.T) {
		dir := t.TempDir()
		write(dir, "bailiff.toml", `[jail.web]
enabled = true
filter = "sshd"
logpath = "/var/log/x.log"
ignoreip = [
  "192.0.2.0/255.255.255.0", # 192.0.2.300 is not meant
  "192.0.2.300 198.51.100.7",
  "::ffff:203.0.113.0/120, 192.0.2.0/255.0.255.0",
  "192.0.2.16-192.0.2.19", "admin.example.org", "file:///etc/allowed", "fe80::1%eth0", "file:rel",
]
`)
		cfg, err := Load(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, "bailiff.toml")
		check(t, cfg, at+`:7: ignoreip "192.0.2.300" is no`, at+`:8: ignoreip "192.0.2.0/255.0.255.0": 255.0.255.0 is no mask`, at+`:9: ignoreip "fe80::1%eth0" has a zone`, at+`:9: ignoreip "file:rel": want a path`)
	})
	t.Run("fail2ban", func(t *testing.T) {
		dir := t.TempDir()
		for _, d := range []string{"filter.d", "action.d"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		write(dir, "filter.d/web.conf", "[Definition]\nfailregex = failure <HOST>\n")
		write(dir, "jail.conf", `[web]
enabled = true
filter = web
logpath = /var/log/x.log
ignoreip = 192.0.2.0/255.255.255.0 192.0.2.300, 198.51.100.7
  ::ffff:203.0.113.0/120 192.0.2.16-192.0.2.19 admin.example.org file:/etc/allowed
`)
		cfg, err := Load(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		check(t, cfg, filepath.Join(dir, "jail.conf")+`:5: ignoreip "192.0.2.300" is no`)
		// What looks like the beginning of a name, or names nothing, costs itself, too.
		write(dir, "jail.local", `[DEFAULT]
office = 192.0.2.16/30
[web]
ignoreip = %(known/ignoreip)s fe80::1%eth0 %(nowhere)s
[DEFAULT]
ignoreip = fe80::1%eth0
`)
		write(dir, "jail.conf", `[web]
enabled = true
filter = web
logpath = /var/log/x.log
ignoreip = 192.0.2.0/24, 198.51.100.7
  203.0.113.0/24 %(office)s %x admin.example.org file:/etc/allowed
`)
		if cfg, err = Load(Options{Path: dir}); err != nil {
			t.Fatal(err)
		}
		check(t, cfg, filepath.Join(dir, "jail.local")+`:4: [web] ignoreip: %(nowhere)s: no such option: left out`,
			filepath.Join(dir, "jail.local")+`:4: ignoreip "%x" is no address`,
			filepath.Join(dir, "jail.local")+`:4: ignoreip "fe80::1%eth0" has a zone: write it without %eth0: left out`)
	})
}
