package jail

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/fair"
	"bailiff/pkg/source"
)

// TestGivesWay: a jail whose log is flooded gives way after each few failures, if its turn is
// over by then, and so it does where it gathers what it knows, or forgets it.
func TestGivesWay(t *testing.T) {
	const lines = 10_000
	l := start(t, func(c *config.Jail, _ *lab) { c.MaxRetry = 100 })
	ways := func(f func(*Jail)) int {
		n, err := ask(l.jail, time.Minute, func(j *Jail) int {
			before := j.pace.turn.Ways()
			f(j)
			return int(j.pace.turn.Ways() - before)
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	flood := make([]string, lines)
	for i := range flood {
		flood[i] = fmt.Sprintf("%s Login failure 198.51.%d.%d", l.clock.Wall().Format("2006-01-02 15:04:05,000"), 100+i/256, i%256)
	}
	l.say("%s Login failure 192.0.2.7") // it knows the form of dates
	if n := ways(func(j *Jail) { j.pace.turn.Most = 1; j.batch(l.batchOf(flood)) }); n < lines/stepLines {
		t.Errorf("of %d failures, %d times given way", lines, n)
	}
	if n := ways(func(j *Jail) { j.allTimes() }); n < lines/stepLines {
		t.Errorf("while it gathered %d addresses, %d times given way", lines, n)
	}
	l.sleep(time.Hour)
	if n := ways(func(j *Jail) { j.forget() }); n < lines/expirePiece {
		t.Errorf("while it forgot %d addresses, %d times given way", lines, n)
	}
	ways(func(j *Jail) {
		for i := range lines {
			now := j.deps.Clock.Now()
			j.bans.Add(ban.Ban{ID: single(netip.AddrFrom4([4]byte{198, 51, byte(100 + i>>8), byte(i)})), Start: now, End: now.Add(time.Minute)})
		}
	})
	l.sleep(time.Hour)
	if n := ways(func(j *Jail) { j.expire() }); n < lines/stepLines {
		t.Errorf("while it ended %d bans, %d times given way", lines, n)
	}
}

// TestBesideFlood: on one core, a quiet jail bans while another one is at a batch of lines,
// and does not wait for the end of it.
func TestBesideFlood(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const lines = 40_000
	flooded := start(t, func(c *config.Jail, _ *lab) { c.MaxRetry = 1 << 20 })
	quiet := start(t, func(c *config.Jail, _ *lab) { c.MaxRetry = 1 })
	flooded.say("%s Login failure 192.0.2.7")
	flood := source.Batch{Path: "test.log"}
	for i := range lines {
		flood.Lines = append(flood.Lines, fmt.Appendf(nil, "%s Login failure 198.51.%d.%d", flooded.clock.Wall().Format("2006-01-02 15:04:05,000"), 100+i/256%100, i%256))
	}
	at := make(chan int, 1)
	began := make(chan struct{})
	_ = flooded.jail.inbox.post(&order{do: func(j *Jail) {
		close(began)
		j.batch(flood)
		at <- j.window.Total()
	}}, false)
	<-began
	quiet.lines <- []string{quiet.clock.Wall().Format("2006-01-02 15:04:05,000") + " Login failure 192.0.2.9"}
	for quiet.jail.shown.banned.Load() == 0 {
		fair.GiveWay()
	}
	select {
	case <-at:
		t.Error("the quiet jail has waited for the end of the other one's batch")
	default:
	}
	n := flooded.jail.shown.totalFailed.Load()
	t.Logf("after %d failures", n)
	if n > 3000 { // two pieces; without giving way, it was after 5,000 to 10,000
		t.Errorf("the quiet jail's ban was made after %d failures of the other one's", n)
	}
	if got := quiet.asked(); !strings.HasPrefix(got, "+192.0.2.9/32") {
		t.Errorf("asked of the kernel: %q", got)
	}
	<-quiet.taken
	if n := <-at; n != lines+1 {
		t.Errorf("%d failures are counted of %d", n, lines+1)
	}
}
