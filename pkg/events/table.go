package events

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"time"
)

// Options of a table.
type Options struct {
	// Path is what the files' names begin with, the database's; empty: events are kept in
	// memory, MemoryMost bytes of them, and their numbers begin anew at each start.
	Path string
	// Bytes and Age bound what is kept; 0: DefaultBytes, and no bound.
	Bytes int64
	Age   time.Duration
	// Boot tells this boot of the machine from others; empty: it is not known.
	Boot string
	// Now is the wall clock; nil: time.Now.
	Now func() time.Time
	// Failed is told when events can't be written, once, and with nil when they can again.
	// It may be called before Open returns, and is not waited for by who adds events.
	Failed func(error)
	// Warn is told what was found wrong in the files; nil: nobody is.
	Warn func(string)
}

const (
	// DefaultBytes is how much is kept, and LeastBytes the least that can be set.
	DefaultBytes = 64 << 20
	LeastBytes   = 1 << 20
	// MemoryMost is how much is kept of a table without files.
	MemoryMost = 1 << 20
	// segments is about how many files what is kept is in: that much goes at a time.
	segments = 16
	// waitingMost is how many bytes of events wait to be written. More are counted.
	waitingMost = 1 << 20
	// retryFirst and retryMost are between tries to write what could not be written.
	retryFirst = 250 * time.Millisecond
	retryMost  = 5 * time.Second
	// gapMost is how many numbers are left out after a boot that no orderly stop came before:
	// what was told under them before the power went may not be on the disk.
	gapMost = 1_000_000
)

// gather is how long an event waits for others: a page of the disk is written once for them. Tests
// have another.
var gather = 40 * time.Millisecond

// moreEvery is how often it is told how many events are not kept one by one. Tests have another.
var moreEvery = time.Minute

// Table is the table, open for writing. A nil *Table takes events and keeps none.
type Table struct {
	o    Options
	now  func() time.Time
	wake chan struct{}
	stop chan struct{} // closed when it is to end
	done chan struct{}

	mu      sync.Mutex
	buf     []byte // events that wait, each without its number
	plenty  bucket // of what is no failure
	shared  bucket // of failures
	lost    map[lostKey]*lost
	armed   bool // a timer tells of them
	last    uint64
	segs    []segment // the oldest first
	stream  string
	open    bool
	changed chan struct{} // closed, and made anew, when something was written
	bytes   int64
	age     time.Duration
	closing bool

	file file // of the last segment; the writer's alone
}

// segment is one file, or one piece of memory.
type segment struct {
	first, last uint64 // last: first-1 if it holds none
	begun       time.Time
	ended       time.Time // about when its last event was
	name        string    // of the file; empty: it is in memory
	size        int64     // of what is whole
	memory      []byte
	boot        string
	stopped     bool // its last event is a Stop
	body        int64
}

// Open begins to keep events. It waits for no disk: what is there is looked at beside.
func Open(o Options) *Table {
	t := &Table{
		o: o, now: o.Now, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{}),
		lost: map[lostKey]*lost{}, plenty: bucket{most: plentyBurst, rate: plentyRate, room: plentyBurst}, shared: bucket{most: sharedBurst, rate: sharedRate, room: sharedBurst},
	}
	if t.now == nil {
		t.now = time.Now
	}
	if t.o.Failed == nil {
		t.o.Failed = func(error) {}
	}
	if t.o.Warn == nil {
		t.o.Warn = func(string) {}
	}
	t.SetBounds(o.Bytes, o.Age)
	go t.run()
	return t
}

