package control

import "time"

// WebLoginRequest is the body of POST /v1/web/login: a one-time login for the page.
type WebLoginRequest struct {
	Role string `json:"role"` // viewer, operator or admin
	By   string `json:"-"`    // the user who asks
}

// WebLogin is the answer: where the page is, and what lets in there once.
type WebLogin struct {
	URLs    []string  `json:"urls"`    // http://127.0.0.1:8990
	Sockets []string  `json:"sockets"` // paths of Unix sockets at which it is, too
	Path    string    `json:"path"`    // behind one of the URLs, it lets in once
	Until   time.Time `json:"until"`
	Name    string    `json:"name"` // as whom
	Role    string    `json:"role"`
	// Problems say where the page should be, and is not.
	Problems []string `json:"problems,omitempty"`
}

// WebLogin asks for a one-time login for the page.
func (c *Client) WebLogin(role string) (l WebLogin, err error) {
	return l, c.call("POST", "/v1/web/login", WebLoginRequest{Role: role}, &l)
}
