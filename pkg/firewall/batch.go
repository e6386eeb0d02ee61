package firewall

import (
	"encoding/binary"
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

// A transaction of elements, written straight into what the kernel is sent: the library takes
// a kilobyte for an element on the way there, this some forty bytes.

// batch is one transaction.
type batch struct {
	buf  []byte
	last uint32 // the number of the last message
	// Where a message and its list of elements begin, as long as it is open.
	set           *nftables.Set
	kind          int
	message, list int
}

// elementSink takes changes of sets: a batch, or a transaction of the library's.
type elementSink interface {
	put(set *nftables.Set, s span)
	take(set *nftables.Set, s span)
}

// libraryTx hands them to the library, where sets and rules are made in the same transaction.
type libraryTx struct {
	c       *nftables.Conn
	set     *nftables.Set
	taking  bool
	waiting []nftables.SetElement
	err     error
}

func (l *libraryTx) put(set *nftables.Set, s span)  { l.change(set, s, false) }
func (l *libraryTx) take(set *nftables.Set, s span) { l.change(set, s, true) }

func (l *libraryTx) change(set *nftables.Set, s span, taking bool) {
	if l.set != set || l.taking != taking || len(l.waiting) >= perMessage {
		l.flush()
	}
	l.set, l.taking = set, taking
	l.waiting = append(l.waiting, elementsOf([]span{s}, set.Interval)...)
}

func (l *libraryTx) flush() error {
	if len(l.waiting) > 0 {
		change := l.c.SetAddElements
		if l.taking {
			change = l.c.SetDeleteElements
		}
		l.err = errors.Join(l.err, change(l.set, l.waiting))
		l.waiting = nil
	}
	return l.err
}

// batchElement is what an element takes, or more.
const batchElement = 48

// listMost is how long a list of elements in one message gets: its length has 16 bits.
const listMost = 60_000

// batchPatience is how long the kernel may take to answer.
const batchPatience = 5 * time.Minute

func newBatch(room int) *batch {
	b := &batch{buf: make([]byte, 0, room+4096)}
	b.begin(unix.NFNL_MSG_BATCH_BEGIN, netlink.Request, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	b.end()
	return b
}

func (b *batch) begin(kind uint16, flags netlink.HeaderFlags, family byte, resource uint16) {
	b.last++
	b.message = len(b.buf)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(flags))
	b.buf = binary.NativeEndian.AppendUint32(b.buf, b.last)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0)
	b.buf = append(b.buf, family, unix.NFNETLINK_V0, byte(resource>>8), byte(resource))
}

func (b *batch) end() {
	binary.NativeEndian.PutUint32(b.buf[b.message:], uint32(len(b.buf)-b.message))
}

// change begins a message about elements of a set.
func (b *batch) change(kind int, flags netlink.HeaderFlags, set *nftables.Set) {
	b.begin(unix.NFNL_SUBSYS_NFTABLES<<8|uint16(kind), netlink.Request|flags, unix.NFPROTO_INET, 0)
	b.buf = append(b.buf, names(set.Table.Name, set.Name)...)
	b.set = set
}

func (b *batch) flush(set *nftables.Set) {
	b.close()
	b.change(unix.NFT_MSG_DELSETELEM, 0, set)
	b.end()
}

const nested16 = unix.NLA_F_NESTED

func (b *batch) attribute(kind, length int) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(length))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(kind))
}

// put adds to a set, take takes out of it.
func (b *batch) put(set *nftables.Set, s span) {
	b.open(unix.NFT_MSG_NEWSETELEM, netlink.Create, set)
	b.span(set, s)
}

func (b *batch) take(set *nftables.Set, s span) {
	b.open(unix.NFT_MSG_DELSETELEM, 0, set)
	b.span(set, s)
}

// open goes on with a message of that kind, or begins one.
func (b *batch) open(kind int, flags netlink.HeaderFlags, set *nftables.Set) {
	if b.list > 0 && (b.set != set || b.kind != kind || len(b.buf)-b.list > listMost) {
		b.close()
	}
	if b.list == 0 {
		b.change(kind, flags, set)
		b.kind, b.list = kind, len(b.buf)
		b.attribute(unix.NFTA_SET_ELEM_LIST_ELEMENTS|nested16, 0)
	}
}

func (b *batch) span(set *nftables.Set, s span) {
	b.element(s.first, s.left, false)
	if set.Interval {
		if end := s.last.Next(); end.IsValid() {
			b.element(end, 0, true)
		}
	}
}

func (b *batch) element(key netip.Addr, left time.Duration, end bool) {
	n := key.BitLen() / 8
	length := 4 + 4 + 4 + n
	if end {
		length += 8
	}
	if left > 0 {
		length += 12
	}
	b.attribute(unix.NFTA_LIST_ELEM|nested16, length)
	if end {
		b.attribute(unix.NFTA_SET_ELEM_FLAGS, 8)
		b.buf = binary.BigEndian.AppendUint32(b.buf, unix.NFT_SET_ELEM_INTERVAL_END)
	}
	b.attribute(unix.NFTA_SET_ELEM_KEY|nested16, 4+4+n)
	b.attribute(unix.NFTA_DATA_VALUE, 4+n)
	if n == 4 {
		a := key.As4()
		b.buf = append(b.buf, a[:]...)
	} else {
		a := key.As16()
		b.buf = append(b.buf, a[:]...)
	}
	if left > 0 {
		b.attribute(unix.NFTA_SET_ELEM_TIMEOUT, 12)
		b.buf = binary.BigEndian.AppendUint64(b.buf, uint64(max(left.Milliseconds(), 1)))
	}
}

// close ends a message with a list of elements.
func (b *batch) close() {
	if b.list == 0 {
		return
	}
	binary.NativeEndian.PutUint16(b.buf[b.list:], uint16(len(b.buf)-b.list))
	b.list = 0
	b.end()
}

// send has the kernel carry it out, and waits for its word.
func (b *batch) send() error {
	b.close()
	if b.last == 1 {
		return nil // there is nothing in it
	}
	// The last message is confirmed; of the others, only what is wrong is told.
	flags := binary.NativeEndian.Uint16(b.buf[b.message+6:])
	binary.NativeEndian.PutUint16(b.buf[b.message+6:], flags|uint16(netlink.Acknowledge))
	confirmed := b.last
	b.begin(unix.NFNL_MSG_BATCH_END, netlink.Request, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	b.end()
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetWriteBuffer(len(b.buf) + 4096); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	// An answer for each message that is refused must not have all of that message in it.
	if err := c.SetOption(netlink.CapAcknowledge, true); err != nil {
		return err
	}
	if err := c.SetReadBuffer(16 << 20); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(batchPatience)); err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), b.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(sent, unix.EAGAIN)
	}); err != nil {
		return err
	}
	if sent != nil {
		return sent
	}
	var wrong []error
	for {
		answer, err := receiveOnce(c)
		if err != nil {
			return err
		}
		all, err := syscall.ParseNetlinkMessage(answer)
		if err != nil {
			return err
		}
		for _, m := range all {
			if m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 {
				continue
			}
			code := int32(binary.NativeEndian.Uint32(m.Data))
			if what := unix.Errno(-code); code != 0 && !slices.Contains(wrong, error(what)) {
				wrong = append(wrong, what)
			}
			if m.Header.Seq == confirmed || m.Header.Seq == 1 {
				return errors.Join(wrong...)
			}
		}
		if len(all) == 0 {
			return fmt.Errorf("the kernel's answer is empty")
		}
	}
}
