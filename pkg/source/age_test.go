package source

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// TestAge: a piece that is read is dated by the first write that was noticed since the last one was read to the file's
// end; and a file that is read in several pieces in steps, by how long it was when the one before was through.
func TestAge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var first atomic.Int64
	r := &lineReader{file: f}
	a := &r.age
	first.Store(5)
	if at := a.begin(&first); at != 5 || first.Load() != 0 {
		t.Errorf("the first write is dated %d, and is noted still: %d", at, first.Load())
	}
	// It is not at its end: what is behind is of the same time up to where the file ends now.
	r.offset = 400
	a.read(r, 10)
	first.Store(7) // somebody writes more
	if err := f.Truncate(1500); err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int64{800, 1000} {
		if at := a.begin(&first); at != 5 {
			t.Errorf("at %d: dated %d, want the first write", r.offset, at)
		}
		r.offset = offset
		a.read(r, 10)
	}
	if at := a.begin(&first); at != 7 {
		t.Errorf("what came later is dated %d", at)
	}
	r.offset, r.ended = 1500, time.Now()
	a.read(r, 10)
	before := moment()
	if at := a.begin(&first); at < before || at > moment() {
		t.Errorf("what nobody has told of is dated %d, and now is %d", at, before)
	}
}
