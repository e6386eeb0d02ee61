package daemon

import (
	"fmt"
	"sync"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

// readers is the socket over which can only be asked. It comes, goes and moves with
// reloads: nobody's answers are cut off, and where a new one can't be made, the one that is
// there stays.
type readers struct {
	mu            sync.Mutex
	server        *control.Server // nil: there is none
	socket, group string          // of it
	ended         bool            // with the daemon
}

// readChanged brings the socket in line with a configuration. The error says what is there
// in its place.
func (d *Daemon) readChanged(cfg *config.Config) error {
	r := &d.readers
	r.mu.Lock()
	defer r.mu.Unlock()
	socket, group := cfg.ReadSocket, cfg.ReadGroup
	if r.ended || socket == r.socket && (socket == "" || group == r.group) {
		return nil
	}
	wrong := func(err error) error {
		if r.server == nil {
			return fmt.Errorf("[read]: %w: nobody can ask there", err)
		}
		return fmt.Errorf("[read]: %w: until that is mended it is %s, for %s", err, r.socket, r.group)
	}
	if socket == r.socket {
		if err := r.server.Share(group); err != nil {
			return wrong(err)
		}
		r.group = group
		return nil
	}
	var next *control.Server
	if socket != "" {
		log := d.log.With("component", "server")
		var err error
		next, err = control.Listen(socket, d, control.Options{Commander: d, ReadGroup: group, Warn: func(text string) { log.Warn(text) }})
		if err != nil {
			return wrong(err)
		}
	}
	if old := r.server; old != nil {
		go func() { _ = old.Close() }() // once its answers are given
	}
	r.server, r.socket, r.group = next, socket, group
	return nil
}

// now is the socket's server; nil: there is none.
func (r *readers) now() *control.Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.server
}

// close ends it, with its last answers.
func (r *readers) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended = true; r.server != nil {
		_ = r.server.Close()
	}
}