// SetBounds changes how much is kept, from the next file on.
func (t *Table) SetBounds(most int64, age time.Duration) {
	if t == nil {
		return
	}
	if most == 0 {
		most = DefaultBytes
	}
	if t.o.Path == "" {
		most = MemoryMost
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes, t.age = max(most, LeastBytes), age
}

// Add adds an event: its number and, if it has none, its time are filled in. It waits for
// nothing. What there is no room for is counted.
func (t *Table) Add(e *Event) {
	if t == nil {
		return
	}
	t.add(e, true)
}

func (t *Table) add(e *Event, bounded bool) {
	if e.Time.IsZero() {
		e.Time = t.now()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing {
		return
	}
	was := len(t.buf)
	t.buf = e.appendTo(t.buf)
	if size := len(t.buf) - was; bounded && (len(t.buf) > waitingMost || e.Kind != Found && !t.plenty.take(time.Now(), size)) {
		t.buf = t.buf[:was]
		t.lose(lostKey{e.Kind, e.Jail})
		return
	}
	if was == 0 {
		signal(t.wake)
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close writes what waits, if that can be done at once, and ends the table.
func (t *Table) Close() {
	if t == nil {
		return
	}
	t.tellLost()
	t.mu.Lock()
	if !t.closing {
		t.closing = true
		close(t.stop)
	}
	t.mu.Unlock()
	<-t.done
}

// run writes, in a goroutine of its own.
func (t *Table) run() {
	defer close(t.done)
	defer func() {
		t.file.sync()
		t.file.close()
	}()
	wait, failed, ending := retryFirst, false, false
	// pause waits, unless the table is to end.
	pause := func(d time.Duration) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-t.stop:
			ending = true
		}
	}
	// try does something until it is done, or the table is to end.
	try := func(f func() error) bool {
		for {
			err := f()
			if (err != nil) != failed {
				failed = err != nil
				t.o.Failed(err)
			}
			if err == nil {
				wait = retryFirst
				return true
			}
			if ending {
				return false
			}
			pause(wait) // if it ends, it is tried once more
			wait = min(2*wait, retryMost)
		}
	}
	if !try(t.begin) {
		return
	}
	for {
		for t.waits() {
			if !try(t.write) {
				return
			}
		}
		if ending {
			return
		}
		select {
		case <-t.wake:
			pause(gather)
		case <-t.stop:
			ending = true
		}
	}
}

func (t *Table) waits() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.buf) > 0
}

