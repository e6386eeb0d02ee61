package firewall

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"

	"golang.org/x/sys/unix"
)

// TestListOfManyMessages: a list that is many messages is in the kernel as it was given, to
// both ends of the address space, and one that the kernel refuses leaves the one before.
func TestListOfManyMessages(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "l", List: true}, webRule)
	four := func(n uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	list := []Interval{{four(0), four(5)}}
	for i := range uint32(5_000) {
		list = append(list, Interval{four(1<<24 + 16*i), four(1<<24 + 16*i + i%15)})
	}
	list = append(list, Interval{four(1<<32 - 3), four(1<<32 - 1)})
	six := netip.MustParseAddr("2001:db8::").As16()
	for i := range 3_000 {
		a := six
		a[13], a[14] = byte(i>>8), byte(i)
		b := a
		b[15] = byte(i % 255)
		list = append(list, Interval{netip.AddrFrom16(a), netip.AddrFrom16(b)})
	}
	list = append(list, Interval{netip.MustParseAddr("ffff::"), netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")})
	holds := func(want bool, list []Interval) {
		t.Helper()
		if same, err := f.HoldsList("l", list); err != nil || same != want {
			t.Errorf("it holds the list: %v (want %v), %v", same, want, err)
		}
	}
	if err := f.LoadList("l", list); err != nil {
		t.Fatal(err)
	}
	if r := check(t, f); len(r.Mended)+len(r.Notes) > 0 {
		t.Errorf("nobody else changed anything: %+v", r)
	}
	holds(true, list)
	holds(false, list[1:])
	holds(false, list[:len(list)-1])
	contains(t, nft(t, "list", "chain", "inet", "f2b-table", "f2b-chain"),
		"ip saddr != @f2b-guard4 ip saddr != @net-set-l return", "ip6 saddr != @f2b-guard6 ip6 saddr != @net6-set-l return")
	if spans, err := f.readSpans("net-set-l", 32, true); err != nil || len(spans) != 5_002 || spans[0] != (span{four(0), four(5), 0}) || spans[5_001] != (span{four(1<<32 - 3), four(1<<32 - 1), 0}) {
		t.Errorf("%d ranges, %v", len(spans), err)
	}
	// Somebody bans by hand what is on no list, and it goes with the next one.
	if err := f.Apply([]Change{{Jail: "l", ID: prefix("203.0.113.7"), Left: time.Hour}, {Jail: "web", ID: prefix("203.0.113.7"), Left: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	holds(false, list)
	if err := f.LoadList("l", list[:10]); err != nil {
		t.Fatal(err)
	}
	holds(true, list[:10])
	if wrong := guarded(t, f, true); len(wrong) > 0 || !inGuard(t, "f2b-guard4", "203.0.113.7") {
		t.Error(wrong)
	}
	err := f.LoadList("l", []Interval{{four(1 << 24), four(1<<24 + 9)}, {four(1<<24 + 5), four(1<<24 + 20)}})
	if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("ranges that overlap: %v", err)
	}
	holds(true, list[:10])
	nft(t, "flush", "chain", "inet", "f2b-table", "f2b-chain")
	nft(t, "delete", "set", "inet", "f2b-table", "net-set-l")
	if err := f.LoadList("l", list); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "load a list of 8003 intervals") {
		t.Errorf("a set is gone: %v", err)
	}
	check(t, f)
	if err := f.LoadList("l", list); err != nil {
		t.Fatal(err)
	}
	holds(true, list)
	if err := f.LoadList("l", nil); err != nil {
		t.Fatal(err)
	}
	holds(true, nil)
}
