package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"bailiff/pkg/ban"
)

// TestLifted: what was known of a ban is known for a while after it was lifted by hand, of
// that one ban, and within a bound.
func TestLifted(t *testing.T) {
	s := open(t, t.TempDir()+"/db.sqlite3")
	defer s.Close()
	began := time.Now().Truncate(time.Second)
	write := func(events ...Event) {
		t.Helper()
		if err := s.Write([]*Delta{{Jail: "web", Events: events}}); err != nil {
			t.Fatal(err)
		}
	}
	one := ban.Ban{ID: p("192.0.2.7"), Start: began, End: began.Add(time.Hour), Failures: 2}
	write(Event{Ban: one, Matches: []string{"a line", "another"}, Groups: map[string]string{"user": "alice"}})
	if _, _, _, ok := s.Lifted("web", one.ID, began.Unix()); ok {
		t.Error("it is in force")
	}
	write(Event{Ban: one, Lifted: true})
	n, lines, groups, ok := s.Lifted("web", one.ID, began.Unix())
	if !ok || n != 2 || !slices.Equal(lines, []string{"a line", "another"}) || groups["user"] != "alice" {
		t.Error(n, lines, groups, ok)
	}
	if _, _, _, ok := s.Lifted("web", one.ID, began.Unix()+60); ok {
		t.Error("another ban of it")
	}
	if _, _, _, ok := s.Lifted("other", one.ID, began.Unix()); ok {
		t.Error("another jail's")
	}

	write(Event{Ban: one, Groups: map[string]string{"user": "bob"}}, Event{AllLifted: true})
	if _, _, groups, _ := s.Lifted("web", one.ID, began.Unix()); groups["user"] != "bob" {
		t.Error(groups)
	}

	var l Lifted
	for i := range 100_000 {
		l.Keep("web", p(fmt.Sprintf("session %d", i%50_000)), LiftedBan{Began: int64(i), Size: i % 5000})
		if l.size > liftedMost || len(l.oldest) > liftedMost/200 {
			t.Fatalf("%d bytes of %d bans", l.size, len(l.oldest))
		}
	}
	l.Keep("web", one.ID, LiftedBan{Size: liftedMost})
	if len(l.bans) == 0 || l.size <= 0 {
		t.Error(len(l.bans), l.size)
	}
}
