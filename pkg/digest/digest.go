// Package digest sums up the table of events over a while, for a mail or a page: failures and bans
// by jail, who made most of them, what went wrong. It takes as much memory for a year as for an hour.
//
//	d := digest.New(from, to)
//	reader.Each(func(_ uint64, line []byte) bool { d.Add(line); return true })
//	sum := d.Sum(10)
package digest

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/chart"
	"bailiff/pkg/events"
)

// Sum is what has happened in a while.
type Sum struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Kept is when the oldest event was that is kept, if that was after From: what was before is
	// not in here.
	Kept *time.Time `json:"kept_since,omitempty"`
	// First and Last are the numbers of the events between.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	Numbers
	Addresses []Address     `json:"addresses"` // who made most failures and bans
	Networks  []chart.Count `json:"networks"`  // by failures and bans, /24 of IPv4 and /64 of IPv6
	Users     []chart.Count `json:"users"`     // who were tried most
	Jails     []Jail        `json:"jails"`
	// Banned is how many addresses, networks and ids were banned; at least so many, if BannedLeast.
	Banned      int  `json:"banned"`
	BannedLeast bool `json:"banned_least,omitempty"`

	Starts  int `json:"starts"`
	Killed  int `json:"killed"` // daemons that did not end in order
	Reloads int `json:"reloads"`
	Lists   int `json:"lists_loaded"`

	Errors  []Said `json:"errors"`
	Actions []Said `json:"actions_failed"`
	Repairs []Said `json:"repairs"`
	Lost    []Said `json:"not_kept"` // what of the events is not kept one by one, or not any more

	Chart chart.Chart `json:"-"`
}

// Numbers are how often what happened.
type Numbers struct {
	Failures   int64 `json:"failures"`       // that counted
	NotCounted int64 `json:"not_counted"`    // of who is never banned, too late, of nobody
	Unnumbered int64 `json:"not_one_by_one"` // failures that are not kept one by one
	Bans       int64 `json:"bans"`
	ByHand     int64 `json:"bans_by_hand"` // of Bans
	WouldBan   int64 `json:"would_ban"`    // where jails only observe
	Unbans     int64 `json:"unbans"`       // by somebody, or since a network holds it; not those whose time is over
	Over       int64 `json:"bans_over"`    // whose time is over
}

// All are the failures that are known of.
func (n *Numbers) All() int64 { return n.Failures + n.NotCounted + n.Unnumbered }

// Jail is one of them.
type Jail struct {
	Name string `json:"name"`
	Numbers
}

// Address is one who made failures or was banned; an id, with Name.
type Address struct {
	IP       string   `json:"ip"`
	Name     bool     `json:"name,omitempty"`
	Failures int64    `json:"failures"`
	Bans     int64    `json:"bans"`
	Jails    []string `json:"jails"` // the first few
}

