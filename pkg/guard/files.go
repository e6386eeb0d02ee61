package guard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/iplist"
)

// file is a file of ignoreip. The guard's lock guards it.
type file struct {
	path   string
	set    *iplist.Set // nil: it was never read
	names  []string    // in it; they are asked for
	read   bool        // it was tried once
	failed string
	bad    []error // words in it that are no entries
	told   bool    // that somebody goes on without it
	busy   time.Time
	users  int
	unused time.Time
	stop   context.CancelFunc
}

func (f *file) known() bool { return f.read }

func (f *file) problem(waiting bool) string {
	what := "ignoreip file:" + f.path
	switch {
	case !f.read && waiting:
		return what + ": waiting for it before lines are judged"
	case !f.busy.IsZero() && time.Since(f.busy) > Patience:
		return fmt.Sprintf("%s: reading it takes %v so far", what, time.Since(f.busy).Round(time.Second))
	case f.failed != "":
		return fmt.Sprintf("%s: %s", what, f.holds())
	case len(f.bad) > 0:
		return fmt.Sprintf("ignoreip: %v: left out", f.bad[0])
	}
	return ""
}

func (f *file) late() string {
	if f.read || f.told {
		return ""
	}
	f.told = true
	return fmt.Sprintf("ignoreip file:%s: not read within %v: lines are judged without it until it is", f.path, Patience)
}

func (f *file) holds() string {
	if f.set == nil {
		return f.failed + ": nothing of it is known, and it is tried again"
	}
	return f.failed + ": what was read before holds"
}

// useFiles has files read and looked at, from now on. The caller holds the lock.
func (g *Guard) useFiles(paths []string) {
	for _, path := range paths {
		f := g.files[path]
		if f == nil {
			f = &file{path: path}
			var ctx context.Context
			ctx, f.stop = context.WithCancel(g.ctx)
			g.files[path] = f
			go g.keepReading(ctx, f)
		}
		f.users++
	}
}

func (g *Guard) dropFiles(paths []string) {
	for _, path := range paths {
		f := g.files[path]
		f.users--
		f.unused = time.Now()
	}
}

// keepReading looks at a file until ctx ends. Each file has its own goroutine: one on a
// disk that hangs holds up no other.
func (g *Guard) keepReading(ctx context.Context, f *file) {
	var follow iplist.Follow
	first := true
	for {
		g.readOnce(f, &follow, first)
		first = false
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return
		}
	}
}

// readOnce reads a file if it has changed and was left alone since. The first time it
// is read as it is, and once more when it was left alone.
func (g *Guard) readOnce(f *file, follow *iplist.Follow, first bool) {
	g.mu.Lock()
	f.busy = time.Now()
	g.mu.Unlock()
	sign := iplist.Signature([]string{f.path})
	due := follow.Due(sign, time.Now())
	var allowed iplist.Allowed
	var bad []error
	var err error
	if due || first {
		allowed, bad, err = iplist.ReadAllowed(f.path)
	}
	again := iplist.Signature([]string{f.path})
	g.mu.Lock()
	defer g.mu.Unlock()
	f.busy = time.Time{}
	if !due && !first {
		return
	}
	log := g.opts.Log.With("component", "server")
	what := "ignoreip file:" + f.path
	if err != nil {
		f.read = true
		if text := strings.TrimPrefix(err.Error(), f.path+": "); text != f.failed {
			f.failed = text
			log.Error(what + ": " + f.holds())
		}
		g.renew()
		return // and it is tried again
	}
	if !first {
		if !follow.Whole(sign, again, count(f.set, f.names), count(allowed.Set, allowed.Names), time.Now()) {
			return // it is being written, it seems
		}
		follow.Took(sign)
	}
	if f.failed != "" {
		f.failed = ""
		log.Info(what + ": read")
	}
	if fmt.Sprint(bad) != fmt.Sprint(f.bad) {
		for _, b := range bad {
			log.Error(fmt.Sprintf("ignoreip: %v: left out, the others hold", b))
		}
	}
	f.bad, f.read = bad, true
	if f.set != nil && slices.Equal(f.set.Ranges(), allowed.Set.Ranges()) && slices.Equal(f.names, allowed.Names) {
		g.renew()
		return
	}
	before := f.names
	f.set, f.names = allowed.Set, allowed.Names
	g.useNames(f.names)
	g.dropNames(before)
	g.renew()
}

func count(s *iplist.Set, names []string) int {
	if s == nil {
		return 0
	}
	return s.Entries + len(names)
}
