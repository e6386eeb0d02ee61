package daemon

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/store"
)

// TestLabour: work that gets on is waited for, work that stands still is not.
func TestLabour(t *testing.T) {
	const idle = 300 * time.Millisecond // a busy machine lets nobody on for a tenth of a second
	spin := func() {                    // longer than it may stand still
		for begun := time.Now(); time.Since(begun) < 5*idle; {
		}
	}
	if !labourAt(spin).await(idle, time.Minute) {
		t.Error("work that gets on is given up")
	}
	if labourAt(func() { time.Sleep(20 * time.Second) }).await(idle, time.Minute) {
		t.Error("what sleeps is waited for")
	}
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	l := labourAt(func() { _, _ = syscall.Read(pipe[0], make([]byte, 1)) }) // as one who waits for a disk
	if l.await(idle, time.Minute) {
		t.Error("a call that does not return is waited for")
	}
	_, _ = syscall.Write(pipe[1], []byte("x"))
	<-l.done
	var stop atomic.Bool
	l = labourAt(func() {
		for !stop.Load() {
		}
	})
	if l.await(idle, 3*idle) {
		t.Error("work without end is waited for")
	}
	stop.Store(true)
}

// TestSlowDatabase: a database that holds much is waited for as long as it gets on.
func TestSlowDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.sqlite3")
	s, err := store.Open(path, clock.System())
	if err != nil {
		t.Fatal(err)
	}
	now := clock.System().Now()
	d := &store.Delta{Jail: "web", AllBans: true}
	const n = 10_000
	var bans []ban.Ban
	for i := range n {
		id := netip.MustParsePrefix(fmt.Sprintf("2001:db8::%x/128", i+1))
		bans = append(bans, ban.Ban{ID: ban.Of(id), Start: now, End: now.Add(time.Hour)})
	}
	d.Bans = ban.SnapshotOf(bans...)
	if err := s.Write([]*store.Delta{d}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const idle = time.Second
	read := 0
	l := labourAt(func() {
		for begun := time.Now(); time.Since(begun) < 3*idle && err == nil; read++ {
			var state store.State
			if state, err = s.Load("web", now); err == nil && len(state.Bans) != n {
				err = fmt.Errorf("%d bans", len(state.Bans))
			}
		}
	})
	if !l.await(idle, time.Minute) {
		t.Error("given up, though it gets on")
		<-l.done
	}
	if err != nil || read == 0 {
		t.Errorf("%v after %d readings", err, read)
	}
}

// TestLabourPieces: what work hands over is dealt with, and however long that takes, the work
// does not count as standing still; when it does by itself, it is given up.
func TestLabourPieces(t *testing.T) {
	const idle = 300 * time.Millisecond
	pieces, gone := make(chan int), make(chan struct{})
	defer close(gone)
	give := func(n int) {
		select {
		case pieces <- n:
		case <-gone:
		}
	}
	sum := 0
	slowly := func(n int) {
		time.Sleep(2 * idle)
		sum += n
	}
	if l := labourAt(func() { give(1); give(2); give(4) }); !awaitEach(l, idle, 3*idle, pieces, slowly) || sum != 7 {
		t.Errorf("given up, or not all were dealt with: %d of 7", sum)
	}
	if l := labourAt(func() { give(8); time.Sleep(20 * time.Second) }); awaitEach(l, idle, time.Minute, pieces, slowly) || sum != 15 {
		t.Errorf("what sleeps is waited for, or %d is not 15", sum)
	}
}
