package doctor

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/safefile"
	"bailiff/pkg/source"
	"bailiff/pkg/transport"
)

// The fourth link: whether the failures of the last day come to bans.

const (
	day = 24 * time.Hour
	// distributedFrom is from how many addresses on, of one network, they are taken for one
	// who changes his.
	distributedFrom = 10
)

// outcome is what failures come to under some settings.
type outcome struct {
	failures, bans, addresses int
	nearest                   int // the most failures that lay within findtime, of who was not banned
	who                       ban.ID
}

// play counts the failures since a time as a jail would that begins with nothing.
func (l *look) play(since time.Time, maxRetry int, findTime time.Duration) (o outcome) {
	w := ban.NewWindow(maxRetry, findTime, 0)
	until := map[ban.ID]time.Time{}
	seen := map[ban.ID]int{}
	for _, e := range l.events {
		if e.at.Before(since) {
			continue
		}
		o.failures++
		id := l.widened(e.id)
		at := e.at
		n, due := w.Add(id, at)
		seen[id] = max(seen[id], n)
		end, banned := until[id]
		switch {
		case !due:
		case banned && (end.IsZero() || at.Before(end)): // he goes on in the log of a host that hasn't banned him
		default:
			o.bans++
			if l.j.BanTime >= 0 {
				end = at.Add(l.j.BanTime)
			} else {
				end = time.Time{}
			}
			until[id] = end
		}
	}
	o.addresses = len(seen)
	for id, n := range seen {
		if _, banned := until[id]; !banned && (n > o.nearest || n == o.nearest && id.String() < o.who.String()) {
			o.nearest, o.who = n, id
		}
	}
	return o
}

// widened is the network that an address counts for.
func (l *look) widened(id ban.ID) ban.ID {
	if id.IsName() || !id.IsValid() {
		return id
	}
	bits := l.j.Networks.Prefix6
	if id.Is4() {
		bits = l.j.Networks.Prefix4
	}
	if bits == 0 || id.IsNetwork() || bits >= id.Bits() {
		return id
	}
	return id.Within(bits)
}

// sums looks at what the failures come to.
func (l *look) sums(context.Context) {
	for i := range l.events {
		if l.events[i].at.IsZero() {
			l.events[i].at = l.events[i].log.written
		}
	}
	last := l.now
	if c := l.counts; !c.lastAt.IsZero() && c.lastAt.Before(last) {
		last = c.lastAt // a log that is quiet has a last day, too
	}
	o := l.play(last.Add(-day), l.j.MaxRetry, l.j.FindTime)
	l.shortLog()
	within := "the last day"
	if f := slices.IndexFunc(l.logs, func(f *logFile) bool { return f.first == 0 && f.times == nil }); f >= 0 && l.counts.firstAt.After(last.Add(-day)) {
		within = fmt.Sprintf("the %d lines that were looked at, since %s", l.counts.lines, wall(l.counts.firstAt))
	}
	all := fmt.Sprintf("%d failures of %d addresses in %s: %d bans", o.failures, o.addresses, within, o.bans)
	if o.nearest > 0 {
		all += fmt.Sprintf("; of the others, %s is nearest, with %d of %d within %s", o.who, o.nearest, l.j.MaxRetry, l.j.FindTime)
	}
	if o.bans == 0 && o.failures > 0 {
		l.sayNone(last, o)
	}
	l.fromSums(o)
	l.fine("%s", all)
	l.seen(all)
}

// sayNone tells why failures come to no ban.
func (l *look) sayNone(last time.Time, o outcome) {
	most, who := 0, ban.ID{}
	by := map[ban.ID]int{}
	networks := map[netip.Prefix]map[ban.ID]int{}
	for _, e := range l.events {
		id := l.widened(e.id)
		if by[id]++; by[id] > most {
			most, who = by[id], id
		}
		if e.addr.Is4() {
			n := netip.PrefixFrom(e.addr, 24).Masked()
			if networks[n] == nil {
				networks[n] = map[ban.ID]int{}
			}
			networks[n][id]++
		}
	}
	at := setting(l.j, "maxretry")
	seen := []string{fmt.Sprintf("maxretry = %d, findtime = %s", l.j.MaxRetry, l.j.FindTime)}
	if at != "" {
		seen = append(seen, at+": maxretry")
	}
	if most >= l.j.MaxRetry {
		// They are far apart: within what time would they have come to a ban?
		for _, longer := range []time.Duration{time.Hour, 6 * time.Hour, day, 7 * day, 30 * day} {
			if longer <= l.j.FindTime {
				continue
			}
			if p := l.play(time.Time{}, l.j.MaxRetry, longer); p.bans > 0 {
				l.say(Finding{
					Symptom: "sums-slow", Level: Doubtful, Cause: fmt.Sprintf("%s has %d failures, and never %d of them within findtime: slower than it is looked for", who, most, l.j.MaxRetry), Seen: seen,
					Remedy: fmt.Sprintf("with a longer findtime there would have been %d bans: ", p.bans) + l.set(l.key("findtime", config.Spell(longer))),
				})
				return
			}
		}
		return
	}
	for n, ids := range networks {
		sum := 0
		for _, k := range ids {
			sum += k
		}
		if len(ids) >= distributedFrom && sum >= 2*l.j.MaxRetry {
			l.say(Finding{
				Symptom: "sums-spread", Level: Doubtful, Cause: fmt.Sprintf("%d addresses of %s have %d failures, none of them %d", len(ids), n, sum, l.j.MaxRetry), Seen: seen,
				Remedy: "count the network as one: " + l.set("ban.prefix4 = 24"),
			})
			return
		}
	}
	const usual = 5
	if l.j.MaxRetry > usual && most >= usual {
		l.say(Finding{
			Symptom: "sums-maxretry", Level: Doubtful, Cause: fmt.Sprintf("maxretry = %d is never reached: the nearest was %s, with %d", l.j.MaxRetry, who, most), Seen: seen,
			Remedy: l.set(fmt.Sprintf("maxretry = %d", usual)),
		})
	}
}

