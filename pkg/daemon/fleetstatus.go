package daemon

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/fleet"
	"bailiff/pkg/guard"
	"bailiff/pkg/iplist"
	"bailiff/pkg/metrics"
)

// What the daemon tells of its part in a fleet, and what is asked of it.

// quietMost is for how long there may be no beat until that is told: three should have come.
const quietMost = 3 * fleet.BeatEvery

// fleetWordsMost is how many words about an address are told.
const fleetWordsMost = 200

// Fleet implements control.Daemon.
func (d *Daemon) Fleet() (control.FleetStatus, error) {
	r := d.fleet.now()
	s := control.FleetStatus{Groups: []control.FleetGroup{}, Hosts: []control.FleetOrigin{}, Refused: map[string]uint64{}, RefusedByHub: map[string]uint64{}}
	if r == nil {
		d.fleet.mu.Lock()
		s.Problem = d.fleet.problem
		d.fleet.mu.Unlock()
		return s, nil
	}
	s.AllowList = r.allow.status()
	s.Member, s.Host, s.Hubs, s.Quota, s.LiftsOthers = true, r.name, r.cfg.URLs, r.cfg.Bans, r.cfg.Lifts
	r.mu.Lock()
	s.Connected, s.Since, s.Connection = r.connected, r.since, r.told
	r.mu.Unlock()
	r.sayMu.Lock()
	s.Unsaid = r.unsaid
	r.sayMu.Unlock()
	for _, g := range r.cfg.Groups {
		one := control.FleetGroup{Name: g.Name, Publish: append([]string{}, g.Publish...), Quorum: g.Quorum}
		if set := d.fleet.set(g.Rule.Jail); set != nil {
			one.Enforce, one.InForce = true, set.len()
		}
		s.Groups = append(s.Groups, one)
	}
	type held struct {
		stats   fleet.Stats
		origins []fleet.Origin
		refused map[fleet.Reason]uint64
		tally   fleet.TallyStats
	}
	got, ok := askFleet(r, fleetMost, func(a *fleet.Agent, _ time.Time) held {
		h := held{stats: a.Stats(), tally: a.Tally(), origins: a.View().Origins(), refused: map[fleet.Reason]uint64{}}
		for why, n := range r.refused {
			h.refused[why] = n
		}
		return h
	})
	if !ok {
		s.Problem = "what is kept of the fleet is being read"
		return s, nil
	}
	st := got.stats
	s.Counting = r.countingStatus(got.tally)
	s.Complete, s.Waiting, s.Bans, s.Lifts = st.Complete, st.Waiting, st.Bans, st.Lifts
	if st.Newest > st.Cursor {
		s.Lag = st.Newest - st.Cursor
	}
	if s.Connected && !st.Quiet.IsZero() && d.clock.Now().Sub(st.Quiet) > quietMost {
		since := d.clock.ToWall(st.Quiet)
		s.QuietSince = &since
	}
	s.ClockSteps = st.Steps
	if st.Waiting > 0 {
		since := d.clock.ToWall(st.Since)
		s.WaitingSince = &since
	}
	s.Stored, s.Conflicts, s.Busy, s.Gaps, s.Bad, s.Epochs = st.Stored, st.Conflicts, st.Busy, st.Gaps, st.Bad, st.Epochs
	for why, n := range st.Counts.Refused {
		s.Refused[fleet.Refusal(why).String()] = n
	}
	for why, n := range got.refused {
		s.RefusedByHub[string(why)] = n
	}
	for _, o := range got.origins {
		s.Hosts = append(s.Hosts, control.FleetOrigin(o))
	}
	slices.SortFunc(s.Hosts, func(a, b control.FleetOrigin) int { return strings.Compare(a.Name, b.Name) })
	d.fleet.mu.Lock()
	s.Problem = d.fleet.problem // of the last reload
	d.fleet.mu.Unlock()
	switch {
	case s.Problem != "":
	case !s.Connected:
		s.Problem = s.Connection
	case s.QuietSince != nil:
		s.Problem = "nothing comes from the hub that this host is connected to: it is cut off from the others, or its stream takes nothing (its log says why); another one is looked for, if [fleet] url names one"
	}
	return s, nil
}

