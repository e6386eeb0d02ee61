package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestGuardVerdicts: what becomes of a packet is the same with the guard and without, for
// whoever is banned in whatever way and whoever is not, of connections that were open before
// and of new ones.
func TestGuardVerdicts(t *testing.T) {
	hosttest.InNamespace(t)
	for _, args := range []string{
		"link set lo up", "addr add 192.0.2.0/24 dev lo", "addr add 198.51.100.0/24 dev lo", "addr add 203.0.113.254/24 dev lo",
		"addr add 2001:db8::1/32 dev lo nodad", "route add local 192.0.2.0/24 dev lo", "route add local 198.51.100.0/24 dev lo", "route add local 2001:db8::/32 dev lo",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil && !strings.Contains(string(out), "File exists") {
			t.Fatalf("ip %s: %s", args, out)
		}
	}
	// Of this thread's network, as all that goes on here.
	if err := os.WriteFile("/proc/sys/net/ipv6/ip_nonlocal_bind", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	port := func(n uint16) []PortRange { return []PortRange{{n, n}} }
	rules := []Rule{
		{Jail: "all"},
		{Jail: "udp", Ports: port(53), Protocols: []string{"udp"}},
		{Jail: "silent", Ports: port(53), Protocols: []string{"udp"}, Drop: true},
		{Jail: "new", Ports: port(53), Protocols: []string{"udp"}, NewOnly: true},
		{Jail: "any", Ports: port(80), AnyProtocol: true, Reject: [2]string{"icmpx admin-prohibited", "icmpx admin-prohibited"}},
		{Jail: "tcp", Protocols: []string{"tcp"}},
		{Jail: "nets", Prefix4: 30, Prefix6: 64},
		{Jail: "list", List: true},
	}
	f, _, err := Open(Options{Hooks: []Hook{{"input", -1}, {"forward", -1}}}, rules...)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var changes []Change
	from := []string{"192.0.2.200", "2001:db8:ffff::1"} // nobody's
	for i, r := range rules[:6] {
		four, six := fmt.Sprintf("192.0.2.%d", 10+i), fmt.Sprintf("2001:db8::%d", 10+i)
		changes = append(changes, Change{Jail: r.Jail, ID: prefix(four), Left: time.Hour}, Change{Jail: r.Jail, ID: prefix(six), Left: time.Hour})
		from = append(from, four, six)
	}
	changes = append(changes,
		Change{Jail: "nets", ID: prefix("192.0.2.100/30"), Left: time.Hour}, Change{Jail: "nets", ID: prefix("2001:db8:1::/64")},
		Change{Jail: "udp", ID: prefix("192.0.2.128/27"), Left: time.Hour}, Change{Jail: "silent", ID: prefix("2001:db8:2::/48"), Left: time.Hour},
		Change{Jail: "tcp", ID: prefix("192.0.2.11"), Left: time.Hour}, // and by udp
	)
	from = append(from, "192.0.2.101", "192.0.2.104", "2001:db8:1::5", "2001:db8:1:1::5", "192.0.2.130", "192.0.2.161", "2001:db8:2:3::5", "198.51.100.7", "198.51.100.200", "2001:db8:3::7")

	type flow struct{ client, server *net.UDPConn }
	ports := []int{53, 80, 9}
	servers := map[string]*net.UDPConn{}
	for _, host := range []string{"203.0.113.254", "2001:db8::1"} {
		for _, p := range ports {
			a := net.JoinHostPort(host, fmt.Sprint(p))
			c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(a)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			servers[a] = c
		}
	}
	open := func(source string, p int) flow {
		host := "203.0.113.254"
		if strings.Contains(source, ":") {
			host = "2001:db8::1"
		}
		to := net.JoinHostPort(host, fmt.Sprint(p))
		c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(source), 0)), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		t.Cleanup(func() { c.Close() })
		return flow{c, servers[to]}
	}
	// receives reports what a packet comes to: one of somebody who is not banned, sent behind
	// it, is waited for.
	buf := make([]byte, 100)
	read := func(c *net.UDPConn) string {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := c.ReadFromUDP(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	verdict := func(fl flow, marker flow) string {
		_, _ = fl.client.Write([]byte("packet"))
		if _, err := marker.client.Write([]byte("marker")); err != nil {
			t.Fatal(err)
		}
		out := "nothing"
		for {
			if got := read(fl.server); got == "marker" {
				break
			}
			out = "arrives"
		}
		raw, err := fl.client.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(fd uintptr) { // what it was answered
			if code, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR); err == nil && code != 0 {
				out += ", " + syscall.Errno(code).Error()
			}
		})
		return out
	}
	markers := map[string]flow{}
	old := map[string]flow{}
	for _, p := range ports {
		markers["4"+fmt.Sprint(p)], markers["6"+fmt.Sprint(p)] = open("192.0.2.201", p), open("2001:db8:ffff::2", p)
		for _, source := range from {
			fl := open(source, p)
			old[source+fmt.Sprint(p)] = fl
			if _, err := fl.client.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if read(fl.server) != "hello" {
				t.Fatal("not hello")
			}
			if _, err := fl.server.WriteToUDPAddrPort([]byte("hello"), fl.client.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
				t.Fatal(err)
			}
			read(fl.client)
		}
	}
	if err := f.Apply(changes); err != nil {
		t.Fatal(err)
	}
	if err := f.LoadList("list", []Interval{{netip.MustParseAddr("198.51.100.5"), netip.MustParseAddr("198.51.100.9")}, {netip.MustParseAddr("2001:db8:3::"), netip.MustParseAddr("2001:db8:3::ff")}}); err != nil {
		t.Fatal(err)
	}
	look := func() map[string]string {
		out := map[string]string{}
		for _, p := range ports {
			for _, source := range from {
				marker := markers["4"+fmt.Sprint(p)]
				if strings.Contains(source, ":") {
					marker = markers["6"+fmt.Sprint(p)]
				}
				out[fmt.Sprint(source, " to ", p, ", open before")] = verdict(old[source+fmt.Sprint(p)], marker)
				out[fmt.Sprint(source, " to ", p)] = verdict(open(source, p), marker)
			}
		}
		return out
	}
	guardIs(t, f, true)
	with := look()
	if wrong := guarded(t, f, true); len(wrong) > 0 {
		t.Error(wrong)
	}
	f.guard.off = true
	check(t, f)
	guardIs(t, f, false)
	without := look()
	kinds := map[string]int{}
	for _, what := range slices.Sorted(func(yield func(string) bool) {
		for k := range with {
			if !yield(k) {
				return
			}
		}
	}) {
		kinds[with[what]]++
		if with[what] != without[what] {
			t.Errorf("%s: %s with the guard, %s without", what, with[what], without[what])
		}
	}
	t.Logf("%v", kinds)
	for what, want := range map[string]string{
		"192.0.2.200 to 53": "arrives", "192.0.2.10 to 9": "nothing, connection refused", "192.0.2.11 to 53": "nothing, connection refused", "192.0.2.11 to 80": "arrives",
		"192.0.2.12 to 53": "nothing", "192.0.2.13 to 53, open before": "arrives", "192.0.2.13 to 53": "nothing, connection refused", "2001:db8::13 to 53": "nothing, connection refused",
		"192.0.2.14 to 80": "nothing, no route to host", "2001:db8::14 to 80": "nothing, permission denied", "192.0.2.15 to 53": "arrives", "192.0.2.101 to 9": "nothing, connection refused",
		"192.0.2.104 to 9": "arrives", "2001:db8:1::5 to 9": "nothing, connection refused", "2001:db8:1:1::5 to 9": "arrives", "192.0.2.130 to 53": "nothing, connection refused",
		"192.0.2.161 to 53": "arrives", "2001:db8:2:3::5 to 53": "nothing", "198.51.100.7 to 9": "nothing, connection refused", "198.51.100.200 to 9": "arrives", "2001:db8:3::7 to 80": "nothing, connection refused",
	} {
		if with[what] != want {
			t.Errorf("%s: %q, want %q", what, with[what], want)
		}
	}
}
