package fleet

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Hub is the name that only the hub itself has.
const Hub = "hub"

// nameMost is how many characters a host or a group has in its name.
const nameMost = 63

// CheckName says what is wrong with a name of a host or a group, which is a part of subjects: a
// host that were named * might speak for all. Hub is a name too; who gives names to hosts
// refuses it by CheckHost.
func CheckName(name string) error {
	if !isName(name) {
		return fmt.Errorf("name %.80q: want a-z, 0-9 and, after the first, -; %d at the most", name, nameMost)
	}
	return nil
}

// CheckHost is CheckName for a host, which can't be named as the hub is.
func CheckHost(name string) error {
	if name == Hub {
		return fmt.Errorf("name %q: that is the hub's own", name)
	}
	return CheckName(name)
}

func isName(name string) bool {
	if name == "" || len(name) > nameMost || name[0] == '-' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Kind is what a key says.
type Kind uint8

const (
	// Ban is a host's ban of an address or a network, in a group.
	Ban Kind = iota + 1
	// Lift is a host's word that nobody's ban of an address, or of what lies in a network, is to be
	// in force that was made before, in a group.
	Lift
	// Distrust is a lift of all that one host has said, in every group. Only the hub says it.
	Distrust
	// Beat is what the hub says every two seconds, so that silence is noticed.
	Beat
)

// kinds are the second tokens of keys.
var kinds = [...]string{Ban: "b", Lift: "l", Distrust: "o"}

// beatKey is the key of the beat. As a ban of the hub's it would have a fourth token.
const beatKey = Hub + ".b.beat"

// Key names what is said: HOST.b.GROUP.ADDR a ban, HOST.l.GROUP.ADDR a lift, hub.o.HOST a lift
// of a whole host, hub.b.beat the beat. It has one form only: what is parsed is what is
// printed. Keys are comparable.
type Key struct {
	// Host is who says it.
	Host string
	Kind Kind
	// Group is what the ban belongs to; of a Distrust it is the host that is meant.
	Group string
	addr  netip.Prefix
}

// BanKey is the key of a host's ban; LiftKey that of its lift. A network is that of its first address.
func BanKey(host, group string, p netip.Prefix) Key { return Key{host, Ban, group, plain(p)} }

// LiftKey is the key of a host's lift.
func LiftKey(host, group string, p netip.Prefix) Key { return Key{host, Lift, group, plain(p)} }

// DistrustKey is the key of the lift of all that a host has said.
func DistrustKey(host string) Key { return Key{Host: Hub, Kind: Distrust, Group: host} }

// BeatKey is the key of the beat.
func BeatKey() Key { return Key{Host: Hub, Kind: Beat} }

// plain is p without host bits, and IPv4 as IPv4.
func plain(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// Prefix is the address, as a network of full length, or the network; not valid where the key has none.
func (k Key) Prefix() netip.Prefix { return k.addr }

// Target is the host that a Distrust means.
func (k Key) Target() string {
	if k.Kind != Distrust {
		return ""
	}
	return k.Group
}

// String is the key as the stream has it.
func (k Key) String() string {
	switch k.Kind {
	case Beat:
		return beatKey
	case Distrust:
		return k.Host + ".o." + k.Group
	case Ban, Lift:
		return k.Host + "." + kinds[k.Kind] + "." + k.Group + "." + Token(k.addr)
	}
	return ""
}

// Check says what is wrong with a key that was put together here.
func (k Key) Check() error {
	back, err := ParseKey(k.String())
	if err == nil && back != k {
		err = fmt.Errorf("key %q: it is not one", k.String())
	}
	return err
}

// ParseKey reads a key.
func ParseKey(s string) (Key, error) {
	k, err := parseKey(s)
	if err != nil {
		return Key{}, fmt.Errorf("key %.200q: %w", s, err)
	}
	return k, nil
}

func parseKey(s string) (Key, error) {
	if s == beatKey {
		return BeatKey(), nil
	}
	host, rest, _ := strings.Cut(s, ".")
	kind, rest, _ := strings.Cut(rest, ".")
	group, addr, addressed := strings.Cut(rest, ".")
	if !isName(host) || !isName(group) {
		return Key{}, errors.New("want HOST.b.GROUP.ADDR, HOST.l.GROUP.ADDR or hub.o.HOST")
	}
	k := Key{Host: host, Group: group}
	switch kind {
	case kinds[Ban]:
		k.Kind = Ban
	case kinds[Lift]:
		k.Kind = Lift
	case kinds[Distrust]:
		if host != Hub || group == Hub || addressed {
			return Key{}, errors.New("only the hub lifts a whole host, and never itself: want hub.o.HOST")
		}
		k.Kind = Distrust
		return k, nil
	default:
		return Key{}, errors.New("want b, l or o as the second part")
	}
	p, err := ParseToken(addr)
	k.addr = p
	return k, err
}

// Token is an address or a network as one token, in an order that is that of the addresses:
// 198.51.100.7 is 4c6336407, 198.51.100.0/24 is 4c6336400-24, and 6 and 32 digits one of IPv6. It
// is empty for what is not valid.
func Token(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	a := p.Addr()
	b := make([]byte, 0, 1+32+1+3)
	if a.Is4() {
		four := a.As4()
		b = hex.AppendEncode(append(b, '4'), four[:])
	} else {
		sixteen := a.As16()
		b = hex.AppendEncode(append(b, '6'), sixteen[:])
	}
	if !p.IsSingleIP() {
		b = strconv.AppendInt(append(b, '-'), int64(p.Bits()), 10)
	}
	return string(b)
}

// ParseToken reads what Token prints, and nothing else: no host bits in a network, no length that a single
// address has anyway, no IPv4 in IPv6's clothes.
func ParseToken(s string) (netip.Prefix, error) {
	digits, length, network := strings.Cut(s, "-")
	raw, err := hex.DecodeString(digits[min(len(digits), 1):])
	if err != nil || !(len(raw) == 4 && digits[0] == '4' || len(raw) == 16 && digits[0] == '6') {
		return netip.Prefix{}, fmt.Errorf("address %.60q: want 4 and 8 digits of hex or 6 and 32, and -BITS for a network", s)
	}
	a, _ := netip.AddrFromSlice(raw)
	bits := a.BitLen()
	if network {
		if bits, err = strconv.Atoi(length); err != nil || bits >= a.BitLen() {
			return netip.Prefix{}, fmt.Errorf("address %.60q: want a length of 0 to %d", s, a.BitLen()-1)
		}
	}
	p := netip.PrefixFrom(a, bits)
	if !p.IsValid() || Token(p) != s || plain(p) != p {
		return netip.Prefix{}, fmt.Errorf("address %.60q: it has another form", s)
	}
	return p, nil
}
