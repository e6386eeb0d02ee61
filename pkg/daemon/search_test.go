package daemon

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/control"
)

// searched is a page out of lists, as the daemon makes it.
func searched(t *testing.T, lists map[string]*ban.List, q control.BansQuery) control.BansPage {
	t.Helper()
	p, err := newBanPage(q)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sortedKeys(lists) {
		if err := p.gather(name, eachOf(lists[name])); err != nil {
			t.Fatal(err)
		}
	}
	return p.page()
}

// eachOf goes through a list as a jail does.
func eachOf(l *ban.List) func(bool, func(*ban.Rows) bool) error {
	return func(back bool, f func(*ban.Rows) bool) error {
		rows := ban.Rows{Back: back}
		for at, first := int32(0), true; first || at != 0; first = false {
			if at = l.Rows(at, &rows); !f(&rows) {
				break
			}
		}
		return nil
	}
}

// manyBans are bans of two jails: addresses of both kinds, networks, names with and without an address.
func manyBans(n int) map[string]*ban.List {
	r := rand.New(rand.NewPCG(1, 2))
	begin := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	lists := map[string]*ban.List{"sshd": ban.NewList(), "Web": ban.NewList()}
	names := sortedKeys(lists)
	for i := range n {
		b := ban.Ban{Start: begin.Add(time.Duration(r.IntN(n/4+1)) * time.Second), Count: r.IntN(5)}
		if r.IntN(10) > 0 {
			b.End = b.Start.Add(time.Duration(1+r.IntN(100)) * time.Minute)
		}
		four := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
		switch i % 50 {
		case 0:
			b.ID = ban.Named(fmt.Sprintf("Alice %d", i))
		case 1:
			b.ID, b.IP = ban.Named(fmt.Sprintf("bob%d", i)), ban.AddressOf(four)
		case 2:
			b.ID = ban.Of(netip.PrefixFrom(four, 28).Masked())
		case 3:
			b.ID = ban.Of(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}), 128))
		default:
			b.ID = ban.Of(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
		}
		lists[names[r.IntN(2)]].Add(b)
	}
	return lists
}

func toldBans(p control.BansPage) (out []string) {
	for _, b := range p.Bans {
		out = append(out, b.Jail+" "+b.IP)
	}
	return out
}

// TestBanPages goes through all bans in each order, forwards and back: each is told once, in order.
func TestBanPages(t *testing.T) {
	lists := manyBans(3000)
	all := lists["sshd"].Len() + lists["Web"].Len()
	for _, sort := range append(slices.Clone(control.BanSorts), "-time", "-end", "-ip", "-jail", "-count") {
		var forth, back []string
		q := control.BansQuery{Sort: sort, Limit: 777}
		var last control.BansPage
		order := orderOf(&q)
		var before *banKey
		for page := 0; ; page++ {
			last = searched(t, lists, q)
			if last.Total != all || last.All != all || last.Offset != len(forth) {
				t.Fatalf("%s: page %d of %d, %d in all, at %d, want %d at %d", sort, page, last.Total, last.All, last.Offset, all, len(forth))
			}
			if (page == 0) != (last.Prev == "") {
				t.Errorf("%s: page %d has prev %q", sort, page, last.Prev)
			}
			for _, b := range last.Bans {
				id, _ := ban.ParseID(b.IP)
				if b.Name {
					id = ban.Named(b.IP)
				}
				x := &banKey{0, b.Jail, id}
				switch order.by {
				case "time":
					x.value = b.Start.UnixNano()
				case "end":
					if x.value = never; b.End != nil {
						x.value = b.End.UnixNano()
					}
				case "count":
					x.value = int64(max(b.Count, 1))
				}
				if before != nil && order.compare(before, x) >= 0 {
					t.Fatalf("%s: %v before %v", sort, before, x)
				}
				before = x
			}
			forth = append(forth, toldBans(last)...)
			if last.Next == "" {
				break
			}
			q.After = last.Next
		}
		if len(forth) != all {
			t.Fatalf("%s: %d bans, want %d", sort, len(forth), all)
		}
		back = toldBans(last)
		for last.Prev != "" {
			at := all - len(back)
			last = searched(t, lists, control.BansQuery{Sort: sort, Limit: 777, Before: last.Prev})
			back = append(toldBans(last), back...)
			if last.Offset != at-len(last.Bans) || last.Next == "" {
				t.Errorf("%s: back at %d, next %q, want %d", sort, last.Offset, last.Next, at-len(last.Bans))
			}
		}
		if !slices.Equal(forth, back) {
			t.Errorf("%s: %d forwards and %d back are not the same", sort, len(forth), len(back))
		}
	}
}

// TestBanPagesMove: bans that are there all the while come once, whoever comes and goes between two
// pages, and also if the one that the page ended with is gone.
func TestBanPagesMove(t *testing.T) {
	for _, sort := range []string{"-time", "ip", "count"} {
		lists := manyBans(3000)
		stay := map[string]int{}
		for name, l := range lists {
			for i, b := range l.All() {
				if i%3 > 0 {
					stay[name+" "+ban.Name(b.ID)] = 0
				}
			}
		}
		r := rand.New(rand.NewPCG(3, 4))
		q := control.BansQuery{Sort: sort, Limit: 100}
		for n := 0; ; n++ {
			p := searched(t, lists, q)
			for _, x := range toldBans(p) {
				if _, ok := stay[x]; ok {
					stay[x]++
				}
			}
			if p.Next == "" {
				break
			}
			q.After = p.Next
			for _, b := range p.Bans { // some of those that were told go, and others come
				id, _ := ban.ParseID(b.IP)
				if _, ok := stay[b.Jail+" "+b.IP]; !ok && !b.Name {
					lists[b.Jail].Remove(id)
				}
			}
			lists["sshd"].Add(ban.Ban{ID: ban.Named(fmt.Sprint("new", n)), Start: time.Date(2026, 1, 31, 12, 0, r.IntN(3000), 0, time.UTC)})
		}
		for x, n := range stay {
			if n != 1 {
				t.Errorf("%s: %s was told %d times", sort, x, n)
			}
		}
	}
}

