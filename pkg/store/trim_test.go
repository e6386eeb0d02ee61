package store

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
)

// mapped is how much of this process's memory is mapped, in kB.
func mapped(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "VmSize:"); ok {
			n, err := strconv.Atoi(strings.Fields(text)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("/proc/self/status has no VmSize")
	return 0
}

// What SQLite had in use is given back when no connection is open, and not before; the database
// can be used again.
func TestTrim(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "db.sqlite3"), clock.System())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	load := func() {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := s.LoadEach("sshd", time.Now(), func([]ban.Ban) {}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	// The runtime may map more meanwhile.
	for try := 1; ; try++ {
		load()
		if s.connections() == 0 {
			t.Fatal("no connection is open")
		}
		s.trimmer.look(s.connections)
		if !s.trimmer.due.Load() {
			t.Fatal("with connections open, it is not looked again later")
		}
		s.db.SetMaxIdleConns(-1) // which closes them
		before := mapped(t)
		s.trimmer.look(s.connections)
		if given := before - mapped(t); given >= 256 {
			break
		} else if try == 5 {
			t.Fatalf("%d kB were given back", given)
		}
		s.db.SetMaxIdleConns(4)
	}
	load()
}
