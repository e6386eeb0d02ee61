package jail

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/config"
	"bailiff/pkg/filter"
)

// TestTrustedProxies: of a service behind proxies, whoever is before them is counted, and
// no proxy is, be it one of a list that changes while the daemon runs.
func TestTrustedProxies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proxies")
	write := func(text string) {
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("198.51.100.0/28 # a CDN's\n")
	l := start(t, func(c *config.Jail, _ *lab) {
		c.Filter.Head = filter.HeadEither
		c.Filter.Failregex = []filter.Expr{{Text: `^ Login failure '<F-CHAIN>(?:.*, )?<ADDR></F-CHAIN>'$`}}
		c.Filter.Proxies = &filter.Proxies{Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/32")}, Files: []string{file}}
	})
	times := func(n int, line string) (out []string) {
		for range n {
			out = append(out, line)
		}
		return out
	}
	l.say(times(9, "%s Login failure '198.51.100.1'")...)
	l.say(times(9, "%s Login failure '192.0.2.99, 198.51.100.1, 203.0.113.1'")...)
	l.want("+192.0.2.99/32 1h0m0s")
	l.say(times(9, "%s Login failure '192.0.2.98, 192.0.2.7, 198.51.100.1'")...)
	l.want("+192.0.2.7/32 1h0m0s")
	l.logged(`names trusted proxies only`)
	// Another one is added to the list.
	write("198.51.100.0/28\n198.51.100.77\n")
	l.until(func() bool { return l.jail.proxies.Rules().Why(netip.MustParsePrefix("198.51.100.77/32")).Some() })
	l.say(times(9, "%s Login failure '192.0.2.8, 198.51.100.77'")...)
	if got := l.asked(); !strings.Contains(got, "+192.0.2.8/32 1h0m0s") { // and what is compared by now
		t.Errorf("asked of the kernel: %q", got)
	}
	for _, who := range []string{"198.51.100.1", "198.51.100.77", "203.0.113.1", "192.0.2.98"} {
		if n := l.says("Found " + who); n > 0 {
			t.Errorf("%s was counted %d times", who, n)
		}
	}
}

// TestUntrusted: without proxies named, what a client may have written is not counted, and
// that is said.
func TestUntrusted(t *testing.T) {
	l := start(t, func(c *config.Jail, _ *lab) {
		c.Filter.Head = filter.HeadEither
		c.Filter.Failregex = []filter.Expr{{Text: `^ Login failure '<F-CHAIN>(?:.*, )?<ADDR></F-CHAIN>'$`}}
	})
	line := "%s Login failure '203.0.113.9, 198.51.100.1'"
	l.say(line, line, line, line, line)
	l.say("%s Login failure '192.0.2.7'", "%s Login failure '192.0.2.7'", "%s Login failure '192.0.2.7'", "%s Login failure '192.0.2.7'", "%s Login failure '192.0.2.7'")
	l.want("+192.0.2.7/32 1h0m0s")
	l.logged(`not counted: a failure of "203.0.113.9, 198.51.100.1"`)
	for _, who := range []string{"203.0.113.9", "198.51.100.1"} {
		if n := l.says("Found " + who); n > 0 {
			t.Errorf("%s was counted %d times", who, n)
		}
	}
}

// TestUnknownProxies: as long as a file that names the proxies can't be read, or names none,
// no failure that could be a proxy's is counted, and that is said once.
func TestUnknownProxies(t *testing.T) {
	for _, c := range []struct{ before, regex, line string }{
		{"", `^ Login failure '<F-CHAIN>(?:.*, )?<ADDR></F-CHAIN>'$`, "%s Login failure '198.51.100.1'"},
		{"# none\n", `^ Login failure <ADDR>\(<F-FORWARDED>.*</F-FORWARDED>\)$`, "%s Login failure 198.51.100.1()"},
		{"proxy\n", `^ Login failure <ADDR>\(<F-FORWARDED>.*</F-FORWARDED>\)$`, "%s Login failure 198.51.100.1(192.0.2.7)"},
	} {
		file := filepath.Join(t.TempDir(), "proxies")
		write := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if c.before != "" {
			write(c.before)
		}
		l := start(t, func(j *config.Jail, _ *lab) {
			j.Filter.Head = filter.HeadEither
			j.Filter.Failregex = []filter.Expr{{Text: c.regex}}
			j.Filter.Proxies = &filter.Proxies{Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/32")}, Files: []string{file}}
		})
		for range 9 {
			l.say(c.line)
		}
		l.logged("not counted: a failure of")
		if n := l.says("not counted: a failure of"); n != 1 {
			t.Errorf("%s: told %d times", c.regex, n)
		}
		if n := l.says("Found 198.51.100.1"); n > 0 {
			t.Errorf("%s: the proxy was counted %d times", c.regex, n)
		}
		if got := strings.Join(l.jail.Status(false).Problems, "\n"); !strings.Contains(got, "proxy.trusted file:"+file) || strings.Contains(got, "ignoreip") {
			t.Errorf("problems: %q", got)
		}
		// Once one is known, whoever is none is counted.
		write("198.51.100.0/28\n")
		l.until(func() bool { return l.jail.proxies.Rules().UnknownProxies() == "" })
		client := strings.NewReplacer("198.51.100.1'", "192.0.2.8'", "198.51.100.1(", "192.0.2.8(").Replace(c.line)
		l.say(client, client, client, client, client)
		l.want("+192.0.2.8/32 1h0m0s")
	}
}

// TestBrokenJSON: lines that begin as JSON and are cut off may have been failures: it is said,
// summed up, and the others count.
func TestBrokenJSON(t *testing.T) {
	l := start(t, func(c *config.Jail, _ *lab) {
		c.Filter.Head = filter.HeadEither
		c.Filter.Failregex = []filter.Expr{}
		c.Filter.JSON = &filter.JSON{Host: []string{"ip"}, Match: []filter.JSONMatch{{Conditions: []filter.Condition{{Field: "status", Values: []string{"401"}}}}}}
	})
	for range 50 {
		l.say(`{"status":401,"agent":"` + strings.Repeat("a", 8000))
	}
	whole := `{"status":401,"ip":"192.0.2.7"}`
	l.say(whole, whole, whole, whole, whole)
	l.want("+192.0.2.7/32 1h0m0s")
	l.logged("a line begins as JSON and is none (1 since it was last logged)")
	if n := l.says("begins as JSON"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// TestProxyHint: where no proxy is named and a header names somebody beside the address that
// is counted, it is said once what to set.
func TestProxyHint(t *testing.T) {
	l := start(t, func(c *config.Jail, _ *lab) {
		c.Filter.Head = filter.HeadEither
		c.Filter.Failregex = []filter.Expr{{Text: `^ Login failure <ADDR>\(<F-FORWARDED>.*</F-FORWARDED>\)$`}}
	})
	l.say("%s Login failure 192.0.2.9()", "%s Login failure 192.0.2.9(-)")
	line := "%s Login failure 198.51.100.1(192.0.2.7)"
	l.say(line, line, line, line, line)
	l.want("+198.51.100.1/32 1h0m0s")
	hint := `[proxy] trusted = ["198.51.100.1"]`
	l.logged(hint)
	if n := l.says("[proxy] trusted"); n != 1 {
		t.Errorf("told %d times", n)
	}
}
