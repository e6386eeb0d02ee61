package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/control"
)

// TestUnreadIsKept: a file of those who are never banned that could not be read at the start, or in which a line is
// broken, is not written over by the next change; a second one isn't either, until somebody has looked.
func TestUnreadIsKept(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a broken line": func(path string) error {
			return os.WriteFile(path, []byte("{\"ip\": \"192.0.2.7\nwhat was in it\n"), 0o600)
		},
		"a symbolic link": func(path string) error {
			if err := os.WriteFile(path+".elsewhere", []byte("what was in it\n"), 0o600); err != nil {
				return err
			}
			return os.Symlink(path+".elsewhere", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db.never")
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			one := []control.Never{{IP: "192.0.2.9"}}
			start := func() *keptLines {
				k := &keptLines{path: path, what: "who is never banned", log: slog.New(slog.NewTextHandler(&log, nil)), write: func(path string) error { return writeLines(path, one) }}
				readLines(k, "no address", func(n *control.Never) bool { return n.IP != "" })
				return k
			}
			save := func(k *keptLines) string {
				k.mu.Lock()
				defer k.mu.Unlock()
				return k.save()
			}
			k := start()
			for range 2 {
				if note := save(k); note != "" {
					t.Fatal(note)
				}
			}
			if text, err := os.ReadFile(path + ".unread"); err != nil || !strings.Contains(string(text), "what was in it") || !strings.Contains(log.String(), ".unread now") {
				t.Errorf("%q, %v\n%s", text, err, &log)
			}
			if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "192.0.2.9") {
				t.Errorf("%q, %v", text, err)
			}
			if note := save(start()); note != "" { // that one is read
				t.Error(note)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("and this\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if note := save(start()); !strings.Contains(note, "look at both") {
				t.Errorf("%q", note)
			}
			for _, name := range []string{path, path + ".unread"} {
				if text, _ := os.ReadFile(name); !strings.Contains(string(text), map[bool]string{true: "and this", false: "what was in it"}[name == path]) {
					t.Errorf("%s: %q", name, text)
				}
			}
		})
	}
}
