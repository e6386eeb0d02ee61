package jail

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
)

// TestListingShared: whoever wants a list of bans while others do shares it; one that still
// holds is there also while the jail is busy; and it has what came before it was asked for.
func TestListingShared(t *testing.T) {
	l := start(t, func(*config.Jail, *lab) {})
	var ids []ban.ID
	for i := range 1000 {
		ids = append(ids, single(netip.AddrFrom4([4]byte{198, 51, byte(100 + i/250), byte(i%250 + 1)})))
	}
	for _, done := range l.jail.BanEach(ids[:999], ByHand{}) {
		if done.Err != nil {
			t.Fatal(done.Err)
		}
	}
	busy := func() (free func()) {
		gate, begun := make(chan struct{}), make(chan struct{})
		l.jail.inbox.tell(func(*Jail) { close(begun); <-gate })
		<-begun
		return func() { close(gate) }
	}
	made := func() int {
		l.jail.listing.mu.Lock()
		defer l.jail.listing.mu.Unlock()
		return l.jail.listing.made
	}
	free := busy()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if bans, err := l.jail.Bans(); err != nil || len(bans) != 999 {
				t.Errorf("%d bans, %v", len(bans), err)
			}
		})
	}
	for l.jail.inbox.count.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	free()
	wg.Wait()
	if n := made(); n > 5 { // who comes once the list is begun wants one of his own
		t.Errorf("%d lists for twenty at once", n)
	}
	before := made()
	free = busy()
	if bans, err := l.jail.Bans(); err != nil || len(bans) != 999 || made() != before {
		t.Errorf("while it is busy: %d bans, %v, %d lists", len(bans), err, made()-before)
	}
	free()

	has := func(want bool) {
		t.Helper()
		bans, err := l.jail.Bans()
		if err != nil || slices.ContainsFunc(bans, func(b BanStatus) bool { return b.IP == ids[999].Addr().String() }) != want {
			t.Errorf("%d bans, %v; want the last one: %v", len(bans), err, want)
		}
	}
	for range 20 {
		if _, err := l.jail.Ban(ids[999], false); err != nil {
			t.Fatal(err)
		}
		has(true)
		if found, err := l.jail.Unban(ids[999]); err != nil || !found {
			t.Fatal(found, err)
		}
		has(false)
	}
	if fmt.Sprint(l.jail.Status(false).Banned) != "999" {
		t.Error(l.jail.Status(false))
	}
}
