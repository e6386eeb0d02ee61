package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestReports: what a report is, and what it can't be; nobody is told of anything by default.
func TestReports(t *testing.T) {
	load := func(table string) *Config {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/bailiff.toml", []byte("[jail.app]\nenabled = true\nlogpath = \"/var/log/app.log\"\nfailregex = \"^x <ADDR>$\"\n"+table), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	if cfg := load(""); len(cfg.Reports) != 0 || len(cfg.Errors) != 0 {
		t.Errorf("without a table: %+v %v", cfg.Reports, cfg.Errors)
	}
	ipdb, blocklist, xarf := "[report.x]\n"+strings.Replace(anAbuseIPDB, "sshd", "app", 1)+"\n", "[report.x]\n"+aBlocklist+"\n", "[report.x]\n"+aXARF+"\n"
	cfg := load(ipdb)
	if len(cfg.Errors) != 0 || len(cfg.Reports) != 1 {
		t.Fatal(cfg.Errors)
	}
	if r := cfg.Reports[0]; r.Every != 24*time.Hour || r.Most != 1000 || r.Lines || r.URL != "https://api.abuseipdb.com/api/v2" || fmt.Sprint(r.Categories, r.Jails) != "[18 22] [app]" || !strings.HasSuffix(r.At, "bailiff.toml:6") {
		t.Errorf("%+v", r)
	}
	if cfg := load(xarf); len(cfg.Errors) != 0 || cfg.Reports[0].SMTP != "localhost" || cfg.Reports[0].Protocol != "tcp" || len(cfg.Warnings) == 0 {
		t.Errorf("%v %+v %v", cfg.Errors, cfg.Reports, cfg.Warnings)
	}
	for _, c := range []struct{ table, want string }{
		{strings.Replace(ipdb, "abuseipdb\"", "else\"", 1), `kind "else": want abuseipdb, blocklist.de, xarf`},
		{ipdb + "every = \"5m\"", "every \"5m\": want a time of 15m to 7d"},
		{ipdb + "every = \"8d\"", "want a time of 15m to 7d"},
		{ipdb + "most = 0", "most = 0: want 1 to 10000"},
		{ipdb + "to = \"a@example.net\"", `to is for kind = "xarf"`},
		{ipdb + "url = \"http://example.net\"", "want https://"},
		{ipdb + "token_credential = \"x\"", "want one of token_file"},
		{strings.Replace(ipdb, "[18, 22]", "[\"ssh\"]", 1), "want numbers of AbuseIPDB's categories"},
		{strings.Replace(ipdb, "[\"app\"]", "[]", 1), "want jails"},
		{strings.Replace(blocklist, "lines = true", "", 1), "want lines = true"},
		{strings.Replace(blocklist, "service = \"ssh\"", "", 1), "service \"\""},
		{strings.Replace(xarf, "abuse@example.net", "a@example.net, b@example.net", 1), "want one address of mail"},
		{strings.Replace(xarf, "reports@example.org", "reports@example.org\\r\\nBcc: x@example.net", 1), "want one address of mail"},
		{strings.Replace(xarf, "\"Example\"", "\"Example\\nBcc: x\"", 1), "want who reports"},
		{xarf + "token_file = \"/x\"", "a token is the password of smtp_user"},
		{xarf + "protocol = \"all\"", "want tcp, udp, icmp, sctp"},
		{"[database]\npath = \"none\"\n" + ipdb, "want [database] path"},
		{strings.Replace(ipdb, "[report.x]", "[report.\"../x\"]", 1), "want a name of letters"},
	} {
		cfg := load(c.table)
		if len(cfg.Reports) != 0 || !strings.Contains(fmt.Sprint(cfg.Errors), c.want) || !strings.Contains(fmt.Sprint(cfg.Errors), "bailiff.toml:") {
			t.Errorf("%s\ngives %+v, %v; want %q", c.table, cfg.Reports, cfg.Errors, c.want)
		}
	}
}
