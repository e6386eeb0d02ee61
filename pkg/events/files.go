package events

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/safefile"
)

// The files: DATABASE.events-N, N the number of the first event, in 20 digits so that their names
// are in order. The first line says what it is, each line behind that is an event. A line whose
// end was not written is none, and the next event stands in its place.

const (
	ending = ".events-"
	magic  = "bailiff events 1"
	// numberLen is how many digits a name has.
	numberLen = 20
	// filesMost is how many files are looked at.
	filesMost = 10_000
)

// header is a file's first line.
type header struct {
	Magic  string    `json:"file"`
	Stream string    `json:"stream"`
	Boot   string    `json:"boot"`
	First  uint64    `json:"first"`
	Begun  time.Time `json:"begun"`
}

func nameOf(path string, first uint64) string {
	return fmt.Sprintf("%s%s%0*d", path, ending, numberLen, first)
}

// look finds the files of a table, the oldest first, what tells its numbers from others', and
// which number comes next.
func look(path string, warn func(string)) (found []segment, stream string, next uint64, err error) {
	dir, base := filepath.Split(path)
	d, err := os.Open(filepath.Clean(dir + "."))
	if err != nil {
		return nil, "", 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, "", 0, err
	}
	next = 1
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, base+ending)
		first, err := strconv.ParseUint(rest, 10, 63)
		if !ok || err != nil || len(rest) != numberLen || first == 0 || len(found) >= filesMost {
			continue
		}
		found = append(found, segment{first: first, last: first - 1, name: dir + name})
		next = max(next, first)
	}
	slices.SortFunc(found, func(a, b segment) int { return strings.Compare(a.name, b.name) })
	for i := len(found) - 1; i >= 0; i-- {
		last := i == len(found)-1
		switch h, err := found[i].read(last); {
		case errors.Is(err, fs.ErrNotExist):
			found = slices.Delete(found, i, i+1)
		case err != nil:
			if err != errEmpty {
				warn(fmt.Sprintf("%s: %v: its events are not shown", found[i].name, err))
			}
			found = slices.Delete(found, i, i+1)
		default:
			if last {
				next = max(next, found[i].last+1)
			}
			if stream == "" {
				stream = h.Stream
			}
		}
	}
	for i := range found {
		if i < len(found)-1 {
			found[i].last = found[i+1].first - 1
		}
	}
	return found, stream, next, nil
}

// errEmpty: a file was begun, and nothing was written to it.
var errEmpty = errors.New("it is empty")

// read fills in what a file's head says, and of the last one where it ends.
func (s *segment) read(last bool) (h header, err error) {
	f, err := safefile.Open(s.name)
	if err != nil {
		return h, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return h, err
	}
	if fi.Size() == 0 {
		return h, errEmpty
	}
	s.size, s.ended = fi.Size(), fi.ModTime()
	r := bufio.NewReaderSize(f, 64<<10)
	head, err := r.ReadSlice('\n')
	if err == io.EOF {
		return h, errors.New("its first line was not written whole")
	}
	if err == nil {
		err = json.Unmarshal(head, &h)
	}
	if err != nil || h.Magic != magic || h.First != s.first {
		return header{}, errors.New("it is no file of events")
	}
	s.begun, s.boot, s.body = h.Begun, h.Boot, int64(len(head))
	if !last {
		return h, nil
	}
	s.size = s.body
	for at := s.body; ; {
		line, err := r.ReadSlice('\n')
		at += int64(len(line))
		if err == bufio.ErrBufferFull {
			continue // no event is as long: it is none
		}
		if err != nil {
			return h, nil
		}
		if n, ok := numberOf(line); ok && json.Valid(line) {
			s.last, s.size, s.stopped = n, at, isStop(line)
		}
	}
}

// file is the one that is appended to.
type file struct {
	f    *os.File
	size int64
}

func (f *file) open() bool { return f.f != nil }

// there reports whether it is open, and still what the name leads to.
func (f *file) there(name string) bool {
	if f.f == nil {
		return false
	}
	is, err := f.f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(name)
	return err == nil && os.SameFile(is, named) && named.Size() >= f.size
}

// open opens a file, or makes it, for nobody else to write to.
func open(name string) (*os.File, error) {
	f, err := safefile.Create(name, os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("another daemon with the same database writes to it")
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// begin makes another file.
func (f *file) begin(name string, head []byte) error {
	n, err := open(name)
	if err == nil {
		err = n.Truncate(0)
	}
	if err != nil {
		return err
	}
	if _, err := n.WriteAt(head, 0); err != nil {
		_ = os.Remove(name)
		n.Close()
		return err
	}
	// A file that a power cut takes back would take the numbers with it.
	_ = unix.Fdatasync(int(n.Fd()))
	if d, err := os.Open(filepath.Dir(name)); err == nil {
		_ = d.Sync()
		d.Close()
	}
	f.sync()
	f.close()
	f.f, f.size = n, int64(len(head))
	return nil
}

// reopen goes on in a file, behind what is whole in it.
func (f *file) reopen(name string, size int64) error {
	n, err := open(name)
	if err != nil {
		return err
	}
	if err := n.Truncate(size); err != nil {
		n.Close()
		return err
	}
	f.close()
	f.f, f.size = n, size
	return nil
}

// append appends events, all of them or none.
func (f *file) append(b []byte) error {
	if _, err := f.f.WriteAt(b, f.size); err != nil {
		_ = f.f.Truncate(f.size) // what is there of it is no whole line, and the next stands in its place
		return err
	}
	f.size += int64(len(b))
	return nil
}

func (f *file) sync() {
	if f.f != nil {
		_ = unix.Fdatasync(int(f.f.Fd()))
	}
}

func (f *file) close() {
	if f.f != nil {
		f.f.Close()
		f.f = nil
	}
}

func removeAll(gone []segment) error {
	var errs []error
	for _, s := range gone {
		if s.name == "" {
			continue
		}
		if err := os.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// each calls f with a segment's events behind since, from an offset on, as they stand there without
// a newline, until f returns false. at is where the next one begins.
func (s *segment) each(from int64, since uint64, f func(n uint64, line []byte) bool) (at int64, more bool, err error) {
	at = max(from, s.body)
	var text io.Reader
	if s.name == "" {
		text = bytes.NewReader(s.memory[min(at, s.size):s.size])
	} else {
		file, err := safefile.Open(s.name)
		if errors.Is(err, fs.ErrNotExist) {
			return s.size, true, nil // it has gone since
		}
		if err != nil {
			return at, false, err
		}
		defer file.Close()
		text = io.NewSectionReader(file, at, max(s.size-at, 0))
	}
	r := bufio.NewReaderSize(text, readMost)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case err == nil:
		case err == bufio.ErrBufferFull:
			at += int64(len(line))
			continue
		case err == io.EOF:
			return at, true, nil
		default:
			return at, false, err
		}
		at += int64(len(line))
		if n, ok := numberOf(line); ok && n > since && !f(n, line[:len(line)-1]) {
			return at, false, nil
		}
	}
}

// readMost is how much of a file is read at a time.
const readMost = 32 << 10
