package source

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"bailiff/pkg/safefile"

	"golang.org/x/sys/unix"
)

// lookout opens what a path names, as soon as it names something new. It does so
// while the reader is held back: a file that is open can be read even if it is
// renamed or deleted before its turn comes. Files that it missed (it was held back
// itself, or the whole process was) are looked for beside the log.
type lookout struct {
	path    string
	polling bool
	fifos   bool // the path is named as a FIFO
	waits   *waits
	// found is what the path named, in order; kick tells of everything else.
	found chan *sighting
	kick  chan struct{}
	// owed is how many of them the reader has not dealt with yet, sent or not.
	owed atomic.Int32

	id   FileID // of what it named last; zero: nothing
	err  string
	subs []*subscription
	// had are the files beside the log that aren't new.
	had map[node]bool
	// beds are the directories in which these are, as they were when they were looked
	// through; next is when that may be done again, again that it has to be.
	beds  []bed
	next  time.Time
	again bool
	// event is when an event last told of something, in nanoseconds after began; told,
	// whether events do.
	event atomic.Int64
	told  atomic.Bool
	// missing is since when there is nothing, where that is not told yet.
	missing time.Time
	refused refusals
	size    int64        // of that file when it was last looked at
	most    atomic.Int64 // the most that it ever was; the reader sets it back
	at      time.Time
	// proved: events have told of this file's changes. They don't where it is written
	// to by another name or from another host.
	proved bool
	opened time.Time
}

// How often a path is looked at: while something happens; while nothing does and
// events would tell of it; and where it isn't known yet whether they would, later.
const (
	checkQuiet = 10 * time.Second
	quietAfter = 2 * time.Second
	checkIdle  = time.Second
	idleAfter  = 10 * time.Minute
	// missingAfter is how long a file that was renamed or deleted may be without a
	// successor before that is told: a rotation renames first and makes the new one then.
	missingAfter = 2 * time.Second
)

// sighting is something that a path named.
type sighting struct {
	file    *os.File
	id      FileID
	size    int64
	born    int64
	fifo    bool // it is a named pipe
	between bool // it was there between two others, and has another name now
	gone    bool // nothing, after something
	// of is the file beside which this one came to be, while the path went on to name that:
	// a copy of it. Else zero.
	of FileID
	// seen is before when the files that are beside it came into being; of the first one.
	seen  int64
	again bool // what it named before, after an error
	err   error
}

func (s *sighting) close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
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
	l.opened = time.Now()
	l.waits.begin(1)
	l.subscribe(wake)
	var busy time.Time // when something last happened
	for woken := true; ctx.Err() == nil; {
		if woken {
			busy = time.Now()
			l.wakeReader() // what was written comes first
		}
		l.waits.begin(1)
		found, changed := l.check()
		l.waits.end(1)
		if changed && !woken {
			busy = time.Now()
			l.wakeReader()
		}
		l.owed.Add(int32(len(found)))
		for i, s := range found {
			select {
			case l.found <- &s:
				l.wakeReader()
			case <-ctx.Done():
				for _, s := range found[i:] {
					s.close()
				}
				return
			}
			if s.file != nil && !s.between && s.of == (FileID{}) {
				l.waits.begin(1)
				l.subscribe(wake) // it may be behind another symbolic link now
				l.waits.end(1)
			}
		}
		if len(found) >= mostBetween { // there may be more
			signal(wake)
		}
		at := began.Add(time.Duration(l.event.Load()))
		if at.After(busy) {
			busy = at
		}
		if at.After(l.opened) {
			l.proved = true
		}
		if changed && !woken && len(found) == 0 && time.Since(at) > 2*checkEvery {
			l.proved, l.opened = false, time.Now()
		}
		// All at the same moment, so that the processor is woken once.
		wait := checkEvery
		switch quiet := time.Since(busy); {
		case len(l.subs) > 0 && l.proved && quiet > quietAfter:
			wait = untilNext(checkQuiet)
		case quiet > idleAfter:
			wait = untilNext(checkIdle)
		case quiet > quietAfter:
			wait = untilNext(checkEvery)
		}
		if !l.missing.IsZero() {
			wait = min(wait, checkEvery)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-wake:
			woken = true
		case <-timer.C:
			woken = false
			l.waits.begin(1)
			l.subscribe(wake)
			l.waits.end(1)
		}
	}
}

func untilNext(d time.Duration) time.Duration {
	now := time.Now()
	return now.Truncate(d).Add(d).Sub(now)
}

func (l *lookout) wakeReader() { signal(l.kick) }

// close gives back what nobody took.
func (l *lookout) close() {
	for {
		select {
		case s := <-l.found:
			s.close()
		default:
			return
		}
	}
}

// ErrFIFO says that a path leads to a FIFO, and isn't named as one.
var ErrFIFO = errors.New("is a FIFO: name it as one in logpath (PATH fifo)")

// openLog opens what a path names, if it is one that is read as a log.
func openLog(path string, fifo bool) (*os.File, error) {
	open := safefile.Open
	if fifo {
		open = safefile.OpenLog
	}
	file, err := open(path)
	var kind *safefile.KindError
	if errors.As(err, &kind) && kind.Mode&os.ModeNamedPipe != 0 {
		err = ErrFIFO
	}
	return file, err
}

// Check reports why a path can't be followed now, or nil. fifo: it is named as a FIFO.
// It reads nothing, and waits for as long as its file system does.
func Check(path string, fifo bool) error {
	file, err := openLog(path, fifo)
	if err == nil {
		err = file.Close()
	}
	return err
}

