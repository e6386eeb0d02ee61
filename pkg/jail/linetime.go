package jail

import (
	"fmt"
	"os"
	"sync"
	"time"

	"bailiff/pkg/clock"
	"bailiff/pkg/filter"
	"bailiff/pkg/source"
	"bailiff/pkg/transport"
)

// lineClock is by which times lines are taken, and what is known of a clock that was set.
type lineClock struct {
	read  clock.Reading // when the lines at work were read
	times lineTimes
	year  int // by which the filter was compiled
	// When lines off the clock were last warned of, by the steady time: those taken as
	// of now, and those taken as old.
	skewWarned, oldWarned time.Time

	step struct { // the last time that the clock was set forward
		offset time.Duration // of the wall clock from the steady time, after it
		by     time.Duration
		seen   time.Time // steady
	}
	slept time.Duration // by how much the kernel's timers were behind when it had the bans last
	armed time.Time     // the end of a ban that a timer is set for
	// endGrace is for how long after its end a ban stays on the list, if nobody is to be banned anew.
	endGrace time.Duration
}

// How old a line is. A line that comes now, and whose date is off the clock, was either
// written by somebody in another time zone, or with a wrong clock, and is new; or it is
// old, and comes now because a log was written anew, restored or pasted. A zone, or a
// clock, is off by the same time for line after line; old lines are off by anything.
//
// Under a configuration of fail2ban's, what comes while the log is followed is new, as
// it is there, unless the file is known to have been rewritten.

const (
	// skewAllowed is how far a line may be off the clock and still be on it.
	skewAllowed = 60 * time.Second
	// steadyLines is how many lines before have to be off by the same time.
	steadyLines = 10
	// zoneStep is what all zones are apart by, and zoneMost how far they may be.
	zoneStep = 15 * time.Minute
	zoneMost = 14 * time.Hour
	// steadyFor is for how long lines have to come that are off by more than a zone can
	// be: lines of one old minute may all come at once.
	steadyFor = 60 * time.Second
	// warnEvery is how often lines off the clock are told of.
	warnEvery = 24 * time.Hour
	// logsRemembered is of how many files it is known how far their times are off.
	logsRemembered = 256
	// writtenMost is how old an entry of the journal may be that came as it was written.
	writtenMost = time.Hour
)

// passage is on what way a line comes.
type passage uint8

const (
	following  passage = iota // it came while the log was followed
	catchingUp                // it was there when the log was first seen
	rewritten                 // it stands in a file that was written anew
)

// logTimes is what is known of the times in one file.
type logTimes struct {
	// ahead is by how much its zone or its clock is ahead of ours, as far as known.
	ahead time.Duration

	before [steadyLines]offClock // the last lines, in turns
	lines  int
	used   uint64
}

// offClock is how far behind the clock a line was that was read at a moment of the
// steady time.
type offClock struct {
	behind time.Duration
	read   time.Time
}

// verdict is what a line is taken for.
type verdict uint8

const (
	onTime verdict = iota
	asNow          // off the clock, and new all the same
	asOld          // off the clock, and as old as it says
)

// judge says how old a line is that says that it is of at. literal: fail2ban's rules
// hold.
func (l *logTimes) judge(at time.Time, now clock.Reading, how passage, literal bool) (age time.Duration, is verdict) {
	behind := now.Wall.Sub(at)
	if how != following {
		switch behind += l.ahead; {
		case behind < -skewAllowed:
			return 0, asNow // nothing is of the future
		case l.ahead != 0:
			return max(behind, 0), asOld
		}
		return max(behind, 0), onTime
	}
	switch {
	case behind >= -skewAllowed && behind <= skewAllowed:
		return max(behind, 0), onTime
	case literal, behind < 0:
		return 0, asNow
	case near(behind, -l.ahead) && l.ahead != 0:
		return 0, asNow
	case l.lines < steadyLines:
		zone := zoneOf(behind)
		if zone == 0 {
			return behind, asOld
		}
		l.ahead = -zone
		return 0, asNow
	case l.steady(behind, now.Steady):
		l.ahead = -zoneOf(behind)
		return 0, asNow
	}
	return behind, asOld
}

// steady reports whether the lines before were off by the same time.
func (l *logTimes) steady(behind time.Duration, now time.Time) bool {
	first := now
	for _, b := range l.before {
		if !near(b.behind, behind) {
			return false
		}
		if b.read.Before(first) {
			first = b.read
		}
	}
	return behind.Abs() <= zoneMost+skewAllowed || now.Sub(first) >= steadyFor
}

// saw notes a line of the log, be it of a failure or not.
func (l *logTimes) saw(at time.Time, now clock.Reading) {
	l.before[l.lines%steadyLines] = offClock{now.Wall.Sub(at), now.Steady}
	l.lines++
	if l.lines == 2*steadyLines {
		l.lines = steadyLines
	}
}

func near(a, b time.Duration) bool { return (a - b).Abs() <= skewAllowed }

