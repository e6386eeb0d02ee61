package ban

import (
	"fmt"
	"net/netip"
	"strings"

	"bailiff/pkg/iplist"
)

// ParseID reads who is banned, as a person writes it: an address, a network, or the name
// that a filter found (<F-ID>). What is meant to be an address and is none is an error.
func ParseID(s string) (ID, error) {
	p, err := iplist.Parse(s)
	if err == nil {
		return Of(p), nil
	}
	if meantAsAddress(s) {
		return ID{}, err
	}
	if id := Named(s); id.IsValid() {
		return id, nil
	}
	return ID{}, fmt.Errorf("%.80q is no address, network, or id: an id has 1 to %d bytes", s, MaxName)
}

// meantAsAddress reports whether a text looks like an address or a network with a slip, so
// that to ban it as a name would ban nobody.
func meantAsAddress(s string) bool {
	if strings.Trim(s, "0123456789./:-%[]") == "" && strings.ContainsAny(s, "./:") {
		return true
	}
	if strings.Count(s, ":") > 1 && strings.Trim(s, "0123456789abcdefABCDEF.:/-[]") == "" {
		return true
	}
	if at := strings.IndexAny(s, "/%-, "); at > 0 { // a length that is none, a zone, a range
		_, err := netip.ParseAddr(strings.Trim(s[:at], "[]"))
		return err == nil
	}
	return false
}
