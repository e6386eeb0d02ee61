package logtime

import (
	"testing"
	"time"
)

func TestFind(t *testing.T) {
	loc, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, loc)
	cases := []struct{ name, line, want, rest string }{
		{"django", "2015-03-10 21:31:23,899 ERROR Login failure 192.0.2.7", "2015-03-10T21:31:23.899+01:00", " ERROR Login failure 192.0.2.7"},
		{"syslog", "Mar  9 21:31:23 host sshd[41]: hello", "2026-03-09T21:31:23+01:00", " host sshd[41]: hello"},
		{"syslog of last year", "Dec 31 23:59:59 host sshd[41]: hello", "2025-12-31T23:59:59+01:00", " host sshd[41]: hello"},
		{"syslog less than a day ahead", "Mar 11 10:00:00 host x", "2026-03-11T10:00:00+01:00", " host x"},
		{"RFC 3339", "2026-01-31T12:00:00.250000+02:00 host x", "2026-01-31T12:00:00.25+02:00", " host x"},
		{"UTC", "2026-01-31T12:00:00Z host x", "2026-01-31T12:00:00Z", " host x"},
		{"access log", `192.0.2.7 - - [31/Jan/2026:12:00:00 +0100] "GET / HTTP/1.1" 200 5`, "2026-01-31T12:00:00+01:00", `192.0.2.7 - - [] "GET / HTTP/1.1" 200 5`},
		{"nginx error", "2026/01/31 12:00:00 [error] 41#41: x", "2026-01-31T12:00:00+01:00", " [error] 41#41: x"},
		{"apache error", "[Sat Jan 31 12:00:00.123456 2026] [core:error] x", "2026-01-31T12:00:00.123456+01:00", "[] [core:error] x"},
		{"epoch", "1769857200.500 failure", "2026-01-31T12:00:00.5+01:00", " failure"},
		{"audit", "type=USER_AUTH msg=audit(1769857200.500:41): x", "2026-01-31T12:00:00.5+01:00", "type=USER_AUTH msg=audit(:41): x"},
		{"no such day", "2026-02-31 12:00:00 x", "", ""},
		{"none", "no date at all 12", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, err := NewDetector(nil, Options{Location: loc})
			if err != nil {
				t.Fatal(err)
			}
			m, ok := d.Find([]byte(c.line), now)
			if !ok || !m.Valid {
				if c.want != "" {
					t.Fatalf("no date found in %q", c.line)
				}
				return
			}
			want, err := time.Parse(time.RFC3339Nano, c.want)
			if err != nil {
				t.Fatalf("found %v, want none", m.Time)
			}
			if !m.Time.Equal(want) {
				t.Errorf("time %v, want %v", m.Time, want)
			}
			if rest := c.line[:m.Start] + c.line[m.End:]; rest != c.rest {
				t.Errorf("rest %q, want %q", rest, c.rest)
			}
		})
	}
}

func TestPattern(t *testing.T) {
	d, err := NewDetector([]string{`^%d\.%m\.%Y %H:%M:%S`}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, ok := d.Find([]byte("31.01.2026 12:00:00 x"), time.Now())
	if !ok || !m.Time.Equal(time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("got %v %v", m.Time, ok)
	}
	if m.Template.Name != `^Day\.Month\.Year 24hour:Minute:Second` {
		t.Errorf("name %q", m.Template.Name)
	}
	for _, bad := range []string{"%Q", "(%Y", "%Y %Y"} {
		if _, err := NewDetector([]string{bad}, Options{}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("2015-03-10 21:31:23,899 ERROR")
	f.Add("Dec 31 23:59:61 x")
	f.Add("\xff\x00[31/Jan/2026:12:00:00 +0100]")
	d, err := NewDetector(nil, Options{})
	if err != nil {
		f.Fatal(err)
	}
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, line string) {
		if m, ok := d.Find([]byte(line), now); ok && (m.Start < 0 || m.End > len(line) || m.Start >= m.End) {
			t.Errorf("span %d:%d of %d bytes", m.Start, m.End, len(line))
		}
	})
}

// TestDefaultTemplatesCompile: they are compiled when they are first asked for, where
// an error would be too late.
func TestDefaultTemplatesCompile(t *testing.T) {
	for _, year := range []int{2000, 2026, 2099, 2150} {
		list, err := defaultTemplates(year)
		if err != nil || len(list) < 30 {
			t.Fatalf("%d templates, %v", len(list), err)
		}
		for _, d := range list {
			if err := d.compile(); err != nil || d.re.String() != d.Regex() {
				t.Errorf("%s: %v", d.Name, err)
			}
		}
	}
}
