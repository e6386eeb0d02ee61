package jail

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/resolve"
	"bailiff/pkg/store"
)

// What a jail asks of the world outside may never come.

// TestSilentNameServer: 3,000 names that no server answers for hold up nobody; those
// over the bound are told; those that wait count when the server speaks again.
func TestSilentNameServer(t *testing.T) {
	server, resolver := serveNames(t, map[string][]netip.Addr{"slow.late.test": {netip.MustParseAddr("203.0.113.9")}})
	l := start(t, func(c *config.Jail, l *lab) { l.resolver = resolver })
	lines := make([]string, 0, 3010)
	for i := range 3000 {
		lines = append(lines, fmt.Sprintf("%%s Login failure slow%d.test", i))
	}
	for range 5 {
		lines = append(lines, "%s Login failure 192.0.2.7")
	}
	l.say(lines...)
	l.want("+192.0.2.7/32 1h0m0s")
	if names, _ := l.jail.deps.Names.Waiting(); names != resolve.Waiting {
		t.Errorf("%d names wait, want %d", names, resolve.Waiting)
	}
	l.until(func() bool {
		return l.says("host names for which no name server answered in time were given up, 2000 failures of 2000 of them: \"slow0.test\", \"slow1.test\", \"slow2.test\", …, \"slow1999.test\"; they are not counted (usedns = no ignores names)") == 1
	})
	l.say("%s Login failure slow.late.test", "%s Login failure slow.late.test", "%s Login failure slow.late.test")
	server.speak()
	l.until(func() bool { return l.jail.Status(false).Banned == 2 })
	l.want("+203.0.113.9/32 1h0m0s")
}

// TestWaitingFailures: the newest failures of a name are those that wait.
func TestWaitingFailures(t *testing.T) {
	var l waitlist[string]
	at := time.Now()
	for i := range 5 {
		_, over := l.add("a.test", found{at: at.Add(time.Duration(i))}, 3)
		if want := i - 2; want > 0 && (len(over) != 1 || !over[0].at.Equal(at.Add(time.Duration(want-1)))) {
			t.Errorf("failure %d: %v is over", i, over)
		}
	}
	text := strings.Repeat("x", waitingBytes/4)
	for i := range 6 {
		l.add(fmt.Sprint(i), found{failure: filter.Failure{Lines: []filter.Line{{After: text}}}}, 3)
	}
	if l.bytes > waitingBytes || l.by["a.test"] != nil || l.by["5"] == nil || l.n != 4 {
		t.Errorf("%d failures with %d bytes wait", l.n, l.bytes)
	}
	for w := range l.order.All() {
		l.take(w.key)
	}
	if l.n != 0 || l.bytes != 0 || len(l.by) != 0 || l.order.Last() != nil {
		t.Errorf("%+v is left", l)
	}
}

// TestHungIgnoreCommand: failures for which the command does not end are counted,
// without it, and others are not held up.
func TestHungIgnoreCommand(t *testing.T) {
	l := start(t, func(c *config.Jail, _ *lab) {
		c.MaxRetry = 1
		c.IgnoreCommand = `case <ip> in 203.0.113.*) exec sleep 1000;; esac; exit 1`
	})
	shortened := func(j *Jail) {
		for w := range j.checks.order.All() {
			w.until = time.Now()
		}
		j.wakeAt(time.Now())
	}
	l.say("%s Login failure 192.0.2.7")
	l.until(func() bool { return l.jail.Status(false).Banned == 1 })
	for i := range 50 {
		l.say(fmt.Sprintf("%%s Login failure 203.0.113.%d", i))
	}
	if n := l.jail.Status(false).Banned; n != 1 {
		t.Errorf("%d banned before the command's time is over", n)
	}
	if err := l.jail.do(shortened); err != nil {
		t.Fatal(err)
	}
	l.until(func() bool { return l.jail.Status(false).Banned == 51 })
	l.until(func() bool {
		return l.says("ignorecommand did not answer in time for some addresses, 50 failures of 50 of them: \"203.0.113.0\", \"203.0.113.1\"") == 1
	})
}

