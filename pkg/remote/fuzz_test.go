package remote

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
)

// FuzzAnswers: whatever a server answers, nothing panics, items are addresses or networks as
// a kernel has them, and what is told of it is a line without control characters.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{
		`{"result":[{"id":"1","ip":"192.0.2.7","comment":"x"},{"id":2,"ip":"2001:db8::/64"},3,null],"result_info":{"cursors":{"after":"a"}}}`,
		`[{"id":"1","ip":"192.0.2.0","subnet":24,"comment":""},{"ip":"::ffff:192.0.2.1"},{"ip":"fe80::1%eth0"}]`,
		`{"errors":[{"code":10,"message":"a\nb\u001b[0m"}]}`, `{"result":{"operation_id":"x","status":"failed","error":"y"}}`, `<html>`, `[[[[`, `{"errors":"x"}`,
		strings.Repeat(`{"result":`, 2000),
	} {
		f.Add([]byte(s), "120")
	}
	f.Fuzz(func(t *testing.T, body []byte, after string) {
		for _, p := range Providers {
			items, _, err := p.items(body)
			if err != nil && len(items) > 0 {
				t.Error("items beside an error")
			}
			for _, i := range items {
				if i.Prefix.IsValid() && (i.Prefix != i.Prefix.Masked() || i.Prefix.Addr().Zone() != "" || i.Prefix.Addr().Is4In6()) {
					t.Errorf("%v", i.Prefix)
				}
				if i.Prefix.IsValid() && prefix(Written(i.Prefix)) != i.Prefix {
					t.Errorf("%v is written as %s", i.Prefix, Written(i.Prefix))
				}
			}
		}
		text := said(body, "")
		if len(text) > errorBytes+4 || strings.IndexFunc(text, unicode.IsControl) >= 0 {
			t.Errorf("%q", text)
		}
		if d := RetryAfter(http.Header{"Retry-After": {after}}, time.Unix(1e9, 0)); d < 0 || d > AfterMost {
			t.Errorf("%q: %v", after, d)
		}
		if p := prefix(after); p.IsValid() && p != netip.PrefixFrom(p.Addr(), p.Bits()).Masked() {
			t.Errorf("%v", p)
		}
	})
}
