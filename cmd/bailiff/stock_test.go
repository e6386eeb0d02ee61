package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"bailiff/jails"
	"bailiff/pkg/config"
)

// TestStockJails starts all stock jails, as bailiff run --jail NAME=FILE does, and
// writes to each log what its filter has as a sample: each bans the address. Samples are
// of one day, and a line of long ago counts as old: the daemon's clock shows that day.
func TestStockJails(t *testing.T) {
	t.Parallel()
	host := server(t)
	files, err := jails.FS.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{"run", "--config", dir, "--socket", filepath.Join(dir, "sock"), "--database", "none", "--log-target", filepath.Join(dir, "log")}
	var names []string
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ".toml")
		if !ok {
			continue
		}
		names = append(names, name)
		if err := os.WriteFile(filepath.Join(dir, name+".log"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--jail", name+"="+filepath.Join(dir, name+".log"))
	}
	if len(names) < 60 {
		t.Errorf("only %d jails", len(names))
	}
	cfg, err := config.Load(config.Options{Path: dir, Jails: []string{}, All: true})
	if err != nil {
		t.Fatal(err)
	}
	prog := withTestClock(t)
	now := filepath.Join(dir, "clock")
	sampled := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	if err := os.WriteFile(now, []byte(time.Until(sampled).String()), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := host.Command(context.Background(), prog, args...)
	daemon.Env = append(os.Environ(), "TZ=UTC", "BAILIFF_TEST_CLOCK="+now)
	var out bytes.Buffer
	daemon.Stdout, daemon.Stderr = &out, &out
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
	})
	type state struct {
		Name     string `json:"name"`
		Error    string `json:"error"`
		Banned   int    `json:"currently_banned"`
		MaxRetry int    `json:"maxretry"`
		Files    []struct {
			Error string `json:"error"`
		} `json:"files"`
	}
	status := func() map[string]state {
		data, err := exec.Command(prog, "status", "--json", "--socket", filepath.Join(dir, "sock")).Output()
		if err != nil {
			return nil
		}
		var all struct {
			Jails []state `json:"jails"`
		}
		if err := json.Unmarshal(data, &all); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		found := map[string]state{}
		for _, s := range all.Jails {
			found[s.Name] = s
		}
		return found
	}
	wait := func(what string, done func(map[string]state) bool) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			now := status()
			if done(now) {
				return
			}
			if time.Now().After(end) {
				log, _ := os.ReadFile(filepath.Join(dir, "log"))
				t.Fatalf("waited for %s in vain: %+v\n%s\n%s", what, now, out.String(), log[max(0, len(log)-3000):])
			}
		}
	}
	wait("all jails", func(now map[string]state) bool {
		for _, n := range names {
			if s, ok := now[n]; !ok || s.Error != "" || len(s.Files) != 1 || s.Files[0].Error != "" {
				return false
			}
		}
		return true
	})
	filterOf := map[string]string{}
	for _, j := range cfg.Jails {
		filterOf[j.Name] = j.Filter.Name
	}
	for name, s := range status() {
		f := cfg.Filters[filterOf[name]]
		if f == nil {
			t.Fatalf("%s has no filter", name)
		}
		for _, sample := range f.Samples {
			if !sample.Match || sample.Injection || sample.Mode != "" || strings.HasPrefix(sample.Line, "2015-") {
				continue
			}
			text := []byte(strings.Repeat(sample.Line+"\n", s.MaxRetry))
			if strings.Contains(name, "mssql") {
				var wide []byte
				for _, c := range utf16.Encode([]rune(string(text))) {
					wide = append(wide, byte(c), byte(c>>8))
				}
				text = wide
			}
			w, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(text); err != nil {
				t.Fatal(err)
			}
			w.Close()
			break
		}
	}
	wait("a ban in each jail", func(now map[string]state) bool {
		for _, n := range names {
			if now[n].Banned == 0 {
				return false
			}
		}
		return true
	})
}
