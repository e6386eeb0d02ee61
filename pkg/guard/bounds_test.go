package guard

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestForgotten: what nobody's ignoreip names any more is kept for a while, for a jail that
// starts again, and then forgotten, with the goroutines that looked after it.
func TestForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "allowed")
	if err := os.WriteFile(path, []byte("198.51.100.7 other.example.org\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{names: map[string]answerOf{
		"ip4 office.example.org": {addrs: addrs("192.0.2.7")}, "ip4 other.example.org": {addrs: addrs("192.0.2.8")},
	}}
	g := w.guard(t)
	want := Want{Names: []string{"office.example.org"}, Files: []string{path}}
	v := g.View(want, func() {})
	known := func() (names, files int) {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.names), len(g.files)
	}
	until(t, w, "known", func() bool { n, f := known(); return n == 2 && f == 1 && v.Rules().Why(id("192.0.2.8")).Some() })
	v.Close()
	g.mu.Lock()
	g.forget(time.Now().Add(remembered - time.Minute))
	g.mu.Unlock()
	if n, f := known(); n != 2 || f != 1 {
		t.Errorf("%d names and %d files are known at once after", n, f)
	}
	// A jail that starts again has them at once.
	asked := func() int { w.mu.Lock(); defer w.mu.Unlock(); return w.asked["office.example.org"] }
	before := asked()
	v = g.View(want, func() {})
	if why := v.Rules().Why(id("192.0.2.7")); !why.Some() || asked() != before {
		t.Errorf("%+v, asked %d times more", why, asked()-before)
	}
	v.Close()
	g.mu.Lock()
	g.forget(time.Now().Add(remembered + time.Minute)) // the file, which names a name
	g.forget(time.Now().Add(3 * remembered))
	g.mu.Unlock()
	if n, f := known(); n != 0 || f != 0 {
		t.Errorf("%d names and %d files are known still", n, f)
	}
}

// TestManyPlaces: of more addresses than are looked after, so many are, and it is said.
func TestManyPlaces(t *testing.T) {
	h := &Host{}
	for i := range 2 * MaxPlaces {
		a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		for _, list := range []*[]Place{&h.Own, &h.Gateways, &h.NameServers} {
			*list = append(*list, Place{Prefix: netip.PrefixFrom(a, 32), What: "an address"})
		}
	}
	err := h.bounded()
	if err == nil || strings.Count(err.Error(), "20000 addresses (an address …): only 10000 are protected") != 3 {
		t.Errorf("it says %v", err)
	}
	if len(h.Own) != MaxPlaces || len(h.Gateways) != MaxPlaces || len(h.NameServers) != MaxPlaces {
		t.Errorf("%d, %d, %d", len(h.Own), len(h.Gateways), len(h.NameServers))
	}
}
