package hub

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/hosttest"
)

// beats waits for a beat of another epoch than was, and returns it.
func beats(t *testing.T, sub *nats.Subscription, was string) string {
	t.Helper()
	for {
		m, err := sub.NextMsgWithContext(within(t))
		if err != nil {
			t.Fatalf("no beat with another epoch: %v", err)
		}
		if s, err := fleet.ReadLive(m.Subject, m.Header, m.Data); err == nil && s.Key.Kind == fleet.Beat && s.Epoch != was {
			return s.Epoch
		}
	}
}

func listen1(t *testing.T, nc *nats.Conn, subject string) *nats.Subscription {
	t.Helper()
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return sub
}

// TestBucketLost: a stream that was deleted is made anew, and one that was put back from a backup is known for
// that: either has another epoch, and takes bans again.
func TestBucketLost(t *testing.T) {
	dir := made(t)
	h, stop := running(t, dir)
	nc, files := joined(t, dir, "web-1", TokenOptions{})
	live := listen1(t, nc, fleet.LiveSubjects+fleet.BeatKey().String())
	first := beats(t, live, "")
	key := func(i int) fleet.Key { return fleet.BanKey("web-1", "ssh", prefix(fmt.Sprintf("198.51.100.%d", i))) }
	store := func(i int, nc *nats.Conn) {
		t.Helper()
		if a := say(t, nc, key(i), fleet.Put{Entry: entry(uint64(i))}); a.Status != fleet.Stored {
			t.Fatalf("%d: %+v", i, a)
		}
	}
	store(1, nc)
	c := client(t, dir)
	if err := c.js.DeleteStream(within(t), fleet.Stream); err != nil {
		t.Fatal(err)
	}
	second := beats(t, live, first)
	store(2, nc)
	// Who was taken out stays so, though who is in the fleet is forgotten, too.
	_, bad := joined(t, dir, "bad", TokenOptions{})
	if err := c.Distrust(within(t), "bad"); err != nil {
		t.Fatal(err)
	}
	letIn := func() bool {
		nc, err := nats.Connect(h.cfg.URLs[0], nats.RootCAs(filepath.Join(bad, enrol.AuthorityFile)), nats.UserCredentials(filepath.Join(bad, enrol.CredentialsFile)))
		if err == nil {
			nc.Close()
		}
		return err == nil
	}
	// The hub looks every two seconds; what is lost before that, it never knew.
	if !hosttest.Soon(func() bool { return !letIn() }) {
		t.Fatal("a host that was taken out is let in for a minute")
	}
	if err := c.js.DeleteStream(within(t), membersStream); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, h); len(got) != 2 || got[fleet.DistrustKey("bad").String()] == 0 {
		t.Errorf("in the new stream: %v", got)
	}
	stop()

	// A copy as a backup has it; then more bans; then the copy is put back.
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(dir, storeDir))); err != nil {
		t.Fatal(err)
	}
	_, stop = running(t, dir)
	if letIn() {
		t.Error("a host that was taken out is let in")
	}
	nc = host1(t, h.cfg.URLs, "web-1", files)
	store(3, nc)
	stop()
	if err := os.RemoveAll(filepath.Join(dir, storeDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, storeDir), os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, storeDir), 0o700); err != nil {
		t.Fatal(err)
	}
	h, stop = running(t, dir)
	nc = host1(t, h.cfg.URLs, "web-1", files)
	live = listen1(t, nc, fleet.LiveSubjects+fleet.BeatKey().String())
	third := beats(t, live, second)
	if third == first {
		t.Error("an epoch came back")
	}
	store(4, nc)
	got := holds(t, h)
	if len(got) != 3 || got[key(2).String()] == 0 || got[key(4).String()] == 0 {
		t.Errorf("after the backup was put back: %v", got)
	}
	stop()
	// Where the whole directory was put back, who did it removes what the hub remembers.
	if err := os.Remove(filepath.Join(dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	h, stop = running(t, dir)
	if h.bucket.epoch == third {
		t.Error("without state.json the epoch stays")
	}
	third = h.bucket.epoch
	stop()
	// Without that, it stays as it is.
	h, _ = running(t, dir)
	if h.bucket.epoch != third {
		t.Errorf("after one more start the epoch is %s, and was %s", h.bucket.epoch, third)
	}
}

// TestKilled: what was acknowledged is there after a kill in the midst of it.
func TestKilled(t *testing.T) {
	if os.Getenv("HUB_TEST_DIR") != "" {
		serveDir(t)
	}
	dir := made(t, "burst = 100000", "rate = 10000.0")
	begin := func() *exec.Cmd {
		c := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
		c.Env = append(os.Environ(), "HUB_TEST_DIR="+dir)
		c.Stderr = testWriter{t}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	hub := begin()
	defer func() { _ = hub.Process.Kill(); _ = hub.Wait() }()
	var c *Client
	var err error
	if !hosttest.Soon(func() bool {
		if c, err = Dial(dir, ""); err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Token(within(t), TokenOptions{Valid: time.Hour})
		return err == nil
	}) {
		t.Fatal(err)
	}
	nc, _ := joined(t, dir, "web-1", TokenOptions{})
	revs, gone := map[string]uint64{}, map[string]bool{}
	n := 0
	for round := range 3 {
		kill := 40 + 7*round
		for i := range 80 {
			n++
			key := fleet.BanKey("web-1", "ssh", prefix(fmt.Sprintf("203.0.%d.%d", 100+round, i)))
			data, err := fleet.Put{Entry: entry(uint64(n))}.Encode(fleet.Ban)
			if err != nil {
				t.Fatal(err)
			}
			if i == kill {
				// In the midst of one that is on its way.
				if err := nc.Publish(fleet.PutSubject(key), data); err != nil {
					t.Fatal(err)
				}
				if err := hub.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				_ = hub.Wait()
				hub = begin()
			}
			a := sayRaw(t, nc, &nats.Msg{Subject: fleet.PutSubject(key), Data: data})
			switch a.Status {
			case fleet.Stored:
				revs[key.String()] = a.Rev
			case fleet.Conflict: // it was stored, and the answer was lost
				revs[key.String()] = 0
			default:
				t.Fatalf("%+v", a)
			}
			if i%5 == 0 && a.Status == fleet.Stored {
				n++
				revs[key.String()] = takenBack(t, nc, key, a.Rev, uint64(n))
				gone[key.String()] = true
			}
		}
	}
	c = client(t, dir)
	got := holds(t, &Hub{js: c.js})
	lost := 0
	for key, rev := range revs {
		if have := got[key]; have == 0 || rev != 0 && have != rev {
			lost++
			t.Errorf("%s: was acknowledged as %d, and is %d", key, rev, have)
		}
	}
	t.Logf("3 kills, %d bans and %d lifts acknowledged, %d lost, %d resurrected", len(revs), len(gone), lost, revived(t, c.js, gone))
}

// takenBack has a host lift its own ban, and returns the number of that; 0: the answer was lost.
func takenBack(t *testing.T, nc *nats.Conn, key fleet.Key, rev, n uint64) uint64 {
	t.Helper()
	e := entry(n)
	e.Left, e.Count, e.Failures = 0, 0, 0
	a := say(t, nc, key, fleet.Put{Expect: rev, Entry: e})
	if a.Status != fleet.Stored && a.Status != fleet.Conflict {
		t.Fatalf("%s is not taken back: %+v", key, a)
	}
	return a.Rev
}

// revived is how many of those that were taken back are bans again.
func revived(t *testing.T, js jetstream.JetStream, gone map[string]bool) (n int) {
	t.Helper()
	for key := range gone {
		data, rev, err := last(within(t), js, fleet.Stream, fleet.StreamSubjects+key)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := fleet.DecodeEntry(fleet.Ban, data); rev == 0 || err != nil || !e.Gone() {
			n++
			t.Errorf("%s was taken back, and is %s, %v", key, data, err)
		}
	}
	return n
}

// TestDiskFull: a start says so; at work, hosts are told, and what was acknowledged stays; with room again, it goes on.
func TestDiskFull(t *testing.T) {
	for _, again := range []string{"", "started anew"} {
		t.Run(again, func(t *testing.T) { diskFull(t, again) })
	}
}

func diskFull(t *testing.T, again string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts a file system")
	}
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=24m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) })
	dir := filepath.Join(mount, "hub")
	if _, err := Init(dir, InitOptions{Names: []string{"127.0.0.1"}, Address: "127.0.0.1", Port: ports(t, 1)[0]}); err != nil {
		t.Fatal(err)
	}
	set(t, dir, `store = "20MB"`, "burst = 100000", "rate = 10000.0")
	ctx, stop := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan struct{})
	serve := func() {
		ctx, stop = context.WithCancel(context.Background())
		ready = make(chan struct{})
		go func() { done <- Run(ctx, dir, RunOptions{Log: logged(t), Ready: func() { close(ready) }}) }()
		select {
		case <-ready:
		case err := <-done:
			t.Fatal(err)
		}
	}
	end := func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	stop()
	serve()
	nc, _ := joined(t, dir, "web-1", TokenOptions{})
	stored, gone := map[string]uint64{}, map[string]bool{}
	for i := range 20 {
		key := fleet.BanKey("web-1", "ssh", prefix(fmt.Sprintf("198.51.100.%d", 100+i)))
		a := say(t, nc, key, fleet.Put{Entry: entry(uint64(i + 1))})
		stored[key.String()] = takenBack(t, nc, key, a.Rev, uint64(i+1_000_000))
		gone[key.String()] = true
	}
	ballast := filepath.Join(mount, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	full := false
	for i := 0; i < 20_000 && !full; i++ {
		key := fleet.BanKey("web-1", "ssh", prefix(fmt.Sprintf("203.%d.%d.%d", i>>16, i>>8&255, i&255)))
		data, err := fleet.Put{Entry: entry(uint64(i + 1))}.Encode(fleet.Ban)
		if err != nil {
			t.Fatal(err)
		}
		m, err := nc.Request(fleet.PutSubject(key), data, patience)
		if err != nil {
			t.Fatal(err)
		}
		a, err := fleet.DecodeAnswer(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		switch a.Status {
		case fleet.Stored:
			stored[key.String()] = a.Rev
		case fleet.Busy:
			full = true
		default:
			t.Fatalf("%+v", a)
		}
	}
	if !full {
		t.Fatalf("%d entries fit on a full disk", len(stored))
	}
	if again != "" {
		// The start of another hub on that disk.
		end()
		if h, err := Open(context.Background(), dir, RunOptions{Log: logged(t)}); err == nil || !strings.Contains(err.Error(), "the disk is full") {
			if err == nil {
				h.Close()
			}
			t.Errorf("a start on a full disk: %v", err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if again != "" {
		serve()
	}
	defer end()
	if a := say(t, nc, fleet.BanKey("web-1", "ssh", prefix("198.51.100.7")), fleet.Put{Entry: entry(100_000)}); a.Status != fleet.Stored {
		t.Errorf("with room again: %+v", a)
	}
	c := client(t, dir)
	got, lost := holds(t, &Hub{js: c.js}), 0
	for key, rev := range stored {
		if got[key] != rev {
			lost++
			t.Errorf("%s was acknowledged as %d, and is %d", key, rev, got[key])
		}
	}
	t.Logf("until the disk was full: %d bans and %d lifts acknowledged, %d lost, %d resurrected", len(stored), len(gone), lost, revived(t, c.js, gone))
}
