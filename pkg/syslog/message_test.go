package syslog

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

var cet = time.FixedZone("CET", 3600)

// now is the time of these tests.
var now = time.Date(2026, 1, 2, 12, 0, 0, 0, cet)

// TestParse: messages as they are seen. A line is "host program[pid]: text" as a file of
// syslog's would hold it, with the sender's own name.
func TestParse(t *testing.T) {
	at := func(s string) time.Time {
		when, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, c := range []struct {
		name, in, line string
		time           string
		facility       uint8
		severity       uint8
	}{
		{"RFC 3164, its first example", "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8", "mymachine su: 'su root' failed for lonvick on /dev/pts/8", "2025-10-11T22:14:15+01:00", 4, 2},
		{"its second, without a program", "<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", "10.0.0.99 Use the BFG!", "2026-02-05T17:32:18+01:00", 1, 5},
		{"of a program of this host", "<38>Jan  2 11:59:59 sshd[41]: Failed password for root", "- sshd[41]: Failed password for root", "2026-01-02T11:59:59+01:00", 4, 6},
		{"of the other side of the year", "<38>Dec 31 23:59:59 host sshd[41]: x", "host sshd[41]: x", "2025-12-31T23:59:59+01:00", 4, 6},
		{"rsyslog's ISO date", "<86>2026-01-02T12:00:00.123456+02:00 host sshd[1]: x", "host sshd[1]: x", "2026-01-02T12:00:00.123456+02:00", 10, 6},
		{"an ISO date without a zone", "<86>2026-01-02T12:00:00 host sshd[1]: x", "host sshd[1]: x", "2026-01-02T12:00:00+01:00", 10, 6},
		{"a day with a zero", "<38>Jan 02 12:00:00 host p: x", "host p: x", "2026-01-02T12:00:00+01:00", 4, 6},
		{"a fraction", "<38>Jan  2 12:00:00.250 host p: x", "host p: x", "2026-01-02T12:00:00.25+01:00", 4, 6},
		{"with a year", "<166>Jan 02 2024 12:00:00: %ASA-6-605004: Login denied", "- %ASA-6-605004: Login denied", "2024-01-02T12:00:00+01:00", 20, 6},
		{"a router's", "<189>*Jan  2 12:00:00.123 UTC: %SYS-5-CONFIG_I: Configured", "- %SYS-5-CONFIG_I: Configured", "2026-01-02T12:00:00.123Z", 23, 5},
		{"no date", "<34>su: 'su root' failed", "- su: 'su root' failed", "", 4, 2},
		{"nothing but text", "<34>some words: of text", "- some words: of text", "", 4, 2},
		{"a blank behind the priority", "<34> Jan  2 12:00:00 host p[1]: x", "host p[1]: x", "2026-01-02T12:00:00+01:00", 4, 2},
		{"a host that is an address of IPv6", "<34>Jan  2 12:00:00 2001:db8::7 p[1]: x", "2001:db8::7 p[1]: x", "2026-01-02T12:00:00+01:00", 4, 2},
		{"no blank behind the colon at the end", "<34>Jan  2 12:00:00 host p[1]:", "host p[1]: ", "2026-01-02T12:00:00+01:00", 4, 2},
		{"a process without a colon", "<34>Jan  2 12:00:00 host p[1] x", "host p[1]: x", "2026-01-02T12:00:00+01:00", 4, 2},
		{"postfix", "<22>Jan  2 12:00:00 host postfix/smtpd[77]: warning: x", "host postfix/smtpd[77]: warning: x", "2026-01-02T12:00:00+01:00", 2, 6},
		{"RFC 5424, its first example", "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed for lonvick on /dev/pts/8", "mymachine.example.com su: 'su root' failed for lonvick on /dev/pts/8", "2003-10-11T22:14:15.003Z", 4, 2},
		{"its second", "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.", "192.0.2.1 myproc[8710]: %% It's time to make the do-nuts.", "2003-08-24T05:14:15.000003-07:00", 20, 5},
		{"its third, with data", `<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"] ` + "\ufeffAn application event log entry...", "mymachine.example.com evntslog: An application event log entry...", "2003-10-11T22:14:15.003Z", 20, 5},
		{"its fourth, nothing but data", `<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3"][examplePriority@32473 class="high"]`, "mymachine.example.com evntslog: ", "2003-10-11T22:14:15.003Z", 20, 5},
		{"all nil", "<0>1 - - - - - - x", "- x", "", 0, 0},
		{"all nil, no text", "<191>1 - - - - - -", "- ", "", 23, 7},
		{"escapes in data", `<34>1 - h p 1 - [a b="\]\"\\ ] x"] y`, "", "", 4, 2}, // the bracket has to be escaped
		{"escaped brackets in data", `<34>1 - h p 1 - [a b="\]\"\\ x"] y`, "h p[1]: y", "", 4, 2},
		{"a newline in a message", "<34>1 - h p 1 - - a\nsshd[1]: b", `h p[1]: a\nsshd[1]: b`, "", 4, 2},
		{"newlines at the end", "<34>1 - h p 1 - - a\r\n\x00", "h p[1]: a", "", 4, 2},
		{"bytes that are no characters", "<34>1 - h p 1 - - a\xff\x00b", "h p[1]: a\xff\x00b", "", 4, 2},
	} {
		m, err := Parse([]byte(c.in), now)
		if c.line == "" {
			if err == nil {
				t.Errorf("%s: it is taken", c.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		host := "-"
		if m.Host != nil {
			host = string(m.Host)
		}
		line, head := m.Line(host)
		if string(line) != c.line || string(line[head:]) != strings.ReplaceAll(string(m.Text), "\n", `\n`) {
			t.Errorf("%s: %q, text %q, want %q", c.name, line, line[head:], c.line)
		}
		if m.Facility != c.facility || m.Severity != c.severity {
			t.Errorf("%s: %d.%d, want %d.%d", c.name, m.Facility, m.Severity, c.facility, c.severity)
		}
		if c.time == "" != m.Time.IsZero() || c.time != "" && !m.Time.Equal(at(c.time)) {
			t.Errorf("%s: of %v, want %s", c.name, m.Time, c.time)
		}
	}
}

// TestMalformed: 40 messages that are none, or hardly, and what becomes of them.
func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		in   string
		want error  // nil: it is taken
		line string // as what
	}{
		{"", ErrEmpty, ""},
		{"\n", ErrEmpty, ""},
		{"\x00\x00", ErrEmpty, ""},
		{"no priority", ErrPriority, ""},
		{"<", ErrPriority, ""},
		{"<>", ErrPriority, ""},
		{"<>x", ErrPriority, ""},
		{"<1", ErrPriority, ""},
		{"<192>x", ErrPriority, ""},
		{"<999>x", ErrPriority, ""},
		{"<1234>x", ErrPriority, ""},
		{"<-1>x", ErrPriority, ""},
		{"<+1>x", ErrPriority, ""},
		{"<a>x", ErrPriority, ""},
		{"< 1>x", ErrPriority, ""},
		{" <1>x", ErrPriority, ""},
		{"\xef\xbb\xbf<1>x", ErrPriority, ""},
		{"GET / HTTP/1.1", ErrPriority, ""},
		{"\x16\x03\x01\x02\x00", ErrPriority, ""},
		{"sshd[1]: Failed password for root from 192.0.2.7", ErrPriority, ""}, // the rest of a message with a newline in it
		{"<34>1 ", ErrHeader, ""},
		{"<34>1 - - -", ErrHeader, ""},
		{"<34>1 - - - - - ", ErrStructure, ""},
		{"<34>1 yesterday h p 1 - - x", ErrHeader, ""},
		{"<34>1 2026-13-01T00:00:00Z h p 1 - - x", ErrHeader, ""},
		{"<34>1 2026-01-01 00:00:00 h p 1 - - x", ErrHeader, ""},
		{"<34>1 -  h p 1 - - x", ErrHeader, ""},
		{"<34>1 - " + strings.Repeat("h", 300) + " p 1 - - x", ErrHeader, ""},
		{"<34>1 - h\x01 p 1 - - x", ErrHeader, ""},
		{"<34>1 - h p 1 - x", ErrStructure, ""},
		{"<34>1 - h p 1 - -x", ErrStructure, ""},
		{"<34>1 - h p 1 - [] x", ErrStructure, ""},
		{`<34>1 - h p 1 - [a b="c" x`, ErrStructure, ""},
		{`<34>1 - h p 1 - [a b=c] x`, ErrStructure, ""},
		{`<34>1 - h p 1 - [a b="c\"] x`, ErrStructure, ""},
		{`<34>1 - h p 1 - [a b="c"]x`, ErrStructure, ""},
		{"<34>2 - h p 1 - - x", nil, "- 2 - h p 1 - - x"}, // no version that anybody has seen: text
		{"<34>Oct 41 22:14:15 host p: x", nil, "- Oct 41 22:14:15 host p: x"},
		{"<34>Okt 11 22:14:15 host p: x", nil, "- Okt 11 22:14:15 host p: x"},
		{"<34>Oct 11 25:14:15 host p: x", nil, "- Oct 11 25:14:15 host p: x"},
		{"<34>", nil, "- "},
		{"<34>1 - h x[2]:y 3 - - sshd[1]: z", nil, "h sshd[1]: z"}, // no program can be called so
		{"<34>1 - h p 1]:x - - z", nil, "h p: z"},
		{"<034>su: x", nil, "- su: x"},
	} {
		m, err := Parse([]byte(c.in), now)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%q: %v, want %v", c.in, err, c.want)
			continue
		}
		if err != nil {
			continue
		}
		host := "-"
		if m.Host != nil {
			host = string(m.Host)
		}
		if line, _ := m.Line(host); string(line) != c.line {
			t.Errorf("%q: %q, want %q", c.in, line, c.line)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"<34>Oct 11 22:14:15 mymachine su: 'su root' failed", `<165>1 2003-10-11T22:14:15.003Z h e - ID47 [x@1 a="\"]"] y`, "<0>1 - - - - - -",
		"<189>*Jan  2 12:00:00.123 UTC: %SYS-5: x", "<34>2026-01-02T12:00:00 host p[1]: x\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data, now)
		if err != nil {
			return
		}
		if m.Facility > 23 || m.Severity > 7 || bytes.ContainsAny(m.Program, " \n[]") || bytes.ContainsAny(m.PID, " \n]") || bytes.ContainsAny(m.Host, " \n") {
			t.Errorf("%q: %+v", data, m)
		}
		line, head := m.Line("host")
		if bytes.IndexByte(line, '\n') >= 0 || head > len(line) || !bytes.HasPrefix(line, []byte("host ")) {
			t.Errorf("%q: line %q, head %d", data, line, head)
		}
		own := bytes.Clone(data)
		for _, part := range [][]byte{m.Host, m.Program, m.PID, m.Text} {
			if !bytes.Equal(moved(part, data, own), part) {
				t.Errorf("%q: %q is moved to %q", data, part, moved(part, data, own))
			}
		}
	})
}
