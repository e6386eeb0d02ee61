package firewall

import (
	"net"
	"net/netip"
	"os/exec"
	"testing"

	"bailiff/pkg/hosttest"

	"github.com/vishvananda/netlink"
)

// TestCutOff: open connections of a banned address are closed and counted; those that the
// server has ended are none, be they in TIME_WAIT or still waited for.
func TestCutOff(t *testing.T) {
	hosttest.InNamespace(t)
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connect := func() (client, server *net.TCPConn) {
		t.Helper()
		client, err := net.DialTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}, l.Addr().(*net.TCPAddr))
		if err != nil {
			t.Fatal(err)
		}
		if server, err = l.AcceptTCP(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close(); server.Close() })
		return client, server
	}
	// states counts the server's ends by their state.
	states := func() map[uint8]int {
		t.Helper()
		sockets, err := netlink.SocketDiagTCP(2)
		if err != nil {
			t.Fatal(err)
		}
		out := map[uint8]int{}
		for _, s := range sockets {
			if s.ID.Destination.Equal(net.IPv4(127, 0, 0, 66)) {
				out[s.State]++
			}
		}
		return out
	}
	until := func(state uint8) {
		t.Helper()
		if !hosttest.Soon(func() bool { return states()[state] != 0 }) {
			t.Fatalf("state %d does not come: %v", state, states())
		}
	}
	cut := func(want int) {
		t.Helper()
		n, _, err := CutOff(Rule{Jail: "web"}, []netip.Prefix{netip.MustParsePrefix("127.0.0.66/32")})
		if err != nil || n != want {
			t.Errorf("%d closed, %v, want %d: %v", n, err, want, states())
		}
	}
	client, server := connect()
	server.Close()
	client.Close()
	until(netlink.TCP_TIME_WAIT)
	cut(0)
	_, server = connect() // its client does not end
	server.Close()
	until(netlink.TCP_FIN_WAIT2)
	cut(0)
	client, _ = connect()
	cut(1)
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}
