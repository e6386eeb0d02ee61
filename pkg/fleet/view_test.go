package fleet

import (
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"
)

// modelQuorum are the quorums of the groups of TestSchedules.
var modelQuorum = map[string]int{"ssh": 1, "mail": 2}

// watched is a View and what it has told.
type watched struct {
	*View
	told    map[string]map[netip.Prefix]time.Time
	changes int
	lifted  []uint64
}

func watch(p Policy) *watched {
	w := &watched{View: NewView(p), told: map[string]map[netip.Prefix]time.Time{}}
	for g := range p.Groups {
		w.told[g] = map[netip.Prefix]time.Time{}
	}
	return w
}

func (w *watched) tell(c Change) {
	w.changes++
	if c.Lifted != 0 {
		w.lifted = append(w.lifted, c.Lifted)
	}
	if c.Until.IsZero() {
		delete(w.told[c.Group], c.Prefix)
		return
	}
	w.told[c.Group][c.Prefix] = c.Until
}

// view has a View read everything that the stream has told in this epoch, in any order, some of it twice; half
// of it is kept on the way, and read back into another View. What is over is dropped at the end.
func (w *world) view(rule Rule) *watched {
	policy := Policy{Rule: rule, Self: "none", Groups: modelQuorum, Shortest4: 1, Shortest6: 1}
	v := watch(policy)
	words := slices.Concat(w.log, w.log[:len(w.log)/2])
	w.r.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	now := time.UnixMilli(w.now + w.skew)
	for i, s := range words {
		v.Apply(s, now, v.tell)
		if i%5 == 0 {
			v.Origins()
		}
		if i == len(words)/2 {
			again := NewView(policy)
			again.Bulk(true)
			v.Held(func(s Said) { again.Apply(s, now, nil) })
			again.Bulk(false)
			if again.Counts() != v.Counts() {
				panic("what is kept is not what was held")
			}
			v.View = again
		}
	}
	v.Sweep(now, len(words), nil)
	counted := v.Origins()
	v.recount = true
	if again := v.Origins(); !slices.Equal(counted, again) {
		panic(fmt.Sprintf("counted as they came, %v; all at once, %v", counted, again))
	}
	return v
}

// TestOwnAfterDistrust: a host that has left, or was taken out, and is in again, keeps those banned whom its own jails have banned; others don't.
func TestOwnAfterDistrust(t *testing.T) {
	v := watch(Policy{Rule: Rule{Epoch: "e"}, Self: "web-1", Groups: map[string]int{"ssh": 1}})
	own, other := says(BanKey("web-1", "ssh", at(1)), 1, 1, 0, 3600), says(BanKey("web-1", "ssh", at(2)), 2, 2, 1, 3600)
	v.Apply(own, viewStart, v.tell)
	v.Apply(other, viewStart, v.tell)
	v.Apply(says(DistrustKey("web-1"), 5, 3, 2, 0), viewStart, v.tell)
	v.Each(viewStart, v.tell)
	if len(v.told["ssh"]) != 0 || len(v.lifted) != 0 {
		t.Errorf("in force in the fleet: %v; lifted here: %v", v.told, v.lifted)
	}
	v.Apply(says(LiftKey("web-2", "ssh", at(2)), 1, 4, 3, 0), viewStart, v.tell)
	if !slices.Equal(v.lifted, []uint64{2}) {
		t.Errorf("a lift of one is not heeded: %v", v.lifted)
	}
}

// TestOrigins: what a host has taken back, or was lifted with all that it had said, is no ban of its any more; and one that is in
// the fleet again is as any other when it has said something.
func TestOrigins(t *testing.T) {
	v := NewView(Policy{Rule: Rule{Epoch: "e"}, Self: "web-1", Groups: map[string]int{"ssh": 1}})
	say := func(s Said, want Origin) {
		t.Helper()
		v.Apply(s, viewStart, nil)
		all := v.Origins()
		if i := slices.IndexFunc(all, func(o Origin) bool { return o.Name == "web-2" }); i < 0 || all[i] != want {
			t.Errorf("after %s: %+v, want %+v", s.Key, all, want)
		}
	}
	first, second := BanKey("web-2", "ssh", at(1)), BanKey("web-2", "ssh", at(2))
	say(says(first, 1, 1, 0, 3600), Origin{"web-2", 1, 0, true, false})
	say(says(second, 2, 2, 1, 3600), Origin{"web-2", 2, 0, true, false})
	say(says(second, 3, 3, 2, 0), Origin{"web-2", 1, 0, true, false})
	say(says(second, 4, 4, 3, 60), Origin{"web-2", 2, 0, true, false})
	say(says(DistrustKey("web-2"), 5, 5, 4, 0), Origin{"web-2", 0, 0, true, true})
	say(says(second, 6, 6, 5, 60), Origin{"web-2", 1, 0, true, false})
	v.Sweep(viewStart.Add(time.Hour/2), 10, nil)
	say(says(first, 7, 7, 6, 3600), Origin{"web-2", 1, 0, true, false})
}

