package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/eventlog"
)

// A hub reads hub.toml again at SIGHUP, and when `bailiff hub reload` asks for it: what can change while it is at
// work does, the rest waits for a restart, and both are said. A file that can't be read changes nothing.

// reloadSubjects stands before a hub's name: who asks there has it read its configuration again.
const reloadSubjects = "hub.reload."

// Reloaded is what came of reading hub.toml again.
type Reloaded struct {
	// Changed are the settings that hold now, Restart those that wait for a restart.
	Changed []string `json:"changed,omitempty"`
	Restart []string `json:"restart,omitempty"`
	// Failed is why nothing was changed.
	Failed string `json:"failed,omitempty"`
}

// String is that in one line.
func (r Reloaded) String() string {
	var parts []string
	if len(r.Changed) > 0 {
		parts = append(parts, "changed: "+strings.Join(r.Changed, ", "))
	}
	if len(r.Restart) > 0 {
		parts = append(parts, "changed by a restart of the hub only: "+strings.Join(r.Restart, ", "))
	}
	if len(parts) == 0 {
		return "nothing has changed"
	}
	return strings.Join(parts, "; ")
}

// settings are hub.toml's, each with whether it can change while the hub is at work.
func settings(c *Config) []struct {
	key  string
	live bool
	at   any // a pointer
} {
	return []struct {
		key  string
		live bool
		at   any
	}{
		{"name", false, &c.Name},
		{"listen", false, &c.Listen},
		{"urls", true, &c.URLs},
		{"store", false, &c.Store},
		{"max_ban", true, &c.MaxBan},
		{"permanent", true, &c.Permanent},
		{"rate", true, &c.Rate},
		{"burst", true, &c.Burst},
		{"quota", true, &c.Quota},
		{"hosts", true, &c.Hosts},
		{"count", true, &c.Count},
		{"entries", true, &c.Entries},
		{"groups", true, &c.Groups},
		{"allow", true, &c.Allow},
		{"allow_key", true, &c.AllowKey},
		{"widest_ipv4", true, &c.Widest4},
		{"widest_ipv6", true, &c.Widest6},
		{"log.level", false, &c.LogLevel},
		{"log.target", false, &c.LogTarget},
		{"cluster.listen", false, &c.ClusterListen},
		{"cluster.routes", false, &c.Routes},
		{"cluster.replicas", false, &c.Replicas},
		{"regions.listen", false, &c.RegionsListen},
		{"regions.urls", false, &c.RegionsURLs},
		{"regions.refuse", false, &c.RegionsRefused},
		{"region.parent", false, &c.Parent},
		{"region.urls", false, &c.ParentURLs},
		{"external.servers", false, &c.ExternalServers},
		{"external.system_credentials", false, &c.ExternalSystem},
	}
}

// reloaded is what holds after was, with what next changes, and what that is.
func reloaded(was, next Config) (Config, Reloaded) {
	var r Reloaded
	now := was
	from := settings(&next)
	for i, to := range settings(&now) {
		a, b := reflect.ValueOf(to.at).Elem(), reflect.ValueOf(from[i].at).Elem()
		switch {
		case a.Kind() != reflect.Bool && a.Kind() != reflect.String && !a.CanInt() && !a.CanFloat() && a.Len() == 0 && b.Len() == 0:
		case reflect.DeepEqual(a.Interface(), b.Interface()):
		case to.live:
			a.Set(b)
			r.Changed = append(r.Changed, to.key)
		default:
			r.Restart = append(r.Restart, to.key)
		}
	}
	return now, r
}

// reload reads hub.toml again. It is the main goroutine's.
func (h *Hub) reload(ctx context.Context) Reloaded {
	next, err := ReadConfig(h.dir)
	if err != nil {
		h.log.Error(fmt.Sprintf("nothing is changed: %v", err))
		return Reloaded{Failed: err.Error()}
	}
	now, r := reloaded(h.gate.config(), next)
	h.gate.set(now)
	h.bucket.cfg = now
	h.log.Log(ctx, eventlog.LevelNotice, fmt.Sprintf("%s read again: %s", ConfigFile, r))
	h.lookSoon() // how many entries all have is the stream's
	return r
}

// reloadAsked has the main goroutine read hub.toml again, and answers what came of it.
func (h *Hub) reloadAsked(ctx context.Context, m *nats.Msg) {
	done := make(chan Reloaded, 1)
	select {
	case h.reloads <- done:
	case <-ctx.Done():
		return
	}
	select {
	case r := <-done:
		h.respond(m, r)
	case <-ctx.Done():
	}
}

// Reload has the directory's own hub read hub.toml again.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*lookMost)
	defer cancel()
	var r Reloaded
	m, err := c.nc.RequestWithContext(ctx, reloadSubjects+c.cfg.Name, nil)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return r, fmt.Errorf("no hub of the name %s is at work (name in %s has changed? Then restart it)", c.cfg.Name, ConfigFile)
	case err != nil:
		return r, fmt.Errorf("the hub does not answer: %w", err)
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return r, fmt.Errorf("the hub's answer: %w", err)
	}
	if r.Failed != "" {
		return r, fmt.Errorf("nothing is changed: %s", r.Failed)
	}
	return r, nil
}

// Reload has the hub of a directory read hub.toml again.
func Reload(ctx context.Context, dir string) (Reloaded, error) {
	// What is wrong in the file is told here, without a hub.
	if _, err := ReadConfig(dir); err != nil {
		return Reloaded{}, err
	}
	c, err := Dial(dir, "")
	if err != nil {
		return Reloaded{}, err
	}
	defer c.Close()
	return c.Reload(ctx)
}

// tuning are times that tests shorten.
var (
	// lookEvery is how often a hub looks whether the stream is what it was, and who is in the fleet.
	lookEvery = 10 * time.Second
	// lameDuck is how long an orderly end takes to have hosts go elsewhere, lameDuckFirst how much of that passes before the
	// first is sent away.
	lameDuck, lameDuckFirst = 3 * time.Second, 500 * time.Millisecond
)
