package control

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"bailiff/pkg/finding"
	"bailiff/pkg/lazyregexp"
)

// What is wrong on this host, as the daemon sees it from where it is.

// DoctorQuery is what is asked of GET /v1/doctor.
type DoctorQuery struct {
	Jail string // empty: all
	// Age is how old the answer may be; DoctorAge at least.
	Age time.Duration
	// Now: what is known is told at once, and a look is begun where that is too old.
	Now bool
}

const (
	// DoctorAge is for how long what was found is told again.
	DoctorAge = 15 * time.Second
	// DoctorMost is how long a look may take.
	DoctorMost = 50 * time.Second
)

// DoctorAnswer is the answer: what `bailiff doctor --json` prints, and when that was found.
type DoctorAnswer struct {
	finding.Report
	At      *time.Time `json:"at"`      // null: nobody has looked yet
	Looking bool       `json:"looking"` // a look is under way
	// Omitted is how many findings are left out, of what is in order.
	Omitted int `json:"omitted,omitempty"`
}

// ofAction is a line that has a command of the configuration, which may hold a password.
var ofAction = lazyregexp.New(`(?s)\b(action\w*|\w*command|reload) = .*`)

// forReader is the answer without what is quoted of the configuration.
func (a DoctorAnswer) forReader() DoctorAnswer {
	without := func(text string) string {
		return ofAction.ReplaceAllString(quoted.ReplaceAllLiteralString(text, `"…"`), "$1 = …")
	}
	a.Findings = slices.Clone(a.Findings)
	for i := range a.Findings {
		f := &a.Findings[i]
		f.Cause, f.Remedy, f.Seen = without(f.Cause), without(f.Remedy), slices.Clone(f.Seen)
		for n := range f.Seen {
			f.Seen[n] = without(f.Seen[n])
		}
	}
	return a
}

var errLooking = errors.New("a look is under way still: ask again, or with wait=0 for what was found before")

func askDoctor(d Daemon, r *http.Request, _ func(any) error) (any, error) {
	values, err := params(r, "jail", "age", "wait")
	if err != nil {
		return nil, err
	}
	q := DoctorQuery{Jail: values.Get("jail"), Age: DoctorAge}
	if text := values.Get("age"); text != "" {
		age, ok := ParseAgo(text)
		if !ok {
			return nil, wants("age", text, "seconds, or 5m, 1h")
		}
		q.Age = max(age, DoctorAge)
	}
	switch text := values.Get("wait"); text {
	case "", "1":
	case "0":
		q.Now = true
	default:
		return nil, wants("wait", text, "0 or 1")
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), DoctorMost, errLooking)
	defer cancel()
	return d.Doctor(ctx, q)
}

// Doctor asks what is wrong.
func (c *Client) Doctor(q DoctorQuery) (a DoctorAnswer, err error) {
	v := url.Values{}
	if q.Jail != "" {
		v.Set("jail", q.Jail)
	}
	if q.Age > 0 {
		v.Set("age", strconv.FormatInt(int64(q.Age/time.Second), 10))
	}
	most := DoctorMost + asksFor
	if q.Now {
		v.Set("wait", "0")
		most = asksFor
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	return a, c.callFor(ctx, "GET", "/v1/doctor?"+v.Encode(), nil, &a)
}
