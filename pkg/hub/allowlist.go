package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/eventlog"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/allow"
	"bailiff/pkg/safefile"
)

// The fleet's allow-list, signed by an operator's key that is not here. A hub hands it on, and heeds it; hosts look at the signature
// themselves, and take nothing that an operator hasn't signed, whatever a hub says.

// allowFile is the signed list, in a hub's directory.
const allowFile = "allow.signed"

// readAllow looks whether there is another list in the directory. One that is not signed by allow_key is told, and not handed on.
func (h *Hub) readAllow(ctx context.Context) {
	key := h.gate.config().AllowKey
	path := filepath.Join(h.dir, allowFile)
	data, err := safefile.ReadFile(path, allow.BytesMost)
	var list allow.List
	switch {
	case errors.Is(err, fs.ErrNotExist):
		data, err = nil, nil
	case err != nil:
	case key == "":
		err = fmt.Errorf("%s is not handed on: %s has no allow_key", path, ConfigFile)
	default:
		if list, err = allow.Parse(data, key); err != nil {
			err = fmt.Errorf("%s is not handed on: %w", path, err)
		}
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != h.allowWrong && err != nil {
		h.log.Error(text)
	}
	h.allowWrong = text
	if err != nil || bytes.Equal(data, h.gate.allowText()) {
		return
	}
	h.gate.setAllow(list, data)
	h.log.Log(ctx, eventlog.LevelNotice, fmt.Sprintf("The fleet's allow-list is version %d, of %d addresses and networks", list.Version, len(list.Prefixes)))
}

// signedAllow is the list as the gate has it.
type signedAllow struct {
	list allow.List
	text []byte
}

func (g *gate) allowText() []byte {
	if s := g.signed.Load(); s != nil {
		return s.text
	}
	return nil
}

func (g *gate) setAllow(l allow.List, text []byte) {
	g.signed.Store(&signedAllow{l, text})
	g.set(g.config())
}

// allowAsked hands the list on to a host that hasn't it. Nobody has to believe it.
func (g *gate) allowAsked(m *nats.Msg) {
	host, have, err := fleet.ParseAllowAsked(m.Subject, m.Data)
	if err != nil || m.Reply == "" {
		return
	}
	var text []byte
	if s := g.signed.Load(); s != nil && s.list.Version != have && g.limits.mayFail(host, time.Now()) {
		text = s.text
	}
	if err := g.nc.Publish(m.Reply, text); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		g.log.Error(fmt.Sprintf("gate: the allow-list can't be handed on: %v", err))
	}
}

// Look has all hubs look into their directories, and at who is in the fleet, now.
func (c *Client) Look(ctx context.Context) error {
	if err := c.nc.Publish(changedSubject, nil); err != nil {
		return err
	}
	return c.nc.FlushWithContext(ctx)
}

// PublishAllow puts a signed list into a hub's directory, where the hub finds it within seconds. It is looked at first: signed by
// allow_key, and newer than the one that is there.
func PublishAllow(dir string, data []byte) (allow.List, error) {
	if err := checkOurs(dir); err != nil {
		return allow.List{}, err
	}
	cfg, err := ReadConfig(dir)
	if err != nil {
		return allow.List{}, err
	}
	if cfg.Region() {
		return allow.List{}, fmt.Errorf("%s is a region's directory: the allow-list is handed on by the root", dir)
	}
	if cfg.AllowKey == "" {
		return allow.List{}, fmt.Errorf("%s has no allow_key: write there the public key that `bailiff fleet allow key` printed, and let hosts in with that", filepath.Join(dir, ConfigFile))
	}
	var held allow.Held
	path := filepath.Join(dir, allowFile)
	if was, err := safefile.ReadFile(path, allow.BytesMost); err == nil {
		_, _ = held.Take(was, cfg.AllowKey) // what is no list of this key is written over
	} else if !errors.Is(err, fs.ErrNotExist) {
		return allow.List{}, err
	}
	if _, err := held.Take(data, cfg.AllowKey); err != nil {
		return allow.List{}, err
	}
	l, _ := held.Get()
	return l, replace(path, data)
}
