package fleet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// counts is the plain model of a Counter: all that was ever told, looked at anew each time.
type counts struct {
	rule CountRule
	told map[countKey]map[string]map[string][]int64 // by host and run: the times it told last
	off  []countLift
}

func (m *counts) sum(now int64, k countKey) (failures, hosts int) {
	from := now - m.rule.Find.Milliseconds()
	for _, l := range m.off {
		if l.group == k.group && l.prefix.Overlaps(k.prefix) && l.prefix.Bits() <= k.prefix.Bits() {
			from = max(from, l.at+countSlack)
		}
	}
	for _, runs := range m.told[k] {
		n := 0
		for _, times := range runs {
			for _, at := range times {
				if at > from {
					n++
				}
			}
		}
		if n > 0 {
			hosts++
			failures += min(n, m.rule.Share)
		}
	}
	return failures, hosts
}

// TestCounter compares a Counter with the plain model over random histories: failures told, told again and taken back, hosts that
// begin anew or are taken out, lifts of addresses and networks, bans, time.
func TestCounter(t *testing.T) {
	spots := []netip.Prefix{
		netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("198.51.100.2/32"), netip.MustParsePrefix("198.51.100.0/30"), netip.MustParsePrefix("2001:db8::/64"),
	}
	lifts := append([]netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("0.0.0.0/0")}, spots...)
	bans, compared, some := 0, 0, 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 25))
		rule := CountRule{Retry: 2 + r.IntN(5), Find: 60 * time.Second, Hosts: 1 + r.IntN(3), Share: 1 + r.IntN(4)}
		c, m := NewCounter(), &counts{rule: rule, told: map[countKey]map[string]map[string][]int64{}}
		c.Set(map[string]CountRule{"ssh": rule, "mail": rule})
		now := int64(1 << 40)
		runs := map[string]int{}
		for range 60 {
			now += r.Int64N(8000)
			k := countKey{[]string{"ssh", "mail"}[r.IntN(2)], spots[r.IntN(len(spots))]}
			host := fmt.Sprint("h", r.IntN(4))
			switch r.IntN(12) {
			case 0:
				runs[host]++
			case 1:
				c.Sweep(now, 100)
			case 2:
				p := lifts[r.IntN(len(lifts))]
				c.Done(now, k.group, p)
				m.off = append(m.off, countLift{countKey{k.group, p}, now})
			case 3:
				if r.IntN(4) == 0 {
					c.Forget(host)
					for _, hosts := range m.told {
						delete(hosts, host)
					}
				}
			case 4:
				if !c.Add(now, host, fmt.Sprint(runs[host]), k.group, FailuresOf{Prefix: k.prefix}) {
					t.Fatal("there is room")
				}
				delete(m.told[k], host)
			default:
				var ages []int64
				for range 1 + r.IntN(5) {
					ages = append(ages, r.Int64N(80))
				}
				slices.Sort(ages)
				run := fmt.Sprint(runs[host])
				if !c.Add(now, host, run, k.group, FailuresOf{k.prefix, ages}) {
					t.Fatal("there is room")
				}
				if m.told[k] == nil {
					m.told[k] = map[string]map[string][]int64{}
				}
				if m.told[k][host] == nil {
					m.told[k][host] = map[string][]int64{}
				}
				m.told[k][host][run] = nil
				for _, age := range ages {
					m.told[k][host][run] = append(m.told[k][host][run], now-age*1000)
				}
			}
			due := map[countKey]Verdict{}
			for _, v := range c.Due(now, 1000) {
				due[countKey{v.Group, v.Prefix}] = v
			}
			for _, group := range []string{"ssh", "mail"} {
				for _, p := range spots {
					k := countKey{group, p}
					failures, hosts := m.sum(now, k)
					var got Verdict
					if r := c.at[k]; r != nil {
						got = c.sum(now, k, r, rule)
					}
					compared++
					if failures > 0 {
						some++
					}
					_, isDue := due[k]
					if want := failures >= rule.Retry && hosts >= rule.Hosts; got.Failures != failures || len(got.By) != hosts || isDue != want {
						t.Fatalf("seed %d: %s in %s: %d failures of %d hosts, due %v; want %d of %d, %v", seed, p, group, got.Failures, len(got.By), isDue, failures, hosts, want)
					}
					if isDue && r.IntN(2) == 0 {
						bans++
						c.Done(now, group, p)
						m.off = append(m.off, countLift{k, now})
					}
				}
			}
		}
		pairs := 0
		for _, r := range c.at {
			pairs += len(r.by)
		}
		held := 0
		for _, n := range c.hosts {
			held += n
		}
		if pairs != c.pairs || held != pairs {
			t.Fatalf("seed %d: %d pairs are counted as %d, %d by hosts", seed, pairs, c.pairs, held)
		}
		c.Sweep(now+FindMost.Milliseconds()*2, 1000)
		if len(c.at)+c.pairs+len(c.hosts)+len(c.lifts) != 0 {
			t.Fatalf("seed %d: left when all is over: %d addresses, %d pairs", seed, len(c.at), c.pairs)
		}
	}
	t.Logf("%d compared, %d with failures, %d bans", compared, some, bans)
	if some*20 < compared || bans < 1000 {
		t.Error("the histories are not what they should be")
	}
}

