// Package firewall holds bans as elements of nftables sets. Each element has its
// own timeout, so the kernel ends a ban on time by itself, with or without the
// daemon.
//
// Names are fail2ban's: table inet f2b-table, chain f2b-chain, and for each jail
// the hash sets addr-set-JAIL and addr6-set-JAIL for single addresses. Networks
// go into the interval sets net-set-JAIL and net6-set-JAIL, which are made when
// the first one is banned: an interval set makes every later ban dearer. Where a
// jail bans networks of one length (Rule.Prefix4, Rule.Prefix6), those go into the
// hash sets prefix4-set-JAIL and prefix6-set-JAIL, in which the rule looks up the
// packet's address under a mask, so that they cost no more than addresses do.
package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Hook is a place in the kernel's packet path where a chain is attached.
type Hook struct {
	Name     string // input, forward, prerouting
	Priority int
}

// Options say where the rules live.
type Options struct {
	Table string // of family inet; empty: f2b-table
	Chain string // empty: f2b-chain
	Hooks []Hook // empty: input, priority -1. From the second on, the chain's name has the hook's appended
}

// PortRange is one port or several; both ends belong to it.
type PortRange struct{ First, Last uint16 }

// Rule is what a jail shuts its bans out of.
type Rule struct {
	Jail      string
	Ports     []PortRange // empty: all
	Protocols []string    // tcp, udp, sctp, dccp, icmp…; empty: all (and then all ports)
	Drop      bool        // say nothing, instead of rejecting
	// Prefix4 and Prefix6 are the lengths of the networks that the jail bans in
	// place of addresses; 0: it bans addresses.
	Prefix4, Prefix6 int
}

// Element is one banned address or network in the kernel.
type Element struct {
	ID   netip.Prefix
	Left time.Duration // 0: no timeout
}

// Change adds or removes one element, or removes all of a jail.
type Change struct {
	Jail   string
	ID     netip.Prefix
	Left   time.Duration // how long it lasts; 0: for ever
	Remove bool
	// Replace: it is in the set already, and its timeout is to be another one.
	Replace bool
	// Clear: everything of the jail is to go, whatever ID says. It is a transaction
	// of its own.
	Clear bool
}

// Firewall is the kernel's nftables as far as it is ours. It is safe for
// concurrent use.
type Firewall struct {
	opts  Options
	ports ports

	mu     sync.Mutex
	table  *nftables.Table
	chains []*nftables.Chain
	jails  map[string]*jailSets
}

type jailSets struct {
	rule Rule
	sets [6]*nftables.Set // by kind; but for addresses, nil until needed
}

const (
	setAddr4 = iota
	setAddr6
	setNet4
	setNet6
	setPrefix4
	setPrefix6
)

var setPrefixes = [6]string{"addr-set-", "addr6-set-", "net-set-", "net6-set-", "prefix4-set-", "prefix6-set-"}

// SetNames returns the names of the sets that a jail's bans are in.
func SetNames(jail string) [6]string {
	var out [6]string
	for i, p := range setPrefixes {
		out[i] = p + jail
	}
	return out
}

var hookNumbers = map[string]*nftables.ChainHook{
	"input": nftables.ChainHookInput, "forward": nftables.ChainHookForward, "prerouting": nftables.ChainHookPrerouting,
}

// perMessage bounds the elements of one netlink message: the library loses those
// beyond 64 KiB without an error.
const perMessage = 1000

