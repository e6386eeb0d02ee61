package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What the kernel holds, read back.

// Elements returns what the kernel holds of a jail. Reading 100,000 back takes
// the kernel about a second, in which others may go on making changes.
func (f *Firewall) Elements(jail string) ([]Element, error) {
	f.mu.Lock()
	j := f.jails[jail]
	if j == nil {
		f.mu.Unlock()
		return nil, fmt.Errorf("nftables: jail %s has no sets", jail)
	}
	sets := j.sets
	f.mu.Unlock()
	c, err := f.conn(roomForDumps)
	if err != nil {
		return nil, explain("open a netlink socket", err)
	}
	var out []Element
	for i, set := range sets {
		if set == nil {
			continue
		}
		e, err := f.elements(c, set, j.rule.bitsOf(i))
		if err != nil {
			return nil, err
		}
		out = append(out, e...)
	}
	return out, nil
}

// bitsOf returns the length of what a set's elements stand for.
func (r *Rule) bitsOf(kind int) int {
	return [6]int{32, 128, 32, 128, r.Prefix4, r.Prefix6}[kind]
}

func (f *Firewall) elements(c *nftables.Conn, set *nftables.Set, bits int) ([]Element, error) {
	raw, err := c.GetSetElements(set)
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		return nil, explain("read set "+set.Name, err)
	}
	if !set.Interval {
		out := make([]Element, 0, len(raw))
		for _, e := range raw {
			if a, ok := netip.AddrFromSlice(e.Key); ok {
				out = append(out, Element{netip.PrefixFrom(a, bits), left(e)})
			}
		}
		return out, nil
	}
	// Beginnings and ends come as elements of their own: sort them and take pairs.
	slices.SortFunc(raw, func(a, b nftables.SetElement) int {
		return slices.Compare(a.Key, b.Key)
	})
	var out []Element
	for i, e := range raw {
		first, ok := netip.AddrFromSlice(e.Key)
		if e.IntervalEnd || !ok {
			continue
		}
		var end netip.Addr // not valid: up to the last address
		if i+1 < len(raw) && raw[i+1].IntervalEnd {
			end, _ = netip.AddrFromSlice(raw[i+1].Key)
		}
		for bits := 0; bits <= first.BitLen(); bits++ {
			if p := netip.PrefixFrom(first, bits); p.Masked().Addr() == first && behind(p) == end {
				out = append(out, Element{p, left(e)})
				break
			}
		}
	}
	return out, nil
}

func left(e nftables.SetElement) time.Duration {
	if e.Timeout == 0 {
		return 0
	}
	return max(e.Expires, time.Millisecond)
}

// roomForDumps lets the kernel answer in pieces of 32 KiB. It makes them as large
// as the largest buffer that was read into; the library reads into one of just the
// size of what comes, so they stay at 4 KiB. For each piece the kernel walks a
// hash set from its beginning: 100,000 elements take 3 s so, and 0.4 s in large
// pieces.
func roomForDumps(c *netlink.Conn) error {
	if _, err := c.Send(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	}); err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	var readErr error
	if err := raw.Read(func(fd uintptr) bool {
		_, _, readErr = unix.Recvfrom(int(fd), buf, 0)
		return !errors.Is(readErr, unix.EAGAIN)
	}); err != nil {
		return err
	}
	return readErr
}
