package filter

import "testing"

// TestWrittenForWrapper: what a runtime puts around lines is left there for expressions that
// were written for it, and for no others, whatever words a service has in quotes.
func TestWrittenForWrapper(t *testing.T) {
	for _, c := range []struct {
		expr  string
		taken bool
	}{
		{`^\{"log":"login failed from <ADDR>`, false},
		{`^\{\"log\":\"login failed from <ADDR>`, false},
		{`"log"\s*:\s*"[^"]* failed from <ADDR>`, false},
		{`^\{"log.*failed from <ADDR>`, false},
		{`^\{"log[^{]+failed from <ADDR>`, false},
		{`failed from <ADDR>.*"stream":"stdout"`, false},
		{`^\S+ stdout F login failed from <ADDR>`, false},
		{`^level=warn msg="login failed" addr=<ADDR>$`, true},
		{`^msg="logon failure" user="(?:[^"\\]|\\.)*" addr=<ADDR>$`, true},
		{`^app: "log in" by <ADDR> refused$`, true},
		{`^"streaming" from <ADDR> refused$`, true},
	} {
		d := Definition{Failregex: []Expr{{Text: c.expr}}}
		if got := d.Around().Runtime; got != c.taken {
			t.Errorf("%s: taken off: %v", c.expr, got)
		}
	}
	for field, taken := range map[string]bool{"log": false, "stream": false, "logger": true, "login.name": true, "log.level": true} {
		d := Definition{JSON: &JSON{Host: []string{"ip", field}}}
		if got := d.Around().Runtime; got != taken {
			t.Errorf("field %s: taken off: %v", field, got)
		}
	}
}
