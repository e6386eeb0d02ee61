package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What the kernel's sets hold, read back.

// element is one element as it comes: a key of its own, or the beginning or the end of
// an interval.
type element struct {
	key     []byte
	end     bool          // behind the last of an interval
	timeout bool          // it has one
	left    time.Duration // of it
}

func readElements(data []byte) (out []element) {
	eachElement(data, func(e element) {
		e.key = slices.Clone(e.key)
		out = append(out, e)
	})
	return out
}

// eachElement hands over the elements of a message. There may be millions: nothing is
// allocated for them, and a key is part of the message.
func eachElement(data []byte, f func(e element)) {
	for list := range inside(data[min(4, len(data)):]) {
		if list.kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for item := range inside(list.data) {
			var e element
			for a := range inside(item.data) {
				switch a.kind {
				case unix.NFTA_SET_ELEM_KEY:
					for v := range inside(a.data) {
						if v.kind == unix.NFTA_DATA_VALUE {
							e.key = v.data
						}
					}
				case unix.NFTA_SET_ELEM_FLAGS:
					e.end = a.uint32()&unix.NFT_SET_ELEM_INTERVAL_END != 0
				case unix.NFTA_SET_ELEM_TIMEOUT:
					e.timeout = a.uint64() != 0
				case unix.NFTA_SET_ELEM_EXPIRATION:
					e.left = time.Duration(a.uint64()) * time.Millisecond
				}
			}
			if e.timeout {
				e.left = max(e.left, time.Millisecond)
			} else {
				e.left = 0
			}
			f(e)
		}
	}
}

// span is addresses of one family with what is left of their time.
type span struct {
	first, last netip.Addr
	left        time.Duration // 0: for ever
}

