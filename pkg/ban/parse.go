package ban

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"

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

// ParseToBan is ParseID for who is to be banned by hand, where a name that only looks like an address is
// a slip, too: it is refused. A filter may have found it, so that it can be unbanned.
func ParseToBan(s string) (ID, error) {
	id, err := ParseID(s)
	if err == nil && id.IsName() {
		if p, err := iplist.Parse(plain(s)); err == nil {
			return ID{}, fmt.Errorf("%+.80q has characters that only look like those of an address: write %s", s, Of(p))
		}
	}
	return id, err
}

// plain is a text in the characters in which addresses are written: what comes out of a keyboard for wide
// characters, a document's dashes, and what can't be seen of a text that was pasted, are other ones.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 0xff01 && r <= 0xff5e: // wide
			return r - 0xff01 + '!'
		case r == '\u3002' || r == '\uff61': // the full stop beside those
			return '.'
		case r >= '\u2010' && r <= '\u2015' || r == '\u2212':
			return '-'
		case unicode.Is(unicode.Cf, r) || unicode.IsSpace(r):
			return -1
		}
		return r
	}, s)
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
