package web

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
)

// mmdb makes a file of MaxMind's format that knows networks of IPv6, and those of IPv4 in ::/96.
func mmdb(t *testing.T, of map[string]map[string]any) string {
	t.Helper()
	var data bytes.Buffer
	type node [2]int // 0: nothing; >0: a node; <0: -1-offset of data
	nodes := []node{{}}
	for network, value := range of {
		p := netip.MustParsePrefix(network)
		raw, bits := p.Addr().As16(), p.Bits()
		if p.Addr().Is4() {
			four := p.Addr().As4()
			raw = [16]byte{}
			copy(raw[12:], four[:])
			bits += 96
		}
		at := 0
		for i := range bits {
			bit := int(raw[i/8] >> (7 - i%8) & 1)
			switch next := nodes[at][bit]; {
			case i == bits-1:
				nodes[at][bit] = -1 - data.Len()
			case next > 0:
				at = next
			default:
				nodes = append(nodes, node{})
				nodes[at][bit] = len(nodes) - 1
				at = len(nodes) - 1
			}
		}
		encode(&data, value)
	}
	var b bytes.Buffer
	for _, n := range nodes { // 32 bits a record
		for _, r := range n {
			v := uint32(len(nodes)) // nothing
			switch {
			case r > 0:
				v = uint32(r)
			case r < 0:
				v = uint32(len(nodes) + 16 - 1 - r)
			}
			_ = binary.Write(&b, binary.BigEndian, v)
		}
	}
	b.Write(make([]byte, 16))
	b.Write(data.Bytes())
	b.WriteString("\xab\xcd\xefMaxMind.com")
	encode(&b, map[string]any{
		"node_count": uint32(len(nodes)), "record_size": uint16(32), "ip_version": uint16(6), "database_type": "test",
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint64(1), "description": map[string]any{}, "languages": []any{"en"},
	})
	path := filepath.Join(t.TempDir(), "test.mmdb")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// encode writes a value of MaxMind's format.
func encode(b *bytes.Buffer, v any) {
	head := func(kind, size int) {
		first, more := byte(kind<<5), []byte{}
		if kind > 7 {
			first, more = 0, []byte{byte(kind - 7)}
		}
		if size >= 29 {
			b.Write(append([]byte{first | 29}, append(more, byte(size-29))...))
			return
		}
		b.Write(append([]byte{first | byte(size)}, more...))
	}
	number := func(kind int, n uint64) {
		raw := binary.BigEndian.AppendUint64(nil, n)
		raw = bytes.TrimLeft(raw, "\x00")
		head(kind, len(raw))
		b.Write(raw)
	}
	switch v := v.(type) {
	case string:
		head(2, len(v))
		b.WriteString(v)
	case uint16:
		number(5, uint64(v))
	case uint32:
		number(6, uint64(v))
	case uint64:
		number(9, v)
	case map[string]any:
		head(7, len(v))
		for k, x := range v {
			encode(b, k)
			encode(b, x)
		}
	case []any:
		head(11, len(v))
		for _, x := range v {
			encode(b, x)
		}
	}
}

// TestPlaces: an address's country and network are on its page, as the operator's files say, and what they
// say is text; a file that can't be read is told, and costs only itself.
func TestPlaces(t *testing.T) {
	path := mmdb(t, map[string]map[string]any{
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
	path := mmdb(t, map[string]map[string]any{
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
