package remote

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/events"
	"bailiff/pkg/safefile"
)

// Events go to a server elsewhere as they come, in batches, in order. The queue is the table of events
// itself: all that is kept here is the number up to which they were taken. So what can't be sent now
// waits as long as the table keeps it, in no memory; after a restart, or a kill, it goes on behind that
// number, and what was sent just before may come once more, with the same numbers.

const (
	// hookEvents and hookBytes bound a batch.
	hookEvents = 200
	hookBytes  = 256 << 10
	// hookGather is how long what comes waits for more: a batch, and a line of the file, once a second.
	hookGather = time.Second
	// hookKeep is how often it is noted that there was nothing for the server.
	hookKeep = time.Minute
)

// Names of the headers of a request.
const (
	HookTime      = "Bailiff-Timestamp" // when it was sent, in seconds since 1970
	HookSignature = "Bailiff-Signature" // v1=HEX
)

// Hook sends events to one URL. The fields are set before Run.
type Hook struct {
	Client *Client // with Token, which signs and is not sent
	Table  *events.Table
	Host   string
	// Wants says of which jails events are sent; nil: of all, and those that are no jail's.
	Wants func(jail string) bool
	Kinds []events.Kind
	// Path is the file that keeps the number; empty: none, and each start begins with what comes.
	Path string
	Tell func(level slog.Level, text string)
	// Sleep waits; nil: by the clock.
	Sleep func(ctx context.Context, d time.Duration) error

	reader *events.Reader
	stream string
	most   int // events of a batch
	kept   uint64
	keptAt time.Time
	unkept string // why the number can't be kept, as told
	told   time.Time

	mu    sync.Mutex
	state State
}

// hookBody is what is sent.
type hookBody struct {
	Host   string            `json:"host"`
	Stream string            `json:"stream"`
	First  uint64            `json:"first"`
	Last   uint64            `json:"last"`
	Events []json.RawMessage `json:"events"`
}

// Sign is the signature of a body that is sent at a time, as the header has it: HMAC-SHA256, by the secret,
// of the time in decimal digits, a dot, and the body.
func Sign(secret string, at int64, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(append(strconv.AppendInt(nil, at, 10), '.'))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// State returns how it stands: Event is the last number that was taken, Behind how many came since.
func (h *Hook) State() State {
	last, _, ok := h.Table.Last()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.state
	s.On, s.Behind = -1, -1
	if ok && h.stream != "" {
		s.Behind = int(last - min(last, s.Event))
	}
	return s
}

// Run sends until ctx ends.
func (h *Hook) Run(ctx context.Context) {
	if h.Sleep == nil {
		h.Sleep = Sleep
	}
	defer h.Client.Close()
	h.Client.Sign = func(r *http.Request, body []byte, secret string) {
		at := time.Now().Unix()
		r.Header.Set(HookTime, strconv.FormatInt(at, 10))
		r.Header.Set(HookSignature, Sign(secret, at, body))
	}
	if !h.begin(ctx) {
		return
	}
	h.most = hookEvents
	backoff, failures := Backoff{}, 0
	for ctx.Err() == nil {
		changed := h.Table.Changed()
		batch, upTo, more, err := h.gather()
		if err == nil && len(batch) == 0 {
			h.passed(upTo, false)
			if more {
				continue
			}
			select {
			case <-ctx.Done():
				h.passed(upTo, true)
				return
			case <-changed:
				_ = h.Sleep(ctx, hookGather)
			case <-time.After(hookKeep):
			}
			continue
		}
		if err == nil {
			err = h.send(ctx, batch, upTo)
		}
		switch status := (*StatusError)(nil); {
		case ctx.Err() != nil:
			return
		case errors.As(err, &status) && status.Code == http.StatusRequestEntityTooLarge && h.most > 1:
			h.most /= 2
			h.reader = h.Table.Reader(h.state.Event)
		case err != nil:
			failures++
			wait := backoff.Failed(After(err))
			if permanent(err) {
				wait = max(wait, BackoffMost)
			}
			h.failed(err, failures > 2 || permanent(err), wait)
			h.reader = h.Table.Reader(h.state.Event) // the same once more, or what is left of it
			_ = h.Sleep(ctx, wait)
		default:
			backoff.Worked()
			failures = 0
			h.most = min(2*h.most, hookEvents)
			h.worked()
			h.passed(upTo, true)
			if !more {
				_ = h.Sleep(ctx, hookGather)
			}
		}
	}
}

// begin finds out where to go on. It waits for the table's files.
func (h *Hook) begin(ctx context.Context) bool {
	last, stream, ok := h.Table.Last()
	for ; !ok; last, stream, ok = h.Table.Last() {
		if h.Sleep(ctx, hookGather) != nil {
			return false
		}
	}
	since := last // a new one begins with what comes
	if h.Path != "" {
		data, err := safefile.ReadFile(h.Path, 1<<10)
		fields := strings.Fields(string(data))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			h.Tell(slog.LevelError, fmt.Sprintf("where it was can't be read: %v; it goes on with what comes", err))
		case len(fields) != 2:
			h.Tell(slog.LevelError, fmt.Sprintf("%s does not say where it was; it goes on with what comes", h.Path))
		case fields[0] != stream:
			h.Tell(slog.LevelWarn, "the numbers of events were begun anew: it goes on with the first one")
			since = 0
		default:
			if n, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
				since = min(n, last)
			}
		}
	}
	h.mu.Lock()
	h.stream, h.state.Event = stream, since
	h.mu.Unlock()
	h.reader = h.Table.Reader(since)
	h.keep(since)
	return true
}

