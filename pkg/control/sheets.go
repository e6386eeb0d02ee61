package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"bailiff/pkg/events"
	"bailiff/pkg/fair"
)

// What followers of events are sent is written once for all who are at the same place and want
// the same: a sheet. A thousand of them cost one reading of the file and one sheet, and a slow one holds
// nothing but the sheet that he has not read yet, which is others', too.

const (
	// sheetSize is about how many bytes of events a sheet has: one event may be longer.
	sheetSize = 16 << 10
	// sheetsMost is how many bytes of sheets are kept for others.
	sheetsMost = 1 << 20
	// sheetPatience is how long the disk may take for one.
	sheetPatience = 5 * time.Second
)

// sheetKey says what is on a sheet.
type sheetKey struct {
	table  *events.Table
	since  uint64
	filter string
	sse    bool
	quoted bool // what our log quotes is told, too
}

// sheet are events behind a number in the form in which they are sent.
type sheet struct {
	ready chan struct{} // closed when the rest is there, and is never changed any more
	body  []byte
	after events.Reader // goes on behind it
	err   error
}

// press makes sheets, and keeps the last ones while somebody follows.
type press struct {
	mu     sync.Mutex
	sheets map[sheetKey]*sheet
	order  []sheetKey // the oldest first
	bytes  int
	users  int
	made   int // sheets, and
	told   int // events that were put into their form for them

	gate sync.Mutex
	turn fair.Turn
}

// enter says that somebody follows, and leave that he does no more: nothing is kept for nobody.
func (p *press) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
}

func (p *press) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users--; p.users == 0 {
		p.sheets, p.order, p.bytes = nil, nil, 0
	}
}

// wait lets followers, all of whom an event wakes at once, go on one after the other, and whoever else has
// something to do in between.
func (p *press) wait() {
	p.gate.Lock()
	defer p.gate.Unlock()
	p.turn.Behind = true
	p.turn.Step()
}

// sheet returns the one for a reader at its place; its body is empty, and the reader behind it where this one is, if
// there are no more events. A disk that hangs is not waited for.
func (p *press) sheet(r *events.Reader, key sheetKey, q *EventsQuery) (*sheet, error) {
	p.mu.Lock()
	s := p.sheets[key]
	if s == nil {
		s = &sheet{ready: make(chan struct{}), after: *r}
		if p.sheets == nil {
			p.sheets = map[sheetKey]*sheet{}
		}
		p.sheets[key] = s
		filter := q.Filter // it keeps what it makes of its texts
		go func() {
			told := s.fill(key, &filter)
			p.keep(s, key, told)
			close(s.ready)
		}()
	}
	p.mu.Unlock()
	select {
	case <-s.ready:
		return s, s.err
	default:
	}
	timer := time.NewTimer(sheetPatience)
	defer timer.Stop()
	select {
	case <-s.ready:
		return s, s.err
	case <-timer.C:
		return nil, errDisk
	}
}

// keep keeps a sheet for others, if there is something on it.
func (p *press) keep(s *sheet, key sheetKey, told int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made++
	p.told += told
	switch {
	case p.sheets[key] != s: // all have gone since
		return
	case s.err != nil || s.after.Since() == key.since:
		delete(p.sheets, key)
		return
	}
	p.order = append(p.order, key)
	p.bytes += s.size()
	for len(p.order) > 1 && p.bytes > sheetsMost {
		old := p.order[0]
		p.order = p.order[1:]
		p.bytes -= p.sheets[old].size()
		delete(p.sheets, old)
	}
}

// size is what a sheet is taken for, in bytes.
func (s *sheet) size() int { return len(s.body) + 512 }

// fill reads events, and returns how many are on the sheet.
func (s *sheet) fill(key sheetKey, filter *events.Filter) (told int) {
	var out eventWriter
	out.sse = key.sse
	expected, any := key.since+1, key.since > 0
	s.err = s.after.Each(func(n uint64, line []byte) bool {
		if any && n > expected && !isGap(line) {
			out.gap(expected, n-1, "no longer kept")
		}
		expected, any = n+1, true
		if filter.Wants(line) {
			if !key.quoted {
				line = unquotedEvent(line)
			}
			out.event(n, line)
			told++
		}
		return out.buf.Len() < sheetSize
	})
	s.body = bytes.Clone(out.buf.Bytes()) // a buffer may have twice as much room
	return told
}

// unquotedEvent leaves out of an event for who may only ask what a line of our log quotes.
func unquotedEvent(line []byte) []byte {
	if !bytes.Contains(line, []byte(`,"text":"`)) || !bytes.Contains(line, []byte(`\"`)) {
		return line
	}
	e, err := events.Parse(line)
	if err != nil {
		return nil
	}
	e.Text = quoted.ReplaceAllLiteralString(e.Text, `"…"`)
	line, _ = json.Marshal(e)
	return line
}

func isGap(line []byte) bool { return bytes.Contains(line, []byte(`,"kind":"`+string(events.Gap)+`"`)) }

// eventWriter writes events in the form that a client wants.
type eventWriter struct {
	sse bool
	buf bytes.Buffer
}

func (o *eventWriter) event(n uint64, line []byte) {
	if o.sse {
		fmt.Fprintf(&o.buf, "id: %d\ndata: %s\n\n", n, line)
		return
	}
	o.buf.Write(line)
	o.buf.WriteByte('\n')
}

// gap tells of numbers of which nothing is told. It is no event, and has no number.
func (o *eventWriter) gap(from, to uint64, why string) {
	line, _ := json.Marshal(map[string]any{"kind": events.Gap, "from": from, "to": to, "why": why})
	if o.sse {
		fmt.Fprintf(&o.buf, "data: %s\n\n", line)
		return
	}
	o.buf.Write(append(line, '\n'))
}
