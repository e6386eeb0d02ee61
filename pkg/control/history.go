package control

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/events"
	"bailiff/pkg/history"
)

// What happened over time, and who was most active.

// TopAnswer is the answer to GET /v1/top.
type TopAnswer struct {
	events.Top
	// Problems are what is missing.
	Problems []string `json:"problems,omitempty"`
}

const (
	// TopLimit is how many are told by default, TopMost the most that can be asked for.
	TopLimit = 10
	TopMost  = 100
)

// params are those of a request, each there once at the most.
func params(r *http.Request, known ...string) (url.Values, error) {
	values := r.URL.Query()
	for key, list := range values {
		if !slices.Contains(known, key) {
			return nil, badRequest{fmt.Errorf("unknown parameter %.40q: want %s", key, strings.Join(known, ", "))}
		}
		if len(list) > 1 {
			return nil, badRequest{fmt.Errorf("parameter %.40q stands there more than once", key)}
		}
	}
	return values, nil
}

// wants says what a parameter should have been.
func wants(key, text, want string) error {
	return badRequest{fmt.Errorf("%s=%.40q: want %s", key, text, want)}
}

// timeParam is a time, or how long ago: 90, 30m, 24h, 7d.
func timeParam(values url.Values, key string) (time.Time, error) {
	text := values.Get(key)
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, ok := ParseAgo(text); ok {
		return time.Now().Add(-d), nil
	}
	return time.Time{}, wants(key, text, "RFC 3339, as 2026-01-31T12:00:00Z, or how long ago, as 30m, 24h, 7d")
}

// ParseAgo reads a number of seconds, or one with s, m, h, d or w behind it, up to a hundred years.
func ParseAgo(text string) (time.Duration, bool) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	unit := time.Second
	if n := len(text); n > 0 && units[text[n-1]] > 0 {
		unit, text = units[text[n-1]], text[:n-1]
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || time.Duration(n) > 100*366*24*time.Hour/unit {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

func askHistory(d Daemon, r *http.Request, _ func(any) error) (any, error) {
	values, err := params(r, "from", "to", "step", "jail")
	if err != nil {
		return nil, err
	}
	q := history.Query{Jail: values.Get("jail")}
	if q.From, err = timeParam(values, "from"); err != nil {
		return nil, err
	}
	if q.To, err = timeParam(values, "to"); err != nil {
		return nil, err
	}
	if text := values.Get("step"); text != "" {
		step, ok := ParseAgo(text)
		if !ok || step == 0 {
			return nil, wants("step", text, "seconds, or 5m, 1h, 1d")
		}
		q.Step = step
	}
	return d.History(q)
}

func askTop(d Daemon, r *http.Request, _ func(any) error) (any, error) {
	values, err := params(r, "what", "since", "jail", "limit")
	if err != nil {
		return nil, err
	}
	q := events.TopQuery{What: cmp.Or(values.Get("what"), events.TopWhat[0]), Jail: values.Get("jail"), Most: TopLimit}
	if !slices.Contains(events.TopWhat, q.What) {
		return nil, badRequest{fmt.Errorf("what=%.40q: want %s", q.What, strings.Join(events.TopWhat, ", "))}
	}
	if q.Since, err = timeParam(values, "since"); err != nil {
		return nil, err
	}
	if text := values.Get("limit"); text != "" {
		if q.Most, err = strconv.Atoi(text); err != nil || q.Most < 1 || q.Most > TopMost {
			return nil, badRequest{fmt.Errorf("limit=%.40q: want 1 to %d", text, TopMost)}
		}
	}
	return d.Top(q)
}

// History returns what happened over time.
func (c *Client) History(q history.Query) (a history.Answer, err error) {
	v := url.Values{}
	for key, at := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !at.IsZero() {
			v.Set(key, at.Format(time.RFC3339))
		}
	}
	if q.Step > 0 {
		v.Set("step", strconv.FormatInt(int64(q.Step/time.Second), 10))
	}
	if q.Jail != "" {
		v.Set("jail", q.Jail)
	}
	return a, c.call("GET", "/v1/history?"+v.Encode(), nil, &a)
}

// Top returns who was most active.
func (c *Client) Top(q events.TopQuery) (t TopAnswer, err error) {
	v := url.Values{"what": {q.What}}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339))
	}
	if q.Jail != "" {
		v.Set("jail", q.Jail)
	}
	if q.Most > 0 {
		v.Set("limit", strconv.Itoa(q.Most))
	}
	return t, c.call("GET", "/v1/top?"+v.Encode(), nil, &t)
}
