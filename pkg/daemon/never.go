package daemon

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/guard"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
)

// Whom an admin wants never banned, without a change of the configuration, which the daemon can't write. The guard
// has it as it has ignoreip, so that bans are lifted, lists leave it out, and why says who said so; it is kept in a
// file beside the database (keptlines.go).

const neverEnding = ".never"

// startNever reads who was never to be banned before.
func (d *Daemon) startNever() {
	d.nevers = d.keepsLines(neverEnding, "who is never banned by bailiff never", func(path string) error { return writeLines(path, d.Nevers()) })
	var list []guard.Never
	readLines(d.nevers, "no address with a time", func(n *control.Never) bool {
		p, err := iplist.Parse(n.IP)
		if err != nil || iplist.TooWide(p) || n.Since.IsZero() {
			return false
		}
		if neverAt(list, p, n.Jail) < 0 && len(list) < allowMost {
			list = append(list, guard.Never{Prefix: p, Jail: n.Jail, Since: n.Since, By: events.Clean(n.By, 100)})
		}
		return true
	})
	if d.guard.SetNever(list); len(list) > 0 {
		d.log.With("component", "database").Info(fmt.Sprintf("%d addresses and networks are never banned (bailiff never)", len(list)))
	}
}

func neverAt(list []guard.Never, p netip.Prefix, jail string) int {
	return slices.IndexFunc(list, func(n guard.Never) bool { return n.Prefix == p && n.Jail == jail })
}

// Never implements control.Daemon.
func (d *Daemon) Never(r control.NeverRequest) ([]control.AllowResult, error) {
	begun := time.Now()
	jails, err := d.neverIn(&r)
	if err != nil {
		return nil, err
	}
	out := make([]control.AllowResult, len(r.IPs))
	pending := lifting{d: d, begun: begun, jails: jails, only: r.Jail, by: r.By}
	where := ""
	if r.Jail != "" {
		where = " in " + r.Jail
	}
	d.nevers.mu.Lock()
	list := d.guard.Nevers()
	for i, s := range r.IPs {
		var id ban.ID
		if id, out[i] = decidedOf(s); out[i].Error != "" {
			continue
		}
		p := id.Prefix()
		at := neverAt(list, p, r.Jail)
		switch {
		case r.End && at < 0:
			out[i].Error = fmt.Sprintf("%s is not what bailiff never keeps from being banned%s", out[i].IP, cmp.Or(where, " in all jails"))
		case r.End:
			list = slices.Delete(list, at, at+1)
		case jail.TooWide(id):
			out[i].Error = fmt.Sprintf("%s is wider than /8 (IPv6: /19): to switch banning off, use observe = true", out[i].IP)
		case at < 0 && len(list) >= allowMost:
			out[i].Error = fmt.Sprintf("%s: %d addresses and networks are never banned so, as many as may be: end some of them, or use ignoreip", out[i].IP, allowMost)
		default:
			if at < 0 {
				list = append(list, guard.Never{Prefix: p, Jail: r.Jail, Since: d.clock.Wall().Truncate(time.Second), By: events.Clean(r.By, 100)})
			}
			pending.ids, pending.of = append(pending.ids, out[i].IP), append(pending.of, i)
		}
	}
	pending.first()
	d.guard.SetNever(list)
	note := d.nevers.save()
	why := map[bool]string{false: "never banned from now on", true: "may be banned again"}[r.End]
	for i := range out {
		if out[i].Error == "" {
			out[i].Pending = note
			d.tellAllowed(events.Event{IP: out[i].IP, Jail: r.Jail, By: r.By, Permanent: !r.End, Why: why})
		}
	}
	d.nevers.mu.Unlock()
	pending.rest(out)
	return out, nil
}

// neverIn are the jails in which somebody is not to be banned. One that is named has to be there, or to have been when
// it was said.
func (d *Daemon) neverIn(r *control.NeverRequest) ([]*jail.Jail, error) {
	if r.Jail == "" {
		return d.running(), nil
	}
	j, list := d.find(r.Jail)
	switch {
	case j != nil:
		return []*jail.Jail{j}, nil
	case list != nil, r.End:
		return nil, nil
	}
	if _, _, err := d.anyConfigured(r.Jail, nil); err != nil { // one that is off for now will do
		return nil, err
	}
	return nil, nil
}

// Nevers implements control.Daemon.
func (d *Daemon) Nevers() []control.Never {
	out := []control.Never{}
	for _, n := range d.guard.Nevers() {
		out = append(out, control.Never{IP: ban.Name(ban.Of(n.Prefix)), Jail: n.Jail, Since: n.Since, By: n.By})
	}
	return out
}
