package hub

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/pkg/fleet"
	"bailiff/pkg/hosttest"
)

// flood has a host say so many bans at once, and counts what is answered.
func flood(t *testing.T, nc *nats.Conn, host string, n int) (stored int, no map[fleet.Reason]int) {
	t.Helper()
	answers := nats.NewInbox()
	answers = fleet.InboxPrefix + host + answers[strings.IndexByte(answers, '.'):]
	sub := listen1(t, nc, answers)
	for i := range n {
		key := fleet.BanKey(host, "ssh", prefix(fmt.Sprintf("203.0.113.%d", i)))
		data, err := fleet.Put{Entry: entry(uint64(i + 1))}.Encode(key.Kind)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest(fleet.PutSubject(key), answers, data); err != nil {
			t.Fatal(err)
		}
	}
	no = map[fleet.Reason]int{}
	for range n {
		m, err := sub.NextMsgWithContext(within(t))
		if err != nil {
			t.Fatal(err)
		}
		a, err := fleet.DecodeAnswer(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status == fleet.Stored {
			stored++
		} else {
			no[a.Reason]++
		}
	}
	return stored, no
}

// TestQuota: a host has its own limits, and while what it has is counted for the first time, no answer says that its
// quota is used up; hub.toml that is read again holds from then on, and one that is wrong changes nothing.
func TestQuota(t *testing.T) {
	dir := made(t, "quota = 3")
	add := func(text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, ConfigFile), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	add("\n[hosts.many]\nquota = 500\n")
	h, _ := running(t, dir)
	many, _ := joined(t, dir, "many", TokenOptions{})
	few, _ := joined(t, dir, "few", TokenOptions{})
	// As many as may be on their way: all come while the host is not counted yet.
	if stored, no := flood(t, many, "many", flyingMost); stored+no[fleet.StaleEpoch]+no[fleet.TooMany] != flyingMost || no[fleet.Quota] > 0 || stored == 0 {
		t.Errorf("many: %d of %d stored, %v", stored, flyingMost, no)
	}
	if stored, no := flood(t, few, "few", 20); stored != 3 || no[fleet.Quota] == 0 {
		t.Errorf("few: %d stored, %v", stored, no)
	}
	c := client(t, dir)
	if s, err := c.Status(within(t)); err != nil || len(s.Hosts) != 2 || s.Hosts[0].Quota != 3 || s.Hosts[1].Quota != 500 {
		t.Errorf("%+v, %v", s.Hosts, err)
	}

	set(t, dir, "quota = 10", `store = "2GB"`, "entries = 5000", `allow = ["198.51.100.0/24"]`)
	r, err := c.Reload(within(t))
	if want := "changed: quota, entries, allow; changed by a restart of the hub only: store"; err != nil || r.String() != want {
		t.Errorf("%s, %v; want %s", r, err, want)
	}
	if a := say(t, many, fleet.BanKey("many", "ssh", prefix("198.51.100.7")), fleet.Put{Entry: entry(900)}); a.Reason != fleet.Allowed {
		t.Errorf("an address that is allowed now: %+v", a)
	}
	var a fleet.Answer
	if !hosttest.Soon(func() bool { // who has its quota is counted anew every ten seconds
		a = say(t, few, fleet.BanKey("few", "ssh", prefix("203.0.113.201")), fleet.Put{Entry: entry(901)})
		return a.Status == fleet.Stored
	}) {
		t.Errorf("with a larger quota: %+v", a)
	}
	s, err := h.js.Stream(within(t), fleet.Stream)
	if err != nil {
		t.Fatal(err)
	}
	var info *jetstream.StreamInfo
	if !hosttest.Soon(func() bool {
		info, err = s.Info(within(t))
		return err == nil && info.Config.MaxMsgs == 5000
	}) {
		t.Fatalf("entries of the stream: %+v, %v", info, err)
	}
	if r, err := c.Reload(within(t)); err != nil || len(r.Changed) > 0 || !slices.Equal(r.Restart, []string{"store"}) {
		t.Errorf("once more: %s, %v", r, err)
	}
	add("quotas = 5\n")
	if r, err := c.Reload(within(t)); err == nil || !strings.Contains(err.Error(), "hosts.many.quotas: no such setting") {
		t.Errorf("a wrong file: %s, %v", r, err)
	}
	if _, err := Reload(context.Background(), dir); err == nil || !strings.Contains(err.Error(), "no such setting") {
		t.Errorf("a wrong file: %v", err)
	}
	if got := h.gate.config(); got.Quota != 10 || got.Hosts["many"].Quota != 500 {
		t.Errorf("after a wrong file: %+v", got)
	}
}
