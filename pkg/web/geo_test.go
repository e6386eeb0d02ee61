package web

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/web/mmdbtest"
)

// TestPlaces: an address's country and network are on its page, as the operator's files say, and what they
// say is text; a file that can't be read is told, and costs only itself.
func TestPlaces(t *testing.T) {
	path := mmdbtest.File(t, map[string]map[string]any{
		"192.0.2.0/24":    {"country": map[string]any{"iso_code": "NZ", "names": map[string]any{"en": "New <b>Zealand"}}},
		"2001:db8::/32":   {"autonomous_system_number": uint32(64500), "autonomous_system_organization": "Example & Sons"},
		"198.51.100.0/25": {"country": map[string]any{"iso_code": "DE"}},
	})
	x := newSite(t, func(w *config.Web) { w.MMDB = []string{path + "x", path} })
	b := x.in(control.Reader)
	for ip, want := range map[string]string{
		"192.0.2.7": "New &lt;b&gt;Zealand", "2001:db8::7": "AS64500 Example &amp; Sons", "198.51.100.7": "DE", "198.51.100.200": "", "203.0.113.1": "",
	} {
		page := b.get("/address?ip=" + ip).Body.String()
		if strings.Contains(page, `class="place"`) != (want != "") || !strings.Contains(page, want) {
			t.Errorf("%s: want %q in %s", ip, want, page)
		}
	}
	if len(x.warned) != 1 || !strings.Contains(x.warned[0], path+"x") {
		t.Errorf("told: %q", x.warned)
	}
}

// TestWorldMap: countries are shaded by how much comes from them, each with a text; what the map has no place for is
// said beside it.
func TestWorldMap(t *testing.T) {
	if n := len(mapped()); n < 200 || !mapped()["US"] || !mapped()["SG"] || mapped()["AQ"] {
		t.Errorf("%d countries are on the map", n)
	}
	path := mmdbtest.File(t, map[string]map[string]any{
		"192.0.2.0/25":    {"country": map[string]any{"iso_code": "NZ", "names": map[string]any{"en": "New <b>Zealand"}}},
		"192.0.2.128/25":  {"country": map[string]any{"iso_code": "DE"}},
		"198.51.100.0/24": {"country": map[string]any{"iso_code": "QQ", "names": map[string]any{"en": "Nowhere"}}},
	})
	x := newSite(t, func(w *config.Web) { w.MMDB = []string{path} })
	x.d.tops = []events.Most{{Key: "192.0.2.7", Failures: 90, Bans: 10}, {Key: "192.0.2.200", Failures: 20}, {Key: "198.51.100.7", Failures: 1}, {Key: "203.0.113.7", Failures: 1}}
	page := x.in(control.Reader).get("/").Body.String()
	for _, want := range []string{
		`<g class="s5"><title>New &lt;b&gt;Zealand: 90 failures, 10 bans</title><use href="/assets/world.`, `.svg#NZ"/>`,
		`<g class="s4"><title>DE: 20 failures, 0 bans</title>`, `.svg#DE"/>`, `#land"/>`, text("map.missing") + " Nowhere</p>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if strings.Contains(page, "#QQ") || strange(page) != "" {
		t.Errorf("it has %s", strange(page))
	}
	for _, c := range []struct {
		n, most int64
		want    int
	}{{100, 100, 5}, {34, 100, 5}, {33, 100, 4}, {1, 1000000, 1}, {0, 0, 5}} {
		if got := shade(c.n, c.most); got != c.want {
			t.Errorf("%d of %d: shade %d, want %d", c.n, c.most, got, c.want)
		}
	}
}

// TestPlacesBroken: a file with any of its bytes wrong costs what it says, and not the daemon; a reload reads it anew.
func TestPlacesBroken(t *testing.T) {
	path := mmdbtest.File(t, map[string]map[string]any{
		"192.0.2.0/24": {"country": map[string]any{"iso_code": "NZ", "names": map[string]any{"en": "New Zealand", "de": "Neuseeland"}}, "autonomous_system_number": uint32(64500)},
	})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var p places
	var data []byte
	p.read = func(string, int64) ([]byte, error) { return data, nil }
	look := func(broken []byte) Place {
		data = broken
		p.forget()
		return p.of([]string{path}, netip.MustParseAddr("192.0.2.7"), anHour, func(string) {})
	}
	if got := look(whole); got.Country != "NZ" {
		t.Fatalf("%+v", got)
	}
	silent := 0
	for at := range whole {
		for _, b := range []byte{0, 0x1f, 0x3f, 0x7f, 0xe0, 0xff, whole[at] ^ 0x20} {
			broken := slices.Clone(whole)
			broken[at] = b
			if look(broken).Country == "" {
				silent++
			}
		}
		look(whole[:at])
	}
	if silent == 0 {
		t.Error("no byte mattered")
	}
	if got := look(whole); got.Country != "NZ" {
		t.Errorf("in the end: %+v", got)
	}
}

// TestPlacesHang: a file of a disk that hangs keeps no page for longer than a moment, and is asked for once, however many
// ask; what comes late is shown from then on.
func TestPlacesHang(t *testing.T) {
	before := diskMost
	diskMost = time.Millisecond
	defer func() { diskMost = before }()
	path := mmdbtest.File(t, map[string]map[string]any{"192.0.2.0/24": {"country": map[string]any{"iso_code": "NZ"}}})
	var p places
	asked, hangs := make(chan string, 100), make(chan struct{})
	p.read = func(path string, most int64) ([]byte, error) {
		asked <- path
		<-hangs
		return os.ReadFile(path)
	}
	var told []string
	look := func(i int) Place {
		return p.of([]string{path}, netip.MustParseAddr("192.0.2.7"), anHour.Add(time.Duration(i)*2*placesEvery), func(s string) { told = append(told, s) })
	}
	for i := range 50 { // which would never end
		look(i)
	}
	<-asked
	if len(asked) > 0 || len(told) == 0 || !strings.Contains(told[0], path+": "+errDisk.Error()) {
		t.Errorf("asked %d times more, told %q", len(asked), told)
	}
	close(hangs)
	<-p.disk.answered
	if got := look(50); got.Country != "NZ" || len(asked) > 0 {
		t.Errorf("afterwards: %+v, asked %d times more", got, len(asked))
	}
}
