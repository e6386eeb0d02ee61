package source

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSharedBlocks: readers of one file, each at its own pace, and some from places of their
// own, get every line once and in order, however the file is written: in the middle of lines,
// in more than a block, with long lines among them, and in characters of two bytes.
func TestSharedBlocks(t *testing.T) {
	for _, encoding := range []string{"", "utf-16-le"} {
		enc, err := LookupEncoding(encoding)
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(3) {
			r := rand.New(rand.NewPCG(seed, 7))
			path := filepath.Join(t.TempDir(), "a.log")
			file, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			encoded := func(s string) []byte {
				if encoding == "" {
					return []byte(s)
				}
				var out []byte
				for _, c := range []byte(s) {
					out = append(out, c, 0)
				}
				return out
			}
			var all []string
			var starts []int64
			var unwritten []byte
			size := int64(0)
			long := append(make([]int, 1000), 5000, 300_000)
			for i := range 1000 {
				long[i] = r.IntN(200)
			}
			more := func(lines int) {
				for range lines {
					line := fmt.Sprintf("%d %s", len(all), strings.Repeat("x", long[r.IntN(len(long))]))
					starts = append(starts, size)
					text := encoded(line + []string{"\n", "\r\n"}[r.IntN(2)])
					size += int64(len(text))
					all, unwritten = append(all, line), append(unwritten, text...)
				}
			}
			type one struct {
				*lineReader
				next int // number of its next line
			}
			var readers []*one
			begin := func(line int) {
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				from := int64(0)
				if line == len(all) && line > 0 {
					from = size
				} else if line > 0 {
					from = starts[line]
				}
				id := FileID{1 << 40, seed}
				readers = append(readers, &one{newReader(f, enc, id, from), line})
			}
			for range 5 {
				begin(0)
			}
			read := func(x *one) (some bool) {
				lines, err := x.read()
				if err != nil {
					t.Fatalf("%q, seed %d: %v", encoding, seed, err)
				}
				for _, l := range lines {
					if x.next >= len(all) || string(l) != all[x.next] {
						t.Fatalf("%q, seed %d: line %d is %.50q", encoding, seed, x.next, l)
					}
					x.next++
				}
				want := size
				if x.next < len(all) {
					want = starts[x.next]
				}
				if x.offset != want || len(lines) > 0 && !bytes.HasSuffix(x.apart.block, []byte(x.before)) && len(x.apart.block) >= len(x.before) {
					t.Fatalf("%q, seed %d: behind line %d at byte %d, want %d", encoding, seed, x.next, x.offset, want)
				}
				return len(lines) > 0
			}
			taken := 0
			for range 200 {
				if r.IntN(3) == 0 {
					more(r.IntN(1 + r.IntN(300)))
				}
				n := len(unwritten)
				if r.IntN(3) == 0 {
					n = r.IntN(n + 1)
				}
				if _, err := file.Write(unwritten[:n]); err != nil {
					t.Fatal(err)
				}
				unwritten = unwritten[n:]
				if len(readers) < 12 && r.IntN(20) == 0 && len(all) > 0 {
					begin(r.IntN(readers[0].next + 1)) // what stands there was read
				}
				for _, x := range readers {
					if r.IntN(3) > 0 && read(x) && x.notes != nil {
						taken++
					}
				}
			}
			if _, err := file.Write(unwritten); err != nil {
				t.Fatal(err)
			}
			for _, x := range readers {
				for read(x) {
				}
				if x.next != len(all) {
					t.Errorf("%q, seed %d: %d lines of %d", encoding, seed, x.next, len(all))
				}
			}
			shared.mu.Lock()
			kept := shared.files[readers[0].id].size
			shared.mu.Unlock()
			if taken < 20 || kept > shareMost {
				t.Errorf("%q, seed %d: %d blocks are shared, %d bytes kept", encoding, seed, taken, kept)
			}
			for _, x := range readers {
				x.close()
			}
		}
	}
}
