package control

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"bailiff/pkg/replay"
)

// What if: a jail run over a log that there is, or one that is sent, in that log's time.

// ReplayQuery is what is asked of POST /v1/replay.
type ReplayQuery struct {
	Jail string
	// Log is a present log of the jail's; ReplayUpload: it is sent along; empty: all present ones.
	Log string
	// MaxRetry, FindTime and BanTime are lists of values to be tried, as "3,5,10"; empty: the jail's own.
	MaxRetry, FindTime, BanTime string
	// Upload is what is read if Log is ReplayUpload.
	Upload io.Reader
}

// Bounds of a replay.
const (
	// ReplayUpload is the name of a log that is sent along, as `bailiff replay` has it.
	ReplayUpload = replay.Stdin
	// ReplayBytes is how long such a log may be as it is sent, ReplayText how much text of logs is read and
	// ReplayLines how many lines.
	ReplayBytes = 64 << 20
	ReplayText  = 256 << 20
	ReplayLines = 3_000_000
	// ReplaySettings is how many settings are tried at a time.
	ReplaySettings = 12
	// ReplayMost is how long it may take, and the log be on its way.
	ReplayMost = 50 * time.Second
	// ReplayBans is how many bans are told one by one, and ReplayTop how many networks and users.
	ReplayBans = 500
	ReplayTop  = 10
)

// ReplayAnswer is what came of it: what `bailiff replay --json` prints of a jail, and what a picture is drawn from.
type ReplayAnswer struct {
	Jail string   `json:"jail"`
	Logs []string `json:"logs"`
	// Bans are those of the jail's own setting, the first ones; ban_count is how many there are.
	Bans []replay.BanAnswer `json:"bans"`
	replay.Answer
	Plot replay.PlotAnswer `json:"plot"`
	Took float64           `json:"took"` // seconds
}

// askReplay has the deadline of the connection be that of the replay.
func askReplay(d Daemon, r *http.Request, _ func(any) error) (any, error) {
	values, err := params(r, "jail", "log", "maxretry", "findtime", "bantime")
	if err != nil {
		return nil, err
	}
	q := ReplayQuery{Jail: values.Get("jail"), Log: values.Get("log"), MaxRetry: values.Get("maxretry"), FindTime: values.Get("findtime"), BanTime: values.Get("bantime"), Upload: r.Body}
	if q.Jail == "" {
		return nil, wants("jail", "", "the name of a jail")
	}
	ctx, cancel := context.WithTimeout(r.Context(), ReplayMost)
	defer cancel()
	return d.Replay(ctx, q)
}

// Replay runs a jail over a log, until ctx ends.
func (c *Client) Replay(ctx context.Context, q ReplayQuery) (a ReplayAnswer, err error) {
	v := url.Values{}
	for key, text := range map[string]string{"jail": q.Jail, "log": q.Log, "maxretry": q.MaxRetry, "findtime": q.FindTime, "bantime": q.BanTime} {
		if text != "" {
			v.Set(key, text)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, ReplayMost+asksFor)
	defer cancel()
	var body any
	if q.Log == ReplayUpload && q.Upload != nil {
		body = q.Upload
	}
	return a, c.callFor(ctx, "POST", "/v1/replay?"+v.Encode(), body, &a)
}
