package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestKept: what the daemon keeps is read last, with its place; of its files count lines of a few keys, and
// nothing of what else somebody has put there.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		hosttest.Write(t, path, text)
	}
	write("etc/bailiff.toml", `
[database]
path = "`+dir+`/state/db"
[jail.sshd]
enabled = true
logpath = "/var/log/auth.log"
maxretry = 5
[jail.web]
enabled = true
filter = "sshd"
logpath = "/var/log/web.log"
`)
	write("state/jails.d/sshd.toml", strings.Join([]string{
		"# by web:anna", "maxretry = 3", `bantime = "2h" # longer`,
		`logpath = "/etc/shadow"`, `ignorecommand = "touch /tmp/x"`, "[action.x]", `ban = "touch /tmp/x"`, "action.x.ban = 'id'",
		"maxretry = 99", `failregex = """`, "findtime = '''1h", "observe = false", `"enabled" = false`, "enabled = 7", "",
	}, "\n"))
	write("state/jails.d/web.toml", "enabled = false\n")
	write("state/jails.d/gone.toml", "enabled = true\n")
	write("state/jails.d/.web.toml.123", "enabled = true\n")
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "state/jails.d/mail.toml")); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(Options{Path: filepath.Join(dir, "etc")})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "state/jails.d/sshd.toml")
	if len(cfg.Jails) != 1 || cfg.Jails[0].Name != "sshd" {
		t.Fatalf("jails %v", cfg.Jails)
	}
	j := cfg.Jails[0]
	if j.MaxRetry != 3 || j.BanTime.Hours() != 2 || j.LogPath[0] != "/var/log/auth.log" || j.IgnoreCommand != "" || len(j.Actions) > 0 {
		t.Errorf("%d, %v, %v, %q, %d actions", j.MaxRetry, j.BanTime, j.LogPath, j.IgnoreCommand, len(j.Actions))
	}
	for name, line := range map[string]int{"maxretry": 2, "bantime": 3} {
		at := slices.IndexFunc(j.Settings, func(s Setting) bool { return s.Name == name })
		if s := j.Settings[at]; s.File != file || s.Line != line {
			t.Errorf("%s is from %s:%d", name, s.File, s.Line)
		}
	}
	text := ""
	for _, err := range cfg.Problems() {
		text += err.Error() + "\n"
	}
	for _, want := range []string{
		":4: \"logpath", ":5: \"ignorecommand", ":6: \"[action.x]", ":7: \"ban", ":8: \"action.x.ban", ":9: maxretry stands in the file twice", ":10: \"failregex", ":11: \"findtime",
		":13: \"\\\"enabled", "take the line out", "gone.toml: there is no jail \"gone\" by now: remove the file", "mail.toml: it is no regular file",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no word of %s:\n%s", want, text)
		}
	}
	if !strings.Contains(text, ":14: enabled = 7 does not count: want true or false") || j.Broken() != nil {
		t.Errorf("enabled = 7 is not said: %v\n%s", j.Broken(), text)
	}
}

