package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
	"bailiff/pkg/source"
)

// Jails whose source is a list: whoever is on it is shut out from the start. Nothing
// is matched and nothing expires; what the files say, the kernel's interval sets hold.

// listEvery is how often the files are looked at.
const listEvery = 2 * time.Second

// blocklist is one such jail at work.
type blocklist struct {
	d    *Daemon
	c    *config.Jail
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex // guards what follows, and loading
	set    *iplist.Set
	sign   string // of the files that set was read from
	failed string // what was told last
}

// startList starts a list; an error stays with it. The caller holds the lock.
func (d *Daemon) startList(c *config.Jail) error {
	for _, e := range c.Faults {
		d.log.With("component", "jail").Error(fmt.Sprintf("[%s] %v", c.Name, e))
	}
	err := c.Broken()
	l := &blocklist{d: d, c: c, done: make(chan struct{})}
	if err == nil && d.fw != nil {
		d.queue.Sync()
		err = d.fw.AddJail(c.Rule)
	}
	if err == nil {
		err = l.load(true)
	}
	if err != nil {
		d.failed[c.Name] = err
		for _, line := range strings.Split(err.Error(), "\n") {
			d.log.With("component", "jail").Error(fmt.Sprintf("[%s] not started: %s", c.Name, line))
		}
		return err
	}
	delete(d.failed, c.Name)
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	d.lists[c.Name] = l
	go l.run(ctx)
	d.log.With("component", "jail").Info(fmt.Sprintf("Jail '%s' started", c.Name))
	return nil
}

func (l *blocklist) run(ctx context.Context) {
	defer close(l.done)
	tick := time.NewTicker(listEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			err := l.load(false)
			l.mu.Lock()
			text := ""
			if err != nil {
				text = err.Error()
			}
			if told := l.failed; text != told {
				l.failed = text
				if text != "" {
					l.d.log.With("component", "jail").Error(fmt.Sprintf("[%s] %s: what was read before stays in force", l.c.Name, text))
				}
			}
			l.mu.Unlock()
		}
	}
}

// files are the lists, and those of ignoreip, with what tells that they changed.
func (l *blocklist) files() (lists []string, sign string) {
	lists = iplist.Files(l.c.List)
	return lists, iplist.Signature(append(append([]string{}, lists...), l.c.Ignore.Files...))
}

// load reads the lists and hands them to the kernel, if they changed or anew says so.
func (l *blocklist) load(anew bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	lists, sign := l.files()
	if !anew && sign == l.sign {
		return nil
	}
	if len(lists) == 0 {
		return fmt.Errorf("list: no file matches %s", strings.Join(l.c.List, " "))
	}
	begun := time.Now()
	set, bad, err := iplist.ReadFiles(lists)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	log := l.d.log.With("component", "jail")
	for _, b := range bad {
		log.Warn(fmt.Sprintf("[%s] %v: left out", l.c.Name, b))
	}
	entries := set.Entries
	allowed, bad, err := iplist.ReadFiles(l.c.Ignore.Files)
	if err != nil {
		return fmt.Errorf("ignoreip: %w", err)
	}
	for _, b := range bad {
		log.Warn(fmt.Sprintf("[%s] ignoreip: %v: left out", l.c.Name, b))
	}
	set = set.Without([]*iplist.Set{allowed}, l.c.Ignore.Prefixes)
	if l.d.fw != nil {
		intervals := make([]firewall.Interval, len(set.Ranges()))
		for i, r := range set.Ranges() {
			intervals[i] = firewall.Interval(r)
		}
		if err := l.d.fw.LoadList(l.c.Name, intervals); err != nil {
			return err
		}
	}
	l.set, l.sign = set, sign
	l.d.changed()
	log.Info(fmt.Sprintf("[%s] list loaded: %d entries in %d files, %d ranges, in %v", l.c.Name, entries, len(lists), len(set.Ranges()), time.Since(begun).Round(time.Millisecond)))
	return nil
}

// repair makes what another hand removed anew.
func (l *blocklist) repair() (int, error) {
	if err := l.d.fw.AddJail(l.c.Rule); err != nil {
		return 0, err
	}
	err := l.load(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.set == nil {
		return 0, err
	}
	return len(l.set.Ranges()), err
}

// end stops looking at the files; what the kernel holds goes only with flush.
func (l *blocklist) end(flush bool) {
	l.stop()
	<-l.done
	if flush && l.d.fw != nil {
		if err := l.d.fw.RemoveJail(l.c.Name); err != nil {
			l.d.log.With("component", "jail").Error(fmt.Sprintf("[%s] %v", l.c.Name, err))
		}
	}
}

// status is what the list tells of itself.
func (l *blocklist) status() jail.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := jail.Status{Name: l.c.Name, List: true, BanTime: -1, Files: []source.Status{}, Bans: []jail.BanStatus{}}
	s.Banned = len(l.set.Ranges())
	s.TotalBanned = s.Banned
	for _, f := range iplist.Files(l.c.List) {
		x := source.Status{Path: f}
		if fi, err := os.Stat(f); err != nil {
			x.Error = err.Error()
		} else {
			x.Offset = fi.Size()
		}
		s.Files = append(s.Files, x)
	}
	s.Error = l.failed
	return s
}

// reloadList brings a list in line with its configuration. It reports what it did:
// started, changed, or "". The caller holds the lock.
func (d *Daemon) reloadList(c *config.Jail) (did string, err error) {
	running := d.lists[c.Name]
	if running != nil && reflect.DeepEqual(running.c, c) {
		return "", nil
	}
	did = "started"
	if running != nil {
		if err := c.Broken(); err != nil {
			return "", errors.Join(err, errors.New("it goes on with its old settings"))
		}
		running.end(false)
		delete(d.lists, c.Name)
		did = "changed"
	}
	return did, d.startList(c)
}
