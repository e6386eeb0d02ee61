package ban

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
	"unique"
)

// ID is who is counted and banned: an address, a network, or, where a filter says so
// (<F-ID>), any other text, a name: of a user, a session, a path. IDs are equal if they
// are the same; the zero ID is nobody.
//
// It takes what a netip.Prefix does, and addresses have no part in what names cost: the
// text of a name lies elsewhere, once for all who have it.
type ID struct {
	addr [16]byte // of IPv4, as IPv6 has it
	name unique.Handle[string]
	bits uint8
	kind kind
}

type kind uint8

const (
	nobody kind = iota
	ip4
	ip6
	named
)

// MaxName is how many bytes a name has at most.
const MaxName = 1024

// Of is an address, as a prefix of full length, or a network; nobody if p is not valid.
func Of(p netip.Prefix) ID {
	if !p.IsValid() {
		return ID{}
	}
	id := ID{addr: p.Addr().As16(), bits: uint8(p.Bits()), kind: ip6}
	if p.Addr().Is4() {
		id.kind = ip4
	}
	return id
}

// Named is who goes by a name. Nobody does by an empty one, nor by one that is longer than
// MaxName. What reads as an address is for the caller to tell apart: it has one ID only.
func Named(name string) ID {
	name = strings.ToValidUTF8(name, string(utf8.RuneError)) // as Python would have it, for the database
	if name == "" || len(name) > MaxName {
		return ID{}
	}
	return ID{name: unique.Make(name), kind: named}
}

// IsValid reports whether it is somebody.
func (id ID) IsValid() bool { return id.kind != nobody }

// IsName reports whether it is neither an address nor a network.
func (id ID) IsName() bool { return id.kind == named }

// IsNetwork reports whether it is a network of more than one address.
func (id ID) IsNetwork() bool {
	return id.kind == ip4 && id.bits < 32 || id.kind == ip6 && id.bits < 128
}

// Is4 reports whether it is an address or a network of IPv4.
func (id ID) Is4() bool { return id.kind == ip4 }

// Prefix returns the address, with its full length, or the network; not valid for a name.
func (id ID) Prefix() netip.Prefix {
	a := id.Addr()
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, int(id.bits))
}

// Addr returns the address, or the first one of the network; not valid for a name.
func (id ID) Addr() netip.Addr {
	switch id.kind {
	case ip4:
		return netip.AddrFrom4([4]byte(id.addr[12:]))
	case ip6:
		return netip.AddrFrom16(id.addr)
	}
	return netip.Addr{}
}

// Bits returns the length of the network, that of an address for one; -1 for a name.
func (id ID) Bits() int {
	if id.kind == nobody || id.kind == named {
		return -1
	}
	return int(id.bits)
}

// Within returns the network of a length that holds the address or network; nobody for
// a name.
func (id ID) Within(bits int) ID {
	if bits < 0 || bits > id.Bits() {
		return ID{}
	}
	id.bits = uint8(bits)
	if id.kind == ip4 {
		bits += 96
	}
	for i := range id.addr {
		if left := bits - 8*i; left < 8 {
			id.addr[i] &= ^byte(0xff >> max(left, 0))
		}
	}
	return id
}

// Holds reports whether an address or a network lies in this network, and isn't it.
func (id ID) Holds(inner ID) bool {
	if id.kind != inner.kind || inner.bits <= id.bits || id.kind == named {
		return false
	}
	return inner.Within(int(id.bits)) == id
}

// Address is an address or none, in as little as a pointer takes.
type Address struct{ at unique.Handle[netip.Addr] }

// AddressOf is an address; none if a is not valid.
func AddressOf(a netip.Addr) Address {
	if !a.IsValid() {
		return Address{}
	}
	return Address{unique.Make(a.Unmap().WithZone(""))}
}

// IsValid reports whether it is an address.
func (a Address) IsValid() bool { return a != Address{} }

// Addr returns the address; not valid if it is none.
func (a Address) Addr() netip.Addr {
	if !a.IsValid() {
		return netip.Addr{}
	}
	return a.at.Value()
}

// Size is how many bytes its name takes; 0 for an address.
func (id ID) Size() int {
	if id.kind != named {
		return 0
	}
	return len(id.name.Value())
}

// String is Name.
func (id ID) String() string { return Name(id) }

// Name returns the address, the network with its length, or the name.
func Name(id ID) string {
	switch {
	case id.kind == named:
		return id.name.Value()
	case id.IsNetwork():
		return id.Prefix().String()
	}
	return id.Addr().String()
}

// Told is Name for the log and for whoever reads it for bans: a name that he could take for
// something else, an address, a host or the end of the line, stands in quotes there. A
// log's reader that looks for `Ban <HOST>` (recidive) finds none in those.
func Told(id ID) string {
	if id.kind != named {
		return Name(id)
	}
	name := id.name.Value()
	if misread(name) {
		return strconv.Quote(name)
	}
	return name
}

// ToldText is Told for an ID beside which an address stood: one that reads as an address or
// a network is somebody's text there, and in quotes, so that nobody is banned for it.
func ToldText(id ID) string {
	if id.IsName() {
		return Told(id)
	}
	return strconv.Quote(Name(id))
}

// misread reports whether a name in a log may be taken for something else.
func misread(name string) bool {
	for _, r := range name {
		if !strconv.IsPrint(r) || r == ']' || r == '"' || r == utf8.RuneError {
			return true
		}
	}
	// As <HOST> does: what may be an address or a host's name, from the beginning on.
	host := strings.TrimLeft(name, "[ ")
	end := strings.IndexFunc(host, func(r rune) bool { return !strings.ContainsRune(".:", r) && !wordLike(r) })
	if end >= 0 {
		host = host[:end]
	}
	return strings.ContainsAny(host, ".:")
}

func wordLike(r rune) bool {
	return r >= 0x80 || r == '_' || r == '-' || r == '^' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}
