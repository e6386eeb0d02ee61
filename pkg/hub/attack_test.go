package hub

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
)

// victim is what a captured host would like to say in another's name.
const victim = "web-2.b.ssh.4c6336409"

// heard is all that a host hears of the stream, until what another hub host says is heard: then all that came before
// was heard, too.
type heard struct {
	t    *testing.T
	nc   *nats.Conn
	sub  *nats.Subscription
	n    uint64
	last uint64
}

func newHeard(t *testing.T, nc *nats.Conn) *heard {
	t.Helper()
	sub, err := nc.SubscribeSync(fleet.LiveSubjects + ">")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return &heard{t: t, nc: nc, sub: sub}
}

// until says something itself, and returns what is believed of all that came before it, by key.
func (h *heard) until() map[string]fleet.Said {
	h.t.Helper()
	key := fleet.BanKey("web-2", "marks", prefix("203.0.113.99"))
	h.n++
	a := say(h.t, h.nc, key, fleet.Put{Expect: h.last, Entry: entry(h.n)})
	if a.Status != fleet.Stored {
		h.t.Fatalf("mark: %+v", a)
	}
	h.last = a.Rev
	out := map[string]fleet.Said{}
	for {
		m, err := h.sub.NextMsgWithContext(within(h.t))
		if err != nil {
			h.t.Fatal(err)
		}
		s, err := fleet.ReadLive(m.Subject, m.Header, m.Data)
		if err != nil {
			continue // what a reader drops
		}
		if s.Key == key && s.Rev == a.Rev {
			return out
		}
		out[s.Key.String()] = s
	}
}

// TestCapturedHost: a host whose credentials somebody else has, with a raw client of NATS', and what comes of each
// thing that it could try: nothing but its own words, within its limits, is ever stored or believed; at a hub, and at a
// NATS server of the operator's own.
func TestCapturedHost(t *testing.T) {
	limits := []string{`allow = ["198.51.100.64/26", "2001:db8:a::/48"]`, `quota = 40`}
	t.Run("hub", func(t *testing.T) { captured(t, made(t, limits...)) })
	t.Run("external", func(t *testing.T) {
		dir, conf := outside(t, limits...)
		serving(t, conf)
		captured(t, dir)
	})
}

