package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const aFleet = `[fleet]
url = "tls://hub.example:4222"
accept = ["web-*"]
max_ban = "1d"
ignoreip = ["198.51.100.9"]
count = ["ssh"]
allow_key = "OCTUJ7ES4GEZA6IWUFP6RNC4NOY42BPQOVRL27DGBAEID2HTVP2KDLIG"
[fleet.group.ssh]
publish = ["app"]
port = ["ssh"]
quorum = 2
[fleet.group.all]
enforce = false
`

// TestFleet: what is shared, and that what is wrong costs itself alone.
func TestFleet(t *testing.T) {
	load := func(table string) *Config {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/bailiff.toml", []byte("[default]\nignoreip = [\"203.0.113.9\"]\n[jail.app]\nenabled = true\nlogpath = \"/var/log/app.log\"\nfailregex = \"^x <ADDR>$\"\n"+table), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	if cfg := load(""); len(cfg.Fleet.URLs)+len(cfg.Fleet.Groups)+len(cfg.Errors)+len(cfg.Warnings) != 0 {
		t.Errorf("without a table: %+v %v %v", cfg.Fleet, cfg.Errors, cfg.Warnings)
	}
	cfg := load(aFleet)
	f := &cfg.Fleet
	if len(cfg.Errors)+len(cfg.Warnings) != 0 {
		t.Fatal(cfg.Errors, cfg.Warnings)
	}
	g := f.Group("ssh")
	if g == nil || g.Quorum != 2 || !g.Enforce || g.Rule.Jail != "fleet-ssh" || len(g.Rule.Ports) != 1 || fmt.Sprint(g.Rule.Protocols) != "[tcp]" || fmt.Sprint(f.Of("app")) != "[ssh]" {
		t.Errorf("%+v", g)
	}
	if f.MaxBan != 24*time.Hour || f.Bans != 100_000 || !f.Accepts("web-1") || f.Accepts("mail") || f.Group("all").Enforce || len(f.Ignore.Prefixes) != 2 || !strings.HasSuffix(f.Credentials, "/fleet.creds") || fmt.Sprint(f.Count) != "[ssh]" || f.AllowKey == "" {
		t.Errorf("%+v", f)
	}
	for _, c := range []struct {
		was, is, want string
		groups        int
	}{
		{"tls://hub", "nats://hub", "want tls://HOST:PORT", 2},
		{`"1d"`, `"30d"`, "want a time of 1m to 7d", 2},
		{`"web-*"`, `"Web 1"`, "accept", 2},
		{`count = ["ssh"]`, `count = ["mail"]`, `count "mail": there is no [fleet.group.mail]`, 2},
		{`"OCTUJ7`, `"ACTUJ7`, "want the public key that `bailiff fleet allow key` printed", 2},
		{"quorum = 2", "quorum = 0", "[fleet.group.ssh] quorum 0: want 1 to 1000 hosts", 1},
		{`port = ["ssh"]`, `port = ["nothing"]`, "port \"nothing\"", 1},
		{"group.ssh", "group.SSH", "want a-z, 0-9", 1},
		{`["198.51.100.9"]`, `["198.51.100"]`, "left out, the others hold", 2},
		{"[fleet]", "[jail.fleet-ssh]\nlogpath = \"/x\"\nfailregex = \"^x <ADDR>$\"\n[fleet]", "whose sets have the same names", 1},
	} {
		cfg := load(strings.Replace(aFleet, c.was, c.is, 1))
		if text := fmt.Sprint(cfg.Errors); !strings.Contains(text, c.want) || !strings.Contains(text, "bailiff.toml:") {
			t.Errorf("%s: %s", c.is, text)
		}
		if len(cfg.Fleet.Groups) != c.groups || len(cfg.Jails) != 1 || cfg.Jails[0].Broken() != nil {
			t.Errorf("%s: %d groups, %d jails", c.is, len(cfg.Fleet.Groups), len(cfg.Jails))
		}
	}
	if cfg := load(strings.Replace(aFleet, `"web-*"`, `"Web 1"`, 1)); cfg.Fleet.Accepts("web-1") {
		t.Error("where nobody is named that can be, everybody is accepted")
	}
	if cfg := load(strings.Replace(aFleet, `["app"]`, `["other"]`, 1)); !strings.Contains(fmt.Sprint(cfg.Warnings), `publish names "other"`) {
		t.Error(cfg.Warnings)
	}
}
