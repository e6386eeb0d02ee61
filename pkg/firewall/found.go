package firewall

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The table as it is found: by a daemon that starts, and again whenever somebody else
// changed the ruleset.

// found is what the kernel has of our table.
type found struct {
	exists bool
	handle uint64 // another one after the table was made anew
	flags  uint32
	owner  uint32 // the netlink port of the program that alone may change it; 0: anybody may
	chains map[string]*foundChain
	sets   map[string]*foundSet
	rules  []*foundRule
}

type foundChain struct {
	name     string
	base     bool // it has a hook
	hook     uint32
	priority int32
	policy   uint32
	kind     string // filter, nat, route
	use      uint32 // rules in it, and jumps to it
}

type foundSet struct {
	name    string
	flags   uint32
	keyType uint32
	keyLen  uint32
	timeout uint64 // of elements that name none
	size    uint32 // at most so many elements; 0: any number
	handle  uint64
}

type foundRule struct {
	chain  string
	handle uint64
	exprs  []expr.Any
	known  bool   // exprs is all of it
	asks   bool   // it looks at the packet, or at a state, before it says what becomes of it
	raw    string // its expressions as they came
	text   string // what it says, written as texts of wantedRule are
}

// Not in golang.org/x/sys/unix.
const (
	tableHandle     = 4 // NFTA_TABLE_HANDLE
	tableOwner      = 7 // NFTA_TABLE_OWNER
	setHandle       = 16
	flagDormant     = 1 // NFT_TABLE_F_DORMANT
	flagOwner       = 2 // NFT_TABLE_F_OWNER
	maxConsistent   = 10
	anonymousPrefix = "__"
)

// look reads the table as it stands at one moment.
func (f *Firewall) look() (*found, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, explain("open a netlink socket", err)
	}
	defer c.Close()
	var s *found
	for range maxConsistent {
		if s, err = f.lookOnce(c); !errors.Is(err, errInterrupted) {
			break
		}
	}
	if err != nil && !errors.Is(err, errInterrupted) {
		return nil, explain("read table inet "+f.opts.Table, err)
	}
	if s == nil {
		return nil, fmt.Errorf("nftables: read table inet %s: it changes all the time", f.opts.Table)
	}
	return s, nil
}

func (f *Firewall) lookOnce(c *netlink.Conn) (*found, error) {
	s := &found{chains: map[string]*foundChain{}, sets: map[string]*foundSet{}}
	before, err := f.gens.ask()
	if err != nil {
		return nil, err
	}
	table, err := c.Execute(request(unix.NFT_MSG_GETTABLE, unix.NFPROTO_INET, 0, names(f.opts.Table, "")))
	if errors.Is(err, unix.ENOENT) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.exists = true
	for _, m := range table {
		for _, a := range attributes(m.Data) {
			switch a.kind {
			case unix.NFTA_TABLE_FLAGS:
				s.flags = a.uint32()
			case tableHandle:
				s.handle = a.uint64()
			case tableOwner:
				s.owner = a.uint32()
			}
		}
	}
	chains, err := dump(c, unix.NFT_MSG_GETCHAIN, names(f.opts.Table, ""))
	if err != nil {
		return nil, err
	}
	for _, m := range chains {
		if chain, ours := readChain(m.Data, f.opts.Table); ours {
			s.chains[chain.name] = chain
		}
	}
	sets, err := dump(c, unix.NFT_MSG_GETSET, names(f.opts.Table, ""))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	for _, m := range sets {
		set := readSet(m.Data)
		s.sets[set.name] = set
	}
	rules, err := dump(c, unix.NFT_MSG_GETRULE, names(f.opts.Table, ""))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	for _, m := range rules {
		s.rules = append(s.rules, readRule(m.Data))
	}
	contents := map[unnamedSet]string{}
	for _, r := range s.rules {
		if err := f.describeFound(c, s, r, contents); err != nil {
			return nil, err
		}
	}
	f.contents = contents
	if after, err := f.gens.ask(); err != nil || after != before {
		return nil, errInterrupted
	}
	return s, nil
}

func readChain(data []byte, table string) (c *foundChain, ours bool) {
	c = &foundChain{}
	for _, a := range attributes(data) {
		switch a.kind {
		case unix.NFTA_CHAIN_TABLE:
			ours = a.text() == table && data[0] == unix.NFPROTO_INET
		case unix.NFTA_CHAIN_NAME:
			c.name = a.text()
		case unix.NFTA_CHAIN_POLICY:
			c.policy = a.uint32()
		case unix.NFTA_CHAIN_TYPE:
			c.kind = a.text()
		case unix.NFTA_CHAIN_USE:
			c.use = a.uint32()
		case unix.NFTA_CHAIN_HOOK:
			c.base = true
			for _, h := range nested(a.data) {
				switch h.kind {
				case unix.NFTA_HOOK_HOOKNUM:
					c.hook = h.uint32()
				case unix.NFTA_HOOK_PRIORITY:
					c.priority = int32(h.uint32())
				}
			}
		}
	}
	return c, ours
}

