package config

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/gatefs"
	"bailiff/pkg/hosttest"
)

// TestGateServer is the process that serves a file system that hangs.
func TestGateServer(*testing.T) { gatefs.Serve() }

// TestHangingConfiguration: a configuration whose disk hangs is given up, and the error
// names the file; readings that hang do not pile up; when it goes on, it is read.
func TestHangingConfiguration(t *testing.T) {
	at, under := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"ours/bailiff.toml":       "socket = \"/run/x.sock\"\n[jail.web]\nenabled = true\nfilter = \"slow\"\nlogpath = \"/none\"\n",
		"ours/filters/slow.toml":  "failregex = '<HOST>'\n",
		"tree/jail.conf":          "[web]\nenabled = true\nfilter = slow\nlogpath = /none\n",
		"tree/filter.d/slow.conf": "[Definition]\nfailregex = <HOST>\n",
		"tree/jail.d/a.conf":      "[DEFAULT]\n",
	} {
		path := filepath.Join(under, name)
		hosttest.Write(t, path, text)
	}
	f, err := gatefs.Mount(exec.Command("/proc/self/exe", "-test.run", "^TestGateServer$"), at, under)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	hang := func(ops ...string) {
		t.Helper()
		if err := f.Hang(ops...); err != nil {
			t.Fatal(err)
		}
	}
	read := func(dir string, most time.Duration) (*Config, error) {
		t.Helper()
		type loaded struct {
			cfg *Config
			err error
		}
		got := make(chan loaded, 1)
		go func() {
			cfg, err := LoadWithin(most, Options{Path: filepath.Join(at, dir)})
			got <- loaded{cfg, err}
		}()
		select {
		case l := <-got:
			return l.cfg, l.err
		case <-time.After(10*most + 5*time.Second):
			t.Fatal("it is not given up")
			return nil, nil
		}
	}
	goesOn := func() {
		t.Helper()
		hang()
		if !hosttest.Soon(func() bool { return hungLoads.Load() <= 0 }) {
			t.Fatal("readings hang still")
		}
		for _, dir := range []string{"ours", "tree"} {
			if cfg, err := read(dir, 20*time.Second); err != nil || len(cfg.Jails) != 1 || cfg.Jails[0].Broken() != nil {
				t.Errorf("%s, when it goes on: %v", dir, err)
			}
		}
	}
	for _, c := range []struct{ ops, dir, file string }{
		{"ours/open", "ours", "ours/bailiff.toml"},
		{"ours/readdir", "ours", "ours/filters"},
		{"ours/read", "ours", "ours/bailiff.toml"},
		{"tree/open", "tree", "tree/jail.conf"},
		{"tree/readdir", "tree", "tree/jail.d/*.conf"},
		{"tree/getattr", "tree", "tree"},
	} {
		most := 200 * time.Millisecond
		hang(c.ops)
		_, err := read(c.dir, most)
		for ; err != nil && strings.Contains(err.Error(), "this machine may be busy") && most < 20*time.Second; _, err = read(c.dir, most) {
			goesOn()
			most *= 2
			hang(c.ops)
		}
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("takes longer than %v; no answer for %s:", most, filepath.Join(at, c.file))) {
			t.Errorf("%s of %s hangs: %v", c.ops, c.file, err)
		}
		goesOn()
	}
	hang("all")
	for range loadsMost {
		if _, err := read("ours", time.Millisecond); err == nil || strings.Contains(err.Error(), "once more") {
			t.Errorf("a reading that hangs: %v", err)
		}
	}
	const once = "3 readings of the configuration hang by now, so it is not read once more; no answer for "
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		_, err := read("ours", 20*time.Second)
		if err != nil && strings.Contains(err.Error(), once+at+"/ours") {
			break
		}
		// On a busy machine, none of them may have come to a file yet.
		if err == nil || !strings.Contains(err.Error(), "not read once more") || time.Now().After(end) {
			t.Errorf("one reading more: %v", err)
			break
		}
	}
	// Who asks a daemon finds its socket all the same.
	socket := make(chan string, 1)
	go func() { socket <- ConfiguredSocket(filepath.Join(at, "ours")) }()
	select {
	case s := <-socket:
		if s != DefaultSocket {
			t.Errorf("the socket of one that hangs: %s", s)
		}
	case <-time.After(10 * socketMost):
		t.Error("the socket is waited for")
	}
	goesOn()
	if s := ConfiguredSocket(filepath.Join(at, "ours")); s != "/run/x.sock" {
		t.Errorf("the socket: %s", s)
	}
}
