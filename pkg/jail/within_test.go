package jail

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/ban"
)

// TestBanWithin: an address whose network is banned for less long is banned beside it, so
// that it lasts; one whose network is banned for as long is not, and the network is named.
// What has no room beside it is told what to do, and nobody is let in on the way.
func TestBanWithin(t *testing.T) {
	l := start(t, nil)
	banned := func(id string) Banned { return l.jail.BanEach([]ban.ID{idOf(id)}, ByHand{})[0] }
	network := netip.MustParsePrefix("203.0.113.0/24")
	if r := banned("203.0.113.0/24"); !r.Added || r.Err != nil {
		t.Errorf("%+v", r)
	}
	l.want("+203.0.113.0/24 1h0m0s")
	if r := banned("203.0.113.8/32"); r != (Banned{By: ban.Of(network)}) {
		t.Errorf("%+v", r)
	}
	l.want("")
	l.sleep(10 * time.Minute)
	if r := banned("203.0.113.8/32"); !r.Added || r.Err != nil {
		t.Errorf("%+v", r)
	}
	l.want("+203.0.113.8/32 1h0m0s")
	r := banned("203.0.113.64/26")
	if r.Added || r.Err == nil || !strings.Contains(r.Err.Error(), "203.0.113.64/26 is part of 203.0.113.0/24, which is banned until ") || !strings.HasSuffix(r.Err.Error(), "ban 203.0.113.0/24 once more") {
		t.Errorf("%+v", r)
	}
	// The remedy.
	if r := banned("203.0.113.0/24"); r.Added || r.Err != nil {
		t.Errorf("%+v", r)
	}
	l.want("+203.0.113.0/24 1h0m0s")
	if r := banned("203.0.113.64/26"); r != (Banned{By: ban.Of(network)}) {
		t.Errorf("%+v", r)
	}
	l.sleep(55 * time.Minute)
	l.expire()
	if _, err := l.jail.UnbanEach([]ban.ID{ban.Of(network)}, ""); err != nil {
		t.Error(err)
	}
	bans, err := l.jail.Bans()
	if err != nil || len(bans) != 1 || bans[0].IP != "203.0.113.8" {
		t.Errorf("%+v %v", bans, err)
	}
}
