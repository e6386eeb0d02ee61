package fleet

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A member is a host with an agent, whose link to the world's stream does what chance says: answers come late or not
// at all, what is told live gets lost, servers are behind, the host is killed and comes back.
type member struct {
	*host
	w      *world
	agent  *Agent
	policy Policy
	skew   time.Duration // of the host's clock
	steady bool          // that is known not to have been set while it was off
	// jail is whom this host has banned itself, until when, by the world's time; told is what the kernel would hold.
	jail map[netip.Prefix]int64
	told map[string]map[netip.Prefix]time.Time
	// kept is what a restart finds.
	start Start
	words map[Key]Said
	out   map[Key]Out
	// asked are questions that have come to the hub or not, answered are answers on their way, live is what it
	// was told.
	asked, answered []func()
	live            []Said
	up              bool
	moves           int
	refused         []Reason
	steps           []time.Duration // clocks that were set, as it was told
}

func (w *world) join(name string, policy Policy) *member {
	m := &member{w: w, host: &host{name: name, own: map[Key]*deed{}}, policy: policy, words: map[Key]Said{}, out: map[Key]Out{}}
	m.policy.Self = name
	m.told = map[string]map[netip.Prefix]time.Time{}
	w.hosts = append(w.hosts, m.host)
	m.boot()
	return m
}

func (m *member) now() time.Time { return time.UnixMilli(m.w.now).Add(m.skew) }

// boot starts the agent with what was kept.
func (m *member) boot() {
	m.asked, m.answered, m.live, m.up = nil, nil, nil, false
	s := m.start
	s.Words = func(each func(Said)) error {
		for _, w := range m.words {
			each(w)
		}
		return nil
	}
	s.Out, s.Steady = slices.Collect(maps.Values(m.out)), m.steady
	m.agent = NewAgent(m.policy, s, m, m, m.now())
}

func (m *member) Changed(c Change) {
	if c.Lifted != 0 {
		delete(m.jail, c.Prefix)
	}
	if m.told[c.Group] == nil {
		m.told[c.Group] = map[netip.Prefix]time.Time{}
	}
	if c.Until.IsZero() {
		delete(m.told[c.Group], c.Prefix)
	} else {
		m.told[c.Group][c.Prefix] = c.Until
	}
}

func (m *member) All(all iter.Seq[Change]) {
	clear(m.told)
	for c := range all {
		m.Changed(c)
	}
}

func (m *member) Keep(k Kept) {
	if k.Forget {
		clear(m.words)
	}
	for _, s := range k.Words {
		m.words[s.Key] = s
	}
	for _, key := range k.Dropped {
		delete(m.words, key)
	}
	for _, o := range k.Done {
		if m.out[o.Key].Entry.N <= o.Entry.N {
			delete(m.out, o.Key)
		}
	}
	for _, o := range k.Out {
		if m.out[o.Key].Entry.N <= o.Entry.N && !slices.ContainsFunc(k.Done, func(d Out) bool { return d.Key == o.Key && d.Entry.N >= o.Entry.N }) {
			m.out[o.Key] = o
		}
	}
	m.start = Start{Epoch: k.Epoch, Cursor: k.Cursor, N: k.N, Ahead: k.Ahead}
}

func (m *member) Refused(_ Out, r Reason) { m.refused = append(m.refused, r) }

func (m *member) Fail(uint64, Failures) {}

func (m *member) Clock(by time.Duration, _ bool) { m.steps = append(m.steps, by) }

func (m *member) Move() {
	m.moves++
	m.answered = append(m.answered, func() { m.disconnect() })
}

func (m *member) disconnect() {
	m.up, m.asked, m.answered, m.live = false, nil, nil, nil
	m.agent.Disconnected(m.now())
}

func (m *member) connect() {
	m.up = true
	m.agent.Connected(m.now())
}

func (m *member) Ask(ticket, from uint64) {
	m.asked = append(m.asked, func() {
		p := Page{Whole: true}
		for _, s := range m.w.stream {
			if s.Rev >= from {
				p.Words = append(p.Words, s)
			}
		}
		slices.SortFunc(p.Words, func(a, b Said) int { return int(a.Rev) - int(b.Rev) })
		if behind := m.w.r.IntN(6); behind == 0 { // the server that answers is behind
			p.Words = p.Words[:m.w.r.IntN(len(p.Words)+1)]
		}
		m.answered = append(m.answered, func() { m.agent.Paged(m.now(), ticket, p, nil) })
	})
}

