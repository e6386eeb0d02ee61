package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bailiff/pkg/ban"
)

// TestCheckedLater: a large database is not looked through before it is read; what is wrong with
// it is found by Check, and it is set aside at the next writing.
func TestCheckedLater(t *testing.T) {
	was := checkedFirst
	checkedFirst = 64 << 10
	defer func() { checkedFirst = was }()
	for _, damaged := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "db.sqlite3")
		s := open(t, path)
		d := &Delta{Jail: "web"}
		for i := range 2000 {
			id := netip.MustParsePrefix(fmt.Sprintf("2001:db8::%x/128", i+1))
			d.Events = append(d.Events, Event{Ban: ban.Ban{ID: ban.Of(id), Start: noon, End: noon.Add(time.Hour)}})
		}
		if err := s.Write([]*Delta{d}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if damaged { // the last page that holds something
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := len(data) - 4096; i < len(data); i++ {
				data[i] = 0xaa
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s = open(t, path)
		var told []error
		s.Renewed(func(why error) { told = append(told, why) })
		s.Check(context.Background())
		if err := s.Write([]*Delta{all("web", noon)}); err != nil {
			t.Fatal(err)
		}
		if !damaged && len(told) > 0 || damaged && (len(told) != 1 || !errors.As(told[0], new(*Damaged))) {
			t.Errorf("damaged %v: told %v", damaged, told)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLoadEach: bans come some at a time, and all of them.
func TestLoadEach(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "db.sqlite3"))
	defer s.Close()
	d := &Delta{Jail: "web"}
	const n = 2*bansAtOnce + 1
	for i := range n {
		id := netip.MustParsePrefix(fmt.Sprintf("2001:db8::%x/128", i+1))
		d.Events = append(d.Events, Event{Ban: ban.Ban{ID: ban.Of(id), Start: noon, End: noon.Add(time.Hour)}})
	}
	if err := s.Write([]*Delta{d}); err != nil {
		t.Fatal(err)
	}
	seen, pieces := map[ban.ID]bool{}, 0
	st, err := s.LoadEach("web", noon, func(some []ban.Ban) {
		pieces++
		for _, b := range some {
			seen[b.ID] = true
		}
	})
	if err != nil || len(st.Bans) != 0 || len(seen) != n || pieces != 3 {
		t.Errorf("%v, %d bans kept, %d in %d pieces: want %d in 3", err, len(st.Bans), len(seen), pieces, n)
	}
}
