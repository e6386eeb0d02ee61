package source

import (
	"bytes"
	"io"

	"bailiff/pkg/transport"
)

// What stands around lines is taken off here, before anybody sees them (pkg/transport),
// since a line may come in parts: the place that is accounted for is never in the middle
// of one.

// primeNear and primeFar are how many bytes before the place of reading are looked at for
// the beginning of a line that came in parts: the second where the first do not hold it.
const (
	primeNear = 64 << 10
	primeFar  = 2*transport.MaxLine + primeNear
)

// framing is what a reader keeps of that.
type framing struct {
	log    *transport.Log
	primed bool
	// held is the place that is accounted for, where it is not that of reading: behind it
	// stand parts of lines whose rest has not come.
	held *place
	// block is what the lines were cut from that were read last, or the end of it.
	block []byte
	form  string // as it was last told
}

// restart has the lines before the place of reading looked at anew.
func (a *framing) restart() { a.primed, a.held = false, nil }

// accounted is up to where all is said of what was read.
func (r *lineReader) accounted() (offset int64, before string) {
	if r.apart.held != nil {
		return r.apart.held.offset, r.apart.held.before
	}
	return r.offset, r.before
}

// prime has the log known what stands before the place of reading.
func (f *follower) prime(r *lineReader) {
	a := &r.apart
	if a.log == nil {
		a.log = transport.New(f.src.Transport)
	}
	a.primed = true
	if a.log == nil {
		return
	}
	if r.offset == 0 {
		if a.log.Reset(); f.apart != a.log {
			a.log.After(f.apart)
		}
	} else {
		lines := func(from, to int64, end bool) [][]byte {
			from -= from % r.enc.width()
			buf := make([]byte, to-from)
			n, _ := r.file.ReadAt(buf, from)
			past := &lineReader{enc: r.enc}
			out := past.split(buf[:n])
			if end && from > 0 && len(out) > 0 {
				out = out[1:] // the end of a line
			}
			for i, line := range out {
				out[i] = bytes.TrimRight(r.enc.Decode(line), "\r")
			}
			return out
		}
		head := lines(0, min(r.offset, primeNear), false)
		for _, n := range [...]int64{primeNear, primeFar} {
			from := max(r.offset-n, 0)
			if a.log.Prime(head, lines(from, r.offset, true), from == 0) {
				break
			}
		}
	}
	f.apart = a.log
}

// takeApart takes off what stands around lines that were read from a place on.
func (f *follower) takeApart(r *lineReader, begins int64, before string, read [][]byte) ([][]byte, []transport.Frame) {
	a := &r.apart
	if a.log == nil {
		return read, nil
	}
	lines, frames, done := a.log.Lines(read)
	switch {
	case done == len(read):
		a.held = nil
	case done == 0:
		if a.held == nil {
			a.held = &place{offset: begins, before: before}
		}
	default:
		a.held = r.behind(len(read) - done)
	}
	if form := a.log.Form(); form != a.form {
		switch a.form = form; form {
		case "":
			f.note(Event{Text: "nothing stands around its lines any more"})
		default:
			f.note(Event{Text: "what stands around its lines is taken off: " + form})
		}
	}
	return lines, frames
}

// behind is the place before the last lines of those that were read.
func (r *lineReader) behind(last int) *place {
	block, w := r.apart.block, int(r.enc.width())
	at := len(block)
	for range last {
		i := -1
		if at >= w {
			i = r.enc.lastIndex(block[:at-w])
		}
		if at = 0; i >= 0 {
			at = i + w
		}
	}
	p := &place{offset: r.offset - int64(len(block)-at)}
	buf := make([]byte, min(p.offset, tailSize))
	if n, err := r.file.ReadAt(buf, p.offset-int64(len(buf))); n == len(buf) && (err == nil || err == io.EOF) {
		p.before = string(buf)
	}
	return p
}