// shortLog tells of a log that holds less than findtime.
func (l *look) shortLog() {
	c := l.counts
	span := c.lastAt.Sub(c.firstAt)
	if c.firstAt.IsZero() || len(l.logs) != 1 || l.logs[0].first != 1 || span >= l.j.FindTime {
		return
	}
	f := l.logs[0]
	type part struct {
		path string
		at   time.Time
	}
	var former []part
	entries, _ := os.ReadDir(filepath.Dir(f.path))
	for _, e := range entries[:min(len(entries), 10_000)] {
		if rotated(filepath.Base(f.path), e.Name()) {
			if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() {
				former = append(former, part{filepath.Join(filepath.Dir(f.path), e.Name()), fi.ModTime()})
			}
		}
	}
	slices.SortFunc(former, func(a, b part) int { return b.at.Compare(a.at) })
	holds := time.Duration(0) // how long one file lasts
	switch {
	case len(former) >= 2:
		holds = former[0].at.Sub(former[1].at)
	case len(former) == 1:
		if first := l.firstTime(former[0].path); !first.IsZero() && first.Before(former[0].at) {
			holds = former[0].at.Sub(first)
		}
	case l.j.FindTime >= day && span >= time.Minute && c.dated >= fewFailures:
		holds = span
	}
	if holds == 0 || holds >= l.j.FindTime {
		return
	}
	l.say(Finding{
		Symptom: "sums-findtime", Level: Doubtful, Cause: fmt.Sprintf("findtime is %s, and the log holds %s: what was before is known only as far as the daemon ran then", l.j.FindTime, holds.Round(time.Minute)),
		Seen: []string{fmt.Sprintf("%s: %d lines, from %s to %s; %d former parts", f.path, c.lines, wall(c.firstAt), wall(c.lastAt), len(former))}, Remedy: "rotate more rarely (/etc/logrotate.d), or make findtime shorter: " + l.set(l.key("findtime", "1h")),
	})
}

// firstTime is the time of a log's first line that has one; zero: none has, or it is compressed.
func (l *look) firstTime(path string) time.Time {
	by, err := l.compile(l.j.Filter)
	if err != nil {
		return time.Time{}
	}
	text, err := safefile.Open(path)
	if err != nil {
		return time.Time{}
	}
	defer text.Close()
	in, b := source.NewBlocks(io.LimitReader(text, 64<<10), l.j.Encoding), &source.Block{}
	if in.Next(b) != nil {
		return time.Time{}
	}
	b.Cut()
	around := transport.New(l.j.Filter.Around())
	for _, line := range b.Lines {
		if text, frame, ok := around.One(line); ok {
			if t, ok := by.FramedTime(text, frame, l.now); ok {
				return t
			}
		}
	}
	return time.Time{}
}

// fromSums compares with what the daemon has counted.
func (l *look) fromSums(o outcome) {
	s, ok := l.d.state[l.j.Name]
	if !ok || l.d.status == nil || s.List {
		return
	}
	since := 0
	for _, e := range l.events {
		if e.at.After(l.d.status.Started.Add(10*time.Second)) && e.at.Before(l.now.Add(-10*time.Second)) {
			since++
		}
	}
	if since > l.j.MaxRetry && s.TotalFailed == 0 {
		l.say(Finding{
			Symptom: "daemon-finds-none", Level: Broken, Cause: fmt.Sprintf("%d failures were logged since the daemon started, and it has found none", since),
			Seen: []string{"bailiff status " + l.j.Name}, Remedy: "the configuration may have been changed since: bailiff reload",
		})
	}
}
