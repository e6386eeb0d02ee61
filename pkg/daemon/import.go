package daemon

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/banfile"
	"bailiff/pkg/control"
	"bailiff/pkg/filter"
	"bailiff/pkg/jail"
)

// Bans of elsewhere.

// BanOf is a ban as a record tells it, by the wall clock.
func BanOf(r banfile.Record) (ban.Ban, error) {
	if err := r.Check(); err != nil {
		return ban.Ban{}, err
	}
	b := ban.Ban{Start: r.Time, Count: max(r.Count, 1)}
	b.End, _ = r.End()
	if r.Address != "" { // then IP is a text, whatever it reads as
		p := filter.ParseID(r.Address, -1)
		if !p.IsValid() || !p.IsSingleIP() {
			return ban.Ban{}, fmt.Errorf("address %.80q is none", r.Address)
		}
		b.IP = ban.AddressOf(p.Addr())
	}
	var err error
	b.ID, err = ban.ParseID(r.IP)
	if err != nil && r.Address != "" {
		if id := ban.Named(r.IP); id.IsValid() {
			b.ID, err = id, nil
		}
	}
	return b, err
}

// RecordOf is a ban, by the wall clock, as it goes elsewhere.
func RecordOf(name string, b ban.Ban) banfile.Record {
	r := banfile.Record{Jail: name, IP: ban.Name(b.ID), Time: b.Start.UTC().Truncate(time.Second), BanTime: banfile.ForEver, Count: max(b.Count, 1)}
	if b.IP.IsValid() {
		r.Address = b.IP.Addr().String()
	}
	if !b.Permanent() { // whole seconds, as the database has it
		r.BanTime = max(int64((b.End.Sub(b.Start)+time.Second-1)/time.Second), 0)
	}
	return r
}

// RecordOfStatus is the same of a ban as a daemon tells it.
func RecordOfStatus(s jail.BanStatus) banfile.Record {
	b := ban.Ban{Start: s.Start, Count: s.Count}
	if s.End != nil {
		b.End = *s.End
	}
	r := RecordOf(s.Jail, b)
	r.IP, r.Address = s.IP, s.Address
	return r
}

// Import implements control.Daemon.
func (d *Daemon) Import(r control.ImportRequest) ([]control.ImportResult, error) {
	begun := time.Now()
	out := make([]control.ImportResult, len(r.Bans))
	type part struct {
		bans []ban.Ban
		of   []int // which of out
	}
	parts := map[string]*part{}
	now, offset := d.clock.Now(), d.clock.Offset()
	for i, record := range r.Bans {
		out[i].IP, out[i].Jail = record.IP, record.Jail
		b, err := BanOf(record)
		if err != nil {
			out[i].Error = err.Error()
			continue
		}
		out[i].IP = ban.Name(b.ID)
		b.Start = b.Start.Add(-offset)
		if !b.Permanent() {
			b.End = b.End.Add(-offset)
		}
		if b.Start.After(now) { // another host's clock: the ban is no longer for that
			if !b.Permanent() {
				b.End = b.End.Add(now.Sub(b.Start))
			}
			b.Start = now
		}
		p := parts[record.Jail]
		if p == nil {
			p = &part{}
			parts[record.Jail] = p
		}
		p.bans, p.of = append(p.bans, b), append(p.of, i)
	}
	var jails []*jail.Jail
	for _, name := range sortedKeys(parts) {
		p := parts[name]
		j, err := d.jail(name)
		if err != nil {
			for _, i := range p.of {
				out[i].Error = err.Error()
			}
			continue
		}
		jails = append(jails, j)
		for n, done := range j.Import(p.bans, r.Force, r.By) {
			became(&out[p.of[n]], done)
			if done.Added && p.bans[n].ID.IsName() && !p.bans[n].IP.IsValid() {
				out[p.of[n]].Note = j.Unheld()
			}
		}
	}
	if !slices.ContainsFunc(out, func(r control.ImportResult) bool { return r.Added }) {
		return out, nil
	}
	if pending := d.settle(begun, false, jails...); pending != "" {
		for i := range out {
			if out[i].Added && out[i].Pending == "" {
				out[i].Pending = pending
			}
		}
	}
	return out, nil
}

// became keeps in a result what became of a ban.
func became(res *control.ImportResult, done jail.Banned) {
	res.Added = done.Added
	if !done.Added && done.By.IsValid() {
		res.By = ban.Name(done.By)
	}
	var busy *jail.BusyError
	var never *jail.IgnoredError
	switch {
	case errors.As(done.Err, &busy) && busy.Later:
		res.Pending = busy.Error()
	case errors.Is(done.Err, jail.ErrOver):
		res.Over = true
	case errors.As(done.Err, &never):
		res.Never = true
		res.Error = never.Error()
	case done.Err != nil:
		res.Error = done.Err.Error()
	}
}