// check looks at the path. changed says that its file is not as it was the last
// time. The first time, it finds something in any case.
func (l *lookout) check() (out []sighting, changed bool) {
	first := l.had == nil
	looked := stamped()
	fail := func(err error) ([]sighting, bool) {
		if first {
			l.had = l.beside(0)
			out = append(out, sighting{err: err})
		} else if err.Error() != l.err {
			out = append(out, sighting{err: err})
		}
		changed = err.Error() != l.err
		l.err, l.missing = err.Error(), time.Time{}
		return out, changed
	}
	// vanish: the path doesn't name its file any more. It reports whether that is all.
	vanish := func() bool {
		if l.id == (FileID{}) {
			return true
		}
		if out = l.between(0); len(out) >= mostBetween {
			return false
		}
		l.id, l.err = FileID{}, ""
		out = append(out, sighting{gone: true})
		return true
	}
	var st unix.Stat_t
	err := statOf(l.path, &st)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			if l.id != (FileID{}) {
				if vanish() {
					l.missing = time.Now()
				}
				return out, true
			}
			if !l.missing.IsZero() && time.Since(l.missing) < missingAfter {
				return nil, false
			}
		}
		return fail(err)
	}
	if idOfStat(&st) == l.id {
		at := changedAt(&st)
		changed = st.Size != l.size || !at.Equal(l.at)
		l.size, l.at = st.Size, at
		if changed && l.size > l.most.Load() {
			l.most.Store(l.size)
		}
		if l.err != "" {
			l.err = ""
			out = append(out, sighting{again: true})
		}
		return append(out, l.copies()...), changed
	}
	file, err := openLog(l.path, l.fifos)
	if errors.As(err, new(*safefile.KindError)) || errors.Is(err, ErrFIFO) {
		if !vanish() {
			return out, true
		}
	}
	if err != nil {
		return fail(err)
	}
	fi, err := file.Stat()
	if err != nil {
		file.Close()
		return fail(err)
	}
	s := sighting{file: file, id: fileID(fi.Sys()), size: fi.Size(), fifo: fi.Mode()&os.ModeNamedPipe != 0}
	beds := bedsOf(l.path)
	if s.id == l.id {
		file.Close()
		return nil, true
	}
	var born int64
	if x, err := lookAt(file); err == nil {
		born, s.born = x.born, x.born
		if !first {
			if out = l.between(born, x.node); len(out) >= mostBetween { // more of them, perhaps, came before this one
				delete(l.had, x.node)
				file.Close()
				return out, true
			}
		}
	}
	if first {
		if born != 0 { // what was made before it was opened, by copying it, did not come after it
			born = max(born, looked)
		}
		l.had = l.beside(born)
		for n := range l.had {
			s.seen = max(s.seen, n.born)
		}
		if s.seen != 0 && s.seen <= looked { // nothing comes of that moment any more
			s.seen++
		}
	}
	l.beds, l.again = beds, true
	l.id, l.err, l.size, l.at = s.id, "", s.size, fi.ModTime()
	l.missing = time.Time{}
	l.most.Store(s.size)
	l.proved, l.opened = false, time.Now()
	return append(out, s), true
}

// stampSlack is by how much the stamps of a file system may be behind the clock.
const stampSlack = 20 * time.Millisecond

// coarse is the clock by which the kernel stamps files, in nanoseconds since 1970. It ticks
// some hundred times a second, and may stand still for longer where a processor of a virtual
// machine does. Tests have another one.
var coarse = func() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &ts); err != nil {
		return math.MaxInt64
	}
	return ts.Nano()
}

// stamped returns a moment whose stamp no file gets any more.
func stamped() int64 {
	return min(time.Now().Add(-stampSlack).UnixNano(), coarse()-1)
}

// beside returns the files beside the log that came before a moment, 0 for any.
func (l *lookout) beside(born int64) map[node]bool {
	had := map[node]bool{}
	for _, n := range listed(l.path, false) {
		if born == 0 || n.born <= born {
			had[n.node] = true
		}
	}
	return had
}

// between finds the files that came since it last looked, and have another name by
// now. What came after the moment born is left for the next time. known are not among
// them.
func (l *lookout) between(born int64, known ...node) (out []sighting) {
	had := map[node]bool{}
	files, of := openNeighbours(l.path, false, func(n neighbour) bool {
		switch {
		case l.had[n.node] || slices.Contains(known, n.node) || n.id == l.id:
			had[n.node] = true
			return false
		case born != 0 && n.born > born:
			return false
		}
		return true
	}, l.refuse)
	for i, file := range files {
		had[of[i].node] = true
		out = append(out, sighting{file: file, id: of[i].id, size: of[i].size, born: of[i].born, between: true})
	}
	for _, n := range known {
		had[n] = true
	}
	l.had = had
	return out
}

// settled reports whether whatever was written after a moment will be told of.
func (l *lookout) settled(since time.Time) bool {
	return l.told.Load() && l.event.Load() < int64(since.Sub(began))
}

// subscribe sees to it that changes of the path, and of the file behind a
// symbolic link, wake the lookout.
func (l *lookout) subscribe(wake chan struct{}) {
	if l.polling {
		return
	}
	defer func() { l.told.Store(len(l.subs) > 0) }()
	paths := []string{l.path}
	var st unix.Stat_t
	if err := unix.Lstat(l.path, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
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
			if s := events.subscribe(p, wake, l.kick, &l.event, &l.waits.unread); s != nil {
				l.subs = append(l.subs, s)
			}
		}
	}
}
