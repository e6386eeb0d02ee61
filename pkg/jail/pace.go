package jail

import (
	"time"

	"bailiff/pkg/fair"
)

// A block of a log is dealt with in pieces, so that neither a slow filter nor a flood of
// lines keeps others waiting, be it for what they ask of the jail or for the processor. How
// large pieces are follows from how long the last one took; most filters are so quick that
// it is 64 KiB. The sizes are few, so that jails that read the same log share what they find
// in its pieces. What a piece tells of is dealt with in turns (pkg/fair): between any two
// failures, other jails may have theirs.

const (
	// pieceMost is how long a piece may take, without what others had of it, before the next
	// one is made smaller, and pieceLeast before it is made larger again.
	pieceMost  = 2 * time.Millisecond
	pieceLeast = 200 * time.Microsecond
	// stepLines is after how many lines with failures it is asked whether the turn is over.
	stepLines = 8
)

// pieceSizes are in bytes.
var pieceSizes = [...]int{64 << 10, 16 << 10, 4 << 10, 1}

// pace is how large pieces are just now, and whose turn it is.
type pace struct {
	size int // an index of pieceSizes
	turn fair.Turn
	told int // lines with failures
}

// piece returns where the piece that begins with line from ends.
func (p *pace) piece(lines [][]byte, from int) int {
	n, to := 0, from
	for to < len(lines) && n < pieceSizes[p.size] {
		n += len(lines[to]) + 1
		to++
	}
	return to
}

// took says how long the last piece took.
func (p *pace) took(d time.Duration) {
	switch {
	case d > pieceMost && p.size < len(pieceSizes)-1:
		p.size++
	case d < pieceLeast && p.size > 0:
		p.size--
	}
}

// line is called behind each line that tells of something.
func (p *pace) line() {
	if p.told++; p.told%stepLines == 0 {
		p.step()
	}
}

// step gives way to others if the turn is over.
func (p *pace) step() { p.turn.Step() }
