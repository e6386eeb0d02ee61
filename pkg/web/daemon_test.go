package web

import (
	"fmt"
	"sync"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/history"
	"bailiff/pkg/jail"
)

// daemon is a control.Daemon with what a test wants of one; the rest panics.
type daemon struct {
	control.Daemon
	mu       sync.Mutex
	status   control.Status
	bans     []jail.BanStatus
	why      control.Why
	table    *events.Table
	topKey   string
	tops     []events.Most // in place of one with topKey
	diff     string
	settings control.JailSettings
	doctor   control.DoctorAnswer
	looks    []string // that were asked for
	fleet    control.FleetStatus
	replay   control.ReplayAnswer
	replays  []string // that were asked for
	done     []string // what was changed, and by whom
}

func (d *daemon) did(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = append(d.done, fmt.Sprintf(format, args...))
}

func (d *daemon) Status(string, bool) (control.Status, error) { return d.status, nil }
func (d *daemon) Bans(string) ([]jail.BanStatus, error)       { return d.bans, nil }
func (d *daemon) Why(id string) (control.Why, error)          { w := d.why; w.IP = id; return w, nil }
func (d *daemon) Allowed() []control.Allowance                { return []control.Allowance{} }
func (d *daemon) Events() *events.Table                       { return d.table }

func (d *daemon) History(history.Query) (history.Answer, error) {
	return history.Answer{From: anHour, To: anHour.Add(time.Hour), Step: 1200, Failures: []int64{3, 0, 1}, Bans: []int64{1, 0, 0}, Unbans: []int64{0, 0, 0}}, nil
}

func (d *daemon) Top(q events.TopQuery) (control.TopAnswer, error) {
	if d.tops != nil {
		return control.TopAnswer{Top: events.Top{What: q.What, Entries: d.tops}}, nil
	}
	return control.TopAnswer{Top: events.Top{What: q.What, Entries: []events.Most{{Key: d.topKey, Failures: 3, Bans: 1}}}}, nil
}

func (d *daemon) Settings(name string) (control.JailSettings, error) {
	s := d.settings
	s.Jail = name
	return s, nil
}

func (d *daemon) ForgetSettings(name, by string) (control.SettingsResult, error) {
	d.did("forget of %s by %s", name, by)
	return control.SettingsResult{Jail: name, Did: "changed"}, nil
}

func (d *daemon) ChangeSettings(name string, r control.SettingsRequest) (control.SettingsResult, error) {
	if !r.Preview {
		d.did("settings of %s by %s", name, r.By)
	}
	return control.SettingsResult{Jail: name, File: d.topKey, Diff: d.diff, Did: "changed", Notes: []string{d.topKey}}, nil
}

func (d *daemon) TryFilter(r control.TryRequest) (control.TryAnswer, error) {
	p := d.topKey
	a := control.TryAnswer{Name: p, Problems: []string{p}, Lint: []control.TriedLint{{Rule: p, Text: p, Expr: p}}, Proof: &control.TriedProof{Line: p, Forged: p, ForgedID: p, Evading: p, Reason: p}}
	for _, l := range r.Lines {
		a.Lines = append(a.Lines, control.TriedLine{Line: l, Verdict: "failure", ID: p, Address: p, User: p, Regex: &control.TriedRegex{
			Kind: p, Text: p, Wanted: []string{p}, Parts: []control.TriedPart{{Text: l, Group: p, Matched: true}, {Text: p, Matched: true}, {Text: p}},
		}}, control.TriedLine{Line: l, Verdict: p})
	}
	return a, nil
}

func (d *daemon) SavedFilters() ([]control.SavedFilter, error) {
	return []control.SavedFilter{{Name: d.topKey, File: d.topKey, Text: d.topKey, Jails: []string{d.topKey}}}, nil
}

func (d *daemon) SaveFilter(name string, r control.SaveRequest) (control.SaveResult, error) {
	if !r.Preview {
		d.did("filter %s saved by %s", name, r.By)
	}
	return control.SaveResult{Name: name, File: d.topKey, Diff: d.diff, Text: r.Text, Note: d.topKey}, nil
}

func (d *daemon) SearchBans(control.BansQuery) (control.BansPage, error) {
	return control.BansPage{Bans: d.bans, Total: len(d.bans), All: len(d.bans)}, nil
}

func (d *daemon) Ban(name string, r control.BanRequest) ([]control.BanResult, error) {
	if r.Seconds != 0 {
		d.did("ban %s in %s for %v by %s", r.IPs, name, r.Seconds, r.By)
		return []control.BanResult{{IP: r.IPs[0], Changed: true, Permanent: true}}, nil
	}
	d.did("ban %s in %s by %s", r.IPs, name, r.By)
	return []control.BanResult{{IP: r.IPs[0], Added: true}}, nil
}

func (d *daemon) Fleet() (control.FleetStatus, error) { return d.fleet, nil }

func (d *daemon) FleetBan(r control.FleetBanRequest) ([]control.BanResult, error) {
	d.did("ban %s in the fleet, group %q, for %v by %s", r.IPs, r.Group, r.Seconds, r.By)
	return []control.BanResult{{IP: r.IPs[0], Added: true}}, nil
}

func (d *daemon) Unban(r control.UnbanRequest) ([]control.UnbanResult, error) {
	if r.Fleet {
		d.did("lift %s in the fleet, group %q, by %s", r.IPs, r.Group, r.By)
		return []control.UnbanResult{{IP: r.IPs[0], Jails: []string{"fleet-ssh"}, Count: 1}}, nil
	}
	d.did("unban %s in %q by %s", r.IPs, r.Jail, r.By)
	return []control.UnbanResult{{IP: r.IPs[0], Jails: []string{"sshd"}, Count: 1}}, nil
}

func (d *daemon) Allow(r control.AllowRequest) ([]control.AllowResult, error) {
	d.did("allow %s for %v by %s", r.IPs, r.Seconds, r.By)
	return []control.AllowResult{{IP: r.IPs[0]}}, nil
}

func (d *daemon) Never(r control.NeverRequest) ([]control.AllowResult, error) {
	d.did("never %s in %q end %v by %s", r.IPs, r.Jail, r.End, r.By)
	return []control.AllowResult{{IP: r.IPs[0]}}, nil
}

func (d *daemon) Nevers() []control.Never {
	return []control.Never{{IP: "192.0.2.8", Jail: d.topKey, By: d.topKey, Since: anHour}}
}

func (d *daemon) Reload(by string) (control.ReloadResult, error) {
	d.did("reload by %s", by)
	return control.ReloadResult{}, nil
}