// gather takes the next batch. more says that there may be more behind it, upTo how far it goes.
func (h *Hook) gather() (batch []json.RawMessage, upTo uint64, more bool, err error) {
	size, expected := 0, h.reader.Since()+1
	err = h.reader.Each(func(n uint64, line []byte) bool {
		if n > expected && !bytes.Contains(line, []byte(`,"kind":"`+string(events.Gap)+`"`)) {
			gap, _ := json.Marshal(map[string]any{"kind": events.Gap, "from": expected, "to": n - 1, "why": "no longer kept"})
			batch = append(batch, gap)
		}
		expected = n + 1
		if h.wants(line) {
			batch = append(batch, bytes.Clone(line))
			size += len(line)
		}
		more = len(batch) >= h.most || size >= hookBytes
		return !more
	})
	return batch, h.reader.Since(), more, err
}

// wants reports whether an event is for the server.
func (h *Hook) wants(line []byte) bool {
	var e struct {
		Kind events.Kind `json:"kind"`
		Jail string      `json:"jail"`
	}
	if json.Unmarshal(line, &e) != nil {
		return false
	}
	return slices.Contains(h.Kinds, e.Kind) && (h.Wants == nil || h.Wants(e.Jail))
}

func (h *Hook) send(ctx context.Context, batch []json.RawMessage, upTo uint64) error {
	body, err := json.Marshal(hookBody{h.Host, h.stream, h.state.Event + 1, upTo, batch})
	if err != nil {
		return err
	}
	_, err = h.Client.Do(ctx, http.MethodPost, "", Raw(body))
	return err
}

// passed notes that all up to a number is dealt with; now: on the disk, too, and not just now and then.
func (h *Hook) passed(upTo uint64, now bool) {
	h.mu.Lock()
	h.state.Event = upTo
	h.mu.Unlock()
	if upTo != h.kept && (now || time.Since(h.keptAt) >= hookKeep) {
		h.keep(upTo)
	}
}

// keep writes the number down. It need not outlive the power: what is sent once more has the same numbers.
func (h *Hook) keep(n uint64) {
	h.kept, h.keptAt = n, time.Now()
	if h.Path == "" {
		return
	}
	text := ""
	if err := safefile.Replace(h.Path, func(f *os.File) error {
		_, err := fmt.Fprintf(f, "%s %d\n", h.stream, n)
		return err
	}); err != nil {
		text = err.Error()
	}
	if text != h.unkept && text != "" {
		h.Tell(slog.LevelError, fmt.Sprintf("%s: after a restart some events are sent once more", text))
	}
	h.unkept = text
}

func (h *Hook) worked() {
	now := time.Now()
	h.mu.Lock()
	was := h.state.Error
	h.state.Error, h.state.Failed, h.state.LastSuccess = "", nil, &now
	h.mu.Unlock()
	if was != "" {
		h.told = time.Time{}
		h.Tell(slog.LevelInfo, "events are taken again")
	}
}

// failed tells of an error, once, and then of those that last.
func (h *Hook) failed(err error, lasting bool, wait time.Duration) {
	now := time.Now()
	h.mu.Lock()
	same := h.state.Error == err.Error()
	h.state.Error, h.state.Failed = err.Error(), &now
	h.mu.Unlock()
	if !lasting || same && now.Sub(h.told) < time.Hour || now.Sub(h.told) < tellEvery {
		return
	}
	h.told = now
	h.Tell(slog.LevelError, fmt.Sprintf("events are not taken: %v; they wait in the table of events, and it is tried again in %v", err, wait.Round(time.Second)))
}
