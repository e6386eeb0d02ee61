package ban

import (
	"strings"
	"testing"

	"bailiff/pkg/iplist"
)

// TestParseID: a slip in an address is an error; what was never meant as one is an id.
func TestParseID(t *testing.T) {
	for given, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "[2001:db8::1]": "2001:db8::1", "192.0.2.7/24": "192.0.2.0/24", "::ffff:192.0.2.7": "192.0.2.7",
		"my-session": "my-session", "125-000-001": "125-000-001", "Badger": "Badger", "user@host.example": "user@host.example", "/srv/x": "/srv/x",
		"a b": "a b", "deadbeef": "deadbeef", "4711": "4711", "jail:x": "jail:x",
	} {
		id, err := ParseID(given)
		if err != nil || Name(id) != want {
			t.Errorf("%s: %v %v", given, id, err)
		}
	}
	for _, bad := range []string{
		"", "192.0.2.300", "192.0.2", "192.0.2.7/33", "192.0.2.7/x", "2001:db8:::1", "2001:db8::1/129", "2001:db8::12345", "fe80::1%eth0", "192.0.2.1-192.0.2.9",
		"192.0.2.1 192.0.2.2", "192.0.2.1,192.0.2.2", "[192.0.2.7", "1.2.3.4.5", "/24", strings.Repeat("x", MaxName+1),
	} {
		if id, err := ParseID(bad); err == nil {
			t.Errorf("%q is %v", bad, id)
		}
	}
}

// TestParseToBan: what looks like an address is one, or nobody.
func TestParseToBan(t *testing.T) {
	for given, want := range map[string]string{"\uff11\uff19\uff12.0.2.7": "192.0.2.7", "\u200b192.0.2.7": "192.0.2.7", "192\u30020\u30022\u30027": "192.0.2.7", "2001:db8\uff1a\uff1a1": "2001:db8::1", "192.0.2.7\u00a0": "192.0.2.7"} {
		if id, err := ParseToBan(given); err == nil || !strings.Contains(err.Error(), "write "+want) {
			t.Errorf("%q: %v, %v", given, id, err)
		}
		if id, err := ParseID(given); err != nil || !id.IsName() {
			t.Errorf("%q can't be unbanned: %v, %v", given, id, err)
		}
	}
	for _, given := range []string{"192.0.2.7", "my-session", "\uff41\uff42", "na\u00efve", "a b"} {
		if id, err := ParseToBan(given); err != nil || !id.IsValid() {
			t.Errorf("%q: %v, %v", given, id, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"192.0.2.7", "192.0.2.300", "fe80::1%eth0", "[::1]", "a b", "\x00\xff", "x] Ban 203.0.113.9", "::ffff:192.0.2.7"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		name := Name(id)
		again, err := ParseID(name)
		if err != nil || again != id {
			t.Errorf("%q is %q, which is %v %v", s, name, again, err)
		}
		if p, err := iplist.Parse(name); (err == nil) == id.IsName() || err == nil && Of(p) != id {
			t.Errorf("%q: %v %v", s, p, err)
		}
		if told := Told(id); strings.ContainsAny(told, "\n\r\x1b\x00") {
			t.Errorf("%q is told as %q", s, told)
		}
	})
}
