package fleet

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"
)

// script is a Link and a Host that note what they are told.
type script struct {
	did     []string
	tickets map[string]uint64 // the last of each kind
	all     int
	changes []Change
	failed  []Failures
	kept    []Kept
}

func (s *script) note(kind string, ticket uint64, format string, args ...any) {
	s.did = append(s.did, strings.TrimSpace(kind+" "+fmt.Sprintf(format, args...)))
	s.tickets[kind] = ticket
}

func (s *script) Ask(ticket, from uint64)   { s.note("ask", ticket, "%d", from) }
func (s *script) Look(ticket uint64, k Key) { s.note("look", ticket, "%s", k) }
func (s *script) Put(ticket uint64, k Key, p Put) {
	s.note("put", ticket, "%s %d %d", k, p.Expect, p.Entry.N)
}

func (s *script) Fail(ticket uint64, f Failures) {
	s.failed = append(s.failed, f)
	s.note("fail", ticket, "%s %d", f.Group, len(f.Of))
}
func (s *script) Move() { s.note("move", 0, "") }
func (s *script) Clock(by time.Duration, servers bool) {
	s.note("clock", 0, "%v %v", by, servers)
}
func (s *script) Changed(c Change)         { s.changes = append(s.changes, c) }
func (s *script) Keep(k Kept)              { s.kept = append(s.kept, k) }
func (s *script) Refused(o Out, r Reason)  { s.note("refused", 0, "%s %s", o.Key, r) }
func (s *script) All(all iter.Seq[Change]) { s.all, s.changes = s.all+1, slices.Collect(all) }

// expect compares what was done since the last time.
func (s *script) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	if !slices.Equal(s.did, want) {
		t.Errorf("%s: did %q, want %q", what, s.did, want)
	}
	s.did = nil
}

func beat(rev uint64, epoch string) Said {
	return Said{Key: BeatKey(), Rev: rev, Epoch: epoch, Stored: viewStart.Add(time.Duration(rev) * time.Second)}
}

// play is an agent of the host me, which has read up to number 10 of the stream e and is connected.
func play() (*Agent, *script, time.Time) {
	s := &script{tickets: map[string]uint64{}}
	now := viewStart
	a := NewAgent(Policy{Self: "me", Groups: map[string]int{"ssh": 1}}, Start{Epoch: "e", Cursor: 10, N: 100}, s, s, now)
	a.Connected(now)
	a.Looked(now, s.tickets["look"], BeatKey(), beat(10, "e"), true, nil)
	a.Live(now, beat(10, "e"))
	a.Paged(now, s.tickets["ask"], Page{Whole: true}, nil)
	s.did = nil
	return a, s, now
}

// key0 is this host's ban, key1 another one's.
var (
	key0 = BanKey("me", "ssh", at(1))
	key1 = BanKey("web", "ssh", at(2))
)

// TestReading: a gap is asked for, what a server that is behind says is not taken for everything, and nothing
// that comes twice or late does harm.
func TestReading(t *testing.T) {
	a, s, now := play()
	if st := a.Stats(); !st.Complete || st.Cursor != 10 {
		t.Fatalf("%+v", st)
	}
	a.Live(now, says(key1, 1, 11, 0, 3600))
	a.Live(now, says(key1, 1, 11, 0, 3600))
	a.Live(now, says(key1, 1, 9, 0, 60))
	s.expect(t, "in order")
	if len(s.changes) != 1 || a.Stats().Cursor != 11 {
		t.Errorf("%+v, %+v", s.changes, a.Stats())
	}
	a.Tick(now.Add(time.Second)) // what was found empty at the start is asked for again after a moment only
	a.Live(now.Add(time.Second), beat(14, "e"))
	s.expect(t, "a gap", "ask 12")
	if a.Stats().Complete {
		t.Error("complete, and 12 and 13 are missing")
	}
	now = now.Add(time.Second)
	a.Paged(now, s.tickets["ask"], Page{Whole: true, Words: []Said{says(BanKey("web", "ssh", at(3)), 2, 12, 0, 3600)}}, nil)
	s.expect(t, "a server that is behind", "ask 13")
	a.Paged(now, s.tickets["ask"], Page{Whole: true}, nil)
	if a.Stats().Complete {
		t.Error("complete, and the server that was asked was behind")
	}
	a.Tick(now.Add(time.Millisecond))
	s.expect(t, "not at once again")
	now = now.Add(time.Second)
	a.Tick(now)
	s.expect(t, "but then", "ask 13")
	a.Live(now, says(BanKey("web", "ssh", at(4)), 3, 15, 0, 3600))
	a.Paged(now, s.tickets["ask"]-1, Page{Words: []Said{beat(99, "f")}}, nil) // of a question before
	// 13 is not in the stream any more.
	a.Paged(now, s.tickets["ask"], Page{Whole: true, Words: []Said{beat(14, "e")}}, nil)
	if st := a.Stats(); !st.Complete || st.Cursor != 15 || st.Gaps != 1 || len(s.changes) != 3 {
		t.Errorf("%+v, %d changes", st, len(s.changes))
	}
	a.Bad(now, &BadMessage{Err: errHeaders})
	a.Bad(now, &BadMessage{Rev: 16, Err: ErrVersion})
	if st := a.Stats(); st.Bad != 2 || st.Cursor != 16 {
		t.Errorf("%+v", st)
	}
	a.Tick(now)
	if len(s.kept) == 0 || len(s.kept[len(s.kept)-1].Words) == 0 {
		t.Errorf("kept %+v", s.kept)
	}
	kept := len(s.kept)
	a.Live(now, beat(17, "e"))
	a.Tick(now)
	if len(s.kept) != kept {
		t.Error("a beat alone is kept at once")
	}
	a.beatAt = now.Add(keepEvery)
	a.Tick(now.Add(2 * keepEvery))
	last := s.kept[len(s.kept)-1]
	if last.Cursor != 17 || last.Epoch != "e" {
		t.Errorf("kept %+v", last)
	}
}

