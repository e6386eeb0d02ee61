// Package control is the local way to a running daemon: HTTP with JSON over a
// Unix socket that only its owner may use. docs/api.md describes it.
package control

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/banfile"
	"bailiff/pkg/events"
	"bailiff/pkg/history"
	"bailiff/pkg/jail"
	"bailiff/pkg/remote"
	"bailiff/pkg/report"
)

// Status is the answer to GET /v1/status.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Config  string    `json:"config"` // path, empty for stock definitions only
	DryRun  bool      `json:"dry_run"`
	Waiting []string  `json:"waiting,omitempty"` // changes that are under way, and what they wait for
	// Problems are what the daemon can't do outside of its jails, and tries again.
	Problems []string      `json:"problems,omitempty"`
	Jails    []jail.Status `json:"jails"`
	// Exports are the lists that servers elsewhere keep for us.
	Exports []ExportStatus `json:"exports,omitempty"`
	// Reports are the services elsewhere that are told of bans.
	Reports []ReportStatus `json:"reports,omitempty"`
	// Fleet is how this host stands with its fleet; null: it is in none.
	Fleet *FleetStatus `json:"fleet,omitempty"`
}

// ReportStatus is how reports to one of them stand.
type ReportStatus struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	report.State
}

// ExportStatus is how such a list stands.
type ExportStatus struct {
	Name     string `json:"name"`
	Provider string `json:"provider"`
	remote.State
}

// BanRequest is the body of POST /v1/jails/NAME/ban.
type BanRequest struct {
	IPs   []string `json:"ips"`
	Force bool     `json:"force"`
	// Seconds is how long the bans last from now, -1 for good; 0: as long as the jail bans for. Who is banned already
	// is so until then, be that later or earlier.
	Seconds float64 `json:"seconds,omitempty"`
	By      string  `json:"-"` // the user who asks
}

// BanLongest is how long a ban may be asked for that has an end, in seconds: a good hundred years.
const BanLongest = 100 * 366 * 24 * 3600

// BanResult says what became of one address.
type BanResult struct {
	IP    string `json:"ip"`
	Added bool   `json:"added"` // false: was banned already
	// Changed: it was banned already, and ends now as was asked for.
	Changed bool `json:"changed,omitempty"`
	// Until is when the ban ends, where Seconds were asked for and it was Added or Changed; Permanent: never.
	Until     *time.Time `json:"until,omitempty"`
	Permanent bool       `json:"permanent,omitempty"`
	By        string     `json:"by,omitempty"` // the banned network that it is part of, if that is why it was not added
	Error     string     `json:"error,omitempty"`
	// Pending says what has not come to it yet: the kernel, an action, or the jail. It
	// does as soon as it can. Empty: the ban is in force.
	Pending string `json:"pending,omitempty"`
	// Note says what the ban does not do: of what is no address, nftables can't hold one.
	Note string `json:"note,omitempty"`
}

// ImportRequest is the body of POST /v1/import: bans that were made elsewhere, each with its
// time.
type ImportRequest struct {
	Bans  []banfile.Record `json:"bans"`
	Force bool             `json:"force"`
	By    string           `json:"-"` // the user who asks
}

// ImportResult says what became of one of them.
type ImportResult struct {
	BanResult
	Jail string `json:"jail"`
	// Over: it has ended by now.
	Over bool `json:"over,omitempty"`
	// Never: it is of who is never banned here.
	Never bool `json:"never,omitempty"`
}

// UnbanRequest is the body of POST /v1/unban.
type UnbanRequest struct {
	IPs  []string `json:"ips"`
	All  bool     `json:"all"`
	Jail string   `json:"jail"` // empty: all jails
	// Fleet has them be lifted in the fleet alone, on all hosts, whether a ban is known here or not; in Group, or in all
	// groups of this host.
	Fleet bool   `json:"fleet,omitempty"`
	Group string `json:"group,omitempty"`
	By    string `json:"-"` // the user who asks
}

// UnbanResult says from which jails an address was taken.
type UnbanResult struct {
	IP    string   `json:"ip,omitempty"`
	Jails []string `json:"jails"`
	Count int      `json:"count"` // with All: how many bans
	Error string   `json:"error,omitempty"`
	// By are the wider bans and the lists that shut it out all the same.
	By []Wider `json:"by,omitempty"`
	// Pending is as with a ban; if Count is 0, whether there is a ban is not known yet.
	Pending string `json:"pending,omitempty"`
	// Undone: some jail has not come to it at all, so Count may be too small.
	Undone bool `json:"-"`
}

