package control

import (
	"net/http"
	"net/url"
	"time"

	"bailiff/pkg/filter"
)

// A filter is shown lines, and says of each what it makes of it.

// TryRequest is the body of POST /v1/filter/try.
type TryRequest struct {
	// Filter is the name of one, or the text of one: a file of TOML.
	Filter string   `json:"filter"`
	Mode   string   `json:"mode,omitempty"`
	Lines  []string `json:"lines"`
	// Prove has the first line that is a failure proved: whether a client can have another address taken.
	Prove bool `json:"prove,omitempty"`
}

// TryMost is how many lines a request may have, and TryLine how long one may be in bytes; TryText is that of a
// filter.
const (
	TryMost = 200
	TryLine = 4 << 10
	TryText = 64 << 10
)

func (*TryRequest) textMost() int { return TryText }

// TryAnswer is what came of it.
type TryAnswer struct {
	Name  string      `json:"name"`
	Lines []TriedLine `json:"lines"`
	// Lint is what rules say of the filter.
	Lint  []TriedLint `json:"lint"`
	Proof *TriedProof `json:"proof,omitempty"`
	// Problems are what was not looked at.
	Problems []string `json:"problems,omitempty"`
}

// TriedLine is what a filter makes of a line.
type TriedLine struct {
	Line string `json:"line"`
	// Verdict is failure, ignored or nothing.
	Verdict string     `json:"verdict"`
	Time    *time.Time `json:"time"`           // null: none was found in it
	Date    string     `json:"date,omitempty"` // its text
	CutAt   int        `json:"cut_at"`         // where that was cut out of the line, in bytes
	Head    string     `json:"head,omitempty"` // what stood before, and was taken off
	// ID is who is counted, Address the one beside him.
	ID      string `json:"id,omitempty"`
	Address string `json:"address,omitempty"`
	User    string `json:"user,omitempty"`
	// Regex is what matched, or came nearest; null: nothing was looked for.
	Regex *TriedRegex `json:"regex"`
	// Prefix is the prefregex.
	Prefix *TriedRegex `json:"prefix,omitempty"`
}

// TriedRegex is an expression on a line.
type TriedRegex struct {
	Kind    string `json:"kind"`   // failregex, ignoreregex, prefregex
	Number  int    `json:"number"` // from 1
	Text    string `json:"text"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Matched bool   `json:"matched"`
	// Parts are the text that it was applied to, cut where groups begin and end.
	Parts []TriedPart `json:"parts"`
	// Near is how much of a match there was, from 0 to 1, and Wanted what stands in the expression where it
	// could not go on.
	Near   float64  `json:"near,omitempty"`
	Wanted []string `json:"wanted,omitempty"`
}

// TriedPart is a piece of a line.
type TriedPart struct {
	Text string `json:"text"`
	// Group is the innermost one that it is of; empty: it is of none. Matched: it is of the match.
	Group   string `json:"group,omitempty"`
	Matched bool   `json:"matched"`
}

// TriedLint is a finding.
type TriedLint struct {
	Rule string `json:"rule"`
	Text string `json:"text"`
	Expr string `json:"expr"`
	Line int    `json:"line,omitempty"`
}

// TriedProof is what is known of the filter and a line.
type TriedProof struct {
	Line     string         `json:"line"`
	Verdict  filter.Verdict `json:"verdict"`
	Forged   string         `json:"forged,omitempty"`
	ForgedID string         `json:"forged_id,omitempty"`
	Evading  string         `json:"evading,omitempty"`
	Reason   string         `json:"reason,omitempty"`
}

// SaveRequest is the body of POST /v1/filters/NAME.
type SaveRequest struct {
	// Text is what its file is to have, with samples; empty: it is removed.
	Text string `json:"text"`
	// Lines are to be samples in it, each with what the filter, in this mode, makes of it now.
	Lines []string `json:"lines,omitempty"`
	Mode  string   `json:"mode,omitempty"`
	// Preview: nothing is saved or removed, and told what would be.
	Preview bool   `json:"preview,omitempty"`
	By      string `json:"-"` // the user who asks
}

func (*SaveRequest) textMost() int { return TryText }

// SaveResult says what became of it.
type SaveResult struct {
	Name string `json:"name"`
	File string `json:"file"`
	Diff string `json:"diff"`
	// Text is what the file has by then, with its samples; empty: it is removed.
	Text string `json:"text,omitempty"`
	// Note says what is left to do.
	Note string `json:"note,omitempty"`
}

// SavedFilter is a filter that was saved over the socket or on the page.
type SavedFilter struct {
	Name string `json:"name"`
	File string `json:"file"`
	Text string `json:"text"`
	// Jails are those of the configuration that have it.
	Jails []string `json:"jails"`
}

// SavedFilters returns those.
func (c *Client) SavedFilters() (out []SavedFilter, err error) {
	return out, c.call("GET", "/v1/filters", nil, &out)
}

func saveFilter(d Daemon, r *http.Request, body func(any) error) (any, error) {
	var req SaveRequest
	if err := body(&req); err != nil {
		return nil, err
	}
	req.By = askedBy(r)
	name := r.PathValue("name")
	v, err := d.SaveFilter(name, req)
	return v, ownText(err, name+"\n"+req.Text) // he has to read what is wrong with it
}

// SaveFilter saves a filter, or removes one that was saved.
func (c *Client) SaveFilter(name string, r SaveRequest) (s SaveResult, err error) {
	return s, c.call("POST", "/v1/filters/"+url.PathEscape(name), r, &s)
}

func tryFilter(d Daemon, _ *http.Request, body func(any) error) (any, error) {
	var req TryRequest
	if err := body(&req); err != nil {
		return nil, err
	}
	return d.TryFilter(req)
}

// TryFilter shows a filter lines.
func (c *Client) TryFilter(r TryRequest) (a TryAnswer, err error) {
	return a, c.call("POST", "/v1/filter/try", r, &a)
}
