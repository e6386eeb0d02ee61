package allow

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func key(t testing.TB) (seed []byte, public string) {
	t.Helper()
	seed, public, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return seed, public
}

func list(t testing.TB, version uint64, who ...string) List {
	t.Helper()
	l := List{Version: version}
	for _, one := range who {
		p, err := netip.ParsePrefix(one)
		if err == nil {
			err = l.Add(p)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func signed(t testing.TB, l List, seed []byte) []byte {
	t.Helper()
	text, err := Sign(l, seed)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestSign: what is signed is read by its key alone, and nothing of it can be changed.
func TestSign(t *testing.T) {
	seed, public := key(t)
	_, other := key(t)
	l := list(t, 7, "2001:db8::/32", "198.51.100.0/24", "203.0.113.9/32", "198.51.100.0/24")
	text := signed(t, l, seed)
	got, err := Parse(text, public)
	if err != nil || got.Version != 7 || fmt.Sprint(got.Prefixes) != "[198.51.100.0/24 203.0.113.9/32 2001:db8::/32]" {
		t.Errorf("%+v, %v\n%s", got, err, text)
	}
	if _, err := Parse(text, other); !errors.Is(err, ErrForeign) {
		t.Errorf("by another key: %v", err)
	}
	if empty, err := Parse(signed(t, List{Version: 8}, seed), public); err != nil || empty.Version != 8 {
		t.Errorf("nobody: %v", err)
	}
	for i := range text {
		changed := []byte(string(text))
		changed[i] ^= 1
		if got, err := Parse(changed, public); err == nil {
			t.Errorf("byte %d changed: %+v", i, got)
		}
	}
	was := string(text)
	at := strings.Index(was, "signature ")
	for what, text := range map[string]string{
		"nothing": "", "without a signature": was[:at], "cut off": was[:len(was)-1], "with more behind it": was + "\n", "one more": was[:at] + "203.0.113.10\n" + was[at:],
		"one less": strings.Replace(was, "203.0.113.9\n", "", 1), "another version": strings.Replace(was, "version 7", "version 9", 1), "the version in another form": strings.Replace(was, "version 7", "version 07", 1),
		"of the other key": strings.Replace(was, public, other, 1), "an address as a network": strings.Replace(was, "203.0.113.9\n", "203.0.113.9/32\n", 1),
		"a signature of nothing": was[:at] + "signature " + base64.StdEncoding.EncodeToString(make([]byte, 64)) + "\n", "too long": strings.Repeat("x", BytesMost+1),
	} {
		if got, err := Parse([]byte(text), public); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
	for _, wide := range []string{"0.0.0.0/0", "198.0.0.0/7", "::/0", "2000::/15"} {
		if err := (&List{}).Add(netip.MustParsePrefix(wide)); err == nil {
			t.Errorf("%s may be allowed", wide)
		}
	}
	if _, err := Sign(List{Version: 0}, seed); err == nil {
		t.Error("version 0 is signed")
	}
	many := List{Version: 1}
	for i := range Most + 1 {
		many.Prefixes = append(many.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32))
	}
	if _, err := Sign(many, seed); err == nil {
		t.Error("too many are signed")
	}
	many.Prefixes = many.Prefixes[:Most]
	if len(signed(t, many, seed)) > BytesMost {
		t.Error("as many as may be are too many bytes")
	}
}

// TestHeld: a host takes what is newer, and nothing else; what it holds stays.
func TestHeld(t *testing.T) {
	seed, public := key(t)
	foreign, _ := key(t)
	var h Held
	p := netip.MustParsePrefix("198.51.100.7/32")
	two := signed(t, list(t, 2, "198.51.100.0/24"), seed)
	for _, c := range []struct {
		what    string
		text    []byte
		changed bool
		err     error
		version uint64
		holds   bool
	}{
		{"nothing yet", nil, false, ErrForm, 0, false},
		{"the first", two, true, nil, 2, true},
		{"the same", two, false, nil, 2, true},
		{"an older one", signed(t, list(t, 1), seed), false, ErrOlder, 2, true},
		{"another one of that version", signed(t, list(t, 2, "203.0.113.9/32"), seed), false, ErrOther, 2, true},
		{"a newer one of another key", signed(t, list(t, 9), foreign), false, ErrForeign, 2, true},
		{"a newer one that was changed", []byte(strings.Replace(string(two), "version 2", "version 3", 1)), false, ErrForged, 2, true},
		{"a newer one", signed(t, list(t, 3, "203.0.113.9/32"), seed), true, nil, 3, false},
		{"the one before it", two, false, ErrOlder, 3, false},
	} {
		changed, err := h.Take(c.text, public)
		l, _ := h.Get()
		if changed != c.changed || !errors.Is(err, c.err) || (err != nil) != (c.err != nil) || l.Version != c.version || h.Holds(p) != c.holds || h.Holds(netip.MustParsePrefix("198.51.0.0/16")) != c.holds {
			t.Errorf("%s: changed %v, %v, version %d, holds %v", c.what, changed, err, l.Version, h.Holds(p))
		}
	}
}

func FuzzParse(f *testing.F) {
	seed, public := key(f)
	f.Add(string(signed(f, list(f, 7, "198.51.100.0/24", "2001:db8::/32"), seed)))
	f.Add(header + "\nversion 1\nkey " + public + "\nsignature \n")
	f.Fuzz(func(t *testing.T, text string) {
		l, by, _, err := read([]byte(text))
		if err != nil {
			return
		}
		if !strings.HasPrefix(text, string(l.text(by))) {
			t.Errorf("%q is read as %+v", text, l)
		}
	})
}
