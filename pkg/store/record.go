package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net/netip"
	"slices"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/fair"
)

// The form of the changes file. A head, then frames, each with its length and a sum over
// both; what was handed over together is one frame, so it is there as a whole or not at
// all. A frame is a row of items. Names of jails and what tells files apart are written
// once in a file, and are numbers from then on. Times are steady microseconds since the
// head's, so that an item can be read by itself.

const (
	changesMagic = "bailiff changes " // and the version of the form
	changesForm  = "1\n"
	databaseID   = 16 // bytes that tell databases apart
	headSize     = len(changesMagic) + len(changesForm) + databaseID + 8
	frameHead    = 8 // length and sum
)

// Items.
const (
	itemClock    = 'c' // boot, zero, offset: by which clock times are from here on
	itemAt       = 't' // when the frame was written
	itemJail     = 'j' // whose is what follows
	itemAll      = 'F' // what is known of failures of the jail is forgotten
	itemFailures = 'f' // of one address: all of them
	itemMarked   = 'm' // what more is known of failures of one address
	itemAllLogs  = 'L' // the same of positions
	itemFile     = 'd' // what tells a file apart, of which positions follow
	itemPosition = 'p'
)

// Kinds of an ID: most are an address.
const (
	idText = 0
	id4    = 4
	id6    = 6
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOf is over a frame's length and content.
func sumOf(frame []byte) uint32 {
	sum := crc32.Update(0, castagnoli, frame[:4])
	return crc32.Update(sum, castagnoli, frame[frameHead:])
}

// fileKey is what is written once of a file.
type fileKey struct {
	jail string
	LogKey
	first string
	born  int64
}

// recorder writes frames for one changes file.
type recorder struct {
	base  int64 // steady microseconds
	jails map[string]int
	files map[fileKey]int
	clock recordClock
	buf   []byte

	turn turn

	was struct { // before the last frame
		jails, files int
		clock        recordClock
	}
}

// recordClock tells what steady times meant to who wrote them.
type recordClock struct {
	boot         string
	zero, offset time.Duration
}

func newRecorder(base time.Time) *recorder {
	return &recorder{base: base.UnixMicro(), jails: map[string]int{}, files: map[fileKey]int{}}
}

// head is what the file begins with.
func (r *recorder) head(id [databaseID]byte) []byte {
	b := append([]byte(changesMagic+changesForm), id[:]...)
	return binary.LittleEndian.AppendUint64(b, uint64(r.base))
}

// frame returns what is to be appended for deltas; it is valid until the next call. nil:
// there is nothing.
func (r *recorder) frame(deltas []*Delta, c recordClock, now time.Time) []byte {
	if cap(r.buf) > 1<<20 {
		r.buf = nil
	}
	r.was.jails, r.was.files, r.was.clock = len(r.jails), len(r.files), r.clock
	b := append(r.buf[:0], make([]byte, frameHead)...)
	if c != r.clock {
		b = append(b, itemClock)
		b = appendText(b, c.boot)
		b = binary.AppendVarint(b, int64(c.zero))
		b = binary.AppendVarint(b, int64(c.offset))
		r.clock = c
	}
	b = append(b, itemAt)
	b = binary.AppendVarint(b, now.UnixMicro()-r.base)
	none := len(b)
	for _, d := range deltas {
		b = r.delta(b, d)
	}
	r.buf = b
	if len(b) == none {
		return nil
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-frameHead))
	binary.LittleEndian.PutUint32(b[4:], sumOf(b))
	return b
}

// undo forgets the last frame, which could not be written: what it told is told again.
func (r *recorder) undo() {
	maps.DeleteFunc(r.jails, func(_ string, n int) bool { return n >= r.was.jails })
	maps.DeleteFunc(r.files, func(_ fileKey, n int) bool { return n >= r.was.files })
	r.clock = r.was.clock
}

func (r *recorder) delta(b []byte, d *Delta) []byte {
	if !d.AllFailures && !d.AllLogs && len(d.Failures) == 0 && len(d.Logs) == 0 {
		return b
	}
	n, known := r.jails[d.Jail]
	if !known {
		n = len(r.jails)
		r.jails[d.Jail] = n
	}
	b = append(b, itemJail)
	b = binary.AppendUvarint(b, uint64(n))
	if !known {
		b = appendText(b, d.Jail)
	}
	if d.AllFailures {
		b = append(b, itemAll)
		from := 0
		for i, id := range d.Window.ids {
			b = r.failures(b, id, d.Window.times[from:d.Window.ends[i]])
			from = d.Window.ends[i]
		}
	}
	var micros []int64
	for id, times := range d.Failures {
		micros = micros[:0]
		for _, t := range times {
			micros = append(micros, t.UnixMicro())
		}
		b = r.failures(b, id, micros)
	}
	for id, m := range d.Marked {
		b = r.marked(b, id, m)
	}
	if d.AllLogs {
		b = append(b, itemAllLogs)
	}
	for _, p := range inOrder(d.Logs) {
		b = r.position(b, d.Jail, p)
	}
	return b
}