func readSet(data []byte) *foundSet {
	s := &foundSet{}
	for _, a := range attributes(data) {
		switch a.kind {
		case unix.NFTA_SET_NAME:
			s.name = a.text()
		case unix.NFTA_SET_FLAGS:
			s.flags = a.uint32()
		case unix.NFTA_SET_KEY_TYPE:
			s.keyType = a.uint32()
		case unix.NFTA_SET_KEY_LEN:
			s.keyLen = a.uint32()
		case unix.NFTA_SET_TIMEOUT:
			s.timeout = a.uint64()
		case setHandle:
			s.handle = a.uint64()
		case unix.NFTA_SET_DESC:
			for _, d := range nested(a.data) {
				if d.kind == unix.NFTA_SET_DESC_SIZE {
					s.size = d.uint32()
				}
			}
		}
	}
	return s
}

func readRule(data []byte) *foundRule {
	r := &foundRule{known: true}
	for _, a := range attributes(data) {
		switch a.kind {
		case unix.NFTA_RULE_CHAIN:
			r.chain = a.text()
		case unix.NFTA_RULE_HANDLE:
			r.handle = a.uint64()
		case unix.NFTA_RULE_COMPAT:
			r.known = false // of iptables
		case unix.NFTA_RULE_EXPRESSIONS:
			r.raw = string(a.data)
			for _, e := range nested(a.data) {
				name, body := "", []byte(nil)
				for _, part := range nested(e.data) {
					switch part.kind {
					case unix.NFTA_EXPR_NAME:
						name = part.text()
					case unix.NFTA_EXPR_DATA:
						body = part.data
					}
				}
				var x expr.Any
				switch name {
				case "meta":
					x = &expr.Meta{}
				case "cmp":
					x = &expr.Cmp{}
				case "payload":
					x = &expr.Payload{}
				case "bitwise":
					x = &expr.Bitwise{}
				case "lookup":
					x = &expr.Lookup{}
				case "ct":
					x = &expr.Ct{}
				case "counter":
					x = &expr.Counter{}
				case "reject":
					x = &expr.Reject{}
				case "immediate":
					x = &expr.Verdict{}
				}
				r.asks = r.asks || !lookless[name]
				if x == nil || expr.Unmarshal(unix.NFPROTO_INET, body, x) != nil {
					r.known = false
					continue
				}
				r.exprs = append(r.exprs, x)
			}
		}
	}
	return r
}

// lookless are expressions that are the same for every packet.
var lookless = map[string]bool{"counter": true, "immediate": true, "log": true, "objref": true, "notrack": true}

// endsChain reports whether no packet comes to the rules behind this one, and none is
// refused by it.
func (r *foundRule) endsChain() bool {
	if r.asks {
		return false
	}
	for _, e := range r.exprs {
		if v, ok := e.(*expr.Verdict); ok && slices.Contains([]expr.VerdictKind{expr.VerdictAccept, expr.VerdictReturn, expr.VerdictGoto}, v.Kind) {
			return true
		}
	}
	return false
}

// unnamedSet is a set of some rule's own. Nobody can change one, and neither of the
// numbers is given twice.
type unnamedSet struct{ table, set uint64 }

// describeFound writes down what a rule says. The sets without a name that it looks into
// are read once, and remembered.
func (f *Firewall) describeFound(c *netlink.Conn, s *found, r *foundRule, contents map[unnamedSet]string) error {
	if !r.known {
		return nil
	}
	texts := map[string]string{}
	for _, e := range r.exprs {
		l, ok := e.(*expr.Lookup)
		if !ok || !strings.HasPrefix(l.SetName, anonymousPrefix) {
			continue
		}
		set := s.sets[l.SetName]
		if set == nil {
			return errInterrupted
		}
		key := unnamedSet{s.handle, set.handle}
		text, ok := f.contents[key]
		if !ok {
			msgs, err := dump(c, unix.NFT_MSG_GETSETELEM, names(f.opts.Table, l.SetName))
			if err != nil {
				return err
			}
			var all []element
			for _, m := range msgs {
				all = append(all, readElements(m.Data)...)
			}
			text = contentsOf(all)
		}
		contents[key], texts[l.SetName] = text, text
	}
	r.text = describe(r.exprs, func(l *expr.Lookup) string {
		if text, ok := texts[l.SetName]; ok {
			return text
		}
		return "@" + l.SetName
	})
	return nil
}

// contentsOf writes down the elements of a set without a name.
func contentsOf(all []element) string {
	slices.SortFunc(all, func(a, b element) int { return slices.Compare(a.key, b.key) })
	var parts []string
	for i := 0; i < len(all); i++ {
		e := all[i]
		if e.end {
			continue // of nothing: nft marks the beginning of the address space so
		}
		text := hex.EncodeToString(e.key)
		if i+1 < len(all) && all[i+1].end {
			if last := slices.Clone(all[i+1].key); decrement(last) && slices.Compare(last, e.key) > 0 {
				text += "-" + hex.EncodeToString(last)
			}
		}
		parts = append(parts, text)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// decrement takes one off a big-endian number.
func decrement(b []byte) bool {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]--; b[i] != 0xff {
			return true
		}
	}
	return false
}

