package filter

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func proxies(list ...string) *Proxies {
	p := &Proxies{}
	for _, s := range list {
		p.Prefixes = append(p.Prefixes, netip.MustParsePrefix(s))
	}
	return p
}

// TestProxies: whose failure it is, by what a line says and which proxies are trusted.
func TestProxies(t *testing.T) {
	const (
		chain     = `^ from '<F-CHAIN>(?:.*, )?<ADDR></F-CHAIN>' failed$`
		forwarded = `^ from <ADDR>\(<F-FORWARDED>.*</F-FORWARDED>\) failed$`
		date      = "2026-01-31T12:00:00Z"
	)
	cdn := proxies("198.51.100.0/24", "2001:db8:1::/48")
	none := &Proxies{}
	for _, c := range []struct {
		regex   string
		trusted *Proxies
		line    string
		want    string // "": nobody's; withheld ends in a !
	}{
		// In place of the address.
		{chain, nil, "'192.0.2.7'", "192.0.2.7"},
		{chain, nil, "'203.0.113.9, 192.0.2.7'", "!"},
		{chain, none, "'203.0.113.9, 192.0.2.7'", "192.0.2.7"},
		{chain, cdn, "'203.0.113.9, 192.0.2.7, 198.51.100.4'", "192.0.2.7"},
		{chain, cdn, "'203.0.113.9, 192.0.2.7, 198.51.100.5, 198.51.100.4'", "192.0.2.7"},
		{chain, cdn, "'203.0.113.9, 198.51.100.5, 192.0.2.7'", "192.0.2.7"},
		{chain, cdn, "'2001:db8::7, 2001:db8:1::1'", "2001:db8::7"},
		{chain, cdn, "'198.51.100.5, 198.51.100.4'", "!"},
		{chain, cdn, "'198.51.100.4'", "!"},
		{chain, cdn, "'192.0.2.7'", "192.0.2.7"},
		{chain, cdn, "'203.0.113.9, unknown, 198.51.100.4'", "!"},
		{chain, cdn, "'192.0.2.7:4711, 198.51.100.4'", "192.0.2.7"},
		{chain, cdn, "'[2001:db8::7]:4711, 198.51.100.4'", "2001:db8::7"},
		// Beside it.
		{forwarded, nil, "192.0.2.7(203.0.113.9)", "192.0.2.7"},
		{forwarded, none, "192.0.2.7(203.0.113.9)", "192.0.2.7"},
		{forwarded, cdn, "192.0.2.7(203.0.113.9)", "192.0.2.7"},
		{forwarded, cdn, "192.0.2.7(203.0.113.9, 198.51.100.4)", "192.0.2.7"},
		{forwarded, cdn, "198.51.100.4(203.0.113.9, 192.0.2.7)", "192.0.2.7"},
		{forwarded, cdn, "198.51.100.4(203.0.113.9, 192.0.2.7, 198.51.100.5)", "192.0.2.7"},
		{forwarded, cdn, "198.51.100.4(x)", "!"},
		{forwarded, cdn, "198.51.100.4()", "!"},
	} {
		for _, detail := range []Detail{DetailAll, DetailLines, DetailIDs} {
			f, err := Compile(Definition{Name: "x", Failregex: []Expr{{Text: c.regex}}, DatePattern: []string{"{^LN-BEG}"}, Head: HeadEither, Proxies: c.trusted}, time.UTC)
			if err != nil {
				t.Fatal(err)
			}
			f.Detail = detail
			line := []byte(date + " from " + c.line + " failed")
			check := func(how string, r *Result) {
				got := ""
				if len(r.Failures) > 0 {
					got = r.Failures[0].ID
					if r.Failures[0].Addr.Addr().String() != got {
						t.Errorf("%s: address %v of %s", c.line, r.Failures[0].Addr, got)
					}
				}
				if len(r.Withheld) > 0 {
					got += "!"
				}
				if hint := c.regex == forwarded && c.trusted == nil; hint != (r.Beside != "") {
					t.Errorf("%s, trusted %v, %s: hint %q, want one: %v", c.line, c.trusted, how, r.Beside, hint)
				}
				if got != c.want {
					t.Errorf("%s, trusted %v, detail %d, %s: %q, want %q", c.line, c.trusted, detail, how, got, c.want)
				}
			}
			r := f.Match(line, time.Now())
			check("alone", &r)
			if detail == DetailAll {
				continue
			}
			n := 0
			f.MatchBlock([][]byte{[]byte(date + " other"), []byte(date + " more"), line}, nil, time.Now(), func(i int, r *Result) {
				n++
				check("in a block", r)
			})
			if n != 1 {
				t.Errorf("%s: told %d times", c.line, n)
			}
		}
	}
}

