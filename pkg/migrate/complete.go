package migrate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/banfile"
	"bailiff/pkg/control"
	"bailiff/pkg/daemon"
)

// What the server that has taken over lacks yet, and how it gets it.

// complete waits until a server has every ban, in its lists and in the kernel, and gives it
// those that it lacks.
func (m *Migration) complete(ctx context.Context, to *Server) error {
	given := false
	best, since := -1, time.Now()
	for {
		began := time.Now()
		m.all.drop(time.Now())
		listed, err := to.bans(m.jailsOf(to))
		if err != nil {
			return err
		}
		kernel, err := m.look(ctx)
		if err != nil {
			return err
		}
		lists := m.all.missing(listed)
		places := m.seen(kernel.without(m.all, m.names))
		total := m.all.count()
		left := held{}
		left.addAll(lists)
		left.addAll(places)
		n := left.count()
		m.progress("bans taken over", total-n, total)
		if n == 0 {
			return nil
		}
		if best < 0 || n < best {
			best, since = n, time.Now()
		}
		switch quiet := time.Since(since); {
		case lists.count() > 0 && !given && quiet >= settled(to):
			// Its start is over, and these are not in what it found.
			given = true
			if err := m.hand(to, lists); err != nil {
				return err
			}
			best, since = -1, time.Now()
		case lists.count() == 0 && !to.Ours && quiet >= settled(to) && m.networks(places):
			// fail2ban 1.0.2 lists networks, and its sets take none.
		case quiet > m.patience():
			return fmt.Errorf("%s lacks %d bans, and has got no more of them for %v: %s", to.name(), n, m.patience(), left.some())
		}
		// To look must not hold up who is looked at.
		if err := pause(ctx, max(100*time.Millisecond, 2*time.Since(began))); err != nil {
			return err
		}
	}
}

// networks gives up networks that fail2ban lists and the kernel does not hold, if there is
// nothing else that is missing there.
func (m *Migration) networks(places held) bool {
	for _, of := range places {
		for id := range of {
			if !id.IsNetwork() {
				return false
			}
		}
	}
	for name, of := range places {
		for id := range of {
			m.Report.Refused = append(m.Report.Refused, Refusal{name, ban.Name(id), "fail2ban lists it, and its sets take no networks: it is not in force"})
			m.forget(name, ban.Name(id))
		}
	}
	return true
}

// settled is how long a server that restores its bans may be quiet: longer where its start took
// long, for so do the commands by which fail2ban restores each.
func settled(s *Server) time.Duration {
	if s.Ours {
		return 200 * time.Millisecond
	}
	return max(2*time.Second, s.took/2)
}

// jailsOf are those of the jails that a server has.
func (m *Migration) jailsOf(s *Server) []string {
	there, err := s.jails()
	if err != nil {
		return m.running
	}
	return slices.DeleteFunc(slices.Clone(m.running), func(name string) bool { return !slices.Contains(there, name) })
}

// seen leaves out jails whose bans nobody knows how to see in the kernel.
func (m *Migration) seen(bans held) held {
	for name := range bans {
		if !m.shown[name] {
			delete(bans, name)
		}
	}
	return bans
}

// hand gives a running server bans that it lacks. Those of who is never banned there are
// told, and not wanted any more.
func (m *Migration) hand(to *Server, bans held) error {
	m.say("%d bans are not among those that %s has found: handed over", bans.count(), to.name())
	if !to.Ours {
		return m.banip(to, bans)
	}
	client := control.NewClient(to.Socket)
	defer client.Close()
	var records []banfile.Record
	for name, of := range bans {
		for _, b := range of {
			records = append(records, daemon.RecordOf(name, b))
		}
	}
	for some := range slices.Chunk(records, control.ImportMost) {
		res, err := client.Import(control.ImportRequest{Bans: some})
		if err != nil {
			return err
		}
		for i, r := range res[:min(len(res), len(some))] {
			if r.Never || r.Over || r.Error != "" {
				why := r.Error
				if r.Over {
					why = "its time is over"
				} else {
					m.Report.Refused = append(m.Report.Refused, Refusal{some[i].Jail, some[i].IP, why})
				}
				if r.Never || r.Over {
					m.forget(some[i].Jail, r.IP)
				}
			}
		}
	}
	return nil
}

// forget takes a ban off those that are to be taken over.
func (m *Migration) forget(jail, name string) {
	for id := range m.all[jail] {
		if ban.Name(id) == name {
			delete(m.all[jail], id)
		}
	}
}

// banip has fail2ban ban, for as long as its jails do.
func (m *Migration) banip(to *Server, bans held) error {
	m.Report.Warnings = append(m.Report.Warnings, fmt.Sprintf("%d bans that fail2ban did not find in its database were given to it by set JAIL banip: they last as its jails ban from now on: %s", bans.count(), bans.some()))
	for name, of := range bans {
		var ids []any
		for id := range of {
			ids = append(ids, ban.Name(id))
		}
		for some := range slices.Chunk(ids, 50) {
			if _, err := ask(to.Socket, changeAsk, append([]any{"set", name, "banip"}, some...)...); err != nil {
				return fmt.Errorf("set %s banip: %w", name, err)
			}
		}
	}
	return nil
}
