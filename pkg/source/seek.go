package source

import "io"

// SeekTime finds the offset of the first line of a log that is not older than
// what before says: before reports whether a line is older, and whether it has
// a time at all. Logs are in the order of time, more or less; the search halves
// the file until a block is left.
func SeekTime(file io.ReaderAt, size int64, enc *Encoding, before func(line []byte) (older, dated bool)) int64 {
	const near = 64 << 10
	lo, hi := int64(0), size // the line begins in lo…hi
	for hi-lo > near {
		mid := lo + (hi-lo)/2
		mid -= mid % enc.width()
		at, older, dated := firstDated(file, mid, hi, enc, before)
		switch {
		case !dated: // no line with a date between here and hi
			hi = mid
		case older:
			lo = at
		default:
			hi = mid
		}
	}
	return lo // a few lines too many: they are judged by their own time
}

// firstDated looks from offset on for a line that has a date and returns where
// it begins.
func firstDated(file io.ReaderAt, from, to int64, enc *Encoding, before func(line []byte) (older, dated bool)) (at int64, older, dated bool) {
	r := &lineReader{offset: from, enc: enc}
	buf := make([]byte, 64<<10)
	partial := from > 0 // the first piece is the rest of a line
	for pos := from; pos < to; {
		n, _ := file.ReadAt(buf, pos)
		if n == 0 {
			return 0, false, false
		}
		if n -= n % int(enc.width()); n == 0 {
			return 0, false, false
		}
		pos += int64(n)
		start := r.offset
		for _, line := range r.split(buf[:n]) {
			if !partial {
				if older, dated = before(enc.Decode(line)); dated {
					return start, older, true
				}
			}
			partial = false
			start += int64(len(line)) + enc.width()
		}
	}
	return 0, false, false
}