// TestProxiesJSON is that for fields.
func TestProxiesJSON(t *testing.T) {
	traefik := &JSON{Host: []string{"host"}, Peer: "peer", Match: []JSONMatch{{Conditions: []Condition{{Field: "status", Values: []string{"401"}}}}}}
	caddy := &JSON{Host: []string{"client", "remote"}, Forwarded: "h.XFF", Match: traefik.Match}
	cdn, none := proxies("198.51.100.0/24"), &Proxies{}
	hinted := 0
	for _, c := range []struct {
		json    *JSON
		trusted *Proxies
		line    string
		want    string
	}{
		{traefik, nil, `"host":"192.0.2.7","peer":"192.0.2.7:1"`, "192.0.2.7"},
		{traefik, nil, `"host":"203.0.113.9","peer":"192.0.2.7:1"`, "!"},
		{traefik, nil, `"host":"203.0.113.9, 192.0.2.7","peer":"198.51.100.4:1"`, "!"},
		{traefik, nil, `"host":"192.0.2.7"`, "192.0.2.7"},
		{traefik, nil, `"host":"203.0.113.9, 192.0.2.7"`, "!"},
		{traefik, none, `"host":"203.0.113.9","peer":"192.0.2.7:1"`, "192.0.2.7"},
		{traefik, cdn, `"host":"203.0.113.9","peer":"192.0.2.7:1"`, "192.0.2.7"},
		{traefik, cdn, `"host":"203.0.113.9, 192.0.2.7","peer":"198.51.100.4:1"`, "192.0.2.7"},
		{traefik, cdn, `"host":"192.0.2.7","peer":"198.51.100.4:1"`, "192.0.2.7"},
		{traefik, cdn, `"host":"198.51.100.4","peer":"198.51.100.4:1"`, "!"},
		{caddy, nil, `"client":"192.0.2.7","remote":"198.51.100.4"`, "192.0.2.7"},
		{caddy, nil, `"remote":"192.0.2.7","h":{"XFF":["203.0.113.9"]}`, "192.0.2.7"},
		{caddy, cdn, `"remote":"192.0.2.7","h":{"XFF":["203.0.113.9"]}`, "192.0.2.7"},
		{caddy, cdn, `"remote":"198.51.100.4","h":{"XFF":["203.0.113.9, 192.0.2.7"]}`, "192.0.2.7"},
		{caddy, cdn, `"remote":"198.51.100.4","h":{"XFF":["203.0.113.9","192.0.2.7, 198.51.100.5"]}`, "192.0.2.7"},
		{caddy, cdn, `"remote":"198.51.100.4","h":{"XFF":"192.0.2.7"}`, "192.0.2.7"},
		{caddy, cdn, `"remote":"198.51.100.4","h":{"XFF":[1,{"a":[]}]}`, "!"},
		{caddy, cdn, `"remote":"198.51.100.4"`, "!"},
		// What Caddy takes for the client without trusted_proxies_strict, he chose himself.
		{caddy, cdn, `"client":"203.0.113.9","remote":"198.51.100.4","h":{"XFF":["203.0.113.9, 192.0.2.7"]}`, "192.0.2.7"},
		{caddy, cdn, `"client":"192.0.2.7","remote":"198.51.100.4"`, "192.0.2.7"},
		{caddy, cdn, `"client":"198.51.100.4","remote":"198.51.100.4","h":{"XFF":["192.0.2.7"]}`, "192.0.2.7"},
	} {
		f, err := Compile(Definition{Name: "x", JSON: c.json, Head: HeadEither, Proxies: c.trusted}, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		r := f.Match([]byte(`{"status":401,`+c.line+`}`), time.Now())
		if hint := c.trusted == nil && strings.Contains(c.line, "XFF") && !strings.Contains(c.line, "client"); hint != (r.Beside != "") {
			t.Errorf("%s, trusted %v: hint %q, want one: %v", c.line, c.trusted, r.Beside, hint)
		} else if hint {
			hinted++
		}
		got := ""
		if len(r.Failures) > 0 {
			got = r.Failures[0].ID
		}
		if len(r.Withheld) > 0 {
			got += "!"
		}
		if got != c.want {
			t.Errorf("%s, trusted %v: %q, want %q", c.line, c.trusted, got, c.want)
		}
	}
	if hinted == 0 {
		t.Error("no line asks who the proxies are")
	}
}

// TestUnreadProxies: where proxies were named and none could be read, nothing counts that
// could be theirs.
func TestUnreadProxies(t *testing.T) {
	for _, c := range []struct {
		def  Definition
		line string
		want bool // it counts
	}{
		{Definition{Failregex: []Expr{{Text: `^ from <ADDR>\(<F-FORWARDED>.*</F-FORWARDED>\)$`}}}, "2026-01-31T12:00:00Z from 198.51.100.4()", false},
		{Definition{Failregex: []Expr{{Text: `^ from '<F-CHAIN>(?:.*, )?<ADDR></F-CHAIN>'$`}}}, "2026-01-31T12:00:00Z from '192.0.2.7'", false},
		{Definition{JSON: &JSON{Host: []string{"remote"}, Forwarded: "xff", Match: []JSONMatch{{Conditions: []Condition{{Field: "status", Values: []string{"401"}}}}}}}, `{"status":401,"remote":"198.51.100.4"}`, false},
		{Definition{Failregex: []Expr{{Text: `^ from <ADDR>$`}}}, "2026-01-31T12:00:00Z from 192.0.2.7", true}, // no proxy is in it
	} {
		c.def.Name, c.def.DatePattern, c.def.Head, c.def.Proxies = "x", []string{"{^LN-BEG}"}, HeadEither, &Proxies{Unknown: true}
		f, err := Compile(c.def, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		r := f.Match([]byte(c.line), time.Now())
		if counts := len(r.Failures) > 0; counts != c.want || counts == (len(r.Withheld) > 0) {
			t.Errorf("%s: %d failures, withheld %v", c.line, len(r.Failures), r.Withheld)
		}
	}
}
