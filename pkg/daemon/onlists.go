package daemon

import (
	"net/netip"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/control"
	"bailiff/pkg/iplist"
)

// Who asks for an address to be let in is told which list shuts it out, and where it
// stands there.

const (
	// findsMost is how many searches through the files of lists may be under way: a disk
	// may hang.
	findsMost = 4
	// entriesMost is how many entries one search tells.
	entriesMost = 1000
)

// onLists returns for each of some addresses and networks what lists shut out of it; only
// one list, if that is named. It waits settleMost for where they stand.
func (d *Daemon) onLists(only string, ids []ban.ID) [][]control.Wider {
	out := make([][]control.Wider, len(ids))
	lists := d.listsNow()
	timer := time.NewTimer(settleMost)
	defer timer.Stop()
	for _, name := range sortedKeys(lists) {
		if only != "" && only != name {
			continue
		}
		l := lists[name]
		l.mu.Lock()
		set := l.set
		l.mu.Unlock()
		var hits []int
		var in []netip.Prefix
		for i, id := range ids {
			if !id.IsName() && set.Overlaps(id.Prefix()) {
				hits, in = append(hits, i), append(in, id.Prefix())
			}
		}
		if len(hits) == 0 {
			continue
		}
		entries := d.findEntries(l.c.List, in, timer.C)
		for k, i := range hits {
			w := control.Wider{Jail: name, List: true, Part: !set.Holds(in[k])}
			for _, e := range entries {
				if e.Overlaps(in[k]) {
					w.IP, w.File, w.Line = e.Range.String(), byURL(l.c, e.File), e.Line
					break
				}
			}
			out[i] = append(out[i], w)
		}
	}
	return out
}

// findEntries looks through the files of a list until late.
func (d *Daemon) findEntries(patterns []string, ids []netip.Prefix, late <-chan time.Time) []iplist.Entry {
	if d.finding.Add(1) > findsMost {
		d.finding.Add(-1)
		return nil
	}
	found := make(chan []iplist.Entry, 1)
	go func() {
		defer d.finding.Add(-1)
		found <- iplist.Find(iplist.Files(patterns), iplist.Of(ids), entriesMost)
	}()
	select {
	case entries := <-found:
		return entries
	case <-late:
		return nil
	}
}