// AllowRequest is the body of POST /v1/allow: who is let in for a while, or, with End, no more.
type AllowRequest struct {
	IPs     []string `json:"ips"`
	Seconds float64  `json:"seconds"`
	End     bool     `json:"end"`
	By      string   `json:"-"` // the user who asks
}

// Allowance is an address or a network that is let in for a while.
type Allowance struct {
	IP    string    `json:"ip"`
	Until time.Time `json:"until"`
}

// AllowLongest is for how long somebody may be let in; who is never to be banned belongs
// into ignoreip, or bailiff never.
const AllowLongest = 366 * 24 * time.Hour

// AllowResult says what became of one of a request.
type AllowResult struct {
	IP    string     `json:"ip"`
	Until *time.Time `json:"until,omitempty"`
	// Jails are those from which it was taken, Count how many bans that were.
	Jails []string `json:"jails"`
	Count int      `json:"count"`
	// Lifted are networks and lists that shut it out before, and bans inside it.
	Lifted []Wider `json:"lifted,omitempty"`
	// By is what shuts it out all the same, as a ban that was made with force.
	By    []Wider `json:"by,omitempty"`
	Error string  `json:"error,omitempty"`
	// Pending says what has not come to it yet.
	Pending string `json:"pending,omitempty"`
}

// AlsoLifted says which bans besides its own are lifted, and which lists leave it out; empty:
// none.
func (r *AllowResult) AlsoLifted() string {
	all := make([]string, len(r.Lifted))
	for i, w := range r.Lifted {
		switch {
		case w.List:
			all[i] = "list " + w.Jail + " leaves it out"
		case w.Inside == 1:
			all[i] = "a ban inside it in " + w.Jail + " is lifted"
		case w.Inside > 1:
			all[i] = fmt.Sprintf("%d bans inside it in %s are lifted", w.Inside, w.Jail)
		default:
			all[i] = fmt.Sprintf("the ban of %s in %s is lifted", printable(w.IP), w.Jail)
		}
	}
	return strings.Join(all, ", ")
}

// Still says what shuts it out all the same, behind "is"; empty: nothing does.
func (r *AllowResult) Still() string {
	u := UnbanResult{By: r.By}
	return u.Still()
}

// Wider is a banned network, or an entry of a list, that shuts out an address.
type Wider struct {
	Jail string `json:"jail"`
	IP   string `json:"ip,omitempty"`   // the network; of a list's entry: network or range, as far as it is known
	List bool   `json:"list,omitempty"` // the jail is a list
	File string `json:"file,omitempty"` // in which its entry stands, if that was found in time
	Line int    `json:"line,omitempty"`
	// Beside: IP is no network, but whom a filter found with the address (a user, a session).
	Beside bool `json:"beside,omitempty"`
	Part   bool `json:"part,omitempty"` // it holds only some of the addresses that were asked for
	// Inside is how many bans there are in IP, the network that was asked for; it is not
	// banned itself.
	Inside int `json:"inside,omitempty"`
	// Fleet is a host of the fleet that has banned IP itself, whose bans this host may not lift.
	Fleet string `json:"fleet,omitempty"`
}

// fleetHub is the name in which a hub of a fleet bans.
const fleetHub = "hub"

// String says it with the remedy, behind "is" and a name.
func (w Wider) String() string {
	part := ""
	if w.Part {
		part = "in part "
	}
	switch {
	case w.Inside > 0:
		bans := "a ban"
		if w.Inside > 1 {
			bans = fmt.Sprintf("%d bans", w.Inside)
		}
		return fmt.Sprintf("in part shut out by %s inside it in %s: to let all of it in, bailiff unban --inside %s", bans, w.Jail, w.IP)
	case w.Fleet == fleetHub:
		return fmt.Sprintf("banned in the fleet by its hub, which has counted failures (%s), and this host may not lift what others ban: bailiff unban %s on a host that may (bailiff fleet token --lift-others)", w.Jail, w.IP)
	case w.Fleet != "":
		as := ""
		if strings.Contains(w.IP, "/") {
			as = ", as " + w.IP
		}
		return fmt.Sprintf("banned in the fleet by %s%s (%s), and this host may not lift what others ban: bailiff unban %s on %[1]s, or on a host that may", w.Fleet, as, w.Jail, w.IP)
	case w.Beside:
		return fmt.Sprintf("shut out with %s, who is banned in %s: to let it in, bailiff unban %s", printable(w.IP), w.Jail, shellWord(w.IP))
	case !w.List:
		return fmt.Sprintf("part of %s, which is banned in %s: to let it in, bailiff unban %s", w.IP, w.Jail, w.IP)
	case w.File != "":
		return fmt.Sprintf("%son list %s (%s:%d): to let it in, put it into ignoreip of jail %s, and reload", part, w.Jail, w.File, w.Line, w.Jail)
	}
	return fmt.Sprintf("%son list %s: to let it in, put it into ignoreip of that jail, and reload", part, w.Jail)
}

