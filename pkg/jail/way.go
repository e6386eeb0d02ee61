package jail

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/filter"
	"bailiff/pkg/guard"
)

// The straight way of a line, from what the filter says of it to the ban: line → failure → consider → judge → count →
// counted → enforce. What may have to wait leaves it (a name to be resolved, ignorecommand, earlier bans: wait.go) and comes
// back at the next station.

// line is the way of what the filter says of the i-th line of a batch.
func (j *Jail) line(r *filter.Result, b *batchTimes, i int) {
	j.counters.line(r)
	if r.Err != nil && j.read.Steady.Sub(j.lineErrWarn) > time.Minute {
		j.lineErrWarn = j.read.Steady
		j.log.Warn(fmt.Sprintf("[%s] a line could not be looked at: %v", j.Config.Name, r.Err))
	}
	if len(r.Withheld) > 0 {
		j.tellWithheld(r.Withheld, b.Path)
	}
	if r.Beside != "" {
		j.tellBeside(r)
	}
	if r.Broken {
		j.tellBroken()
	}
	for n := range r.Failures {
		if q, counts := j.inTime(&r.Failures[n], b, i); counts {
			j.failure(&q)
		} else {
			j.counters.old.Add(1)
			j.turnedAway(&q.failure, b.Path, "older than findtime")
		}
	}
	for n := range r.Logins {
		j.succeeded(&r.Logins[n], b, i, r.Time)
	}
}

func (j *Jail) failure(q *found) {
	if q.failure.Name && j.resolves() {
		j.named(q)
		return
	}
	id, why := whoIs(&q.failure)
	if why != "" {
		if log := j.deps.Log.With("component", "actions"); j.tells(j.often.nobody, log, slog.LevelWarn) {
			log.Warn(fmt.Sprintf("[%s] %s", j.Config.Name, why))
		}
		j.turnedAway(&q.failure, q.log, why)
		return
	}
	q.id = id
	if b, ok := j.bans.Get(id); ok && !id.IsName() && q.failure.IP.IsValid() && !b.IsBeside() {
		q.id, q.failure.IP = single(q.failure.IP), netip.Addr{} // that address is banned, and not who calls himself so
	}
	j.consider(q)
}

// consider counts a failure unless it is ignored.
func (j *Jail) consider(q *found) {
	if why := j.whyBan(q.ban()); why.Some() && why.Source != guard.LetInSource {
		j.counters.ignored.Add(1)
		j.ignores(q.who(), why.Log())
		j.happened(q, false, 0, "ignored: "+why.Text)
		return
	}
	j.judge(q)
}

// judge counts a failure unless ignorecommand ignores it.
func (j *Jail) judge(q *found) {
	if j.Config.IgnoreCommand != "" {
		j.check(q)
		return
	}
	j.count(q)
}

// count tells of a failure that counts.
func (j *Jail) count(q *found) {
	if j.tells(j.often.found, j.log, slog.LevelInfo) {
		j.log.Info(fmt.Sprintf("[%s] Found %s - %s", j.Config.Name, q.who(), wall(q.told(j.deps.Clock))))
	}
	if !q.failure.IP.IsValid() {
		q.id = j.widened(q.id)
	}
	if !j.knowsPast(q.id) {
		j.awaitPast(q)
		return
	}
	j.counted(q)
}

