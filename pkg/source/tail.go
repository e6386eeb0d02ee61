package source

import (
	"io"
	"os"
)

// lastLines is how many bytes at a file's end LastLines looks at.
const lastLines = 16 << 10

// LastLines returns the last whole lines of a log, decoded, as far as they stand in its
// last 16 KB.
func LastLines(file io.ReaderAt, size int64, enc *Encoding) [][]byte {
	from := max(size-lastLines, 0)
	from -= from % enc.width()
	buf := make([]byte, size-from)
	n, _ := file.ReadAt(buf, from)
	lines := (&lineReader{enc: enc}).split(buf[:n])
	if from > 0 && len(lines) > 0 {
		lines = lines[1:] // the end of a line
	}
	for i, line := range lines {
		lines[i] = enc.Decode(line)
	}
	return lines
}

// IDOf returns what tells a file apart.
func IDOf(fi os.FileInfo) FileID { return fileID(fi.Sys()) }
