package firewall

import (
	"net"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/pkg/hosttest"

	"golang.org/x/sys/unix"
)

var counted = regexp.MustCompile(`packets (\d+)`)

// TestNoGap: while sets are made anew, of whatever form, and with whatever they held
// before, or move into another table, none of a banned client's packets comes through, of
// which there are as many as one thread can send.
func TestNoGap(t *testing.T) {
	hosttest.InNamespace(t)
	for _, args := range []string{"link set lo up", "addr add 203.0.113.66/32 dev lo"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ns)
	var sent atomic.Int64
	stop := make(chan struct{})
	defer close(stop)
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			failed <- err
			return
		}
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(203, 0, 113, 66)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
		if err != nil {
			failed <- err
			return
		}
		defer c.Close()
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = c.Write([]byte("x"))
				sent.Add(1)
			}
		}
	}()
	rule := Rule{Jail: "sshd", Drop: true}
	rounds := 6
	if testing.Short() { // the kernel is no other under the race detector
		rounds = 2
	}
	for _, c := range []struct {
		name, set, rule string
		after           Rule
		move            bool
	}{
		{"networks of /25 that are banned as /26", "prefix4-set-sshd { type ipv4_addr; flags timeout; elements = { 203.0.113.0 timeout 1h }", "ip saddr & 255.255.255.128 == @prefix4-set-sshd drop", Rule{Jail: "sshd", Drop: true, Prefix4: 26}, false},
		{"networks that are banned no more", "prefix4-set-sshd { type ipv4_addr; flags timeout; elements = { 203.0.113.0 timeout 1h }", "ip saddr & 255.255.255.0 == @prefix4-set-sshd drop", rule, false},
		{"addresses in an interval set", "addr-set-sshd { type ipv4_addr; flags interval; elements = { 203.0.113.66, 198.51.100.0/24 }", "ip saddr @addr-set-sshd drop", rule, false},
		{"an interval set without timeouts", "net-set-sshd { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 }", "ip saddr @net-set-sshd drop", rule, false},
		{"to another table", "net-set-sshd { type ipv4_addr; flags interval,timeout; elements = { 203.0.113.0/24 timeout 1h }", "ip saddr @net-set-sshd drop", rule, true},
	} {
		gaps := 0
		for range rounds {
			script := "flush ruleset\ntable inet f2b-table { set " + c.set + "\n}\nchain f2b-chain { type filter hook input priority -1; " + c.rule + "; }\n}\ntable inet seen { chain in { type filter hook input priority 10; udp dport 9 counter; }\n}\n"
			cmd := exec.Command("nft", "-f", "-")
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", c.name, err, out)
			}
			nft(t, "flush table inet seen; add rule inet seen in udp dport 9 counter") // what came before is forgotten
			before := sent.Load()
			for end := time.Now().Add(2 * time.Minute); sent.Load() < before+100; time.Sleep(time.Millisecond) {
				select {
				case err := <-failed:
					t.Fatal(err)
				default:
				}
				if time.Now().After(end) {
					t.Fatal("nothing is sent")
				}
			}
			f, report, err := Open(Options{}, c.after)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if c.move {
				if report, err = f.Reconfigure(Options{Table: "elsewhere"}); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			} else if len(report.Mended) == 0 {
				t.Errorf("%s: nothing was made anew", c.name)
			}
			f.Close()
			if m := counted.FindStringSubmatch(nft(t, "list", "table", "inet", "seen")); m == nil {
				t.Fatal("there is no counter")
			} else if n, _ := strconv.Atoi(m[1]); n > 0 {
				gaps++
			}
			if tables := nft(t, "list", "tables"); strings.Contains(tables, "interim") {
				t.Errorf("%s: is left:\n%s", c.name, tables)
			}
		}
		if gaps > 0 {
			t.Errorf("%s: packets came through in %d of %d times", c.name, gaps, rounds)
		}
	}
	// What a daemon that was killed has left goes at the next start.
	nft(t, "add table inet f2b-table-interim")
	f, _, err := Open(Options{}, rule)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if tables := nft(t, "list", "tables"); strings.Contains(tables, "interim") {
		t.Errorf("is left:\n%s", tables)
	}
}