// describe writes down what a rule says, so that two rules that do the same with a
// packet have the same text; a counter makes no difference.
func describe(exprs []expr.Any, lookup func(*expr.Lookup) string) string {
	var parts []string
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Meta:
			parts = append(parts, fmt.Sprintf("meta %d", e.Key))
		case *expr.Ct:
			parts = append(parts, fmt.Sprintf("ct %d", e.Key))
		case *expr.Cmp:
			parts = append(parts, fmt.Sprintf("cmp %d %x", e.Op, e.Data))
		case *expr.Payload:
			parts = append(parts, fmt.Sprintf("payload %d %d %d", e.Base, e.Offset, e.Len))
		case *expr.Bitwise:
			parts = append(parts, fmt.Sprintf("mask %x %x", e.Mask, e.Xor))
		case *expr.Lookup:
			if e.Invert {
				parts = append(parts, "not")
			}
			parts = append(parts, lookup(e))
		case *expr.Reject:
			parts = append(parts, fmt.Sprintf("reject %d %d", e.Type, e.Code))
		case *expr.Verdict:
			parts = append(parts, fmt.Sprintf("verdict %d %s", e.Kind, e.Chain))
		}
	}
	return strings.Join(parts, "; ")
}

// shutsOut returns the set whose addresses a rule refuses or drops, if that is all it
// does, whatever ports it names.
func (r *foundRule) shutsOut() (set string, mask []byte, ok bool) {
	if !r.known || len(r.exprs) == 0 {
		return "", nil, false
	}
	source := false
	for i, e := range r.exprs {
		switch e := e.(type) {
		case *expr.Meta:
			source = false
			if e.Key != expr.MetaKeyL4PROTO && e.Key != expr.MetaKeyNFPROTO {
				return "", nil, false
			}
		case *expr.Ct:
			source = false
			if e.Key != expr.CtKeySTATE || e.SourceRegister {
				return "", nil, false
			}
		case *expr.Payload:
			source = e.Base == expr.PayloadBaseNetworkHeader && (e.Offset == 12 && e.Len == 4 || e.Offset == 8 && e.Len == 16)
			mask = nil
		case *expr.Bitwise:
			mask = e.Mask
		case *expr.Lookup:
			if strings.HasPrefix(e.SetName, anonymousPrefix) {
				continue
			}
			if e.Invert || !source || set != "" {
				return "", nil, false
			}
			set = e.SetName
		case *expr.Cmp, *expr.Counter:
		case *expr.Reject:
			return set, mask, set != "" && i == len(r.exprs)-1
		case *expr.Verdict:
			return set, mask, set != "" && i == len(r.exprs)-1 && e.Kind == expr.VerdictDrop
		}
	}
	return "", nil, false
}

// mentions reports whether a rule has to do with a set in any way.
func (r *foundRule) mentions(set string) bool {
	text := r.raw
	for {
		i := strings.Index(text, set+"\x00")
		if i < 0 {
			return false
		}
		if i > 0 && text[i-1] < ' ' { // an attribute begins there, and no longer name ends
			return true
		}
		text = text[i+1:]
	}
}

// is reports whether a set has the form of ours.
func (s *foundSet) is(want *nftables.Set) bool {
	flags := uint32(unix.NFT_SET_TIMEOUT)
	if want.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	return s.flags == flags && s.keyType == want.KeyType.GetNFTMagic() && s.keyLen == want.KeyType.Bytes && s.timeout == 0 && s.size == 0
}

// form says in nft's words how a set is made.
func (s *foundSet) form() string {
	types := map[uint32]string{nftables.TypeIPAddr.GetNFTMagic(): "ipv4_addr", nftables.TypeIP6Addr.GetNFTMagic(): "ipv6_addr"}
	kind := types[s.keyType]
	if kind == "" {
		kind = fmt.Sprintf("number %d", s.keyType)
	}
	var flags []string
	for i, name := range []string{"anonymous", "constant", "interval", "map", "timeout", "dynamic"} {
		if s.flags&(1<<i) != 0 {
			flags = append(flags, name)
		}
	}
	text := "type " + kind
	if len(flags) > 0 {
		text += ", flags " + strings.Join(flags, ",")
	}
	if s.timeout != 0 {
		text += fmt.Sprintf(", timeout %d ms", s.timeout)
	}
	if s.size != 0 {
		text += fmt.Sprintf(", size %d", s.size)
	}
	return text
}

// ownedBy says whose a table is that nobody else may change.
func (s *found) ownedBy(table string) error {
	program := ""
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", s.owner)); err == nil {
		program = fmt.Sprintf(", as it seems process %d, %s", s.owner, strings.TrimSpace(string(name)))
	}
	return fmt.Errorf("nftables: table inet %s belongs to another program, which made it with `flags owner` (netlink port %d%s): nobody else can change it; stop that program, or name another table in [firewall] table", table, s.owner, program)
}
