package main

import (
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"

	"golang.org/x/sys/unix"
)

var startRaces = flag.Int("races", 10, "how often TestStartRace is run; make soak takes more")

const raceConfig = `
[firewall]
enabled = false
[database]
path = "%s"
[jail.django-auth]
enabled = true
logpath = "%s"
maxretry = 1
findtime = "1h"
bantime = "1h"
`

// addressOf gives each line an address of its own.
func addressOf(i int) string { return fmt.Sprintf("2001:db8::%x:%x", i>>16+1, i&0xffff) }

func writeAddresses(t *testing.T, log string, from, to int) {
	t.Helper()
	f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b strings.Builder
	at := time.Now().UTC().Format("2006-01-02 15:04:05,000")
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%s ERROR Login failure %s\n", at, addressOf(i))
	}
	if _, err := f.WriteString(b.String()); err != nil {
		t.Fatal(err)
	}
}

// known counts the addresses that the database knows as banned, and tells of the first
// ones that are missing.
func known(t *testing.T, db string, lines int) (n int, missing []int) {
	t.Helper()
	d, err := sql.Open("sqlite", "file:"+db+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	rows, err := d.Query("SELECT ip FROM bips")
	if err != nil {
		return 0, nil // not made yet
	}
	defer rows.Close()
	have := map[string]bool{}
	for rows.Next() {
		var ip string
		if err := rows.Scan(&ip); err != nil {
			t.Fatal(err)
		}
		have[strings.TrimSuffix(ip, "/64")] = true
	}
	for i := range lines {
		if !have[addressOf(i)] {
			missing = append(missing, i)
		}
	}
	return lines - len(missing), missing
}

// TestStartRace: a log is written and rotated by renaming, fast, while the daemon is
// killed with -9 and started at once: it reads older files first then, and the present
// one is renamed meanwhile. Each line has an address of its own, and none is lost.
func TestStartRace(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	for round := range *startRaces {
		const lines, piece = 4000, 40
		dir := n.path(fmt.Sprint("race", round))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		db, log := filepath.Join(dir, "db.sqlite3"), filepath.Join(dir, "auth.log")
		config := fmt.Sprintf(raceConfig, db, log) + "ban.prefix6 = 128\n"
		writeAddresses(t, log, 0, piece)
		n.launch(config)
		n.untilLogKnown(db)
		n.until("it reads", func() bool { count, _ := known(t, db, piece); return count == piece })
		for i := piece; i < lines; i += piece {
			writeAddresses(t, log, i, i+piece)
			time.Sleep(4 * time.Millisecond)
			if i%800 == 0 {
				if err := os.Rename(log, fmt.Sprintf("%s.%d", log, i/800)); err != nil {
					t.Fatal(err)
				}
			}
			if i == 600 || i == 1800 || i == 3000 {
				if err := n.daemon.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				<-n.exited
				n.launch(config)
			}
			if i == 2400 && round%2 == 1 { // a pause over a rotation
				_ = n.daemon.Process.Signal(syscall.SIGSTOP)
			}
			if i == 2800 && round%2 == 1 {
				_ = n.daemon.Process.Signal(syscall.SIGCONT)
			}
		}
		end := time.Now().Add(2 * time.Minute)
		for count := 0; count < lines && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			count, _ = known(t, db, lines)
		}
		if count, missing := known(t, db, lines); count != lines {
			text, _ := os.ReadFile(n.path("out"))
			left, _ := exec.Command("ls", "-lai", "--full-time", dir).Output()
			t.Fatalf("round %d: %d of %d; missing from %d to %d\n%s\n%s", round, count, lines, missing[0], missing[len(missing)-1], left, clipped(string(text), 3000))
		}
		if out := n.ask("stop"); out != "stopped\n" {
			t.Fatalf("stop says %q", out)
		}
		<-n.exited
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoppedOverRotations: the process stands still over three rotations.
func TestStoppedOverRotations(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	db, log := n.path("db.sqlite3"), n.path("auth.log")
	writeAddresses(t, log, 0, 10)
	n.start(fmt.Sprintf(raceConfig, db, log) + "ban.prefix6 = 128\n")
	n.until("it reads", func() bool { count, _ := known(t, db, 10); return count == 10 })
	if err := n.daemon.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		writeAddresses(t, log, 10+20*i, 20+20*i)
		if err := os.Rename(log, fmt.Sprintf("%s.%d", log, 3-i)); err != nil {
			t.Fatal(err)
		}
		writeAddresses(t, log, 20+20*i, 30+20*i)
	}
	if err := n.daemon.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	n.until("all is read", func() bool { count, _ := known(t, db, 70); return count == 70 })
}

// TestStoppedOverCopies: the process stands still, or isn't there, while its log is
// copied and emptied three times (logrotate's copytruncate). No line is lost or counted
// twice.
func TestStoppedOverCopies(t *testing.T) {
	t.Parallel()
	for name, killed := range map[string]bool{"SIGSTOP": false, "kill -9": true} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			db, log := n.path("db.sqlite3"), n.path("auth.log")
			config := fmt.Sprintf(raceConfig, db, log) + "ban.prefix6 = 128\n"
			writeAddresses(t, log, 0, 10)
			n.start(config)
			n.until("it reads", func() bool { count, _ := known(t, db, 10); return count == 10 })
			var err error
			if killed {
				// Bans are written down before how far a log is read. A stop writes both, so
				// that the next life, which is killed, knows the log.
				n.ask("stop")
				<-n.exited
				n.launch(config)
				n.until("it goes on", func() bool {
					text, _ := os.ReadFile(n.path("out"))
					return strings.Contains(string(text), "where it was left")
				})
				err = n.daemon.Process.Kill()
				<-n.exited
			} else {
				err = n.daemon.Process.Signal(syscall.SIGSTOP)
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				writeAddresses(t, log, 10+20*i, 30+20*i)
				text, err := os.ReadFile(log)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(fmt.Sprintf("%s.%d", log, 3-i), text, 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(log, 0); err != nil {
					t.Fatal(err)
				}
			}
			writeAddresses(t, log, 70, 80)
			if killed {
				n.launch(config)
			} else if err := n.daemon.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			n.until("all is read", func() bool { count, _ := known(t, db, 80); return count == 80 })
			var status struct {
				TotalFailed int `json:"total_failed"`
			}
			if err := json.Unmarshal([]byte(n.ask("status", "django-auth", "--json")), &status); err != nil {
				t.Fatal(err)
			}
			if want := map[bool]int{true: 70, false: 80}[killed]; status.TotalFailed != want {
				t.Errorf("%d failures, want %d", status.TotalFailed, want)
			}
		})
	}
}

