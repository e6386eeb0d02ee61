package filter

import (
	"fmt"
	"time"
	"unicode/utf8"

	"bailiff/pkg/chain"
)

// Who writes to a log may name as many connections, users and lines as he likes. What
// is kept of them is bounded, each connection and all of them together, and so is what
// a line costs: the connection that was quiet for longest is forgotten first.

const (
	// connectionAge is how long a connection may be quiet, by the clock of the log.
	connectionAge = 5 * time.Minute
	// maxConnections is how many are known at once.
	maxConnections = 10_000
	// connectionMost and connectionsMost are how many bytes are kept of one connection,
	// and of all.
	connectionMost  = 1 << 20
	connectionsMost = 4 << 20
	connectionCost  = 512 // of one, beside its texts
	// linesMost is how many lines of a connection are kept, of those that made a failure
	// and of those that did not, the last ones; keptLine how many bytes of each.
	linesMost = 100
	keptLine  = 4 << 10
	// usersMost is how many users' names are kept of a connection; userMost how many
	// bytes of each.
	usersMost = 100
	userMost  = 1 << 10
	// sparesMost is how many forgotten ones are kept to be used again.
	sparesMost = 100
)

// connections are the connections known, the one that was quiet for longest first.
// Those that are forgotten are used again, so that a line of a new one costs little.
type connections struct {
	byID  map[string]*connection
	order chain.List[connection, *connection] // by their last lines
	size  int                                 // bytes of all
	spare []*connection
	sums  idSums
}

func (c *connections) get(id string, now time.Time) *connection {
	conn := c.byID[id]
	if conn == nil {
		return nil
	}
	if !conn.ends.After(now) {
		c.reuse(c.forget(conn))
		return nil
	}
	return conn
}

// add begins a connection, which is counted when it is settled.
func (c *connections) add(id string, now time.Time) *connection {
	if c.byID == nil {
		c.byID = map[string]*connection{}
	}
	for len(c.byID) >= maxConnections {
		c.reuse(c.forget(c.order.First()))
	}
	conn := c.fresh()
	conn.id, conn.ends, conn.listed, conn.size = id, now.Add(connectionAge), true, connectionCost+len(id)
	c.byID[conn.id] = conn
	c.summed(conn)
	c.order.Append(conn)
	return conn
}

// renew notes that a connection has a line.
func (c *connections) renew(conn *connection, now time.Time) {
	if ends := now.Add(connectionAge); ends.After(conn.ends) {
		conn.ends = ends
	}
	if c.order.Last() != conn {
		c.order.Remove(conn)
		c.order.Append(conn)
	}
}

// settle counts what a connection holds after a line, and forgets what is too much,
// if need be the connection itself.
func (c *connections) settle(conn *connection) {
	if conn.listed {
		c.size += conn.size - conn.counted
		conn.counted = conn.size
	}
	if conn.size > connectionMost {
		c.forget(conn)
	}
	for c.size > connectionsMost && c.order.First() != nil && c.order.First() != conn {
		c.reuse(c.forget(c.order.First()))
	}
	if !conn.listed {
		c.reuse(conn)
	}
}

// fresh is a connection of which nothing is known.
func (c *connections) fresh() *connection {
	if n := len(c.spare); n > 0 {
		conn := c.spare[n-1]
		c.spare = c.spare[:n-1]
		return conn
	}
	return &connection{}
}

// reuse takes back a connection that nobody holds any more.
func (c *connections) reuse(conn *connection) {
	if len(c.spare) < sparesMost && cap(conn.matches)+cap(conn.nofailMatches)+cap(conn.users) <= 64 {
		clear(conn.users[:cap(conn.users)])
		*conn = connection{users: conn.users[:0], matches: emptied(conn.matches), nofailMatches: emptied(conn.nofailMatches), attempts: attempts{by: conn.attempts.by[:0]}}
		c.spare = append(c.spare, conn)
	}
}

// forget takes a connection out and returns it.
func (c *connections) forget(conn *connection) *connection {
	if !conn.listed {
		return conn
	}
	conn.listed = false
	c.size -= conn.counted
	delete(c.byID, conn.id)
	c.sums.gone(conn.id)
	c.order.Remove(conn)
	return conn
}

// emptied is a list of no lines in the memory of another, which lets go of their texts.
func emptied(lines []Line) []Line {
	clear(lines[:cap(lines)])
	return lines[:0]
}

// lastLines are the last lines of a list, as many as are kept.
func lastLines(lines []Line) []Line {
	if extra := len(lines) - linesMost; extra > 0 {
		n := copy(lines, lines[extra:])
		clear(lines[n:])
		lines = lines[:n]
	}
	return lines
}

// told lets go of the lines that made a failure, which somebody was told of, or which
// are none any more.
func (c *connection) told() {
	for _, l := range c.matches[:len(c.matches)-c.fresh] {
		c.size -= l.size()
	}
	c.matches, c.fresh = emptied(c.matches), 0
}

// waits keeps the lines that made a failure of which nobody can be told yet.
func (c *connection) waits() {
	kept := len(c.matches) - c.fresh
	c.matches, c.fresh = c.keep(c.matches[:kept], c.matches[kept:]), 0
}

// keep puts lines to those that are kept of a connection, each a text of its own, and
// no longer than it may be.
func (c *connection) keep(list, lines []Line) []Line {
	for _, l := range lines {
		l = l.short()
		list = append(list, l)
		c.size += l.size()
	}
	if extra := len(list) - linesMost; extra > 0 {
		for _, l := range list[:extra] {
			c.size -= l.size()
		}
		list = lastLines(list)
	}
	return list
}

func (l *Line) size() int { return len(l.Before) + len(l.Date) + len(l.After) }

// short is a line in memory of its own: its begin, if it is too long, with a mark.
func (l *Line) short() Line {
	from, to := len(l.Before), len(l.Before)+len(l.Date)
	b := make([]byte, 0, min(l.size(), keptLine))
	for _, part := range []string{l.Before, l.Date, l.After} {
		b = append(b, part[:min(len(part), cap(b)-len(b))]...)
	}
	if l.size() > keptLine {
		mark := fmt.Sprintf(" [cut: %d bytes]", l.size())
		end := keptLine - len(mark)
		for i := 0; i < utf8.UTFMax && end > 0 && !utf8.RuneStart(b[end]); i++ {
			end--
		}
		b = append(b[:end], mark...)
		from, to = min(from, end), min(to, end)
	}
	text := view(b)
	return Line{Before: text[:from], Date: text[from:to], After: text[to:], whole: text}
}

func groupSize(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []string:
		n := 0
		for _, s := range v {
			n += len(s)
		}
		return n
	}
	return 0
}
