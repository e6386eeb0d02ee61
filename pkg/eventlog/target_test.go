package eventlog

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSetTarget: lines go where they are to go at their time, and none is lost.
func TestSetTarget(t *testing.T) {
	dir := t.TempDir()
	first, second, socket := filepath.Join(dir, "first"), filepath.Join(dir, "second"), filepath.Join(dir, "log")
	system, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer system.Close()
	h, closeLog, err := Open(first, "INFO")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(h).With("component", "actions")
	for range 1000 {
		log.Info("one")
	}
	if err := h.SetTarget(second, ""); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		log.Info("two")
	}
	if err := h.SetTarget(filepath.Join(dir, "none", "log"), ""); err == nil {
		t.Error("a target that can't be is taken")
	}
	log.Debug("not told")
	h.SetLevel("DEBUG")
	log.Debug("told")
	if err := h.SetTarget("SYSLOG", socket); err != nil {
		t.Fatal(err)
	}
	log.Log(t.Context(), LevelNotice, "[sshd] Ban 192.0.2.7")
	buf := make([]byte, 1000)
	_ = system.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := system.Read(buf)
	if got := string(buf[:n]); err != nil || !strings.HasPrefix(got, "<29>fail2ban.actions[") || !strings.HasSuffix(got, "]: NOTICE [sshd] Ban 192.0.2.7") {
		t.Errorf("%q, %v", got, err)
	}
	if err := h.SetTarget("syslog[facility=local5]", socket); err != nil {
		t.Fatal(err)
	}
	log.Info("of another facility")
	if n, err = system.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "<174>fail2ban.actions[") { // as fail2ban's
		t.Errorf("%q, %v", buf[:n], err)
	}
	if err := h.SetTarget("syslog[facility=nix]", socket); err == nil || !strings.Contains(err.Error(), "unknown facility") {
		t.Error(err)
	}
	if err := closeLog(); err != nil {
		t.Error(err)
	}
	for file, want := range map[string][2]int{first: {1000, 0}, second: {0, 1000}} {
		// What a target had before it was changed is written beside the way.
		var data []byte
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			var err error
			if data, err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
			if text := string(data); strings.Count(text, "INFO    one\n")+strings.Count(text, "INFO    two\n") >= want[0]+want[1] && (file == first || strings.Contains(text, "DEBUG   told")) {
				break
			}
		}
		if one, two := strings.Count(string(data), "] one\n")+strings.Count(string(data), "INFO    one\n"), strings.Count(string(data), "INFO    two\n"); one != want[0] || two != want[1] {
			t.Errorf("%s: %d of the first, %d of the second, want %v", file, one, two, want)
		}
	}
	data, _ := os.ReadFile(second)
	if strings.Contains(string(data), "not told") || !strings.Contains(string(data), "DEBUG   told") {
		t.Errorf("levels: %s", data[max(len(data)-300, 0):])
	}
}
