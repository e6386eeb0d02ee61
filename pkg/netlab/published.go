package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Published is a host as a container engine makes it: what comes to its port 8080 is
// passed on to port 80 of a container (DNAT), of IPv4 and of IPv6. The client has addresses
// of which the host is no neighbour.
type Published struct {
	Gate, Container, Client *Host
}

// Where things are in a [Published] network: the gate's addresses with the published port,
// those that the container listens on, and two of the client's of each family.
var (
	PublishedAt     = [2]string{"192.0.2.1:8080", "[2001:db8:1::1]:8080"}
	ContainerAt     = [2]string{"198.51.100.2:80", "[2001:db8:2::2]:80"}
	PublishedBad    = [2]string{"203.0.113.66", "2001:db8:3::66"}
	PublishedGood   = [2]string{"203.0.113.7", "2001:db8:3::7"}
	PublishedEngine = "table ip docker { chain pre { type nat hook prerouting priority -100; tcp dport 8080 dnat to 198.51.100.2:80; }\n}\n" +
		"table ip6 docker { chain pre { type nat hook prerouting priority -100; tcp dport 8080 dnat to [2001:db8:2::2]:80; }\n}\n"
)

// Published makes one of three new hosts.
func (l *Lab) Published() (*Published, error) {
	p := &Published{}
	for name, to := range map[string]**Host{"gate": &p.Gate, "container": &p.Container, "client": &p.Client} {
		h, err := l.Host(name)
		if err != nil {
			return nil, err
		}
		*to = h
	}
	if err := errors.Join(
		l.Cable(p.Gate, p.Client, []string{"192.0.2.1/24", "2001:db8:1::1/64"}, []string{"192.0.2.9/24", "203.0.113.66/32", "203.0.113.7/32", "2001:db8:1::9/64", "2001:db8:3::66/128", "2001:db8:3::7/128"}),
		l.Cable(p.Gate, p.Container, []string{"198.51.100.1/24", "2001:db8:2::1/64"}, []string{"198.51.100.2/24", "2001:db8:2::2/64"}),
		p.Gate.run("", "ip", "route", "add", "203.0.113.0/24", "via", "192.0.2.9"),
		p.Gate.run("", "ip", "-6", "route", "add", "2001:db8:3::/64", "via", "2001:db8:1::9"),
		p.Container.run("", "ip", "route", "add", "default", "via", "198.51.100.1"),
		p.Container.run("", "ip", "-6", "route", "add", "default", "via", "2001:db8:2::1"),
		p.Gate.Do(func() error {
			return errors.Join(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0), os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
		}),
		p.Gate.run(PublishedEngine, "nft", "-f", "-"),
	); err != nil {
		return nil, err
	}
	return p, nil
}

// run runs a program on the host, with a text to read.
func (h *Host) run(stdin, name string, args ...string) error {
	c := h.Command(context.Background(), name, args...)
	c.Stdin = strings.NewReader(stdin)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %s %s: %w: %s", h.Name, name, strings.Join(args, " "), err, out)
	}
	return nil
}
