package store

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/safefile"
)

// Failures and positions of logs change all the time, and nobody but a bailiff reads them
// in the database. To write them there costs a transaction: pages of 4 KiB, written twice,
// and waited for. So they are appended to a file beside it, and folded into the database
// seldom (fold.go). Bans are written to the database itself, before the append: what is
// read again after a crash in between is of addresses that are banned.
//
// What was written survives the end of the program, however it ends; at most syncEvery
// after that it survives a power cut, too. Where the file can't be written, nothing is
// appended, and what waits is kept and tried again, as with the database.

const (
	changesEnding = ".changes"
	oldEnding     = ".changes.old" // what is being folded
)

var (
	// changesMost is how large the file grows before it is folded.
	changesMost = int64(16 << 20)
	// changesFull is how large it is at most, where it can't be folded.
	changesFull = 4 * changesMost
	// changesAge is how old the first change in it gets before it is folded: that is how
	// far behind fail2ban's table of logs may be after a crash.
	changesAge = time.Hour
)

const (
	// syncEvery is how long failures are in the file and may be lost by a power cut; with
	// what a jail gathers before that (saveEvery of pkg/jail), five seconds.
	syncEvery = 4 * time.Second
	// reserve is how much room is taken at a time: so the file's length, which is
	// elsewhere on the disk, changes seldom.
	reserve = 64 << 10
)

// changes is the file that is appended to.
type changes struct {
	path string
	id   [databaseID]byte

	file     *os.File // nil: nothing was appended yet
	info     os.FileInfo
	rec      *recorder
	size     int64 // of what is known to be whole
	reserved int64
	began    time.Time

	syncing sync.Mutex // guards what follows
	timer   *time.Timer
	unsaved bool
	failed  error
}

// open makes the file. There is none: what was there is folded.
func (c *changes) open(now time.Time) error {
	f, err := safefile.Create(c.path+changesEnding, os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	c.rec = newRecorder(now)
	head := c.rec.head(c.id)
	if _, err := f.WriteAt(head, 0); err != nil {
		f.Close()
		return err
	}
	c.info, c.size, c.reserved, c.began = info, int64(len(head)), 0, time.Now()
	c.syncing.Lock()
	c.file = f
	c.syncing.Unlock()
	return nil
}

// append appends what deltas say of failures and positions.
func (c *changes) append(deltas []*Delta, clock recordClock, now time.Time) error {
	if c.file == nil {
		if err := c.open(now); err != nil {
			return err
		}
	}
	frame := c.rec.frame(deltas, clock, now)
	if frame == nil {
		return nil
	}
	if end := c.size + int64(len(frame)); end > c.reserved {
		room := (end + reserve - 1) / reserve * reserve
		if unix.Fallocate(int(c.file.Fd()), 0, 0, room) == nil {
			c.reserved = room
		} // else it grows with each append
	}
	if _, err := c.file.WriteAt(frame, c.size); err != nil {
		// What is there of it is no frame, and the next one stands in its place.
		_ = c.file.Truncate(c.size)
		c.reserved = 0
		c.rec.undo()
		return err
	}
	c.size += int64(len(frame))
	failures, whole := false, false
	for _, d := range deltas {
		for _, times := range d.Failures {
			failures = failures || len(times) > 0
		}
		whole = whole || d.AllFailures
	}
	if failures || whole {
		c.later(whole)
	}
	return nil
}

// later has what was appended survive a power cut in a while, or as soon as it can be.
func (c *changes) later(now bool) {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	if c.unsaved && !now {
		return
	}
	wait := syncEvery
	if now {
		wait = 0
	}
	c.unsaved = true
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, c.sync)
	} else {
		c.timer.Reset(wait)
	}
}

// sync writes to the disk what was appended. It may take its time: it holds nobody up.
func (c *changes) sync() {
	c.syncing.Lock()
	c.unsaved = false
	if c.file == nil {
		c.syncing.Unlock()
		return
	}
	// A descriptor of its own: the file may be closed meanwhile.
	fd, err := unix.FcntlInt(c.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	c.syncing.Unlock()
	if err == nil {
		err = unix.Fdatasync(fd)
		unix.Close(fd)
	}
	if err != nil {
		c.syncing.Lock()
		c.failed = err
		c.syncing.Unlock()
	}
}

// trouble says what is wrong with the file that is open: it is not there any more, or it
// could not be written to the disk.
func (c *changes) trouble() error {
	c.syncing.Lock()
	err := c.failed
	c.syncing.Unlock()
	if err != nil {
		return fmt.Errorf("%s%s can't be written to the disk: %w", c.path, changesEnding, err)
	}
	if c.file == nil {
		return nil
	}
	switch fi, err := os.Stat(c.path + changesEnding); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s%s was removed while it was in use", c.path, changesEnding)
	case err == nil && !os.SameFile(fi, c.info):
		return fmt.Errorf("%s%s was replaced while it was in use", c.path, changesEnding)
	case err == nil && fi.Size() < c.size:
		return fmt.Errorf("%s%s was cut while it was in use", c.path, changesEnding)
	}
	return nil
}

// close closes the file, which stays where it is.
func (c *changes) close() {
	if f := c.take(); f != nil {
		f.Close()
	}
}

