package fleet

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	schedules = flag.Int("schedules", 20000, "how many random schedules the rule is compared with the model over")
	agents    = flag.Int("agents", 100, "how many random schedules the agents are compared with the model over")
	firstSeed = flag.Int("first", 0, "the seed of the first schedule")
)

// A world is a fleet in which everybody can be late and nobody's clock is right: hosts that ban, lift, read and
// send when chance says so, a stream that is lost now and then, servers whose clocks are a second off. Beside it,
// what was done is noted in the order in which it was done. That is the model: a ban is in force if its host has
// not lifted it, it hasn't ended, and nobody has lifted it since.
type world struct {
	r     *rand.Rand
	now   int64 // true time, ms
	skew  int64 // of the server that writes at present
	epoch int
	// stream is what it holds now, log is everything that it has told in this epoch.
	stream map[Key]Said
	log    []Said
	rev    uint64
	most   time.Duration // the longest time of a ban
	hosts  []*host
	deeds  []*deed
	// members are hosts that have agents (agents_test.go).
	members []*member
}

// deed is something that was done, truly at that time.
type deed struct {
	key   Key
	at    int64
	entry Entry
	// seen are the deeds that its host had read of then, in the stream of that epoch.
	seen  map[*deed]bool
	epoch int
	// rev is its number in the stream of the epoch storedIn.
	rev      uint64
	storedIn int
}

type host struct {
	name   string
	n      uint64
	epoch  int
	cursor uint64
	outbox []*deed
	own    map[Key]*deed // the newest of each key
}

const modelMost = 200 * time.Second

var (
	modelSpots = []netip.Prefix{
		netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("198.51.100.2/32"), netip.MustParsePrefix("198.51.100.0/30"),
		netip.MustParsePrefix("203.0.113.9/32"), netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("2001:db8::/64"),
	}
	modelLifts  = append([]netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("2001:db8::/32")}, modelSpots...)
	modelGroups = []string{"ssh", "mail"}
)

func newWorld(seed uint64) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 24)), now: 1_800_000_000_000, stream: map[Key]Said{}, most: modelMost}
	for _, name := range []string{"a", "b", "c", Hub} {
		w.hosts = append(w.hosts, &host{name: name, own: map[Key]*deed{}})
	}
	return w
}

func (w *world) epochName(e int) string { return fmt.Sprint("e", e) }

// do has a host ban or lift something.
func (w *world) do(h *host, key Key, left int64) {
	h.n++
	d := &deed{key: key, at: w.now, seen: map[*deed]bool{}, epoch: h.epoch}
	d.entry = Entry{Jail: "j", Left: left, N: h.n, Seen: h.cursor, Epoch: w.epochName(h.epoch)}
	if h.epoch == w.epoch {
		for _, other := range w.deeds {
			if other.storedIn == w.epoch && other.rev > 0 && other.rev <= h.cursor {
				d.seen[other] = true
			}
		}
	}
	w.deeds = append(w.deeds, d)
	h.own[key] = d
	h.queue(d)
}

// queue puts a deed into the outbox, in the place of one of the same key.
func (h *host) queue(d *deed) {
	for i, o := range h.outbox {
		if o.key == d.key {
			h.outbox[i] = d
			return
		}
	}
	h.outbox = append(h.outbox, d)
}

// read has a host read the stream, up to its end or not so far. One that finds another stream says
// everything anew that may still count.
func (w *world) read(h *host) {
	if h.epoch != w.epoch {
		h.epoch, h.cursor = w.epoch, 0
		for _, d := range w.deeds {
			if h.own[d.key] == d {
				d.entry.Epoch = "" // what it had seen is of another stream
				h.queue(d)
			}
		}
	}
	h.cursor += w.r.Uint64N(w.rev - h.cursor + 1)
}

// send has a host send one of what waits, by compare and set on its own key: whatever of question and answer
// was lost, it looks what is there before it asks again.
func (w *world) send(h *host) {
	if len(h.outbox) == 0 {
		return
	}
	i := w.r.IntN(len(h.outbox))
	d := h.outbox[i]
	if held, ok := w.stream[d.key]; !ok || held.Entry.N < d.entry.N {
		e := d.entry
		e.Age = (w.now - d.at) / 1000
		_, ended := e.TTL(d.key.Kind, modelMost)
		if ended {
			if !ok {
				h.outbox = append(h.outbox[:i], h.outbox[i+1:]...)
				return
			}
			// What it replaces may be longer.
			e.Left = 0
		}
		w.rev++
		s := Said{Key: d.key, Entry: e, Rev: w.rev, Stored: time.UnixMilli(w.now + w.skew)}
		w.stream[d.key] = s
		w.log = append(w.log, s)
		d.rev, d.storedIn = w.rev, w.epoch
	}
	if w.r.IntN(3) > 0 { // else the answer is lost, and it stays in the outbox
		h.outbox = append(h.outbox[:i], h.outbox[i+1:]...)
	}
}

// expire has the stream forget what it was to keep until now.
func (w *world) expire() {
	for key, s := range w.stream {
		e := s.Entry
		if ttl, _ := e.TTL(key.Kind, w.most); !s.Stored.Add(ttl).After(time.UnixMilli(w.now + w.skew)) {
			delete(w.stream, key)
		}
	}
}

