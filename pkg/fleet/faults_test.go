package fleet

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Faults that take longer than a test may: the agents' clocks, the servers' and the stream's are the world's, which goes on as fast
// as it is told to. Bans last a week at the most, as in a fleet whose operator says nothing else.

const day = 24 * time.Hour

// calm lets everybody who is there come to an end.
func (w *world) calm(t *testing.T) {
	t.Helper()
	for steps := 0; ; steps++ {
		w.pass(false)
		waits := steps < 100 // three beats, at least
		for _, m := range w.members {
			s := m.agent.Stats()
			waits = waits || !s.Complete || s.Waiting > 0 || s.Newest < w.rev
		}
		if !waits {
			return
		}
		if steps == 5000 {
			for _, m := range w.members {
				t.Errorf("%s: %+v", m.name, m.agent.Stats())
			}
			t.Fatal("it comes to no end")
		}
	}
}

// sleep has time pass, in which those who are there renew their bans.
func (w *world) sleep(t *testing.T, d time.Duration) {
	t.Helper()
	for end := w.now + d.Milliseconds(); w.now < end; {
		w.now += min(time.Hour.Milliseconds(), end-w.now)
		w.expire()
		w.calm(t)
		for _, m := range w.members {
			m.agent.Renew(m.now(), m.agent.View().Renewals(m.agent.Server(m.now())), func(s Said) (int64, bool) {
				until, ok := m.jail[s.Key.Prefix()]
				if until == math.MaxInt64 {
					return Permanent, ok
				}
				return (until - w.now) / 1000, ok && until > w.now
			})
		}
	}
}

// bans has a host's jail ban somebody.
func (m *member) bans(p netip.Prefix, left time.Duration) {
	if m.jail == nil {
		m.jail = map[netip.Prefix]int64{}
	}
	m.jail[p] = m.w.now + left.Milliseconds()
	m.keepSaid(BanKey(m.name, "ssh", p), int64(left/time.Second))
}

func (m *member) keepSaid(k Key, left int64) {
	e := Entry{Left: left}
	if k.Kind == Ban {
		e.Jail = "sshd"
	}
	o := m.agent.Say(m.now(), k, e)
	m.out[k] = o
	m.start.N = o.Entry.N
}

// off takes a host away, and on lets it boot, with a clock that is wrong by so much more.
func (w *world) off(m *member) {
	m.agent.Tick(m.now())
	m.disconnect()
	w.members = slices.DeleteFunc(w.members, func(o *member) bool { return o == m })
}

func (w *world) on(m *member, wrong time.Duration) {
	m.skew += wrong
	m.boot()
	for range 50 { // it takes a while until there is a connection
		w.now += 200
		m.agent.Tick(m.now())
	}
	w.members = append(w.members, m)
}

// tally counts what is not as it should be: who is shut out nowhere, or where he should not be. Ends are when, by the world's time.
type tallied struct{ acknowledged, lost, resurrected, ends int }

func (w *world) count(t *testing.T, want map[netip.Prefix]int64, not ...netip.Prefix) (n tallied) {
	t.Helper()
	n.acknowledged = len(want) + len(not)
	for _, m := range w.members {
		for p, end := range want {
			until, in := m.told["ssh"][p]
			is := until.Add(-m.skew).UnixMilli()
			if !in || is <= w.now {
				n.lost++
				t.Errorf("%s has lost %s", m.name, p)
			} else if off := is - end; off > 10_000 || off < -10_000 {
				n.ends++
				t.Errorf("%s: %s ends %v too late", m.name, p, time.Duration(off)*time.Millisecond)
			}
		}
		for _, p := range not {
			if until, in := m.told["ssh"][p]; in && until.Add(-m.skew).UnixMilli() > w.now {
				n.resurrected++
				t.Errorf("%s has %s shut out again", m.name, p)
			}
		}
	}
	return n
}

func (n tallied) String() string {
	return fmt.Sprintf("%d acknowledged, %d lost, %d resurrected, %d with a wrong end", n.acknowledged, n.lost, n.resurrected, n.ends)
}

// newFaults is a fleet of three whose bans last a week at the most.
func newFaults(t *testing.T) (w *world, a, b, c *member) {
	t.Helper()
	w = newWorld(24)
	w.hosts, w.most = nil, DefaultMost
	for _, name := range []string{"a", "b", "c"} {
		m := w.join(name, Policy{Groups: map[string]int{"ssh": 1}})
		m.skew = time.Duration(len(w.members)-1) * 20 * time.Hour
		m.boot()
		w.members = append(w.members, m)
	}
	w.calm(t)
	return w, w.members[0], w.members[1], w.members[2]
}

func p24(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 32)
}