// take lets go of the file.
func (c *changes) take() (f *os.File) {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	f = c.file
	c.file, c.rec, c.unsaved, c.failed = nil, nil, false, nil
	return f
}

// rotate puts the file aside, to be folded, and returns it; the next append begins a new
// one.
func (c *changes) rotate() (*os.File, error) {
	if err := os.Rename(c.path+changesEnding, c.path+oldEnding); err != nil {
		return nil, err
	}
	return c.take(), nil
}

// remove takes away both files.
func (c *changes) remove() error {
	c.close()
	var errs []error
	for _, ending := range []string{changesEnding, oldEnding} {
		if err := os.Remove(c.path + ending); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

const changesSchema = `
CREATE TABLE IF NOT EXISTS bailiff_changes(id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL);
`

// named gives the database a name, if it has none: a changes file tells whose it is.
func named(db *sql.DB) (id [databaseID]byte, err error) {
	_, _ = rand.Read(id[:]) // it never fails
	if _, err := db.Exec("INSERT OR IGNORE INTO bailiff_changes(id, name) VALUES(1, ?)", hex.EncodeToString(id[:])); err != nil {
		return id, err
	}
	var name string
	if err := db.QueryRow("SELECT name FROM bailiff_changes WHERE id = 1").Scan(&name); err != nil {
		return id, err
	}
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != databaseID {
		return id, fmt.Errorf("malformed: the name of the database is %.40q", name)
	}
	copy(id[:], b)
	return id, nil
}

// left reads what a daemon before this one has left, the older file first. What can't be
// of use is set aside, and said.
func (s *Store) left(id [databaseID]byte) (out []*recorded, err error) {
	for _, ending := range []string{oldEnding, changesEnding} {
		name := s.path + ending
		data, err := safefile.ReadFile(name, changesFull+reserve)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var r *recorded
		if err == nil {
			r, err = readRecorded(data)
		}
		switch {
		case err == nil && r.sound == 0: // nothing is in it
			continue
		case err == nil && r.id != id:
			err = errors.New("it is of another database")
		}
		if err != nil {
			if err := s.putAside(name, err); err != nil {
				return nil, err
			}
			continue
		}
		if rest := bytes.TrimRight(data[r.sound:], "\x00"); len(rest) > 0 {
			s.warn("%s: its last %d bytes were not written whole, and are passed over: what they held is read again from the logs", name, len(rest))
		}
		out = append(out, r)
	}
	return out, nil
}

// putAside gives a changes file that is of no use another name, and says so.
func (s *Store) putAside(name string, why error) error {
	aside := fmt.Sprintf("%s.unused-%s", name, time.Now().Format("20060102-150405"))
	if err := os.Rename(name, aside); err != nil {
		return fmt.Errorf("%s: %w; it can't be set aside: %w", name, why, err)
	}
	s.warn("%s: %v: set aside as %s; what failed since the database was written last is read again from the logs", name, why, aside)
	return nil
}

// append keeps what deltas say of failures and positions.
func (s *Store) append(deltas []*Delta) error {
	if f := s.foldFailed.Load(); f != nil && s.changes.size > changesFull {
		s.soon()
		return f.err
	}
	boot, zero := s.clock.Boot()
	if err := s.changes.append(deltas, recordClock{boot, zero, s.offset}, s.clock.Now()); err != nil {
		return fmt.Errorf("%s%s: %w", s.path, changesEnding, err)
	}
	// Where a log begins is known to the database at once: programs that read it, and
	// fail2ban after a crash, find which logs there are.
	fresh := s.unfiled(deltas)
	if len(fresh) > 0 {
		err := s.transact(func(w *writer) error {
			for jail, list := range fresh {
				if err := w.exec("INSERT OR IGNORE INTO jails(name, enabled) VALUES(?, 1)", jail); err != nil {
					return err
				}
				slices.SortFunc(list, before)
				for _, p := range list {
					if err := w.position(jail, p); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		s.noting.Lock()
		for jail, list := range fresh {
			if len(s.filed[jail]) == 0 || len(s.filed[jail]) > logsMost {
				s.filed[jail] = map[LogKey]struct{}{}
			}
			for _, p := range list {
				s.filed[jail][LogKey{p.Path, p.Dev, p.Inode}] = struct{}{}
			}
		}
		s.noting.Unlock()
	}
	if s.changes.size > changesMost || s.changes.file != nil && time.Since(s.changes.began) > changesAge {
		s.soon()
	}
	return nil
}

// unfiled notes of which jails the changes file tells, and returns the positions of logs that
// the database does not know yet, by jail.
func (s *Store) unfiled(deltas []*Delta) map[string][]Position {
	s.noting.Lock()
	defer s.noting.Unlock()
	out := map[string][]Position{}
	for _, d := range deltas {
		if len(d.Failures) > 0 || len(d.Logs) > 0 || d.AllFailures || d.AllLogs {
			s.tells[d.Jail] = true
		}
		for k, p := range d.Logs {
			if _, ok := s.filed[d.Jail][k]; !ok && !p.Gone {
				out[d.Jail] = append(out[d.Jail], p)
			} else if p.Gone {
				delete(s.filed[d.Jail], k)
			}
		}
	}
	return out
}