// hungStore never answers how often somebody was banned.
type hungStore struct {
	*direct
	release chan struct{}
	asked   atomic.Int32
}

func (h *hungStore) BanCount(jail string, id ban.ID, overall bool) (int, time.Time, error) {
	h.asked.Add(1)
	<-h.release
	return h.direct.BanCount(jail, id, overall)
}

// TestHungDatabase: who is not told of in time is taken for new, which is told; and
// what comes later is remembered.
func TestHungDatabase(t *testing.T) {
	db := &hungStore{direct: openStore(t), release: make(chan struct{})}
	id := netip.MustParsePrefix("192.0.2.9/32")
	at := time.Date(2026, 1, 30, 12, 0, 0, 0, time.UTC)
	db.Push(&store.Delta{Jail: "test", Events: []store.Event{{Ban: ban.Ban{ID: ban.Of(id), Start: at, End: at.Add(time.Hour), Count: 1}}}})
	l := start(t, func(c *config.Jail, l *lab) { l.store, c.Increase = db, &ban.Increase{} })
	failures(l, 3, "192.0.2.9")
	l.want("+192.0.2.9/32 1h0m0s")
	for i := range 20 {
		failures(l, 3, fmt.Sprintf("198.51.100.%d", i))
	}
	l.until(func() bool { return l.jail.Status(false).Banned == 21 })
	if added, err := l.jail.Ban(idOf("203.0.113.1"), false); !added || err != nil {
		t.Errorf("by hand: %v, %v", added, err)
	}
	l.until(func() bool {
		return l.says("the database did not answer in time about earlier bans of some addresses") > 0
	})
	if n := db.asked.Load(); n > 2 {
		t.Errorf("%d questions hang", n)
	}
	close(db.release)
	l.until(func() bool {
		n, _ := ask(l.jail, time.Minute, func(j *Jail) int { return len(j.pasts.unasked) })
		return n == 0
	})
}

// TestHandedOver: what waits, what was counted and what is asked go to the jail that
// takes the place of another one.
func TestHandedOver(t *testing.T) {
	server, resolver := serveNames(t, map[string][]netip.Addr{"slow.test": {netip.MustParseAddr("203.0.113.9")}})
	db := openStore(t)
	l := start(t, func(c *config.Jail, l *lab) { l.resolver, l.store = resolver, db })
	l.say("%s Login failure slow.test", "%s Login failure slow.test", "%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7")
	old := l.jail
	left := old.Stop(false)
	answers := make(chan error, 1)
	go func() {
		_, err := old.Ban(idOf("198.51.100.1"), false)
		answers <- err
	}()
	l.until(func() bool { return old.inbox.count.Load() > 0 })
	changed := *old.Configured
	changed.BanTime = 2 * time.Hour
	var err error
	if l.jail, err = Start(&changed, old.deps, left); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.jail.Stop(false) })
	if err := <-answers; err != nil {
		t.Error(err)
	}
	l.want("+198.51.100.1/32 2h0m0s")
	l.say("%s Login failure 192.0.2.7", "%s Login failure slow.test")
	server.speak()
	l.until(func() bool { return l.jail.Status(false).Banned == 3 })
	l.want("+192.0.2.7/32 2h0m0s, +203.0.113.9/32 2h0m0s")
	if n, err := l.jail.Unban(idOf("192.0.2.7")); !n || err != nil {
		t.Error(n, err)
	}
	ended := l.jail.Stop(false)
	ended.Close(time.Time{})
	if _, err := l.jail.Unban(idOf("203.0.113.9")); err == nil {
		t.Error("a jail that has ended unbans")
	}
}