// Said is what was told, how often, and when first and last.
type Said struct {
	Jail  string    `json:"jail,omitempty"`
	Text  string    `json:"text"`
	Count int64     `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Nothing reports whether there is nothing to tell but that time has passed.
func (s *Sum) Nothing() bool {
	return s.Numbers == Numbers{} && s.Starts == 0 && s.Killed == 0 && s.Reloads == 0 && len(s.Errors)+len(s.Actions)+len(s.Repairs)+len(s.Lost) == 0
}

const (
	addressesMost = 10_000 // at hand; the rarer half is forgotten beyond them
	jailsMost     = 10_000 // beyond, all others are one
	saidMost      = 500    // texts of a kind; beyond, all others are one
	jailsOfOne    = 3
)

// Digest takes events in.
type Digest struct {
	sum       Sum
	jails     map[string]*Jail
	addresses map[string]*Address
	banned    chart.Counts
	networks  chart.Counts
	said      [4]map[saidKey]*Said
	running   bool // the event before was of a daemon that has not ended
}

type saidKey struct{ jail, text string }

// The lists of what was said.
const (
	errorsSaid = iota
	actionsSaid
	repairsSaid
	lostSaid
)

// New makes a digest of the events from a time on, to before another.
func New(from, to time.Time) *Digest {
	d := &Digest{jails: map[string]*Jail{}, addresses: map[string]*Address{}}
	d.sum.From, d.sum.To = from, to
	d.sum.Chart.Range(from, to)
	return d
}

// Add takes an event in, as it stands in the table. An event of before or of behind is left out.
func (d *Digest) Add(line []byte) error {
	e, err := events.Parse(line)
	if err != nil {
		return err
	}
	s := &d.sum
	if e.Kind == events.Gap && e.Time.IsZero() { // numbers of which nothing is told
		return nil
	}
	if e.Time.Before(s.From) || !e.Time.Before(s.To) {
		d.running = e.Kind != events.Stop
		return nil
	}
	if e.N > 0 {
		s.First, s.Last = cmp.Or(s.First, e.N), e.N
	}
	one := d.numbers(&e)
	switch e.Kind {
	case events.Found:
		d.failure(&e, one)
	case events.Ban:
		d.ban(&e, one)
	case events.Unban:
		if strings.HasPrefix(e.Why, events.WhyOver) {
			one(func(n *Numbers) { n.Over++ })
		} else {
			one(func(n *Numbers) { n.Unbans++ })
		}
	case events.Start:
		if s.Starts++; d.running {
			s.Killed++
		}
	case events.Reload:
		s.Reloads++
	case events.List:
		s.Lists++
	case events.Error:
		d.tell(errorsSaid, &e, e.Text, 1)
	case events.Action:
		d.tell(actionsSaid, &e, e.Text, 1)
	case events.Repair:
		d.tell(repairsSaid, &e, e.Text, 1)
	case events.More:
		if e.What == events.Found {
			one(func(n *Numbers) { n.Unnumbered += int64(e.Count) })
			s.Chart.At(e.Time).Failures += int64(e.Count)
		} else {
			d.tell(lostSaid, &e, "events of kind "+string(e.What)+": "+e.Why, int64(e.Count))
		}
	case events.Gap:
		d.tell(lostSaid, &e, "numbers that no event has: "+e.Why, 1)
	}
	d.running = e.Kind != events.Stop
	return nil
}

// KeptSince tells when the oldest event was that is kept of any time.
func (d *Digest) KeptSince(t time.Time) {
	if t.After(d.sum.From) {
		d.sum.Kept = &t
	}
}

// numbers returns what changes those of all and of a jail.
func (d *Digest) numbers(e *events.Event) func(func(*Numbers)) {
	return func(change func(*Numbers)) {
		change(&d.sum.Numbers)
		if e.Jail == "" {
			return
		}
		name := e.Jail
		j := d.jails[name]
		if j == nil {
			if len(d.jails) >= jailsMost {
				name = "(others)"
			}
			if j = d.jails[name]; j == nil {
				j = &Jail{Name: name}
				d.jails[name] = j
			}
		}
		change(&j.Numbers)
	}
}

func (d *Digest) failure(e *events.Event, one func(func(*Numbers))) {
	counted := e.Counted == nil || *e.Counted
	one(func(n *Numbers) {
		if counted {
			n.Failures++
		} else {
			n.NotCounted++
		}
	})
	d.sum.Chart.Failure(prefixOf(e), e.User, e.Time)
	if counted {
		d.address(e).Failures++
		d.network(e)
	}
}

func (d *Digest) ban(e *events.Event, one func(func(*Numbers))) {
	if e.Why == events.WhyObserve {
		one(func(n *Numbers) { n.WouldBan++ })
		return
	}
	one(func(n *Numbers) {
		n.Bans++
		if e.By != "" {
			n.ByHand++
		}
	})
	d.sum.Chart.At(e.Time).Bans++
	d.address(e).Bans++
	d.banned.Add(e.IP, 1)
	d.network(e)
}

func (d *Digest) network(e *events.Event) {
	if n := chart.Network(prefixOf(e)); n.IsValid() {
		d.networks.Add(n.String(), 1)
	}
}

// prefixOf is the address of an event, or the network; invalid if it is of neither.
func prefixOf(e *events.Event) netip.Prefix {
	for _, text := range []string{e.IP, e.Address} {
		if a, err := netip.ParseAddr(text); err == nil {
			return netip.PrefixFrom(a.WithZone(""), a.BitLen())
		}
		if p, err := netip.ParsePrefix(text); err == nil {
			return p
		}
	}
	return netip.Prefix{}
}

func (d *Digest) address(e *events.Event) *Address {
	a := d.addresses[e.IP]
	if a == nil {
		if len(d.addresses) >= addressesMost {
			for _, old := range d.top(addressesMost)[addressesMost/2:] {
				delete(d.addresses, old.IP)
			}
		}
		a = &Address{IP: e.IP, Name: e.Name}
		d.addresses[e.IP] = a
	}
	if len(a.Jails) < jailsOfOne && !slices.Contains(a.Jails, e.Jail) {
		a.Jails = append(a.Jails, e.Jail)
	}
	return a
}

func (d *Digest) top(most int) []Address {
	out := make([]Address, 0, len(d.addresses))
	for _, a := range d.addresses {
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b Address) int {
		return cmp.Or(cmp.Compare(b.Failures+b.Bans, a.Failures+a.Bans), cmp.Compare(b.Bans, a.Bans), cmp.Compare(a.IP, b.IP))
	})
	return out[:min(len(out), most)]
}

// tell counts what was said.
func (d *Digest) tell(list int, e *events.Event, text string, n int64) {
	if d.said[list] == nil {
		d.said[list] = map[saidKey]*Said{}
	}
	k := saidKey{e.Jail, text}
	s := d.said[list][k]
	if s == nil {
		if len(d.said[list]) >= saidMost {
			k = saidKey{"", "(others)"}
			s = d.said[list][k]
		}
		if s == nil {
			s = &Said{Jail: k.jail, Text: k.text, First: e.Time}
			d.said[list][k] = s
		}
	}
	s.Count += n
	s.Last = e.Time
}

// Sum is what there was until now, with so many of what is listed by how often it was; all jails.
func (d *Digest) Sum(most int) Sum {
	s := d.sum
	s.Addresses, s.Networks, s.Users = d.top(most), d.networks.Top(most), s.Chart.Users(most)
	n, exact := d.banned.Len()
	s.Banned, s.BannedLeast = n, !exact
	s.Jails = []Jail{}
	for _, j := range d.jails {
		if j.Numbers != (Numbers{}) {
			s.Jails = append(s.Jails, *j)
		}
	}
	slices.SortFunc(s.Jails, func(a, b Jail) int {
		return cmp.Or(cmp.Compare(b.Bans, a.Bans), cmp.Compare(b.All(), a.All()), cmp.Compare(a.Name, b.Name))
	})
	for i, into := range []*[]Said{errorsSaid: &s.Errors, actionsSaid: &s.Actions, repairsSaid: &s.Repairs, lostSaid: &s.Lost} {
		*into = []Said{}
		for _, said := range d.said[i] {
			*into = append(*into, *said)
		}
		slices.SortFunc(*into, func(a, b Said) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), a.First.Compare(b.First), cmp.Compare(a.Jail, b.Jail), cmp.Compare(a.Text, b.Text))
		})
	}
	return s
}
