package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/jail"
	"bailiff/pkg/safefile"
)

// whyDisk is how long the disk with the events may take to tell of somebody.
const whyDisk = 10 * time.Second

// Why implements control.Daemon.
func (d *Daemon) Why(text string) (w control.Why, err error) {
	id, err := ban.ParseID(text)
	if err != nil {
		return w, control.Bad(err)
	}
	w = control.Why{
		IP: ban.Name(id), Name: id.IsName(), Banned: []jail.BanStatus{}, Kernel: []control.WhyKernel{}, Failures: []control.WhyFailures{},
		Lists: []control.Wider{}, Never: []control.WhyNever{}, Events: []events.Event{},
	}
	problem := func(format string, args ...any) { w.Problems = append(w.Problems, fmt.Sprintf(format, args...)) }
	addrs := map[netip.Addr]bool{} // whom to look for in the kernel
	if !id.IsName() {
		addrs[id.Prefix().Addr()] = true
	}
	for _, j := range d.running() {
		name := j.Configured.Name
		k, err := j.Knows(id)
		if err != nil {
			problem("jail %s: %v", name, err)
			continue
		}
		for _, b := range k.Bans {
			if j.Configured.Observe {
				w.Would = append(w.Would, b)
				continue
			}
			w.Banned = append(w.Banned, b)
			if a, err := netip.ParseAddr(b.Address); err == nil {
				addrs[a] = true
			}
		}
		if k.Inside > 0 {
			w.Inside = append(w.Inside, control.Wider{Jail: name, IP: w.IP, Inside: k.Inside})
		}
		if len(k.Failures) > 0 {
			w.Failures = append(w.Failures, control.WhyFailures{Jail: name, IP: k.Of, Times: k.Failures, MaxRetry: k.MaxRetry, FindTime: k.FindTime.Seconds()})
		}
		if k.Never != "" {
			at := slices.IndexFunc(w.Never, func(n control.WhyNever) bool { return n.Why == k.Never })
			if at < 0 {
				at = len(w.Never)
				w.Never = append(w.Never, control.WhyNever{Why: k.Never})
			}
			w.Never[at].Jails = append(w.Never[at].Jails, name)
		}
	}
	if d.fw != nil && !d.opts.DryRun {
		sets := slices.Concat(sortedKeys(d.jailsNow()), sortedKeys(d.listsNow()), d.fleet.names())
		slices.Sort(sets)
		for a := range addrs {
			for _, name := range sets {
				held, err := d.fw.Holds(name, a)
				if err != nil && d.jailsNow()[name] != nil && !d.jailsNow()[name].Configured.Unenforced {
					problem("the kernel: %v", err)
				}
				for _, h := range held {
					w.Kernel = append(w.Kernel, control.WhyKernel{Jail: name, IP: a.String(), Set: h.Set, Rule: h.Rule, Left: h.Left.Seconds()})
				}
			}
		}
	} else {
		problem("there is no firewall of ours: nothing is asked of the kernel")
	}
	if on := d.onLists("", []ban.ID{id}); len(on) == 1 && on[0] != nil {
		w.Lists = on[0]
	}
	if r := d.fleet.now(); r != nil && !id.IsName() {
		var ok bool
		if w.Fleet, ok = r.words(id); !ok {
			problem("the fleet: what is kept of it is being read")
		}
	}
	// It may hang, and is left behind then.
	var t events.Timeline
	if !safefile.Within(whyDisk, func() { t, err = events.TimelineOf(d.events.Reader(0), w.IP, control.EventsMost, time.Time{}) }) {
		problem("the disk with the events does not answer")
		return w, nil
	}
	if err != nil {
		problem("events: %v", err)
	}
	if w.Omitted = t.Omitted; t.Events != nil {
		w.Events = t.Events
	}
	if !t.Oldest.IsZero() {
		w.Oldest = &t.Oldest
	}
	return w, nil
}