// TestOff: a host that was off for an hour, a day, two weeks comes back, with a clock that is right, a day ahead, a day behind: what was
// lifted meanwhile stays lifted, also what it has said and nobody has heard; what is in force is there, and ends when it should.
func TestOff(t *testing.T) {
	for _, d := range []time.Duration{time.Hour, day, 14 * day} {
		for _, wrong := range []time.Duration{0, day, -day} {
			t.Run(fmt.Sprintf("%v, clock off by %v", d, wrong), func(t *testing.T) { off(t, d, wrong) })
		}
	}
}

func off(t *testing.T, d, wrong time.Duration) {
	w, a, b, c := newFaults(t)
	all := map[int]time.Duration{1: 30 * day, 2: 30 * time.Minute, 3: 6 * day, 4: 20 * day, 5: 30 * day, 6: 30 * day, 7: 6 * day, 8: 30 * day, 9: 6 * day}
	ends := map[int]int64{}
	bans := func(m *member, some ...int) {
		for _, i := range some {
			ends[i] = min(w.now+all[i].Milliseconds(), w.now+w.most.Milliseconds())
			m.bans(p24(i), all[i])
		}
	}
	bans(a, 1, 2, 3, 4)
	bans(b, 7, 9)
	w.calm(t)
	a.disconnect()
	bans(a, 5, 6) // these wait, and it goes off with them
	w.off(a)
	w.sleep(t, min(d/4, 6*time.Hour))
	c.keepSaid(LiftKey("c", "ssh", p24(1)), 0)
	b.keepSaid(LiftKey("b", "ssh", p24(6)), 0)
	b.keepSaid(LiftKey("b", "ssh", p24(7)), 0)
	delete(b.jail, p24(7))
	bans(b, 8)
	w.calm(t)
	w.sleep(t, d-min(d/4, 6*time.Hour))
	w.on(a, wrong)
	w.calm(t)
	w.sleep(t, 2*time.Hour)
	want, not := map[netip.Prefix]int64{}, []netip.Prefix{p24(1), p24(2), p24(6), p24(7)}
	for _, i := range []int{3, 4, 5, 8, 9} {
		switch {
		case i == 8: // its host is there, and says it anew when half of its week is over
			s, ok := b.agent.View().Word(BanKey("b", "ssh", p24(8)))
			if !ok {
				t.Fatal("b has not its own ban")
			}
			want[p24(8)] = min(s.Stored.UnixMilli()-w.skew+w.most.Milliseconds(), s.Stored.UnixMilli()-w.skew+s.Entry.Left*1000)
		case ends[i] > w.now && d < DefaultMost:
			want[p24(i)] = ends[i]
		default:
			not = append(not, p24(i)) // longer ones are in force where they were made
		}
	}
	t.Logf("off for %v, clock off by %v: %v", d, wrong, w.count(t, want, not...))
	for _, m := range w.members {
		if m == a && wrong != 0 && len(m.steps) == 0 {
			t.Error("nobody is told that a clock was set")
		} else if (m != a || wrong == 0) && len(m.steps) > 0 {
			t.Errorf("%s: clocks were set by %v, it says", m.name, m.steps)
		}
	}
}

// TestServersClock: the hub's clock is set by a day while hosts listen, and back: bans end after the time that they have, on hosts that
// were there and on those that come later; the stream's own ending of what is over by that clock loses nothing.
func TestServersClock(t *testing.T) {
	for _, by := range []time.Duration{day, -day} {
		t.Run(by.String(), func(t *testing.T) {
			w, a, b, c := newFaults(t)
			ends := map[netip.Prefix]int64{}
			for i, left := range []time.Duration{time.Hour, 3 * time.Hour, 2 * day, 6 * day} {
				for j, m := range []*member{a, b} {
					p := p24(10*j + i)
					m.bans(p, left)
					ends[p] = w.now + left.Milliseconds()
				}
			}
			a.bans(p24(50), 5*day)
			c.bans(p24(60), 2*day)
			late := w.now + (2 * day).Milliseconds()
			w.calm(t)
			c.keepSaid(LiftKey("c", "ssh", p24(50)), 0)
			w.calm(t)
			e := w.join("e", Policy{Groups: map[string]int{"ssh": 1}})
			e.skew = 7 * time.Hour
			e.boot()
			w.members = append(w.members, e)
			w.calm(t)
			e.bans(p24(70), 3*day)
			ends[p24(70)] = w.now + (3 * day).Milliseconds()
			w.calm(t)
			w.off(e) // it is there again after the step, in the same boot
			w.off(c) // who has lifted it can't say it again
			w.skew += by.Milliseconds()
			w.expire()
			a.bans(p24(80), 4*time.Hour) // before anybody can know of it
			ends[p24(80)] = w.now + (4 * time.Hour).Milliseconds()
			w.calm(t)
			e.steady = true
			w.on(e, 0)
			w.calm(t)
			d := w.join("d", Policy{Groups: map[string]int{"ssh": 1}})
			w.members = append(w.members, d)
			w.calm(t)
			t.Logf("set by %v: %v", by, w.count(t, ends, p24(50)))
			for _, m := range w.members { // its host is off: nobody has said it anew
				until := m.told["ssh"][p24(60)].Add(-m.skew).UnixMilli()
				if m != d && (until < late-10_000 || until > late+10_000) || until > late+120_000 {
					t.Errorf("%s: a ban of a host that is off ends %v too late", m.name, time.Duration(until-late)*time.Millisecond)
				}
			}
			w.sleep(t, 30*time.Minute)
			w.skew -= by.Milliseconds()
			w.expire()
			w.calm(t)
			w.on(c, 0)
			w.calm(t)
			t.Logf("and back: %v", w.count(t, ends, p24(50)))
			for _, m := range []*member{a, b, e} {
				if len(m.steps) != 2 || (m.steps[0]-by).Abs() > 5*time.Second {
					t.Errorf("%s is told of %v", m.name, m.steps)
				}
			}
			w.sleep(t, 7*day)
			gone := []netip.Prefix{p24(50), p24(60)}
			for p := range ends {
				gone = append(gone, p)
			}
			t.Logf("a week later: %v", w.count(t, nil, gone...))
		})
	}
}

