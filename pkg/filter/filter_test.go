package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func compile(t testing.TB, dns UseDNS, failregex ...string) *Filter {
	t.Helper()
	d := Definition{Name: "test", UseDNS: dns}
	for _, e := range failregex {
		d.Failregex = append(d.Failregex, Expr{Text: e})
	}
	f, err := Compile(d, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestTags(t *testing.T) {
	for _, c := range []struct{ expr, line, id, groups string }{
		{`failure <HOST>`, "failure 192.0.2.7", "192.0.2.7", "map[ip4:192.0.2.7]"},
		{`failure <HOST>`, "failure 2001:db8::7", "2001:db8::7", "map[ip6:2001:db8::7]"},
		{`failure <HOST>`, "failure [2001:db8::7]:22", "2001:db8::7", "map[ip6:2001:db8::7]"},
		{`failure <HOST>`, "failure ::ffff:192.0.2.7", "192.0.2.7", "map[ip4:192.0.2.7]"},
		{`failure <HOST>`, "failure bad.example", "bad.example", "map[dns:bad.example]"},
		{`failure <ADDR>`, "failure bad.example", "", ""},
		{`failure <ADDR>`, "failure 555.5.5.6", "555.5.5.6", "map[ip4:555.5.5.6]"},
		{`failure <SUBNET>`, "failure 198.51.100.0/24", "198.51.100.0/24", "map[cidr:24 ip4:198.51.100.0]"},
		{`failure <IP4> by <F-USER>\w+</F-USER>`, "failure 192.0.2.7 by bob", "192.0.2.7", "map[ip4:192.0.2.7 user:bob]"},
		{`failure of <F-ID>\w+</F-ID>`, "failure of session4711", "session4711", "map[fid:session4711]"},
		{`port <F-PORT/> from <F-ID/>`, "port 22 from x/y", "x/y", "map[fid:x/y fport:22]"},
		{`<DNS>:`, "mail.example: no", "mail.example", "map[dns:mail.example]"},
	} {
		r := compile(t, DNSWarn, c.expr).Match([]byte(c.line), now)
		if c.id == "" {
			if len(r.Failures) > 0 {
				t.Errorf("%s on %q: %+v, want none", c.expr, c.line, r.Failures[0])
			}
			continue
		}
		if len(r.Failures) != 1 || r.Failures[0].ID != c.id || fmt.Sprint(r.Failures[0].Groups) != c.groups {
			t.Errorf("%s on %q: %+v, want %s %s", c.expr, c.line, r.Failures, c.id, c.groups)
		}
	}
	if r := compile(t, DNSNo, `failure <HOST>`).Match([]byte("failure bad.example"), now); len(r.Failures) != 0 {
		t.Errorf("usedns = no: %+v", r.Failures)
	}
}

// TestDateIsCut checks that expressions see the line without its date, and that
// they can be anchored there.
func TestDateIsCut(t *testing.T) {
	f := compile(t, DNSWarn, `^ ERROR failure <ADDR>$`)
	r := f.Match([]byte("2026-01-31 11:59:00,250 ERROR failure 192.0.2.7"), now)
	if len(r.Failures) != 1 || !r.Dated || !r.Time.Equal(time.Date(2026, 1, 31, 11, 59, 0, 250e6, time.UTC)) {
		t.Errorf("%+v", r)
	}
	// A line without a date has that of the one before, for a minute.
	r = f.Match([]byte(" ERROR failure 192.0.2.8"), now.Add(-30*time.Second))
	if r.Dated || !r.Time.Equal(time.Date(2026, 1, 31, 11, 59, 0, 250e6, time.UTC)) {
		t.Errorf("%+v", r)
	}
	if r = f.Match([]byte(" ERROR failure 192.0.2.8"), now.Add(time.Hour)); !r.Time.IsZero() {
		t.Errorf("%+v", r)
	}
}

func TestCompileErrors(t *testing.T) {
	d := Definition{Name: "x", Failregex: []Expr{{"(a <HOST>", "f.toml", 3, 0}, {"b", "f.toml", 4, 0}, {"c <HOST>", "f.toml", 5, 0}}, Ignoreregex: []Expr{{"[", "f.toml", 7, 0}}}
	_, err := Compile(d, time.UTC)
	if err == nil {
		t.Fatal("compiled")
	}
	for _, want := range []string{
		`f.toml:3: unable to compile regular expression "(a <HOST>": missing ), unterminated subpattern at position 0`,
		`f.toml:4: no failure-id group in "b"`,
		`f.toml:7: unable to compile regular expression "[": unterminated character set at position 0`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	var x *ExprError
	if !errors.As(err, &x) {
		t.Error("no ExprError in it")
	}
	if _, err := Compile(Definition{}, time.UTC); err == nil {
		t.Error("a filter without a failregex compiled")
	}
}

func TestParseID(t *testing.T) {
	for _, c := range []struct {
		id   string
		bits int
		want string
	}{
		{"192.0.2.7", -1, "192.0.2.7/32"},
		{"::ffff:192.0.2.7", -1, "192.0.2.7/32"},
		{"2001:DB8::7", -1, "2001:db8::7/128"},
		{"198.51.100.77/24", 24, "198.51.100.0/24"},
		{"555.5.5.6", -1, "invalid Prefix"},
		{"192.0.2.07", -1, "invalid Prefix"},
		{"fe80::1%eth0", -1, "invalid Prefix"},
		{"198.51.100.0/33", 33, "invalid Prefix"},
		{"", -1, "invalid Prefix"},
	} {
		if got := ParseID(c.id, c.bits).String(); got != c.want {
			t.Errorf("%q: %s, want %s", c.id, got, c.want)
		}
	}
}

// FuzzMatch runs filters on any line: none may fail, and what they find must be
// in the line.
func FuzzMatch(f *testing.F) {
	f.Add([]byte("2026-01-31 11:59:00,250 ERROR Login failure 192.0.2.7"))
	f.Add([]byte("Jan 31 12:00:00 host sshd[1]: Login failure [2001:db8::7] \xff\x00"))
	filter := compile(f, DNSWarn, `Login failure <HOST>`, `^.*(?:user (?P<user>\S+) )?from <SUBNET>(?(user) x| y)`)
	filter.CheckAll = true
	f.Fuzz(func(t *testing.T, line []byte) {
		if len(line) > 10_000 {
			return
		}
		r := filter.Match(line, now)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		for _, x := range r.Failures {
			// A date is cut out of its line: what was on both its sides may be one
			// address then, and isn't to be found again.
			if id, _, _ := strings.Cut(x.ID, "/"); !r.Dated && !strings.Contains(string(line), id) && !holdsAddr(line, x.Addr.Addr()) {
				t.Fatalf("id %q is not in %q", x.ID, line)
			}
			if x.Addr.IsValid() && x.Addr != x.Addr.Masked() && x.Addr.Addr() == (netip.Addr{}) {
				t.Fatalf("address %v", x.Addr)
			}
		}
	})
}

// holdsAddr says whether the address is in the line, in any spelling: an id is
// told in the one of RFC 5952.
func holdsAddr(line []byte, want netip.Addr) bool {
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
	for i := range line {
		for n := 2; n <= longest && i+n <= len(line); n++ {
			if a, err := netip.ParseAddr(string(line[i : i+n])); err == nil && a.Unmap() == want {
				return true
			}
		}
	}
	return false
}

// TestOwnSpan: what an expanded expression holds is found again in the one that
// was configured.
func TestOwnSpan(t *testing.T) {
	expr := `^a <F-USER>\S+</F-USER> of <HOST> in <F-NOPE>x b$`
	expanded, tags := expandTagsAt(expr, true)
	for _, part := range []string{"^a ", `\S+`, " of ", " in ", "x b$"} {
		at := strings.Index(expanded, part)
		from, to := ownSpan(tags, at, at+len(part))
		if expr[from:to] != part {
			t.Errorf("%q is told as %q", part, expr[from:to])
		}
	}
	at := strings.Index(expanded, "?P<ip4>")
	if from, to := ownSpan(tags, at, at+1); expr[from:to] != "<HOST>" {
		t.Errorf("a part of <HOST> is told as %q", expr[from:to])
	}
}

// TestLongLinesTogether: lines that are looked at together are bounded in bytes, whatever
// maxlines says; the last one is looked at whole.
func TestLongLinesTogether(t *testing.T) {
	f, err := Compile(Definition{MaxLines: 1000, Failregex: []Expr{{Text: `^ *begin <HOST>$<SKIPLINES>^ *\w*end$`}}}, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 10, 22, 0, 0, 0, time.UTC)
	bytes := func() (n int) {
		for _, l := range f.Buffered() {
			n += len(l.Before) + len(l.Date) + len(l.After) + 1
		}
		return n
	}
	match := func(text string) int {
		return len(f.Match([]byte("Mar 10 21:31:24 "+text), now).Failures)
	}
	for _, n := range []int{100, 4000, 100_000, 1 << 20} {
		for range 30 {
			match(strings.Repeat("x", n))
		}
		if got := bytes(); got > max(mostBuffered, n+100) {
			t.Errorf("lines of %d: %d bytes wait", n, got)
		}
		match("begin 192.0.2.7")
		if match("end") != 1 {
			t.Errorf("behind lines of %d, a failure of two lines isn't found", n)
		}
		match("begin 192.0.2.8")
		if got, want := match(strings.Repeat("x", n)+"end"), 1; n < mostBuffered && got != want {
			t.Errorf("a failure with a line of %d: %d", n, got)
		}
	}
}

func TestExplain(t *testing.T) {
	sequential(t)
	now := time.Date(2026, 3, 10, 22, 0, 0, 0, time.UTC)
	f, err := Compile(Definition{MaxLines: 2, Failregex: []Expr{{Text: `begin (\d+) from <HOST>\n.*failed \1`}}}, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	e := f.Explain([]byte("Mar 10 21:31:24 h begin 7 from 192.0.2.7"), now)
	if a := e.Failregex[0]; len(e.Failures) != 0 || a.Matched || a.Near < 0.6 || a.TextPos != len(" h begin 7 from 192.0.2.7\n") {
		t.Errorf("the first line: %+v", e)
	}
	e = f.Explain([]byte("Mar 10 21:31:25 h failed 7"), now)
	if a := e.Failregex[0]; len(e.Failures) != 1 || e.Failures[0].ID != "192.0.2.7" || !a.Matched || a.Groups["ip4"] != "192.0.2.7" {
		t.Errorf("the second line: %+v", e)
	}
	// An expression that can't be judged in time says so.
	f, err = Compile(Definition{Failregex: []Expr{{Text: `^(\w*)*x\1<HOST>$`}}}, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	e = f.Explain([]byte(strings.Repeat("a", 5000)), now)
	if len(e.Failregex) != 1 || e.Failregex[0].Matched {
		t.Errorf("a costly line: %+v", e)
	}
}