// TestBanManyBusy: of many bans by hand that a busy jail does not come to, all are made
// later, as it is said, and none is waited for by itself.
func TestBanManyBusy(t *testing.T) {
	l := start(t, nil)
	release := make(chan struct{})
	l.jail.inbox.tell(func(*Jail) { <-release })
	before := patience
	patience = 10 * time.Millisecond
	defer func() { patience = before }()
	var ids []ban.ID
	for i := range 3*banPiece + 7 {
		ids = append(ids, single(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})))
	}
	for i, done := range l.jail.BanEach(ids, ByHand{}) {
		if busy, ok := done.Err.(*BusyError); !ok || !busy.Later || done.Added {
			t.Fatalf("the %dth: %+v", i, done)
		}
	}
	close(release)
	l.until(func() bool { return l.jail.Status(false).Banned == len(ids) })
}

// TestStoppedWithFailuresInFlight: the position is not ahead of failures that nothing
// was said of yet, when the daemon ends.
func TestStoppedWithFailuresInFlight(t *testing.T) {
	_, resolver := serveNames(t, nil)
	db := openStore(t)
	l := start(t, func(c *config.Jail, l *lab) { l.resolver, l.store = resolver, db })
	l.placed = true
	l.say("%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7", "%s Login failure 192.0.2.7", "%s Login failure slow.test")
	// What else has the database told something doesn't tell it of the position, either.
	for _, f := range []func(*Jail){(*Jail).reconsider, (*Jail).push} {
		if err := l.jail.do(f); err != nil {
			t.Fatal(err)
		}
	}
	left := l.jail.Stop(false)
	left.Close(time.Time{})
	state, err := db.Load("test", l.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(state.Bans) != 1 || len(state.Logs) != 0 || len(state.Failures) != 0 {
		t.Errorf("kept: %+v, want the ban alone", state)
	}
}

// TestPieces: while a block is read piece by piece, others are answered, and nothing is
// said of its position before its end.
func TestPieces(t *testing.T) {
	var p pace
	lines := make([][]byte, 3000)
	for i := range lines {
		lines[i] = make([]byte, 99)
	}
	if to := p.piece(lines, 0); to != 656 {
		t.Errorf("the first piece ends at %d", to)
	}
	for range 10 {
		p.took(time.Second)
	}
	if to := p.piece(lines, 7); to != 8 {
		t.Errorf("after slow ones, a piece has %d lines", to-7)
	}
	p.took(0)
	if to := p.piece(lines, 0); to != 41 {
		t.Errorf("a piece of 4 KiB has %d lines of 100 bytes", to)
	}
	for range 10 {
		p.took(0)
	}
	if to := p.piece(lines, 0); to != 656 {
		t.Errorf("after quick ones, a piece ends at %d", to)
	}

	db := openStore(t)
	l := start(t, func(c *config.Jail, l *lab) { l.store = db })
	l.placed = true
	for _, id := range []string{"198.51.100.1/32", "198.51.100.2/32"} {
		l.jail.inbox.tell(func(j *Jail) {
			before, err := db.Load("test", l.clock.Now())
			if err != nil {
				t.Error(err)
			}
			_ = j.inbox.post(&order{do: func(j *Jail) {
				if !j.midway {
					t.Error("not in the middle of a batch")
				}
				j.enforce(ban.Ban{ID: ban.Of(netip.MustParsePrefix(id)), Start: j.deps.Clock.Now(), End: j.deps.Clock.Now().Add(time.Hour)}, false, "", "")
				j.push()
				// Of the block before, they may have been told.
				if state, err := db.Load("test", l.clock.Now()); err != nil || len(state.Failures) > len(before.Failures) || len(state.Logs) > len(before.Logs) {
					t.Errorf("in the middle: %+v, %v, before it %+v", state, err, before)
				}
			}}, false)
			j.pace.size = len(pieceSizes) - 1
			j.batch(l.batchOf([]string{l.clock.Wall().Format("2006-01-02 15:04:05,000") + " Login failure 192.0.2.7", "x"}))
		})
		l.settled()
	}
	l.say("%s Login failure 192.0.2.7")
	l.until(func() bool { return l.jail.Status(false).Banned == 3 })
	state, err := db.Load("test", l.clock.Now())
	if err != nil || len(state.Bans) != 3 || len(state.Logs) != 1 {
		t.Errorf("kept: %+v, %v", state, err)
	}
}
