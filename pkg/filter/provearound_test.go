package filter

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/pyregexp"
)

// TestProveAround: lines behind what may stand around them, lines of proxies, and lines in
// which a client writes before the date.
func TestProveAround(t *testing.T) {
	sequential(t)
	const (
		inner  = "2026-01-31 12:00:00 app: login of bob failed from 192.0.2.7"
		access = `192.0.2.7 - bob [31/Jan/2026:12:00:00 +0000] "GET / HTTP/1.1" 401 5 "curl"`
		nginx  = `(?:[ !#-\[\]-~]|\\x[0-9A-F]{2})*`
		exact  = `^(?:[^"\\]|\\.)*\[({DATE})\] "`
		user   = `^<ADDR> - (?:[^"\\]|\\.)* \[\] "(?:[^"\\]|\\.)*" 401 `
	)
	docker := func(line string) string {
		text, _ := json.Marshal(line + "\n")
		return fmt.Sprintf(`{"log":%s,"stream":"stdout","time":"2026-01-31T12:00:00.1Z"}`, text)
	}
	for _, c := range []struct {
		name    string
		fail    string
		line    string
		date    string
		client  map[string]string
		trusted string
		want    Verdict
	}{
		{name: "docker", fail: `^ app: login of .* failed from <ADDR>$`, line: docker(inner), client: map[string]string{"bob": ""}, want: Proved},
		{name: "docker, quotes", fail: `^ app: login of ".*" failed from <ADDR>$`, line: docker(strings.Replace(inner, "bob", `"bob"`, 1)), client: map[string]string{"bob": ""}, want: Proved},
		{name: "docker, a hole", fail: `^ app: login of .*? failed from <ADDR>`, line: docker(inner), client: map[string]string{"bob": ""}, want: Forgeable},
		{name: "docker, in parts", fail: `^ app: login of .* failed from <ADDR>$`, line: strings.Replace(docker(inner[:40]), `\n`, "", 1) + "\n" + docker(inner[40:]), client: map[string]string{"bob": ""}, want: Proved},
		{name: "CRI", fail: `^ app: login of .* failed from <ADDR>$`, line: "2026-01-31T12:00:00.1Z stdout F " + inner, client: map[string]string{"bob": ""}, want: Proved},
		{name: "CRI, what a client writes first", fail: `^\S* not found by <ADDR>$`, line: "2026-01-31T12:00:00.1Z stdout F /path not found by 192.0.2.7", date: `{^LN-BEG}`, client: map[string]string{"/path": ""}, want: Undecided},
		{name: "head", fail: `^\s*login of .* failed from <ADDR>$`, line: "Jan 31 12:00:00 host app[41]: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Proved},
		{name: "head, a hole", fail: `^\s*login of .*? failed from <ADDR>`, line: "Jan 31 12:00:00 host app[41]: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Forgeable},
		{name: "head, and taken with it", fail: `^ \S+ app\[\d+\]: login of .* failed from <ADDR>$`, line: "Jan 31 12:00:00 host app[41]: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Proved},
		{name: "head, and a word only with it", fail: `^ \S+ app\[\d+\]: login of \w+ failed from <ADDR>$`, line: "Jan 31 12:00:00 host app[41]: login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Evadable},
		{name: "head of RFC 5424", fail: `^\s*login of .* failed from <ADDR>$`, line: "<38>1 2026-01-31T12:00:00.1Z host app 41 - - login of bob failed from 192.0.2.7", client: map[string]string{"bob": ""}, want: Proved},
		{name: "sequences of terminals", fail: `^ app: login of .* failed from <ADDR>(?: by .*)?$`, line: inner + " by curl", client: map[string]string{"bob": `[^ \n]*`, "curl": `[^ \n]*`}, want: Proved},

		{name: "sequences of terminals between a backslash and what it stands before", fail: `^ app: login of "(?:[^"\\]|\\.)*" failed from <ADDR>$`, line: strings.Replace(inner, "bob", `"bob"`, 1), client: map[string]string{"bob": `(?:[^"\\\n]|\\[^\n])*`}, want: Evadable},

		{name: "list", fail: `^ app: '<F-CHAIN>(?:.*, )?<ADDR></F-CHAIN>' failed$`, line: "2026-01-31 12:00:00 app: '203.0.113.9, 192.0.2.7, 198.51.100.4' failed", client: map[string]string{"203.0.113.9": ""}, trusted: "198.51.100.0/24", want: Proved},
		{name: "list, no end", fail: `^ app: '<F-CHAIN>(?:.*?, )?<ADDR></F-CHAIN>'`, line: "2026-01-31 12:00:00 app: '203.0.113.9, 192.0.2.7, 198.51.100.4' failed", client: map[string]string{"203.0.113.9": ""}, trusted: "198.51.100.0/24", want: Forgeable},
		{name: "list, of no commas", fail: `^ app: '<F-CHAIN>(?:[\d.]+, )*<ADDR></F-CHAIN>' failed$`, line: "2026-01-31 12:00:00 app: '203.0.113.9, 192.0.2.7, 198.51.100.4' failed", client: map[string]string{"203.0.113.9": ""}, trusted: "198.51.100.0/24", want: Evadable},
		{name: "list, and a user", fail: `^ app: '<F-CHAIN>(?:.*, )?<ADDR></F-CHAIN>' for '.*' failed$`, line: "2026-01-31 12:00:00 app: '192.0.2.7, 198.51.100.4' for 'bob' failed", client: map[string]string{"bob": ""}, trusted: "198.51.100.0/24", want: Forgeable},
		{name: "list of one, no proxies", fail: `^ app: '<F-CHAIN>(?:[^']*, )?<ADDR></F-CHAIN>' for '[^']*' failed$`, line: "2026-01-31 12:00:00 app: '192.0.2.7' for 'bob' failed", client: map[string]string{"bob": `[^']*`}, want: Proved},
		{name: "list of one, a user like a list", fail: `^ app: '<F-CHAIN>(?:.*, )?<ADDR></F-CHAIN>' for '.*' failed$`, line: "2026-01-31 12:00:00 app: '192.0.2.7' for 'bob' failed", client: map[string]string{"bob": ""}, want: Evadable},
		{name: "header", fail: `^ app: <ADDR> \(<F-FORWARDED>.*</F-FORWARDED>\) failed$`, line: "2026-01-31 12:00:00 app: 198.51.100.4 (203.0.113.9, 192.0.2.7) failed", client: map[string]string{"203.0.113.9": ""}, trusted: "198.51.100.0/24", want: Proved},
		{name: "header, no end", fail: `^ app: <ADDR> \(<F-FORWARDED>.*?</F-FORWARDED>\) failed`, line: "2026-01-31 12:00:00 app: 198.51.100.4 (203.0.113.9, 192.0.2.7) failed", client: map[string]string{"203.0.113.9": ""}, trusted: "198.51.100.0/24", want: Forgeable},
		{name: "header, of who is no proxy", fail: `^ app: <ADDR> \(<F-FORWARDED>.*</F-FORWARDED>\) failed$`, line: "2026-01-31 12:00:00 app: 192.0.2.7 (203.0.113.9) failed", client: map[string]string{"203.0.113.9": ""}, trusted: "198.51.100.0/24", want: Proved},
		{name: "header, before the address", fail: `^ app: \(<F-FORWARDED>.*</F-FORWARDED>\) .*?by <ADDR>`, line: "2026-01-31 12:00:00 app: (203.0.113.9, 192.0.2.7) by 198.51.100.4 for bob", client: map[string]string{"203.0.113.9": "", "bob": ""}, trusted: "198.51.100.0/24", want: Forgeable},

		{name: "a user before the date", fail: user, date: exact, line: access, client: map[string]string{"bob": nginx, "GET /": nginx}, want: Proved},
		{name: "a date before the date", fail: user, date: `^[^\[]*\[({DATE})`, line: access, client: map[string]string{"bob": nginx}, want: Evadable},
		{name: "quotes before the date", fail: user, date: exact, line: access, client: map[string]string{"bob": ""}, want: Evadable},
		{name: "the last date", fail: user, date: `^.*\[({DATE})\]`, line: access, client: map[string]string{"GET /": nginx}, want: Evadable},
		{name: "a date of another form before it", fail: user, date: `^[^"]*\[({DATE})\]`, line: access, client: map[string]string{"bob": nginx, "GET /": nginx}, want: Evadable},
		{name: "a date of any kind", fail: user, date: `{DEFAULT}`, line: access, client: map[string]string{"GET /": nginx}, want: Undecided},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.date == "" {
				c.date = `{^LN-BEG}`
			}
			d := Definition{Name: "x", DatePattern: []string{c.date}, Failregex: []Expr{{Text: c.fail}}, Head: HeadEither}
			if c.trusted != "" {
				d.Proxies = &Proxies{Prefixes: []netip.Prefix{netip.MustParsePrefix(c.trusted)}}
			}
			p := Probe{Line: c.line, Host: "192.0.2.7", Now: proveNow}
			for text, chars := range c.client {
				one := Chosen{Name: text, Text: text}
				if chars != "" {
					one.Chars = pyregexp.MustCompile(chars, 0)
				}
				p.Client = append(p.Client, one)
			}
			got, err := Prove(d, time.UTC, p)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", got)
			if got.Verdict != c.want {
				t.Errorf("%s, want %s", got.Verdict, c.want)
			}
		})
	}
}