// begin looks at what there is, and goes on behind it.
func (t *Table) begin() error {
	var found []segment
	stream, next := "", uint64(1)
	if t.o.Path != "" {
		var err error
		if found, stream, next, err = look(t.o.Path, t.o.Warn); err != nil {
			return err
		}
	}
	var gap *Event
	if n := len(found); n > 0 {
		tail := &found[n-1]
		if (tail.boot != t.o.Boot || t.o.Boot == "") && !tail.stopped {
			gap = &Event{
				Kind: Gap, From: next, To: next + gapMost - 1, Time: t.now(),
				Why: "the machine was started anew without an orderly stop: the last events before that may be lost",
			}
			next += gapMost
		}
	}
	if stream == "" {
		var id [8]byte
		_, _ = rand.Read(id[:]) // it never fails
		stream = hex.EncodeToString(id[:])
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.segs, t.last, t.stream, t.open = found, next-1, stream, true
	if gap != nil {
		t.buf = append(gap.appendTo(nil), t.buf...)
	}
	return nil
}

// write writes what waits, with the numbers that come next.
func (t *Table) write() error {
	t.mu.Lock()
	buf := t.buf
	t.buf = nil
	// What is written at once fits into a segment, whatever waited while the disk or
	// the processor did: so the bound holds.
	if most := int(t.bytes / segments / 2); len(buf) > most {
		end := bytes.LastIndexByte(buf[:most], '\n') + 1
		if end == 0 {
			end = bytes.IndexByte(buf, '\n') + 1
		}
		buf, t.buf = buf[:end:end], buf[end:]
	}
	next := t.last + 1
	t.mu.Unlock()
	now := t.now()
	out := make([]byte, 0, len(buf)+24*bytes.Count(buf, []byte{'\n'}))
	n := next
	stopped := false
	for rest := buf; len(rest) > 0; n++ {
		end := bytes.IndexByte(rest, '\n') + 1
		out = strconv.AppendUint(append(out, `{"n":`...), n, 10)
		out = append(out, rest[:end]...)
		stopped = isStop(rest[:end])
		rest = rest[end:]
	}
	err := t.roll(next, int64(len(out)), now)
	if err == nil && t.o.Path != "" {
		err = t.file.append(out)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.buf = append(buf, t.buf...)
		return err
	}
	s := &t.segs[len(t.segs)-1]
	if t.o.Path == "" {
		s.memory = append(s.memory, out...)
	}
	s.size += int64(len(out))
	s.last, s.stopped, s.ended = n-1, stopped, now
	t.last = n - 1
	close(t.changed)
	t.changed = make(chan struct{})
	return nil
}

var stopMark = []byte(`,"kind":"` + string(Stop) + `"`)

func isStop(line []byte) bool { return bytes.Contains(line, stopMark) }

// roll begins another file, if what is to be written makes this one too large or if it is
// too old, and has the oldest go.
func (t *Table) roll(next uint64, size int64, now time.Time) error {
	t.mu.Lock()
	most, age := t.bytes, t.age
	var tail segment
	if n := len(t.segs); n > 0 {
		tail = t.segs[n-1]
	}
	t.mu.Unlock()
	old := age > 0 && tail.size > tail.body && now.Sub(tail.begun) > age/segments
	goesOn := tail.size > 0 && tail.size+size <= most/segments && !old
	switch {
	case !goesOn:
	case t.o.Path == "", t.file.there(tail.name):
		return nil
	case !t.file.open() && tail.boot == t.o.Boot && t.o.Boot != "":
		if err := t.file.reopen(tail.name, tail.size); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	head, _ := json.Marshal(header{Magic: magic, Stream: t.stream, Boot: t.o.Boot, First: next, Begun: now.UTC().Truncate(time.Millisecond)})
	head = append(head, '\n')
	s := segment{first: next, last: next - 1, begun: now, boot: t.o.Boot, size: int64(len(head)), body: int64(len(head))}
	if t.o.Path == "" {
		s.memory = head
	} else {
		s.name = nameOf(t.o.Path, next)
		if err := t.file.begin(s.name, head); err != nil {
			return err
		}
	}
	t.mu.Lock()
	for n := len(t.segs); n > 0 && t.segs[n-1].name == s.name && s.name != ""; n-- {
		t.segs = t.segs[:n-1] // somebody took it away before there was an event in it
	}
	t.segs = append(t.segs, s)
	var gone []segment
	var kept int64
	for i := len(t.segs) - 1; i >= 0; i-- {
		kept += t.segs[i].size
		late := age > 0 && now.Sub(t.segs[i].ended) > age
		if i < len(t.segs)-1 && (kept > most-most/segments || late) {
			gone = t.segs[:i+1]
			t.segs = append([]segment(nil), t.segs[i+1:]...)
			break
		}
	}
	t.mu.Unlock()
	return removeAll(gone)
}

// Purge has what is older than it may be go; it is called now and then.
func (t *Table) Purge() {
	if t == nil {
		return
	}
	t.mu.Lock()
	now := t.now()
	n := 0
	for n < len(t.segs)-1 && t.age > 0 && now.Sub(t.segs[n].ended) > t.age {
		n++
	}
	gone := t.segs[:n]
	t.segs = append([]segment(nil), t.segs[n:]...)
	t.mu.Unlock()
	if err := removeAll(gone); err != nil {
		t.o.Warn(fmt.Sprintf("events that are too old can't be removed: %v", err))
	}
}

// Last is the number of the last event that was written, and Stream what tells this row of
// numbers from one that was begun anew; false: neither is known yet.
func (t *Table) Last() (n uint64, stream string, ok bool) {
	if t == nil {
		return 0, "", false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, t.stream, t.open
}

// Size is how many bytes the events take that are kept.
func (t *Table) Size() (n int64) {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.segs {
		n += t.segs[i].size
	}
	return n
}

// Changed returns a channel that is closed when the next event is written.
func (t *Table) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}
