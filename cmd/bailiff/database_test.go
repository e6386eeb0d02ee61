package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var distinct = flag.Int("distinct", 300_000, "of how many addresses TestDistinctAddresses has a log tell")

// TestDatabaseRemoved: a database that somebody removes while the daemon runs is
// noticed, told of, and written anew, whether anything happens or not: what was there
// before and what came after is known to the next start.
func TestDatabaseRemoved(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	config := strings.Replace(fmt.Sprintf(endToEndConfig, "1h"), "auth.log", n.path("auth.log"), 1) + "\n[database]\npath = \"" + n.path("db.sqlite3") + "\"\n"
	n.start(config)
	n.failures(5, "192.0.2.66")
	n.banned("192.0.2.66")
	n.failures(4, "192.0.2.67")
	found := func(who string, times int) {
		t.Helper()
		n.until("the failures of "+who+" are found", func() bool {
			text, _ := os.ReadFile(n.path("out"))
			return strings.Count(string(text), "Found "+who+" ") == times
		})
	}
	found("192.0.2.67", 4)
	remove := func() {
		t.Helper()
		path := n.path("db.sqlite3")
		if err := errors.Join(os.Remove(path), os.Remove(path+"-journal")); err != nil {
			t.Fatal(err)
		}
	}
	remove()
	n.until("it is told", func() bool {
		text, _ := os.ReadFile(n.path("out"))
		return strings.Contains(string(text), "was removed while it was in use: a new one is begun, and filled with what this daemon knows")
	})
	if fi, err := os.Stat(n.path("db.sqlite3-journal")); err != nil || fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	n.failures(5, "192.0.2.68")
	n.banned("192.0.2.68")
	restart := func(kill bool) {
		t.Helper()
		if kill {
			_ = n.daemon.Process.Kill()
		} else if out := n.ask("stop"); out != "stopped\n" {
			t.Errorf("stop says %q", out)
		}
		<-n.exited
		n.start(config)
	}
	restart(false)
	known := func(want ...string) {
		t.Helper()
		for _, who := range want { // what the database has may come behind a start
			n.until("the ban of "+who+" is known", func() bool { return strings.Contains(n.ask("status", "django-auth"), who) })
		}
	}
	known("192.0.2.66", "192.0.2.68")
	// The fifth failure: the four before are known, and no line is read twice.
	n.failures(1, "192.0.2.67")
	n.banned("192.0.2.67")
	found("192.0.2.67", 1) // the kernel may have it before the log tells
	if text, _ := os.ReadFile(n.path("out")); strings.Count(string(text), "Found ") != 1 {
		t.Errorf("lines were read again:\n%s", text)
	}
	// Removed a moment before the stop, and before a kill: nothing is lost either.
	remove()
	restart(false)
	known("192.0.2.66", "192.0.2.67", "192.0.2.68")
	n.failures(5, "192.0.2.69")
	n.banned("192.0.2.69")
	remove()
	restart(true)
	known("192.0.2.66", "192.0.2.67", "192.0.2.68", "192.0.2.69")
}

// TestDistinctAddresses: a log that tells of more and more addresses, each failing
// once, is read in bounded memory, with a database.
func TestDistinctAddresses(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	file, err := os.Create(n.path("auth.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := bufio.NewWriterSize(file, 1<<20)
	now := time.Now().UTC().Format("2006-01-02 15:04:05,000")
	for i := range *distinct {
		fmt.Fprintf(w, "%s ERROR Login failure 2001:db8:%x:%x::1\n", now, i>>16, i&0xffff)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	fi, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	n.start(fmt.Sprintf("loglevel = \"WARNING\"\n[jail.django-auth]\nenabled = true\nlogpath = %q\nfindtime = \"1h\"\n", n.path("auth.log")))
	for end := time.Now().Add(10 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out := n.ask("status", "django-auth", "--json")
		if m := regexp.MustCompile(`"offset": ?(\d+)`).FindStringSubmatch(out); m != nil && m[1] == strconv.FormatInt(fi.Size(), 10) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not read in ten minutes: %s", out)
		}
	}
	n.until("the window is full", func() bool {
		return strings.Contains(n.ask("status", "django-auth", "--json"), fmt.Sprintf(`"currently_failed": %d`, min(*distinct, 100_000)))
	})
	n.ask("status")
	peak := peakMemory(t, n.daemon.Process.Pid)
	t.Logf("%d addresses: %d MB resident at most", *distinct, peak>>20)
	if peak > 120<<20 { // on a busy machine the collector comes late
		t.Errorf("%d addresses: %d MB resident, want 120 at most", *distinct, peak>>20)
	}
	n.failures(5, "192.0.2.66")
	n.banned("192.0.2.66")
}

// peakMemory is the most that a process had resident, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
