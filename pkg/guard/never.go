package guard

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Never is an address or a network that an admin wants never banned, and has said so over the socket or on the
// page: as ignoreip has it, without a change of the configuration.
type Never struct {
	Prefix netip.Prefix
	Jail   string // empty: in all
	Since  time.Time
	By     string // who said so
}

// NeverSource is the Source of the Reason of who is never banned by that.
const NeverSource = "bailiff never"

// SetNever says who is never banned, in the place of who was not.
func (g *Guard) SetNever(list []Never) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.never = slices.Clone(list)
	g.renew()
}

// Nevers returns who is never banned by SetNever's word.
func (g *Guard) Nevers() []Never {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.never)
}

func (n *Never) reason() string {
	return NeverSource + ", by " + cmp.Or(n.By, "somebody") + " since " + n.Since.Local().Format(time.DateTime)
}
