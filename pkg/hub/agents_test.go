package hub

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/fleet/link"
	"bailiff/pkg/hosttest"
)

// shut is a host's firewall, as far as its agent is concerned.
type shut struct {
	mu  sync.Mutex
	all map[netip.Prefix]time.Time
	own []uint64 // bans of its own that were lifted elsewhere
	// steps are clocks that were set.
	steps []time.Duration
}

func (s *shut) Changed(c fleet.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Until.IsZero() {
		delete(s.all, c.Prefix)
	} else {
		s.all[c.Prefix] = c.Until
	}
	if c.Lifted != 0 {
		s.own = append(s.own, c.Lifted)
	}
}

func (s *shut) All(all iter.Seq[fleet.Change]) {
	s.mu.Lock()
	clear(s.all)
	s.mu.Unlock()
	for c := range all {
		s.Changed(c)
	}
}

func (s *shut) Keep(fleet.Kept) {}

func (s *shut) Refused(fleet.Out, fleet.Reason) {}

func (s *shut) Clock(by time.Duration, _ bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, by)
}

// has waits until somebody is shut out, or is not.
func (s *shut) has(t *testing.T, who string, want bool) {
	t.Helper()
	hosttest.Until(t, fmt.Sprintf("%s: shut out is %v", who, want), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, is := s.all[prefix(who)]
		return is == want
	})
}

// agent is a host's, connected by its own link.
func agent(t *testing.T, dir, name string, o TokenOptions) (*link.Link, *shut) {
	t.Helper()
	return agentWith(t, dir, name, o, fleet.Policy{Groups: map[string]int{"ssh": 1}})
}

// countingAgent is one whose failures are counted over all hosts.
func countingAgent(t *testing.T, dir, name string, o TokenOptions) (*link.Link, *shut) {
	t.Helper()
	return agentWith(t, dir, name, o, fleet.Policy{Groups: map[string]int{"ssh": 1}, Counts: map[string]bool{"ssh": true}})
}

func agentWith(t *testing.T, dir, name string, o TokenOptions, p fleet.Policy) (*link.Link, *shut) {
	t.Helper()
	nc, files := joined(t, dir, name, o)
	urls := nc.Servers()
	nc.Close()
	return linked(t, name, files, urls, p)
}

// linked is the agent of a host that is in the fleet.
func linked(t *testing.T, name, files string, urls []string, p fleet.Policy, more ...nats.Option) (*link.Link, *shut) {
	t.Helper()
	s := &shut{all: map[netip.Prefix]time.Time{}}
	l, err := link.New(link.Options{
		Host: name, URLs: urls, Now: time.Now, Tell: func(what string, err error) { t.Log(name, what, err) },
		Connect: append(link.Credentials(filepath.Join(files, enrol.CredentialsFile), filepath.Join(files, enrol.AuthorityFile)), more...),
	}, p, fleet.Start{}, s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	return l, s
}

// tell has a host's agent say something.
func tell(t *testing.T, l *link.Link, k fleet.Key, e fleet.Entry) {
	t.Helper()
	if !l.Do(within(t), func(a *fleet.Agent, now time.Time) { a.Say(now, k, e) }) {
		t.Fatal("the link has ended")
	}
}

// TestAgents: hosts' own agents at a real hub: what one bans, all shut out; what one lifts that may, all let in,
// the host that banned it, too; over a restart of the hub; and what a host says that is taken out counts no more.
func TestAgents(t *testing.T) {
	dir := made(t)
	_, stop := running(t, dir)
	one, a := agent(t, dir, "web-1", TokenOptions{})
	two, b := agent(t, dir, "web-2", TokenOptions{})
	admin, c := agent(t, dir, "admin", TokenOptions{Lifts: true})
	ban := fleet.Entry{Jail: "sshd", Left: 3600, Count: 1, Failures: 5}
	tell(t, one, fleet.BanKey("web-1", "ssh", prefix("198.51.100.7")), ban)
	for _, s := range []*shut{a, b, c} {
		s.has(t, "198.51.100.7", true)
	}
	tell(t, admin, fleet.LiftKey("admin", "ssh", prefix("198.51.100.7")), fleet.Entry{})
	for _, s := range []*shut{a, b, c} {
		s.has(t, "198.51.100.7", false)
	}
	stop()
	// While there is no hub, a host goes on, and keeps what it has to say.
	tell(t, two, fleet.BanKey("web-2", "ssh", prefix("203.0.113.9")), ban)
	_, stop = running(t, dir)
	defer stop()
	for _, s := range []*shut{a, b, c} {
		s.has(t, "203.0.113.9", true)
		s.has(t, "198.51.100.7", false)
	}
	if err := client(t, dir).Distrust(within(t), "web-2"); err != nil {
		t.Fatal(err)
	}
	a.has(t, "203.0.113.9", false)
	c.has(t, "203.0.113.9", false)
}
