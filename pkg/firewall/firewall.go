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
//
// The table may be anybody's when we come, and others may change it while we run. So
// it is never assumed: the table is read as it is found, compared with what it should
// be, and the difference is one transaction, in which no address is let through that
// was shut out (settle.go). The same is done at a start, for each change of a jail,
// and whenever somebody else changed the ruleset.
//
//	f, err := firewall.Open(firewall.Options{}, rules...)
//	err = f.Apply([]firewall.Change{{Jail: "sshd", ID: id, Left: time.Hour}})
//	if f.Changed() {
//		report, err := f.Check()
package firewall

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/nftables"
)

// Hook is a place in the kernel's packet path where a chain is attached.
type Hook struct {
	Name     string // input, forward, prerouting
	Priority int
}

// DefaultPriority is the priority of a chain at a hook where none is told: before DNAT in
// prerouting, where the ports are those that the client has and what comes in is for this host
// and for others behind it; elsewhere fail2ban's, just before the chains of iptables.
func DefaultPriority(hook string) int {
	if hook == "prerouting" {
		return -150
	}
	return -1
}

// Options say where the rules live.
type Options struct {
	Table string // of family inet; empty: f2b-table
	Chain string // empty: f2b-chain
	Hooks []Hook // empty: input, priority -1. From the second on, the chain's name has the hook's appended
	// Others are jails whose sets in this table are none of ours, as those that actions
	// make by commands.
	Others []string
	// Waiting are jails that are configured and can't be started: what a daemon before this
	// one has left of them stays in force.
	Waiting []string
	// Ending are jails that only observe now: what they had in their sets is taken away once
	// they are started.
	Ending []string
}

// PortRange is one port or several; both ends belong to it.
type PortRange struct{ First, Last uint16 }

// Rule is what a jail shuts its bans out of.
type Rule struct {
	Jail      string
	Ports     []PortRange // empty: all
	Protocols []string    // tcp, udp, sctp, dccp, icmp…; empty: all (and then all ports)
	Drop      bool        // say nothing, instead of rejecting
	// AnyProtocol: the ports are those of whatever protocol has its destination port where
	// TCP has, as nft's "th dport"; Protocols is empty.
	AnyProtocol bool
	// Reject says how, of IPv4 and of IPv6, in nft's words: "tcp reset", "icmpx
	// admin-prohibited"; empty: ICMP's port unreachable. See [KnownReject]. "drop" says
	// nothing to that family.
	Reject [2]string
	// NewOnly: only packets that begin a connection are shut out; those that are open stay.
	NewOnly bool
	// Count has the rules count packets and bytes.
	Count bool
	// List: the networks in its interval sets are a list ([Firewall.LoadList]).
	List bool
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
	// Written is when the line that led to it was written, for who measures: it is handed back
	// with the change ([Queue.Watch]); 0: none did.
	Written int64
}

// Firewall is the kernel's nftables as far as it is ours. It is safe for
// concurrent use.
type Firewall struct {
	gens   *Generations
	lock   *os.File
	closed sync.Once

	mu       sync.Mutex // guards what follows, and is held over a transaction
	opts     Options
	table    *nftables.Table
	chains   []string // where the rules are; by hook
	jails    map[string]*jailSets
	leaving  map[string]*jailSets     // jails that are gone, whose sets could not be removed yet
	owed     map[string]*debt         // what the kernel refused, by jail
	owing    atomic.Pointer[[]string] // of whom, for those who don't wait for mu
	called   atomic.Pointer[string]   // the table's name, for the same
	ended    map[string]bool          // chains in which a rule of somebody else's lets everybody in
	contents map[unnamedSet]string
	tries    int  // transactions of elements so far
	interim  bool // a table may be there that stood for ours while that was changed
	guard    guard
	guardDue atomic.Bool // it can be made, or is to be made anew
	aside    Report      // of what was made right by the way
	asOf     int         // how often somebody else had changed the ruleset when the table was last made right
}

type jailSets struct {
	rule   Rule
	sets   [6]*nftables.Set // by kind; but for addresses, nil until needed
	want   [6]bool          // are to be made by the next transaction of settle
	filled [6]filling       // what was put into them, as far as we know
	listed [2]bool          // of a list: it has something of IPv4, of IPv6
	loaded bool             // there was one since the start
	known  bool             // the guard's index has all that the sets hold

	readers int                   // who reads the sets at the moment
	epoch   int                   // how often the sets were emptied or made anew while they were read
	changed map[netip.Prefix]bool // meanwhile; true: what was read of it is void
}

// filling is whether something ought to be in a set.
type filling struct {
	some  bool
	until time.Time // zero: for ever
}

// add notes that something was put into the set that lasts for so long; 0: for ever.
func (f *filling) add(left time.Duration, now time.Time) {
	var end time.Time
	if left > 0 {
		end = now.Add(left)
	}
	if !f.some || !f.until.IsZero() && (end.IsZero() || end.After(f.until)) {
		f.until = end
	}
	f.some = true
}

// over reports whether all of it has ended by itself.
func (f *filling) over(now time.Time) bool {
	return !f.until.IsZero() && !now.Add(endSlack).Before(f.until)
}

// endSlack is by how much the kernel may be earlier with an element's end than we: it
// counts in ticks of its own, from when it takes it.
const endSlack = time.Second

const (
	setAddr4 = iota
	setAddr6
	setNet4
	setNet6
	setPrefix4
	setPrefix6
)

var setPrefixes = [6]string{"addr-set-", "addr6-set-", "net-set-", "net6-set-", "prefix4-set-", "prefix6-set-"}

