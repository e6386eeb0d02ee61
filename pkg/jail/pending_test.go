package jail

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/store"
)

// fullStore is a store that has no room for a while, and one that is begun anew.
type fullStore struct {
	*direct
	full       atomic.Bool
	generation atomic.Uint64
	pushed     atomic.Int64
	wholes     atomic.Int64
}

func (s *fullStore) Room(string) bool   { return !s.full.Load() }
func (s *fullStore) Generation() uint64 { return s.generation.Load() }

func (s *fullStore) Push(d *store.Delta) {
	s.pushed.Add(1)
	if d.AllBans || d.AllFailures {
		s.wholes.Add(1)
	}
	s.direct.Push(d)
}

// attackers are lines of so many addresses, each failing so often.
func attackers(from, n, each int) (lines []string) {
	for i := from; i < from+n; i++ {
		a := netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)})
		for range each {
			lines = append(lines, "%s Login failure "+a.String())
		}
	}
	return lines
}

func known(t *testing.T, l *lab, s *fullStore) (failures, bans []string) {
	t.Helper()
	var inForce []ban.Ban
	st, err := s.LoadEach("test", l.clock.Now(), func(some []ban.Ban) { inForce = append(inForce, some...) })
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range st.Failures {
		failures = append(failures, fmt.Sprint(f.ID, len(f.Times)))
	}
	for _, b := range inForce {
		bans = append(bans, b.ID.String())
	}
	slices.Sort(failures)
	slices.Sort(bans)
	return failures, bans
}

// has is what the jail has.
func has(l *lab) (failures, bans []string) {
	_ = l.jail.within(time.Minute, true, func(j *Jail) {
		j.window.Each(func(id ban.ID, times []int64) { failures = append(failures, fmt.Sprint(id, len(times))) })
		for _, b := range j.bans.All() {
			bans = append(bans, b.ID.String())
		}
	})
	slices.Sort(failures)
	slices.Sort(bans)
	return failures, bans
}

// TestPendingIsBounded: while the database takes nothing, be it for days, what waits
// for it does not grow; afterwards it has what the jail has.
func TestPendingIsBounded(t *testing.T) {
	s := &fullStore{direct: openStore(t)}
	l := start(t, func(c *config.Jail, l *lab) { l.store, l.clock = s, s.clock })
	l.say(attackers(0, 10, 3)...)
	l.until(func() bool { _, bans := known(t, l, s); return len(bans) == 10 })
	s.full.Store(true)
	pushed := s.pushed.Load()
	for block := range 8 {
		l.say(attackers(100_000+block*5_000, 5_000, 1)...) // failures, of as many
		l.say(attackers(200_000+block*3_500, 3_500, 3)...) // and bans
		_ = l.jail.within(time.Minute, true, func(j *Jail) {
			if f, e := len(j.delta.Failures), len(j.delta.Events); f > pendingMost || e > pendingMost {
				t.Errorf("failures of %d addresses wait, and %d bans", f, e)
			}
		})
	}
	if _, err := l.jail.UnbanAll(""); err != nil {
		t.Fatal(err)
	}
	l.say(attackers(300_000, 20, 3)...)
	if n := s.pushed.Load() - pushed; n != 0 {
		t.Errorf("%d changes were handed to a store that has no room", n)
	}
	l.logged("the database has not taken the last 20000 bans and unbans")
	s.full.Store(false)
	failures, bans := has(l)
	if len(failures) != 40_000 || len(bans) != 20 {
		t.Fatalf("the jail has failures of %d addresses and %d bans", len(failures), len(bans))
	}
	l.until(func() bool { f, b := known(t, l, s); return slices.Equal(f, failures) && slices.Equal(b, bans) })
	// From then on, changes are told one by one.
	wholes := s.wholes.Load()
	l.say(attackers(400_000, 1, 3)...)
	l.until(func() bool { _, b := known(t, l, s); return len(b) == 21 })
	if n := s.wholes.Load() - wholes; n != 0 {
		t.Errorf("everything was told %d times more", n)
	}
}

// TestStoreBegunAnew: a jail tells a store that was begun anew all that it has, though
// nothing happens.
func TestStoreBegunAnew(t *testing.T) {
	s := &fullStore{direct: openStore(t)}
	l := start(t, func(_ *config.Jail, l *lab) { l.store, l.clock = s, s.clock })
	l.say(append(attackers(0, 2, 3), attackers(10, 3, 2)...)...)
	failures, bans := has(l)
	if len(failures) != 3 || len(bans) != 2 {
		t.Fatalf("%q, %q", failures, bans)
	}
	l.until(func() bool { f, b := known(t, l, s); return slices.Equal(f, failures) && slices.Equal(b, bans) })
	if err := s.Write([]*store.Delta{{Jail: "test", AllBans: true, AllFailures: true, AllLogs: true}}); err != nil {
		t.Fatal(err)
	}
	if f, b := known(t, l, s); len(f)+len(b) > 0 {
		t.Fatalf("%q, %q", f, b)
	}
	s.generation.Add(1)
	l.jail.Rewrite()
	l.until(func() bool { f, b := known(t, l, s); return slices.Equal(f, failures) && slices.Equal(b, bans) })
	if l.says("Ban ") != 2 {
		t.Error("bans were made again")
	}
}