// TestKeptNow: what holds for now is on top of what is kept.
func TestKeptNow(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "jails.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), "[jail.sshd]\nenabled = true\nlogpath = \"/var/log/auth.log\"\n")
	hosttest.Write(t, filepath.Join(dir, "jails.d", "sshd.toml"), KeptText("by web:anna\nand more", map[string]string{"maxretry": "3", "findtime": `"1h"`}))
	cfg, err := Load(Options{Path: dir, State: dir, Now: map[string]string{"sshd": "maxretry = 2\nobserve = true\n"}})
	if err != nil {
		t.Fatal(err)
	}
	if j := cfg.Jails[0]; j.MaxRetry != 2 || j.FindTime.Hours() != 1 || !j.Observe || j.Broken() != nil {
		t.Errorf("%d %v %v %v", j.MaxRetry, j.FindTime, j.Observe, j.Broken())
	}
	if p := cfg.KeptPath("sshd"); p != filepath.Join(dir, "jails.d", "sshd.toml") {
		t.Error(p)
	}
	if p := cfg.KeptPath("../x"); p != "" {
		t.Error(p)
	}
	for _, v := range []any{"a\"b", "a\nb", strings.Repeat("x", 201), "\x00", `\`} {
		if text, err := KeptValue(v); err == nil {
			t.Errorf("%q is written as %s", v, text)
		}
	}
}

// TestKeptFilters: a filter that was saved is one as any other, and takes nobody's place.
func TestKeptFilters(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "filters.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"bailiff.toml":        "[jail.shop]\nenabled = true\nfilter = \"mine\"\nlogpath = \"/var/log/shop\"\n",
		"filters.d/mine.toml": "failregex = '^from <ADDR>$'\n", "filters.d/sshd.toml": "failregex = '^nobody <ADDR>$'\n", "filters.d/a b.toml": "failregex = 'x <HOST>'\n",
	} {
		hosttest.Write(t, filepath.Join(dir, name), text)
	}
	cfg, err := Load(Options{Path: dir, State: dir})
	if err != nil {
		t.Fatal(err)
	}
	if j := cfg.Jails[0]; j.Broken() != nil || len(j.Filter.Failregex) != 1 {
		t.Errorf("%v, %v", j.Broken(), j.Filter.Failregex)
	}
	if f := cfg.Filters["sshd"]; !f.Stock {
		t.Errorf("sshd is %s", f.Source)
	}
	text := ""
	for _, err := range cfg.Problems() {
		text += err.Error() + "\n"
	}
	if !strings.Contains(text, "sshd.toml: it is not read: there is a filter sshd already") || !strings.Contains(text, "a b.toml: it is not read") {
		t.Error(text)
	}
	for name, ok := range map[string]bool{"mine": true, "other": true, "sshd": false, "../x": false, "": false} {
		if path, err := cfg.KeptFilterPath(name); (err == nil) != ok {
			t.Errorf("%q: %s, %v", name, path, err)
		}
	}
}

// FuzzKept: whatever a file has, what comes to TOML has no key but those that count, and no table.
func FuzzKept(f *testing.F) {
	f.Add("maxretry = 3\n[x]\nenabled = true # x\n")
	f.Fuzz(func(t *testing.T, text string) {
		clean, _ := cleanKept("x", []byte(text))
		doc, err := parseDocument("x", clean)
		if err != nil {
			t.Fatalf("%q: %v", clean, err)
		}
		for key, v := range doc.table {
			if _, table := v.(map[string]any); table || !slices.Contains(KeptKeys, key) {
				t.Errorf("%q: %s is %v", text, key, v)
			}
		}
	})
}

// TestKeptAtOnce: who asks while another one does waits for him, and is not told that a disk hangs.
func TestKeptAtOnce(t *testing.T) {
	dir := t.TempDir()
	hosttest.Write(t, filepath.Join(dir, "one.toml"), "maxretry = 3\n")
	defer func(d time.Duration) { keptPatience = d }(keptPatience)
	keptPatience = hosttest.Patience // the machine may be busy with others
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 20 {
				files, err, answered := askKept(dir)
				if err != nil || !answered || len(files) != 1 || files[0].name != "one" {
					t.Errorf("%v, %v, answered: %v", files, err, answered)
					return
				}
			}
		})
	}
	wg.Wait()
	// One that does not answer is asked once.
	keptPatience = 10 * time.Millisecond
	hangs := make(chan struct{})
	keptAsked.Store(dir, hangs)
	if _, _, answered := askKept(dir); answered {
		t.Error("it was asked a second time")
	}
	keptAsked.Delete(dir)
	close(hangs)
	keptPatience = time.Minute
	if _, _, answered := askKept(dir); !answered {
		t.Error("no answer")
	}
}
