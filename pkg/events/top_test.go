package events

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func topTable(t *testing.T, list ...*Event) *Table {
	t.Helper()
	table := Open(Options{})
	t.Cleanup(table.Close)
	for _, e := range list {
		table.add(e, false)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if n, _, _ := table.Last(); n >= uint64(len(list)) {
			return table
		}
		if time.Now().After(end) {
			t.Fatal("events are not written")
		}
	}
}

func TestTop(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	table := topTable(t,
		&Event{Kind: Found, Time: at.Add(-time.Hour), Jail: "sshd", IP: "203.0.113.99", User: "old"},
		&Event{Kind: Found, Time: at, Jail: "sshd", IP: "192.0.2.7", User: "root"},
		&Event{Kind: Found, Time: at, Jail: "sshd", IP: "192.0.2.8", User: "root"},
		&Event{Kind: Found, Time: at, Jail: "web", IP: "192.0.2.7", User: "\x1b[31m\u202eevil\n"},
		&Event{Kind: Ban, Time: at.Add(time.Second), Jail: "web", IP: "192.0.2.7"},
		&Event{Kind: Ban, Time: at, Jail: "web", IP: "2001:db8:7::/56"},
		&Event{Kind: Ban, Time: at, Jail: "web", IP: "alice", Name: true, Address: "198.51.100.7"},
		&Event{Kind: Ban, Time: at, Jail: "web", IP: "bob", Name: true},
		&Event{Kind: Unban, Time: at, Jail: "web", IP: "192.0.2.8"},
		&Event{Kind: More, What: Found, Count: 50, Time: at, Jail: "sshd"},
		&Event{Kind: More, What: Ban, Count: 7, Time: at, Jail: "sshd"},
	)
	for _, x := range []struct {
		q    TopQuery
		want string
	}{
		{TopQuery{What: "ip", Most: 10, Since: at}, "192.0.2.7 2+1, 192.0.2.8 1+0, 198.51.100.7 0+1, 2001:db8:7::/56 0+1; 50"},
		{TopQuery{What: "ip", Most: 1}, "192.0.2.7 2+1; 50"},
		{TopQuery{What: "ip", Most: 10, Since: at, Jail: "web"}, "192.0.2.7 1+1, 198.51.100.7 0+1, 2001:db8:7::/56 0+1; 0"},
		{TopQuery{What: "network", Most: 10, Since: at}, "192.0.2.0/24 3+1, 198.51.100.0/24 0+1, 2001:db8:7::/48 0+1; 50"},
		{TopQuery{What: "user", Most: 10, Since: at}, "root 2+0, \ufffd[31m\ufffdevil\ufffd 1+0; 50"},
		{TopQuery{What: "jail", Most: 10, Since: at}, "web 1+4, sshd 2+0; 50"},
	} {
		top, err := TopOf(table.Reader(0), x.q)
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		for _, m := range top.Entries {
			parts = append(parts, fmt.Sprintf("%s %d+%d", m.Key, m.Failures, m.Bans))
		}
		if got := fmt.Sprintf("%s; %d", strings.Join(parts, ", "), top.Uncounted); got != x.want {
			t.Errorf("%+v:\n%s, want\n%s", x.q, got, x.want)
		}
	}
}

// TestTopMany: whoever invents a name each time takes no more than his share, and those that come again and
// again are still told.
func TestTopMany(t *testing.T) {
	counted := map[string]*Most{}
	missing := 0
	for n := range 5 * countedMost {
		for _, key := range []string{fmt.Sprint("name", n), "root"} {
			if key == "root" && n%10 > 0 {
				continue
			}
			m := counted[key]
			if m == nil {
				if len(counted) >= countedMost {
					missing = max(missing, forget(counted))
				}
				m = &Most{Key: key}
				counted[key] = m
			}
			m.Failures++
		}
	}
	if len(counted) > countedMost || missing != 1 {
		t.Errorf("%d are counted, %d missing", len(counted), missing)
	}
	if all := mostOf(counted); all[0].Key != "root" || all[0].Failures != 5*countedMost/10 {
		t.Errorf("the first is %+v", *all[0])
	}
	if s := Clean(strings.Repeat("ü", 100), 21); s != strings.Repeat("ü", 10)+"…" {
		t.Errorf("cut: %q", s)
	}
}
