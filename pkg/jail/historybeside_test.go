package jail

import (
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// Every other world has more jails, on the same log and with the same filter: what that finds
// they share with the one that the model is about. They read on while that one is held back,
// and the other way round.

// others are such jails.
type others struct {
	jails []*Jail
	many  bool
}

var worlds atomic.Uint32

// sharing says whether a world has others.
func (o *others) sharing() { o.many = worlds.Add(1)%2 == 0 }

// number is how many jails read the log.
func (o *others) number() int {
	if o.many {
		return 3
	}
	return 0
}

// start starts one more of them.
func (o *others) start(w *world) error {
	if !o.many {
		return nil
	}
	deps := w.deps()
	deps.Firewall, deps.Store, deps.RunAction = NoFirewall{}, nil, nil
	deps.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	c := *w.loaded
	c.Name += strings.Repeat("x", 1+len(o.jails))
	c.Rule.Jail, c.Actions = c.Name, nil
	j, err := Start(&c, deps, Carry{})
	if err == nil {
		o.jails = append(o.jails, j)
	}
	return err
}

func (o *others) stop() {
	for _, j := range o.jails {
		left := j.Stop(false)
		<-left.Close(time.Now())
	}
	o.jails = nil
}

// both starts the world's jail between two others.
func (w *world) both(start func() error) error {
	w.others.stop()
	if err := w.others.start(w); err != nil {
		return err
	}
	if err := start(); err != nil {
		return err
	}
	return w.others.start(w)
}