// TestLostStream: the stream is lost while who has lifted somebody is off: he is not banned again by that.
func TestLostStream(t *testing.T) {
	w, a, b, c := newFaults(t)
	a.bans(p24(1), day)
	a.bans(p24(2), day)
	b.bans(p24(3), day)
	end := w.now + day.Milliseconds()
	w.calm(t)
	c.keepSaid(LiftKey("c", "ssh", p24(1)), 0)
	w.calm(t)
	w.off(c)
	w.epoch++
	w.stream, w.log, w.rev = map[Key]Said{}, nil, 0
	w.calm(t)
	d := w.join("d", Policy{Groups: map[string]int{"ssh": 1}})
	w.members = append(w.members, d)
	w.calm(t)
	want := map[netip.Prefix]int64{p24(2): end, p24(3): end}
	t.Logf("a new stream: %v", w.count(t, want, p24(1)))
	w.on(c, 0)
	w.calm(t)
	t.Logf("and who had lifted is back: %v", w.count(t, want, p24(1)))
}

// TestHold: the hub hears of nothing before the host has kept it, unless that takes too long.
func TestHold(t *testing.T) {
	a, s, now := play()
	a.hold = 2 * time.Second
	one, two := a.Say(now, key0, Entry{Jail: "sshd", Left: 3600}), BanKey("me", "ssh", at(3))
	a.Say(now, two, Entry{Jail: "sshd", Left: 3600})
	a.Tick(now.Add(time.Second))
	s.expect(t, "nothing is kept yet")
	a.Release(now.Add(time.Second), []Out{one, {Key: two, Entry: Entry{N: 1}}})
	s.expect(t, "one is", "put "+key0.String()+" 0 101")
	a.Tick(now.Add(2 * time.Second))
	s.expect(t, "it took too long", "put "+two.String()+" 0 102")
}

// TestQuiet: a server that is cut off says with what it was, for as long as anybody asks: only a beat that is told says that this is all.
func TestQuiet(t *testing.T) {
	a, s, now := play()
	now = now.Add(beatsMissed + time.Second)
	a.Tick(now)
	s.expect(t, "three beats are missing", "move")
	if st := a.Stats(); st.Complete || st.Quiet.IsZero() {
		t.Errorf("%+v", st)
	}
	a.Disconnected(now)
	a.Connected(now)
	a.Looked(now, s.tickets["look"], BeatKey(), beat(12, "e"), true, nil)
	a.Paged(now, s.tickets["ask"], Page{Whole: true, Words: []Said{beat(12, "e")}}, nil)
	a.Tick(now)
	if st := a.Stats(); st.Complete || st.Cursor != 12 {
		t.Errorf("by a beat that was looked up: %+v", st)
	}
	a.Live(now, beat(20, "e"))
	if st := a.Stats(); st.Complete || !st.Quiet.IsZero() {
		t.Errorf("it was behind: %+v", st)
	}
	now = now.Add(time.Second)
	a.Tick(now)
	a.Paged(now, s.tickets["ask"], Page{Whole: true, Words: []Said{beat(20, "e")}}, nil)
	if st := a.Stats(); !st.Complete {
		t.Errorf("%+v", st)
	}
}