// printable is a name as a terminal and the log can show it.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

// shellWord is a name as a word of a shell's command.
func shellWord(name string) string {
	if name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@-") == "" {
		return name
	}
	return "'" + strings.ReplaceAll(printable(name), "'", `'\''`) + "'"
}

// Still says what shuts an address out all the same, behind "is"; empty: nothing does.
func (r *UnbanResult) Still() string {
	all := make([]string, len(r.By))
	for i, w := range r.By {
		all[i] = w.String()
	}
	return strings.Join(all, "; ")
}

// ReloadResult is the answer to POST /v1/reload.
type ReloadResult struct {
	Started []string `json:"started"`
	Changed []string `json:"changed"`
	Stopped []string `json:"stopped"`
	Errors  []string `json:"errors"`
	// Skipped is how many of Errors are of jails that fail2ban leaves out, and goes on.
	Skipped int `json:"-"`
	// Anew says why the daemon starts anew in place of reloading; empty: it doesn't.
	Anew string `json:"anew,omitempty"`
}

// Failure is the body of every answer that is not 200.
type Failure struct {
	Error string `json:"error"`
}

// Daemon is what the server asks of the daemon.
type Daemon interface {
	Status(jail string, bans bool) (Status, error)
	Bans(jail string) ([]jail.BanStatus, error)
	// SearchBans returns a page of them.
	SearchBans(q BansQuery) (BansPage, error)
	// ShutOut returns who is banned or on a list, addresses and networks, each once.
	ShutOut(jail string) ([]string, error)
	Ban(jail string, r BanRequest) ([]BanResult, error)
	Unban(r UnbanRequest) ([]UnbanResult, error)
	// Allow lifts bans, and has nobody ban these addresses again for a while.
	Allow(r AllowRequest) ([]AllowResult, error)
	// Allowed returns who is let in for a while.
	Allowed() []Allowance
	// Never lifts bans, and has nobody ban these addresses again; Nevers returns whom.
	Never(r NeverRequest) ([]AllowResult, error)
	Nevers() []Never
	// Import takes over bans that were made elsewhere.
	Import(r ImportRequest) ([]ImportResult, error)
	// Reload reads the configuration anew; by is the user who asks.
	Reload(by string) (ReloadResult, error)
	// Why tells what is known of an address, a network or an id.
	Why(id string) (Why, error)
	// Settings tells a jail's settings, ChangeSettings changes some, ForgetSettings takes that back.
	Settings(jail string) (JailSettings, error)
	ChangeSettings(jail string, r SettingsRequest) (SettingsResult, error)
	ForgetSettings(jail, by string) (SettingsResult, error)
	// TryFilter shows a filter lines.
	TryFilter(r TryRequest) (TryAnswer, error)
	// Doctor says what is wrong on this host.
	Doctor(ctx context.Context, q DoctorQuery) (DoctorAnswer, error)
	// Replay runs a jail over a log, until ctx ends.
	Replay(ctx context.Context, q ReplayQuery) (ReplayAnswer, error)
	// SaveFilter saves one, or removes it; SavedFilters returns those that were saved.
	SavedFilters() ([]SavedFilter, error)
	SaveFilter(name string, r SaveRequest) (SaveResult, error)
	// History tells how much happened over time, Top who was most active.
	History(q history.Query) (history.Answer, error)
	Top(q events.TopQuery) (TopAnswer, error)
	// WebLogin makes a one-time login for the page.
	WebLogin(r WebLoginRequest) (WebLogin, error)
	// Fleet tells how this host stands with its fleet, FleetBan bans there.
	Fleet() (FleetStatus, error)
	FleetBan(r FleetBanRequest) ([]BanResult, error)
	// Events is the table of what happens; nil: there is none.
	Events() *events.Table
	Stop()
}

// NotFoundError is about a jail that is not there.
type NotFoundError struct{ Jail string }

func (e *NotFoundError) Error() string { return "no jail " + e.Jail }

// ListError is about a jail that is a list, of which something was asked that a list
// does not do.
type ListError struct {
	Jail  string
	Files []string // patterns
}

func (e *ListError) Error() string {
	return fmt.Sprintf("jail %s is a list: who is to be shut out goes into its files (%s), who is to be let in into its ignoreip", e.Jail, strings.Join(e.Files, " "))
}
