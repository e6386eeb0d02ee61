package hub

import (
	"fmt"
	"time"

	"bailiff/pkg/clock"
	"bailiff/pkg/fleet"
)

// clockSet says so where this machine's clock was set, and returns by how much it is by now.
func (h *Hub) clockSet(was time.Duration) time.Duration {
	is := h.clock.Offset()
	if by := is - was; by.Abs() >= fleet.DefaultGrace {
		h.log.Warn(fmt.Sprintf("this machine's clock was %s: the stream ends bans by it; hosts that listen go on by the time that passes, and say once more what they have said", clock.Told(by)))
	}
	return is
}
