package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"bailiff/pkg/remote"
)

// Where services take reports.
const (
	AbuseIPDBURL   = "https://api.abuseipdb.com/api/v2"
	BlocklistDEURL = "https://www.blocklist.de/en"
)

const (
	// commentMost is how long AbuseIPDB's comment is, in bytes: it cuts those beyond 1,024.
	commentMost = 1000
	// logsMost is how much of a log goes to others.
	logsMost = 4000
)

// errNoLines: a report without lines is of no use there.
var errNoLines = errors.New("no lines are known of an attack: it is not reported, as the service wants some (maxmatches)")

// compose makes what is sent of an offence.
func (r *Reporter) compose(o Offence) (func(context.Context) error, error) {
	switch r.Kind {
	case AbuseIPDB:
		form := r.abuseIPDB(o)
		return func(ctx context.Context) error {
			_, err := r.client.Do(ctx, "POST", "/report", form)
			return err
		}, nil
	case BlocklistDE:
		form := r.blocklistDE(o)
		if form.Get("logs") == "" {
			return nil, errNoLines
		}
		return func(ctx context.Context) error {
			key, err := r.Token.Read()
			if err != nil {
				return &remote.TokenError{Err: err}
			}
			form.Set("apikey", key)
			answer, err := r.client.Do(ctx, "POST", "/httpreports.html", form)
			if err == nil {
				err = blocklistDESays(answer, key)
			}
			return err
		}, nil
	}
	return r.mail(o)
}

// abuseIPDB is the form of POST /api/v2/report.
func (r *Reporter) abuseIPDB(o Offence) url.Values {
	comment := o.summary()
	if r.Lines {
		comment = fitting(comment, o.lines(commentMost-len(comment)-1))
	}
	return url.Values{
		"ip":         {o.Addr.String()},
		"categories": {strings.Join(r.Categories, ",")},
		"comment":    {comment},
		"timestamp":  {o.At.UTC().Format(time.RFC3339)},
	}
}

// blocklistDE is the form of httpreports.html, but for the key.
func (r *Reporter) blocklistDE(o Offence) url.Values {
	return url.Values{
		"server":  {r.Server},
		"service": {r.Service},
		"ip":      {o.Addr.String()},
		"logs":    {o.lines(logsMost)},
		"format":  {"json"},
	}
}

// blocklistDESays reads its answer: it has a status and an error, and is not in HTTP's.
func blocklistDESays(answer []byte, key string) error {
	var said struct {
		Status string `json:"status"`
		Error  any    `json:"error"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return &refusal{"the answer is no JSON: whether the report was taken is not known"}
	}
	if e := fmt.Sprint(said.Error); said.Status == "success" || said.Status == "" && e == "0" {
		return nil
	}
	text, _ := json.Marshal(said.Error) // it was JSON
	return &refusal{"the report was not taken: " + oneLine(remote.Without(string(text), key), 300)}
}

func (o *Offence) summary() string {
	what := "failures"
	if o.Failures == 1 {
		what = "failure"
	}
	return fmt.Sprintf("%d %s, jail %s", o.Failures, what, oneLine(o.Jail, 100))
}

// lines are those of the log, without users, at most so many bytes.
func (o *Offence) lines(most int) string {
	if o.Lines == nil {
		return ""
	}
	return shown(o.Lines, most)
}

func fitting(head, lines string) string {
	if lines == "" {
		return head
	}
	return head + "\n" + lines
}
