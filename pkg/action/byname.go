package action

import (
	"fmt"
	"slices"
	"time"

	"bailiff/pkg/tags"
)

// One action of a group by its name: what fail2ban's protocol asks of it, and changes.

// UnknownError says that a jail has no action of that name.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string { return "Invalid Action name: " + e.Name }

// BusyError says that an action does what was asked when it is through with what came
// before.
type BusyError struct{ Name string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("action %s is busy; it does this when it is through with what came before", e.Name)
}

// call has one action do something, and waits for it.
func (g *Group) call(name string, f func(*Action) error) error {
	g.mu.Lock()
	var only []*worker
	if !g.closed {
		for _, w := range g.workers {
			if w.def.Name == name {
				only = append(only, w)
			}
		}
	}
	if len(only) == 0 {
		g.mu.Unlock()
		return &UnknownError{name}
	}
	m := &more{call: f, done: make(chan struct{})}
	g.submit(only[:1], job{kind: jobCall, more: m})
	g.mu.Unlock()
	timer := time.NewTimer(callMost)
	defer timer.Stop()
	select {
	case <-m.done:
		return m.err
	case <-timer.C:
		return &BusyError{name}
	}
}

// Definition returns what an action holds now.
func (g *Group) Definition(name string) (Definition, bool) {
	if g == nil {
		return Definition{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.workers {
		if w.def.Name == name {
			d := *w.def
			d.Properties = d.Properties.Clone()
			return d, true
		}
	}
	return Definition{}, false
}

// Names returns the actions' names in their order.
func (g *Group) Names() []string {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, w := range g.workers {
		out = append(out, w.def.Name)
	}
	return out
}

// Set changes one property of an action. What is at work is not started anew.
func (g *Group) Set(name string, change func(*Definition) error) error {
	if g == nil {
		return &UnknownError{name}
	}
	return g.call(name, func(a *Action) error {
		d := *a.def
		d.Properties = d.Properties.Clone()
		if err := change(&d); err != nil {
			return err
		}
		for _, family := range d.families() {
			if _, err := d.Resolve(family); err != nil {
				return err
			}
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, w := range g.workers {
			if w.act == a {
				w.define(&d)
			}
		}
		g.keeping()
		a.def = &d
		a.changed()
		return nil
	})
}

// Add adds an action. It is told of later bans.
func (g *Group) Add(d Definition) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.ContainsFunc(g.workers, func(w *worker) bool { return w.def.Name == d.Name }) {
		return fmt.Errorf("Action %s %w", d.Name, errExists)
	}
	if d.Properties == nil {
		d.Properties = &tags.Options{}
	}
	var after []<-chan struct{} // one that was taken out with the same work ends first
	for _, w := range g.leaving {
		after = append(after, w.gone)
	}
	w := g.newWorker(&d, after)
	g.workers = append(slices.Clone(g.workers), w)
	g.keeping()
	if g.begun {
		g.submit([]*worker{w}, job{kind: jobStart})
	}
	return nil
}

// Remove ends an action; its bans are lifted.
func (g *Group) Remove(name string) error {
	if g == nil {
		return &UnknownError{name}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range g.workers {
		if w.def.Name != name {
			continue
		}
		g.workers = slices.Delete(slices.Clone(g.workers), i, i+1)
		g.keeping()
		g.leave([]*worker{w})
		return nil
	}
	return &UnknownError{name}
}

// Call runs one method of an action by hand: start, stop, reload, flush,
// ban, unban.
func (g *Group) Call(name, method string, t *Ticket) error {
	if g == nil {
		return &UnknownError{name}
	}
	return g.call(name, func(a *Action) error {
		switch method {
		case "start":
			return a.Start()
		case "stop":
			return a.Stop()
		case "reload":
			return a.Reload()
		case "flush":
			a.flush(false)
			return nil
		case "ban":
			return a.Ban(t, false)
		case "reban":
			return a.Ban(t, true)
		case "prolong":
			return a.Prolong(t)
		case "unban":
			return a.Unban(t)
		case "consistencyCheck":
			a.Check(nil)
			return nil
		}
		return fmt.Errorf("%w: %s", errMethod, method)
	})
}