// TestCounterBounds: a host that tells of more addresses than it may, again and again by another run, is held to its own, and another one
// is counted all the same.
func TestCounterBounds(t *testing.T) {
	c := NewCounter()
	c.Set(map[string]CountRule{"ssh": {Retry: 3, Find: time.Minute, Hosts: 2, Share: 2}})
	now := int64(1 << 40)
	for i := range countHostMost + 500 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32)
		if ok := c.Add(now, "mad", fmt.Sprint("r", i), "ssh", FailuresOf{p, []int64{0, 0, 0, 0}}); ok != (i < countHostMost) {
			t.Fatalf("address %d: taken %v", i, ok)
		}
	}
	who := netip.MustParsePrefix("198.18.0.7/32")
	for i := range 50 {
		c.Add(now, "mad", fmt.Sprint("again", i), "ssh", FailuresOf{who, []int64{0, 0, 0}})
	}
	if due := c.Due(now, 10); len(due) != 0 {
		t.Errorf("one host alone has somebody banned: %+v", due)
	}
	c.Add(now, "good", "r", "ssh", FailuresOf{who, []int64{3}})
	due := c.Due(now, 10)
	if len(due) != 1 || due[0].Failures != 3 || due[0].Text() != "good:1 mad:2" {
		t.Errorf("%+v", due)
	}
	if c.Held("mad") != countHostMost || c.Refused() != 500 {
		t.Errorf("%d held, %d refused", c.Held("mad"), c.Refused())
	}
	long := Verdict{}
	for i := range 20 {
		long.By = append(long.By, CountedBy{fmt.Sprintf("web-%d", i), 1})
	}
	if text := long.Text(); len(text) > textMost || !strings.HasSuffix(text, " +13") || !isText(text) {
		t.Errorf("%q", text)
	}
}

