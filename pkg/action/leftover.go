package action

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"
)

// What the commands of a daemon that was killed have left: rules with bans in them, which
// nobody would lift, and in which each ban would be made a second time. Before an action
// starts for the first time, its actioncheck is asked; where it finds the environment
// there, actionstop takes it away. fail2ban makes each ban twice, and lifts it once.

// environments are those that were looked at in this process, by the commands that empty
// or remove them. Several jails may share one: what the first has taken away is gone for all,
// and what it has made since is not left from before.
var environments = struct {
	mu sync.Mutex
	by map[string]chan struct{} // closed when it was looked at
}{by: map[string]chan struct{}{}}

// environmentsMost bounds how many are remembered; those beyond are not looked at. Tests
// make it smaller.
var environmentsMost = 10_000

// claim says whether an environment is to be looked at; looked is to be called then, when
// that is done. Else it waits until somebody who does has done it.
func claim(ctx context.Context, key string) (looked func()) {
	environments.mu.Lock()
	c, there := environments.by[key]
	if !there && len(environments.by) < environmentsMost {
		c = make(chan struct{})
		environments.by[key] = c
		environments.mu.Unlock()
		return func() { close(c) }
	}
	environments.mu.Unlock()
	if there {
		select {
		case <-c:
		case <-ctx.Done():
		}
	}
	return nil
}

// ClearsLeft reports whether what the action has left is taken away before it starts.
func (d *Definition) ClearsLeft() bool {
	return d.byFamily() && d.get("actioncheck") != "" && d.get("actionstop") != ""
}

// ClearLeft takes away what an action that is not run any more has left, and was not
// stopped; now says where its bans are.
func ClearLeft(ctx context.Context, def *Definition, site *Site, now string) {
	New(ctx, def, site).clearLeft(now)
}

// lookMost is how long a look may take.
const lookMost = 5 * time.Second

// clearLeft takes away what an action has left that was not stopped. It reports whether
// there was something. Only actions with something of their own for each family of
// addresses are looked at, as all are that keep rules of a firewall: what another one's
// check says is not known.
func (a *Action) clearLeft(now string) (was bool) {
	if a.def.Mail != nil || a.site.DryRun || a.site.Run != nil || !a.def.ClearsLeft() {
		return false
	}
	for _, family := range a.def.families() {
		filled := func(name string) Command {
			c, _ := a.command(name, family)
			return c
		}
		looked := claim(a.ctx, cmp.Or(filled("actionflush").Text, filled("actionstop").Text))
		if looked == nil {
			continue
		}
		if a.quietly(filled("actioncheck")) {
			a.log(slog.LevelInfo, "[%s] action '%s': its rules are there from before, they were not taken away: that is done now, %s", a.site.Jail, a.def.Name, now)
			_ = a.stop([]string{family}) // what can't be stopped, the start tells
			a.forget("actionstop", family)
			was = true
		}
		looked()
	}
	return was
}

// quietly runs a command of which it is no matter whether it fails.
func (a *Action) quietly(c Command) bool {
	if c.Text == "" {
		return false
	}
	res, err := c.Run(a.ctx, min(a.timeout(), lookMost))
	return err == nil && res.Code == 0
}
