package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeJournal appends entries to a journal file, with systemd's own program. Each
// entry is lines of FIELD=VALUE.
func writeJournal(t *testing.T, file string, first int, at time.Time, entries ...string) {
	t.Helper()
	var b strings.Builder
	for i, e := range entries {
		n := first + i
		micros := at.Add(time.Duration(i) * 1500 * time.Millisecond).UnixMicro()
		fmt.Fprintf(&b, "__CURSOR=s=0123456789abcdef0123456789abcdef;i=%x;b=00112233445566778899aabbccddeeff;m=%x;t=%x;x=%x\n"+
			"__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=00112233445566778899aabbccddeeff\n_MACHINE_ID=ffeeddccbbaa99887766554433221100\n%s\n\n",
			n, n*1000000, micros, n, micros, n*1000000, e)
	}
	cmd := exec.Command("/lib/systemd/systemd-journal-remote", "--output="+file, "-")
	cmd.Stdin = strings.NewReader(b.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("systemd-journal-remote (Debian's package of that name; make test installs it): %v: %s", err, out)
	}
}

func sshEntry(message string) string {
	return "_HOSTNAME=host\nSYSLOG_IDENTIFIER=sshd\n_COMM=sshd\n_PID=41\n_SYSTEMD_UNIT=ssh.service\nMESSAGE=" + message
}

// TestJournalAsFail2banRegex compares what both say of a journal.
func TestJournalAsFail2banRegex(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := time.Date(2026, 1, 31, 12, 0, 0, 250000000, time.UTC)
	writeJournal(t, filepath.Join(dir, "x.journal"), 1, at,
		sshEntry("Failed password for root from 192.0.2.7 port 22 ssh2"),
		sshEntry("Failed password for invalid user a from 192.0.2.8 port 22 ssh2"),
		"_HOSTNAME=host\nSYSLOG_IDENTIFIER=kernel\n_SYSTEMD_UNIT=ssh.service\nMESSAGE=Login failure 192.0.2.9",
		"_HOSTNAME=host\n_COMM=web\nSYSLOG_PID=7\nMESSAGE=Login failure 192.0.2.10\nPRIORITY=4",
		"MESSAGE=# no comment 192.0.2.11",
		sshEntry("Accepted publickey for me from 192.0.2.12 port 22 ssh2"),
	)
	link, realRegex := program(t, "fail2ban-regex"), realRegex(t)
	journal := "systemd-journal[journalpath=" + dir + "]"
	for _, args := range [][]string{
		{journal, "sshd"},
		{journal, "sshd[mode=aggressive]", "--print-all-matched"},
		{journal, "sshd", "-m", "_COMM=web"},
		{journal, "Login failure <HOST>"},
		{journal, "Login failure <HOST>", "--print-all-matched", "-v"},
		{journal, "<HOST>", "-o", "row"},
		{journal, "<HOST>", "-o", "msg"},
		{journal, "failure <HOST>", `\.10$`, "-m", "_SYSTEMD_UNIT=ssh.service + _COMM=web"},
		{"systemd-journal[journalfiles=" + dir + "/x.journal]", "sshd", "-o", "id"},
	} {
		want, wantCode := realRegex(dir, args...)
		got, code := output(t, dir, link, args...)
		if got != want || code != wantCode {
			t.Errorf("fail2ban-regex %q: exit %d and %d\nfail2ban:\n%s\nours:\n%s", args, wantCode, code, want, got)
		}
	}
}

// TestJournalJail: a jail follows the journal, and goes on at its place after a
// restart.
func TestJournalJail(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	journal := n.path("journal")
	if err := os.Mkdir(journal, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(journal, "x.journal")
	written := 0
	fail := func(who string, times int) {
		t.Helper()
		for range times {
			written++
			writeJournal(t, file, written, time.Now(), sshEntry("Failed password for root from "+who+" port 22 ssh2"))
		}
	}
	fail("192.0.2.66", 2)
	config := fmt.Sprintf("[jail.sshd]\nenabled = true\nbackend = \"systemd[journalpath=%s]\"\njournalmatch = \"_SYSTEMD_UNIT=ssh.service + _COMM=sshd\"\nmaxretry = 3\n", journal)
	n.start(config)
	banned := func(who string) {
		t.Helper()
		n.until(who+" is banned", func() bool { return strings.Contains(n.ask("status", "sshd"), who) })
	}
	fail("192.0.2.66", 1)
	banned("192.0.2.66")
	fail("192.0.2.67", 2)
	n.until("the failures are found", func() bool {
		text, _ := os.ReadFile(n.path("out"))
		return strings.Count(string(text), "Found 192.0.2.67") == 2
	})
	// What was found is gathered for a second before it is kept; and maybe that is over by now.
	found := time.Now()
	for time.Since(found) < 5*time.Second {
		if fi, err := os.Stat(n.path("state/bailiff.sqlite3.changes")); err == nil && fi.ModTime().After(found) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := n.daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-n.exited
	fail("192.0.2.67", 1)
	n.start(config)
	banned("192.0.2.67")
	text, _ := os.ReadFile(n.path("out"))
	if got := strings.Count(string(text), "Found "); got != 1 {
		t.Errorf("%d failures were found after the restart, want 1:\n%s", got, text)
	}
	if out := n.ask("status", "sshd"); !strings.Contains(out, "systemd-journal") {
		t.Errorf("status names no journal:\n%s", out)
	}
}