// TestFailures: what is told of failures has one form only.
func TestFailures(t *testing.T) {
	f := Failures{Run: "r1", Group: "ssh", Of: []FailuresOf{{netip.MustParsePrefix("198.51.100.7/32"), []int64{0, 3}}, {netip.MustParsePrefix("2001:db8::/64"), []int64{}}}}
	data, err := f.Encode()
	want := `{"v":1,"run":"r1","group":"ssh","of":[{"addr":"4c6336407","ages":[0,3]},{"addr":"620010db8000000000000000000000000-64","ages":[]}]}`
	if err != nil || string(data) != want {
		t.Fatalf("%s, %v", data, err)
	}
	if back, err := DecodeFailures(data); err != nil || fmt.Sprint(back) != fmt.Sprint(f) {
		t.Errorf("%+v, %v", back, err)
	}
	for _, bad := range []string{
		``, `{}`, `null`, strings.Replace(want, `"v":1`, `"v":2`, 1), strings.Replace(want, "[0,3]", "[3,0]", 1), strings.Replace(want, "[0,3]", "[-1]", 1), strings.Replace(want, "[0,3]", "[0,86401]", 1),
		strings.Replace(want, "[0,3]", "null", 1), strings.Replace(want, "[0,3]", "["+strings.Repeat("1,", AgesMost)+"1]", 1), strings.Replace(want, "4c6336407", "4C6336407", 1), strings.Replace(want, `"ssh"`, `"*"`, 1),
		strings.Replace(want, `"r1"`, `""`, 1), want + " ", strings.Replace(want, `"of"`, `"host":"x","of"`, 1), `{"v":1,"run":"r","group":"ssh","of":[]}`,
		`{"v":1,"status":"ok","rev":41}`, `{"v":1,"find":600,"share":3}`,
	} {
		if f, err := DecodeFailures([]byte(bad)); err == nil {
			t.Errorf("%s: read as %+v", bad, f)
		}
	}
	for _, a := range []FailAnswer{{Find: 10 * time.Minute, Share: 3}, {Reason: NoCount}, {Reason: Rate}} {
		data, err := a.Encode()
		if back, bad := DecodeFailAnswer(data); err != nil || bad != nil || back != a {
			t.Errorf("%s: %+v, %v, %v", data, back, err, bad)
		}
		if _, err := DecodeAnswer(data); err == nil {
			t.Errorf("%s is taken for the answer to a put", data)
		}
	}
	for _, bad := range []string{`{"v":1,"find":0,"share":1}`, `{"v":1,"find":600,"share":0}`, `{"v":1,"find":600,"share":99}`, `{"v":1,"find":600,"share":3,"uncounted":"rate"}`, `{"v":1,"find":0,"share":0,"uncounted":"x"}`, `{"v":1,"find":9223372036854775807,"share":3}`, `{"v":1,"status":"ok","rev":41}`} {
		if a, err := DecodeFailAnswer([]byte(bad)); err == nil {
			t.Errorf("%s: read as %+v", bad, a)
		}
	}
}

