package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"bailiff/pkg/firewall"
)

// Something else may flush the ruleset or our sets: a firewall that is reloaded,
// a hand at nft. What was there is put back at once.

// watch hands over what the kernel tells. Where that fails, what is left is to
// look every ten seconds.
func (d *Daemon) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.fw.Watch(ctx, func(damage firewall.Damage) {
			select {
			case d.damaged <- damage:
			case <-ctx.Done():
			}
		})
		if err != nil {
			d.log.With("component", "server").Warn(fmt.Sprintf("%v: what something else removes is found every ten seconds only", err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
		}
	}
}

// mendPause is between two repairs, so that a program that removes again and
// again what is put back has no more of us than that.
const mendPause = 200 * time.Millisecond

// mending repairs until ctx ends.
func (d *Daemon) mending(ctx context.Context) {
	server := d.log.With("component", "server")
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	looking := time.NewTicker(10 * time.Second)
	defer looking.Stop()
	broken := map[string]bool{}
	for {
		at := false // at once
		again.Stop()
		if len(broken) > 0 {
			again.Reset(time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case name := <-d.repair:
			broken[name] = true // with the next tick: the kernel may refuse again
		case <-looking.C:
			for _, name := range d.fw.Gone() {
				broken[name] = true
			}
		case damage := <-d.damaged:
			server.Warn(damage.String())
			at = true
			for more := true; more; {
				names := damage.Jails
				if names == nil {
					d.mu.Lock()
					names = append(sortedJails(d.jails), slices.Collect(maps.Keys(d.lists))...)
					d.mu.Unlock()
				}
				for _, name := range names {
					broken[name] = true
				}
				select {
				case damage = <-d.damaged:
				default:
					more = false
				}
			}
		case <-again.C:
			at = true
		}
		if !at || len(broken) == 0 {
			continue
		}
		for name := range broken {
			d.mu.Lock()
			j, l := d.jails[name], d.lists[name]
			d.mu.Unlock()
			repair := (func() (int, error))(nil)
			switch {
			case j != nil:
				repair = j.Repair
			case l != nil:
				repair = l.repair
			}
			if repair != nil {
				n, err := repair()
				if err != nil {
					server.Error(fmt.Sprintf("[%s] %v", name, err))
					continue
				}
				server.Warn(fmt.Sprintf("[%s] nftables sets and rules made anew, with %d bans", name, n))
			}
			delete(broken, name)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(mendPause):
		}
	}
}
