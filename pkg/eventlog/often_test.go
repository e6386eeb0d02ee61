package eventlog

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// oftenLab has a clock that stands, and timers that are called by hand.
type oftenLab struct {
	*Often
	clock  time.Time
	timers []func()
	out    bytes.Buffer
}

func newOftenLab() *oftenLab {
	l := &oftenLab{clock: time.Unix(1e9, 0)}
	l.Often = NewOften(slog.New(New(&l.out, "INFO")))
	l.Now = func() time.Time { return l.clock }
	l.after = func(d time.Duration, f func()) {
		at := l.clock.Add(d)
		l.timers = append(l.timers, func() { l.clock = at; f() })
	}
	return l
}

// told counts which of n lines are told.
func told(s *Share, n int) (count int) {
	for range n {
		if s.Tell() {
			count++
		}
	}
	return count
}

// said is what was summed up, without what all lines begin with.
func (l *oftenLab) said() string {
	var out []string
	for line := range strings.Lines(l.out.String()) {
		_, text, _ := strings.Cut(line, "]: ")
		out = append(out, strings.TrimSpace(text))
	}
	l.out.Reset()
	return strings.Join(out, "\n")
}

func TestOften(t *testing.T) {
	l := newOftenLab()
	found := Kind{"filter", LevelInfo, "Found"}
	web, mail, quiet := l.Share(found, "web"), l.Share(found, "mail"), l.Share(found, "quiet")
	if n := told(web, 10_000); n != OftenOwn+OftenShared {
		t.Errorf("%d lines of one jail are told in a second", n)
	}
	if n := told(mail, 500); n != OftenOwn {
		t.Errorf("%d lines of another jail are told beside a flood, not %d", n, OftenOwn)
	}
	if n := told(quiet, OftenOwn); n != OftenOwn {
		t.Errorf("%d lines of a quiet jail are told", n)
	}
	if n := told(l.Share(Kind{"actions", LevelNotice, "already banned"}, "web"), 5); n != 5 {
		t.Errorf("%d lines of another kind", n)
	}
	if got := l.said(); got != "" {
		t.Errorf("told too soon: %s", got)
	}
	// Silence: a timer ends the second, and one is enough.
	if len(l.timers) != 1 {
		t.Fatalf("%d timers", len(l.timers))
	}
	l.timers[0]()
	want := fmt.Sprintf("INFO    %d more \"Found\" within a second, which are not logged one by one: [web] %d, [mail] %d", 10_180, 9_700, 480)
	if got := l.said(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// The next second begins anew, and the one after that with a line.
	l.timers = nil
	if n := told(web, 301); n != 300 {
		t.Errorf("%d lines in the next second", n)
	}
	l.clock = l.clock.Add(time.Second)
	if !web.Tell() || l.said() != `INFO    1 more "Found" within a second, which are not logged one by one: [web] 1` {
		t.Error("what was left out of a second is not told before the first line of the next one")
	}
	l.timers[0]() // late: there is nothing left
	if got := l.said(); got != "" {
		t.Errorf("told twice: %s", got)
	}
	// The end.
	told(mail, 1000)
	l.Close()
	if got := l.said(); got != `INFO    700 more "Found" within a second, which are not logged one by one: [mail] 700` {
		t.Errorf("at the end: %s", got)
	}
}

// TestOftenMany: a line names some jails, and counts the others; one that was started anew
// is one jail.
func TestOftenMany(t *testing.T) {
	l := newOftenLab()
	found := Kind{"filter", LevelInfo, "Found"}
	told(l.Share(found, "j00"), 500)
	for i := range 30 {
		told(l.Share(found, fmt.Sprintf("j%02d", i)), OftenOwn+30-i)
	}
	l.Close()
	got := l.said()
	if !strings.Contains(got, "[j00] 230, [j01] 29, [j02] 28, ") || !strings.HasSuffix(got, "[j19] 11, and 10 more jails") {
		t.Error(got)
	}
}