// counted adds a failure to the window, and bans when it is due.
func (j *Jail) counted(q *found) {
	id, at, catchUp := q.id, q.at, q.catchUp
	log := j.log
	if q.forgiven {
		j.happened(q, false, 0, "forgiven: the user has logged in since")
		return
	}
	j.deps.Tally.Failure()
	var n int
	var due, again bool
	if j.counting == nil {
		n, due = j.addNear(q)
		for more := j.retries(q); more > 1 && !due; more-- {
			n, due = j.window.Add(id, at)
		}
	} else {
		n, due, again = j.weigh(q)
	}
	if !again {
		j.failedHere(q)
	}
	if log.Enabled(context.Background(), slog.LevelDebug) {
		log.With("component", "failmanager").Debug(fmt.Sprintf("Total # of detected failures: %d. Current failures (IP:count): %s:%d", j.window.Total(), q.who(), n))
	}
	j.failureCounted()
	j.keepLines(id, &q.failure)
	j.keepGroups(q)
	if q.failure.IP.IsValid() {
		j.keepIP(id, q.failure.IP)
	}
	if !due {
		if again {
			q.times = 0
			j.happened(q, true, n, "no more than before: the same "+j.counting.Distinct)
		} else {
			j.happened(q, true, n, "")
		}
		return
	}
	late := j.endedOf(id)
	if b, ok := j.covering(id); ok && (b.ID == id || !j.kept.ip(id).IsValid()) {
		j.happened(q, true, n, "it is banned already, as "+b.Told())
		if !catchUp {
			if j.tells(j.often.banned, j.deps.Log, eventlog.LevelNotice) {
				j.notice("%s already banned", b.Told())
			}
			j.checkActions(b)
		}
		return
	}
	now := j.deps.Clock.Now()
	if j.tooManyNames(id) {
		j.happened(q, true, n, "there is no room for one more ban of an id")
		return
	}
	b := ban.Ban{ID: id, IP: j.kept.ip(id), Start: at, Failures: n}
	grown := j.sentence(&b)
	if !b.Permanent() && !b.End.After(now) {
		j.happened(q, true, n, "the ban would be over by now")
		return
	}
	if why := j.whyBan(b); why.Source == guard.LetInSource {
		if log := j.deps.Log.With("component", "actions"); j.tells(j.often.ignored, log, eventlog.LevelNotice) {
			log.Log(context.Background(), eventlog.LevelNotice, fmt.Sprintf("[%s] Would ban %s: %s", j.Config.Name, b.Told(), why.Log()))
		}
		j.happened(q, true, n, "it would be banned: "+why.Text)
		return
	} else if why.Some() { // by now: ignorecommand takes its time
		j.ignores(b.Told(), why.Log())
		j.happened(q, true, n, "not banned: "+why.Text)
		return
	}
	if e := b.Element(); j.sshPeer(e) {
		j.ignores(ban.Told(e), "an open SSH session")
		j.happened(q, true, n, "not banned: an open SSH session")
		return
	}
	j.happened(q, true, n, "")
	j.reported(b, q)
	j.written = q.written
	j.enforce(b, late, "", "")
	j.written = 0
	if grown {
		j.increased(b)
	}
	if !b.IP.IsValid() {
		j.aggregate(b.ID)
	}
}

// addNear adds a failure to the window, where others of whom it was told have counted it at once.
func (j *Jail) addNear(q *found) (n int, due bool) {
	among := q.failure.Among
	if among == nil {
		return j.window.Add(q.id, q.at)
	}
	near := among.Counted.Load()
	n, due, place := j.window.AddNear(q.id, q.at, near)
	if place != near {
		among.Counted.Store(place)
	}
	return n, due
}

// covering returns the ban in force that shuts id out.
func (j *Jail) covering(id ban.ID) (ban.Ban, bool) {
	if b, ok := j.bans.Get(id); ok {
		return b, true
	}
	return j.bans.Covering(id)
}

// enforce puts a ban on the list and into the kernel. late is what endedOf said; why and by say where it
// came from, if not from lines.
func (j *Jail) enforce(b ban.Ban, late bool, why, by string) {
	_, held := j.bans.Add(b)
	j.spared(b)
	ticket := j.banTicket(b)
	j.enforced(change{ID: b.ID, IP: b.IP, Left: b.Left(j.deps.Clock.Now()), Replace: held || late, Written: j.written})
	j.banEvent(b, true, j.kept.lines(b.ID), why, by)
	j.banned(b, j.said(b))
	j.remember(b.ID, past{count: b.Count, last: b.Start})
	j.notice("Ban %s", b.Told())
	j.acts(act{ban: ticket})
	if j.reading {
		j.rush.banned()
	}
}
