package firewall

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestHolds: the kernel says which set holds an address, by itself or within a network, for how long,
// and it is said which rule asks that.
func TestHolds(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "web", Protocols: []string{"tcp"}, Ports: []PortRange{{80, 80}, {443, 443}}})
	for _, c := range []Change{
		{Jail: "web", ID: prefix("192.0.2.7/32"), Left: time.Hour},
		{Jail: "web", ID: prefix("203.0.113.0/24")},
		{Jail: "web", ID: prefix("2001:db8::7/128"), Left: time.Hour},
	} {
		if err := f.Apply([]Change{c}); err != nil {
			t.Fatal(err)
		}
	}
	for addr, want := range map[string]string{
		"192.0.2.7": "ip saddr @addr-set-web", "192.0.2.8": "", "203.0.113.77": "ip saddr @net-set-web", "203.0.114.1": "",
		"2001:db8::7": "ip6 saddr @addr6-set-web", "2001:db8::8": "",
	} {
		got, err := f.Holds("web", netip.MustParseAddr(addr))
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		switch {
		case want == "" && len(got) > 0, want != "" && len(got) != 1:
			t.Errorf("%s: %+v", addr, got)
		case want != "":
			if !strings.Contains(got[0].Rule, "tcp dport { 80, 443 } "+want+" reject") {
				t.Errorf("%s: %s", addr, got[0].Rule)
			}
			if timed := !strings.HasPrefix(addr, "203."); timed != (got[0].Left > 50*time.Minute && got[0].Left <= time.Hour) {
				t.Errorf("%s: %v left", addr, got[0].Left)
			}
		}
	}
}