func (f *Firewall) conn(more ...nftables.SockOption) (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(append([]nftables.SockOption{func(c *netlink.Conn) error {
		f.ports.add(c.PID())
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

// Open makes the table and its chains, or finds them.
func Open(opts Options) (*Firewall, error) {
	if opts.Table == "" {
		opts.Table = "f2b-table"
	}
	if opts.Chain == "" {
		opts.Chain = "f2b-chain"
	}
	if len(opts.Hooks) == 0 {
		opts.Hooks = []Hook{{"input", -1}}
	}
	f := &Firewall{opts: opts, jails: map[string]*jailSets{}}
	f.table = &nftables.Table{Family: nftables.TableFamilyINet, Name: opts.Table}
	accept := nftables.ChainPolicyAccept
	for i, h := range opts.Hooks {
		hook, ok := hookNumbers[h.Name]
		if !ok {
			return nil, fmt.Errorf("nftables: unknown hook %q (input, forward, prerouting)", h.Name)
		}
		name := opts.Chain
		if i > 0 {
			name += "-" + h.Name
		}
		f.chains = append(f.chains, &nftables.Chain{
			Name: name, Table: f.table, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(h.Priority)), Policy: &accept,
		})
	}
	c, err := f.conn()
	if err != nil {
		return nil, explain("open a netlink socket", err)
	}
	if err := f.base(c); err != nil {
		return nil, err
	}
	return f, nil
}

// base makes the table and its chains where they are missing.
func (f *Firewall) base(c *nftables.Conn) error {
	c.AddTable(f.table)
	for _, chain := range f.chains {
		c.AddChain(chain)
	}
	if err := c.Flush(); err != nil {
		return explain(fmt.Sprintf("make table inet %s and chain %s", f.opts.Table, f.opts.Chain), err)
	}
	return nil
}

// explain wraps a kernel error with what was asked and what to do about it.
func explain(asked string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, os.ErrPermission):
		return fmt.Errorf("nftables: %s: %w: run as root or with CAP_NET_ADMIN, or use --dry-run", asked, err)
	case errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("nftables: %s: %w: this kernel has no nftables, or lacks a module of it (nf_tables, nft_reject_inet)", asked, err)
	case errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY):
		return fmt.Errorf("nftables: %s: %w: it is there with other properties; see `nft list ruleset`", asked, err)
	}
	return fmt.Errorf("nftables: %s: %w", asked, err)
}

// AddJail makes the sets and rules of a jail, or brings those that are there in
// line. What sets hold stays there: bans outlive the daemon.
func (f *Firewall) AddJail(rule Rule) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.conn()
	if err != nil {
		return explain("open a netlink socket", err)
	}
	if err := f.base(c); err != nil { // another hand may have removed them
		return err
	}
	j := &jailSets{rule: rule}
	existing, err := c.GetSets(f.table)
	if err != nil {
		return explain("list the sets of table "+f.table.Name, err)
	}
	names := SetNames(rule.Jail)
	for i, name := range names {
		if i < setNet4 || slices.ContainsFunc(existing, func(s *nftables.Set) bool { return s.Name == name }) {
			j.sets[i] = f.newSet(i, rule.Jail)
			if err := c.AddSet(j.sets[i], nil); err != nil {
				return explain("make set "+name, err)
			}
		}
	}
	if err := f.addRules(c, j); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return explain("make the sets and rules of jail "+rule.Jail, err)
	}
	f.jails[rule.Jail] = j
	return nil
}

func (f *Firewall) newSet(kind int, jail string) *nftables.Set {
	key := nftables.TypeIPAddr
	if kind%2 == 1 {
		key = nftables.TypeIP6Addr
	}
	return &nftables.Set{
		Table: f.table, Name: setPrefixes[kind] + jail, KeyType: key,
		HasTimeout: true, Interval: kind == setNet4 || kind == setNet6,
	}
}

// addRules replaces the rules that look into the jail's sets, in one transaction.
func (f *Firewall) addRules(c *nftables.Conn, j *jailSets) error {
	names := SetNames(j.rule.Jail)
	for _, chain := range f.chains {
		rules, err := c.GetRules(f.table, chain)
		if err != nil {
			return explain("list chain "+chain.Name, err)
		}
		for _, r := range rules {
			if looksInto(r, names[:]) {
				if err := c.DelRule(r); err != nil {
					return explain("replace a rule of chain "+chain.Name, err)
				}
			}
		}
		for kind, set := range j.sets {
			if set == nil {
				continue
			}
			for _, exprs := range f.matches(c, j.rule) {
				c.AddRule(&nftables.Rule{Table: f.table, Chain: chain, Exprs: append(exprs, verdict(set, j.rule.maskOf(kind), j.rule.Drop)...)})
			}
		}
	}
	return nil
}

