package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os/user"
	"path/filepath"
	"slices"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/opener"
	"bailiff/pkg/syslog"
)

// Where proxies ask, opened; and tried again where that fails: somebody else may have the
// port still, or the directory may come later.

// checkAgain is how long it is before the first try, and checkAgainMost how long at the most.
const (
	checkAgain     = 500 * time.Millisecond
	checkAgainMost = 30 * time.Second
)

// listenFor opens a place of [check] listen.
func listenFor(at, group string) (net.Listener, error) {
	if filepath.IsAbs(at) {
		l, err := control.ListenUnix(at, group)
		if errors.Is(err, fs.ErrPermission) && group != "" {
			err = fmt.Errorf("%w: it can be given to a group that the daemon is in (systemctl edit bailiff: SupplementaryGroups=%s)", err, group)
		}
		return l, err
	}
	if _, err := netip.ParseAddrPort(at); err != nil {
		return nil, fmt.Errorf("%s: want ADDRESS:PORT", at)
	}
	return opener.Listen(context.Background(), opener.Place{Network: "tcp", Address: at})
}

// tryLater has what is missing be tried after a pause. By c.mu.
func (c *checks) tryLater() {
	if c.retry != nil {
		c.retry.Stop()
		c.retry = nil
	}
	if len(c.missing) == 0 {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(c.pause, func() {
		c.mu.Lock()
		mine := c.retry == t
		c.mu.Unlock()
		if mine {
			c.tryAgain(t)
		}
	})
	c.retry = t
	c.pause = min(2*c.pause, checkAgainMost)
}

// tryAgain tries what is missing. Nobody waits for it: a directory may hang.
func (c *checks) tryAgain(mine *time.Timer) {
	c.mu.Lock()
	places := sortedKeys(c.missing)
	group := c.group
	c.mu.Unlock()
	log := c.d.log.With("component", "server")
	for _, at := range places {
		l, err := listenFor(at, group)
		c.mu.Lock()
		was, wanted := c.missing[at]
		if c.retry != mine || !wanted { // a reload, or the end
			c.mu.Unlock()
			if l != nil {
				l.Close()
			}
			return
		}
		if err == nil {
			delete(c.missing, at)
			c.answer(at, l)
			log.Info("[check] listen " + at + ": proxies can ask there now")
		} else if c.missing[at] = err; err.Error() != was.Error() {
			log.Error(c.cantListen(at).Error())
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retry == mine {
		c.tryLater()
	}
}

// problems tell where proxies can't ask now.
func (c *checks) problems() (out []string) {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range sortedKeys(c.missing) {
		out = append(out, c.cantListen(at).Error())
	}
	return out
}

// checkGroups tells of groups that sockets are to be given to and that this host doesn't have.
func checkGroups(cfg *config.Config) (out []error) {
	for _, of := range []struct {
		table, group string
		used         bool
	}{
		{"check", cfg.Check.Group, slices.ContainsFunc(cfg.Check.Listen, filepath.IsAbs)},
		{"web", cfg.Web.Group, true}, // the configuration has said so if not
		{"read", cfg.ReadGroup, true},
		{"syslog", cfg.Syslog.Group, slices.ContainsFunc(listens(cfg), syslog.Address.IsUnix)},
	} {
		if of.group == "" {
			continue
		}
		at := cfg.Place(of.table, "group")
		if !of.used {
			out = append(out, fmt.Errorf("%s[%s] group has no effect: nothing listens at a Unix socket", at, of.table))
			continue
		}
		if _, err := user.LookupGroup(of.group); err != nil {
			out = append(out, fmt.Errorf("%s[%s] group = %q: %w: its socket can't be made: name a group that is there (getent group)", at, of.table, of.group, err))
		}
	}
	return out
}
