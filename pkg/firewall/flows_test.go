package firewall

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/netlab"
)

// published is a host with a published port, and a service of its own at port 22; who
// connects is answered each line with itself.
type published struct {
	t *testing.T
	*netlab.Published
}

func publish(t *testing.T) *published {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root (make test says how)")
	}
	lab := netlab.New(fmt.Sprintf("flows-%d-%d", os.Getpid(), time.Now().UnixNano()%1000))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	made, err := lab.Published()
	if err != nil {
		t.Fatal(err)
	}
	for at, h := range map[string]*netlab.Host{netlab.ContainerAt[0]: made.Container, netlab.ContainerAt[1]: made.Container, "192.0.2.1:22": made.Gate} {
		l, err := h.Listen(at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		netlab.Serve(l, func(c net.Conn) { _, _ = io.Copy(c, c) })
	}
	return &published{t, made}
}

func (p *published) run(h *netlab.Host, name string, args ...string) {
	p.t.Helper()
	if out, err := h.Command(context.Background(), name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// line is a connection over which lines are sent, and come back.
type line struct {
	net.Conn
	in *bufio.Reader
}

func (p *published) dial(from, to string) (*line, error) {
	c, err := p.Client.Dial(from, to, 15*time.Second)
	if err != nil {
		return nil, err
	}
	p.t.Cleanup(func() { c.Close() })
	return &line{c, bufio.NewReader(c)}, nil
}

// says sends a line and waits for it.
func (l *line) says(text string, within time.Duration) error {
	if _, err := fmt.Fprintln(l, text); err != nil {
		return err
	}
	_ = l.SetReadDeadline(time.Now().Add(within))
	got, err := l.in.ReadString('\n')
	if err == nil && got != text+"\n" {
		err = fmt.Errorf("%q came back", got)
	}
	return err
}

func (p *published) open(from, to string) *line {
	p.t.Helper()
	l, err := p.dial(from, to)
	if err == nil {
		err = l.says("hello", 10*time.Second)
	}
	if err != nil {
		p.t.Fatalf("%s to %s: %v", from, to, err)
	}
	return l
}

// tracked counts the connections that are tracked of an address.
func (p *published) tracked(from string) (n int) {
	p.t.Helper()
	a := netip.MustParseAddr(from)
	family := uint8(2)
	if a.Is6() {
		family = 10
	}
	if err := p.Gate.Do(func() error {
		return eachFlow(family, netip.Addr{}, func(f flow) bool {
			if f.from == a {
				n++
			}
			return true
		})
	}); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// TestPublishedPort: with the chain before DNAT, who is banned for the port that clients
// have reaches a container no more, neither by a new connection nor by an open one, which the
// kernel forgets. Others go on.
func TestPublishedPort(t *testing.T) {
	p := publish(t)
	rule := Rule{Jail: "web", Ports: []PortRange{{8080, 8080}}, Protocols: []string{"tcp"}, Reject: [2]string{"tcp reset", "tcp reset"}}
	for family, to := range netlab.PublishedAt {
		bad, good := netlab.PublishedBad[family], netlab.PublishedGood[family]
		attacker, customer := p.open(bad, to), p.open(good, to)
		other := p.open(netlab.PublishedBad[0], "192.0.2.1:22") // not one of the jail's ports
		if n := p.tracked(bad); n == 0 {
			t.Fatalf("no connection of %s is tracked: nothing can be seen", bad)
		}
		var f *Firewall
		var ended int
		if err := p.Gate.Do(func() (err error) {
			if f, _, err = Open(Options{Hooks: []Hook{{"prerouting", -150}}}, rule); err != nil {
				return err
			}
			if err = f.Apply([]Change{{Jail: "web", ID: prefix(bad), Left: time.Hour}}); err != nil {
				return err
			}
			_, ended, err = CutOff(rule, []netip.Prefix{prefix(bad)})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if ended != 1 {
			t.Errorf("%s: %d connections that were passed on are ended, want 1", bad, ended)
		}
		if err := attacker.says("and so on", time.Second); err == nil {
			t.Errorf("%s: the open connection goes on", bad)
		}
		if _, err := p.dial(bad, to); err == nil {
			t.Errorf("%s: a new connection is let in", bad)
		}
		if err := customer.says("and so on", 10*time.Second); err != nil {
			t.Errorf("%s: the open connection: %v", good, err)
		}
		if err := other.says("and so on", 10*time.Second); err != nil {
			t.Errorf("to a port of its own: %v", err)
		}
		p.open(good, to)
		if err := p.Gate.Do(func() error { return f.Apply([]Change{{Jail: "web", ID: prefix(bad), Remove: true}}) }); err != nil {
			t.Fatal(err)
		}
		p.open(bad, to)
		_ = p.Gate.Do(func() error { f.Close(); return nil })
	}
}

// TestFlowsOfMany: connections of networks, and of more addresses than are asked for one by
// one, are found in all that is tracked; and so are more than are held at a time.
func TestFlowsOfMany(t *testing.T) {
	p := publish(t)
	for range 3 {
		p.open("203.0.113.66", netlab.PublishedAt[0])
	}
	p.open("203.0.113.7", netlab.PublishedAt[0])
	var many []netip.Prefix
	for i := range flowsAsked + 1 {
		many = append(many, prefix(fmt.Sprintf("203.0.113.%d", 60+i)))
	}
	for name, c := range map[string]struct {
		banned []netip.Prefix
		rule   Rule
		want   int
	}{
		"another port":     {[]netip.Prefix{prefix("203.0.113.66")}, Rule{Ports: []PortRange{{80, 80}}, Protocols: []string{"tcp"}}, 0},
		"another protocol": {[]netip.Prefix{prefix("203.0.113.66")}, Rule{Protocols: []string{"udp"}}, 0},
		"somebody else":    {[]netip.Prefix{prefix("203.0.113.65"), prefix(netlab.PublishedBad[1])}, Rule{}, 0},
		"new ones only":    {[]netip.Prefix{prefix("203.0.113.66")}, Rule{NewOnly: true}, 0},
		"many":             {many, Rule{}, 3},
		"a network":        {[]netip.Prefix{prefix("203.0.113.64/30"), prefix("2001:db8:3::/64")}, Rule{}, 3},
	} {
		for range c.want - p.tracked("203.0.113.66") { // a map has no order
			p.open("203.0.113.66", netlab.PublishedAt[0])
		}
		var ended int
		if err := p.Gate.Do(func() (err error) { _, ended, err = CutOff(c.rule, c.banned); return err }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if ended != c.want {
			t.Errorf("%s: %d connections are ended, want %d", name, ended, c.want)
		}
	}
	if n := p.tracked("203.0.113.7"); n != 1 {
		t.Errorf("%d connections of the customer are tracked, want 1", n)
	}
}

// FuzzParseFlow: whatever the kernel tells.
func FuzzParseFlow(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x34\x00\x01\x80\x14\x00\x01\x80\x08\x00\x01\x00\xcb\x00\x71\x42\x08\x00\x02\x00\xcb\x00\x71\x01\x1c\x00\x02\x80\x05\x00\x01\x00\x06\x00\x00\x00\x06\x00\x02\x00\x9c\x40\x00\x00\x06\x00\x03\x00\x1f\x90\x00\x00"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if fl, ok := parseFlow(msg, 2); ok && (!fl.from.IsValid() || !fl.end.IsValid()) {
			t.Errorf("%x: %+v", msg, fl)
		}
	})
}

// TestPublishedPorts: ports that are passed on to others are found, however the rule was
// made; what stays on this host, or goes out of it, is none.
func TestPublishedPorts(t *testing.T) {
	p := publish(t)
	p.run(p.Gate, "nft", "table inet podman { chain pre { type nat hook prerouting priority -100; jump ports; }; chain ports { udp dport 53 dnat ip to 198.51.100.2:5353; tcp dport { 81, 82 } dnat ip to 198.51.100.3; tcp dport 2222 dnat ip to 192.0.2.1:22; tcp dport 83 redirect to :80; }; chain post { type nat hook postrouting priority 100; masquerade; }; }")
	for _, args := range [][]string{
		{"iptables-nft", "-t", "nat", "-N", "DOCKER"},
		{"iptables-nft", "-t", "nat", "-A", "PREROUTING", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "DOCKER"},
		{"iptables-nft", "-t", "nat", "-A", "DOCKER", "-p", "tcp", "--dport", "8443", "-j", "DNAT", "--to-destination", "198.51.100.2:443"},
		{"iptables-nft", "-t", "nat", "-A", "DOCKER", "-p", "tcp", "-m", "tcp", "--dport", "9000:9010", "-j", "DNAT", "--to-destination", "198.51.100.2"},
		{"ip6tables-nft", "-t", "nat", "-A", "PREROUTING", "-p", "udp", "-m", "udp", "--dport", "443", "-j", "DNAT", "--to-destination", "2001:db8:2::2"},
	} {
		p.run(p.Gate, args[0], args[1:]...)
	}
	var found []Published
	if err := p.Gate.Do(func() (err error) { found, err = PublishedPorts(); return err }); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, f.String())
	}
	slices.Sort(got)
	want := []string{
		"port 443 (table ip6 nat, chain PREROUTING)",
		"port 53 and others (table inet podman, chain ports)",
		"port 8080 (table ip docker, chain pre)",
		"port 8080 (table ip6 docker, chain pre)",
		"port 8443, 9000-9010 (table ip nat, chain DOCKER)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