func (m *member) Look(ticket uint64, k Key) {
	m.asked = append(m.asked, func() {
		s, ok := m.w.stream[k]
		m.answered = append(m.answered, func() { m.agent.Looked(m.now(), ticket, k, s, ok, nil) })
	})
}

func (m *member) Put(ticket uint64, k Key, p Put) {
	m.asked = append(m.asked, func() {
		a := m.w.gate(k, p)
		m.answered = append(m.answered, func() { m.agent.Answered(m.now(), ticket, k, a, nil) })
	})
}

// gate is what a hub does.
func (w *world) gate(k Key, p Put) Answer {
	if w.r.IntN(20) == 0 {
		return No(Rate)
	}
	if p.Entry.Epoch == w.epochName(w.epoch) && p.Entry.Seen > w.rev {
		return No(BadSeen)
	}
	if w.stream[k].Rev != p.Expect {
		return Answer{Status: Conflict}
	}
	if _, ended := p.Entry.TTL(k.Kind, w.most); ended {
		return No(Ended)
	}
	w.store(Said{Key: k, Entry: p.Entry})
	for _, d := range w.deeds {
		if d.key == k && d.entry.N == p.Entry.N {
			d.rev, d.storedIn = w.rev, w.epoch
		}
	}
	return Answer{Status: Stored, Rev: w.rev}
}

// store gives a word the next number, and tells everybody.
func (w *world) store(s Said) {
	w.rev++
	s.Rev, s.Stored = w.rev, time.UnixMilli(w.now+w.skew)
	w.stream[s.Key] = s
	w.log = append(w.log, s)
	for _, m := range w.members {
		if m.up {
			m.live = append(m.live, s)
		}
	}
}

// says has a member do something, and its ban's transaction keep it.
func (m *member) says(key Key, left int64) {
	e := Entry{Left: left}
	if key.Kind == Ban {
		e.Jail = "j"
	}
	if m.w.r.IntN(8) == 0 {
		m.agent.KeepAll(m.now())
	}
	o := m.agent.Say(m.now(), key, e)
	m.out[key] = o
	m.start.N = o.Entry.N
	d := &deed{key: key, at: m.w.now, entry: o.Entry, epoch: m.w.epoch, seen: map[*deed]bool{}}
	if o.Entry.Epoch == m.w.epochName(m.w.epoch) {
		for _, other := range m.w.deeds {
			d.seen[other] = other.rev > 0 && other.storedIn == m.w.epoch && other.rev <= o.Entry.Seen
		}
	} else {
		d.epoch = -1
	}
	m.w.deeds = append(m.w.deeds, d)
	m.own[key] = d
}

// pass is a moment of the world: time goes on, and messages arrive, or don't.
func (w *world) pass(faults bool) {
	step := 1 + w.r.Int64N(200)
	if faults && w.r.IntN(200) == 0 {
		step = w.r.Int64N(30_000)
		for _, m := range w.members { // so long without a word, no connection stays up
			if m.up {
				m.disconnect()
			}
		}
	}
	if w.now/2000 != (w.now+step)/2000 || w.rev == 0 {
		w.store(Said{Key: BeatKey(), Epoch: w.epochName(w.epoch)})
	}
	w.now += step
	w.expire()
	for _, m := range w.members {
		switch {
		case !m.up:
			if !faults || w.r.IntN(5) == 0 {
				m.connect()
			}
		case faults && w.r.IntN(60) == 0:
			m.disconnect()
		case faults && w.r.IntN(150) == 0:
			m.boot()
		}
		for range 4 {
			if len(m.asked) > 0 {
				ask := m.asked[0]
				m.asked = m.asked[1:]
				if !faults || w.r.IntN(12) > 0 { // else the question is lost
					ask()
				}
			}
			if len(m.answered) > 0 {
				answer := m.answered[0]
				m.answered = m.answered[1:]
				if !faults || w.r.IntN(12) > 0 { // else the answer is
					answer()
				}
			}
			if len(m.live) > 0 && w.r.IntN(3) > 0 {
				i := 0
				if w.r.IntN(4) == 0 {
					i = w.r.IntN(len(m.live))
				}
				s := m.live[i]
				if w.r.IntN(6) > 0 {
					m.live = slices.Delete(m.live, i, i+1)
				}
				if !faults || w.r.IntN(10) > 0 { // else it isn't told
					m.agent.Live(m.now(), s)
				}
			}
		}
		m.agent.Tick(m.now())
	}
}

