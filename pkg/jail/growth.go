package jail

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/store"
)

// sentencing is how failures count, and how long bans last.
type sentencing struct {
	counting *counting   // nil: each failure counts once
	growth   *ban.Growth // nil: ban times don't grow
	history  map[ban.ID]past
	// historyNames is how many bytes the names in it take.
	historyNames int
}

// What is banned, and for how long: networks in place of addresses, and bans that
// grow with each one before.

// past is what is known of bans before.
type past struct {
	count int
	last  time.Time // when the last one began, steady
	// overall is the same for all jails, where that is asked for, and how long that is
	// taken for true.
	overall int
	lastOf  time.Time
	until   time.Time
}

// historyMost is how many addresses' pasts are kept at hand; the store has all.
const historyMost = 50_000

// historyNamesMost is how many bytes their names may take, where they are no addresses.
const historyNamesMost = 8 << 20

// widened returns the network that is counted and banned for an address, after
// ban.prefix4 and ban.prefix6. One that holds an ignored address is not: then it
// is the address itself.
func (j *Jail) widened(id ban.ID) ban.ID {
	bits := j.Config.Networks.Prefix6
	if id.Is4() {
		bits = j.Config.Networks.Prefix4
	}
	if bits == 0 || id.IsNetwork() || bits >= id.Bits() {
		return id
	}
	network := id.Within(bits)
	if j.ignored(network) != "" {
		return id
	}
	return network
}

// before returns how often an address was banned in this jail, as far as it is known.
func (j *Jail) before(id ban.ID) past {
	p, ok := j.history[id]
	if j.growth == nil || j.deps.Store != nil {
		return p
	}
	if !ok { // memory answers at once
		p.count, p.last, _ = j.deps.Memory.BanCount(j.Config.Name, id, false)
	}
	if j.growth.OverallJails {
		p.overall, p.lastOf, _ = j.deps.Memory.BanCount(j.Config.Name, id, true)
	}
	return p
}

func (j *Jail) remember(id ban.ID, p past) {
	if j.growth == nil {
		return
	}
	if len(j.history) >= historyMost || j.historyNames > historyNamesMost {
		clear(j.history)
		j.historyNames = 0
	}
	if _, known := j.history[id]; !known {
		j.historyNames += id.Size()
	}
	j.history[id] = p
}

// retries is for how many failures one counts: who was banned before has fewer
// tries.
func (j *Jail) retries(q *found) int {
	if j.growth == nil {
		return 1
	}
	p := j.before(q.id)
	if p.count == 0 || !q.at.After(p.last) {
		return 1
	}
	n := ban.Retries(p.count, j.Config.MaxRetry)
	if n > 1 {
		end := ""
		if n >= j.Config.MaxRetry {
			end = ", Ban"
		}
		if log := j.deps.Log.With("component", "observer"); j.tells(j.often.bad, log, slog.LevelInfo) {
			log.Info(fmt.Sprintf("[%s] Found %s, bad - %s, %d # -> %d%s",
				j.Config.Name, q.who(), wall(q.told(j.deps.Clock)), p.count, n, end))
		}
	}
	return n
}

// sentence fills in how long a ban lasts and the how manieth it is. It reports
// whether that is longer than bantime.
func (j *Jail) sentence(b *ban.Ban) (grown bool) {
	lasts := j.Config.BanTime
	if lasts < 0 {
		return false
	}
	if j.growth != nil {
		p := j.before(b.ID)
		if j.growth.OverallJails && p.overall > p.count {
			p.count, p.last = p.overall, p.lastOf
		}
		b.Count = p.count + 1
		var err error
		if lasts, err = j.growth.BanTime(lasts, p.count, rand.Float64()); err != nil {
			j.deps.Log.With("component", "observer").Error(fmt.Sprintf("[%s] bantime.increment: %v", j.Config.Name, err))
		}
		if p.count > 0 {
			j.deps.Log.With("component", "observer").Info(fmt.Sprintf("[%s] IP %s is bad: %d # last %s - incr %s to %s",
				j.Config.Name, b.Told(), p.count, wall(j.deps.Clock.ToWall(p.last)), Span(j.Config.BanTime), Span(lasts)))
		}
	}
	b.End = b.Start.Add(lasts)
	return lasts != j.Config.BanTime
}

// increased tells of a ban that lasts longer than bantime, as fail2ban does.
func (j *Jail) increased(b ban.Ban) {
	j.deps.Log.With("component", "observer").Log(context.Background(), eventlog.LevelNotice, fmt.Sprintf("[%s] Increase Ban %s (%d # %s -> %s)",
		j.Config.Name, b.Told(), b.Count, Span(b.End.Sub(b.Start)), j.deps.Clock.ToWall(b.End).Format(time.DateTime)))
	j.acts(act{prolong: j.banTicket(b)})
}

