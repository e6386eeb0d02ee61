package jail

import "time"

// A block of a log is dealt with in pieces, so that a slow filter doesn't keep others
// waiting for what they ask of the jail. How large they are follows from how long the
// last one took; most filters are so quick that a block is one piece. The sizes are
// few, so that jails that read the same log share what they find in its pieces.

const (
	// pieceMost is how long a piece may take before the next one is made smaller, and
	// pieceLeast before it is made larger again.
	pieceMost  = 20 * time.Millisecond
	pieceLeast = 2 * time.Millisecond
)

// pieceSizes are in bytes; 0: the whole block.
var pieceSizes = [...]int{0, 64 << 10, 16 << 10, 4 << 10, 1}

// pace is how large pieces are just now.
type pace struct{ size int } // an index of pieceSizes

// piece returns where the piece that begins with line from ends.
func (p *pace) piece(lines [][]byte, from int) int {
	most := pieceSizes[p.size]
	if most == 0 {
		return len(lines)
	}
	n, to := 0, from
	for to < len(lines) && n < most {
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
