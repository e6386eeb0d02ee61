package source

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// lookout opens what a path names, as soon as it names something new. It does so
// while the reader is held back: a file that is open can be read even if it is
// renamed or deleted before its turn comes.
type lookout struct {
	path    string
	polling bool
	// found is what the path named, in order; kick tells of everything else.
	found chan sighting
	kick  chan struct{}

	id   FileID // of what it named last; zero: nothing
	err  string
	subs []*subscription
	// event is when an event last told of something, in nanoseconds since 1970; told,
	// whether events do.
	event atomic.Int64
	told  atomic.Bool
	size  int64 // of that file when it was last looked at
	at    time.Time
}

// How often a path is looked at: while something happens, and while nothing does
// and events would tell of it.
const (
	checkQuiet = 10 * time.Second
	quietAfter = 2 * time.Second
)

// sighting is something that a path named.
type sighting struct {
	file *os.File
	id   FileID
	size int64
	fifo bool  // a named pipe, not opened
	gone bool  // nothing, after something
	err  error // it can't be followed
}

func (l *lookout) run(ctx context.Context) {
	wake := make(chan struct{}, 1)
	timer := time.NewTimer(checkEvery)
	defer timer.Stop()
	defer func() {
		for _, s := range l.subs {
			events.cancel(s)
		}
	}()
	l.subscribe(wake)
	var busy time.Time // when something last happened
	for woken := true; ; {
		if woken {
			busy = time.Now()
			l.wakeReader() // what was written comes first
		}
		found, changed := l.check()
		if changed && !woken {
			busy = time.Now()
			l.wakeReader()
		}
		for _, s := range found {
			select {
			case l.found <- s:
				l.wakeReader()
			case <-ctx.Done():
				if s.file != nil {
					s.file.Close()
				}
				return
			}
			if s.file != nil {
				l.subscribe(wake) // it may be behind another symbolic link now
			}
		}
		if at := time.Unix(0, l.event.Load()); at.After(busy) {
			busy = at
		}
		wait := checkEvery
		if len(l.subs) > 0 && time.Since(busy) > quietAfter {
			// All at the same moment, so that the processor is woken once.
			now := time.Now()
			wait = now.Truncate(checkQuiet).Add(checkQuiet).Sub(now)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-wake:
			woken = true
		case <-timer.C:
			woken = false
			l.subscribe(wake)
		}
	}
}

func (l *lookout) wakeReader() { signal(l.kick) }

// close gives back what nobody took.
func (l *lookout) close() {
	for {
		select {
		case s := <-l.found:
			if s.file != nil {
				s.file.Close()
			}
		default:
			return
		}
	}
}

// check looks at the path. changed says that its file is not as it was the last
// time.
func (l *lookout) check() (out []sighting, changed bool) {
	fail := func(err error) ([]sighting, bool) {
		if err.Error() == l.err {
			return out, false
		}
		l.err = err.Error()
		return append(out, sighting{err: err}), true
	}
	fi, err := os.Stat(l.path)
	if err != nil {
		if l.id != (FileID{}) && errors.Is(err, os.ErrNotExist) {
			l.id, l.err = FileID{}, ""
			out = append(out, sighting{gone: true})
		}
		return fail(err)
	}
	id := fileID(fi.Sys())
	switch {
	case id == l.id:
		changed = fi.Size() != l.size || !fi.ModTime().Equal(l.at)
		l.size, l.at = fi.Size(), fi.ModTime()
		return nil, changed
	case fi.IsDir():
		return fail(errors.New("is a directory, not a log file"))
	case fi.Mode()&os.ModeNamedPipe != 0:
		l.id, l.err = id, ""
		return append(out, sighting{fifo: true, id: id}), true
	}
	file, err := os.Open(l.path)
	if err != nil {
		return fail(err)
	}
	fi, err = file.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		file.Close()
		return fail(cmp.Or(err, errors.New("not a regular file")))
	}
	if id = fileID(fi.Sys()); id == l.id {
		file.Close()
		return nil, true
	}
	l.id, l.err = id, ""
	return append(out, sighting{file: file, id: id, size: fi.Size()}), true
}

// settled reports whether whatever was written after a moment will be told of.
func (l *lookout) settled(since time.Time) bool {
	return l.told.Load() && l.event.Load() < since.UnixNano()
}

// subscribe sees to it that changes of the path, and of the file behind a
// symbolic link, wake the lookout.
func (l *lookout) subscribe(wake chan struct{}) {
	if l.polling {
		return
	}
	defer func() { l.told.Store(len(l.subs) > 0) }()
	paths := []string{l.path}
	if fi, err := os.Lstat(l.path); err == nil && fi.Mode()&os.ModeSymlink != 0 {
		if real, err := filepath.EvalSymlinks(l.path); err == nil && real != l.path {
			paths = append(paths, real)
		}
	}
	keep := l.subs[:0]
	for _, s := range l.subs {
		if slices.Contains(paths, s.path) && events.alive(s) {
			keep = append(keep, s)
		} else {
			events.cancel(s)
		}
	}
	l.subs = keep
	for _, p := range paths {
		if !slices.ContainsFunc(l.subs, func(s *subscription) bool { return s.path == filepath.Clean(p) }) {
			if s := events.subscribe(p, wake, l.kick, &l.event); s != nil {
				l.subs = append(l.subs, s)
			}
		}
	}
}
