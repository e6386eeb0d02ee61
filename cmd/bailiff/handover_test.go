package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
	"bailiff/pkg/references"
)

// handoverJails are one whose bans grow and one whose bans are for ever. What the filter
// captured is told of every ban and of its end.
const handoverJails = `[DEFAULT]
backend = polling
usedns = no
filter = web
action = note
maxretry = 2
findtime = 1h
[grow]
enabled = true
logpath = @D@/grow.log
bantime = 1h
bantime.increment = true
bantime.factor = 1
[ever]
enabled = true
logpath = @D@/ever.log
bantime = -1
[ssh]
enabled = true
filter = sshd
logpath = @D@/sshd.log
action = plain
bantime = 1h
`

const handoverFilter = `[Definition]
failregex = ^ failed <F-USER>\S*</F-USER> by <F-TOOL>\w+</F-TOOL> from <HOST>$
datepattern = ^%%Y-%%m-%%d %%H:%%M:%%S
`

const handoverAction = `[Definition]
actionban = echo "ban <name> <ip> user=<F-USER> tool=<F-TOOL> <failures> restored=<restored> <ipmatches>" >> @D@/notes
actionunban = echo "unban <name> <ip> user=<F-USER> tool=<F-TOOL>" >> @D@/notes
`

// handoverPlain tells of nothing that the filter captured.
const handoverPlain = `[Definition]
actionban = echo "ban <name> <ip>" >> @D@/notes
actionunban = echo "unban <name> <ip>" >> @D@/notes
`

// dbBan is a row of bans or bips, its data as JSON with sorted names.
type dbBan struct {
	jail, ip                     string
	timeofban, bantime, bancount int64
	data                         string
}

// dbRows reads a table of a database in fail2ban's form, in order.
func dbRows(t *testing.T, path, table string) (out []dbBan) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT jail, ip, timeofban, bantime, bancount, data FROM " + table + " ORDER BY jail, ip, timeofban")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var b dbBan
		var text []byte
		if err := rows.Scan(&b.jail, &b.ip, &b.timeofban, &b.bantime, &b.bancount, &text); err != nil {
			t.Fatal(err)
		}
		data := map[string]any{}
		if err := json.Unmarshal(text, &data); err != nil {
			t.Fatalf("%s %s: %v: %s", b.jail, b.ip, err, text)
		}
		// A line may be in three parts, around its date: whoever reads it joins them.
		if lines, ok := data["matches"].([]any); ok {
			for i, l := range lines {
				if parts, ok := l.([]any); ok {
					lines[i] = fmt.Sprint(parts...)
				}
			}
		}
		sorted, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		b.data = string(sorted)
		out = append(out, b)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// dbTables is what the tables hold that two runs have in common.
func dbTables(t *testing.T, path string) string {
	t.Helper()
	var out strings.Builder
	for _, table := range []string{"bans", "bips"} {
		fmt.Fprintf(&out, "%s:\n", table)
		for _, b := range dbRows(t, path, table) {
			fmt.Fprintf(&out, "  %s %s for %d, the %d-th: %s\n", b.jail, b.ip, b.bantime, b.bancount, dbTime.ReplaceAllString(b.data, "<time>"))
		}
	}
	return out.String()
}