func captured(t *testing.T, dir string) {
	h, _ := running(t, dir)
	ready(t, dir, 1)
	other, _ := joined(t, dir, "web-2", TokenOptions{})
	lifter, _ := joined(t, dir, "admin", TokenOptions{Lifts: true})
	_, files := joined(t, dir, "web-1", TokenOptions{})
	refused := make(chan error, 64)
	nc := host1(t, h.cfg.URLs, "web-1", files, noting(refused))
	ears := newHeard(t, other)

	own := fleet.BanKey("web-1", "ssh", prefix("198.51.100.7"))
	first := say(t, nc, own, fleet.Put{Entry: entry(1)})
	if first.Status != fleet.Stored {
		t.Fatalf("%+v", first)
	}
	encoded, err := entry(2).Encode(fleet.Ban)
	if err != nil {
		t.Fatal(err)
	}
	data, err := fleet.Put{Entry: entry(2)}.Encode(fleet.Ban)
	if err != nil {
		t.Fatal(err)
	}
	// raw sends as it is, and waits until the server has taken it.
	raw := func(m *nats.Msg) {
		t.Helper()
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(key string, p fleet.Put) fleet.Answer {
		t.Helper()
		k, err := fleet.ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return say(t, nc, k, p)
	}
	no := func(r fleet.Reason) func(fleet.Answer) string {
		return func(a fleet.Answer) string {
			if a.Reason != r {
				return fmt.Sprintf("answered %+v, want %s", a, r)
			}
			return ""
		}
	}
	header := func(pairs ...string) nats.Header {
		h := nats.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
		}
		return h
	}
	// violates is an attack that the server itself refuses.
	violates := func(subject string) func() string {
		return func() string {
			raw(&nats.Msg{Subject: subject, Data: data})
			violation(t, refused, subject)
			return ""
		}
	}
	n := uint64(10)
	newer := func(change func(*fleet.Entry)) fleet.Put {
		n++
		e := entry(n)
		change(&e)
		return fleet.Put{Entry: e}
	}
	for _, c := range []struct {
		name string
		do   func() string
		own  int // new keys of its own that come of it
	}{
		{"a ban in another's name", violates("put." + victim), 0},
		{"a ban in the hub's name", violates("put.hub.b.ssh.4c6336409"), 0},
		{"into the stream itself", violates("$KV.bans." + victim), 0},
		{"into the stream, its own key", violates("$KV.bans." + own.String()), 0},
		{"what was stored, told by itself", violates("live.bans." + victim), 0},
		{"a beat of its own", violates("live.bans.hub.b.beat"), 0},
		{"a lift, though it may not lift", violates("put.web-1.l.ssh.4c6336409"), 0},
		{"a lift of a whole host", violates("put.hub.o.web-2"), 0},
		{"the stream's API: purge", violates("$JS.API.STREAM.PURGE.KV_bans"), 0},
		{"the stream's API: delete", violates("$JS.API.STREAM.DELETE.KV_bans"), 0},
		{"the stream's API: update", violates("$JS.API.STREAM.UPDATE.KV_bans"), 0},
		{"the stream's API: a consumer", violates("$JS.API.CONSUMER.CREATE.KV_bans"), 0},
		{"the stream's API: direct get, as the hub has it", violates("$JS.API.DIRECT.GET.KV_bans"), 0},
		{"the server's API", violates("$SYS.REQ.ACCOUNT.PING"), 0},
		{"a token of its own", violates(enrol.JoinSubject), 0},
		{"another host leaves", violates(enrol.LeaveSubjects + "web-2"), 0},
		{"failures in another's name, to be counted over all hosts", violates(fleet.FailSubject("web-2")), 0},
		{"failures in the hub's name", violates(fleet.FailSubject(fleet.Hub)), 0},
		{"the allow-list, asked for in another's name", violates(fleet.AllowSubjects + "web-2"), 0},
		{"between the hubs", violates(changedSubject), 0},
		{"a host that is named *", violates("put.*.b.ssh.4c6336409"), 0},
		{"another's answers", func() string {
			if _, err := nc.SubscribeSync(fleet.InboxPrefix + "web-2.>"); err != nil {
				return err.Error()
			}
			violation(t, refused, fleet.InboxPrefix+"web-2.>")
			return ""
		}, 0},
		{"forged origin: the answer of a put goes into the stream", func() string {
			raw(&nats.Msg{Subject: "put." + own.String(), Reply: "$KV.bans." + victim, Data: data})
			return ""
		}, 0},
		{"forged origin: the answer of a put is another's put", func() string {
			raw(&nats.Msg{Subject: "put." + own.String(), Reply: "put." + victim, Data: data})
			return ""
		}, 0},
		{"forged origin: the answer of a put is told as stored", func() string {
			raw(&nats.Msg{Subject: "put." + own.String(), Reply: "live.bans." + victim, Data: data})
			return ""
		}, 0},
		{"forged origin: a direct get goes into the stream", func() string {
			raw(&nats.Msg{Subject: fleet.GetSubject, Reply: "$KV.bans." + victim, Data: fmt.Appendf(nil, `{"seq":%d}`, first.Rev)})
			return ""
		}, 0},
		{"forged origin: a direct get is another's put", func() string {
			raw(&nats.Msg{Subject: fleet.GetSubject, Reply: "put." + victim, Data: fmt.Appendf(nil, `{"seq":%d}`, first.Rev)})
			return ""
		}, 0},
		{"forged origin: a direct get is told as stored", func() string {
			raw(&nats.Msg{Subject: fleet.GetSubject, Reply: "live.bans." + victim, Data: fmt.Appendf(nil, `{"seq":%d}`, first.Rev)})
			return ""
		}, 0},
		{"forged origin: leaving is another's put", func() string {
			raw(&nats.Msg{Subject: "put." + own.String(), Reply: enrol.LeaveSubjects + "web-2", Data: data})
			return ""
		}, 0},
		{"lying headers", func() string {
			m := &nats.Msg{Subject: "put.web-1.b.ssh.4c633640a", Data: data, Header: header(
				"Nats-Subject", "$KV.bans."+victim, "Nats-Sequence", "9", "Nats-Stream", "KV_bans", "Nats-Time-Stamp", "2026-01-01T00:00:00Z", "Status", "204", "Nats-Num-Pending", "0")}
			if a := sayRaw(t, nc, m); a.Status != fleet.Stored {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		}, 1},
		{"headers with a blank line inside", func() string {
			raw(&nats.Msg{Subject: "put.web-1.b.ssh.4c633640b", Data: data, Header: header("X", "1\r\n\r\nNats-Subject: $KV.bans."+victim)})
			return ""
		}, 1},
		{"roll-up", func() string {
			m := &nats.Msg{Subject: "put." + own.String(), Header: header("Nats-Rollup", "all")}
			m.Data, _ = newer(func(*fleet.Entry) {}).Encode(fleet.Ban)
			if a := sayRaw(t, nc, m); a.Status != fleet.Conflict { // as without the header: there is one already
				return fmt.Sprintf("%+v", a)
			}
			return ""
		}, 0},
		{"purge and delete, as key-value clients do it", func() string {
			for _, op := range []string{"PURGE", "DEL"} {
				if a := sayRaw(t, nc, &nats.Msg{Subject: "put." + own.String(), Header: header("KV-Operation", op, "Nats-Rollup", "sub")}); a.Reason != fleet.BadEntry {
					return fmt.Sprintf("%+v", a)
				}
			}
			return ""
		}, 0},
		{"Msg-Id of another's message", func() string {
			m := &nats.Msg{Subject: "put.web-1.b.ssh.4c633640c", Data: data, Header: header("Nats-Msg-Id", "one")}
			if a := sayRaw(t, nc, m); a.Status != fleet.Stored {
				return fmt.Sprintf("%+v", a)
			}
			k, _ := fleet.ParseKey("web-2.b.ssh.4c633640c")
			e, _ := fleet.Put{Entry: entry(1)}.Encode(fleet.Ban)
			if a := sayRaw(t, other, &nats.Msg{Subject: fleet.PutSubject(k), Data: e, Header: header("Nats-Msg-Id", "one")}); a.Status != fleet.Stored {
				return fmt.Sprintf("the other's own is lost: %+v", a)
			}
			return ""
		}, 1},
		{"TTL never", func() string {
			m := &nats.Msg{Subject: "put.web-1.b.ssh.4c633640d", Data: data, Header: header("Nats-TTL", "never")}
			if a := sayRaw(t, nc, m); a.Status != fleet.Stored {
				return fmt.Sprintf("%+v", a)
			}
			s, err := h.js.Stream(within(t), fleet.Stream)
			if err != nil {
				return err.Error()
			}
			stored, err := s.GetLastMsgForSubject(within(t), "$KV.bans.web-1.b.ssh.4c633640d")
			if err != nil || stored.Header.Get("Nats-TTL") != "3605s" && stored.Header.Get("Nats-TTL") != "1h0m5s" {
				return fmt.Sprintf("TTL %q, %v", stored.Header.Get("Nats-TTL"), err)
			}
			return ""
		}, 1},
		{"a ban of a hundred years", func() string {
			a := ask("web-1.b.ssh.4c633640e", newer(func(e *fleet.Entry) { e.Left = 100 * 365 * 24 * 3600 }))
			b := ask("web-1.b.ssh.4c633640f", newer(func(e *fleet.Entry) { e.Left = fleet.Permanent }))
			if a.Status != fleet.Stored || b.Status != fleet.Stored {
				return fmt.Sprintf("%+v %+v", a, b)
			}
			said := ears.until()
			for _, key := range []string{"web-1.b.ssh.4c633640e", "web-1.b.ssh.4c633640f"} {
				if left := said[key].Entry.Left; left != 7*24*3600 {
					return fmt.Sprintf("%s: %d s left", key, left)
				}
			}
			return ""
		}, 2},
		{"a value of 5 kB", func() string {
			// The server cuts off who sends more than he may: another connection of the same host.
			closed := make(chan struct{})
			big := host1(t, h.cfg.URLs, "web-1", files, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
			if err := big.Publish("put."+own.String(), make([]byte, payloadMost+1)); err != nil {
				return "" // the client itself knows
			}
			select {
			case <-closed:
			case <-time.After(patience):
				return "it is connected still"
			}
			return ""
		}, 0},
		{"a value of 4 kB", func() string {
			return no(fleet.BadEntry)(sayRaw(t, nc, &nats.Msg{Subject: "put." + own.String(), Data: make([]byte, payloadMost)}))
		}, 0},
		{"JSON with more in it", func() string {
			more := strings.Replace(string(data), `"v":1`, `"v":1,"host":"web-2"`, 1)
			return no(fleet.BadEntry)(sayRaw(t, nc, &nats.Msg{Subject: "put." + own.String(), Data: []byte(more)}))
		}, 0},
		{"an entry without what is around it", func() string {
			return no(fleet.BadEntry)(sayRaw(t, nc, &nats.Msg{Subject: "put." + own.String(), Data: encoded}))
		}, 0},
		{"a key in another form", func() string {
			return no(fleet.BadKey)(sayRaw(t, nc, &nats.Msg{Subject: "put.web-1.b.ssh.4C6336407", Data: data}))
		}, 0},
		{"a key that is a beat's", func() string {
			return no(fleet.BadKey)(sayRaw(t, nc, &nats.Msg{Subject: "put.web-1.b.beat", Data: data}))
		}, 0},
		{"to have seen the future", func() string {
			return no(fleet.BadSeen)(ask("web-1.b.ssh.4c6336410", newer(func(e *fleet.Entry) { e.Seen, e.Epoch = 1<<50, h.bucket.epoch })))
		}, 0},
		{"the hub banned", func() string {
			return no(fleet.Allowed)(ask("web-1.b.ssh.47f000001", newer(func(*fleet.Entry) {})))
		}, 0},
		{"0.0.0.0/1", func() string {
			return no(fleet.TooWide)(ask("web-1.b.ssh.400000000-1", newer(func(*fleet.Entry) {})))
		}, 0},
		{"::/0", func() string {
			return no(fleet.TooWide)(ask("web-1.b.ssh.600000000000000000000000000000000-0", newer(func(*fleet.Entry) {})))
		}, 0},
		{"an address of the allow-list", func() string {
			return no(fleet.Allowed)(ask("web-1.b.ssh.4c6336441", newer(func(*fleet.Entry) {})))
		}, 0},
		{"a network around the allow-list", func() string {
			if err := no(fleet.Allowed)(ask("web-1.b.ssh.4c6336400-24", newer(func(*fleet.Entry) {}))); err != "" {
				return err
			}
			return no(fleet.Allowed)(ask("web-1.b.ssh.620010db8000000000000000000000000-32", newer(func(*fleet.Entry) {})))
		}, 0},
		{"more than its quota", func() string {
			stored := 0
			for i := range 200 {
				a := ask(fmt.Sprintf("web-1.b.many.4cb0071%02x", i), newer(func(*fleet.Entry) {}))
				switch {
				case a.Status == fleet.Stored:
					stored++
				case a.Reason != fleet.Quota:
					return fmt.Sprintf("%+v", a)
				}
			}
			if n, err := h.gate.count(within(t), "web-1"); err != nil || n != 40 {
				return fmt.Sprintf("%d entries, %d stored now, %v", n, stored, err)
			}
			// What it has may still be replaced, and taken back.
			if a := say(t, nc, own, fleet.Put{Expect: first.Rev, Entry: fleet.Entry{Jail: "sshd", N: 1000}}); a.Status != fleet.Stored && a.Status != fleet.Conflict {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		}, -1},
	} {
		before := len(holds(t, h))
		if err := c.do(); err != "" {
			t.Errorf("%s: %s", c.name, err)
		}
		for key, s := range ears.until() {
			if s.Key.Host != "web-1" && key != "hub.b.beat" && key != "web-2.b.ssh.4c633640c" {
				t.Errorf("%s: a reader believes %s: %+v", c.name, key, s)
			}
		}
		got := holds(t, h)
		for key := range got {
			if k, err := fleet.ParseKey(key); err != nil || k.Host == "web-2" && key != "web-2.b.marks.4cb007163" && key != "web-2.b.ssh.4c633640c" || k.Host == fleet.Hub || k.Host == "admin" {
				t.Errorf("%s: the stream has %s", c.name, key)
			}
		}
		if more := len(got) - before; c.own >= 0 && more > c.own+2 {
			t.Errorf("%s: %d more keys in the stream", c.name, more)
		}
		if t.Failed() {
			return
		}
	}
	// Who may lift does, but no larger network than may be banned.
	lift := func(where string, p fleet.Put) fleet.Answer {
		return say(t, lifter, fleet.LiftKey("admin", "ssh", prefix(where)), p)
	}
	if a := lift("198.51.100.7", fleet.Put{Entry: fleet.Entry{N: 1}}); a.Status != fleet.Stored {
		t.Errorf("who may lift: %+v", a)
	}
	if a := lift("0.0.0.0/1", fleet.Put{Entry: fleet.Entry{N: 2}}); a.Reason != fleet.TooWide {
		t.Errorf("half of the world is lifted: %+v", a)
	}
	c := client(t, dir)
	s, err := c.Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range s.Hosts {
		if one.Name == "web-1" && (one.Entries != 40 || one.Refused[fleet.Quota] == 0 || one.Refused[fleet.TooWide] != 2 || one.Connected == nil) {
			text, _ := json.Marshal(one)
			t.Errorf("status tells %s", text)
		}
	}
}

// TestRate: a host that sends faster than it may is answered so, and another one is stored all the while.
func TestRate(t *testing.T) {
	dir := made(t, `rate = 0.1`, `burst = 20`)
	_, _ = running(t, dir)
	mad, _ := joined(t, dir, "mad", TokenOptions{})
	good, _ := joined(t, dir, "good", TokenOptions{})
	got := map[fleet.Reason]int{}
	stored := 0
	for i := range 400 {
		a := say(t, mad, fleet.BanKey("mad", "ssh", prefix(fmt.Sprintf("203.0.113.%d", i%250))), fleet.Put{Entry: entry(uint64(i + 1))})
		if a.Status == fleet.Stored {
			stored++
		}
		got[a.Reason]++
		if i == 200 {
			if a := say(t, good, fleet.BanKey("good", "ssh", prefix("198.51.100.7")), fleet.Put{Entry: entry(1)}); a.Status != fleet.Stored {
				t.Errorf("another one: %+v", a)
			}
		}
	}
	// 20 at once, and one every ten seconds.
	if stored < 20 || got[fleet.Rate] < 300 {
		t.Errorf("%d stored; %v", stored, got)
	}
}