func (w *world) step() {
	w.now += 1 + w.r.Int64N([]int64{100, 2000, 20000}[w.r.IntN(3)]) // no two deeds at one time
	w.expire()
	h := w.hosts[w.r.IntN(3)]
	group := modelGroups[w.r.IntN(len(modelGroups))]
	switch w.r.IntN(16) {
	case 0, 1, 2:
		left := []int64{20, 100, 400, Permanent}[w.r.IntN(4)]
		w.do(h, BanKey(h.name, group, modelSpots[w.r.IntN(len(modelSpots))]), left)
	case 3: // a host lifts a ban of its own
		for _, d := range w.deeds {
			if h.own[d.key] == d && d.key.Kind == Ban && !d.entry.Gone() {
				w.do(h, d.key, 0)
				break
			}
		}
	case 4, 5:
		w.do(h, LiftKey(h.name, group, modelLifts[w.r.IntN(len(modelLifts))]), 0)
	case 6:
		if w.r.IntN(6) == 0 {
			hub := w.hosts[3]
			w.read(hub)
			hub.cursor = w.rev // it is where the stream is
			w.do(hub, DistrustKey(h.name), 0)
			w.send(hub)
		}
	case 7:
		if w.r.IntN(8) == 0 {
			w.epoch++
			w.stream, w.log, w.rev = map[Key]Said{}, nil, 0
		}
	case 8:
		w.skew = w.r.Int64N(2001) - 1000
	case 9, 10, 11, 12:
		w.read(h)
	default:
		w.send(h)
	}
}

// settle has everybody read and send until nothing waits.
func (w *world) settle() {
	for waits := true; waits; {
		waits = false
		for _, i := range w.r.Perm(len(w.hosts)) {
			w.read(w.hosts[i])
			w.send(w.hosts[i])
			waits = waits || len(w.hosts[i].outbox) > 0 || w.hosts[i].epoch != w.epoch
		}
	}
	w.expire()
}

// model says how many hosts' bans are in force by what was truly done. Unsure: somebody did two things that
// concern each other within eight seconds, without knowing; or a ban ends about now.
func (w *world) model(group string, p netip.Prefix) (hosts int, unsure bool) {
	for _, h := range w.hosts {
		b := h.own[BanKey(h.name, group, p)]
		if b == nil || b.entry.Gone() {
			continue
		}
		end := b.at + within(b.entry.Left, modelMost).Milliseconds()
		unsure = unsure || end > w.now-8000 && end < w.now+8000
		if end <= w.now {
			continue
		}
		stands := true
		for _, l := range w.deeds {
			if !Concerns(l.key, b.key) {
				continue
			}
			stands = stands && l.at <= b.at && l != b
			known := b.seen[l] || l.seen[b]
			if near := b.at-l.at < 8000 && l.at-b.at < 8000; near && l.key.Host != h.name && (!known || b.epoch != w.epoch || l.epoch != w.epoch) {
				unsure = true
			}
		}
		if stands {
			hosts++
		}
	}
	return hosts, unsure
}

// tale tells all that concerns an address, for who looks into an error.
func (w *world) tale(group string, p netip.Prefix) (told string) {
	for _, d := range w.deeds {
		for _, h := range w.hosts {
			if b := BanKey(h.name, group, p); d.key == b || Concerns(d.key, b) {
				told += fmt.Sprintf("%v %s %+v, epoch %d, number %d in %d, %v\n", d.at-w.now, d.key, d.entry, d.epoch, d.rev, d.storedIn, w.stream[d.key])
				break
			}
		}
	}
	return told
}

// TestSchedules compares what the rule says of what a stream holds with the model, over random schedules
// (-schedules); and has a View read the stream's words in any order, some of them twice.
func TestSchedules(t *testing.T) {
	var compared, inForce, skipped, wrong, viewWrong, changes int
	for seed := *firstSeed; seed < *firstSeed+*schedules; seed++ {
		w := newWorld(uint64(seed))
		for range 20 + w.r.IntN(60) {
			w.step()
		}
		w.settle()
		rule := Rule{Epoch: w.epochName(w.epoch), Most: modelMost}
		var held []Said
		for _, s := range w.stream {
			held = append(held, s)
		}
		v := w.view(rule)
		for _, group := range modelGroups {
			for _, p := range modelSpots {
				hosts, unsure := w.model(group, p)
				for _, quorum := range []int{1, 2} {
					until := rule.Until(held, group, p, quorum)
					got := until.UnixMilli() > w.now+w.skew
					if told := v.told[group][p]; quorum == modelQuorum[group] && got != told.After(time.UnixMilli(w.now+w.skew)) || got && quorum == modelQuorum[group] && !v.told[group][p].Equal(until) {
						viewWrong++
						if viewWrong < 5 {
							t.Errorf("seed %d: %s in %s: the view says until %v, the rule %v", seed, p, group, told, until)
						}
					}
					if unsure {
						skipped++
						continue
					}
					compared++
					if hosts >= quorum {
						inForce++
					}
					if want := hosts >= quorum; got != want {
						wrong++
						if wrong < 5 {
							t.Errorf("seed %d: %s in %s, quorum %d: in force %v, should be %v\n%s", seed, p, group, quorum, got, want, w.tale(group, p))
						}
					}
				}
			}
		}
		changes += v.changes
	}
	t.Logf("%d schedules: %d compared with the model, %d of them in force, %d too close to say; wrong: rule %d, view %d; the views told of %d changes",
		*schedules, compared, inForce, skipped, wrong, viewWrong, changes)
	if inForce*20 < compared || skipped > compared || changes == 0 {
		t.Error("the schedules are not what they should be")
	}
}