func at(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)}), 32)
}

var viewStart = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// says is a word stored at rev seconds after viewStart.
func says(key Key, n, rev, seen uint64, left int64) Said {
	jail := "sshd"
	if key.Kind != Ban {
		left = 0
	}
	return Said{Key: key, Rev: rev, Stored: viewStart.Add(time.Duration(rev) * time.Second), Entry: Entry{Jail: jail, Left: left, N: n, Seen: seen, Epoch: "e", Count: 1, Failures: 5}}
}

func TestView(t *testing.T) {
	never := netip.MustParsePrefix("203.0.113.9/32")
	v := watch(Policy{
		Rule: Rule{Epoch: "e"}, Self: "me", Groups: map[string]int{"ssh": 1}, Bans: 3, Lifts: 1,
		Accept: func(host string) bool { return host != "stranger" },
		Never:  func(p netip.Prefix) bool { return p.Overlaps(never) },
	})
	now := viewStart.Add(time.Minute)
	ssh := func(host, p string) Key { return BanKey(host, "ssh", netip.MustParsePrefix(p)) }
	check := func(what string, s Said, held bool, want ...string) {
		t.Helper()
		if got := v.Apply(s, now, v.tell); got != held {
			t.Errorf("%s: held %v", what, got)
		}
		got := []string{}
		for p := range v.told["ssh"] {
			got = append(got, p.String())
			if until := v.Until("ssh", p); !until.Equal(v.told["ssh"][p]) {
				t.Errorf("%s: %s until %v was told, and is %v", what, p, v.told["ssh"][p], until)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: %v are shut out, want %v", what, got, want)
		}
	}
	const one, two, own = "198.51.100.1/32", "198.51.100.2/32", "198.51.100.3/32"
	check("a ban", says(ssh("a", one), 1, 1, 0, 3600), true, one)
	check("the same again", says(ssh("a", one), 1, 1, 0, 3600), false, one)
	check("a group of others", says(BanKey("a", "mail", netip.MustParsePrefix(two)), 2, 2, 0, 3600), false, one)
	check("a stranger", says(ssh("stranger", two), 1, 3, 0, 3600), false, one)
	check("a large network", says(ssh("a", "198.0.0.0/15"), 3, 4, 0, 3600), false, one)
	check("an ignored one", says(ssh("a", "203.0.113.9/32"), 4, 5, 0, 3600), true, one)
	check("a network around it", says(ssh("a", "203.0.113.0/24"), 5, 6, 0, 3600), true, one)
	check("more than the quota", says(ssh("a", two), 6, 7, 0, 3600), false, one)
	check("another host", says(ssh("b", two), 1, 8, 0, 3600), true, one, two)
	check("one that has ended", says(ssh("b", "198.51.100.9/32"), 2, 9, 0, 10), true, one, two)
	check("this host's own", says(ssh("me", own), 9, 10, 0, 3600), true, one, two, own)
	check("a lift of the network", says(LiftKey("b", "ssh", netip.MustParsePrefix("198.51.100.2/31")), 3, 11, 10, 0), true, one)
	if !slices.Equal(v.lifted, []uint64{9}) {
		t.Errorf("own bans that were lifted: %v", v.lifted)
	}
	check("more lifts than the quota", says(LiftKey("b", "ssh", netip.MustParsePrefix(one)), 4, 12, 11, 0), false, one)
	check("banned anew, knowing the lift", says(ssh("me", own), 10, 13, 12, 3600), true, one, own)
	check("its host lifts it", says(ssh("a", one), 7, 14, 13, 0), true, own)
	check("a ban of before comes late", says(ssh("a", one), 1, 1, 0, 3600), false, own)
	check("a host is distrusted", says(DistrustKey("me"), 1, 15, 14, 0), true)
	check("and bans anew", says(ssh("me", own), 11, 16, 15, 3600), true, own)
	never = netip.MustParsePrefix(own)
	v.Recheck(now, v.tell)
	check("what is ignored has changed", says(BeatKey(), 0, 17, 0, 0), false, "203.0.113.0/24", "203.0.113.9/32")
	want := [refusals]uint64{RefusedGroup: 1, RefusedHost: 1, RefusedWide: 1, RefusedNever: 2, RefusedQuota: 2}
	if c := v.Counts(); c.Refused != want || c.Bans != 6 || c.Lifts != 1 {
		t.Errorf("%+v", c)
	}
	if got := v.About(netip.MustParsePrefix(own), 10); len(got) != 2 || got[0].Key.Host == got[1].Key.Host {
		t.Errorf("about %s: %+v", own, got)
	}
	dropped := 0
	v.Sweep(now.Add(2*time.Hour), 100, func(Key) { dropped++ })
	if c := v.Counts(); dropped != 5 || c.Bans != 1 || c.Lifts != 1 { // the lifts are still there
		t.Errorf("after two hours: %+v, %d dropped", c, dropped)
	}
	v.Sweep(now.Add(DefaultMost+time.Hour), 100, nil)
	if c := v.Counts(); c.Bans != 0 || c.Lifts != 0 || len(v.at) != 0 {
		t.Errorf("after a week: %+v", c)
	}
	v.Forget("f")
	if v.Epoch() != "f" || len(v.origins) != 0 {
		t.Error("another stream: something is left of the one before")
	}
}

// TestViewTold: changes tell the same as all that is in force at the end, also where many come and go.
func TestViewTold(t *testing.T) {
	v := watch(Policy{Rule: Rule{Epoch: "e"}, Self: "me", Groups: map[string]int{"ssh": 2}})
	rev := uint64(0)
	for i := range 3000 {
		for _, host := range []string{"a", "b", "c"}[:1+i%3] {
			rev++
			v.Apply(says(BanKey(host, "ssh", at(i%700)), rev, rev, rev-1, int64(100+i)), viewStart, v.tell)
		}
		if i%10 == 0 {
			rev++
			v.Apply(says(LiftKey("d", "ssh", netip.PrefixFrom(at(i%700).Addr(), 32-i%8)), rev, rev, rev-1, 0), viewStart, v.tell)
		}
	}
	all := map[netip.Prefix]time.Time{}
	v.Each(viewStart, func(c Change) { all[c.Prefix] = c.Until })
	if len(all) < 50 || len(all) != len(v.told["ssh"]) {
		t.Fatalf("%d are in force, %d were told of", len(all), len(v.told["ssh"]))
	}
	for p, until := range all {
		if !v.told["ssh"][p].Equal(until) {
			t.Errorf("%s until %v, told %v", p, until, v.told["ssh"][p])
		}
	}
}

// BenchmarkView: a million words of a hundred hosts; tells bytes a word.
func BenchmarkView(b *testing.B) {
	const words = 1_000_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		v := NewView(Policy{Rule: Rule{Epoch: "e"}, Self: "me", Groups: map[string]int{"ssh": 1}})
		hosts := make([]string, 100)
		for i := range hosts {
			hosts[i] = "web-" + string(rune('a'+i/10)) + string(rune('a'+i%10))
		}
		changes := 0
		for i := range words {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}), 32)
			v.Apply(says(BanKey(hosts[i%100], "ssh", p), uint64(i+1), uint64(i+1), 0, 3600), viewStart, func(Change) { changes++ })
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if changes != words {
			b.Fatal(changes)
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/words, "B/word")
		runtime.KeepAlive(v)
	}
}

