package report

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/safefile"
)

// A book is a file with a line for each report: SECONDS ADDRESS. A report is noted in it,
// and the disk has that, before it is sent. What is older than the book has to know goes when
// the file is written anew: as many reports as a day can have, for as many days as an address
// is left alone, are all that it ever has to know.
type book struct {
	path  string
	keeps time.Duration
	noted []note // in the order of their times
	last  map[netip.Addr]int64
	file  *os.File // nil: it is written anew first
	lines int      // of the file
}

type note struct {
	at   int64
	addr netip.Addr
}

// bookBytes is the largest file, and bookNotes the most of it that is kept.
const (
	bookBytes = 32 << 20
	bookNotes = DayMost * int(EveryMost/(24*time.Hour)+1)
)

// open reads a book; without a file, it is a new one.
func open(path string, keeps time.Duration, now time.Time) (*book, error) {
	b := &book{path: path, keeps: keeps, last: map[netip.Addr]int64{}}
	data, err := safefile.ReadFile(path, bookBytes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("who was reported before is not known, and nobody is reported: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		at, who, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		seconds, err := strconv.ParseInt(at, 10, 64)
		addr, err2 := netip.ParseAddr(who)
		if !ok || err != nil || err2 != nil { // the last one, of a daemon that was killed
			continue
		}
		b.add(min(seconds, now.Unix()), addr) // the clock may have been set back
	}
	b.forget(now)
	return b, b.rewrite()
}

func (b *book) add(at int64, addr netip.Addr) {
	if n := len(b.noted); n > 0 {
		at = max(at, b.noted[n-1].at)
	}
	b.noted = append(b.noted, note{at, addr})
	b.last[addr] = at
}

// forget drops what is too old to matter.
func (b *book) forget(now time.Time) {
	old := now.Add(-b.keeps).Unix()
	n := 0
	for n < len(b.noted) && (b.noted[n].at < old || len(b.noted)-n > bookNotes) {
		if one := b.noted[n]; b.last[one.addr] == one.at {
			delete(b.last, one.addr)
		}
		n++
	}
	b.noted = b.noted[n:]
}

// since returns how long ago an address was reported last.
func (b *book) since(addr netip.Addr, now time.Time) time.Duration {
	at, ok := b.last[addr]
	if !ok {
		return math.MaxInt64
	}
	return now.Sub(time.Unix(at, 0))
}

// day returns how many were reported in the last 24 hours.
func (b *book) day(now time.Time) int {
	from, n := now.Add(-24*time.Hour).Unix(), 0
	for i := len(b.noted) - 1; i >= 0 && b.noted[i].at >= from; i-- {
		n++
	}
	return n
}

// note adds a report, and returns when the disk has it.
func (b *book) note(addr netip.Addr, now time.Time) error {
	b.forget(now)
	if b.file == nil || b.lines > 2*len(b.noted)+1000 {
		if err := b.rewrite(); err != nil {
			return err
		}
	}
	line := fmt.Sprintf("%d %s\n", now.Unix(), addr)
	_, err := b.file.WriteString(line)
	if err == nil {
		err = b.file.Sync()
	}
	if err != nil {
		b.close() // half of it may be there
		return err
	}
	b.lines++
	b.add(now.Unix(), addr)
	return nil
}

// rewrite puts a file with what is known in place of the one before.
func (b *book) rewrite() error {
	b.close()
	var data bytes.Buffer
	for _, n := range b.noted {
		fmt.Fprintf(&data, "%d %s\n", n.at, n.addr)
	}
	err := safefile.Replace(b.path, func(f *os.File) error { _, err := f.Write(data.Bytes()); return err })
	if err != nil {
		return err
	}
	if dir, err := os.Open(filepath.Dir(b.path)); err == nil {
		_ = dir.Sync()
		dir.Close()
	}
	b.lines = len(b.noted)
	b.file, err = safefile.Append(b.path, 0o600)
	return err
}

func (b *book) close() {
	if b.file != nil {
		b.file.Close()
		b.file = nil
	}
}
