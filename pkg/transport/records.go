package transport

import "time"

// Record is a line, or a part of one, out of whose wrapper somebody else has taken it: an engine
// that is asked for a log.
type Record struct {
	Text   []byte
	Stamp  time.Time
	Stderr bool
	Part   bool // more of the line is to come
}

// NewRecords returns a Log of records: parts are joined, and what else the options say is taken
// off, except wrappers of runtimes. A head of syslog is one only where it is named.
func NewRecords(o Options) *Log {
	o.Runtime = false
	if o.auto() {
		o.Heads = false
	}
	if o.named(None) {
		o.Colours = false
	}
	l := &Log{opt: o, begun: true}
	l.heads = o.named(Syslog)
	return l
}

// Take takes a record apart. It is not ok if it is a part of a line whose rest is to come.
func (l *Log) Take(r Record) (text []byte, frame Frame, ok bool) {
	l.line++
	return l.join(record{r.Text, r.Stamp, r.Stderr, r.Part})
}

// Halves are the streams in which something is under way, comparable and as a number.
type Halves uint8

// Parts says of which streams a part waits for its rest, and of which the rest of a line is
// passed over.
func (l *Log) Parts() (h Halves) {
	for i, p := range l.parts {
		if p.waits {
			h |= 1 << i
		}
		if p.passing {
			h |= 4 << i
		}
	}
	return h
}

// Waits reports whether a part of one of the streams waits for its rest.
func (h Halves) Waits() bool { return h&3 != 0 }

// SetParts has it be as Parts said once, as far as what waits is known.
func (l *Log) SetParts(h Halves) {
	for i := range l.parts {
		p := &l.parts[i]
		if h>>i&1 == 0 {
			*p = part{}
		}
		p.passing = h>>i&4 != 0 || h>>i&1 != 0 && !p.waits
	}
}

// WaitsSince is when the earliest part was written that waits for its rest; not ok, if none does.
func (l *Log) WaitsSince() (stamp time.Time, ok bool) {
	for _, p := range l.parts {
		if p.waits && (!ok || p.frame.Stamp.Before(stamp)) {
			stamp, ok = p.frame.Stamp, true
		}
	}
	return stamp, ok
}

// Rest gives out what waits: no rest of it will come.
func (l *Log) Rest() (lines [][]byte, frames []Frame) {
	for i := range l.parts {
		p := l.parts[i]
		l.parts[i] = part{}
		if !p.waits {
			continue
		}
		if text, frame, ok := l.within(clean(p.text), p.frame); ok {
			lines, frames = append(lines, text), append(frames, frame)
		}
	}
	return lines, frames
}
