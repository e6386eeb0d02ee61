package daemon

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/config"
	"bailiff/pkg/hosttest"
)

// TestCheckListenAgain: where proxies can't ask since something else has the port, or something stands in the
// socket's way, log and status say so, and they can once it is gone, without a reload; a reload that no longer
// wants it ends that.
func TestCheckListenAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	port, path := other.Addr().String(), filepath.Join(dir, "check.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(listen string) *config.Config {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte("[check]\nlisten = ["+listen+"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(config.Options{Path: dir})
		if err != nil || len(cfg.Errors) > 0 {
			t.Fatal(err, cfg.Errors)
		}
		return cfg
	}
	both := fmt.Sprintf("%q, %q", port, path)
	cfg := load(both)
	log := &heard{}
	d := unstarted(t, config.Options{Path: dir}, slog.NewTextHandler(log, nil))
	d.opts.DryRun = false
	d.checks = newChecks(d)
	defer d.checks.close()
	wrong := d.checks.configure(cfg)
	if len(wrong) != 2 || !strings.Contains(fmt.Sprint(wrong), filepath.Join(dir, "bailiff.toml")+":2: [check] listen "+port) || !strings.Contains(fmt.Sprint(wrong), "it is tried again") {
		t.Fatalf("%v", wrong)
	}
	d.checks.begun()
	problems := func() []string {
		s, err := d.Status("", false)
		if err != nil {
			t.Fatal(err)
		}
		return s.Problems
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		if !hosttest.Soon(ok) {
			t.Fatalf("%s: %v %s", what, problems(), log.all())
		}
	}
	if p := problems(); len(p) != 2 || !strings.Contains(p[0]+p[1], "there is a file of that name that is no socket") {
		t.Errorf("%v", p)
	}
	other.Close()
	until("it is not tried again", func() bool { return len(problems()) == 1 })
	res, err := http.Get("http://" + port + "/v1/check?ip=192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent || !log.has("[check] listen "+port+": proxies can ask there now") {
		t.Errorf("%v %s", res.Status, log.all())
	}

	d.checks.configure(load(fmt.Sprintf("%q", port)))
	if p := problems(); p != nil {
		t.Errorf("what isn't wanted any more is missed: %v", p)
	}
	d.checks.configure(load(both))
	os.Remove(path)
	until("a socket is not tried again", func() bool { return problems() == nil })
	if c, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

// TestCheckGroups: groups that are not there, or of no use, are told with their places.
func TestCheckGroups(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[check]\nlisten = '/run/x.sock'\ngroup = 'nonesuch'\n":                                                           ":3: [check] group = \"nonesuch\": group: unknown group nonesuch",
		"[check]\nlisten = '127.0.0.1:1'\ngroup = 'root'\n":                                                               ":3: [check] group has no effect",
		"[check]\nlisten = '/run/x.sock'\ngroup = 'root'\n":                                                               "",
		"[read]\nsocket = '/run/x.sock'\ngroup = 'nonesuch'\n":                                                            ":3: [read] group = \"nonesuch\"",
		"[syslog]\ngroup = 'nonesuch'\n[jail.sshd]\nenabled = true\nbackend = 'syslog'\nlisten = 'unix:///run/x.sock'\n":  ":2: [syslog] group = \"nonesuch\"",
		"[syslog]\ngroup = 'nonesuch'\n[jail.sshd]\nenabled = true\nbackend = 'syslog'\nlisten = 'udp://127.0.0.1:514'\n": ":2: [syslog] group has no effect",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(config.Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		got := checkGroups(cfg)
		if want == "" && got != nil || want != "" && (len(got) != 1 || !strings.Contains(got[0].Error(), filepath.Join(dir, "bailiff.toml")+want)) {
			t.Errorf("%s%v, want %q", text, got, want)
		}
	}
}

// TestLegacyTables: tables of nat of the old iptables are found by their names.
func TestLegacyTables(t *testing.T) {
	dir := t.TempDir()
	was := legacyFiles
	defer func() { legacyFiles = was }()
	legacyFiles = map[string]string{"iptables": filepath.Join(dir, "4"), "ip6tables": filepath.Join(dir, "6")}
	for text, want := range map[string]string{"": "", "filter\n": "", "filter\nnat\n": "iptables -t nat"} {
		if err := os.WriteFile(filepath.Join(dir, "4"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(legacyTables(), ", "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
