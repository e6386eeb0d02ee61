package source

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"unicode/utf16"
)

// TestBlocks: blocks hold the lines that a Scanner gives one by one, whatever the
// encoding, the length of lines and the size of what is read at once.
func TestBlocks(t *testing.T) {
	utf16le, err := LookupEncoding("utf-16le")
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	texts := 24
	if testing.Short() { // as with the race detector: there is one goroutine here
		texts = 4
	}
	for i := range texts {
		var text bytes.Buffer
		for range r.IntN(2000) {
			switch r.IntN(300) {
			case 0:
				text.WriteString(string(bytes.Repeat([]byte("x"), r.IntN(3*MaxLine))))
			case 1:
				text.WriteString("\xff\xe4 caf\u00e9 \n\r\r\n")
			default:
				fmt.Fprintf(&text, "%0*d", r.IntN(300), r.IntN(1000))
			}
			text.WriteString([]string{"\n", "\n", "\n", "\r\n", "\n\n", ""}[r.IntN(6)])
		}
		data := text.Bytes()
		enc := (*Encoding)(nil)
		if i%3 == 0 {
			enc = utf16le
			var wide []byte
			for _, c := range utf16.Encode([]rune(string(data))) {
				wide = append(wide, byte(c), byte(c>>8))
			}
			data = wide
			if r.IntN(2) == 0 {
				data = append(data, 'x') // half a character at the end
			}
		}
		open := func() io.Reader {
			switch i % 4 {
			case 1:
				return iotest.HalfReader(bytes.NewReader(data))
			case 2:
				return iotest.DataErrReader(bytes.NewReader(data))
			}
			return bytes.NewReader(data)
		}
		one, blocks := NewScanner(open(), enc), NewBlocks(open(), enc)
		var b Block
		var ends error
		next := 0
		for n := 0; ; n++ {
			want, err := one.Next()
			for next == len(b.Lines) && ends == nil {
				if ends = blocks.Next(&b); ends == nil {
					b.Cut()
				}
				next = 0
			}
			if err == io.EOF && ends == io.EOF {
				break
			}
			if err != nil || ends != nil {
				t.Fatalf("text %d, line %d: %v, in blocks %v", i, n, err, ends)
			}
			if !bytes.Equal(want, b.Lines[next]) {
				t.Fatalf("text %d, line %d: %.100q (%d), in a block %.100q (%d)", i, n, want, len(want), b.Lines[next], len(b.Lines[next]))
			}
			next++
		}
		if b.Read != int64(len(data)) || one.Read() != b.Read {
			t.Errorf("text %d: read %d and %d of %d bytes", i, one.Read(), b.Read, len(data))
		}
	}
}
