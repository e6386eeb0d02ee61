package source

import (
	"sync"
	"time"
)

// Several jails may follow one file. Each has its own position, and is held back
// by nobody but itself, but what one of them has read, cut into lines and decoded
// the others take over.

// shareFor is for how long a block is kept for others. It is short, since a file
// that is emptied and written again has other lines at the same place.
const shareFor = time.Second

// shareMost bounds the blocks of one file that are kept.
const shareMost = 8

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

type blockKey struct {
	offset int64
	enc    string
}

type block struct {
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
	blocks  map[blockKey]*block
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
		f = &sharedFile{blocks: map[blockKey]*block{}}
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

// forget drops what is kept of a file: it was emptied.
func (s *sharing) forget(id FileID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[id]; f != nil {
		clear(f.blocks)
	}
}

// take returns the block that another reader found at an offset.
func (s *sharing) take(id FileID, offset int64, enc *Encoding) *block {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[id]
	if f == nil || len(f.blocks) == 0 {
		return nil
	}
	key := blockKey{offset, enc.name()}
	b := f.blocks[key]
	if b == nil || time.Now().After(b.until) {
		delete(f.blocks, key)
		return nil
	}
	if b.left--; b.left <= 0 {
		delete(f.blocks, key)
	}
	return b
}

// give keeps a block for the others, if there are any, and returns the notes on it.
func (s *sharing) give(id FileID, offset int64, enc *Encoding, b block) *Notes {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[id]
	if f == nil || f.readers < 2 {
		return nil
	}
	now := time.Now()
	if len(f.blocks) >= shareMost {
		for k, old := range f.blocks {
			if now.After(old.until) || len(f.blocks) >= shareMost {
				delete(f.blocks, k)
			}
		}
	}
	b.left, b.until, b.notes = f.readers-1, now.Add(shareFor), &Notes{}
	f.blocks[blockKey{offset, enc.name()}] = &b
	return b.notes
}