func (r *recorder) failures(b []byte, id ban.ID, times []int64) []byte {
	r.turn.step()
	b = appendID(append(b, itemFailures), id)
	b = binary.AppendUvarint(b, uint64(len(times)))
	last := r.base
	for _, t := range times {
		b = binary.AppendVarint(b, t-last)
		last = t
	}
	return b
}

// appendID appends who is meant.
func appendID(b []byte, id ban.ID) []byte {
	switch p := id.Prefix(); {
	case p.IsValid() && id.Is4() && p.Bits() == 32:
		a := p.Addr().As4()
		return append(append(b, id4), a[:]...)
	case p.IsValid() && !id.Is4() && p.Bits() == 128:
		a := p.Addr().As16()
		return append(append(b, id6), a[:]...)
	}
	return appendText(append(b, idText), ban.Name(id))
}

// Flags of a position.
const (
	posGone = 1 << iota
	posCursor
	posTime
)

func (r *recorder) position(b []byte, jail string, p Position) []byte {
	key := fileKey{jail, LogKey{p.Path, p.Dev, p.Inode}, p.FirstLine, p.Born}
	n, known := r.files[key]
	if !known {
		n = len(r.files)
		r.files[key] = n
		b = appendText(append(b, itemFile), p.Path)
		b = binary.AppendUvarint(b, p.Dev)
		b = binary.AppendUvarint(b, p.Inode)
		b = appendText(b, p.FirstLine)
		b = binary.AppendVarint(b, p.Born)
	}
	flags := byte(0)
	if p.Gone {
		flags |= posGone
	}
	if p.Cursor != "" {
		flags |= posCursor
	}
	if !p.Time.IsZero() {
		flags |= posTime
	}
	b = append(b, itemPosition)
	b = binary.AppendUvarint(b, uint64(n))
	b = append(b, flags)
	b = binary.AppendVarint(b, p.Offset)
	b = appendText(b, p.Before)
	b = binary.AppendVarint(b, p.Seen)
	if flags&posTime != 0 {
		b = binary.AppendVarint(b, p.Time.UnixNano()-r.base*1000)
	}
	if flags&posCursor != 0 {
		b = appendText(b, p.Cursor)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// recorded is what a changes file says, in the order in which it is to be written to the
// database. It keeps the file's bytes, and of each address where the last word on it is.
type recorded struct {
	data    []byte
	id      [databaseID]byte
	base    int64
	clock   recordClock
	written int64 // steady microseconds of the last frame
	jails   []*recordedJail
	files   []Position
	sound   int // bytes up to which all is well
	turn    turn
}

// turn gives way to others now and then: a step here takes less than to look at the clock.
type turn struct {
	fair.Turn
	steps uint8
}

func (t *turn) step() {
	if t.steps++; t.steps%64 == 0 {
		t.Step()
	}
}

type recordedJail struct {
	name        string
	allFailures bool
	entries     []uint32 // where failures of an address stand in data
	marked      []uint32 // where more of them does
	allLogs     bool
	logs        map[LogKey]Position
}

// errForm says that a file is not of a form that is known.
var errForm = errors.New("it is not of a form that this version knows")

// readRecorded reads a changes file. What is behind a frame that is not whole is passed
// over: sound says up to where all is well.
func readRecorded(data []byte) (*recorded, error) {
	const form = changesMagic + changesForm
	n := min(len(data), len(form))
	switch {
	case string(data[:n]) != form[:n]:
		return nil, errForm
	case len(data) < headSize:
		return &recorded{}, nil // its writer was stopped at once
	}
	r := &recorded{data: data, sound: headSize}
	copy(r.id[:], data[len(form):])
	r.base = int64(binary.LittleEndian.Uint64(data[headSize-8:]))
	r.written = r.base
	for at := headSize; len(data)-at > frameHead; {
		n := int(binary.LittleEndian.Uint32(data[at:]))
		if n == 0 || n > len(data)-at-frameHead {
			break
		}
		frame := data[at : at+frameHead+n]
		if binary.LittleEndian.Uint32(frame[4:]) != sumOf(frame) {
			break
		}
		if err := r.frame(at+frameHead, at+frameHead+n); err != nil {
			return r, fmt.Errorf("byte %d: %w", at, err)
		}
		at += frameHead + n
		r.sound = at
	}
	return r, nil
}

// frame takes up what a whole frame says.
func (r *recorded) frame(from, to int) error {
	c := &cursor{data: r.data[:to], at: from}
	var j *recordedJail
	for c.at < to && !c.bad {
		item := c.byte()
		if j == nil && (item == itemAll || item == itemFailures || item == itemMarked || item == itemAllLogs || item == itemPosition) {
			return errForm
		}
		switch item {
		case itemClock:
			r.clock = recordClock{c.text(), time.Duration(c.varint()), time.Duration(c.varint())}
		case itemAt:
			r.written = max(r.written, r.base+c.varint())
		case itemJail:
			n := c.uvarint()
			if n == uint64(len(r.jails)) {
				r.jails = append(r.jails, &recordedJail{name: c.text(), logs: map[LogKey]Position{}})
			}
			if n >= uint64(len(r.jails)) {
				return errForm
			}
			j = r.jails[n]
		case itemAll:
			j.allFailures, j.entries, j.marked = true, j.entries[:0], j.marked[:0]
		case itemFailures:
			r.turn.step()
			j.entries = append(j.entries, uint32(c.at))
			c.id()
			for n := c.uvarint(); n > 0 && !c.bad; n-- {
				c.varint()
			}
		case itemMarked:
			r.turn.step()
			j.marked = append(j.marked, uint32(c.at))
			c.id()
			c.markedRest(nil)
		case itemAllLogs:
			j.allLogs = true
			clear(j.logs)
		case itemFile:
			r.files = append(r.files, Position{Path: c.text(), Dev: c.uvarint(), Inode: c.uvarint(), FirstLine: c.text(), Born: c.varint()})
		case itemPosition:
			n := c.uvarint()
			if n >= uint64(len(r.files)) {
				return errForm
			}
			p := r.files[n]
			flags := c.byte()
			p.Offset, p.Before, p.Seen = c.varint(), c.text(), c.varint()
			if flags&posTime != 0 {
				p.Time = time.Unix(0, r.base*1000+c.varint())
			}
			if flags&posCursor != 0 {
				p.Cursor = c.text()
			}
			p.Gone = flags&posGone != 0
			j.logs[LogKey{p.Path, p.Dev, p.Inode}] = p
		default:
			return errForm
		}
	}
	if c.bad {
		return errForm
	}
	return nil
}

// last sorts a jail's entries by address, and leaves the last word on each.
func (r *recorded) last(j *recordedJail) []uint32 {
	j.entries = r.lastOf(j.entries)
	return j.entries
}

// lastOf is last for some entries.
func (r *recorded) lastOf(entries []uint32) []uint32 {
	key := func(at uint32) []byte {
		c := &cursor{data: r.data, at: int(at)}
		c.id()
		return r.data[at:c.at]
	}
	slices.SortFunc(entries, func(a, b uint32) int {
		r.turn.step()
		if by := slices.Compare(key(a), key(b)); by != 0 {
			return by
		}
		return int(b) - int(a) // the last one first
	})
	return slices.CompactFunc(entries, func(a, b uint32) bool { return string(key(a)) == string(key(b)) })
}

// at reads the failures of an address, in steady microseconds.
func (r *recorded) at(entry uint32, times []int64) (ban.ID, []int64) {
	c := &cursor{data: r.data, at: int(entry)}
	id := c.id()
	last := r.base
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		last += c.varint()
		times = append(times, last)
	}
	return id, times
}

// cursor reads items. What isn't there is zero, and bad.
type cursor struct {
	data []byte
	at   int
	bad  bool
}

func (c *cursor) byte() byte {
	if c.at >= len(c.data) {
		c.bad = true
		return 0
	}
	c.at++
	return c.data[c.at-1]
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.data[min(c.at, len(c.data)):])
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.at += n
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.data[min(c.at, len(c.data)):])
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.at += n
	return v
}

func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.data)-c.at) {
		c.bad = true
		return nil
	}
	c.at += int(n)
	return c.data[c.at-int(n) : c.at]
}

func (c *cursor) text() string { return string(c.bytes(c.uvarint())) }

func (c *cursor) id() ban.ID {
	switch c.byte() {
	case id4:
		if b := c.bytes(4); b != nil {
			return addressID(b)
		}
	case id6:
		if b := c.bytes(16); b != nil {
			return addressID(b)
		}
	case idText:
		return idOf(string(c.bytes(c.uvarint())))
	default:
		c.bad = true
	}
	return ban.ID{}
}

// addressID is who has an address, of 4 or 16 bytes.
func addressID(b []byte) ban.ID {
	a, _ := netip.AddrFromSlice(b)
	return ban.Of(netip.PrefixFrom(a, a.BitLen()))
}
