package source

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Several paths of a source may lead to one file: a glob matches a log and what it is
// renamed to, a link beside a log, or a copy. The ledger says who reads which file,
// and how far each was read, so that no line is read twice.

const (
	// mostPlaces bounds the files that are remembered after they were read.
	mostPlaces = 1024
	// reservedFor is how long files of an earlier run wait for the path under which
	// they were followed then.
	reservedFor = 5 * time.Second
)

// ledger is guarded by the lock of its Files.
type ledger struct {
	readers  map[FileID]*lineReader // at work
	owners   map[FileID]string      // the path under which a file is read, or will be
	reserved time.Time              // until when a path that isn't followed keeps its files
	active   map[string]bool        // paths that are followed
	places   map[FileID]place
	order    []FileID // of places, the oldest first
	former   []place  // of contents that are gone: the file was emptied
}

// begin reserves the files of the positions that belong to some globs.
func (l *ledger) begin(resume map[string][]Position, globs []string) {
	*l = ledger{
		readers: map[FileID]*lineReader{}, owners: map[FileID]string{}, active: map[string]bool{}, places: map[FileID]place{},
		reserved: time.Now().Add(reservedFor),
	}
	for path, list := range resume {
		if !slices.ContainsFunc(globs, func(g string) bool {
			ok, _ := filepath.Match(g, path)
			return ok || g == path || filepath.Clean(g) == path
		}) {
			continue
		}
		for _, p := range list {
			if p.File != (FileID{}) {
				l.owners[p.File] = path
				l.keep(p.File, place{p.FirstLine, p.Offset, p.Before})
			}
		}
	}
}

func (l *ledger) keep(id FileID, p place) {
	if _, ok := l.places[id]; !ok {
		if len(l.order) >= mostPlaces {
			delete(l.places, l.order[0])
			l.order = l.order[1:]
		}
		l.order = append(l.order, id)
	}
	l.places[id] = p
}

// forgetPlace drops what was read of a file.
func (s *Files) forgetPlace(id FileID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.kept.places[id]; ok {
		delete(s.kept.places, id)
		s.kept.order = slices.DeleteFunc(s.kept.order, func(o FileID) bool { return o == id })
	}
}

// claim reports whether a path may read a file.
func (s *Files) claim(id FileID, path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if owner, ok := s.kept.owners[id]; ok && owner != path && (s.kept.active[owner] || time.Now().Before(s.kept.reserved)) {
		return false
	}
	s.kept.owners[id] = path
	return true
}

// reads says who reads a file that was claimed.
func (s *Files) reads(r *lineReader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept.readers[r.id] = r
}

// release gives a file up.
func (s *Files) release(r *lineReader, path string) {
	p := r.place()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept.readers[r.id] == r {
		delete(s.kept.readers, r.id)
	}
	if s.kept.owners[r.id] == path {
		delete(s.kept.owners, r.id)
	}
	s.kept.keep(r.id, p)
}

// activate says whether a path is followed.
func (s *Files) activate(path string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept.active[path] = on
}

// settle gives up what a path had reserved and does not read.
func (s *Files) settle(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, owner := range s.kept.owners {
		if owner == path && s.kept.readers[id] == nil {
			delete(s.kept.owners, id)
		}
	}
}

// emptied notes how far a content was read that is gone: there may be a copy.
func (s *Files) emptied(p place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept.former = append(s.kept.former, p); len(s.kept.former) > mostOld {
		s.kept.former = slices.Delete(s.kept.former, 0, 1)
	}
}

// done reports whether a file of some size was read to its end: an earlier copy, which
// begins with the same header.
func (s *Files) done(id FileID, size int64, file io.ReaderAt) bool {
	s.mu.Lock()
	own, ok := s.kept.places[id]
	s.mu.Unlock()
	return ok && own.offset >= size && own.in(file)
}

// wasRead returns how far the content of a file was read, under whatever name: it may
// be a file that was read before, or a copy of one. wait: it seems that a copy is
// being made, so that this can't be said yet. What is read of the file but now does not
// count.
func (s *Files) wasRead(file io.ReaderAt, id FileID, size int64, but FileID) (at int64, wait bool) {
	type live struct {
		place
		file *os.File
	}
	s.mu.Lock()
	own, known := s.kept.places[id]
	places := slices.Clone(s.kept.former)
	for other, p := range s.kept.places {
		if s.kept.readers[other] == nil { // else it has come further
			places = append(places, p)
		}
	}
	var others []live
	for other, r := range s.kept.readers {
		if other != id && other != but && r.shown.offset > 0 {
			others = append(others, live{r.shown, r.file})
		}
	}
	s.mu.Unlock()
	if known && own.in(file) {
		return own.offset, false
	}
	for _, p := range places {
		if p.before != "" && p.offset > at && p.offset <= size && p.in(file) {
			at = p.offset
		}
	}
	for _, o := range others {
		switch {
		case o.before != "" && o.offset > at && o.offset <= size && o.in(file):
			at = o.offset
		case size < o.offset && size > at && prefixOf(file, size, o.file):
			// If it is no copy after all, it has the same header, and the beginning of a line
			// that looks like others.
			at, wait = max(at, lineStart(file, size)), true
		}
	}
	return at, wait
}

// lineStart is where the line begins that a file of some size ends in.
func lineStart(file io.ReaderAt, size int64) int64 {
	buf := make([]byte, min(size, compareSize))
	n, _ := file.ReadAt(buf, size-int64(len(buf)))
	if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
		return size - int64(len(buf)) + int64(i) + 1
	}
	if size > int64(len(buf)) {
		return size // a very long line
	}
	return 0
}