// TestLogIsFIFO: while the daemon is down, the owner of the log's directory puts a FIFO
// without a writer in the log's place. All the rest works, and so does a reload.
func TestLogIsFIFO(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	log := n.path("auth.log")
	if err := unix.Mkfifo(log, 0o644); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(raceConfig, n.path("db.sqlite3"), log)
	n.start(config)
	n.until("it is told", func() bool {
		text, _ := os.ReadFile(n.path("out"))
		return strings.Contains(string(text), "is a FIFO: name it as one in logpath (PATH fifo)") && strings.Contains(n.ask("status", "django-auth"), "is a FIFO")
	})
	if out := n.ask("reload"); out == "" {
		t.Error("reload fails")
	}
	if out := n.ask("ban", "django-auth", "192.0.2.9"); out == "" {
		t.Error("ban fails")
	}
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	n.failures(1, "192.0.2.7")
	n.until("the file is read", func() bool { return strings.Contains(n.ask("status", "django-auth"), "192.0.2.7") })
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(log, 0o644); err != nil {
		t.Fatal(err)
	}
	if out := n.ask("stop"); out != "stopped\n" {
		t.Errorf("stop says %q", out)
	}
	<-n.exited
	// Named as one, it is read.
	n.start(strings.Replace(config, `auth.log"`, `auth.log fifo"`, 1))
	n.until("it is followed", func() bool {
		text, _ := os.ReadFile(n.path("out"))
		return strings.Contains(string(text), "following a named pipe")
	})
	n.failures(1, "192.0.2.8")
	n.until("what is written to it is read", func() bool { return strings.Contains(n.ask("status", "django-auth"), "192.0.2.8") })
}

// TestRewrittenLog: a log with old failures is written anew while it is followed, with
// our configuration and with fail2ban's: nobody is banned for them, and who fails
// afterwards is.
func TestRewrittenLog(t *testing.T) {
	t.Parallel()
	for _, tree := range []bool{false, true} {
		t.Run(fmt.Sprintf("fail2ban's configuration: %v", tree), func(t *testing.T) {
			n := newNetwork(t)
			jail, log := "app", n.path("auth.log")
			var b strings.Builder
			long := time.Now().Add(-30 * 24 * time.Hour).UTC()
			for i := range 42 {
				for range 3 {
					fmt.Fprintf(&b, "%s ERROR foo Login failure 192.0.2.%d\n", long.Add(time.Duration(i)*time.Second).Format("2006-01-02 15:04:05,000"), i+10)
				}
			}
			hosttest.Write(t, log, b.String())
			if tree {
				if err := os.MkdirAll(n.path("f2b/filter.d"), 0o755); err != nil {
					t.Fatal(err)
				}
				for name, text := range map[string]string{
					"jail.conf":         "[DEFAULT]\nbackend = auto\n[app]\nenabled = true\nfilter = app\nlogtimezone = UTC\nlogpath = " + log + "\nmaxretry = 3\nfindtime = 600\nbantime = 600\naction =\n",
					"filter.d/app.conf": "[Definition]\nfailregex = Login failure <HOST>\n",
					"fail2ban.conf":     "[Definition]\nloglevel = INFO\nlogtarget = STDOUT\ndbfile = None\n",
				} {
					hosttest.Write(t, n.path("f2b/"+name), text)
				}
				n.tree = n.path("f2b")
				n.start("")
			} else {
				jail = "django-auth"
				n.start(strings.Replace(fmt.Sprintf(raceConfig, n.path("db.sqlite3"), log), "maxretry = 1", "maxretry = 3", 1))
			}
			out := func() string { text, _ := os.ReadFile(n.path("out")); return string(text) }
			n.until("it follows", func() bool { return strings.Contains(out(), "following from byte") })
			for _, expr := range []string{"s/foo/bar/", "3s/bar/foo/"} {
				if text, err := exec.Command("sed", "-i", expr, log).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, text)
				}
			}
			n.until("it was noticed", func() bool { return strings.Contains(out(), "its lines count as old as they say") })
			f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for range 3 {
				fmt.Fprintf(f, "%s ERROR foo Login failure 192.0.2.7\n", time.Now().UTC().Format("2006-01-02 15:04:05,000"))
			}
			n.until("who fails now is banned", func() bool { return strings.Contains(n.ask("status", jail), "192.0.2.7") })
			if text := out(); strings.Count(text, "Ban 192.0.2.") != strings.Count(text, "Ban 192.0.2.7") {
				t.Errorf("others are banned: %s", clipped(text, 3000))
			}
		})
	}
}
