package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/hosttest"
)

// TestSettings changes settings of a running jail over its socket, for now and for good, looks first, and takes it
// back.
func TestSettings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		hosttest.Write(t, path, text)
		return path
	}
	log := write("log", "a line\n")
	main := write("etc/bailiff.toml", `
[database]
path = "`+dir+`/state/db"
[firewall]
enabled = false
[jail.shop]
enabled = true
logpath = "`+log+`"
failregex = 'failure from <HOST>'
maxretry = 5
[jail.fed]
enabled = true
filter = "django-auth"
logpath = "`+log+`"
[jail.off]
logpath = "`+log+`"
failregex = 'failure from <HOST>'
`)
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	load := config.Options{Path: filepath.Dir(main)}
	cfg, err := config.Load(load)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	socket := filepath.Join(dir, "s")
	go func() {
		ended <- Run(ctx, cfg, Options{Config: load, Socket: socket, Version: "1", Log: slog.New(slog.DiscardHandler)}, func() { close(ready) })
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	c := control.NewClient(socket)
	defer c.Close()
	setting := func(jail, name string) control.SettingStatus {
		t.Helper()
		s, err := c.Settings(jail)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range s.Settings {
			if x.Name == name {
				return x
			}
		}
		t.Fatalf("no %s among %+v", name, s.Settings)
		return control.SettingStatus{}
	}
	retries := func() int {
		t.Helper()
		j, err := c.Jail("shop")
		if err != nil {
			t.Fatal(err)
		}
		return j.MaxRetry
	}
	if x := setting("shop", "maxretry"); x.Value != "5" || x.File != main || x.Line != 10 || !x.Changeable {
		t.Errorf("as configured: %+v", x)
	}
	s, err := c.Settings("shop")
	for end := time.Now().Add(time.Minute); len(s.Files) == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // until its log is open
		s, err = c.Settings("shop")
	}
	if err != nil || len(s.Files) != 1 || s.Files[0].Size != 7 || len(s.Regexes) != 1 || s.Regexes[0].Hits == nil || s.Regexes[0].Text != "failure from <HOST>" || !s.Running || s.KeepNot != "" {
		t.Errorf("%+v, %v", s, err)
	}
	three, two, yes, no := 3, 2, true, false
	long := control.SettingText("2h")
	kept := filepath.Join(dir, "state", "jails.d", "shop.toml")
	// A look changes nothing.
	look, err := c.ChangeSettings("shop", control.SettingsRequest{MaxRetry: &three, Keep: true, Preview: true})
	if err != nil || look.File != kept || !strings.Contains(look.Diff, "--- /dev/null\n+++ "+kept) || !strings.Contains(look.Diff, "\n+maxretry = 3\n") || retries() != 5 {
		t.Errorf("a look: %+v, %v", look, err)
	}
	if _, err := os.Stat(kept); !os.IsNotExist(err) {
		t.Errorf("a look has written: %v", err)
	}
	// For now.
	if r, err := c.ChangeSettings("shop", control.SettingsRequest{MaxRetry: &two}); err != nil || r.Did != "changed" || r.File != "" || !strings.Contains(r.Diff, "-maxretry = 5\n+maxretry = 2\n") || retries() != 2 {
		t.Errorf("for now: %+v, %v, %d", r, err, retries())
	}
	if x := setting("shop", "maxretry"); x.File != config.NowFile {
		t.Errorf("for now: %+v", x)
	}
	if _, err := c.Reload(); err != nil || retries() != 5 {
		t.Errorf("after a reload: %d, %v", retries(), err)
	}
	// For good.
	if r, err := c.ChangeSettings("shop", control.SettingsRequest{MaxRetry: &three, BanTime: &long, Keep: true}); err != nil || r.Did != "changed" || retries() != 3 {
		t.Errorf("for good: %+v, %v", r, err)
	}
	if _, err := c.Reload(); err != nil || retries() != 3 {
		t.Errorf("for good, after a reload: %d, %v", retries(), err)
	}
	if x := setting("shop", "maxretry"); x.Value != "3" || x.File != kept || x.Line == 0 {
		t.Errorf("for good: %+v", x)
	}
	if r, err := c.ChangeSettings("shop", control.SettingsRequest{Unset: []string{"maxretry"}, Keep: true}); err != nil || retries() != 5 || !strings.Contains(r.Diff, "-maxretry = 3") || !strings.Contains(r.Diff, ` bantime = "2h"`) {
		t.Errorf("one taken back: %+v, %v", r, err)
	}
	if r, err := c.ForgetSettings("shop"); err != nil || r.Did != "changed" || !strings.Contains(r.Diff, "+++ /dev/null") {
		t.Errorf("taken back: %+v, %v", r, err)
	}
	if _, err := os.Stat(kept); !os.IsNotExist(err) {
		t.Errorf("taken back: %v", err)
	}
	// A jail that is off.
	if r, err := c.ChangeSettings("off", control.SettingsRequest{Enabled: &yes, Observe: &yes, Keep: true}); err != nil || r.Did != "started" {
		t.Errorf("enabled: %+v, %v", r, err)
	}
	if j, err := c.Jail("off"); err != nil || !j.Observe {
		t.Errorf("enabled: %+v, %v", j, err)
	}
	if r, err := c.ChangeSettings("off", control.SettingsRequest{Enabled: &no, Keep: true}); err != nil || r.Did != "stopped" {
		t.Errorf("disabled: %+v, %v", r, err)
	}
	// What can't be changes nothing.
	zero := 0
	bad := control.SettingText("soon")
	evil := "x\"\nignorecommand = \"id"
	for _, r := range []control.SettingsRequest{{}, {MaxRetry: &zero}, {FindTime: &bad}, {Filter: &evil}, {Unset: []string{"logpath"}, Keep: true}, {Unset: []string{"maxretry"}}} {
		for _, keep := range []bool{false, true} {
			r.Keep = r.Keep || keep && len(r.Unset) == 0
			if got, err := c.ChangeSettings("shop", r); err == nil {
				t.Errorf("%+v: %+v", r, got)
			}
		}
	}
	if _, err := os.Stat(kept); !os.IsNotExist(err) || retries() != 5 {
		t.Errorf("something was changed: %v, %d", err, retries())
	}
	if _, err := c.ChangeSettings("nobody", control.SettingsRequest{MaxRetry: &three, Keep: true}); err == nil || !strings.Contains(err.Error(), "no jail nobody") {
		t.Errorf("no jail: %v", err)
	}
	// A filter is saved, had by a jail, and removed.
	mine := "failregex = '^from <ADDR>$'"
	saved, err := c.SaveFilter("mine", control.SaveRequest{Text: mine})
	if err != nil || saved.File != filepath.Join(dir, "state", "filters.d", "mine.toml") || !strings.Contains(saved.Diff, "+"+mine) {
		t.Errorf("saved: %+v, %v", saved, err)
	}
	if a, err := c.TryFilter(control.TryRequest{Filter: "mine", Lines: []string{"from 192.0.2.7"}}); err != nil || len(a.Lines) != 1 || a.Lines[0].ID != "192.0.2.7" {
		t.Errorf("tried: %+v, %v", a, err)
	}
	for name, text := range map[string]string{"sshd": mine, "a b": mine, "other": "failregex = '('", "third": ""} {
		if r, err := c.SaveFilter(name, control.SaveRequest{Text: text}); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// With its lines as samples, shown before it is saved; not removed while a jail has it.
	with := control.SaveRequest{Text: "failregex = '^\\s*from <ADDR>$'", Lines: []string{"2026-01-31T12:00:00Z from 192.0.2.7", "2026-01-31T12:00:01Z to 'nobody'"}, Preview: true}
	shown, err := c.SaveFilter("mine", with)
	if text, _ := os.ReadFile(saved.File); err != nil || string(text) != mine+"\n" || !strings.Contains(shown.Diff, "+host = ") {
		t.Errorf("shown: %+v, %v", shown, err)
	}
	with.Preview = false
	if got, err := c.SaveFilter("mine", with); err != nil || got.Text != shown.Text || got.Note == "" {
		t.Errorf("saved with samples: %+v, %v", got, err)
	}
	list, err := c.SavedFilters()
	if err != nil || len(list) != 1 || list[0].Text != shown.Text || list[0].Name != "mine" || len(list[0].Jails) != 0 {
		t.Errorf("saved are %+v, %v", list, err)
	}
	f := config.ParseFilter("mine", saved.File, []byte(shown.Text))
	if len(f.Errors) != 0 || len(f.Samples) != 2 || !f.Samples[0].Match || f.Samples[0].Host != "192.0.2.7" || f.Samples[1].Match {
		t.Errorf("its samples: %+v, %v", f.Samples, f.Errors)
	}
	for _, s := range f.Samples {
		if wrong := f.Check(s); wrong != "" {
			t.Errorf("%q: %s", s.Line, wrong)
		}
	}
	if r, err := c.SaveFilter("mine", control.SaveRequest{Text: with.Text, Lines: []string{"from 192.0.2.7"}}); err == nil || !strings.Contains(err.Error(), "no time was found") {
		t.Errorf("a sample that does not hold: %+v, %v", r, err)
	}
	name := "mine"
	var said *control.AnswerError
	if _, err := c.ChangeSettings("shop", control.SettingsRequest{Filter: &name, Keep: true}); !errors.As(err, &said) || said.Status != 400 || !strings.Contains(err.Error(), "jail shop has a failregex of its own ("+main+":9), which") {
		t.Errorf("where it would change nothing: %v", err)
	}
	if _, err := c.ChangeSettings("fed", control.SettingsRequest{Filter: &name, Keep: true}); err != nil {
		t.Errorf("a jail has it: %v", err)
	}
	if r, err := c.SaveFilter("mine", control.SaveRequest{}); err == nil || !strings.Contains(err.Error(), "jail fed has filter mine") {
		t.Errorf("removed from under a jail: %+v, %v", r, err)
	}
	if _, err := c.ForgetSettings("fed"); err != nil {
		t.Error(err)
	}
	if _, err := c.SaveFilter("mine", control.SaveRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(saved.File); !os.IsNotExist(err) {
		t.Errorf("removed: %v", err)
	}
	// Each change is an event with its author.
	told := 0
	for end := time.Now().Add(time.Minute); told < 8 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		told = 0
		if err := c.Events(ctx, control.EventsQuery{Filter: events.Filter{Kinds: []events.Kind{events.Reload}}}, func(line []byte) error {
			if e, err := events.Parse(line); err == nil && strings.HasPrefix(e.Text, "settings ") && e.By != "" {
				told++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if told != 8 {
		t.Errorf("%d changes are events", told)
	}
}
