package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"bailiff/pkg/safefile"
	"bailiff/pkg/transport"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// stream delivers the lines of a pipe as they come, until its end or ctx's. What
// is read from a pipe can't be read again, so its batches have no place. next
// returns some bytes that stay valid, or why there are no more.
func (s *Files) stream(ctx context.Context, path string, next func() ([]byte, error), out chan<- Batch) error {
	r := &lineReader{enc: s.Encoding}
	var rest []byte // half a character
	told := false
	log := transport.New(s.Transport)
	send := func(lines [][]byte) bool {
		for i, line := range lines {
			if !told && s.Encoding.damaged(line) {
				told = true
				s.note(notReadable(path, s.Encoding, line))
			}
			lines[i] = bytes.TrimRight(s.Encoding.Decode(line), "\r")
		}
		if len(lines) == 0 {
			return true
		}
		lines, frames, _ := log.Lines(lines)
		if len(lines) == 0 {
			return true
		}
		select {
		case out <- Batch{Path: path, Lines: lines, Frames: frames}:
			s.setStatus(path, r.offset, "")
			return true
		case <-ctx.Done():
			return false
		}
	}
	for {
		data, err := next()
		if len(rest) > 0 {
			data = append(rest, data...)
		}
		whole := len(data) - len(data)%int(s.Encoding.width())
		rest = bytes.Clone(data[whole:])
		if !send(r.split(data[:whole])) {
			return nil
		}
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF):
			if len(r.part) > 0 { // the last line may lack its newline
				send([][]byte{r.part})
			}
			return io.EOF
		}
		return err
	}
}

// standardInput reads standard input for whoever asks: a read of it can't be
// broken off, so it must outlive the jail that waits for it.
var standardInput = sync.OnceValue(func() <-chan []byte {
	chunks := make(chan []byte)
	go func() {
		defer close(chunks)
		for {
			block := make([]byte, 64<<10)
			n, err := os.Stdin.Read(block)
			if n > 0 {
				chunks <- block[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return chunks
})

// stdin follows standard input.
func (s *Files) stdin(ctx context.Context, out chan<- Batch) {
	s.setStatus(Stdin, 0, "")
	s.note(Event{Path: Stdin, Text: "following standard input"})
	chunks := standardInput()
	err := s.stream(ctx, Stdin, func() ([]byte, error) {
		select {
		case chunk, ok := <-chunks:
			if !ok {
				return nil, io.EOF
			}
			return chunk, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, out)
	if err == nil {
		return
	}
	s.setStatus(Stdin, 0, "ended")
	s.note(Event{Path: Stdin, Text: "standard input has ended"})
}

// fifo is a named pipe that a follower reads.
type fifo struct {
	stop context.CancelFunc
	done chan struct{}
}

// openFIFO begins to read a named pipe. It is open for writing, too, so that it does
// not end when its writers go; without the right to do that, it is opened anew at
// each end.
func (f *follower) openFIFO(s sighting) {
	ctx, stop := context.WithCancel(f.ctx)
	p := &fifo{stop: stop, done: make(chan struct{})}
	f.fifo = p
	f.src.setStatus(f.path, 0, "")
	f.note(Event{Text: "following a named pipe"})
	go func() {
		defer close(p.done)
		for file := s.file; file != nil; file = f.openAgain(ctx, s.id) {
			closing := context.AfterFunc(ctx, func() { file.Close() }) // ends a read
			err := f.src.stream(ctx, f.path, func() ([]byte, error) {
				block := make([]byte, 64<<10)
				n, err := file.Read(block)
				return block[:n], err
			}, f.out)
			closing()
			file.Close()
			if err != nil && !errors.Is(err, io.EOF) {
				f.note(Event{Err: err})
			}
		}
	}()
}

// openAgain opens the same pipe once more; nil if the path names something else, of
// which the lookout tells.
func (f *follower) openAgain(ctx context.Context, id FileID) *os.File {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(checkEvery):
	}
	file, err := safefile.OpenLog(f.path)
	if err != nil {
		f.note(Event{Err: err})
		return nil
	}
	fi, err := file.Stat()
	if err != nil || fi.Mode()&os.ModeNamedPipe == 0 || fileID(fi.Sys()) != id {
		file.Close()
		return nil
	}
	return file
}

func (f *follower) closeFIFO() {
	if f.fifo != nil {
		f.fifo.stop()
		<-f.fifo.done
		f.fifo = nil
	}
}
