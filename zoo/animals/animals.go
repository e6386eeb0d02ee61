// Package animals holds the services of the zoo, a small file each: how a real one is
// installed and started, how a client fails in each way that our filter claims to see, and
// how one succeeds. The driver beside it (package main of zoo) plays them.
package animals

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Net is the addresses of a play, all from the documentation ranges. The server has one on
// each cable; which of them a client's script finds in $SERVER, and in $AT as URLs have it,
// depends on whose script it is.
type Net struct {
	Attacker, ServerForAttacker string
	Customer, ServerForCustomer string
	Bits                        int    // of their networks
	Banned                      string // who is, as it is told: over IPv6 the attacker's network
}

// The networks of plays.
var (
	IPv4 = Net{"192.0.2.7", "192.0.2.1", "198.51.100.7", "198.51.100.1", 24, "192.0.2.7"}
	// The attacker's /64 is not that of the server, which a jail ignores.
	IPv6 = Net{"2001:db8:1:7::7", "2001:db8:1::1", "2001:db8:2:7::7", "2001:db8:2::1", 48, "2001:db8:1:7::/64"}
)

// The Debians that are built.
const (
	Bookworm = "bookworm" // Debian 12
	Trixie   = "trixie"   // Debian 13
	Sid      = "sid"      // for what neither of them has
)

// Debian is how they are called.
var Debian = map[string]string{Bookworm: "Debian 12", Trixie: "Debian 13", Sid: "Debian sid"}

// Animal is one service with one filter. Its scripts are for sh -e, as root, in the
// service's own root directory. Clients' scripts run there, too, but in the network of the
// attacker or the customer, with $SERVER, the address of the server for them, and $AT, the
// same as it stands in a URL. They may exit as they like: what the service wrote is what counts; only Success must exit with 0.
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
	// Packages are installed; the version of the first is told, or what Version, a script,
	// prints: a name and a version.
	Packages []string
	Version  string
	// OverIPv6 says that it is played once more, with clients that come over IPv6.
	OverIPv6 bool
	// InJournal says that it is played once more, with the real systemd-journald in place of
	// rsyslog; it is the journalmatch of the jail. It is for animals of the common root.
	InJournal string
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
	// Blind says, by Debian, why the service as it is there does not tell who failed, so that
	// nothing can be counted; then nothing may be.
	Blind map[string]string
	// Lacks says why a Debian is not among Suites.
	Lacks map[string]string
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

// Attempts is how many failures that count an attacker makes in all ways.
func (a *Animal) Attempts(suite string) (n int) {
	if a.Blind[suite] != "" {
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

// Missing tells of each filter what can't be counted or played on which Debian, and why.
func Missing() (out []string) {
	for _, a := range All() {
		for _, of := range []struct {
			what string
			why  map[string]string
		}{{"counted", a.Blind}, {"played", a.Lacks}} {
			for _, suite := range slices.Sorted(maps.Keys(of.why)) {
				line := fmt.Sprintf("**%s** on %s can't be %s: %s.", a.Filter, Debian[suite], of.what, of.why[suite])
				if !slices.Contains(out, line) {
					out = append(out, line)
				}
			}
		}
	}
	return out
}

// syslog starts what takes the system's log, as the driver chose it.
const syslog = `sh -e /zoo/syslog
`

// What /zoo/syslog may be.
const (
	// Rsyslog is the real one with Debian's own configuration, but for the kernel's log, which
	// is the machine's.
	Rsyslog = `sed -i '/imklog/d' /etc/rsyslog.conf
exec rsyslogd
`
	// Journald is the real one. There is no systemd that would have started it with its
	// sockets, nor units; so it makes the sockets itself. It wants to see control groups, and
	// is to leave the kernel's auditing as it is.
	Journald = `mkdir -p /run/systemd/journal /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
[ -s /etc/machine-id ] || echo 0123456789abcdef0123456789abcdef >/etc/machine-id
mkdir -p /run/log/journal
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nForwardToSyslog=no\nForwardToWall=no\nReadKMsg=no\nAudit=\nRateLimitIntervalSec=0\n' >/etc/systemd/journald.conf.d/zoo.conf
ln -sf /run/systemd/journal/dev-log /dev/log
/lib/systemd/systemd-journald &
for i in $(seq 200); do [ -S /run/systemd/journal/dev-log ] && exit 0; sleep 0.1; done
exit 1
`
	// JournalDir is where the journal is.
	JournalDir = "/run/log/journal"
)
