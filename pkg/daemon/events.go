package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/history"
)

// The table of events: what jails tell of failures and bans, and the daemon of itself.

// openEvents begins to keep events beside the database, or in memory where there is none. From then
// on what our log says of errors is among them.
func (d *Daemon) openEvents() {
	log := d.log.With("component", "database")
	path := d.cfg.Database.Path
	if d.opts.Database != "" {
		path = config.DatabasePath(d.opts.Database)
	}
	if d.opts.DryRun {
		path = ""
	}
	d.history = history.New(path, d.clock.Wall)
	if d.cfg.Database.Events == 0 {
		path = ""
	}
	boot, _ := d.clock.Boot()
	d.events = events.Open(events.Options{
		Path: path, Bytes: d.cfg.Database.Events, Age: d.cfg.Database.PurgeAge, Boot: boot, Now: d.clock.Wall,
		Failed: func(err error) {
			if err != nil {
				log.Error(fmt.Sprintf("events can't be written: %v; trying again, what there is no room for meanwhile is counted", err))
			} else {
				log.Info("events can be written again")
			}
		},
		Warn: func(text string) { log.Warn(text) },
	})
	d.log = slog.New(&teller{Handler: d.log.Handler(), to: d.events, counts: &d.counts})
	d.events.Add(&events.Event{Kind: events.Start, Text: "bailiff " + d.opts.Version})
}

// boundEvents has the table keep as much as is configured.
func (d *Daemon) boundEvents(cfg *config.Config) {
	d.events.SetBounds(cfg.Database.Events, cfg.Database.PurgeAge)
}

// Events implements control.Daemon.
func (d *Daemon) Events() *events.Table { return d.events }

// repaired tells that something of ours in the kernel was made right.
func (d *Daemon) repaired(jail, text string) {
	d.counts.repairs.Add(1)
	d.events.Add(&events.Event{Kind: events.Repair, Jail: jail, Text: text})
}

// reloaded tells of a reload.
func (d *Daemon) reloaded(only, by string, res *control.ReloadResult, err error) {
	d.counts.reloaded(err == nil && len(res.Errors) == 0, d.clock.Wall())
	e := &events.Event{Kind: events.Reload, Jail: only, By: by}
	switch {
	case err != nil:
		e.Text = "failed: " + err.Error()
	case res.Anew != "":
		e.Text = res.Anew
	default:
		var parts []string
		for _, part := range []struct {
			what  string
			names []string
		}{{"started", res.Started}, {"changed", res.Changed}, {"stopped", res.Stopped}} {
			if len(part.names) > 0 {
				parts = append(parts, part.what+" "+strings.Join(part.names, ", "))
			}
		}
		switch n := len(res.Errors); n {
		case 0:
		case 1:
			parts = append(parts, "an error: "+res.Errors[0])
		default:
			parts = append(parts, fmt.Sprintf("%d errors, the first: %s", n, res.Errors[0]))
		}
		if e.Text = strings.Join(parts, "; "); e.Text == "" {
			e.Text = "nothing has changed"
		}
	}
	d.events.Add(e)
}

// teller has lines of our log that tell of errors be events, too.
type teller struct {
	slog.Handler
	to        *events.Table
	counts    *counts
	component string
}

// Enabled implements slog.Handler: what the log doesn't want may be an event.
func (h *teller) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, level) || level >= slog.LevelError
}

// Handle implements slog.Handler.
func (h *teller) Handle(ctx context.Context, r slog.Record) error {
	h.counts.line(r.Level)
	if r.Level >= slog.LevelError {
		h.to.Add(errorEvent(h.component, r.Message, r.Time))
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *teller) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := &teller{Handler: h.Handler.WithAttrs(attrs), to: h.to, counts: h.counts, component: h.component}
	for _, a := range attrs {
		if a.Key == "component" {
			out.component = a.Value.String()
		}
	}
	return out
}

// errorEvent is what a line of our log tells. Which jail it is of stands before it.
func errorEvent(component, text string, at time.Time) *events.Event {
	e := &events.Event{Kind: events.Error, Text: text}
	if rest, ok := strings.CutPrefix(text, "["); ok {
		if name, rest, ok := strings.Cut(rest, "] "); ok && !strings.ContainsAny(name, " []") {
			e.Jail, e.Text = name, rest
		}
	}
	if component != "actions" {
		return e
	}
	if _, rest, ok := strings.Cut(text, "Failed to execute "); ok { // fail2ban's words, which pkg/action has
		e.Kind = events.Action
		if _, rest, ok := strings.Cut(rest, " jail '"); ok && e.Jail == "" {
			e.Jail, _, _ = strings.Cut(rest, "'")
		}
	}
	return e
}