// Span writes a time as fail2ban's log does: at most three units, rounded to what
// matters at that size.
func Span(d time.Duration) string {
	s := d.Seconds()
	type unit struct {
		name string
		size int
	}
	write := func(n int, units ...unit) string {
		var out []string
		for i, u := range units {
			if v := n / u.size; v > 0 || i == 0 {
				out = append(out, strconv.Itoa(v)+u.name)
			}
			n %= u.size
		}
		return strings.Join(out, " ")
	}
	round := func(to float64) int { return int(math.RoundToEven(s / to)) }
	switch {
	case s >= 31536000:
		return write(round(86400), unit{"y", 365}, unit{"w", 7}, unit{"d", 1})
	case s >= 604800:
		return write(round(3600), unit{"w", 168}, unit{"d", 24}, unit{"h", 1})
	case s >= 86400:
		return write(round(60), unit{"d", 1440}, unit{"h", 60}, unit{"m", 1})
	case s >= 3595:
		return write(round(10), unit{"h", 360}, unit{"m", 6})
	case s >= 60:
		return write(int(s), unit{"m", 60}, unit{"s", 1})
	case s == 0:
		return "0"
	}
	return strconv.FormatFloat(s, 'g', 4, 64) + "s"
}

// aggregate bans a network as a whole when enough of it is banned.
func (j *Jail) aggregate(id ban.ID) {
	least := j.Config.Networks.Aggregate
	if least == 0 {
		return
	}
	network, n := j.bans.Grouped(id)
	if n < least {
		return
	}
	if reason := j.ignored(network); reason != "" {
		j.deps.Log.With("component", "actions").Debug(fmt.Sprintf("[%s] %d bans in %v are not made one: %s", j.Config.Name, n, network, reason))
		return
	}
	if j.sshPeer(network) {
		return
	}
	now := j.deps.Clock.Now()
	whole := ban.Ban{ID: network, Start: now, End: now, Failures: n, Count: 1}
	changes := make([]change, 0, n+1)
	gone := make([]string, 0, n)
	inside := j.bans.Inside(network)
	for _, b := range inside {
		if b.Permanent() || !whole.Permanent() && b.End.After(whole.End) {
			whole.End = b.End
		}
	}
	j.bans.Add(whole) // first, so that who watches the list lets nobody in
	for _, b := range inside {
		j.bans.Remove(b.ID)
		j.unbanEvent(b, whyNetwork(network), "")
		changes = append(changes, change{ID: b.ID, Remove: true})
		b.End = now
		j.event(store.Event{Ban: b, Moved: true})
		gone = append(gone, ban.Name(b.ID))
	}
	j.enforced(append(changes, change{ID: network, Left: whole.Left(now)})...)
	ticket := j.banTicket(whole)
	j.banEvent(whole, true, nil, fmt.Sprintf("%d bans in it", n), "")
	j.banned(whole, j.said(whole))
	j.notice("Ban %s", ban.Told(network))
	j.acts(act{ban: ticket})
	for _, id := range gone {
		j.acts(act{unban: id})
	}
	j.deps.Log.With("component", "actions").Info(fmt.Sprintf("[%s] %s takes the place of %d bans in it", j.Config.Name, ban.Told(network), n))
}

// aggregated returns the network that may be banned as a whole for an address.
func (j *Jail) aggregated(id ban.ID) ban.ID {
	network, _ := j.bans.Grouped(id)
	return network
}

// sshPeer says whether an address, or one in a network, has an SSH session open.
func (j *Jail) sshPeer(id ban.ID) bool {
	if !j.Config.Ignore.SSH || j.deps.Sessions == nil {
		return false
	}
	network := id.Prefix()
	for _, a := range j.deps.Sessions() {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// corrected cuts a restored ban to the longest time that the jail gives now, as
// fail2ban does when bantime was lowered. An end that was given by hand stays.
func corrected(c *config.Jail, b ban.Ban) ban.Ban {
	if b.Set {
		return b
	}
	most := c.BanTime
	if c.Increase != nil {
		if most = c.Increase.MaxTime; most == 0 {
			return b
		}
		most += c.Increase.Random
	}
	if most >= 0 && (b.Permanent() || b.End.Sub(b.Start) > most) {
		b.End = b.Start.Add(most)
	}
	return b
}
