package guard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/iplist"
)

// file is a file of ignoreip, of proxy.trusted, or both. The guard's lock guards it.
type file struct {
	path   string
	set    *iplist.Set // nil: it was never read
	names  []string    // in it; they are asked for
	others []string    // words in it that are no addresses: ids
	read   bool        // it was tried once
	failed string
	bad    []error // words in it that are no entries
	told   bool    // that somebody goes on without it
	busy   time.Time
	users  int
	uses   [2]int // of them: as one of ignoreip, of proxy.trusted
	unused time.Time
	stop   context.CancelFunc
	again  chan struct{} // has a value when it is to be looked at at once
	looks  int           // how often that was done
}

func (f *file) known() bool { return f.read }

// whose says what the file is of.
func (f *file) whose() string {
	switch {
	case f.uses[1] == 0:
		return "ignoreip"
	case f.uses[0] == 0:
		return "proxy.trusted"
	}
	return "ignoreip and proxy.trusted"
}

// wrong says what is wrong with a word in it, and what comes of that.
func (f *file) wrong(err error) string {
	if f.uses[1] > 0 && f.uses[0] == 0 {
		return fmt.Sprintf("proxy.trusted: %v: left out", err)
	}
	return fmt.Sprintf("%s: %v: it ignores an id of that name only", f.whose(), err)
}

// namesNone reports whether the file was read and nothing is known of it that could be an
// address.
func (f *file) namesNone() bool { return f.read && f.set != nil && count(f.set, f.names) == 0 }

func (f *file) problem(waiting bool) string {
	what := f.whose() + " file:" + f.path
	switch {
	case !f.read && waiting:
		return what + ": waiting for it before lines are judged"
	case !f.busy.IsZero() && time.Since(f.busy) > Patience:
		return fmt.Sprintf("%s: reading it takes %v so far", what, time.Since(f.busy).Round(time.Second))
	case f.failed != "":
		return fmt.Sprintf("%s: %s", what, f.holds())
	case f.uses[1] > 0 && f.namesNone() && len(f.bad) > 0:
		return what + ": it names no proxy: " + f.bad[0].Error()
	case f.uses[1] > 0 && f.namesNone():
		return what + ": it names no proxy"
	case len(f.bad) > 0:
		return f.wrong(f.bad[0])
	}
	return ""
}

func (f *file) late() string {
	if f.read || f.told {
		return ""
	}
	f.told = true
	return fmt.Sprintf("%s file:%s: not read within %v: lines are judged without it until it is", f.whose(), f.path, Patience)
}

func (f *file) holds() string {
	if f.set == nil {
		return f.failed + ": nothing of it is known, and it is tried again"
	}
	return f.failed + ": what was read before holds"
}

// useFiles has files read and looked at, from now on. The caller holds the lock.
func (g *Guard) useFiles(paths []string, use int) {
	for _, path := range paths {
		f := g.files[path]
		if f == nil {
			f = &file{path: path, again: make(chan struct{}, 1)}
			var ctx context.Context
			ctx, f.stop = context.WithCancel(g.ctx)
			g.files[path] = f
			go g.keepReading(ctx, f)
		}
		f.users++
		f.uses[use]++
	}
}

func (g *Guard) dropFiles(paths []string, use int) {
	for _, path := range paths {
		f := g.files[path]
		f.users--
		f.uses[use]--
		f.unused = time.Now()
	}
}

// keepReading looks at a file until ctx ends. Each file has its own goroutine: one on a
// disk that hangs holds up no other.
func (g *Guard) keepReading(ctx context.Context, f *file) {
	var follow iplist.Follow
	for asIs := true; ; {
		g.readOnce(f, &follow, asIs)
		asIs = false
		select {
		case <-time.After(lookEvery):
		case <-f.again:
			asIs = true
		case <-ctx.Done():
			return
		}
	}
}

// LookAgain has those files looked at at once that could not be read, for somebody who is
// about to say so. It waits for them until ctx ends.
func (v *View) LookAgain(ctx context.Context) {
	g := v.g
	g.mu.Lock()
	waits := map[*file]int{}
	for _, path := range v.want.Files {
		if f := g.files[path]; f.failed != "" {
			waits[f] = f.looks
			select {
			case f.again <- struct{}{}:
			default:
			}
		}
	}
	g.mu.Unlock()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(waits) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		g.mu.Lock()
		for f, looks := range waits {
			if f.looks > looks {
				delete(waits, f)
			}
		}
		g.mu.Unlock()
	}
}

// readOnce reads a file if it has changed and was left alone since; with asIs in any case,
// and then once more when it was left alone.
func (g *Guard) readOnce(f *file, follow *iplist.Follow, asIs bool) {
	g.mu.Lock()
	f.busy = time.Now()
	g.mu.Unlock()
	sign := iplist.Signature([]string{f.path})
	due := follow.Due(sign, time.Now())
	var allowed iplist.Allowed
	var bad []error
	var err error
	if due || asIs {
		allowed, bad, err = iplist.ReadAllowed(f.path)
	}
	again := iplist.Signature([]string{f.path})
	g.mu.Lock()
	defer g.mu.Unlock()
	f.busy = time.Time{}
	if !due && !asIs {
		return
	}
	if asIs {
		defer func() { f.looks++ }()
	}
	log := g.opts.Log.With("component", "server")
	what := f.whose() + " file:" + f.path
	if err != nil {
		f.read = true
		if text := strings.TrimPrefix(err.Error(), f.path+": "); text != f.failed {
			f.failed = text
			log.Error(what + ": " + f.holds())
		}
		g.renew()
		return // and it is tried again
	}
	switch {
	case !asIs:
		if !follow.Whole(sign, again, count(f.set, f.names), count(allowed.Set, allowed.Names), time.Now()) {
			return // it is being written, it seems
		}
		follow.Took(sign)
	case 2*count(allowed.Set, allowed.Names) < count(f.set, f.names):
		return // the same
	}
	if f.failed != "" {
		f.failed = ""
		log.Info(what + ": read")
	}
	if fmt.Sprint(bad) != fmt.Sprint(f.bad) {
		for _, b := range bad {
			log.Error(f.wrong(b) + ", the others hold")
		}
	}
	f.bad, f.read = bad, true
	if f.set != nil && f.set.Equal(allowed.Set) && slices.Equal(f.names, allowed.Names) && slices.Equal(f.others, allowed.Others) {
		g.renew()
		return
	}
	if text := allowed.Set.Wide(); text != "" {
		log.Warn(what + ": " + text)
	}
	before, was := f.names, f.set
	f.set, f.names, f.others = allowed.Set, allowed.Names, allowed.Others
	g.useNames(f.names)
	g.dropNames(before)
	if f.uses[1] > 0 && f.namesNone() {
		log.Error(f.problem(false))
	} else if f.uses[1] > 0 && was != nil && count(was, before) == 0 {
		log.Info(what + ": it names proxies again")
	}
	g.renew()
}

func count(s *iplist.Set, names []string) int {
	if s == nil {
		return 0
	}
	return s.Entries + len(names)
}

// addresses is how many entries of a file are known as addresses. The caller holds the lock.
func (g *Guard) addresses(f *file) int {
	n := count(f.set, nil)
	for _, name := range f.names {
		n += len(g.names[name].addrs())
	}
	return n
}
