package control

import (
	"net/http"
	"time"
)

// NeverRequest is the body of POST /v1/never: who is never to be banned, or, with End, may be again.
type NeverRequest struct {
	IPs  []string `json:"ips"`
	Jail string   `json:"jail"` // empty: in all jails
	End  bool     `json:"end"`
	By   string   `json:"-"` // the user who asks
}

// Never is an address or a network that is never banned, since somebody has said so over the socket or on the page.
type Never struct {
	IP    string    `json:"ip"`
	Jail  string    `json:"jail,omitempty"` // empty: in all jails
	Since time.Time `json:"since"`
	By    string    `json:"by,omitempty"`
}

func never(d Daemon, r *http.Request, body func(any) error) (any, error) {
	var req NeverRequest
	if err := body(&req); err != nil {
		return nil, err
	}
	req.By = askedBy(r)
	return d.Never(req)
}

// Never lifts bans, and has nobody ban these addresses again; with End it takes that back.
func (c *Client) Never(r NeverRequest) (out []AllowResult, err error) {
	return out, c.call("POST", "/v1/never", r, &out)
}

// Nevers returns who is never banned by that.
func (c *Client) Nevers() (out []Never, err error) {
	return out, c.call("GET", "/v1/never", nil, &out)
}