// TestPutting: the ways of a put.
func TestPutting(t *testing.T) {
	a, s, now := play()
	say := func(left int64) Out { return a.Say(now, key0, Entry{Jail: "sshd", Left: left}) }
	answer := func(x Answer, err error) { a.Answered(now, s.tickets["put"], key0, x, err) }
	put := func(expect, n int) string { return fmt.Sprintf("put %s %d %d", key0, expect, n) }
	look := "look " + key0.String()

	if o := say(3600); o.Entry.N != 101 || o.Entry.Seen != 10 || o.Entry.Epoch != "e" {
		t.Errorf("%+v", o)
	}
	s.expect(t, "a ban", put(0, 101))
	answer(Answer{Status: Conflict}, nil)
	a.Tick(now)
	s.expect(t, "a conflict", look)
	a.Looked(now, s.tickets["look"], key0, says(key0, 50, 7, 0, 60), true, nil)
	s.expect(t, "an older one is there", put(7, 101))
	answer(Answer{}, errNoAnswer)
	now = now.Add(time.Second)
	a.Tick(now)
	s.expect(t, "no answer", look)
	a.Looked(now, s.tickets["look"], key0, says(key0, 101, 11, 0, 3600), true, nil)
	s.expect(t, "it was stored")
	if a.Stats().Waiting != 1 {
		t.Error("it is forgotten before it has come back")
	}
	a.Live(now, says(key0, 101, 11, 10, 3600))
	if a.Stats().Waiting != 0 {
		t.Error("it has come back, and waits")
	}
	say(0)
	s.expect(t, "lifted", put(11, 102))
	answer(No(Rate), nil)
	a.Tick(now)
	s.expect(t, "busy")
	now = now.Add(time.Second)
	a.Tick(now)
	s.expect(t, "later", put(11, 102))
	answer(No(NoLift), nil)
	s.expect(t, "refused", "refused "+key0.String()+" lift")
	say(5)
	s.expect(t, "a short one", put(11, 103))
	answer(Answer{}, ErrNoResponders)
	now = now.Add(10 * time.Second)
	a.beatAt = now // that is TestMove's
	a.Tick(now)
	s.expect(t, "it ended before it could be said: what it replaces is lifted", put(11, 103))
	answer(Answer{Status: Stored, Rev: 12}, nil)
	a.Live(now, says(key0, 103, 12, 10, 0))
	if st := a.Stats(); st.Waiting != 0 || st.Busy != 1 || st.Refused != 1 || st.Conflicts != 1 || st.Moves != 0 {
		t.Errorf("%+v", st)
	}
	other := BanKey("me", "ssh", at(9))
	a.Say(now, other, Entry{Jail: "sshd", Left: 5})
	a.Disconnected(now)
	s.did = nil
	now = now.Add(time.Minute)
	a.Connected(now)
	a.Tick(now)
	if !slices.Contains(s.did, "look "+other.String()) {
		t.Errorf("after a connection was lost: %q", s.did)
	}
	s.did = nil
	a.Looked(now, s.tickets["look"], other, Said{}, false, nil)
	s.expect(t, "it has ended, and nobody knows of it: nothing is said")
	if a.Stats().Waiting != 0 {
		t.Error("it waits")
	}
}

