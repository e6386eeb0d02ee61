package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/syslog"
)

// TestSyslog: backend = "syslog" and what belongs to it, and every slip with its place.
func TestSyslog(t *testing.T) {
	load := func(text string) *Config {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	const head = "[syslog]\ncert = \"/x/c\"\nkey = \"/x/k\"\nca = \"/x/ca\"\nlines = 100\nmode = \"0660\"\n[jail.sshd]\nenabled = true\nbackend = \"syslog\"\n"
	cfg := load(head + "listen = [\"udp://192.0.2.1\", \"tls://[2001:db8::1]:1234\", \"unix:///run/x.sock\", \"tcp://:10514\"]\n" +
		"allow = [\"192.0.2.0/24\", \"2001:db8::7\"]\nmatch = [\"program=sshd\", \"from=192.0.2.0/25\"]\ntrust_time = true\n")
	if p := cfg.Problems(); len(p) > 0 {
		t.Fatal(p)
	}
	j := cfg.Jails[0]
	if got := fmt.Sprint(j.Syslog.Listen); got != "[udp://192.0.2.1:514 tls://[2001:db8::1]:1234 unix:///run/x.sock tcp://:10514]" {
		t.Error(got)
	}
	if got := fmt.Sprint(j.Syslog.Allow); got != "[192.0.2.0/24 2001:db8::7/128]" || !j.Syslog.TrustTime || j.Syslog.TrustName {
		t.Error(got, j.Syslog)
	}
	if want := (syslog.Settings{Cert: "/x/c", Key: "/x/k", CA: "/x/ca", Lines: 100, Mode: 0o660}); cfg.Syslog != want {
		t.Errorf("%+v", cfg.Syslog)
	}
	for _, c := range []struct{ text, want string }{
		{"", "needs listen, as listen = "},
		{`listen = "192.0.2.1:514"`, `bailiff.toml:10: listen "192.0.2.1:514": want udp://ADDRESS:PORT`},
		{`listen = "http://192.0.2.1"`, "want udp://"},
		{`listen = "udp://host.example.org:514"`, "no address of this host"},
		{`listen = "udp://192.0.2.1:0"`, "want 1 to 65535"},
		{`listen = "udp://192.0.2.1:70000"`, "want 1 to 65535"},
		{`listen = "unix://run/x"`, "want a path from the root"},
		{`listen = "unix:///` + strings.Repeat("x", 120) + `"`, "107 bytes"},
		{"listen = \"udp://:514\"\nallow = \"router\"", `bailiff.toml:11: allow: "router": want an address or a network`},
		{"listen = \"udp://:514\"\nallow = \"192.0.2.0/33\"", "want an address or a network"},
		{"listen = \"udp://:514\"\nmatch = \"sshd\"", `bailiff.toml:11: match "sshd": want KEY=VALUE`},
		{"listen = \"udp://:514\"\nmatch = \"programm=sshd\"", "unknown key"},
		{"listen = \"udp://:514\"\nmatch = \"facility=auht\"", "want kern, user"},
		{"listen = \"udp://:514\"\nmatch = \"program=[x\"", "syntax error"},
		{"listen = \"udp://:514\"\nmatch = \"+ program=x\"", "nothing before +"},
		{"listen = \"udp://:514\"\nmatch = \"program=x +\"", "nothing behind +"},
		{"listen = \"udp://:514\"\nmatch = \"host=x\"", "trust_name = true"},
		{"listen = \"udp://:514\"\nmatch = \"cert=x\"", "bailiff.toml:11: match: cert= is a name in the certificate of who sends by TLS"},
		{"listen = \"udp://:514\"\nlogencoding = \"utf-16\"", "can't be in it"},
	} {
		cfg := load(head + c.text + "\n")
		if got := fmt.Sprint(cfg.Problems()); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.text, got, c.want)
		}
	}
	const jail = "[jail.sshd]\nenabled = true\nbackend = \"syslog\"\nlisten = \"tls://:6514\"\n"
	for _, c := range []struct{ text, want string }{
		{jail, "needs [syslog] cert and key"},
		{"[syslog]\nlines = 0\n", "bailiff.toml:2: [syslog] lines = 0: want 1 to"},
		{"[syslog]\nmode = \"rw\"\n", "want the mode of a socket"},
		{"[syslog]\nmode = \"0777\"\n", "want the mode of a socket"},
		{"[syslog]\ncert = \"c.pem\"\n", "want a path from the root"},
		{"[syslog]\nconnections = 100000\n", "want 1 to 512"},
	} {
		if got := fmt.Sprint(load(c.text).Problems()); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.text, got, c.want)
		}
	}
	// Who may send is not said: it is this host alone, which is worth a word elsewhere.
	if got := fmt.Sprint(load(strings.Replace(jail, "tls://:6514", "udp://:514", 1)).Jails[0].Warnings); !strings.Contains(got, "bailiff.toml:4: jail sshd: listen: nobody but this host can send to it") {
		t.Error(got)
	}
	if got := load(strings.Replace(jail, "tls://:6514", "udp://127.0.0.1:514", 1)).Jails[0].Warnings; len(got) > 0 {
		t.Error(got)
	}
}

// TestListPassword: a name and a password in a list's address are refused, and not told.
func TestListPassword(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte("[jail.drop]\nenabled = true\nlist = [\"https://us:secret@lists.example/x\", \"ftp://lists.example/y\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(cfg.Problems())
	if !strings.Contains(got, `bailiff.toml:3: list "https://…@lists.example/x": a name and a password`) || strings.Contains(got, "secret") || strings.Contains(got, "no such file") {
		t.Error(got)
	}
	if n := len(cfg.Jails[0].List); n != 0 {
		t.Errorf("%d lists are left", n)
	}
}
