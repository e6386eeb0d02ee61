package control

import (
	"net/http"
	"time"
)

// FleetStatus is how this host stands with its fleet: the answer to GET /v1/fleet.
type FleetStatus struct {
	// Member: this host is configured to be in a fleet, and has the credentials to be.
	Member bool     `json:"member"`
	Host   string   `json:"host,omitempty"` // its name there
	Hubs   []string `json:"hubs,omitempty"`
	// Connected: there is a connection to a hub; Since when there is, or isn't; Connection says how it stands.
	Connected  bool      `json:"connected"`
	Since      time.Time `json:"since"`
	Connection string    `json:"connection,omitempty"`
	// Complete: all that the hub had at its last beat was read.
	Complete bool `json:"complete"`
	// QuietSince is since when the hub that this host is connected to tells of nothing, though it ought to each two seconds.
	QuietSince *time.Time `json:"quiet_since,omitempty"`
	// ClockSteps is how often a clock was found to be set, the hub's or this host's.
	ClockSteps uint64 `json:"clock_steps"`
	// Lag is how many words are not read yet, as far as is known.
	Lag uint64 `json:"lag"`
	// Waiting is how many words of this host wait to be stored; WaitingSince is when the oldest was said.
	Waiting      int        `json:"waiting"`
	WaitingSince *time.Time `json:"waiting_since,omitempty"`
	// Unsaid are bans that were not told, since too many waited.
	Unsaid uint64 `json:"unsaid"`
	// Bans and Lifts are how many are held.
	Bans  int `json:"bans"`
	Lifts int `json:"lifts"`
	// Quota is how many bans are held of each other host at the most.
	Quota int `json:"quota"`
	// LiftsOthers: this host may lift what others ban.
	LiftsOthers bool `json:"lifts_others"`
	// Counting is what this host tells of failures that are counted over all hosts; null: nothing.
	Counting *FleetCounting `json:"counting,omitempty"`
	// AllowList is the fleet's, as this host has it; null: it has pinned no key of one.
	AllowList *FleetAllowList `json:"allow_list,omitempty"`
	Groups    []FleetGroup    `json:"groups"`
	Hosts     []FleetOrigin   `json:"hosts"`
	// Refused counts what was not taken of others, by reason; RefusedByHub what this host said and the hub never stores.
	Refused      map[string]uint64 `json:"refused"`
	RefusedByHub map[string]uint64 `json:"refused_by_hub"`
	// Stored, Conflicts, Busy count the hub's answers; Gaps words that had to be asked for; Bad messages that were not believed;
	// Epochs how often the stream was another one.
	Stored    uint64 `json:"stored"`
	Conflicts uint64 `json:"conflicts"`
	Busy      uint64 `json:"busy"`
	Gaps      uint64 `json:"gaps"`
	Bad       uint64 `json:"bad"`
	Epochs    uint64 `json:"epochs"`
	// Problem says what is wrong; empty: nothing.
	Problem string `json:"problem,omitempty"`
}

// FleetAllowList is whom no ban of the fleet shuts out, signed by an operator.
type FleetAllowList struct {
	Version uint64   `json:"version"` // 0: none was taken yet
	IPs     []string `json:"ips"`
	// Problem says why what the hub hands on is not taken; empty: it is.
	Problem string `json:"problem,omitempty"`
}

// FleetCounting is what a host tells its hub of failures that are counted over all hosts.
type FleetCounting struct {
	Groups []string `json:"groups"`
	// Addresses are those that are kept, Waiting of them wait to be told.
	Addresses int `json:"addresses"`
	Waiting   int `json:"waiting"`
	// Failures were handed over by jails; Lost were not, or not kept, since they were too many.
	Failures uint64 `json:"failures"`
	Lost     uint64 `json:"lost"`
	// Told is how many words the hub has counted, Refused how many not; Problem says why not, where it did not the last time.
	Told    uint64 `json:"told"`
	Refused uint64 `json:"refused"`
	Problem string `json:"problem,omitempty"`
}

// FleetGroup is a group of bans that this host shares.
type FleetGroup struct {
	Name    string   `json:"name"`
	Publish []string `json:"publish"`
	Enforce bool     `json:"enforce"`
	Quorum  int      `json:"quorum"`
	// InForce is how many addresses and networks it shuts out here.
	InForce int `json:"in_force"`
}

// FleetOrigin is what this host holds of another one, or of itself.
type FleetOrigin struct {
	Name       string `json:"name"`
	Bans       int    `json:"bans"`
	Lifts      int    `json:"lifts"`
	Accepted   bool   `json:"accepted"`
	Distrusted bool   `json:"distrusted,omitempty"`
}

// FleetWord is what a host of the fleet has said of an address.
type FleetWord struct {
	Host  string `json:"host"`
	Group string `json:"group"`
	IP    string `json:"ip"` // the address, or a network that holds it
	Jail  string `json:"jail,omitempty"`
	// Lift: it was lifted; else banned. Gone: the host has taken its own ban back.
	Lift     bool       `json:"lift,omitempty"`
	Gone     bool       `json:"gone,omitempty"`
	Made     time.Time  `json:"made"`
	Until    *time.Time `json:"until,omitempty"`
	Failures uint32     `json:"failures,omitempty"`
	Count    uint32     `json:"count,omitempty"`
	// Stands: no lift lifts that ban, and this host takes it. Never: this host never shuts that address out.
	Stands bool `json:"stands"`
	Never  bool `json:"never,omitempty"`
	// Quorum is by how many hosts it must be banned to be shut out here, where that is more than one.
	Quorum int `json:"quorum,omitempty"`
}

// FleetBanRequest is the body of POST /v1/fleet/ban: a ban in a group, on all hosts that enforce that.
type FleetBanRequest struct {
	Group string   `json:"group"` // empty: the only one
	IPs   []string `json:"ips"`
	// Seconds is how long it lasts, -1: as long as bans do in the fleet; 0: an hour.
	Seconds float64 `json:"seconds,omitempty"`
	By      string  `json:"-"` // the user who asks
}

func fleetBan(d Daemon, r *http.Request, body func(any) error) (any, error) {
	var req FleetBanRequest
	if err := body(&req); err != nil {
		return nil, err
	}
	req.By = askedBy(r)
	return d.FleetBan(req)
}

// Fleet asks how the host stands with its fleet.
func (c *Client) Fleet() (s FleetStatus, err error) { return s, c.call("GET", "/v1/fleet", nil, &s) }

// FleetBan bans in the fleet.
func (c *Client) FleetBan(r FleetBanRequest) (out []BanResult, err error) {
	return out, c.call("POST", "/v1/fleet/ban", r, &out)
}
