package hub

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/vishvananda/netlink"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/link"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// TestCutOff: three hubs and their hosts, each hub in a network of its own. The network between one hub and the others is cut, while
// hosts reach it still; then it sleeps, and answers as of then. Nobody takes that for everything; who knows another hub goes there; who
// doesn't keeps what it has to say, and says that it hears of nothing; afterwards all hold the same.
func TestCutOff(t *testing.T) {
	if os.Getenv("HUB_TEST_DIR") != "" {
		serveDir(t)
	}
	if name := os.Getenv("HUB_TEST_LAB"); name != "" {
		cutOff(t, name)
		return
	}
	if !*cluster {
		t.Skip("three servers that elect, for two minutes: go test ./pkg/hub -run TestCutOff -cluster, which make soak does")
	}
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root (make test says how)")
	}
	name := fmt.Sprintf("bailiff-cutoff-%d", os.Getpid())
	lab := netlab.New(name)
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	hosts := map[string]*netlab.Host{}
	names := []string{"x", "a", "b", "c"} // hosts, and three hubs
	for i, one := range names {
		h, err := lab.Host(one)
		if err != nil {
			t.Fatal(err)
		}
		hosts[one] = h
		if err := h.Do(func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			return netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(203, 0, 113, byte(i)), Mask: net.CIDRMask(32, 32)}})
		}); err != nil {
			t.Fatal(err)
		}
	}
	cables := 0
	for i, one := range names {
		for j, other := range names[:i] {
			mine, theirs := fmt.Sprintf("198.51.100.%d", 4*cables+1), fmt.Sprintf("198.51.100.%d", 4*cables+2)
			if err := lab.Cable(hosts[one], hosts[other], []string{mine + "/30"}, []string{theirs + "/30"}); err != nil {
				t.Fatal(err)
			}
			cables++
			for h, to := range map[*netlab.Host]netlink.Route{
				hosts[one]:   {Dst: &net.IPNet{IP: net.IPv4(203, 0, 113, byte(j)), Mask: net.CIDRMask(32, 32)}, Gw: net.ParseIP(theirs)},
				hosts[other]: {Dst: &net.IPNet{IP: net.IPv4(203, 0, 113, byte(i)), Mask: net.CIDRMask(32, 32)}, Gw: net.ParseIP(mine)},
			} {
				if err := h.Do(func() error { return netlink.RouteAdd(&to) }); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	c := hosts["x"].Command(t.Context(), os.Args[0], "-test.run", "^TestCutOff$", "-test.v", "-test.timeout", "10m")
	c.Env = append(os.Environ(), "HUB_TEST_LAB="+name)
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// pinned is a host that knows some hubs and no others, connected to the first.
func pinned(t *testing.T, name, files string, urls ...string) (*link.Link, *shut) {
	t.Helper()
	return linked(t, name, files, urls, fleet.Policy{Groups: map[string]int{"ssh": 1}}, nats.DontRandomize(), nats.IgnoreDiscoveredServers())
}

// stats asks an agent.
func stats(t *testing.T, l *link.Link) fleet.Stats {
	t.Helper()
	got := make(chan fleet.Stats, 1)
	if !l.Do(within(t), func(a *fleet.Agent, _ time.Time) { got <- a.Stats() }) {
		t.Fatal("the link has ended")
	}
	return <-got
}

func cutOff(t *testing.T, lab string) {
	o := InitOptions{Address: "0.0.0.0"}
	for i, name := range []string{"a", "b", "c"} {
		at := fmt.Sprintf("203.0.113.%d", i+1)
		o.Names = append(o.Names, at)
		m, err := ParseMember(name + "=" + at)
		if err != nil {
			t.Fatal(err)
		}
		o.Cluster = append(o.Cluster, m)
	}
	dirs, err := Init(filepath.Join(t.TempDir(), "hubs"), o)
	if err != nil {
		t.Fatal(err)
	}
	hubs := map[string]*exec.Cmd{}
	for i, dir := range dirs {
		set(t, dir, fmt.Sprintf("listen = \"203.0.113.%d:4222\"", i+1), "burst = 100000", "rate = 10000.0")
		name := filepath.Base(dir)
		c := exec.Command("ip", "netns", "exec", lab+"-"+name, os.Args[0], "-test.run", "^TestCutOff$", "-test.timeout", "1h")
		c.Env = append(os.Environ(), "HUB_TEST_DIR="+dir)
		c.Stderr = testWriter{t}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		hubs[name] = c
		t.Cleanup(func() { _ = c.Process.Signal(syscall.SIGCONT); _ = c.Process.Kill(); _ = c.Wait() })
	}
	whole := func() bool {
		for _, dir := range dirs[:2] {
			c, err := Dial(dir, "")
			if err != nil {
				return false
			}
			s, err := c.Status(within(t))
			c.Close()
			if err != nil || s.Missing != 0 || s.Leader == "" || slices.ContainsFunc(s.Hubs, func(h HubStatus) bool { return h.Problem != "" }) {
				return false
			}
		}
		return true
	}
	hosttest.Until(t, "three hubs are one", whole)
	url := func(names string) (out []string) {
		for _, n := range names {
			out = append(out, fmt.Sprintf("tls://203.0.113.%d:4222", n-'a'+1))
		}
		return out
	}
	files := map[string]string{}
	for _, name := range []string{"moves", "stays", "other", "admin", "comes"} {
		nc, dir := joined(t, dirs[0], name, TokenOptions{Lifts: name == "admin"})
		nc.Close()
		files[name] = dir
	}
	links, shuts := map[string]*link.Link{}, map[string]*shut{}
	begin := func(name, at string) { links[name], shuts[name] = pinned(t, name, files[name], url(at)...) }
	begin("moves", "cab")
	begin("stays", "c")
	begin("other", "ab")
	begin("admin", "ba")
	in, out := map[string]bool{}, map[string]bool{}
	n := 0
	bans := func(count int, by ...string) {
		for range count {
			for _, name := range by {
				n++
				who := fmt.Sprintf("192.0.2.%d", n+9)
				tell(t, links[name], fleet.BanKey(name, "ssh", prefix(who)), fleet.Entry{Jail: "sshd", Left: 3600, Count: 1, Failures: 5})
				in[who] = true
			}
		}
	}
	lifts := func(some ...string) {
		for _, who := range some {
			tell(t, links["admin"], fleet.LiftKey("admin", "ssh", prefix(who)), fleet.Entry{})
			delete(in, who)
			out[who] = true
		}
	}
	bans(10, "moves", "stays", "other")
	same := func(names ...string) func() bool {
		return func() bool {
			for _, name := range names {
				if lost, back := shuts[name].differs(in, out); len(lost)+len(back) > 0 || !stats(t, links[name]).Complete {
					return false
				}
			}
			return true
		}
	}
	hosttest.Until(t, "all hold the same", same("moves", "stays", "other", "admin"))

	// c is cut off, and then asleep; one that comes then knows nothing of before.
	for _, how := range []string{"cut off", "asleep"} {
		if how == "asleep" {
			if err := hubs["c"].Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		} else {
			wires(t, lab, "down")
		}
		bans(5, "moves", "stays", "other")
		hosttest.Until(t, how+": what is said elsewhere is stored, and who knows another hub has gone there", func() bool {
			s := stats(t, links["moves"])
			return stats(t, links["other"]).Waiting == 0 && s.Waiting == 0 && s.Moves > 0
		})
		// The first five of whom the other hosts have banned.
		first := slices.Sorted(func(yield func(string) bool) {
			for who := range in {
				if !yield(who) {
					return
				}
			}
		})[:5]
		lifts(first...)
		hosttest.Until(t, how+": the lifts are stored", func() bool { return stats(t, links["admin"]).Waiting == 0 })
		hosttest.Until(t, how+": who knows no other says that it hears of nothing, and keeps what it says", func() bool {
			s := stats(t, links["stays"])
			return !s.Complete && !s.Quiet.IsZero() && s.Waiting == 5
		})
		if held, _ := shuts["stays"].differs(in, nil); len(held) > 15 {
			t.Errorf("it has let in %v meanwhile", held)
		}
		// What is stored by now, "complete" has to have read.
		must := max(stats(t, links["other"]).Newest, stats(t, links["moves"]).Newest)
		if how == "cut off" {
			begin("comes", "c")
		}
		// Whoever says that it has everything has what was stored.
		var watch sync.WaitGroup
		ctx, stop := context.WithCancel(context.Background())
		early := map[string]uint64{}
		var mu sync.Mutex
		for _, name := range []string{"stays", "comes"} {
			watch.Go(func() {
				for ctx.Err() == nil {
					if s := stats(t, links[name]); s.Complete && s.Cursor < must {
						mu.Lock()
						early[name] = s.Cursor
						mu.Unlock()
					}
					time.Sleep(5 * time.Millisecond)
				}
			})
		}
		if how == "cut off" {
			hosttest.Until(t, "who comes to it reads what it has", func() bool { s := stats(t, links["comes"]); return s.Cursor > 0 && s.Cursor < must })
			time.Sleep(3 * fleet.BeatEvery) // that is what is tried: it never is complete
			wires(t, lab, "up")
		} else if err := hubs["c"].Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		hosttest.Until(t, "healed: all hold the same", same("moves", "stays", "other", "admin", "comes"))
		stop()
		watch.Wait()
		for name, cursor := range early {
			t.Errorf("%s: %s said that it has everything with %d of %d", how, name, cursor, must)
		}
		var lost, back []string
		for name, s := range shuts {
			l, b := s.differs(in, out)
			for _, who := range l {
				lost = append(lost, who+" at "+name)
			}
			for _, who := range b {
				back = append(back, who+" at "+name)
			}
		}
		t.Logf("a hub of three %s: %d acknowledged, %d lost, %d resurrected, %d too early complete", how, len(in)+len(out), len(lost), len(back), len(early))
		hosttest.Until(t, "three hubs are one", whole)
	}
}

// differs are who is not shut out and should be, and who is and should not.
func (s *shut) differs(in, out map[string]bool) (lost, back []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for who := range in {
		if _, is := s.all[prefix(who)]; !is {
			lost = append(lost, who)
		}
	}
	for who := range out {
		if _, is := s.all[prefix(who)]; is {
			back = append(back, who)
		}
	}
	return lost, back
}

// wires takes the cables between the hub c and the others away, or puts them back; the one to hosts stays.
func wires(t *testing.T, lab, how string) {
	t.Helper()
	data, err := exec.Command("ip", "-n", lab+"-c", "-o", "route", "get", "203.0.113.1").CombinedOutput()
	if how == "up" || err == nil {
		for _, cable := range []string{"cable4", "cable5"} {
			if out, err := exec.Command("ip", "-n", lab+"-c", "link", "set", cable, how).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	} else {
		t.Fatalf("%v: %s", err, data)
	}
	if how == "up" { // the kernel has forgotten the ways
		for i, to := range []string{"203.0.113.1", "203.0.113.2"} {
			if out, err := exec.Command("ip", "-n", lab+"-c", "route", "replace", to+"/32", "via", fmt.Sprintf("198.51.100.%d", 4*(4+i)+2)).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, strings.TrimSpace(string(out)))
			}
		}
	}
}