// prefix returns the network or address that a span is; not ok if it is none.
func (s span) prefix() (netip.Prefix, bool) {
	for bits := s.first.BitLen(); bits >= 0; bits-- {
		p := netip.PrefixFrom(s.first, bits)
		if p.Masked().Addr() != s.first {
			break
		}
		if lastOf(p) == s.last {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// prefixes returns the networks that make up a span.
func (s span) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for at := s.first; at.IsValid() && !s.last.Less(at); {
		p := netip.PrefixFrom(at, at.BitLen())
		for bits := at.BitLen() - 1; bits >= 0; bits-- {
			wider := netip.PrefixFrom(at, bits)
			if wider.Masked().Addr() != at || s.last.Less(lastOf(wider)) {
				break
			}
			p = wider
		}
		out = append(out, p)
		at = lastOf(p).Next()
	}
	return out
}

// lastOf returns the last address of a network.
func lastOf(id netip.Prefix) netip.Addr {
	b := id.Masked().Addr().AsSlice()
	for i := id.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// spanOf is the one of an element of a set without intervals, of networks of the length bits;
// not ok if it has none.
func (e *element) spanOf(bits int) (span, bool) {
	a, ok := netip.AddrFromSlice(e.key)
	p, err := a.Prefix(min(bits, a.BitLen()))
	if !ok || err != nil {
		return span{}, false
	}
	return span{p.Addr(), lastOf(p), e.left}, true
}

// spansOf makes spans of the elements of an interval set, which are beginnings and ends.
func spansOf(all []element) []span {
	out := make([]span, 0, len(all))
	// At the same key, an end comes before a beginning.
	slices.SortFunc(all, func(a, b element) int {
		if c := slices.Compare(a.key, b.key); c != 0 || a.end == b.end {
			return c
		}
		if a.end {
			return -1
		}
		return 1
	})
	for i, e := range all {
		first, ok := netip.AddrFromSlice(e.key)
		if e.end || !ok {
			continue
		}
		last := lastOf(netip.PrefixFrom(first, 0)) // where no end follows
		if i+1 < len(all) {
			if next, ok := netip.AddrFromSlice(all[i+1].key); ok {
				last = next.Prev()
			}
		}
		if !last.Less(first) {
			out = append(out, span{first, last, e.left})
		}
	}
	return out
}

// maxReads is how often a set is read that others change meanwhile; then what was found
// in any of the attempts counts.
const maxReads = 3

// readSpans returns what a set holds. A set that is gone holds nothing.
func (f *Firewall) readSpans(set string, bits int, interval bool) ([]span, error) {
	if !interval {
		return readInto(f, set, nil, func(e element) (span, bool) { return e.spanOf(bits) }, func(a, b span) int { return a.first.Compare(b.first) })
	}
	all, err := readInto(f, set, nil, func(e element) (element, bool) {
		e.key = slices.Clone(e.key)
		return e, true
	}, func(a, b element) int {
		if c := slices.Compare(a.key, b.key); c != 0 || a.end == b.end {
			return c
		}
		if a.end {
			return -1
		}
		return 1
	})
	return spansOf(all), err
}

// readInto appends what a set holds to out, each element as one says, whose key is not to be
// kept. order tells what two attempts have found apart.
func readInto[T any](f *Firewall, set string, out []T, one func(element) (T, bool), order func(a, b T) int) ([]T, error) {
	begin := len(out)
	for attempt := 1; ; attempt++ {
		before := len(out)
		err := f.scan(set, func(e element) {
			if x, ok := one(e); ok {
				out = append(out, x)
			}
		})
		switch {
		case err == nil:
			return slices.Delete(out, begin, before), nil
		case !errors.Is(err, errInterrupted):
			return out[:begin], explain("read set "+set, err)
		case attempt == maxReads:
			found := out[begin:]
			slices.SortStableFunc(found, order)
			found = slices.CompactFunc(found, func(a, b T) bool { return order(a, b) == 0 })
			return out[:begin+len(found)], nil
		}
	}
}

// scan reads a set once, as it comes, piece by piece.
func (f *Firewall) scan(set string, each func(element)) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := roomForDumps(c); err != nil {
		return err
	}
	err = dumpEach(c, unix.NFT_MSG_GETSETELEM, names(f.opts.Table, set), func(data []byte) { eachElement(data, each) })
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return err
}

// isEmpty reports whether a set holds nothing. It reads no more than the beginning.
func (f *Firewall) isEmpty(set string) (bool, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return false, explain("open a netlink socket", err)
	}
	defer c.Close()
	if _, err := c.Send(request(unix.NFT_MSG_GETSETELEM, unix.NFPROTO_INET, netlink.Dump, names(f.opts.Table, set))); err != nil {
		return false, explain("read set "+set, err)
	}
	answer, err := receiveOnce(c)
	if err != nil {
		return false, explain("read set "+set, err)
	}
	msgs, err := syscall.ParseNetlinkMessage(answer)
	if err != nil {
		return false, explain("read set "+set, err)
	}
	for _, m := range msgs {
		if m.Header.Type&0xff == unix.NFT_MSG_NEWSETELEM && m.Header.Type>>8 == unix.NFNL_SUBSYS_NFTABLES && len(readElements(m.Data)) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// Elements returns what the kernel holds of a jail. Reading 100,000 back takes the
// kernel half a second, in which others may go on making changes. Ranges that are no
// networks, which only somebody else can have put there, are replaced by the networks
// that they are made of. What is to be removed, though the kernel has refused it so far,
// is left out, and so is a list ([Rule.List]).
func (f *Firewall) Elements(jail string) ([]Element, error) {
	f.mu.Lock()
	j := f.jails[jail]
	if j == nil {
		f.mu.Unlock()
		return nil, fmt.Errorf("nftables: jail %s has no sets", jail)
	}
	sets, rule, epoch, began := j.sets, j.rule, j.reading(), time.Now()
	known := f.guard.index.len() // there may be a million: they are not to be moved about
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		j.hasRead()
		f.mu.Unlock()
	}()
	out := make([]Element, 0, known)
	for kind, set := range sets {
		if set == nil || set.Interval && rule.List {
			continue
		}
		if !set.Interval {
			bits := rule.bitsOf(kind)
			var err error
			if out, err = readInto(f, set.Name, out, func(e element) (Element, bool) {
				a, ok := netip.AddrFromSlice(e.key)
				p, err := a.Prefix(min(bits, a.BitLen()))
				return Element{p, e.left}, ok && err == nil
			}, func(a, b Element) int { return a.ID.Addr().Compare(b.ID.Addr()) }); err != nil {
				return nil, err
			}
			continue
		}
		spans, err := f.readSpans(set.Name, rule.bitsOf(kind), set.Interval)
		if err != nil {
			return nil, err
		}
		var split []span
		for _, s := range spans {
			if p, ok := s.prefix(); ok {
				out = append(out, Element{p, s.left})
				continue
			}
			split = append(split, s)
			for _, p := range s.prefixes() {
				out = append(out, Element{p, s.left})
			}
		}
		if len(split) == 0 {
			continue
		}
		if err := f.split(set, split); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.learn(jail, j, epoch, out, time.Since(began)); err != nil {
		return nil, err
	}
	if o := f.owed[jail]; o != nil {
		out = o.without(out)
	}
	return out, nil
}

// split replaces ranges by the networks that they are made of.
func (f *Firewall) split(set *nftables.Set, ranges []span) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for chunk := range slices.Chunk(ranges, perMessage/128) {
		c, err := f.conn()
		if err != nil {
			return explain("open a netlink socket", err)
		}
		var del, add []nftables.SetElement
		for _, s := range chunk {
			del = append(del, intervalOf(s)...)
			for _, p := range s.prefixes() {
				add = append(add, intervalOf(span{p.Masked().Addr(), lastOf(p), s.left})...)
			}
		}
		if err := errors.Join(c.SetDeleteElements(set, del), c.SetAddElements(set, add)); err != nil {
			return explain("split ranges in set "+set.Name, err)
		}
		if err := f.gens.own(c.Flush); err != nil && !errors.Is(err, unix.ENOENT) { // it ended meanwhile
			return explain("split ranges in set "+set.Name, err)
		}
	}
	return nil
}

// intervalOf returns the elements of a span in an interval set: its first address, and
// the one behind its last as an end.
func intervalOf(s span) []nftables.SetElement {
	out := []nftables.SetElement{{Key: s.first.AsSlice(), Timeout: s.left}}
	if end := s.last.Next(); end.IsValid() {
		out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
	}
	return out
}

// bitsOf returns the length of what a set's elements stand for.
func (r *Rule) bitsOf(kind int) int {
	return [6]int{32, 128, 32, 128, r.Prefix4, r.Prefix6}[kind]
}

// roomForDumps lets the kernel answer in pieces of 32 KiB. It makes them as large
// as the largest buffer that was read into; the library reads into one of just the
// size of what comes, so they stay at 4 KiB. For each piece the kernel walks a
// hash set from its beginning: 100,000 elements take 3 s so, and 0.4 s in large
// pieces.
func roomForDumps(c *netlink.Conn) error {
	if _, err := c.Send(request(unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0, nil)); err != nil {
		return err
	}
	_, err := receiveOnce(c)
	return err
}

// pieceMost is how large a piece of an answer is that is received.
const pieceMost = 64 << 10

// pieces is where one is received, if nobody else is at it: most are a few bytes, and a buffer
// made for each is garbage of megabytes at a start with many jails.
var pieces struct {
	sync.Mutex
	buf [pieceMost]byte
}

// receiveOnce returns one piece of what the kernel answers.
func receiveOnce(c *netlink.Conn) ([]byte, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var buf []byte
	if pieces.TryLock() {
		defer pieces.Unlock()
		buf = pieces.buf[:]
	} else {
		buf = make([]byte, pieceMost)
	}
	n := 0
	var readErr error
	if err := raw.Read(func(fd uintptr) bool {
		n, _, readErr = unix.Recvfrom(int(fd), buf, 0)
		return !errors.Is(readErr, unix.EAGAIN)
	}); err != nil {
		return nil, err
	}
	return slices.Clone(buf[:max(n, 0)]), readErr
}
