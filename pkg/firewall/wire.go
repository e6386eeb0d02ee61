package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The wire: sockets, transactions that are counted, and what is asked of the kernel
// without the library, since that overlooks an interrupted dump, owners of tables, and
// what it does not know in a rule.

// conn prepares a connection of the library; a socket of its own is opened for each
// thing that is done with it.
func (f *Firewall) conn(more ...nftables.SockOption) (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(append([]nftables.SockOption{func(c *netlink.Conn) error {
		// A large transaction does not fit into the default buffers. Without the
		// right to go beyond the system's limit, take what it gives.
		if err := c.SetWriteBuffer(16 << 20); err != nil && !errors.Is(err, os.ErrPermission) {
			return err
		}
		if err := c.SetReadBuffer(16 << 20); err != nil && !errors.Is(err, os.ErrPermission) {
			return err
		}
		return nil
	}}, more...)...))
}

// Generations notices that somebody changed the ruleset of the network namespace in
// which it was opened, whatever it was: the kernel counts the transactions. It asks and
// does not listen, since a listener makes everybody's transactions on the machine
// several times as long. It is safe for concurrent use.
type Generations struct {
	mu    sync.Mutex
	conn  *netlink.Conn
	seen  uint32
	other bool // somebody else changed it, and nobody was told yet
	times int  // how often somebody else did
}

// NewGenerations takes the present generation as known.
func NewGenerations() (*Generations, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, explain("open a netlink socket", err)
	}
	g := &Generations{conn: conn}
	if g.seen, err = g.ask(); err != nil {
		conn.Close()
		return nil, explain("read the ruleset's generation", err)
	}
	return g, nil
}

// Available says why nftables can't be commanded, if it can't.
func Available() error {
	g, err := NewGenerations()
	if err == nil {
		g.Close()
	}
	return err
}

// Close gives the socket back.
func (g *Generations) Close() { g.conn.Close() }

// Changed reports whether somebody else changed the ruleset since it was asked last.
func (g *Generations) Changed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.look()
	other := g.other
	g.other = false
	return other
}

// own makes a transaction that is not to be taken for somebody else's.
func (g *Generations) own(commit func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.look()
	err := commit()
	if now, asked := g.ask(); asked == nil {
		// Nothing is counted for what changed nothing, such as an element that was there.
		if by := now - g.seen; by > 1 || by == 1 && err != nil {
			g.other = true
			g.times++
		}
		g.seen = now
	}
	return err
}

func (g *Generations) look() {
	if now, err := g.ask(); err == nil && now != g.seen {
		g.other, g.seen = true, now
		g.times++
	}
}

// changes is how often somebody else changed the ruleset so far; several times in a row
// may count as one.
func (g *Generations) changes() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.look()
	return g.times
}

func (g *Generations) ask() (uint32, error) {
	msgs, err := g.conn.Execute(request(unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0, nil))
	if err != nil {
		return 0, err
	}
	for _, m := range msgs {
		for _, a := range attributes(m.Data) {
			if a.kind == unix.NFTA_GEN_ID {
				return a.uint32(), nil
			}
		}
	}
	return 0, errors.New("the kernel names no generation")
}

func request(kind int, family byte, flags netlink.HeaderFlags, attrs []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attrs...),
	}
}

// attribute is one attribute of a message; numbers are big-endian throughout nftables.
type attribute struct {
	kind uint16
	data []byte
}

func (a attribute) uint32() uint32 {
	if len(a.data) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(a.data)
}

func (a attribute) uint64() uint64 {
	if len(a.data) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(a.data)
}

func (a attribute) text() string {
	for i, c := range a.data {
		if c == 0 {
			return string(a.data[:i])
		}
	}
	return string(a.data)
}

// attributes returns those of a message of nftables, behind its header of four bytes.
func attributes(data []byte) []attribute {
	if len(data) < 4 {
		return nil
	}
	return nested(data[4:])
}

// nested returns the attributes in one.
func nested(data []byte) []attribute { return slices.Collect(inside(data)) }

// inside goes through the attributes in one, as nested does, and allocates nothing.
func inside(data []byte) iter.Seq[attribute] {
	return func(yield func(attribute) bool) {
		for len(data) >= 4 {
			n := int(binary.NativeEndian.Uint16(data))
			if n < 4 || n > len(data) {
				return
			}
			kind := binary.NativeEndian.Uint16(data[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(attribute{kind, data[4:n]}) {
				return
			}
			data = data[min((n+3)&^3, len(data)):]
		}
	}
}

// errInterrupted: the ruleset changed while it was read.
var errInterrupted = errors.New("the ruleset changed while it was read")

// dump asks for all things of one kind. Where the ruleset changed meanwhile, the answer
// comes with errInterrupted: something may be missing or twice in it.
func dump(c *netlink.Conn, kind int, attrs []byte) (out []netlink.Message, err error) {
	err = dumpAll(c, kind, attrs, func(m netlink.Message) { out = append(out, m) })
	return out, err
}

// dumpEach is dump, and keeps nothing.
func dumpEach(c *netlink.Conn, kind int, attrs []byte, each func(data []byte)) error {
	return dumpAll(c, kind, attrs, func(m netlink.Message) { each(m.Data) })
}

func dumpAll(c *netlink.Conn, kind int, attrs []byte, each func(netlink.Message)) error {
	if _, err := c.Send(request(kind, unix.NFPROTO_INET, netlink.Dump, attrs)); err != nil {
		return err
	}
	var failed error
	interrupted := false
	for m, err := range c.ReceiveIter() { // to its end, whatever comes
		if err != nil {
			failed = err
			continue
		}
		interrupted = interrupted || m.Header.Flags&netlink.DumpInterrupted != 0
		each(m)
	}
	if failed == nil && interrupted {
		failed = errInterrupted
	}
	return failed
}

// names are the attributes that name a table and something in it; both have the
// numbers 1 and 2 for sets and lists of elements, and for rules and their chain.
func names(table, in string) []byte {
	attrs := []netlink.Attribute{{Type: 1, Data: []byte(table + "\x00")}}
	if in != "" {
		attrs = append(attrs, netlink.Attribute{Type: 2, Data: []byte(in + "\x00")})
	}
	b, _ := netlink.MarshalAttributes(attrs) // fails only beyond 64 KiB
	return b
}

// explain wraps a kernel error with what was asked and what to do about it.
func explain(asked string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, os.ErrPermission):
		return fmt.Errorf("nftables: %s: %w: run as root or with CAP_NET_ADMIN, or use --dry-run", asked, err)
	case errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("nftables: %s: %w: this kernel has no nftables: load the module nf_tables", asked, err)
	}
	return fmt.Errorf("nftables: %s: %w", asked, err)
}