// perMessage bounds the elements of one netlink message: the library loses those
// beyond 64 KiB without an error.
const perMessage = 1000

// Open makes the table what it should be for jails with these rules, or finds it so.
// What their sets hold stays in force at every moment, whatever form they had. The
// table is ours alone until Close: where another bailiff has it, that is the error.
func Open(opts Options, rules ...Rule) (*Firewall, Report, error) {
	f := &Firewall{jails: map[string]*jailSets{}, leaving: map[string]*jailSets{}, owed: map[string]*debt{}, guard: guard{index: newGuardIndex()}}
	if err := f.setOptions(opts); err != nil {
		return nil, Report{}, err
	}
	var err error
	if f.gens, err = NewGenerations(); err != nil {
		return nil, Report{}, err
	}
	var report Report
	if f.lock, err = lockTable(f.opts.Table); err != nil {
		var none *noLockError
		if !asNoLock(err, &none) {
			f.Close()
			return nil, Report{}, err
		}
		report.Notes = append(report.Notes, err.Error())
	}
	for _, r := range rules {
		f.jails[r.Jail] = &jailSets{rule: r}
	}
	more, err := f.settle(true)
	report.add(more)
	if err == nil {
		err = f.endInterim()
	}
	if err != nil {
		f.Close()
		return nil, report, err
	}
	return f, report, nil
}

// Close gives the table back to whoever comes next. What is in it stays, but for the
// guard, of which others don't know.
func (f *Firewall) Close() {
	f.closed.Do(func() {
		f.mu.Lock()
		_ = f.lowerGuard() // the next one does, if there is one
		f.mu.Unlock()
		f.gens.Close()
		if f.lock != nil {
			unlock(f.lock)
		}
	})
}

func (f *Firewall) setOptions(opts Options) error {
	if opts.Table == "" {
		opts.Table = "f2b-table"
	}
	if opts.Chain == "" {
		opts.Chain = "f2b-chain"
	}
	if len(opts.Hooks) == 0 {
		opts.Hooks = []Hook{{"input", -1}}
	}
	for _, h := range opts.Hooks {
		if hookNumbers[h.Name] == nil {
			return fmt.Errorf("nftables: unknown hook %q (input, forward, prerouting)", h.Name)
		}
	}
	f.opts = opts
	f.called.Store(&opts.Table)
	f.table = &nftables.Table{Family: nftables.TableFamilyINet, Name: opts.Table}
	return nil
}

var hookNumbers = map[string]*nftables.ChainHook{
	"input": nftables.ChainHookInput, "forward": nftables.ChainHookForward, "prerouting": nftables.ChainHookPrerouting,
}

// Changed reports whether somebody else changed the ruleset since it was asked last.
func (f *Firewall) Changed() bool { return f.gens.Changed() }

// Check compares our table with what it should be and makes it so. Report.Refill names
// the jails whose bans it then lacks.
func (f *Firewall) Check() (Report, error) {
	f.mu.Lock()
	f.doubtGuard()
	report, err := f.settle(false)
	f.mu.Unlock()
	if err == nil {
		var more Report
		more, err = f.fillGuard()
		report.add(more)
	}
	return report, err
}

// AddJail makes the sets and rules of a jail, or brings those that are there in
// line. What sets hold stays there: bans outlive the daemon.
func (f *Firewall) AddJail(rule Rule) (Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, held := f.jails[rule.Jail]
	if held && before.sets[setAddr4] != nil && f.leaving[rule.Jail] == nil && reflect.DeepEqual(before.rule, rule) && f.gens.changes() == f.asOf {
		return Report{}, nil // it is there, and nobody else was: each of a thousand jails asks
	}
	j := &jailSets{rule: rule}
	if held {
		j.filled, j.listed, j.loaded, j.known = before.filled, before.listed, before.loaded, before.known && (rule.List || !before.rule.List)
		for kind, set := range before.sets {
			if set != nil && (kind < setPrefix4 || rule.bitsOf(kind) == before.rule.bitsOf(kind)) {
				j.sets[kind] = set
			}
		}
	}
	left := f.leaving[rule.Jail]
	delete(f.leaving, rule.Jail)
	f.jails[rule.Jail] = j
	report, err := f.settle(false)
	if err != nil {
		delete(f.jails, rule.Jail)
		if held {
			f.jails[rule.Jail] = before
		} else if left != nil {
			f.leaving[rule.Jail] = left
		}
		return report, err
	}
	return report, nil
}

// RemoveJail takes the rules and sets of a jail out of the kernel, and its bans
// with them. A set that a rule of somebody else's looks into is emptied; it is removed
// as soon as that is possible, and so is everything that the kernel did not let go. A jail
// that was not added may have been one of a daemon before this one.
func (f *Firewall) RemoveJail(jail string) (Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.jails[jail]
	if j == nil {
		j = &jailSets{rule: Rule{Jail: jail}}
	}
	delete(f.jails, jail)
	delete(f.owed, jail)
	f.noteOwed()
	f.leaving[jail] = j
	return f.settle(false)
}

// Emptied returns the jails of which a set is empty in which something ought to be. Each is
// named once.
func (f *Firewall) Emptied() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	now := time.Now()
	for name, j := range f.jails {
		for kind, set := range j.sets {
			if set == nil || !j.filled[kind].some {
				continue
			}
			if j.filled[kind].over(now) {
				j.filled[kind] = filling{}
				continue
			}
			if empty, err := f.isEmpty(set.Name); err == nil && empty {
				j.filled[kind] = filling{}
				if !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}
