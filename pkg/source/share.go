package source

import (
	"bytes"
	"slices"
	"sync"
	"time"
)

// Several jails may follow one file. Each has its own position, and is held back
// by nobody but itself, but what one of them has read, cut into lines and decoded
// the others take over.

// shareFor is for how long a block is kept for others. It is short, since a file
// that is emptied and written again has other lines at the same place.
const shareFor = time.Second

// shareMost is how many bytes are kept of one file for readers that are behind, as they stand
// there.
const shareMost = 4 << 20

// partMost is how long the begin of a line may be that is left to be read again, with its rest,
// where several follow a file: what they share are whole lines.
const partMost = 4 << 10

// Notes is what those who got the same lines leave to each other.
type Notes struct {
	mu   sync.Mutex
	list map[any]*note
}

type note struct {
	once  sync.Once
	value any
}

// Get returns what was noted under a key, which is made by the first who asks.
func (n *Notes) Get(key any, first func() any) any {
	n.mu.Lock()
	if n.list == nil {
		n.list = map[any]*note{}
	}
	x := n.list[key]
	if x == nil {
		x = &note{}
		n.list[key] = x
	}
	n.mu.Unlock()
	x.once.Do(func() { x.value = first() })
	return x.value
}

type block struct {
	enc    string
	from   int64
	lines  [][]byte
	raw    []byte // as they stand in the file
	before string // what stands before them, as in lineReader
	next   int64  // offset behind the last line
	cut    int
	bad    []byte
	notes  *Notes
	ended  time.Time // as in lineReader
	left   int       // readers that may still want it
	until  time.Time
}

// sharedFile is what is known of a file that is followed more than once.
type sharedFile struct {
	readers int
	blocks  []*block // the oldest first
	size    int      // bytes
}

type sharing struct {
	mu    sync.Mutex
	files map[FileID]*sharedFile
}

var shared = &sharing{files: map[FileID]*sharedFile{}}

// join and leave count the readers of a file.
func (s *sharing) join(id FileID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[id]
	if f == nil {
		f = &sharedFile{}
		s.files[id] = f
	}
	f.readers++
}

func (s *sharing) leave(id FileID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[id]
	if f == nil {
		return
	}
	if f.readers--; f.readers == 0 {
		delete(s.files, id)
	}
}

// several reports whether more than one follows a file.
func (s *sharing) several(id FileID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[id]
	return f != nil && f.readers > 1
}

// forget drops what is kept of a file: it was emptied.
func (s *sharing) forget(id FileID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[id]; f != nil {
		f.blocks, f.size = nil, 0
	}
}

// drop lets go of a block.
func (f *sharedFile) drop(i int) {
	f.size -= len(f.blocks[i].raw)
	f.blocks = slices.Delete(f.blocks, i, i+1)
}

// old lets go of what was kept for long enough, and of the oldest ones where it is too much.
func (f *sharedFile) old(now time.Time) {
	for len(f.blocks) > 0 && (now.After(f.blocks[0].until) || f.size > shareMost) {
		f.drop(0)
	}
}

// take returns the block of another reader in which what stands at an offset is, and how many
// bytes and lines of it stand before that. Where there is none, upTo is where the next one
// begins, so that reading may come to that; 0: nowhere.
func (s *sharing) take(id FileID, offset int64, enc *Encoding) (b *block, past, lines int, upTo int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[id]
	if f == nil || len(f.blocks) == 0 {
		return nil, 0, 0, 0
	}
	f.old(time.Now())
	for i, b := range f.blocks {
		switch past := int(offset - b.from); {
		case b.enc != enc.name() || past >= len(b.raw):
		case past < 0:
			if upTo == 0 || b.from < upTo {
				upTo = b.from
			}
		default:
			if past > 0 {
				if enc.lastIndex(b.raw[:past])+int(enc.width()) != past {
					continue // no line of it begins there
				}
				lines = enc.count(b.raw[:past])
			}
			if b.left--; b.left <= 0 {
				f.drop(i)
			}
			return b, past, lines, 0
		}
	}
	return nil, 0, 0, upTo
}

// give keeps a block for the others, if there are any, and returns the notes on it.
func (s *sharing) give(id FileID, b block) *Notes {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[id]
	if f == nil || f.readers < 2 {
		return nil
	}
	now := time.Now()
	f.old(now)
	for i, old := range f.blocks { // both have read it
		if old.from == b.from && old.enc == b.enc && bytes.Equal(old.raw, b.raw) {
			if old.left--; old.left <= 0 {
				f.drop(i)
			}
			return old.notes
		}
	}
	b.left, b.until, b.notes = f.readers-1, now.Add(shareFor), &Notes{}
	f.blocks = append(f.blocks, &b)
	f.size += len(b.raw)
	f.old(now)
	return b.notes
}
