package web

import (
	"strings"
	"testing"

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