func looksInto(r *nftables.Rule, sets []string) bool {
	for _, e := range r.Exprs {
		if l, ok := e.(*expr.Lookup); ok && slices.Contains(sets, l.SetName) {
			return true
		}
	}
	return false
}

// RemoveJail takes the rules and sets of a jail out of the kernel, and its bans
// with them.
func (f *Firewall) RemoveJail(jail string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jails[jail]
	if j == nil {
		return nil
	}
	delete(f.jails, jail)
	c, err := f.conn()
	if err != nil {
		return explain("open a netlink socket", err)
	}
	names := SetNames(jail)
	for _, chain := range f.chains {
		rules, err := c.GetRules(f.table, chain)
		if err != nil {
			return explain("list chain "+chain.Name, err)
		}
		for _, r := range rules {
			if looksInto(r, names[:]) {
				if err := c.DelRule(r); err != nil {
					return explain("remove a rule of jail "+jail, err)
				}
			}
		}
	}
	for _, set := range j.sets {
		if set != nil {
			c.DelSet(set)
		}
	}
	if err := c.Flush(); err != nil {
		return explain("remove the sets and rules of jail "+jail, err)
	}
	return nil
}

// deafFrom is from how many elements on nobody listens to a transaction.
const deafFrom = 500

// Apply makes changes in one transaction. Removing what is not there is no
// error: the kernel may just have ended it.
func (f *Firewall) Apply(changes []Change) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if len(changes) > deafFrom || slices.ContainsFunc(changes, func(c Change) bool { return c.Clear }) {
		err = f.ports.deaf(func() (int, error) {
			if err := f.apply(changes); err != nil {
				return 0, err
			}
			return 1, nil
		})
	} else {
		err = f.apply(changes)
	}
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EEXIST) {
		return err
	}
	// Some element ended by itself, or a set was flushed by another hand: look
	// at what the kernel holds and ask only for the difference.
	missing := f.missingSets(changes)
	if len(missing) > 0 {
		return fmt.Errorf("nftables: sets are gone (%s): something else removed them", strings.Join(missing, ", "))
	}
	var errs []error
	for _, ch := range changes {
		one := []Change{ch}
		err := f.apply(one)
		if errors.Is(err, unix.ENOENT) {
			if ch.Remove {
				continue
			}
			one[0].Replace = false
			err = f.apply(one)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Gone returns the jails of which a set is not in the kernel any more: another
// hand has flushed the ruleset.
func (f *Firewall) Gone() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	existing, ok := f.existingSets()
	if !ok {
		return nil
	}
	var gone []string
	for name, j := range f.jails {
		if slices.ContainsFunc(j.sets[:], func(s *nftables.Set) bool { return s != nil && !existing[s.Name] }) {
			gone = append(gone, name)
		}
	}
	return gone
}

// existingSets returns the names of the sets in the table; not ok if the kernel
// does not say.
func (f *Firewall) existingSets() (names map[string]bool, ok bool) {
	c, err := f.conn()
	if err != nil {
		return nil, false
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, false
	}
	names = map[string]bool{}
	if slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == f.table.Name }) {
		sets, err := c.GetSets(f.table)
		if err != nil {
			return nil, false
		}
		for _, s := range sets {
			names[s.Name] = true
		}
	} // else none: the table is gone, too
	return names, true
}

