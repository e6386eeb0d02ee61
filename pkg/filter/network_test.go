package filter

import "testing"

// TestNetworks: who may choose a text of the line does not choose a network that is
// banned; only a filter that says <SUBNET> or <CIDR> bans networks, and none that is
// wider than /8, IPv6 /19.
func TestNetworks(t *testing.T) {
	for _, c := range []struct{ expr, line, id, addr string }{
		{`user <F-ID>\S+</F-ID>`, "user 64.0.0.0/3", "64.0.0.0/3", ""},
		{`user <F-ID>\S+</F-ID>`, "user 192.0.2.0/24", "192.0.2.0/24", ""},
		{`user <F-ID>\S+</F-ID>`, "user 2001:db8::/32", "2001:db8::/32", ""},
		{`user <F-ID>\S+</F-ID>`, "user 192.0.2.7", "192.0.2.7", "192.0.2.7/32"},
		{`user <F-ID>\S+</F-ID> from <ADDR>`, "user 64.0.0.0/3 from 192.0.2.7", "64.0.0.0/3", ""},
		{`user <F-ID>\S+</F-ID> from <SUBNET>`, "user 64.0.0.0/10 from 192.0.2.0/24", "64.0.0.0/10", ""},
		{`net <F-ID><SUBNET></F-ID>`, "net 192.0.2.0/24", "192.0.2.0/24", "192.0.2.0/24"},
		{`net <SUBNET>`, "net 192.0.2.7/24", "192.0.2.0/24", "192.0.2.0/24"},
		{`net <SUBNET>`, "net ::ffff:203.0.113.0/120", "203.0.113.0/24", "203.0.113.0/24"},
		{`net <SUBNET>`, "net 64.0.0.0/3", "64.0.0.0/3", ""},
		{`net <SUBNET>`, "net 10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8"},
		{`net <SUBNET>`, "net 2000::/18", "2000::/18", ""},
		{`net <SUBNET>`, "net 2001:db8::/32", "2001:db8::/32", "2001:db8::/32"},
		{`net <ADDR>/<CIDR>`, "net 0.0.0.0/0", "0.0.0.0/0", ""},
		{`net <SUBNET>`, "net 192.0.2.0/33", "192.0.2.0/33", ""},
	} {
		r := compile(t, DNSWarn, c.expr).Match([]byte(c.line), now)
		if len(r.Failures) != 1 {
			t.Errorf("%s on %q: %+v", c.expr, c.line, r.Failures)
			continue
		}
		f := r.Failures[0]
		addr := ""
		if f.Addr.IsValid() {
			addr = f.Addr.String()
		}
		if f.ID != c.id || addr != c.addr || f.Name {
			t.Errorf("%s on %q: id %q, address %q, name %v; want %q, %q", c.expr, c.line, f.ID, addr, f.Name, c.id, c.addr)
		}
	}
}
