package hub

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/eventlog"
	"bailiff/pkg/fleet"
	"bailiff/pkg/hosttest"
)

var cluster = flag.Bool("cluster", false, "run TestCluster")

// serveDir is a test's own process that is a hub.
func serveDir(t *testing.T) {
	t.Helper()
	t.Fatal(Run(context.Background(), os.Getenv("HUB_TEST_DIR"), RunOptions{Log: slog.New(eventlog.New(os.Stderr, "INFO"))}))
}

// TestCluster: three hubs, each a process of its own; the one that leads the stream is killed, and frozen: bans go
// on, nothing that was acknowledged is lost, and who was taken out is out everywhere.
func TestCluster(t *testing.T) {
	if os.Getenv("HUB_TEST_DIR") != "" {
		serveDir(t)
	}
	if !*cluster {
		t.Skip("three servers that elect, for a minute: go test ./pkg/hub -run TestCluster -cluster, which make soak does")
	}
	p := ports(t, 6)
	top := filepath.Join(t.TempDir(), "hubs")
	var o InitOptions
	o.Address, o.Names = "127.0.0.1", []string{"127.0.0.1"}
	for i, name := range []string{"a", "b", "c"} {
		m, err := ParseMember(fmt.Sprintf("%s=127.0.0.1:%d:%d", name, p[2*i], p[2*i+1]))
		if err != nil {
			t.Fatal(err)
		}
		o.Cluster = append(o.Cluster, m)
	}
	dirs, err := Init(top, o)
	if err != nil || len(dirs) != 3 {
		t.Fatal(dirs, err)
	}
	hubs := map[string]*exec.Cmd{}
	begin := func(dir string) {
		t.Helper()
		c := exec.Command(os.Args[0], "-test.run", "^TestCluster$", "-test.timeout", "1h")
		c.Env = append(os.Environ(), "HUB_TEST_DIR="+dir)
		c.Stderr = testWriter{t}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		hubs[filepath.Base(dir)] = c
	}
	t.Cleanup(func() {
		for _, c := range hubs {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	for _, dir := range dirs {
		set(t, dir, "burst = 100000", "rate = 10000.0")
		counted(t, dir, "maxretry = 2")
		begin(dir)
	}
	// status asks a hub other than the one that is named.
	status := func(but string) (Status, error) {
		for _, dir := range dirs {
			if filepath.Base(dir) == but {
				continue
			}
			c, err := Dial(dir, "")
			if err != nil {
				return Status{}, err
			}
			defer c.Close()
			return c.Status(within(t))
		}
		return Status{}, nil
	}
	await := func(but string, ok func(Status) bool) (s Status) {
		t.Helper()
		var err error
		if !hosttest.Soon(func() bool {
			s, err = status(but)
			return err == nil && ok(s)
		}) {
			t.Fatalf("%+v, %v", s, err)
		}
		return s
	}
	s := await("", func(s Status) bool { return s.Missing == 0 && s.Leader != "" })
	nc, files := joined(t, dirs[0], "web-1", TokenOptions{})
	second, files2 := joined(t, dirs[1], "web-2", TokenOptions{})
	urls := nc.Servers()
	if len(urls) != 3 {
		t.Fatalf("a host was told of %v", urls)
	}
	epoch := s.Epoch
	stored, gone := map[string]uint64{}, map[string]bool{}
	n := 0
	bans := func(count int) {
		t.Helper()
		for range count {
			n++
			from, key := nc, fleet.BanKey("web-1", "ssh", prefix(fmt.Sprintf("203.0.%d.%d", n>>8, n&255)))
			if n%2 == 0 {
				from, key = second, fleet.BanKey("web-2", "ssh", prefix(fmt.Sprintf("203.0.%d.%d", n>>8, n&255)))
			}
			switch a := say(t, from, key, fleet.Put{Entry: entry(uint64(n))}); a.Status {
			case fleet.Stored:
				stored[key.String()] = a.Rev
				if n%10 < 2 {
					stored[key.String()] = takenBack(t, from, key, a.Rev, uint64(n+1_000_000))
					gone[key.String()] = true
				}
			case fleet.Conflict: // the answer was lost
				stored[key.String()] = 0
			default:
				t.Fatalf("%d: %+v", n, a)
			}
		}
	}
	bans(20)
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTERM} {
		leader := await("", func(s Status) bool { return s.Leader != "" }).Leader
		began := time.Now()
		if err := hubs[leader].Process.Signal(how); err != nil {
			t.Fatal(err)
		}
		// The hosts that were connected to a frozen one can't know yet; pkg/fleet/link has them move when there are no beats.
		if how == syscall.SIGSTOP {
			for _, c := range []*nats.Conn{nc, second} {
				if u, err := url.Parse(c.ConnectedUrl()); err == nil && strconv.Itoa(o.Cluster[slices.IndexFunc(o.Cluster, func(m Member) bool { return m.Name == leader })].Port) == u.Port() {
					if err := c.ForceReconnect(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		bans(1)
		t.Logf("%v of the leader (%s): the next ban was stored after %v", how, leader, time.Since(began).Round(time.Millisecond))
		bans(20)
		if how == syscall.SIGSTOP {
			if err := hubs[leader].Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		} else {
			_ = hubs[leader].Wait()
			begin(dirs[slices.IndexFunc(dirs, func(d string) bool { return filepath.Base(d) == leader })])
		}
		await("", func(s Status) bool { return s.Missing == 0 && s.Leader != "" })
	}
	for _, dir := range dirs {
		c := client(t, dir)
		if s, err := c.Status(within(t)); err != nil || s.Epoch != epoch {
			t.Errorf("%s: epoch %s, %v; want %s", dir, s.Epoch, err, epoch)
		}
	}
	c := client(t, dirs[0])
	got, lost := holds(t, &Hub{js: c.js}), 0
	for key, rev := range stored {
		if have := got[key]; have == 0 || rev != 0 && have != rev {
			lost++
			t.Errorf("%s: was acknowledged as %d, and is %d", key, rev, have)
		}
	}
	t.Logf("the leader killed, frozen, ended: %d bans and %d lifts acknowledged, %d lost, %d resurrected", len(stored), len(gone), lost, revived(t, c.js, gone))

	// What two hosts tell of failures at two hubs is counted together.
	for i, host := range []struct{ name, files string }{{"web-1", files}, {"web-2", files2}} {
		one := host1(t, []string{fmt.Sprintf("tls://127.0.0.1:%d", o.Cluster[i].Port)}, host.name, host.files)
		word := fleet.Failures{Run: "r", Group: "ssh", Of: []fleet.FailuresOf{{Prefix: prefix("198.51.100.99"), Ages: []int64{0}}}}
		data, err := word.Encode()
		if err != nil {
			t.Fatal(err)
		}
		var a fleet.FailAnswer
		if !hosttest.Soon(func() bool {
			m, e := one.Request(fleet.FailSubject(host.name), data, 10*time.Second)
			if err = e; err == nil {
				a, err = fleet.DecodeFailAnswer(m.Data)
			}
			return err == nil && a.Reason == ""
		}) {
			t.Fatalf("%s: %+v, %v", host.name, a, err)
		}
	}
	var data []byte
	if !hosttest.Soon(func() bool {
		var rev uint64
		data, rev, err = last(within(t), c.js, fleet.Stream, fleet.StreamSubjects+"hub.b.ssh.4c6336463")
		e, bad := fleet.DecodeEntry(fleet.Ban, data)
		return err == nil && rev != 0 && bad == nil && e.Count == 2 && e.Jail == "web-1:1 web-2:1"
	}) {
		t.Fatalf("not banned by what was counted at two hubs: %s, %v", data, err)
	}

	// Taken out at one hub, out at each.
	if err := client(t, dirs[2]).Distrust(within(t), "web-1"); err != nil {
		t.Fatal(err)
	}
	for _, m := range o.Cluster {
		at := fmt.Sprintf("tls://127.0.0.1:%d", m.Port)
		if !hosttest.Soon(func() bool {
			one, err := nats.Connect(at, nats.RootCAs(filepath.Join(files, "fleet-ca.pem")), nats.UserCredentials(filepath.Join(files, "fleet.creds")), nats.NoReconnect())
			if err == nil {
				one.Close()
			}
			return err != nil
		}) {
			t.Errorf("hub %s lets in who was taken out", m.Name)
		}
	}
}
