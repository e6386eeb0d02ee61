package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFormat(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(New(&b, "NOTICE")).With("component", "actions")
	log.Info("too quiet")
	log.Log(context.Background(), LevelNotice, "[sshd] Ban 192.0.2.7")
	log.Warn("forged\n2026-01-31 12:00:00,000 fail2ban.actions: line\x1b[0m")
	want := `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} fail2ban\.actions        \[\d+\]: NOTICE  \[sshd\] Ban 192\.0\.2\.7
\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} fail2ban\.actions        \[\d+\]: WARNING forged\\x0a2026-01-31 12:00:00,000 fail2ban\.actions: line\\x1b\[0m
$`
	if !regexp.MustCompile(want).MatchString(b.String()) {
		t.Errorf("got\n%s", b.String())
	}
}

// TestGather: lines of many goroutines all arrive whole, and close waits for the
// last.
func TestGather(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	h, done, err := Open(path, "INFO")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(h).With("component", "actions")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				log.Info("[sshd] Ban 192.0.2.7")
			}
		})
	}
	wg.Wait()
	if err := done(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(regexp.MustCompile(`(?m)^\d{4}.*: INFO    \[sshd\] Ban 192\.0\.2\.7$`).FindAll(text, -1)); n != 40000 {
		t.Errorf("%d of 40000 lines", n)
	}
}

// TestReopen: after a rotation, lines go to the new file.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	h, done, err := Open(path, "INFO")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(h)
	for i, name := range []string{".1", ".2", ""} {
		if file, err := h.Reopen(); !file || err != nil {
			t.Fatal(file, err)
		}
		log.Info(fmt.Sprint("line ", i))
		if name == "" {
			break
		}
		// Written before the file is renamed: nobody waits for the goroutine else.
		for range 1000 {
			if text, _ := os.ReadFile(path); len(text) > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if err := os.Rename(path, path+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{".1", ".2", ""} {
		text, err := os.ReadFile(path + name)
		if err != nil || strings.Count(string(text), "\n") != 1 || !strings.HasSuffix(string(text), fmt.Sprintf("line %d\n", i)) {
			t.Errorf("%s: %q %v", name, text, err)
		}
	}
}

func BenchmarkLine(b *testing.B) {
	h, done, err := Open(filepath.Join(b.TempDir(), "log"), "INFO")
	if err != nil {
		b.Fatal(err)
	}
	defer done()
	log := slog.New(h).With("component", "actions")
	b.ReportAllocs()
	for b.Loop() {
		log.Info("[sshd] Ban 192.0.2.7")
	}
}
