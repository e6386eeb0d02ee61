package figures

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHistory: what is noted comes into the line of its version, and what that version had
// before stays.
func TestHistory(t *testing.T) {
	dir := t.TempDir()
	noted, history := filepath.Join(dir, "noted"), filepath.Join(dir, "history.csv")
	t.Setenv(Env, noted)
	set := func(version string) {
		t.Helper()
		if err := Save(); err != nil {
			t.Fatal(err)
		}
		names, values, err := Noted(noted)
		if err != nil {
			t.Fatal(err)
		}
		h, err := Read(history)
		if err != nil {
			t.Fatal(err)
		}
		h.Set(Line{Version: version, Date: "2026-11-27", Commit: "abc", Values: values}, names)
		if err := h.Write(history); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(noted); err != nil {
			t.Fatal(err)
		}
	}
	Note("reading, 1 %: to fail2ban", 1.2)
	Note("reading, 1 %: to fail2ban", 131.96)
	Note("a ban, bytes", 203)
	set("0.9.0")
	Note("a \"list\", seconds", 0.8756)
	Note("a ban, bytes", 150.4)
	set("0.10.0")
	Note("a ban, bytes", 0)
	set("0.9.0")
	h, err := Read(history)
	if err != nil {
		t.Fatal(err)
	}
	want := `| | 0.10.0, 2026-11-27, abc | 0.9.0, 2026-11-27, abc |
| --- | --- | --- |
| reading, 1 %: to fail2ban |  | 132 |
| a ban, bytes | 150 | 0 |
| a "list", seconds | 0.88 |  |
`
	if got := h.Table(9); got != want {
		t.Errorf("history:\n%s\nwant\n%s", got, want)
	}
	if got := h.Table(1); strings.Contains(got, "0.9.0") {
		t.Errorf("one release:\n%s", got)
	}
	if err := os.WriteFile(history, []byte("day,figure\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(history); err == nil {
		t.Error("any table is a history")
	}
}