// fleetWords are what hosts of the fleet have said of an address, and of networks that hold it.
func (r *fleetRun) words(id ban.ID) ([]control.FleetWord, bool) {
	type told struct {
		words []control.FleetWord
	}
	got, ok := askFleet(r, fleetMost, func(a *fleet.Agent, _ time.Time) (t told) {
		for _, o := range a.View().About(id.Prefix(), fleetWordsMost) {
			w := control.FleetWord{
				Host: o.Key.Host, Group: o.Key.Group, IP: toldPrefix(o.Key.Prefix()), Jail: o.Entry.Jail, Lift: o.Key.Kind == fleet.Lift, Gone: o.Key.Kind == fleet.Ban && o.Entry.Gone(),
				Made: r.d.clock.ToWall(a.Local(o.Stored)), Failures: o.Entry.Failures, Count: o.Entry.Count, Stands: o.Stands, Never: o.Never,
			}
			if o.Key.Kind == fleet.Ban && !o.Entry.Gone() {
				end := r.d.clock.ToWall(a.Local(o.End))
				w.Until = &end
			}
			if g := r.cfg.Group(w.Group); g != nil && g.Quorum > 1 && !w.Lift {
				w.Quorum = g.Quorum
			}
			t.words = append(t.words, w)
		}
		return t
	})
	return got.words, ok
}

// FleetBan implements control.Daemon.
func (d *Daemon) FleetBan(q control.FleetBanRequest) ([]control.BanResult, error) {
	r := d.fleet.now()
	if r == nil {
		return nil, control.Bad(errors.New("this host is in no fleet: bailiff fleet join brings it into one"))
	}
	if q.Seconds != -1 && q.Seconds != 0 && !(q.Seconds >= 1 && q.Seconds <= control.BanLongest) {
		return nil, control.Bad(fmt.Errorf("seconds: %v: want 1 to %d, or -1", q.Seconds, control.BanLongest))
	}
	group, err := r.groupNamed(q.Group)
	if err != nil {
		return nil, control.Bad(err)
	}
	left := int64(q.Seconds)
	if left == 0 {
		left = 3600
	}
	out := make([]control.BanResult, len(q.IPs))
	rules := r.view.Rules()
	var ids []ban.ID
	for i, text := range q.IPs {
		out[i].IP = text
		id, err := ban.ParseID(text)
		switch {
		case err != nil:
			out[i].Error = err.Error()
		case id.IsName():
			out[i].Error = fmt.Sprintf("%.80q is no address and no network: the fleet bans nothing else", text)
			if r.cfg.Group(text) != nil || r.d.jailsNow()[text] != nil {
				out[i].Error += " (a group is named by --group, a jail not at all)"
			}
		default:
			out[i].IP = ban.Name(id)
			out[i].Error = neverHere(rules, id, r)
		}
		if out[i].Error == "" {
			ids = append(ids, id)
		} else {
			ids = append(ids, ban.ID{})
		}
	}
	_, ok := askFleet(r, fleetMost, func(a *fleet.Agent, now time.Time) bool {
		for _, id := range ids {
			if id.IsValid() {
				a.Remember(now, a.Say(now, fleet.BanKey(r.name, group, id.Prefix()), fleet.Entry{Jail: fleet.ByHand(cleanBy(q.By)), Left: left, Count: 1}))
			}
		}
		return true
	})
	r.keeper.settle(settleMost)
	for i := range out {
		if out[i].Error == "" && !ok {
			out[i].Error = "the fleet's part did not answer in time"
		} else if out[i].Error == "" {
			out[i].Added, out[i].Pending = true, r.waits()
			if left < 0 || left > int64(fleet.DefaultMost/time.Second) {
				out[i].Pending = strings.TrimPrefix(out[i].Pending+"; a ban by hand lasts 7 days in the fleet at the most", "; ")
			}
		}
	}
	return out, nil
}

// neverHere says why somebody is not to be banned in the fleet from here.
func neverHere(rules *guard.Rules, id ban.ID, r *fleetRun) string {
	p := id.Prefix()
	switch why := rules.Why(p); {
	case why.Some():
		return fmt.Sprintf("%s is never banned here: %s", ban.Name(id), why.Text)
	case rules.SSHPeer(p):
		return fmt.Sprintf("%s is never banned here: an open SSH session", ban.Name(id))
	case r.allow != nil && r.allow.held.Holds(p):
		return fmt.Sprintf("%s is never banned in the fleet: its allow-list names it, or a part of it", ban.Name(id))
	case iplist.TooWide(p), p.Addr().Is4() && p.Bits() < r.cfg.Shortest4, p.Addr().Is6() && p.Bits() < r.cfg.Shortest6:
		return fmt.Sprintf("%s is wider than /%d (IPv6: /%d), the widest that this host takes ([fleet] widest_ipv4, widest_ipv6)", ban.Name(id), r.cfg.Shortest4, r.cfg.Shortest6)
	}
	return ""
}

// waits says that what was said waits for a hub; empty: it is on its way.
func (r *fleetRun) waits() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.connected {
		return ""
	}
	return "it is sent to the fleet as soon as there is a connection: " + r.told
}