func FuzzFailures(f *testing.F) {
	f.Add([]byte(`{"v":1,"run":"r1","group":"ssh","of":[{"addr":"4c6336407","ages":[0,3]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := DecodeFailures(data)
		if err != nil {
			return
		}
		if again, err := got.Encode(); err != nil || string(again) != string(data) {
			t.Errorf("%s: again %s, %v", data, again, err)
		}
	})
}

// TestTally: what an agent tells of failures: what is new, all of it to a hub that may not know, nothing that was lifted, and no more
// often than it may.
func TestTally(t *testing.T) {
	s := &script{tickets: map[string]uint64{}}
	now := viewStart
	a := NewAgent(Policy{Self: "me", Groups: map[string]int{"ssh": 1, "mail": 1}, Counts: map[string]bool{"ssh": true, "mail": true}}, Start{Epoch: "e", Cursor: 10, N: 100}, s, s, now)
	fail := func(who, group string, n int) {
		p := netip.MustParsePrefix(who)
		a.Failed(now, group, p, now, n)
	}
	told := func(what string, want ...string) {
		t.Helper()
		var got []string
		for _, f := range s.failed {
			for _, of := range f.Of {
				got = append(got, fmt.Sprintf("%s %s %v", f.Group, of.Prefix, of.Ages))
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: told %q, want %q", what, got, want)
		}
		s.failed = nil
	}
	later := func(d time.Duration) {
		now = now.Add(d)
		a.Live(now, Said{Key: BeatKey(), Rev: a.cursor + 1, Epoch: "e", Stored: now})
		a.Tick(now)
	}
	yes := func() {
		a.Failing(now, s.tickets["fail"], "ssh", FailAnswer{Find: 10 * time.Minute, Share: 3}, nil)
	}
	fail("198.51.100.7/32", "ssh", 1)
	fail("198.51.100.7/32", "other", 1)
	a.Tick(now)
	told("without a hub")
	a.Connected(now)
	a.Tick(now)
	told("before everything is read")
	later(time.Second)
	told("then", "ssh 198.51.100.7/32 [1]")
	fail("198.51.100.8/32", "ssh", 2)
	later(time.Second)
	told("while the answer is on its way")
	yes()
	told("after it", "ssh 198.51.100.8/32 [1 1]")
	a.Failing(now, s.tickets["fail"], "ssh", FailAnswer{}, errNoAnswer)
	later(500 * time.Millisecond)
	told("no answer: not at once")
	later(3 * time.Second)
	told("no answer: again, with its age", "ssh 198.51.100.8/32 [5 5]")
	yes()
	// A lift has the host forget, and what comes later counts.
	a.Live(now, Said{Key: LiftKey("admin", "ssh", netip.MustParsePrefix("198.51.100.0/24")), Rev: a.cursor + 1, Stored: now, Entry: Entry{N: 1}})
	later(2 * time.Second)
	fail("198.51.100.8/32", "ssh", 1)
	a.Disconnected(now)
	a.Connected(now)
	later(time.Second)
	told("another connection: all that still counts", "ssh 198.51.100.8/32 [1]")
	yes()
	// So has a ban of the hub's, and the host's own word that it was lifted here, which the hub is told.
	a.Live(now, Said{Key: BanKey(Hub, "ssh", netip.MustParsePrefix("198.51.100.8/32")), Rev: a.cursor + 1, Stored: now, Entry: Entry{Jail: "x", Left: 60, N: 1}})
	fail("203.0.113.9/32", "ssh", 1)
	later(2 * time.Second)
	told("one more", "ssh 203.0.113.9/32 [2]")
	yes()
	a.Say(now, BanKey("me", "ssh", netip.MustParsePrefix("203.0.113.9/32")), Entry{Jail: "sshd"})
	later(2 * time.Second)
	told("taken back", "ssh 203.0.113.9/32 []")
	yes()
	later(10 * time.Minute)
	told("nothing is left")
	// A group that the hub doesn't count holds up no other.
	fail("198.51.100.7/32", "mail", 1)
	later(time.Second)
	told("to be refused", "mail 198.51.100.7/32 [1]")
	a.Failing(now, s.tickets["fail"], "mail", FailAnswer{Reason: NoCount}, nil)
	fail("198.51.100.7/32", "ssh", 1)
	later(2 * time.Second)
	told("the other group", "ssh 198.51.100.7/32 [2]")
	if st := a.Tally(); st.Refused != 1 || st.Why != NoCount || st.Failures != 7 {
		t.Errorf("%+v", st)
	}
	yes()
	// Bounds: of addresses, of bytes, of how often.
	for i := range tallyMost + 100 {
		a.Failed(now, "ssh", netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32), now, 100)
	}
	if st := a.Tally(); st.Addresses != tallyMost || st.Lost == 0 {
		t.Errorf("%+v", st)
	}
	before := len(s.did)
	for range 100 { // ten seconds
		later(100 * time.Millisecond)
		yes()
	}
	words := 0
	for _, did := range s.did[before:] {
		if strings.HasPrefix(did, "fail") {
			words++
		}
	}
	if words == 0 || words > 10*8 {
		t.Errorf("%d words in ten seconds", words)
	}
	for _, f := range s.failed {
		if _, err := f.Encode(); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkCounter tells how long a hub takes for a full word of failures, and how many bytes it has of each address of a host.
func BenchmarkCounter(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	word := func(host, i int) []byte {
		f := Failures{Run: "k3x9", Group: "ssh"}
		for n := range 50 {
			i := i*50 + n
			a := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 6: byte(host), 14: byte(i >> 8), 15: byte(i)})
			f.Of = append(f.Of, FailuresOf{netip.PrefixFrom(a, 128), []int64{3, 60, 300}})
		}
		data, err := f.Encode()
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	before := heap()
	c := NewCounter()
	c.Set(map[string]CountRule{"ssh": {Retry: 5, Find: 10 * time.Minute, Hosts: 2, Share: 3}})
	add := func(host int, data []byte) {
		f, err := DecodeFailures(data)
		if err != nil {
			b.Fatal(err)
		}
		for _, of := range f.Of {
			if !c.Add(1<<40, fmt.Sprint("h", host), f.Run, f.Group, of) {
				b.Fatal("no room")
			}
		}
	}
	for h := range 20 { // as many as there may be, each of one host
		for i := range countHostMost / 50 {
			add(h, word(h, i))
		}
	}
	one := word(1, 7)
	held := float64(heap()-before) / float64(c.pairs)
	for b.Loop() {
		add(1, one)
	}
	b.ReportMetric(held, "bytes/address")
	runtime.KeepAlive(c)
}