// TestMove: a server that is cut off answers PINGs.
func TestMove(t *testing.T) {
	a, s, now := play()
	a.Say(now, key0, Entry{Jail: "sshd", Left: 3600})
	s.did = nil
	for range 40 { // no answer, and the beat goes on
		now = now.Add(100 * time.Millisecond)
		a.Live(now, beat(11+uint64(now.Sub(viewStart)/BeatEvery), "e"))
		a.Tick(now)
	}
	if n := len(slices.DeleteFunc(s.did, func(d string) bool { return d != "move" })); n != 1 {
		t.Errorf("no answer to a put for four seconds: moved %d times", n)
	}
	a, _, now = play()
	for range 100 {
		now = now.Add(100 * time.Millisecond)
		a.Tick(now)
		if want := now.Sub(viewStart) > beatsMissed; a.Stats().Moves > 0 != want {
			t.Fatalf("no beat for %v: %d moves", now.Sub(viewStart), a.Stats().Moves)
		}
	}
}

// TestNewStream: where the stream is another one, or goes back, this host says again what it has said, and takes
// nothing of what it had read for granted.
func TestNewStream(t *testing.T) {
	for what, lost := range map[string]func(*Agent, time.Time){
		"another epoch": func(a *Agent, now time.Time) { a.Live(now, beat(3, "f")) },
		"put back": func(a *Agent, now time.Time) {
			for rev := range uint64(backBeats) {
				a.Live(now, beat(5+rev, "e"))
			}
		},
	} {
		a, s, now := play()
		a.Live(now, says(key0, 90, 11, 0, 3600))
		a.Live(now, says(key1, 1, 12, 0, 3600))
		a.Live(now, beat(13, "e"))
		now = now.Add(time.Minute)
		a.Live(now, beat(14, "e"))
		s.did, s.changes = nil, nil
		all := s.all
		lost(a, now)
		s.expect(t, what, "ask 1", fmt.Sprintf("put %s 0 90", key0))
		if len(s.changes) != 0 || s.all != all || a.Stats().Complete {
			t.Errorf("%s: told of %v before the new stream was read", what, s.changes)
		}
		a.Paged(now, s.tickets["ask"], Page{Whole: true, Words: []Said{says(key1, 1, 2, 0, 3600), beat(7, a.policy.Epoch)}}, nil)
		if len(s.changes) != 1 || s.all != all+1 || !a.Stats().Complete {
			t.Errorf("%s: told of %v, %+v", what, s.changes, a.Stats())
		}
		a.Tick(now)
		if k := s.kept[len(s.kept)-1]; !k.Forget || len(k.Out) != 1 || k.Out[0].Entry.Epoch != "" || k.Cursor != 7 {
			t.Errorf("%s: kept %+v", what, k)
		}
	}
}

// TestOutbox: what waits has a bound, and a lift is not given up for a ban.
func TestOutbox(t *testing.T) {
	a, s, now := play()
	a.Disconnected(now)
	lift := LiftKey("me", "ssh", at(1))
	a.Say(now, lift, Entry{})
	for i := range outMost + 100 {
		a.Say(now, BanKey("me", "ssh", at(i)), Entry{Jail: "sshd", Left: 3600})
	}
	if st := a.Stats(); st.Waiting != outMost || a.out[lift] == nil || a.out[BanKey("me", "ssh", at(0))] != nil {
		t.Errorf("%d wait", st.Waiting)
	}
	a.Connected(now)
	if puts := len(slices.DeleteFunc(s.did, func(d string) bool { return !strings.HasPrefix(d, "put") })); puts != flightMost {
		t.Errorf("%d puts at once", puts)
	}
}

// TestLateWords: a host that slept hears what is long past, and doesn't take that for the servers' time; if their clock
// is set, it follows after some seconds.
func TestLateWords(t *testing.T) {
	a, _, now := play()
	ahead := a.clocks.ahead
	now = now.Add(time.Hour)
	for rev := uint64(11); rev < 20; rev++ { // the stream's times go on by a second each
		a.Live(now, beat(rev, "e"))
		if a.clocks.ahead != ahead {
			t.Fatalf("with number %d: the servers' clock is taken to be %v ahead, and is %v", rev, a.clocks.ahead, ahead)
		}
	}
	for rev := uint64(20); rev < 30; rev++ {
		now = now.Add(BeatEvery)
		a.Live(now, beat(rev, "e"))
	}
	if want := beat(29, "e").Stored.Sub(now) + 2*clockFor; a.clocks.ahead > want {
		t.Errorf("the servers' clock was set back: it is taken to be %v ahead, more than %v", a.clocks.ahead, want)
	}
}
