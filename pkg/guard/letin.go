package guard

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// LetIn is an address or a network that an operator lets in for a while. Unlike what
// ignoreip holds, its failures are counted, so that it can be told when it would have been
// banned.
type LetIn struct {
	Prefix netip.Prefix
	Until  time.Time
}

// LetInSource is the Source of the Reason of who is let in.
const LetInSource = "bailiff allow"

// SetLetIn says who is let in, in the place of who was. What is over goes by itself.
func (g *Guard) SetLetIn(list []LetIn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.letIn = slices.Clone(list)
	g.renew()
}

// LetIn returns who is let in now.
func (g *Guard) LetIn() []LetIn {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.letInUntil(time.Now())
	return slices.Clone(g.letIn)
}

// letInUntil forgets who is no longer let in. The caller holds the lock.
func (g *Guard) letInUntil(now time.Time) {
	g.letIn = slices.DeleteFunc(g.letIn, func(l LetIn) bool { return !l.Until.After(now) })
}

func (l LetIn) reason() string {
	return fmt.Sprintf("let in until %s", l.Until.Format(time.DateTime))
}