func newFleet(seed uint64, names ...string) *world {
	w := newWorld(seed)
	w.hosts = nil
	for i, name := range names {
		m := w.join(name, Policy{Rule: Rule{Most: modelMost}, Groups: modelQuorum, Shortest4: 1, Shortest6: 1})
		m.skew = time.Duration(i-1) * 20 * time.Hour
		m.boot()
		w.members = append(w.members, m)
	}
	return w
}

// TestAgents: whatever is lost on the way, everybody comes to what the model says, and nothing waits
// any more.
func TestAgents(t *testing.T) {
	var compared, skipped, inForce, wrong int
	var sum Stats
	for seed := *firstSeed; seed < *firstSeed+*agents; seed++ {
		w := newFleet(uint64(seed), "a", "b", "c")
		for range 300 {
			w.pass(true)
			switch m := w.members[w.r.IntN(3)]; w.r.IntN(20) {
			case 0, 1:
				m.says(BanKey(m.name, modelGroups[w.r.IntN(2)], modelSpots[w.r.IntN(len(modelSpots))]), []int64{100, 400, Permanent}[w.r.IntN(3)])
			case 2:
				m.says(LiftKey(m.name, modelGroups[w.r.IntN(2)], modelLifts[w.r.IntN(len(modelLifts))]), 0)
			case 3:
				for _, d := range w.deeds {
					if m.own[d.key] == d && d.key.Kind == Ban && !d.entry.Gone() {
						m.says(d.key, 0)
						break
					}
				}
			case 4:
				if w.r.IntN(20) == 0 { // the stream is lost
					w.epoch++
					w.stream, w.log, w.rev = map[Key]Said{}, nil, 0
				}
			}
		}
		steps := 0
		for waits := true; waits && steps < 3000; steps++ {
			w.pass(false)
			waits = steps < 100
			for _, m := range w.members {
				s := m.agent.Stats()
				waits = waits || !s.Complete || s.Waiting > 0 || s.Newest < w.rev
			}
		}
		for _, m := range w.members {
			s := m.agent.Stats()
			if !s.Complete || s.Waiting > 0 || len(m.out) > 0 || m.agent.flight != 0 {
				t.Fatalf("seed %d: %s, after %d steps: %+v, %d kept to be said, %d in flight", seed, m.name, steps, s, len(m.out), m.agent.flight)
			}
			if len(m.refused) > 0 && !slices.Contains(m.refused, Ended) {
				t.Errorf("seed %d: %s: refused: %v", seed, m.name, m.refused)
			}
			sum.Gaps, sum.Moves, sum.Epochs, sum.Conflicts = sum.Gaps+s.Gaps, sum.Moves+s.Moves, sum.Epochs+s.Epochs, sum.Conflicts+s.Conflicts
			for _, group := range modelGroups {
				for _, p := range modelSpots {
					hosts, unsure := w.model(group, p)
					until := m.told[group][p]
					if near := until.Sub(m.now()); unsure || !until.IsZero() && near < 8*time.Second && near > -8*time.Second {
						skipped++
						continue
					}
					compared++
					got, want := until.After(m.now()), hosts >= modelQuorum[group]
					if want {
						inForce++
					}
					if got != want {
						if wrong++; wrong < 5 {
							t.Errorf("seed %d: %s: %s in %s: in force %v, should be %v\n%s", seed, m.name, p, group, got, want, w.tale(group, p))
						}
					}
				}
			}
		}
	}
	t.Logf("%d compared, %d of them in force, %d too close to say, %d wrong; %d gaps, %d moves, %d new streams, %d conflicts",
		compared, inForce, skipped, wrong, sum.Gaps, sum.Moves, sum.Epochs, sum.Conflicts)
	if inForce*20 < compared || skipped > compared || sum.Gaps == 0 || sum.Epochs == 0 || sum.Conflicts == 0 {
		t.Error("the schedules are not what they should be")
	}
}
