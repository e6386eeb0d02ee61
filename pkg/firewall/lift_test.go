package firewall

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"

	"golang.org/x/sys/unix"
)

// TestLift: what another hand put into our sets is taken out, and it is said whether it
// was there.
func TestLift(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "web"})
	nft(t, "add", "element", "inet", "f2b-table", "addr-set-web", "{ 192.0.2.7 }")
	if err := f.Apply([]Change{{Jail: "web", ID: prefix("203.0.113.0/24"), Left: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	nft(t, "add", "element", "inet", "f2b-table", "addr6-set-web", "{ 2001:db8::8 timeout 1h }")
	for _, id := range []string{"192.0.2.7", "203.0.113.0/24", "2001:db8::8"} {
		for i, want := range []bool{true, false} {
			if was, err := f.Lift("web", prefix(id)); was != want || err != nil {
				t.Errorf("%s, time %d: %v, %v", id, i, was, err)
			}
		}
	}
	for _, id := range []string{"2001:db8::7", "2001:db8::/64"} { // the second has no set
		if was, err := f.Lift("web", prefix(id)); was || err != nil {
			t.Errorf("%s: %v, %v", id, was, err)
		}
	}
}

// TestLiftNothing: to look for who is let in again in a jail that doesn't hold him is no
// transaction: the kernel needs 10 to 20 ms for one that it refuses, in which nobody is
// banned, and there may be a thousand jails.
func TestLiftNothing(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "web"})
	for _, id := range []string{"192.0.2.7", "2001:db8::7"} {
		if has, err := f.has(SetNames("web")[f.jails["web"].rule.kindOf(prefix(id))], prefix(id).Addr()); has || err != nil {
			t.Errorf("%s: %v, %v", id, has, err)
		}
	}
	took := func(lift func(id netip.Prefix) error) time.Duration {
		began := time.Now()
		for range 30 {
			if err := lift(prefix("192.0.2.7")); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(began)
	}
	if testing.Short() {
		t.Skip("with the race detector, what we do ourselves takes longer than the kernel's part, which is compared")
	}
	refused, asked := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	for range 5 { // in turns, and the shortest of each: something else may have run in between
		refused = min(refused, took(func(id netip.Prefix) error {
			if err := f.commit([]Change{{Jail: "web", ID: id, Remove: true}}, false); !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("not refused: %w", err)
			}
			return nil
		}))
		asked = min(asked, took(func(id netip.Prefix) error {
			was, err := f.Lift("web", id)
			if was {
				err = errors.New("it was there")
			}
			return err
		}))
	}
	if asked > refused*3/4 {
		t.Errorf("30 times: %v, and a transaction that is refused %v", asked, refused)
	}
}

// TestManyJails: a jail that is there as it should be costs no look at the table, as long
// as nobody else changes it: each of a thousand would read what there is of all.
func TestManyJails(t *testing.T) {
	hosttest.InNamespace(t)
	var rules []Rule
	for i := range 50 {
		rules = append(rules, Rule{Jail: fmt.Sprint("j", i), Ports: []PortRange{{22, 22}}, Protocols: []string{"tcp"}})
	}
	f := open(t, rules...)
	look := func() uintptr { return reflect.ValueOf(f.contents).Pointer() } // made anew by each look
	add := func(r Rule) (looked bool) {
		t.Helper()
		before := look()
		if report, err := f.AddJail(r); err != nil || len(report.Refill) > 0 {
			t.Fatalf("%+v, %v", report, err)
		}
		return look() != before
	}
	for i, r := range rules {
		if err := f.Apply([]Change{{Jail: r.Jail, ID: prefix("192.0.2.7"), Left: time.Hour}}); err != nil {
			t.Fatal(err)
		}
		r.Ports = slices.Clone(r.Ports)
		if add(r) {
			t.Errorf("jail %d: the table was read", i)
		}
	}
	other := rules[0]
	other.Drop = true
	if !add(other) || !strings.Contains(nft(t, "list", "chain", "inet", "f2b-table", "f2b-chain"), "drop") {
		t.Error("another rule isn't made")
	}
	if add(other) {
		t.Error("the table was read, though it is right")
	}
	nft(t, "flush", "chain", "inet", "f2b-table", "f2b-chain")
	if !add(rules[1]) || strings.Count(nft(t, "list", "chain", "inet", "f2b-table", "f2b-chain"), "addr-set-j") != 50 {
		t.Error("what somebody else did isn't made right")
	}
	if add(rules[1]) {
		t.Error("the table was read, though it is right again")
	}
}
