package replay

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// windowMost is how large a window of zstd or a dictionary of xz may be, in bytes: what
// decompressing takes. zstd --ultra -22 makes 128 MiB, xz -9 64.
const windowMost = 128 << 20

// input is a file of a log, decompressed.
type input struct {
	io.Reader
	close []func() error
	read  *atomic.Int64 // bytes of the file, as it is there
}

func (in *input) Close() {
	for i := len(in.close) - 1; i >= 0; i-- {
		_ = in.close[i]() // it was only read
	}
}

// counting counts what is read.
type counting struct {
	io.Reader
	n *atomic.Int64
}

func (c counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// open opens a file. How it is compressed is known by how it begins, whatever its name.
func (f *File) open(stdin io.Reader, window int64) (*input, error) {
	in := &input{read: new(atomic.Int64)}
	from := stdin
	switch {
	case f.From != nil:
		from = f.From
	case f.Path != Stdin:
		file, err := os.Open(f.Path)
		if err != nil {
			return nil, err
		}
		in.close = append(in.close, file.Close)
		from = file
	}
	begin := bufio.NewReaderSize(counting{from, in.read}, 256<<10)
	magic, err := begin.Peek(32)
	if err != nil && err != io.EOF {
		in.Close()
		return nil, err
	}
	switch in.Reader = begin; {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		var z *gzip.Reader
		if z, err = gzip.NewReader(begin); err == nil {
			in.Reader = z
			in.close = append(in.close, z.Close)
		}
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(begin, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(uint64(window))); err == nil {
			in.Reader = z
			in.close = append(in.close, func() error { z.Close(); return nil })
		}
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		if err = dictionary(magic, window); err == nil {
			in.Reader, err = xz.NewReader(begin)
		}
	case bytes.HasPrefix(magic, []byte("BZh")):
		in.Reader = bzip2.NewReader(begin)
	default:
		return in, nil
	}
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("it begins as if it were compressed, and can't be read: %w", err)
	}
	return in, nil
}

// dictionary looks into the header of the first block of a file of xz, whose stream header has
// 12 bytes: the library makes room for whatever dictionary that names.
func dictionary(begin []byte, most int64) error {
	const stream = 12
	if len(begin) < stream+16 {
		return io.ErrUnexpectedEOF
	}
	b := begin[stream:]
	if b[0] == 0 { // the index: there is no block
		return nil
	}
	at := 2
	for _, flag := range []byte{0x40, 0x80} { // sizes, of 9 bytes at most
		if b[1]&flag != 0 {
			for at < len(b) && b[at]&0x80 != 0 {
				at++
			}
			at++
		}
	}
	if at+2 >= len(b) || b[at] != 0x21 || b[at+1] != 1 {
		return fmt.Errorf("it has other filters than LZMA2: decompress it with xz -d")
	}
	bits := int(b[at+2] & 0x3f)
	if size := int64(2|bits&1) << (bits/2 + 11); bits > 40 || size > most {
		return fmt.Errorf("its dictionary is larger than %d MiB: decompress it with xz -d", most>>20)
	}
	return nil
}
