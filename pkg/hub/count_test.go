package hub

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/link"
	"bailiff/pkg/hosttest"
)

// counted adds a group in which failures are counted to a hub's configuration.
func counted(t *testing.T, dir string, settings ...string) {
	t.Helper()
	appendTo(t, dir, "\n[count.ssh]\n"+strings.Join(settings, "\n")+"\n")
}

// failing tells an agent of failures.
func failing(t *testing.T, l *link.Link, who string, n int) {
	t.Helper()
	if !l.Do(within(t), func(a *fleet.Agent, now time.Time) { a.Failed(now, "ssh", prefix(who), now, n) }) {
		t.Fatal("the link has ended")
	}
}

// TestCount: five hosts at a real hub with one failure each have somebody banned on all; one of them alone never does; who is on the
// allow-list isn't; a lift has all begin anew; and so it is over restarts of the hub and of a host.
func TestCount(t *testing.T) {
	dir := made(t, `allow = ["198.51.100.64/26"]`)
	counted(t, dir, `maxretry = 5`, `hosts = 2`)
	h, stop := running(t, dir)
	var links []*link.Link
	var shuts []*shut
	for i := range 5 {
		l, s := countingAgent(t, dir, fmt.Sprint("web-", i+1), TokenOptions{Lifts: i == 0})
		links, shuts = append(links, l), append(shuts, s)
	}
	everywhere := func(who string, want bool) {
		t.Helper()
		for _, s := range shuts {
			s.has(t, who, want)
		}
	}
	for _, l := range links {
		failing(t, l, "198.51.100.7", 1)
		failing(t, l, "198.51.100.65", 5) // allowed
	}
	failing(t, links[0], "198.51.100.8", 50)
	everywhere("198.51.100.7", true)
	data, _, err := last(within(t), h.js, fleet.Stream, fleet.StreamSubjects+"hub.b.ssh.4c6336407")
	if err != nil {
		t.Fatal(err)
	}
	e, err := fleet.DecodeEntry(fleet.Ban, data)
	if err != nil || e.Failures != 5 || e.Count != 5 || e.Jail != "web-1:1 web-2:1 web-3:1 web-4:1 web-5:1" || e.Left != 3600 {
		t.Errorf("%s, %v", data, err)
	}
	// One host alone, whatever it says; another one's two are what its share lacks.
	for key := range holds(t, h) {
		if key != "hub.b.ssh.4c6336407" {
			t.Errorf("the stream has %s", key)
		}
	}
	failing(t, links[1], "198.51.100.8", 2)
	everywhere("198.51.100.8", true)
	if data, _, err = last(within(t), h.js, fleet.Stream, fleet.StreamSubjects+"hub.b.ssh.4c6336408"); err != nil || !strings.Contains(string(data), `"jail":"web-1:3 web-2:2"`) {
		t.Errorf("%s, %v", data, err)
	}
	// Lifted: what was before counts no more, on the hub and after its restart.
	if !links[0].Do(within(t), func(a *fleet.Agent, now time.Time) {
		a.Say(now, fleet.LiftKey("web-1", "ssh", prefix("198.51.100.7")), fleet.Entry{})
	}) {
		t.Fatal("the link has ended")
	}
	everywhere("198.51.100.7", false)
	for _, l := range links[:3] {
		failing(t, l, "203.0.113.9", 1)
	}
	until := func(l *link.Link, what string, is func(fleet.TallyStats) bool) {
		t.Helper()
		hosttest.Until(t, what, func() bool {
			got := make(chan fleet.TallyStats, 1)
			l.Do(within(t), func(a *fleet.Agent, _ time.Time) { got <- a.Tally() })
			return is(<-got)
		})
	}
	for _, l := range links[:3] {
		until(l, "all is told", func(s fleet.TallyStats) bool { return s.Waiting == 0 && s.Told > 0 })
	}
	s, err := client(t, dir).Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range s.Hosts {
		if want := map[bool]int{true: 1}[one.Name < "web-4"]; one.Counted != want {
			text, _ := json.Marshal(one)
			t.Errorf("%d are counted of it, not %d: %s", one.Counted, want, text)
		}
	}
	stop()
	// While there is no hub, a host counts for itself; what it has seen is told when there is one.
	failing(t, links[3], "203.0.113.9", 1)
	_, stop = running(t, dir)
	defer stop()
	failing(t, links[4], "203.0.113.9", 1)
	everywhere("203.0.113.9", true)
	everywhere("198.51.100.7", false)
	everywhere("198.51.100.8", true)
}

