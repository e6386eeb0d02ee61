package migrate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
)

// While one server has gone and the other one is not there yet, a table of our own holds
// all bans: a server's stop removes what is of its name, be it whose it may, and nothing
// else is at this table.

// Table is its name.
const Table = "bailiff-migrate"

// shield is the table.
type shield struct {
	fw    *firewall.Firewall
	jails map[string]bool // that it holds bans of
	put   map[string]map[netip.Prefix]time.Time
}

// raise makes the table for jails, but for those of which it is not known what they shut
// out of.
func raise(cfg *config.Config, jails []*config.Jail) (s *shield, err error) {
	var rules []firewall.Rule
	hooks := slices.Clone(cfg.Firewall.Hooks)
	need := func(name string, priority int) {
		if !slices.ContainsFunc(hooks, func(h firewall.Hook) bool { return h.Name == name }) {
			hooks = append(hooks, firewall.Hook{Name: name, Priority: priority})
		}
	}
	s = &shield{jails: map[string]bool{}, put: map[string]map[netip.Prefix]time.Time{}}
	for _, j := range jails {
		if !shielded(j) {
			continue
		}
		rules = append(rules, ruleOf(j))
		s.jails[j.Name] = true
		need("input", -1)
		if forwards(j) {
			need("forward", -1)
		}
	}
	// Without a jail, too: it keeps others from changing over at the same time.
	s.fw, _, err = firewall.Open(firewall.Options{Table: Table, Chain: Table, Hooks: hooks}, rules...)
	var held *firewall.HeldError
	if errors.As(err, &held) {
		err = fmt.Errorf("another bailiff migrate (process %s) is at work: wait until it has ended", held.PID)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// uncovered are the jails whose bans the table does not hold, as far as they have any.
func (s *shield) uncovered(bans held) (names []string, n int) {
	for name, of := range bans {
		if !s.jails[name] && len(of) > 0 {
			names, n = append(names, name), n+len(of)
		}
	}
	slices.Sort(names)
	return names, n
}

// shielded reports whether it is known what a jail shuts its bans out of.
func shielded(j *config.Jail) bool {
	return len(j.List) == 0 && (!j.Unenforced || len(j.ByCommands) > 0)
}

// ruleOf is what a jail's bans are shut out of by the table: at least what they are shut out
// of by its actions, for the seconds that it lasts.
func ruleOf(j *config.Jail) firewall.Rule {
	r := j.Rule
	r.Jail, r.Prefix4, r.Prefix6, r.List, r.NewOnly, r.Count = j.Name, 0, 0, false, false, false
	others := len(j.ByCommands)
	if !j.Unenforced {
		others++
	}
	if others > 1 || j.Unenforced && len(r.Ports) == 0 {
		// Several actions, each with its ports; or one that may have more protocols than it
		// names: all.
		r.Ports, r.Protocols, r.AnyProtocol, r.Reject = nil, nil, false, [2]string{}
	}
	return r
}

// forwards reports whether a jail's commands have rules in another chain than INPUT.
func forwards(j *config.Jail) bool {
	for _, d := range j.Actions {
		if d.Properties == nil {
			continue
		}
		chain, ok := d.Properties.Get("chain")
		if ok && chain != "" && strings.Trim(strings.ToUpper(chain), " ") != "INPUT" && chain != "input" {
			return true
		}
	}
	return false
}

// hold has bans in force by the table, too.
func (s *shield) hold(bans held) error {
	now := time.Now()
	for name, of := range bans {
		if !s.jails[name] {
			continue
		}
		var all []firewall.Element
		for _, b := range of {
			if e := element(b); e.IsValid() {
				all = append(all, firewall.Element{ID: e.Masked(), Left: b.Left(now)})
			}
		}
		if s.put[name] == nil {
			s.put[name] = map[netip.Prefix]time.Time{}
		}
		var changes []firewall.Change
		for _, e := range apart(all) {
			end := time.Time{}
			if e.Left > 0 {
				end = now.Add(e.Left)
			}
			was, there := s.put[name][e.ID]
			if there && (was.IsZero() || !end.IsZero() && !end.After(was.Add(endSoon))) {
				continue
			}
			s.put[name][e.ID] = end
			changes = append(changes, firewall.Change{Jail: name, ID: e.ID, Left: e.Left, Replace: there})
		}
		for some := range slices.Chunk(changes, 5000) {
			if err := s.fw.Apply(some); err != nil {
				return fmt.Errorf("table inet %s: %w", Table, err)
			}
		}
	}
	return nil
}

// apart leaves out what is part of a network: sets of networks take no overlap. What holds
// it lasts as long as the longest of them.
func apart(all []firewall.Element) []firewall.Element {
	slices.SortFunc(all, func(a, b firewall.Element) int { return a.ID.Bits() - b.ID.Bits() })
	var networks, out []firewall.Element
	for _, e := range all {
		in := slices.IndexFunc(networks, func(n firewall.Element) bool { return n.ID.Bits() < e.ID.Bits() && n.ID.Contains(e.ID.Addr()) })
		switch {
		case in >= 0:
			if n := &networks[in]; n.Left > 0 && (e.Left == 0 || e.Left > n.Left) {
				n.Left = e.Left
			}
		case e.ID.IsSingleIP():
			out = append(out, e)
		default:
			networks = append(networks, e)
		}
	}
	return append(networks, out...)
}

// check reads back from the kernel whether the table holds what it should.
func (s *shield) check(bans held) error {
	if s.fw == nil {
		return nil
	}
	all, err := firewall.Held(Table)
	if err != nil {
		return err
	}
	missing := held{}
	for name, of := range bans {
		if !s.jails[name] {
			continue
		}
		there := where{}
		for _, e := range all[name] {
			there[e.ID] = true
		}
		networks := there.networks()
		for _, b := range of {
			if e := element(b); e.IsValid() && !there[e] && !networks.holds(e) {
				missing.add(name, b)
			}
		}
	}
	missing.drop(time.Now())
	if n := missing.count(); n > 0 {
		return fmt.Errorf("table inet %s lacks %d bans: %s", Table, n, missing.some())
	}
	return nil
}

// lower takes the table away.
func (s *shield) lower() error {
	if s == nil || s.fw == nil {
		return nil
	}
	err := s.fw.RemoveTable() // with what one that was interrupted has left
	s.fw.Close()
	s.fw = nil
	return err
}

// leave gives the table up as it is, in force.
func (s *shield) leave() {
	if s != nil && s.fw != nil {
		s.fw.Close()
		s.fw = nil
	}
}
