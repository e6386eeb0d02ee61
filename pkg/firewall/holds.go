package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Holding is what of a jail's sets shuts an address out.
type Holding struct {
	Set  string
	Rule string        // that asks it, as nft writes it
	Left time.Duration // until it ends; 0: it doesn't
}

// Holds asks the kernel which of a jail's sets hold an address. That takes microseconds, however
// many elements there are.
func (f *Firewall) Holds(jail string, addr netip.Addr) (out []Holding, err error) {
	sets, rule, err := f.setsOf(jail)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	chains := strings.Join(f.chains, ", ")
	table := f.opts.Table
	f.mu.Unlock()
	for kind, set := range sets {
		if set == nil || (kind%2 == 1) != addr.Is6() {
			continue
		}
		key, bits := addr, 0
		if kind == setPrefix4 || kind == setPrefix6 {
			if bits = rule.Prefix4; addr.Is6() {
				bits = rule.Prefix6
			}
			p, err := addr.Prefix(bits)
			if err != nil {
				continue
			}
			key = p.Addr()
		}
		has, left, err := f.element(set, key)
		if err != nil {
			return out, fmt.Errorf("nftables: set %s: %w", set.Name, err)
		}
		if has {
			out = append(out, Holding{set.Name, fmt.Sprintf("table inet %s, chain %s: %s", table, chains, rule.text(set.Name, addr.Is6(), bits)), left})
		}
	}
	return out, nil
}

// element asks a set for an element, or the interval that holds a key.
func (f *Firewall) element(set *nftables.Set, key netip.Addr) (has bool, left time.Duration, err error) {
	answer, err := f.askElement(set.Name, key)
	if errors.Is(err, unix.ENOENT) {
		return false, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	for _, m := range answer {
		if len(m.Data) < 4 {
			continue
		}
		d, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return false, 0, err
		}
		for d.Next() {
			if d.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				continue
			}
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					d.Nested(func(d *netlink.AttributeDecoder) error {
						d.ByteOrder = binary.BigEndian
						end := false
						var ms uint64
						for d.Next() {
							switch d.Type() {
							case unix.NFTA_SET_ELEM_EXPIRATION:
								ms = d.Uint64()
							case unix.NFTA_SET_ELEM_FLAGS:
								end = d.Uint32()&unix.NFT_SET_ELEM_INTERVAL_END != 0
							}
						}
						if !end {
							has, left = true, time.Duration(ms)*time.Millisecond
						}
						return nil
					})
				}
				return nil
			})
		}
		if err := d.Err(); err != nil {
			return false, 0, err
		}
	}
	return has, left, nil
}

// text is a rule that asks a set, as nft writes it.
func (r *Rule) text(set string, six bool, bits int) string {
	var parts []string
	var ports []string
	for _, p := range r.Ports {
		if p.First == p.Last {
			ports = append(ports, fmt.Sprint(p.First))
		} else {
			ports = append(ports, fmt.Sprintf("%d-%d", p.First, p.Last))
		}
	}
	list := func(of []string) string {
		if len(of) == 1 {
			return of[0]
		}
		return "{ " + strings.Join(of, ", ") + " }"
	}
	switch {
	case len(ports) > 0 && r.AnyProtocol:
		parts = append(parts, "th dport "+list(ports))
	case len(ports) > 0 && len(r.Protocols) == 1:
		parts = append(parts, r.Protocols[0]+" dport "+list(ports))
	case len(ports) > 0:
		parts = append(parts, "meta l4proto "+list(r.Protocols)+" th dport "+list(ports))
	case len(r.Protocols) > 0:
		parts = append(parts, "meta l4proto "+list(r.Protocols))
	}
	if r.NewOnly {
		parts = append(parts, "ct state new")
	}
	family, how := "ip", r.Reject[0]
	if six {
		family, how = "ip6", r.Reject[1]
	}
	mask := ""
	if bits > 0 {
		mask = fmt.Sprintf(" & /%d", bits)
	}
	parts = append(parts, family+" saddr"+mask+" @"+set)
	switch {
	case r.Drop || how == "drop":
		parts = append(parts, "drop")
	case how != "":
		parts = append(parts, "reject with "+how)
	default:
		parts = append(parts, "reject")
	}
	return strings.Join(parts, " ")
}