// FuzzView has two Views read words that make no sense, one of them from the end and twice, and compares both with
// the rule.
func FuzzView(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x11\x01\x02\x03\x04\x05\x06\x07"))
	f.Add([]byte("ban lift ban lift distrust 12345678"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var words []Said
		held := map[Key]Said{}
		for ; len(data) >= 8 && len(words) < 100; data = data[8:] {
			host, group := string('a'+data[0]&3), modelGroups[data[0]>>2&1]
			p := modelSpots[int(data[1])%len(modelSpots)]
			key := BanKey(host, group, p)
			switch data[0] >> 4 {
			case 0, 1, 2:
				key = LiftKey(host, group, modelLifts[int(data[1])%len(modelLifts)])
			case 3:
				key = DistrustKey(host)
			}
			s := says(key, uint64(data[2]), uint64(len(words)+1), uint64(data[3]), int64(data[4])*8-1)
			s.Entry.Age, s.Stored = int64(data[5]), viewStart.Add(time.Duration(data[6])*time.Second)
			if data[7] > 200 {
				s.Entry.Epoch = ""
			}
			words, held[key] = append(words, s), s
		}
		policy := Policy{Rule: Rule{Epoch: "e", Most: modelMost}, Self: "a", Groups: modelQuorum, Shortest4: 1, Shortest6: 1}
		forth, back := watch(policy), watch(policy)
		now := viewStart.Add(2 * time.Minute)
		for i, s := range words {
			forth.Apply(s, now, forth.tell)
			for range 2 {
				back.Apply(words[len(words)-1-i], now, back.tell)
			}
		}
		all := slices.Collect(maps.Values(held))
		for _, group := range modelGroups {
			for _, p := range modelSpots {
				want := policy.Until(all, group, p, modelQuorum[group])
				if !want.After(now) {
					want = time.Time{}
				}
				if got := forth.told[group][p]; !got.Equal(want) {
					t.Errorf("%s in %s: told until %v, the rule says %v", p, group, got, want)
				}
				if got := back.told[group][p]; !got.Equal(want) {
					t.Errorf("from the end: %s in %s: told until %v, the rule says %v", p, group, got, want)
				}
			}
		}
	})
}
