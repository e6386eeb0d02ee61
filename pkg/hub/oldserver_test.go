package hub

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/fleet/link"
)

var oldServer = flag.String("old-nats-server", "", "run TestOldServer with NATS' own program of a version before 2.15.2")

// TestOldServer: a real NATS server of before, with all that nats.conf says: gatekeeper and host each say which version it is and
// which is wanted, once; what the host has to say waits, and nothing of it is lost.
func TestOldServer(t *testing.T) {
	if *oldServer == "" {
		t.Skip("it needs a NATS server 2.10, which scripts/nats-server v2.10.29 FILE builds through the Go proxy: go test ./pkg/hub -run TestOldServer -old-nats-server FILE, which make soak does")
	}
	dir, conf := outside(t)
	program(t, *oldServer, conf)
	const want = "want 2.15.2 or newer"
	log, stop := keeping(t, dir)
	log.await(want)
	time.Sleep(3 * lookEvery) // it goes on trying, and has nothing new to say
	stop()
	if n, all := log.count(want), log.count("ERROR"); n != 1 || all != 1 {
		t.Errorf("the gatekeeper told %d times, and of %d errors in all", n, all)
	}

	k, err := readKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signHost(k, "web-1", public(pair), false)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), enrol.CredentialsFile)
	if err := os.WriteFile(file, enrol.Credentials(signed, string(seed)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	told := &notes{t: t}
	l, err := link.New(link.Options{
		Host: "web-1", URLs: cfg.URLs, Now: time.Now, Connect: link.Credentials(file, filepath.Join(dir, authorityFile)),
		Tell: func(what string, err error) {
			if err != nil {
				_, _ = told.Write([]byte(what + ": " + err.Error()))
			}
		},
	}, fleet.Policy{Groups: map[string]int{"ssh": 1}}, fleet.Start{}, &shut{all: map[netip.Prefix]time.Time{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	end := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	told.await(want)
	tell(t, l, fleet.BanKey("web-1", "ssh", prefix("198.51.100.7")), fleet.Entry{Jail: "sshd", Left: 3600, Count: 1, Failures: 5})
	time.Sleep(8 * time.Second) // longer than any patience of the agent's
	stats := make(chan fleet.Stats, 1)
	if !l.Do(within(t), func(a *fleet.Agent, _ time.Time) { stats <- a.Stats() }) {
		t.Fatal("the link has ended")
	}
	if s := <-stats; s.Waiting != 1 || s.Complete {
		t.Errorf("%+v", s)
	}
	end()
	if n, all := told.count(want), told.count(""); n != 1 || all != 1 {
		t.Errorf("the host told %d times, and of %d things in all", n, all)
	}
}