// zoneOf is the multiple of a quarter of an hour that a time is near to and that zones
// may be apart by; 0 if it is none.
func zoneOf(d time.Duration) time.Duration {
	if zone := d.Round(zoneStep); near(d, zone) && zone.Abs() <= zoneMost {
		return zone
	}
	return 0
}

// zoneError is by how much a log's times are ahead of the clock, if its newest line is
// of that time, and the file was last written to at another: behind by what may be a
// zone, ahead by anything, since nobody writes of the future.
func zoneError(newest, written, now time.Time) time.Duration {
	if written.After(now) {
		// The clock was set back since, if the file was stamped as the line says; or after
		// it, if it was written anew since, and no zone explains the line.
		if d := newest.Sub(written); near(d, 0) || d < 0 && newest.After(now) && zoneOf(newest.Sub(now)) == 0 {
			return 0
		}
		written = now
	}
	ahead := newest.Sub(written)
	if zone := zoneOf(ahead); zone != 0 {
		return zone
	}
	if newest.Sub(now) > skewAllowed {
		return ahead
	}
	return 0
}

// lineTimes is what is known of the times in a jail's logs; the jail's goroutine's.
type lineTimes struct {
	logs  map[logKey]*logTimes
	turns uint64
	// dates finds the dates of lines that tell of nothing; nil: not made yet.
	dates *filter.Filter

	mu sync.Mutex
	// ahead is what the source's goroutine found of files from before the start, and
	// nobody has asked for yet.
	ahead  map[source.FileID]time.Duration
	warned time.Time // when it was last said, by the steady time
}

type logKey struct {
	path string
	file source.FileID
}

// of returns what is known of a file. A new one that takes the place of another is
// written by the same clock.
func (t *lineTimes) of(path string, file source.FileID) *logTimes {
	t.turns++
	l := t.logs[logKey{path, file}]
	if l == nil {
		if t.logs == nil {
			t.logs = map[logKey]*logTimes{}
		}
		l = &logTimes{}
		var latest, oldest *logTimes
		var oldestKey logKey
		for key, other := range t.logs {
			if key.path == path && (latest == nil || other.used > latest.used) {
				latest = other
			}
			if oldest == nil || other.used < oldest.used {
				oldest, oldestKey = other, key
			}
		}
		if latest != nil {
			l.ahead = latest.ahead
		}
		t.mu.Lock()
		if ahead, ok := t.ahead[file]; ok {
			l.ahead = ahead
			delete(t.ahead, file)
		}
		t.mu.Unlock()
		if len(t.logs) >= logsRemembered {
			delete(t.logs, oldestKey)
		}
		t.logs[logKey{path, file}] = l
	}
	l.used = t.turns
	return l
}

// old looks at a file from before the start, of which nothing was read yet: by how much
// its newest line is ahead of when the file was last written to, which tells its zone.
// It returns that, positive where the log is ahead. It runs in the source's goroutine.
func (j *Jail) old(file *os.File, dates *filter.Filter) time.Duration {
	fi, err := file.Stat()
	if err != nil {
		return 0
	}
	now := j.deps.Clock.Wall()
	var newest time.Time
	log := transport.New(j.Configured.Filter.Around())
	for _, line := range source.LastLines(file, fi.Size(), j.Configured.Encoding) {
		// The last one, not the latest: the clock may have been set back since.
		if at, ok := timeOf(log, dates, line, now); ok {
			newest = at
		}
	}
	if newest.IsZero() {
		return 0
	}
	// The kernel's clock stamps files; ours may be one of a test's.
	written := now.Add(-time.Since(fi.ModTime()))
	if j.deps.stamps {
		written = fi.ModTime()
	}
	ahead := zoneError(newest, written, now)
	since := j.deps.Clock.Offset() // by how much it was set while we run
	if near(ahead, -j.deps.ClockSet) || near(ahead, -since) || near(ahead, -j.deps.ClockSet-since) {
		return 0 // it is the clock that was set, and what comes now is on it
	}
	j.times.mu.Lock()
	defer j.times.mu.Unlock()
	if j.times.ahead == nil || len(j.times.ahead) >= logsRemembered {
		j.times.ahead = map[source.FileID]time.Duration{}
	}
	j.times.ahead[source.IDOf(fi)] = ahead
	if now := j.deps.Clock.Now(); ahead != 0 && (j.times.warned.IsZero() || now.Sub(j.times.warned) > warnEvery) {
		j.times.warned = now
		j.log.Warn(fmt.Sprintf("[%s] log %s: its newest line says %s, and it was last written to at %s: the times of the lines that stand there are taken to be %s the clock; if its time zone is another one than this host's, set logtimezone",
			j.Configured.Name, file.Name(), wall(newest), wall(fi.ModTime()), apart(time.Time{}, time.Time{}.Add(ahead))))
	}
	return ahead
}

