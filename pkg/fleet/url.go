package fleet

import (
	"fmt"
	"net"
	"net/url"
)

// CheckURL says what is wrong with where a hub is: tls://HOST:PORT, or nats://HOST:PORT of an address of this host's own loopback,
// where nobody else hears what isn't encrypted.
func CheckURL(text string) error {
	const want = "want tls://HOST:PORT"
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Port() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%.200q: %s", text, want)
	case u.Scheme == "tls":
		return nil
	case u.Scheme == "nats":
		if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsLoopback() {
			return nil
		}
	}
	return fmt.Errorf("%.200q: %s (nats:// without encryption only to a hub on 127.0.0.1)", text, want)
}
