package control

import (
	"net/http"
	"net/url"
	"time"

	"bailiff/pkg/events"
	"bailiff/pkg/jail"
)

// Why is what is known of an address, a network or an id: the answer to GET /v1/why.
type Why struct {
	IP   string `json:"ip"`
	Name bool   `json:"name,omitempty"` // it is no address
	// Banned are the bans that shut it out: its own, of a network that holds it, of an id that
	// was found with it. Would are those of jails that only observe.
	Banned []jail.BanStatus `json:"banned"`
	Would  []jail.BanStatus `json:"would_be_banned,omitempty"`
	// Inside tells of bans in it, a network.
	Inside []Wider `json:"inside,omitempty"`
	// Kernel are the sets that hold it, each with the rule that asks it.
	Kernel []WhyKernel `json:"kernel"`
	// Failures are those that are counted now.
	Failures []WhyFailures `json:"failures"`
	// Lists are those that it stands in.
	Lists []Wider `json:"lists"`
	// Fleet is what hosts of the fleet have said of it.
	Fleet []FleetWord `json:"fleet,omitempty"`
	// Never says in which jails it is never banned, and why.
	Never []WhyNever `json:"never"`
	// Events are what has happened to it, the last EventsMost of them, and Omitted how many before
	// these are not told. Those without a number are no events, but known from others.
	Events  []events.Event `json:"events"`
	Omitted int            `json:"omitted,omitempty"`
	// Oldest is when the oldest event was that is kept of anybody; null: there is none.
	Oldest *time.Time `json:"oldest"`
	// Problems are what could not be found out.
	Problems []string `json:"problems,omitempty"`
}

// EventsMost is how many events Why tells.
const EventsMost = 500

// WhyKernel is a set of the kernel's that holds an address.
type WhyKernel struct {
	Jail string  `json:"jail"`
	IP   string  `json:"ip"`
	Set  string  `json:"set"`
	Rule string  `json:"rule"`
	Left float64 `json:"left"` // seconds; 0: it has no end
}

// WhyFailures are failures that are counted.
type WhyFailures struct {
	Jail     string      `json:"jail"`
	IP       string      `json:"ip"` // whose they are: its network's, where the jail bans networks
	Times    []time.Time `json:"times"`
	MaxRetry int         `json:"maxretry"`
	FindTime float64     `json:"findtime"` // seconds
}

// WhyNever is why somebody is never banned.
type WhyNever struct {
	Jails []string `json:"jails"`
	Why   string   `json:"why"`
}

func why(d Daemon, r *http.Request, _ func(any) error) (any, error) {
	id := r.URL.Query().Get("ip")
	return d.Why(id)
}

// Why asks what is known of an address, a network or an id.
func (c *Client) Why(id string) (w Why, err error) {
	return w, c.call("GET", "/v1/why?ip="+url.QueryEscape(id), nil, &w)
}

// BadError says that what was asked for can't be.
type BadError struct{ error }

// Bad makes one.
func Bad(err error) error { return &BadError{err} }
