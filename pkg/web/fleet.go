package web

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

// The fleet: how this host stands with it, which host bans how many, and what is banned and lifted there by hand.

// fleetAge is how old what is known of there being a fleet may be, for the link to its page.
const fleetAge = 15 * time.Second

// fleetSeen is whether there is one, as it was seen the last time.
type fleetSeen struct {
	at     atomic.Int64 // in ns since 1970
	member atomic.Bool
}

// inFleet reports whether this host is in a fleet, or ought to be.
func (a *ask) inFleet() bool {
	seen, now := &a.s.fleet, a.s.o.Now().UnixNano()
	at := seen.at.Load()
	if age := time.Duration(now - at); at != 0 && age >= 0 && age < fleetAge || !seen.at.CompareAndSwap(at, now) {
		return seen.member.Load()
	}
	if s, err := a.api().Fleet(); err == nil {
		seen.member.Store(s.Member || s.Problem != "")
	}
	return seen.member.Load()
}

// reasonRow is why so many words were not taken.
type reasonRow struct {
	Where, Why string
	N          uint64
}

func fleetPage(a *ask) error {
	s, err := a.api().Fleet()
	if err != nil {
		return err
	}
	d := struct {
		Fleet    control.FleetStatus
		May      bool
		Problems []string
		Refused  []reasonRow
	}{Fleet: s, May: a.who.role >= control.Operator && len(s.Groups) > 0}
	told := []string{s.Problem}
	if !s.Connected {
		told = append(told, s.Connection)
	}
	if s.AllowList != nil {
		told = append(told, s.AllowList.Problem)
	}
	if s.Counting != nil {
		told = append(told, s.Counting.Problem)
	}
	for _, p := range told {
		if p != "" && !slices.Contains(d.Problems, p) {
			d.Problems = append(d.Problems, p)
		}
	}
	slices.SortStableFunc(d.Fleet.Hosts, func(a, b control.FleetOrigin) int { return cmp.Compare(b.Bans, a.Bans) })
	for where, of := range map[string]map[string]uint64{text("fleet.byus"): s.Refused, text("fleet.byhub"): s.RefusedByHub} {
		for _, why := range slices.Sorted(maps.Keys(of)) {
			d.Refused = append(d.Refused, reasonRow{where, why, of[why]})
		}
	}
	slices.SortStableFunc(d.Refused, func(a, b reasonRow) int { return cmp.Compare(a.Where, b.Where) })
	return a.show(http.StatusOK, "fleet", text("fleet.title"), d)
}

// fleetBan bans somebody on all hosts.
func fleetBan(a *ask) error {
	ip := strings.TrimSpace(a.form("ip"))
	t, err := config.ParseTime(cmp.Or(a.form("for"), "1h"))
	switch {
	case ip == "":
		a.note(true, text("error.from"))
		return a.done()
	case err != nil || t == 0:
		a.note(true, text("error.time", "text", strconv.Quote(clipped(a.form("for"), 40))))
		return a.done()
	}
	got, err := a.api().FleetBan(control.FleetBanRequest{Group: a.form("group"), IPs: []string{ip}, Seconds: max(t.Seconds(), -1)})
	if err != nil {
		a.note(true, err.Error())
		return a.done()
	}
	for _, r := range got {
		if r.Error != "" {
			a.note(true, text("done.error", "ip", r.IP, "error", r.Error))
			continue
		}
		a.noteDone(r.Pending, text("done.fleetban", "ip", r.IP))
	}
	return a.done()
}

// fleetUnban lifts on all hosts.
func fleetUnban(a *ask) error {
	ip := strings.TrimSpace(a.form("ip"))
	if ip == "" {
		a.note(true, text("error.from"))
		return a.done()
	}
	got, err := a.api().Unban(control.UnbanRequest{IPs: []string{ip}, Fleet: true, Group: a.form("group")})
	if err != nil {
		a.note(true, err.Error())
		return a.done()
	}
	a.unbanned(got, func(r *control.UnbanResult) string {
		if len(r.By) > 0 { // said with what still holds
			return ""
		}
		return text("done.fleetnone", "ip", r.IP)
	})
	return a.done()
}