// inTime says when a failure was, and whether that is late enough to count. Its line is the i-th
// of a batch.
func (j *Jail) inTime(of *filter.Failure, b *batchTimes, i int) (q found, counts bool) {
	q = found{catchUp: b.CatchUp, log: b.Path, failure: *of}
	f := &q.failure
	if b.Received {
		f.Time = b.Times[i]
	}
	f.Time = j.byThisClock(f.Time)
	q.written = b.writtenAt(j, i)
	age, is := j.lineAge(b, i, f.Time)
	if is != onTime && (b.how == following || age == 0) {
		j.counters.offClock.Add(1)
		j.offWarned(b.Path, f.Time, is)
	}
	switch {
	case age > j.Config.FindTime:
		return q, false // too old to count
	case is != onTime || f.Time.IsZero():
		f.Time = j.read.Wall.Add(-age)
	}
	q.at = j.read.At(f.Time)
	return q, true
}

// lineAge is how old a line with failures is that is the i-th of a batch. The lines
// before it are looked at only where it is off the clock.
func (j *Jail) lineAge(b *batchTimes, i int, at time.Time) (time.Duration, verdict) {
	if at.IsZero() {
		return 0, onTime
	}
	if behind := j.read.Wall.Sub(at); b.how == following && !j.Config.Fail2ban && behind.Abs() > skewAllowed {
		b.upTo(j, i)
	}
	return b.log.judge(at, j.read, b.how, j.Config.Fail2ban)
}

// batchTimes are the times of a batch's lines.
type batchTimes struct {
	*source.Batch
	log  *logTimes
	how  passage
	seen int // lines that log saw
}

func (j *Jail) batchTimes(b *source.Batch) batchTimes {
	out := batchTimes{Batch: b, log: j.times.of(b.Path, b.File)}
	switch {
	case b.Rewritten:
		out.how = rewritten
	case b.CatchUp:
		out.how = catchingUp
	}
	return out
}

// writtenAt is when the i-th line was written, as source.Moment has it; 0: it is not known, or it was
// there before the log was followed.
func (b *batchTimes) writtenAt(j *Jail, i int) int64 {
	switch {
	case b.how != following:
		return 0
	case b.Written != 0:
		return b.Written
	case b.Times != nil: // of the journal, of syslog
		if age := j.read.Wall.Sub(b.Times[i]); age >= 0 && age < writtenMost {
			return source.Moment() - int64(age)
		}
	}
	return 0
}

// upTo has the last lines before the i-th one seen.
func (b *batchTimes) upTo(j *Jail, i int) {
	if b.how != following || j.Config.Fail2ban {
		return
	}
	for n := max(b.seen, i-steadyLines); n < i; n++ {
		if b.Times != nil {
			b.log.saw(b.Times[n], j.read)
		} else if at, ok := j.lineTime(b.Lines[n], b.frame(n)); ok {
			b.log.saw(at, j.read)
		}
	}
	b.seen = max(b.seen, i)
}

// lineTime is the time of a line of which the filter told nothing.
func (j *Jail) lineTime(line []byte, frame transport.Frame) (time.Time, bool) {
	if j.times.dates == nil {
		dates, err := compile(j.Config.Filter, &j.deps)
		if err != nil {
			return time.Time{}, false
		}
		j.times.dates = dates
	}
	return j.times.dates.FramedTime(line, frame, j.read.Wall)
}

// timeOf is the time of a line as it stands in a log.
func timeOf(log *transport.Log, dates *filter.Filter, line []byte, now time.Time) (time.Time, bool) {
	text, frame, ok := log.One(line)
	if !ok {
		return time.Time{}, false
	}
	return dates.FramedTime(text, frame, now)
}

// frame is what stood around a line.
func (b *batchTimes) frame(i int) transport.Frame {
	if b.Frames == nil {
		return transport.Frame{}
	}
	return b.Frames[i]
}

// offWarned tells, once a day, of lines that are off the clock.
func (j *Jail) offWarned(path string, at time.Time, is verdict) {
	last, text := &j.skewWarned, "such lines are taken as of now"
	if is == asOld {
		last, text = &j.oldWarned, "it differs from line to line, so they count as old as they say (written anew?)"
	}
	if !last.IsZero() && j.read.Steady.Sub(*last) <= warnEvery {
		return
	}
	*last = j.read.Steady
	j.log.Warn(fmt.Sprintf("[%s] log %s: a line of %s is off the clock, %s it: %s; if its time zone is another one than this host's, set logtimezone",
		j.Config.Name, path, wall(at), apart(j.read.Wall, at), text))
}

// apart says by how much a time is ahead of the clock, or behind it; in whole days where
// it is more than two.
func apart(clock, at time.Time) string {
	word, sec := "ahead of", at.Unix()-clock.Unix() // a time.Duration ends at 292 years
	if sec < 0 {
		word, sec = "behind", -sec
	}
	const day = 24 * 60 * 60
	if sec > 2*day {
		return fmt.Sprintf("%d days %s", sec/day, word)
	}
	return fmt.Sprintf("%v %s", time.Duration(sec)*time.Second, word)
}

// wall writes a time for the log as a clock on this host's wall shows it, whatever zone
// it was read in.
func wall(t time.Time) string { return t.Local().Format(time.DateTime) }
