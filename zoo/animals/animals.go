// Package animals holds the services of the zoo, a small file each: how a real one is
// installed and started, how a client fails in each way that our filter claims to see, and
// how one succeeds. The driver beside it (package main of zoo) plays them.
package animals

import (
	"cmp"
	"slices"
)

// The addresses of every play, all from the documentation ranges. The server has one on each
// cable; which of them a client's script finds in $SERVER depends on whose script it is.
const (
	Attacker          = "192.0.2.7"
	ServerForAttacker = "192.0.2.1"
	Customer          = "198.51.100.7"
	ServerForCustomer = "198.51.100.1"
)

// The Debians that are built.
const (
	Bookworm = "bookworm" // Debian 12
	Trixie   = "trixie"   // Debian 13
	Sid      = "sid"      // for what neither of them has
)

// Animal is one service with one filter. Its scripts are for sh -e, as root, in the
// service's own root directory. Clients' scripts run there, too, but in the network of the
// attacker or the customer, with $SERVER, the address of the server for them. They may
// exit as they like: what the service wrote is what counts; only Success must exit with 0.
type Animal struct {
	Name   string // its own, as on the command line
	Filter string // the stock filter; Name if empty
	Mode   string // of the filter; empty: normal
	// Fail2ban is the filter of fail2ban's that reads the same log, with options; empty:
	// the name and the mode of ours; "-": there is none.
	Fail2ban string
	// Suites are the Debians that have it; nil: both.
	Suites []string
	// Quick ones are few, and are run with every test.
	Quick bool
	// Packages are installed; the version of the first is told.
	Packages []string
	// Root names a root for packages that exclude those of others; empty: the common one.
	Root string
	// Setup makes it ready; Start begins it, and may stay in the foreground. What Start
	// prints is in /var/log/stdout.log.
	Setup, Start string
	// Port is where it listens, over TCP, or UDP.
	Port int
	UDP  bool
	// Ready is a script that exits with 0 once the service can be used, where it listens
	// before that.
	Ready string
	// Copy is what of the repository is copied into the root, and where to.
	Copy map[string]string
	// Blind says why this version of the service does not tell who failed, so that nothing
	// can be counted; then nothing may be.
	Blind string
	// Log is where failures are told.
	Log     string
	Success string
	Ways    []Way
}

// Way is a way to fail.
type Way struct {
	What   string // in a few words
	Script string
	// Times is how often the script is run; 0: once.
	Times int
	// Counts is how many attempts one run of the script makes; 0: one.
	Counts int
	// Uncounted says that the filter is not to count these.
	Uncounted bool
}

// Attempts is how many failures the way makes in all.
func (w Way) Attempts() int {
	if w.Uncounted {
		return 0
	}
	return cmp.Or(w.Times, 1) * cmp.Or(w.Counts, 1)
}

// Attempts is how many failures an attacker makes in all ways.
func (a *Animal) Attempts() (n int) {
	if a.Blind != "" {
		return 0
	}
	for _, w := range a.Ways {
		n += w.Attempts()
	}
	return n
}

var all []*Animal

func add(a Animal) struct{} {
	a.Filter = cmp.Or(a.Filter, a.Name)
	if a.Suites == nil {
		a.Suites = []string{Bookworm, Trixie}
	}
	all = append(all, &a)
	return struct{}{}
}

// All returns them by name.
func All() []*Animal {
	slices.SortFunc(all, func(a, b *Animal) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// syslog starts a real rsyslog with Debian's own configuration, but for the kernel's log,
// which is the machine's.
const syslog = `sed -i '/imklog/d' /etc/rsyslog.conf
rsyslogd
`