// TestCountAttacks: what a captured host can try where failures are counted, with a raw client, and what comes of it.
func TestCountAttacks(t *testing.T) {
	dir := made(t, `allow = ["198.51.100.64/26"]`)
	counted(t, dir, `maxretry = 5`)
	h, _ := running(t, dir)
	other, _ := joined(t, dir, "web-2", TokenOptions{})
	_, files := joined(t, dir, "web-1", TokenOptions{})
	refused := make(chan error, 64)
	nc := host1(t, h.cfg.URLs, "web-1", files, noting(refused))
	word := func(run string, n int, who ...string) []byte {
		f := fleet.Failures{Run: run, Group: "ssh"}
		for _, one := range who {
			f.Of = append(f.Of, fleet.FailuresOf{Prefix: prefix(one), Ages: make([]int64, n)})
		}
		data, err := f.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	ask := func(from *nats.Conn, name string, data []byte) fleet.FailAnswer {
		t.Helper()
		m, err := from.RequestWithContext(within(t), fleet.FailSubject(name), data)
		if err != nil {
			t.Fatal(err)
		}
		a, err := fleet.DecodeFailAnswer(m.Data)
		if err != nil {
			t.Fatalf("%s: %v", m.Data, err)
		}
		return a
	}
	for _, c := range []struct {
		name string
		do   func() string
	}{
		{"failures in another's name", func() string {
			if err := nc.Publish("fail.web-2", word("r", 5, "203.0.113.7")); err != nil {
				return err.Error()
			}
			violation(t, refused, "fail.web-2")
			return ""
		}},
		{"in the hub's", func() string {
			if err := nc.Publish("fail.hub", word("r", 5, "203.0.113.7")); err != nil {
				return err.Error()
			}
			violation(t, refused, "fail.hub")
			return ""
		}},
		{"to hear what others tell", func() string {
			if _, err := nc.SubscribeSync("fail.*"); err != nil {
				return err.Error()
			}
			violation(t, refused, "fail.*")
			return ""
		}},
		{"a customer banned by itself: more failures than ban, in many lives of its daemon", func() string {
			for i := range 20 {
				if a := ask(nc, "web-1", word(fmt.Sprint("life", i), fleet.AgesMost, "203.0.113.7")); a.Reason != "" && a.Reason != fleet.Rate {
					return fmt.Sprintf("%+v", a)
				}
			}
			return ""
		}},
		{"the same, with what another one has seen once", func() string {
			ask(other, "web-2", word("r", 1, "203.0.113.7"))
			return ""
		}},
		{"an address of the allow-list, a network around it, the hub, half of the world", func() string {
			who := []string{"198.51.100.65", "198.51.100.0/24", "127.0.0.1", "0.0.0.0/1"}
			if a := ask(nc, "web-1", word("r", 5, who...)); a.Reason != "" {
				return fmt.Sprintf("%+v", a)
			}
			if a := ask(other, "web-2", word("r", 5, who...)); a.Reason != "" {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		}},
		{"a group that isn't counted", func() string {
			data := strings.Replace(string(word("r", 1, "203.0.113.8")), `"ssh"`, `"mail"`, 1)
			if a := ask(nc, "web-1", []byte(data)); a.Reason != fleet.NoCount {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		}},
		{"what is no word of failures", func() string {
			for _, data := range []string{"", "{}", strings.Repeat("x", payloadMost), strings.Replace(string(word("r", 1, "203.0.113.8")), `"ages":[0]`, `"ages":[-5]`, 1), `{"v":1,"status":"ok","rev":7}`} {
				if a := ask(nc, "web-1", []byte(data)); a.Reason != fleet.BadEntry {
					return fmt.Sprintf("%.40q: %+v", data, a)
				}
			}
			return ""
		}},
		{"an answer that goes to another's failures, or put", func() string {
			for _, reply := range []string{"fail.web-2", "put.web-2.b.ssh.4c6336409", "live.bans.hub.b.ssh.4cb007107", "$KV.bans.hub.b.ssh.4cb007107"} {
				if err := nc.PublishMsg(&nats.Msg{Subject: "fail.web-1", Reply: reply, Data: word("r", 1, "203.0.113.8")}); err != nil {
					return err.Error()
				}
			}
			return ""
		}},
		{"faster than it may, and another one is counted all the while", func() string {
			rate := 0
			for i := range 300 {
				if a := ask(nc, "web-1", word("r", 1, fmt.Sprintf("203.0.113.%d", i%200+20))); a.Reason == fleet.Rate {
					rate++
				}
			}
			if rate == 0 {
				return "it may send as fast as it likes"
			}
			if a := ask(other, "web-2", word("r", 1, "203.0.113.9")); a.Reason != "" {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		}},
	} {
		if err := c.do(); err != "" {
			t.Errorf("%s: %s", c.name, err)
		}
		h.gate.counts.mu.Lock()
		due := h.gate.counts.c.Due(h.gate.counts.now(), 10)
		h.gate.counts.mu.Unlock()
		if got := holds(t, h); len(got) != 0 || len(due) != 0 {
			t.Fatalf("%s: the stream has %v, %v are due", c.name, got, due)
		}
	}
	// What it can do: so much is bounded by its share. Two real failures of others are as good as five.
	ask(other, "web-2", word("r", 2, "203.0.113.7"))
	hosttest.Until(t, "two hosts together have somebody banned", func() bool {
		_, is := holds(t, h)["hub.b.ssh."+fleet.Token(netip.MustParsePrefix("203.0.113.7/32"))]
		return is
	})
	if err := client(t, dir).Distrust(within(t), "web-1"); err != nil {
		t.Fatal(err)
	}
	hosttest.Until(t, "none of its addresses is counted, since it was taken out", func() bool {
		h.gate.counts.mu.Lock()
		defer h.gate.counts.mu.Unlock()
		return h.gate.counts.c.Held("web-1") == 0
	})
}

// TestCountTwice: what another hub has banned for the same count a moment ago is not banned again; a ban of long ago is replaced.
func TestCountTwice(t *testing.T) {
	dir := made(t)
	counted(t, dir, `maxretry = 2`, `bantime = "2h"`)
	h, _ := running(t, dir)
	key := fleet.BanKey(fleet.Hub, "ssh", prefix("198.51.100.7"))
	v := fleet.Verdict{Group: "ssh", Prefix: prefix("198.51.100.7"), Failures: 2, By: []fleet.CountedBy{{Host: "a", Failures: 1}, {Host: "b", Failures: 1}}}
	rev := func() uint64 { return holds(t, h)[key.String()] }
	h.gate.counts.ban(within(t), v)
	first := rev()
	h.gate.counts.ban(within(t), v)
	if first == 0 || rev() != first {
		t.Errorf("number %d, then %d", first, rev())
	}
	old := entry(uint64(time.Now().Add(-time.Hour).UnixMilli()))
	data, err := old.Encode(fleet.Ban)
	if err != nil {
		t.Fatal(err)
	}
	second, err := put(within(t), h.js, fleet.StreamSubjects+key.String(), data, first, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	h.gate.counts.ban(within(t), v)
	if rev() <= second {
		t.Errorf("number %d stays", second)
	}
	// Whom the allow-list names by now is due no more.
	h.gate.counts.ban(within(t), fleet.Verdict{Group: "ssh", Prefix: prefix("127.0.0.1"), Failures: 2, By: v.By})
	if got := holds(t, h); len(got) != 1 {
		t.Errorf("the stream has %v", got)
	}
}

// TestCountRegions: what hosts of a region and of the root have seen is counted together, at the root, and the root's allow-list comes to
// hosts of the region.
func TestCountRegions(t *testing.T) {
	o := newOperator(t)
	root, at := belowed(t)
	set(t, root, `allow_key = "`+o.public+`"`)
	counted(t, root, `maxretry = 2`)
	list := o.sign(t, 1, "203.0.113.9")
	if _, err := PublishAllow(root, list); err != nil {
		t.Fatal(err)
	}
	_, _ = running(t, root)
	_, _ = keeping(t, regional(t, root, "east", rootDomain, newCable(t, at)))
	connected(t, root, 1)
	center, a := countingAgent(t, root, "web-1", TokenOptions{})
	east, b := countingAgent(t, root, "web-2", TokenOptions{Region: "east"})
	failing(t, center, "198.51.100.7", 1)
	failing(t, east, "198.51.100.7", 1)
	a.has(t, "198.51.100.7", true)
	b.has(t, "198.51.100.7", true)
	for _, l := range []*link.Link{center, east} {
		if got, err := l.AllowList(within(t), 0); err != nil || string(got) != string(list) {
			t.Errorf("%q, %v", got, err)
		}
	}
}