func TestBanSearch(t *testing.T) {
	lists := map[string]*ban.List{"sshd": ban.NewList(), "Nginx": ban.NewList()}
	add := func(jail, who, beside string) {
		b := ban.Ban{ID: ban.Named(who), Start: time.Unix(1, 0)}
		if id, err := ban.ParseID(who); err == nil {
			b.ID = id
		}
		if beside != "" {
			b.IP = ban.AddressOf(netip.MustParseAddr(beside))
		}
		lists[jail].Add(b)
	}
	add("sshd", "192.0.2.7", "")
	add("sshd", "192.0.2.70", "")
	add("Nginx", "192.0.2.0/24", "")
	add("Nginx", "198.51.100.7", "")
	add("Nginx", "2001:db8::7", "")
	add("Nginx", "2001:db8:7::/48", "")
	add("sshd", "Zoë Smith", "203.0.113.9")
	add("sshd", "zoë jones", "")
	for q, want := range map[string]string{
		"":                    "*",
		"192.0.2.7":           "192.0.2.0/24 192.0.2.7",  // and what holds it
		"192.0.2.7*":          "192.0.2.7 192.0.2.70",    // a part
		"192.0.2.64/26":       "192.0.2.0/24 192.0.2.70", // inside and around
		"192.0.0.0/8 sshd":    "192.0.2.7 192.0.2.70",    // both
		"192.0.2. SSHD":       "192.0.2.7 192.0.2.70",    // jails by any letters
		"100.7":               "198.51.100.7",            // a part
		"nginx":               "192.0.2.0/24 198.51.100.7 2001:db8::7 2001:db8:7::/48",
		"2001:DB8:7:1::/64":   "2001:db8:7::/48",
		"2001:db8::/32":       "2001:db8::7 2001:db8:7::/48",
		"2001:DB8:":           "2001:db8::7 2001:db8:7::/48",
		"ZOË":                 "Zoë Smith zoë jones",
		"smith zoë":           "Zoë Smith",
		"203.0.113.0/24":      "Zoë Smith", // by the address beside the id
		"203.0.113":           "Zoë Smith",
		"::ffff:198.51.100.7": "198.51.100.7",
		"nobody":              "",
		"0.0.0.0/0 nginx":     "192.0.2.0/24 198.51.100.7",
	} {
		p := searched(t, lists, control.BansQuery{Search: q, Sort: "ip", Limit: 100})
		var got []string
		for _, b := range p.Bans {
			got = append(got, b.IP)
		}
		if want == "*" {
			if len(got) != 8 {
				t.Errorf("all: %q", got)
			}
			continue
		}
		if strings.Join(got, " ") != want || p.Total != len(got) || p.All != 8 {
			t.Errorf("%q: %q of %d and %d, want %q", q, got, p.Total, p.All, want)
		}
	}
	for _, place := range []string{"x", "e30", "eyJzIjoiLXRpbWUiLCJqIjoieCJ9", control.BanPlace{Sort: "ip", Jail: "sshd", ID: "192.0.2.1"}.Text()} {
		var bad *control.BadError
		if _, err := newBanPage(control.BansQuery{After: place, Limit: 1}); !errors.As(err, &bad) {
			t.Errorf("after %s: %v", place, err)
		}
	}
}

// BenchmarkBanPage: the first page out of a million bans.
func BenchmarkBanPage(b *testing.B) {
	lists := map[string]*ban.List{"sshd": ban.NewList()}
	begin := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for i := range 1_000_000 {
		a := netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)})
		lists["sshd"].Add(ban.Ban{ID: ban.Of(netip.PrefixFrom(a, 32)), Start: begin.Add(time.Duration(i) * time.Second), End: begin.Add(time.Duration(2*i) * time.Second)})
	}
	last := control.BanPlace{Sort: "ip", Jail: "sshd", ID: "198.15.66.27"}.Text() // 36 bans before the last one
	for _, q := range []struct {
		name string
		control.BansQuery
		bans int
	}{
		{"newest", control.BansQuery{}, 100},
		{"oldest", control.BansQuery{Sort: "time"}, 100},
		{"ip", control.BansQuery{Sort: "ip"}, 100},
		{"last", control.BansQuery{Sort: "ip", After: last}, 36},
		{"network", control.BansQuery{Search: "198.7.0.0/16"}, 100},
		{"part", control.BansQuery{Search: "7.113."}, 100},
		{"none", control.BansQuery{Search: "nobody"}, 0},
	} {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				q.Limit = 100
				p, err := newBanPage(q.BansQuery)
				if err != nil {
					b.Fatal(err)
				}
				_ = p.gather("sshd", eachOf(lists["sshd"]))
				if page := p.page(); len(page.Bans) != q.bans || page.All != 1_000_000 {
					b.Fatalf("%d of %d", len(page.Bans), page.All)
				}
			}
		})
	}
}
