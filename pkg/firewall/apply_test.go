package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"bailiff/pkg/hosttest"

	"golang.org/x/sys/unix"
)

// TestOwed: what the kernel refuses, bans and unbans, is made as soon as it can be, and
// before whatever comes next.
func TestOwed(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "a"})
	if err := f.Apply([]Change{{Jail: "a", ID: prefix("192.0.2.1"), Left: time.Hour}, {Jail: "a", ID: prefix("192.0.2.2"), Left: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	// A set is away: the transaction is refused as a whole.
	nft(t, "flush", "chain", "inet", "f2b-table", "f2b-chain")
	nft(t, "delete", "set", "inet", "f2b-table", "addr6-set-a")
	err := f.Apply([]Change{
		{Jail: "a", ID: prefix("192.0.2.1"), Remove: true}, {Jail: "a", ID: prefix("192.0.2.3"), Left: time.Hour}, {Jail: "a", ID: prefix("2001:db8::1"), Left: time.Hour},
	})
	if err == nil || !f.Owes("a") {
		t.Fatalf("%v, owes %v", err, f.Owes("a"))
	}
	if held, err := f.Elements("a"); err != nil || len(held) != 1 || held[0].ID != prefix("192.0.2.2") {
		t.Errorf("what is to go counts as there: %v %v", held, err)
	}
	// What comes later has the last word.
	if err := f.Apply([]Change{{Jail: "a", ID: prefix("192.0.2.3"), Remove: true}, {Jail: "a", ID: prefix("192.0.2.1"), Left: 2 * time.Hour}}); err == nil {
		t.Error("no error while the set is away")
	}
	check(t, f)
	paid, err := f.Pay()
	if err != nil || !slices.Equal(paid, []string{"a"}) || f.Owes("a") {
		t.Errorf("paid %q %v", paid, err)
	}
	held, err := f.Elements("a")
	var got []string
	for _, e := range held {
		got = append(got, e.ID.Addr().String())
		if e.ID == prefix("192.0.2.1") && e.Left < 90*time.Minute {
			t.Errorf("%v left", e.Left)
		}
	}
	slices.Sort(got)
	if want := []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("held %q %v, want %q", got, err, want)
	}
}

// TestOwedMany: what is owed is bounded; unbans are the last to be forgotten, and then
// nothing stays that was to go.
func TestOwedMany(t *testing.T) {
	f := &Firewall{jails: map[string]*jailSets{"a": {}}, owed: map[string]*debt{}}
	many := func(from, n int, remove bool) []Change {
		changes := filled("a", from+n, 0)[from:]
		for i := range changes {
			changes[i].Remove = remove
		}
		return changes
	}
	f.owe(many(0, 100, true))
	f.owe(many(100, maxOwed, false))
	o := f.owed["a"]
	if len(o.changes) > maxOwed || o.clear {
		t.Fatalf("%d owed, clear %v", len(o.changes), o.clear)
	}
	for _, ch := range many(0, 100, true) {
		if !o.changes[ch.ID].Remove {
			t.Fatalf("the unban of %v is forgotten", ch.ID)
		}
	}
	f.owe(many(0, maxOwed+1, true))
	if len(o.changes) > maxOwed || !o.clear || len(o.without([]Element{{ID: prefix("198.18.0.1")}})) > 0 {
		t.Errorf("%d owed, clear %v", len(o.changes), o.clear)
	}
}

// TestHalves: changes that can't be made cost few transactions, and only themselves.
func TestHalves(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "a"})
	changes := filled("a", 2000, 0)
	for i := range 10 {
		changes = append(changes, Change{Jail: "a", ID: prefix(fmt.Sprintf("192.0.2.%d", i)), Remove: true})
	}
	changes = append(changes, Change{Jail: "a", ID: prefix("203.0.113.0/24"), Left: time.Hour}, Change{Jail: "a", ID: prefix("203.0.113.0/25"), Left: time.Hour})
	before, _ := f.gens.ask()
	err := f.Apply(changes)
	if after, _ := f.gens.ask(); after-before > 60 {
		t.Errorf("%d transactions", after-before)
	}
	if err == nil || !errors.Is(err, unix.EEXIST) {
		t.Errorf("%v", err)
	}
	if held, err := f.Elements("a"); err != nil || len(held) != 2001 {
		t.Errorf("%d elements %v", len(held), err)
	}
}

// TestAbsent: however many changes are of what the kernel does not hold, as after bans and
// unbans in one go, that takes one transaction more, and comes out as if one were made after
// the other.
func TestAbsent(t *testing.T) {
	hosttest.InNamespace(t)
	f := open(t, Rule{Jail: "a"})
	changes := filled("a", 4000, 0)
	for i := range 100 { // one after the other among the others
		changes[40*i+1] = Change{Jail: "a", ID: prefix(fmt.Sprintf("192.0.2.%d", i)), Remove: true}
		changes[40*i+2] = Change{Jail: "a", ID: prefix(fmt.Sprintf("198.51.100.%d", i)), Left: 2 * time.Hour, Replace: true}
		changes[40*i+3] = Change{Jail: "a", ID: prefix(fmt.Sprintf("203.0.113.%d", i)), Remove: true}
		changes[40*i+4] = Change{Jail: "a", ID: prefix(fmt.Sprintf("2001:db8:ffff::%x", i+1)), Left: 2 * time.Hour, Replace: true}
	}
	var there []Change // of half of them, for another time
	for i := range 50 {
		there = append(there,
			Change{Jail: "a", ID: changes[40*i+3].ID, Left: 5 * time.Hour}, Change{Jail: "a", ID: changes[40*i+4].ID, Left: 5 * time.Hour}, Change{Jail: "a", ID: changes[40*i+2].ID})
	}
	if err := f.Apply(there); err != nil {
		t.Fatal(err)
	}
	before := f.tries
	if err := f.Apply(changes); err != nil {
		t.Fatal(err)
	}
	if n := f.tries - before; n != 2 {
		t.Errorf("%d transactions", n)
	}
	held, err := f.Elements("a")
	if err != nil || len(held) != 4000-200 {
		t.Errorf("%d elements %v", len(held), err)
	}
	left := map[netip.Prefix]time.Duration{}
	for _, e := range held {
		left[e.ID] = e.Left
	}
	for _, ch := range changes {
		if l, ok := left[ch.ID]; ok == ch.Remove || ok && (l > ch.Left || l < ch.Left-10*time.Minute) {
			t.Errorf("%+v: there %v, for %v", ch, ok, l)
		}
	}
}