func (f *Firewall) missingSets(changes []Change) []string {
	existing, ok := f.existingSets()
	if !ok {
		return nil
	}
	var missing []string
	for _, ch := range changes {
		j := f.jails[ch.Jail]
		if j == nil || ch.Clear || j.sets[j.rule.kindOf(ch.ID)] == nil {
			continue
		}
		if name := j.sets[j.rule.kindOf(ch.ID)].Name; !existing[name] && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

// kindOf says in which of the jail's sets an address or network belongs.
func (r *Rule) kindOf(id netip.Prefix) int {
	six := 0
	if id.Addr().Is6() {
		six = 1
	}
	switch {
	case id.IsSingleIP():
		return setAddr4 + six
	case id.Bits() == [2]int{r.Prefix4, r.Prefix6}[six]:
		return setPrefix4 + six
	}
	return setNet4 + six
}

// maskOf returns the mask under which a packet's address is looked up in a set;
// nil: as it is.
func (r *Rule) maskOf(kind int) []byte {
	switch {
	case kind == setPrefix4:
		return net.CIDRMask(r.Prefix4, 32)
	case kind == setPrefix6:
		return net.CIDRMask(r.Prefix6, 128)
	}
	return nil
}

func (f *Firewall) apply(changes []Change) error {
	c, err := f.conn()
	if err != nil {
		return explain("open a netlink socket", err)
	}
	type work struct{ del, add []nftables.SetElement }
	todo := map[*nftables.Set]*work{}
	var order []*nftables.Set
	type place struct {
		jail *jailSets
		kind int
	}
	var grown []place // sets made by this transaction
	for _, ch := range changes {
		j := f.jails[ch.Jail]
		if j == nil {
			return fmt.Errorf("nftables: jail %s has no sets", ch.Jail)
		}
		if ch.Clear {
			for _, set := range j.sets {
				if set != nil {
					c.FlushSet(set)
				}
			}
			continue
		}
		kind := j.rule.kindOf(ch.ID)
		if j.sets[kind] == nil {
			if ch.Remove {
				continue
			}
			set := f.newSet(kind, ch.Jail)
			if err := c.AddSet(set, nil); err != nil {
				return explain("make set "+set.Name, err)
			}
			j.sets[kind] = set
			grown = append(grown, place{j, kind})
		}
		set := j.sets[kind]
		w := todo[set]
		if w == nil {
			w = &work{}
			todo[set] = w
			order = append(order, set)
		}
		if ch.Remove || ch.Replace {
			w.del = append(w.del, elementsOf(ch.ID, 0, set.Interval)...)
		}
		if !ch.Remove {
			w.add = append(w.add, elementsOf(ch.ID, ch.Left, set.Interval)...)
		}
	}
	renewed := map[*jailSets]bool{}
	for _, g := range grown {
		if renewed[g.jail] {
			continue
		}
		renewed[g.jail] = true
		if err := f.addRules(c, g.jail); err != nil {
			return err
		}
	}
	for _, set := range order {
		for chunk := range slices.Chunk(todo[set].del, perMessage) {
			if err := c.SetDeleteElements(set, chunk); err != nil {
				return explain("take elements out of set "+set.Name, err)
			}
		}
		for chunk := range slices.Chunk(todo[set].add, perMessage) {
			if err := c.SetAddElements(set, chunk); err != nil {
				return explain("put elements into set "+set.Name, err)
			}
		}
	}
	if err := c.Flush(); err != nil {
		for _, g := range grown { // the transaction failed: what it would have made is not there
			g.jail.sets[g.kind] = nil
		}
		return explain(fmt.Sprintf("change %d elements", len(changes)), err)
	}
	return nil
}

// elementsOf returns the set elements of an address, or of a network: its first
// address, and in an interval set the one behind its last as an end.
func elementsOf(id netip.Prefix, left time.Duration, interval bool) []nftables.SetElement {
	first := id.Addr().AsSlice()
	if !interval {
		return []nftables.SetElement{{Key: first, Timeout: left}}
	}
	out := []nftables.SetElement{{Key: first, Timeout: left}}
	if end := behind(id); end.IsValid() {
		out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
	}
	return out
}

// behind returns the first address after a network; not valid after the last.
func behind(id netip.Prefix) netip.Addr {
	b := id.Masked().Addr().AsSlice()
	for i := id.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last.Next()
}
