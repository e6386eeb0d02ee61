package firewall

import (
	"testing"
	"time"
)

// TestLift: what another hand put into our sets is taken out, and it is said whether it
// was there.
func TestLift(t *testing.T) {
	inNamespace(t)
	f := open(t, Rule{Jail: "web"})
	nft(t, "add", "element", "inet", "f2b-table", "addr-set-web", "{ 192.0.2.7 }")
	if err := f.Apply([]Change{{Jail: "web", ID: prefix("203.0.113.0/24"), Left: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"192.0.2.7", "203.0.113.0/24"} {
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
