package filter

import (
	"encoding/binary"

	"bailiff/pkg/lineends"
	"bailiff/pkg/logtime"
	"bailiff/pkg/pyregexp"
)

// skim passes over the lines of a text in ASCII that have the date of one that was looked at
// already, and of which it is known by what they open with behind it that they tell of nothing.
// That is most lines of most logs. They are looked at in words of eight bytes, at two or three
// places, nothing is called for them, and nothing is asked that is as often true as not: such
// lines are noted like all others, and the note is written over.
type skim struct {
	text     []byte
	words    *logtime.Words
	openings *pyregexp.Openings
	light    pyregexp.Opening // that of lines that are counted in prefixed, and passed over
	prefixed []uint64         // as Sightings.prefixed, with room for all lines

	places []int32 // of newlines, and where the text ends, if it does not with one
	next   int     // the first of them that was not come to
	at     int     // where the next line begins
	lines  int     // how many have been passed, or noted
	last   lastLine

	// Lines that were not passed over, in order.
	list [256]skimmed
	left []skimmed
}

// lastLine is where the last line of the log's is in a text.
type lastLine struct{ from, to int32 }

// skimmed is a line with its number, and what is known by what it opens with. Where it is in a
// text, and the line before it, carriage returns at their ends may be among them.
type skimmed struct {
	from, to int32
	last     lastLine
	line     int32
	opening  pyregexp.Opening
}

// place is where a line and the one before it are in their text.
func (x *skimmed) place(text, line []byte) place {
	return place{x.from, x.from + int32(len(line)), x.last.from, x.last.from + int32(len(withoutReturns(text[x.last.from:x.last.to])))}
}

const noOpening = ^pyregexp.Opening(0)

// begin begins with a text, whose newlines are known.
func (q *skim) begin(text []byte, ends []uint64, words *logtime.Words, openings *pyregexp.Openings) {
	q.text, q.words, q.openings, q.light, q.prefixed = text, words, openings, noOpening, nil
	q.places = lineends.Places(ends, q.places)
	if n := len(text); n > 0 && text[n-1] != '\n' {
		q.places = append(q.places, int32(n))
	}
	q.next, q.at, q.lines, q.last = 0, 0, 0, lastLine{}
}

// pass passes over lines, and notes those that it does not pass over in left, up to the first
// one that does not have the date that is known, if one is. There may be more lines with that
// date; odd says that there is not, and another line is next.
func (q *skim) pass(dated bool) (odd bool) {
	q.left = q.list[:0]
	if !dated {
		return true
	}
	text, openings, light, prefixed := q.text, q.openings, q.light, q.prefixed
	at, lines, lastFrom, lastTo, w := q.at, q.lines, q.last.from, q.last.to, *q.words
	places, list, n := q.places[q.next:], &q.list, 0
	k := 0
	for ; k < len(places); k++ {
		end := int(places[k])
		line := text[at:end]
		if len(line) < w.Length+8 || !dateAgain(line, &w) {
			odd = true
			break
		}
		if n == len(list) {
			break
		}
		opening := openings.First(line[w.End:])
		// Written one by one: a whole one would be put together elsewhere, and be waited for.
		x := &list[n]
		x.from, x.to, x.last.from, x.last.to, x.line, x.opening = int32(at), int32(end), lastFrom, lastTo, int32(lines), opening
		counted := nought(opening ^ light)
		if prefixed != nil {
			prefixed[lines>>6] |= uint64(counted) << (lines & 63)
		}
		n += 1 - int(counted|nought(opening^pyregexp.OpeningAway))
		lastFrom, lastTo = int32(at), int32(end)
		at = end + 1
		lines++
	}
	q.left = list[:n]
	q.next += k
	q.at, q.lines, q.last = at, lines, lastLine{lastFrom, lastTo}
	return odd || q.next == len(q.places)
}

// nought is 1 for 0, and 0 for all else.
func nought(x pyregexp.Opening) uint32 { return 1 - (uint32(x)|-uint32(x))>>31 }

// line is the next line, of which nothing is known; not ok, if there is none.
func (q *skim) line() (from, to int, ok bool) {
	if q.next == len(q.places) {
		return 0, 0, false
	}
	from, to = q.at, int(q.places[q.next])
	q.next++
	q.at = to + 1
	return from, to, true
}

// dateAgain reports whether a line, which is eight bytes longer, begins with a date, and what stands
// behind it can't be more of it.
func dateAgain(line []byte, w *logtime.Words) bool {
	k := w.Length
	return binary.LittleEndian.Uint64(line) == w.First && binary.LittleEndian.Uint64(line[k-8:]) == w.Last &&
		(k <= 16 || binary.LittleEndian.Uint64(line[8:]) == w.Second && binary.LittleEndian.Uint64(line[k-16:]) == w.Before) &&
		line[k] == ' ' && logtime.Behind(line[k+1])
}