// groupNamed is a group that is named, or the only one.
func (r *fleetRun) groupNamed(name string) (string, error) {
	var all []string
	for _, g := range r.cfg.Groups {
		all = append(all, g.Name)
	}
	switch {
	case name == "" && len(all) == 1:
		return all[0], nil
	case name == "" || !slices.Contains(all, name):
		return "", fmt.Errorf("group %q: want one of this host's: %s", name, strings.Join(all, ", "))
	}
	return name, nil
}

// unbanFleet lifts in the fleet alone, whether a ban is known here or not.
func (d *Daemon) unbanFleet(q control.UnbanRequest) ([]control.UnbanResult, error) {
	r := d.fleet.now()
	if r == nil {
		return nil, control.Bad(errors.New("this host is in no fleet: bailiff fleet join brings it into one"))
	}
	if q.All {
		return nil, control.Bad(errors.New("all bans of a fleet are lifted by nobody at once: bailiff fleet distrust HOST, at the hub, lifts those of a host"))
	}
	if q.Jail != "" && !strings.HasPrefix(q.Jail, config.FleetSets) {
		return nil, control.Bad(fmt.Errorf("jail %s: in the fleet alone no jail lifts anything: name a group, or leave out that it is to be in the fleet", q.Jail))
	}
	groups := r.groupsFor(q.Jail, q.Group)
	if len(groups) == 0 {
		return nil, control.Bad(fmt.Errorf("this host has no such group: %s", strings.TrimSpace(q.Jail+" "+q.Group)))
	}
	out := make([]control.UnbanResult, len(q.IPs))
	ids := make([]ban.ID, len(q.IPs))
	for i, text := range q.IPs {
		out[i] = control.UnbanResult{IP: text, Jails: []string{}}
		id, err := ban.ParseID(text)
		if err != nil || id.IsName() {
			out[i].Error = fmt.Sprintf("%.80q is no address and no network", text)
			ids[i] = ban.Named("-")
			continue
		}
		ids[i], out[i].IP = id, ban.Name(id)
	}
	got, ok := r.lift(ids, groups, q.By, true)
	for i := range out {
		switch {
		case out[i].Error != "":
		case !ok:
			out[i].Error = "the fleet's part did not answer in time"
		default:
			for _, g := range got[i].groups {
				out[i].Jails = append(out[i].Jails, r.setName(g))
				out[i].Count++
			}
			out[i].By = got[i].others
			if out[i].Count > 0 {
				out[i].Pending = r.waits()
			}
		}
	}
	return out, nil
}

// fleetHostsTold is of how many hosts metrics tell, those that have most bans.
const fleetHostsTold = 100

func (d *Daemon) measureFleet(p *metrics.Page) {
	if d.fleet.now() == nil {
		return
	}
	s, err := d.Fleet()
	if err != nil || !s.Member {
		return
	}
	p.Add(metrics.FleetUp, metrics.Flag(s.Connected))
	p.Add(metrics.FleetComplete, metrics.Flag(s.Complete))
	p.Add(metrics.FleetEntries, float64(s.Bans), "ban")
	p.Add(metrics.FleetEntries, float64(s.Lifts), "lift")
	for _, g := range s.Groups {
		if g.Enforce {
			p.Add(metrics.FleetInForce, float64(g.InForce), g.Name)
		}
	}
	slices.SortStableFunc(s.Hosts, func(a, b control.FleetOrigin) int { return b.Bans - a.Bans })
	for _, h := range s.Hosts[:min(len(s.Hosts), fleetHostsTold)] {
		p.Add(metrics.FleetOrigin, float64(h.Bans), h.Name)
	}
	p.Add(metrics.FleetQuota, float64(s.Quota))
	p.Add(metrics.FleetLag, float64(s.Lag))
	p.Add(metrics.FleetOutbox, float64(s.Waiting))
	if s.WaitingSince != nil {
		p.Add(metrics.FleetOldest, stamp(*s.WaitingSince))
	}
	for why, n := range s.Refused {
		p.Add(metrics.FleetRefused, float64(n), "host", why)
	}
	for why, n := range s.RefusedByHub {
		p.Add(metrics.FleetRefused, float64(n), "hub", why)
	}
	p.Add(metrics.FleetStored, float64(s.Stored))
	if l := s.AllowList; l != nil {
		p.Add(metrics.FleetAllow, float64(l.Version))
		p.Add(metrics.FleetAllowBad, metrics.Flag(l.Problem != ""))
	}
	if c := s.Counting; c != nil {
		p.Add(metrics.FleetFailures, float64(c.Failures), "kept")
		p.Add(metrics.FleetFailures, float64(c.Lost), "lost")
		p.Add(metrics.FleetCounted, float64(c.Addresses), "kept")
		p.Add(metrics.FleetCounted, float64(c.Waiting), "waiting")
	}
}
