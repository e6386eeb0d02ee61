package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
)

// TestHub: a host joins, says a ban, another one hears and reads it; the second word with a wrong number is a
// conflict; all is there after a restart, and the epoch is the same.
func TestHub(t *testing.T) {
	dir := made(t)
	h, stop := running(t, dir)
	one, _ := joined(t, dir, "web-1", TokenOptions{})
	two, files := joined(t, dir, "web-2", TokenOptions{})
	live, err := two.SubscribeSync(fleet.LiveSubjects + ">")
	if err != nil {
		t.Fatal(err)
	}
	if err := two.Flush(); err != nil {
		t.Fatal(err)
	}
	key := fleet.BanKey("web-1", "ssh", prefix("198.51.100.7"))
	a := say(t, one, key, fleet.Put{Entry: entry(1)})
	if a.Status != fleet.Stored {
		t.Fatalf("%+v", a)
	}
	for {
		m, err := live.NextMsgWithContext(within(t))
		if err != nil {
			t.Fatal(err)
		}
		s, err := fleet.ReadLive(m.Subject, m.Header, m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if s.Key.Kind == fleet.Beat {
			if s.Epoch != h.bucket.epoch {
				t.Errorf("the beat is of epoch %q", s.Epoch)
			}
			continue
		}
		if s.Key != key || s.Rev != a.Rev || s.Entry != entry(1) {
			t.Errorf("heard %+v", s)
		}
		break
	}
	// The same again, as after an answer that was lost.
	if again := say(t, one, key, fleet.Put{Entry: entry(1)}); again.Status != fleet.Conflict {
		t.Errorf("the same once more: %+v", again)
	}
	if b := say(t, one, key, fleet.Put{Expect: a.Rev, Entry: entry(2)}); b.Status != fleet.Stored {
		t.Errorf("a newer one: %+v", b)
	}
	epoch := h.bucket.epoch
	stop()

	h, _ = running(t, dir)
	if h.bucket.epoch != epoch {
		t.Errorf("after a restart the epoch is %s, and was %s", h.bucket.epoch, epoch)
	}
	if got := holds(t, h); len(got) != 1 || got[key.String()] <= a.Rev {
		t.Errorf("after a restart: %v", got)
	}
	// What a host reads is what is there.
	two = host1(t, h.cfg.URLs, "web-2", files)
	inbox := two.NewRespInbox()
	answers, err := two.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := two.PublishRequest(fleet.GetSubject, inbox, []byte(`{"seq":1,"batch":10}`)); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; {
		m, err := answers.NextMsgWithContext(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("Status") == "204" {
			if n == 0 {
				t.Error("the stream is told as empty")
			}
			break
		}
		s, err := fleet.ReadStored(m.Header, m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if s.Key == key {
			n++
			if s.Entry != entry(2) {
				t.Errorf("read %+v", s)
			}
		}
	}
}

// TestDirectory: what is secret is its owner's alone; nothing is written over; a directory of others' is refused.
func TestDirectory(t *testing.T) {
	dir := made(t)
	if m, err := os.Stat(dir); err != nil || m.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", m.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 14 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		if m, err := e.Info(); err != nil || m.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), m.Mode(), err)
		}
	}
	if _, err := Init(dir, InitOptions{Names: []string{"127.0.0.1"}}); err == nil || !strings.Contains(err.Error(), "nothing is written over") {
		t.Errorf("a second init: %v", err)
	}
	refused := func(want string) {
		t.Helper()
		h, err := Open(context.Background(), dir, RunOptions{Log: logged(t)})
		if err == nil {
			h.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if err := checkOwner(dir, os.Geteuid()+1); err == nil || !strings.Contains(err.Error(), "belongs to") {
		t.Errorf("another's directory: %v", err)
	}
	file := filepath.Join(dir, operatorKey+".nk")
	for mode, want := range map[os.FileMode]string{0o644: "may be read by others"} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		refused(want)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	// Somebody else has the port.
	cfg, err := ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		t.Fatal(err)
	}
	refused("another program, or another hub, has that port")
	l.Close()
	// A certificate that has ended.
	authority, err := readPair(dir, authorityFile, authorityKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	old, err := newServer(authority, cfg.Name, []string{"127.0.0.1"}, time.Now().Add(-serverLasts-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	certs, key, err := old.files()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{serverFile: certs, serverKeyFile: key} {
		if err := replace(filepath.Join(dir, name), data); err != nil {
			t.Fatal(err)
		}
	}
	refused("the certificate ended on")
	if _, err := Renew(dir, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := readPair(dir, serverFile, serverKeyFile); err != nil || fmt.Sprint(sans(got.cert)) != "[127.0.0.1]" {
		t.Errorf("renewed: %v, %v", sans(got.cert), err)
	}
	running(t, dir)
}

// TestJoin: a token lets in one host, once; names are unique; who was taken out stays out, and may be let in
// again by a new token, with a new key.
func TestJoin(t *testing.T) {
	dir := made(t)
	h, _ := running(t, dir)
	c := client(t, dir)
	token, err := c.Token(within(t), TokenOptions{Valid: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"*", ">", "hub", "a.b", "", "Web", "-a", strings.Repeat("a", 64)} {
		if _, err := enrol.Join(within(t), token, name, t.TempDir()); err == nil {
			t.Errorf("a host may be named %q", name)
		}
		// Nor by who does not ask that himself.
		data, err := json.Marshal(enrol.Request{V: enrol.Version, ID: token.ID, Secret: token.Secret, Name: name, Key: newUser(t)})
		if err != nil {
			t.Fatal(err)
		}
		if reply, _, err := h.members.join(within(t), data); err != nil || reply.Refused != saidName {
			t.Errorf("a host that is named %q is answered %+v, %v", name, reply, err)
		}
		if _, err := signHost(h.keys, name, newUser(t), false); err == nil {
			t.Errorf("%q is signed", name)
		}
	}
	join := func(token enrol.Token, name string) error {
		_, err := enrol.Join(within(t), token, name, filepath.Join(t.TempDir(), "fleet"))
		return err
	}
	want := func(err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v; want %q", err, text)
		}
	}
	other := token
	other.Secret = strings.Repeat("a", 32)
	want(join(other, "web-1"), saidToken)
	other = token
	other.Pin = enrol.Pin([]byte("another certificate"))
	want(join(other, "web-1"), "is not the hub of the token")
	if err := join(token, "web-1"); err != nil {
		t.Fatal(err)
	}
	want(join(token, "web-2"), saidUsed)
	named, err := c.Token(within(t), TokenOptions{Name: "web-3", Valid: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	want(join(named, "web-1"), saidOther)
	if err := join(named, "web-3"); err != nil {
		t.Fatal(err)
	}
	third, err := c.Token(within(t), TokenOptions{Valid: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	want(join(third, "web-1"), saidTaken)

	// A token's user asks to be let in, and nothing else.
	refused := make(chan error, 16)
	raw, err := nats.Connect(h.cfg.URLs[0], nats.Secure(trusting(t, dir)), nats.UserJWTAndSeed(third.JWT, third.Seed), nats.CustomInboxPrefix(enrol.JoinInboxes+third.ID), noting(refused))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	for _, subject := range []string{fleet.LiveSubjects + ">", ">", enrol.JoinInboxes + ">", fleet.InboxPrefix + ">"} {
		if _, err := raw.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		violation(t, refused, subject)
	}
	for _, subject := range []string{"put.web-1.b.ssh.4c6336409", fleet.GetSubject, statusSubject, changedSubject, "$JS.API.INFO"} {
		if err := raw.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		violation(t, refused, subject)
	}
	nc, files := joined(t, dir, "web-4", TokenOptions{})
	key := fleet.BanKey("web-4", "ssh", prefix("198.51.100.9"))
	if a := say(t, nc, key, fleet.Put{Entry: entry(1)}); a.Status != fleet.Stored {
		t.Fatalf("%+v", a)
	}
	cut := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(cut) })
	if err := c.Distrust(within(t), "web-4"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-cut: // it tried again, and was refused twice
	case <-time.After(patience):
		t.Error("a host that was taken out is connected still")
	}
	if _, err := nats.Connect(h.cfg.URLs[0], nats.RootCAs(filepath.Join(files, enrol.AuthorityFile)), nats.UserCredentials(filepath.Join(files, enrol.CredentialsFile))); err == nil {
		t.Error("a host that was taken out is let in")
	}
	if got := holds(t, h); len(got) != 1 || got[fleet.DistrustKey("web-4").String()] == 0 {
		t.Errorf("what it said is not lifted: %v", got)
	}
	if err := c.Distrust(within(t), "nobody"); err == nil {
		t.Error("a host that is none was taken out")
	}
	back, _ := joined(t, dir, "web-4", TokenOptions{Lifts: true})
	lift := fleet.LiftKey("web-4", "ssh", prefix("198.51.100.9"))
	if a := say(t, back, lift, fleet.Put{Entry: fleet.Entry{N: 2}}); a.Status != fleet.Stored {
		t.Errorf("a host that is back, and may lift: %+v", a)
	}
	s, err := c.Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Hosts) != 3 || len(s.Hubs) != 1 || s.Missing != 0 || s.Hosts[2].Name != "web-4" || !s.Hosts[2].Lifts || s.Hosts[2].Connected == nil || s.Hosts[2].Entries != 1 || s.Hosts[2].Stored != 2 || s.Hosts[0].Connected != nil {
		t.Errorf("status: %+v", s)
	}
}

// TestLeave: a host that leaves is out, and what it said is lifted.
func TestLeave(t *testing.T) {
	dir := made(t)
	h, _ := running(t, dir)
	nc, files := joined(t, dir, "web-1", TokenOptions{})
	if a := say(t, nc, fleet.BanKey("web-1", "ssh", prefix("198.51.100.9")), fleet.Put{Entry: entry(1)}); a.Status != fleet.Stored {
		t.Fatalf("%+v", a)
	}
	if err := enrol.Leave(within(t), h.cfg.URLs, "web-2", files); err == nil {
		t.Error("a host has another one leave")
	}
	if err := enrol.Leave(within(t), h.cfg.URLs, "web-1", files); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, h); len(got) != 1 || got[fleet.DistrustKey("web-1").String()] == 0 {
		t.Errorf("what it said is not lifted: %v", got)
	}
	if err := enrol.Remove(files); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(files); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}
