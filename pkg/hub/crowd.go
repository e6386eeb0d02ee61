package hub

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
)

// What waits for one connection has a bound (pendingMost), and so have connections of all hosts: but who has one host's credentials could have
// them all, none of which reads. So the connections of each are bounded, too.

const (
	// connectionsEach is how many connections of a host there may be: it wants one, and those that it has lost count until that is found out.
	connectionsEach = 8
	// crowdEvery is how often is looked where there are more than the last time, by one in crowdBy; else that is done every crowdLate.
	crowdEvery, crowdLate = time.Second, 10 * time.Second
	crowdBy               = 1000
)

// crowds cuts off what a host has of connections beyond connectionsEach, the oldest first, until the server ends.
func (e *engine) crowds() {
	tick := time.NewTicker(crowdEvery)
	defer tick.Stop()
	var looked time.Time
	told := map[string]time.Time{}
	before := 0
	for {
		select {
		case <-e.ended:
			return
		case now := <-tick.C:
			n := e.s.NumClients()
			if n < before+max(1, before/crowdBy) && now.Sub(looked) < crowdLate {
				continue
			}
			e.crowd(now, told)
			before, looked = e.s.NumClients(), now
		}
	}
}

// crowd looks once. told is when the log was told of whom.
func (e *engine) crowd(now time.Time, told map[string]time.Time) {
	z, err := e.s.Connz(&server.ConnzOptions{Username: true, Account: e.agentsID, Limit: connectionsMost})
	if err != nil {
		return // it ends
	}
	by := map[string][]*server.ConnInfo{}
	for _, c := range z.Conns {
		by[c.AuthorizedUser] = append(by[c.AuthorizedUser], c)
	}
	for key, at := range told {
		if now.Sub(at) >= complainEvery {
			delete(told, key)
		}
	}
	for key, some := range by {
		if len(some) <= connectionsEach {
			continue
		}
		slices.SortFunc(some, func(a, b *server.ConnInfo) int { return cmp.Compare(a.Cid, b.Cid) })
		last := some[len(some)-1]
		for _, c := range some[:len(some)-connectionsEach] {
			_ = e.s.DisconnectClientByID(c.Cid) // one that is gone is cut off
		}
		if _, ok := told[key]; ok {
			continue
		}
		told[key] = now
		name := key
		if claims, err := jwt.DecodeUserClaims(last.JWT); err == nil {
			name = claims.Name
		}
		e.bridge.log.Warn(fmt.Sprintf("host %.80q, from %s, has %d connections, where one is wanted: all but the newest %d are cut off; if its credentials are in other hands: bailiff fleet distrust", name, last.IP, len(some), connectionsEach))
	}
}
