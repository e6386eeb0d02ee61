package main

import (
	"database/sql"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"

	_ "modernc.org/sqlite"
)

const crashConfig = `
[database]
path = "%s"
[jail.django-auth]
enabled = true
logpath = "%s"
maxretry = 3
findtime = "1h"
bantime = "1h"
port = "http"
ban.prefix6 = 128
`

// crashCounting counts accounts, and takes back what a login has shown to be a slip.
const crashCounting = `
filter = "accounts"
count.distinct = "user"
success.forgives = true
`

const crashFilter = `
failregex = 'Login failure of <F-USER>\w+</F-USER> from <HOST>$'
success = 'Login of <F-USER>\w+</F-USER> from <HOST>$'
`

// crashTurns are what an address does in the log of a crash, in that order: guilty or not.
type crashTurns struct{ guilty, innocent []string }

var soakKills = flag.Int("kills", 50, "how often TestCrash kills the daemon; make soak takes more")

// TestCrash kills the daemon with -9 at random moments while a log is written,
// and starts it again: every address that reached maxretry is banned once, no
// other is, and failures from before a kill count after it.
func TestCrash(t *testing.T) {
	t.Parallel()
	kills := *soakKills
	for _, c := range []struct {
		name   string
		rotate func(log string, n int) error
		full   bool
		counts bool
	}{
		{name: "one file"},
		{name: "renamed", rotate: func(log string, n int) error { return os.Rename(log, fmt.Sprintf("%s.%d", log, n)) }},
		{name: "disk full", full: true},
		{name: "accounts", counts: true, rotate: func(log string, n int) error { return os.Rename(log, fmt.Sprintf("%s.%d", log, n)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			const fails = "Login failure %s"
			more, turns := "", crashTurns{guilty: []string{fails, fails, fails}, innocent: []string{fails, fails}}
			if c.counts {
				const a, b, c = "Login failure of anna from %s", "Login failure of bert from %s", "Login failure of carl from %s"
				more, turns = crashCounting, crashTurns{guilty: []string{a, b, a, c}, innocent: []string{a, "Login of anna from %s", b, b, c, c}}
			}
			crash(t, kills, c.rotate, c.full, more, turns)
		})
	}
}

func crash(t *testing.T, kills int, rotate func(string, int) error, full bool, more string, turns crashTurns) {
	n := newNetwork(t)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 7))
	state := n.path("state")
	if err := os.MkdirAll(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if full { // a small disk for the database
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", state).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v: %s", err, out)
		}
		t.Cleanup(func() { exec.Command("umount", "-l", state).Run() })
	}
	db, log := filepath.Join(state, "db.sqlite3"), n.path("auth.log")
	config := fmt.Sprintf(crashConfig, db, log) + more

	// Guilty and innocent addresses, all mixed.
	var lines []string
	left := map[string][]string{}
	guilty := map[string]bool{}
	for i := range 40 * kills / 2 {
		who := fmt.Sprintf("198.51.%d.%d", 100+i/250, i%250+1)
		if i%3 == 0 {
			who = fmt.Sprintf("2001:db8::%x", i+1)
		}
		left[who] = turns.innocent
		if i%2 == 0 {
			left[who], guilty[who] = turns.guilty, true
		}
		for range left[who] {
			lines = append(lines, who)
		}
	}
	rng.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	for i, who := range lines {
		lines[i], left[who] = fmt.Sprintf(left[who][0], who), left[who][1:]
	}

	if err := os.MkdirAll(n.path("filters"), 0o755); err != nil {
		t.Fatal(err)
	}
	hosttest.Write(t, n.path("filters/accounts.toml"), crashFilter)
	// What was the log before anybody ever read it is nobody's: the first life knows it.
	hosttest.Write(t, log, "")
	n.start(config)
	n.untilLogKnown(db)
	if err := n.daemon.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-n.exited

	written := make(chan error, 1)
	var deaths atomic.Int64
	go func() {
		written <- func() error {
			per := len(lines)/kills + 1
			ballast := filepath.Join(state, "ballast")
			for i, line := range lines {
				for t.Context().Err() == nil && int64(i) > (deaths.Load()+2)*int64(per) { // on a busy machine a start takes long
					time.Sleep(time.Millisecond)
				}
				if rotate != nil && i%(per*5) == per*4 {
					if err := rotate(log, i); err != nil {
						return err
					}
				}
				if full && i%(per*10) == per*2 {
					exec.Command("dd", "if=/dev/zero", "of="+ballast, "bs=4k").Run() // until nothing fits any more
				}
				if full && i%(per*10) == per*6 {
					os.Remove(ballast)
				}
				f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
				if err != nil {
					return err
				}
				fmt.Fprintf(f, "%s ERROR %s\n", time.Now().UTC().Format("2006-01-02 15:04:05,000"), line)
				f.Close()
				if i%8 == 0 {
					time.Sleep(8 * 100 * time.Millisecond / time.Duration(per)) // a kill's worth of lines in 100 ms
				}
			}
			os.Remove(ballast)
			return nil
		}()
	}()
	for done := false; !done; {
		n.launch(config)
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		case <-time.After(time.Duration(20+rng.IntN(160)) * time.Millisecond):
		}
		if err := n.daemon.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-n.exited
		deaths.Add(1)
	}
	t.Logf("%d kills, %d lines, %d guilty addresses", deaths.Load(), len(lines), len(guilty))
	if deaths.Load() < int64(kills)/2 {
		t.Errorf("only %d kills", deaths.Load())
	}
	n.start(config)
	inKernel := func() []string {
		var all []string
		for _, set := range []string{"addr-set-django-auth", "addr6-set-django-auth"} {
			for _, m := range element.FindAllStringSubmatch(n.set(set), -1) {
				all = append(all, m[1])
			}
		}
		return all
	}
	hosttest.Soon(func() bool { return len(inKernel()) >= len(guilty) })
	time.Sleep(4 * time.Second) // what should not be there is gone after that
	got := inKernel()
	for _, who := range got {
		if !guilty[who] {
			t.Errorf("%s is banned, and is innocent", who)
		}
	}
	if len(got) != len(guilty) {
		t.Errorf("%d addresses are in the kernel, want %d", len(got), len(guilty))
	}
	if out := n.ask("stop"); out != "stopped\n" {
		t.Errorf("stop says %q", out)
	}
	<-n.exited
	// The database tells of each ban once.
	d, err := sql.Open("sqlite", db)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	rows, err := d.Query("SELECT ip, count(*) FROM bans GROUP BY ip")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	kept := 0
	for rows.Next() {
		var ip string
		var times int
		if err := rows.Scan(&ip, &times); err != nil {
			t.Fatal(err)
		}
		kept++
		if times != 1 || !guilty[ip] {
			t.Errorf("%s was banned %d times (guilty: %v)", ip, times, guilty[ip])
		}
	}
	if kept != len(guilty) {
		t.Errorf("the database tells of %d bans, want %d", kept, len(guilty))
	}
	if t.Failed() {
		var missing []string
		for who := range guilty {
			if !slices.Contains(got, who) {
				missing = append(missing, who)
			}
		}
		text, _ := os.ReadFile(n.path("out"))
		disk, _ := exec.Command("ls", "-la", state).Output()
		t.Logf("the database's disk:\n%s", disk)
		t.Logf("missing %q\n%s", missing, clipped(string(text), 4000))
	}
}

var element = regexp.MustCompile(`([0-9a-f:.]+) timeout`)

func clipped(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most/2] + "\n…\n" + s[len(s)-most/2:]
}

// untilLogKnown waits until a database knows of a log where it is read: bans are kept before
// that, and only from then on does a life that is killed leave a place to the next one.
func (n *network) untilLogKnown(db string) {
	n.t.Helper()
	n.until("the log is known", func() bool {
		d, err := sql.Open("sqlite", "file:"+db+"?mode=ro&_pragma=busy_timeout(1000)")
		if err != nil {
			n.t.Fatal(err)
		}
		defer d.Close()
		var known int
		return d.QueryRow("SELECT count(*) FROM bailiff_logs").Scan(&known) == nil && known > 0
	})
}

// launch starts the daemon without waiting for it.
func (n *network) launch(config string) {
	n.t.Helper()
	hosttest.Write(n.t, n.path("bailiff.toml"), config)
	n.spawn()
}
