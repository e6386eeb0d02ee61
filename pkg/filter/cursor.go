package filter

// cursor is a place among lines that are dealt with in order: lines that were cut, or
// those of a text, as LookText takes it.
type cursor struct {
	lines [][]byte
	text  []byte
	next  int // the number of the line that is next

	// Of a text: where the next line begins, or something before it that is no line of the
	// log's; the line, if it is known; and where what is behind it begins.
	at     int
	here   []byte
	known  bool
	behind int

	last []byte // the line before the next one, after jump and toEnd
}

// more reports whether there is a next line.
func (c *cursor) more() bool {
	if c.text == nil {
		return c.next < len(c.lines)
	}
	if c.known {
		return true
	}
	for c.at < len(c.text) {
		line, behind := lineAt(c.text, c.at)
		if len(line) > 0 && line[0] != '#' {
			c.here, c.behind, c.known = line, behind, true
			return true
		}
		c.at = behind
	}
	return false
}

// line is the next line. Somebody has asked whether there is one.
func (c *cursor) line() []byte {
	if c.text == nil {
		return c.lines[c.next]
	}
	c.more()
	return c.here
}

// step goes behind the next line.
func (c *cursor) step() {
	c.next++
	c.at, c.known = c.behind, false
}

// jump goes on to a line that a Scout has told of.
func (c *cursor) jump(line int, in *place) {
	c.next = line
	if c.text == nil {
		c.last = c.lines[line-1]
		return
	}
	c.last = c.text[in.lastFrom:in.lastTo]
	// What ends the line is left: an empty line, which is none of the log's.
	c.here, c.behind = c.text[in.from:in.to], int(in.to)
	c.at, c.known = int(in.from), true
}

// of is a line that a Scout has skimmed.
func (c *cursor) of(x *skimmed) []byte {
	if c.text == nil {
		return c.lines[x.line]
	}
	return withoutReturns(c.text[x.from:x.to])
}

// toEnd goes behind the last line.
func (c *cursor) toEnd(seen *Sightings) {
	if c.text == nil {
		c.next, c.last = len(c.lines), c.lines[len(c.lines)-1]
		return
	}
	c.next, c.last = seen.lines, c.text[seen.last.from:seen.last.to]
	c.at, c.known = len(c.text), false
}