var dbTime = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d`)

var playFound = regexp.MustCompile(`(?m)fail2ban\.filter .*\] Found `)

// relay is a set-up that several daemons have in turn.
type relay struct {
	*playRun
	f2b references.Fail2ban
}

// turn starts a daemon, waits for notes that its actions make, and does what is to be done.
// It returns all of its notes, sorted, and what the database holds after the stop.
func (h *relay) turn(ours bool, restored []string, do func()) (notes, tables string) {
	h.t.Helper()
	h.server, h.client, h.env = h.f2b.Program("fail2ban-server"), h.f2b.Program("fail2ban-client"), h.f2b.Env()
	if ours {
		h.server, h.client, h.env = program(h.t, "fail2ban-server"), program(h.t, "fail2ban-client"), os.Environ()
	}
	h.env = append(h.env, "TZ=UTC", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1")
	h.write("notes", "", false)
	h.start()
	h.noted(restored...)
	do()
	if _, code := h.ask("stop"); code != 0 {
		h.t.Errorf("%s stop: exit code %d", h.client, code)
	}
	h.ended()
	text, _ := os.ReadFile(filepath.Join(h.dir, "notes"))
	lines := strings.Split(strings.TrimSpace(playTime.ReplaceAllString(string(text), "<time>")), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n"), dbTables(h.t, filepath.Join(h.dir, "f2b.sqlite3"))
}

// fail has somebody fail, as each of these users in turn, and waits for the note of his ban.
func (h *relay) fail(jail, who string, users ...string) {
	h.t.Helper()
	now, lines := time.Now().UTC().Format(time.DateTime), ""
	for _, user := range users {
		lines += fmt.Sprintf("%s failed %s by curl from %s\n", now, user, who)
	}
	h.write(jail+".log", lines, true)
	h.noted(fmt.Sprintf("ban %s %s user=%s tool=curl", jail, who, users[0]))
}

// noted waits until there are notes that begin so.
func (h *relay) noted(want ...string) {
	h.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(filepath.Join(h.dir, "notes"))
		missing := slices.DeleteFunc(slices.Clone(want), func(w string) bool { return strings.Contains("\n"+string(text), "\n"+w) })
		if len(missing) == 0 {
			return
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(filepath.Join(h.dir, "f2b.log"))
			h.t.Fatalf("%s: no notes begin with %q:\n%s\nthe log:\n%s", h.server, missing, text, log)
		}
	}
}

// TestHandOver: a database goes from each real fail2ban to ours and back, twice. Whoever has
// it knows all bans of before, with what the filter captured, also when they end; and it holds
// in the end what it holds where the real one had it all the time.
func TestHandOver(t *testing.T) {
	all := hosttest.Fail2bans(t)
	for _, r := range all {
		version := r.Release()
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(fmt.Sprintf("bailiff-hand-%s-%d", r.Suite, os.Getpid()))
			t.Cleanup(func() {
				if err := lab.Close(); err != nil {
					t.Error(err)
				}
			})
			var alone, inTurn []string
			var wg sync.WaitGroup
			wg.Go(func() { alone = handOver(t, lab, r, "alone") })
			wg.Go(func() { inTurn = handOver(t, lab, r, "relay") })
			wg.Wait()
			if t.Failed() {
				return
			}
			for i, want := range alone {
				if got := inTurn[i]; got != want {
					t.Errorf("turn %d (ours has the even ones): what differs from the real one alone:\n%s\n--- ours\n%s\n--- alone\n%s", i+1,
						strings.Join(lineDiff(strings.Split(want, "\n"), strings.Split(got, "\n")), "\n"), got, want)
				}
			}
		})
	}
}

// pastBans has a database know of four addresses that were banned so and so many times.
func pastBans(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for n := 1; n < 5; n++ {
		if _, err := db.Exec("INSERT INTO bips(jail, ip, timeofban, bantime, bancount, data) VALUES('grow', ?, ?, 3600, ?, '{\"matches\": [\"earlier\"], \"failures\": 2}')",
			fmt.Sprintf("198.51.100.10%d", n), time.Now().Add(-2*time.Hour).Unix(), n); err != nil {
			t.Fatal(err)
		}
	}
}

// handOver plays the turns, each by the real one, or with ours every other time.
func handOver(t *testing.T, lab *netlab.Lab, r references.Fail2ban, name string) (out []string) {
	h := &relay{newPlayRun(t, lab, name, r.Config, "", "", nil), r}
	for file, text := range map[string]string{
		"etc/jail.local": handoverJails, "etc/filter.d/web.conf": handoverFilter, "etc/action.d/note.conf": handoverAction, "etc/action.d/plain.conf": handoverPlain, "sshd.log": "",
		"grow.log": "", "ever.log": "",
	} {
		h.write(file, strings.ReplaceAll(text, "@D@", h.dir), false)
	}
	path := filepath.Join(h.dir, "f2b.sqlite3")
	restored := map[string]string{} // what a ban was for
	wants := func() (list []string) {
		for who, user := range restored {
			list = append(list, strings.TrimSuffix("ban "+who+" user="+user, " user=-"))
		}
		return list
	}
	var before map[string]dbBan
	ban := func(jail, who string, users ...string) {
		h.fail(jail, who, users...)
		restored[jail+" "+who] = users[0]
		delete(before, jail+" "+who)
	}
	for i := range 5 {
		n := i + 1
		ours := name == "relay" && i%2 == 1
		notes, tables := h.turn(ours, wants(), func() {
			ban("grow", fmt.Sprintf("192.0.2.%d", n), fmt.Sprintf("alice%d", n), "else")
			ban("grow", fmt.Sprintf("2001:db8::%d", n), fmt.Sprintf("bob%d", n), "else")
			ban("ever", fmt.Sprintf("203.0.113.%d", n), `carla';"\`, "else")
			who := fmt.Sprintf("198.51.100.%d", 20+n)
			lines, now := "", time.Now().UTC().Format(time.Stamp)
			for _, text := range []string{"Invalid user %s from %s port 40000", "Failed password for invalid user %s from %s port 40000 ssh2", "Failed password for invalid user %s from %s port 40000 ssh2"} {
				lines += fmt.Sprintf("%s host sshd[%d]: %s\n", now, 1000+n, fmt.Sprintf(text, "eve", who))
			}
			h.write("sshd.log", lines, true)
			h.noted("ban ssh " + who)
			restored["ssh "+who] = "-"
			if i > 0 { // somebody who was banned before, i times
				ban("grow", fmt.Sprintf("198.51.100.10%d", i), "dora")
			}
			if i == 0 {
				_, _ = h.ask("set", "grow", "banip", "198.51.100.7")
				h.noted("ban grow 198.51.100.7 ")
				restored["grow 198.51.100.7"] = ""
				return
			}
			// One that the other daemon made is lifted.
			was := fmt.Sprintf("grow 192.0.2.%d", i)
			_, _ = h.ask("set", "grow", "unbanip", fmt.Sprintf("192.0.2.%d", i))
			h.noted(fmt.Sprintf("unban %s user=alice%d", was, i))
			delete(restored, was)
		})
		out = append(out, notes+"\n"+tables)
		if i == 0 {
			pastBans(t, path)
		}
		// Nobody has read a line that the other one had read.
		log, _ := os.ReadFile(filepath.Join(h.dir, "f2b.log"))
		lines := 0
		for _, name := range []string{"grow.log", "ever.log", "sshd.log"} {
			text, _ := os.ReadFile(filepath.Join(h.dir, name))
			lines += strings.Count(string(text), "\n")
		}
		if found := len(playFound.FindAll(log, -1)); found != lines {
			t.Errorf("%s, turn %d: %d of %d lines were found:\n%s", name, n, found, lines, log)
		}
		// What nobody touched is as it was, to the second.
		now := map[string]dbBan{}
		for _, b := range dbRows(t, path, "bips") {
			now[b.jail+" "+b.ip] = b
		}
		for _, key := range slices.Sorted(maps.Keys(before)) {
			if _, on := restored[key]; on && now[key] != before[key] {
				t.Errorf("%s, turn %d: %+v has become %+v", name, n, before[key], now[key])
			}
		}
		before = now
	}
	return out
}
