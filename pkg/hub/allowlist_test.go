package hub

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/allow"
	"bailiff/pkg/hosttest"
)

// operator is who signs the allow-list.
type operator struct {
	seed   []byte
	public string
}

func newOperator(t *testing.T) operator {
	t.Helper()
	seed, public, err := allow.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return operator{seed, public}
}

func (o operator) sign(t *testing.T, version uint64, who ...string) []byte {
	t.Helper()
	l := allow.List{Version: version}
	for _, one := range who {
		if err := l.Add(prefix(one)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := allow.Sign(l, o.seed)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestAllowList: a list that an operator has signed comes to hosts by the hub: it ends what is in force, the hub refuses what it names,
// and what is struck off it may be banned again. What is older, unsigned or of another key the hub doesn't hand on; and one that
// is captured, and does, is believed by nobody.
func TestAllowList(t *testing.T) {
	o := newOperator(t)
	dir := made(t, `allow_key = "`+o.public+`"`)
	// It looks into its directory when it is told to: so it stays captured for as long as it is to be.
	was := lookEvery
	lookEvery = time.Hour
	t.Cleanup(func() { lookEvery = was })
	h, _ := running(t, dir)
	var held allow.Held
	l, s := agentWith(t, dir, "web-1", TokenOptions{}, fleet.Policy{Groups: map[string]int{"ssh": 1}, Never: held.Holds})
	nc, _ := joined(t, dir, "web-2", TokenOptions{})
	version := uint64(0)
	// ask is what a host does every half a minute.
	ask := func() (changed bool, err error) {
		was, _ := held.Get()
		data, err := l.AllowList(within(t), was.Version)
		if err != nil || len(data) == 0 {
			return false, err
		}
		if changed, err = held.Take(data, o.public); changed {
			l.Do(within(t), func(a *fleet.Agent, now time.Time) { a.Recheck(now) })
		}
		return changed, err
	}
	until := func(want uint64) {
		t.Helper()
		if !hosttest.Soon(func() bool {
			_, err := ask()
			if err != nil && !errors.Is(err, fleet.ErrNoResponders) && !errors.Is(err, nats.ErrNoResponders) {
				t.Fatal(err)
			}
			got, _ := held.Get()
			version = got.Version
			return version == want
		}) {
			t.Fatalf("version %d is held, not %d", version, want)
		}
	}
	ban := func(who string) fleet.Answer {
		return say(t, nc, fleet.BanKey("web-2", "ssh", prefix(who)), fleet.Put{Entry: entry(1)})
	}
	for _, who := range []string{"198.51.100.7", "203.0.113.9"} {
		if a := ban(who); a.Status != fleet.Stored {
			t.Fatalf("%+v", a)
		}
		s.has(t, who, true)
	}
	// There is none yet.
	var err error
	if !hosttest.Soon(func() bool {
		var changed bool
		if changed, err = ask(); changed {
			t.Fatal("there is a list already")
		}
		return err == nil
	}) {
		t.Fatal(err)
	}
	two := o.sign(t, 2, "198.51.100.0/24")
	if _, err := PublishAllow(dir, two); err != nil {
		t.Fatal(err)
	}
	h.lookSoon()
	until(2)
	s.has(t, "198.51.100.7", false)
	s.has(t, "203.0.113.9", true)
	for _, who := range []string{"198.51.100.8", "198.51.0.0/16"} {
		if a := ban(who); a.Reason != fleet.Allowed {
			t.Errorf("%s: %+v", who, a)
		}
	}

	// What is no newer list of the operator's is not handed on, and it is said why.
	foreign := newOperator(t)
	bad := map[string]struct {
		text []byte
		want error
	}{
		"an older one":                 {o.sign(t, 1), allow.ErrOlder},
		"another one of that version":  {o.sign(t, 2, "203.0.113.0/24"), allow.ErrOther},
		"of another key":               {foreign.sign(t, 9, "203.0.113.0/24"), allow.ErrForeign},
		"changed after it was signed":  {[]byte(strings.Replace(string(two), "198.51.100.0/24", "0.0.0.0/8", 1)), allow.ErrForged},
		"with a newer version painted": {[]byte(strings.Replace(string(two), "version 2", "version 9", 1)), allow.ErrForged},
		"unsigned":                     {two[:strings.Index(string(two), "signature ")], allow.ErrForm},
		"no list":                      {[]byte("198.51.100.0/24\n"), allow.ErrForm},
	}
	for what, c := range bad {
		if _, err := PublishAllow(dir, c.text); !errors.Is(err, c.want) {
			t.Errorf("published %s: %v", what, err)
		}
	}
	// A captured hub hands on what it likes, under a key of its own, or nothing.
	for what, c := range bad {
		h.gate.signed.Store(&signedAllow{allow.List{Version: 99, Prefixes: []netip.Prefix{prefix("203.0.113.0/24")}}, c.text})
		if changed, err := ask(); changed || !errors.Is(err, c.want) {
			t.Errorf("a captured hub hands on %s: taken %v, %v", what, changed, err)
		}
		if got, _ := held.Get(); got.Version != 2 || !held.Holds(prefix("198.51.100.7")) || held.Holds(prefix("203.0.113.9")) {
			t.Errorf("after %s the host holds %+v", what, got)
		}
	}
	s.has(t, "198.51.100.7", false)
	s.has(t, "203.0.113.9", true)
	h.gate.signed.Store(nil)
	if changed, err := ask(); changed || err != nil || !held.Holds(prefix("198.51.100.7")) {
		t.Errorf("a captured hub hands on nothing: taken %v, %v", changed, err)
	}

	// The operator strikes it off: it is shut out again.
	if _, err := PublishAllow(dir, o.sign(t, 3, "203.0.113.9")); err != nil {
		t.Fatal(err)
	}
	h.lookSoon()
	until(3)
	s.has(t, "198.51.100.7", true)
	s.has(t, "203.0.113.9", false)
	// An old copy of the file, put back into the hub's directory, has nobody take it.
	if err := os.WriteFile(filepath.Join(dir, allowFile), two, 0o600); err != nil {
		t.Fatal(err)
	}
	h.lookSoon()
	if !hosttest.Soon(func() bool {
		_, err = ask()
		return errors.Is(err, allow.ErrOlder)
	}) {
		t.Fatalf("an old copy: %v", err)
	}
	s.has(t, "198.51.100.7", true)
}

// TestAllowAttacks: what a captured host can try on the allow-list, with a raw client.
func TestAllowAttacks(t *testing.T) {
	o := newOperator(t)
	dir := made(t, `allow_key = "`+o.public+`"`)
	two := o.sign(t, 2, "198.51.100.0/24")
	if _, err := PublishAllow(dir, two); err != nil {
		t.Fatal(err)
	}
	h, _ := running(t, dir)
	other, _ := joined(t, dir, "web-2", TokenOptions{})
	_, files := joined(t, dir, "web-1", TokenOptions{})
	refused := make(chan error, 64)
	nc := host1(t, h.cfg.URLs, "web-1", files, noting(refused))
	// To ask in another's name, to hear what others ask, and to answer them.
	subject, data, err := fleet.AllowAsked("web-2", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{subject, "fleet.allow.*", fleet.InboxPrefix + "web-2.x"} {
		if err := nc.Publish(to, data); err != nil {
			t.Fatal(err)
		}
		violation(t, refused, to)
	}
	if _, err := nc.SubscribeSync("fleet.allow.*"); err != nil {
		t.Fatal(err)
	}
	violation(t, refused, "fleet.allow.*")
	// To have the hub's answers to its own questions come to another as a list: none is one.
	inbox, err := other.SubscribeSync(fleet.InboxPrefix + "web-2.list")
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	put, err := fleet.Put{Entry: entry(1)}.Encode(fleet.Ban)
	if err != nil {
		t.Fatal(err)
	}
	own, _, _ := fleet.AllowAsked("web-1", 0)
	for _, m := range []*nats.Msg{
		{Subject: "put.web-1.b.ssh.4cb007109", Data: put}, {Subject: "fail.web-1", Data: []byte("x")}, {Subject: fleet.GetSubject, Data: []byte(`{"seq":1}`)}, {Subject: own, Data: []byte("x")}, {Subject: own, Data: data},
	} {
		m.Reply = fleet.InboxPrefix + "web-2.list"
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if a := say(t, nc, fleet.BanKey("web-1", "ssh", prefix("203.0.113.10")), fleet.Put{Entry: entry(2)}); a.Status != fleet.Stored {
		t.Fatalf("%+v", a)
	}
	var held allow.Held
	for {
		m, err := inbox.NextMsg(300 * time.Millisecond)
		if err != nil {
			break // nothing more comes
		}
		if changed, err := held.Take(m.Data, o.public); err == nil && string(m.Data) != string(two) || changed && string(m.Data) != string(two) {
			t.Errorf("%q is taken for a list: %v", m.Data, err)
		}
	}
	// A ban of who is on the list, or of a network around it.
	for _, who := range []string{"198.51.100.7", "198.51.0.0/16"} {
		if a := say(t, nc, fleet.BanKey("web-1", "ssh", prefix(who)), fleet.Put{Entry: entry(3)}); a.Reason != fleet.Allowed {
			t.Errorf("%s: %+v", who, a)
		}
	}
	// A host that asks again and again is answered with nothing.
	empty := 0
	for range 200 {
		m, err := nc.RequestWithContext(within(t), own, data)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Data) == 0 {
			empty++
		}
	}
	if empty == 0 {
		t.Error("the hub hands on a list as often as it is asked for")
	}
}
