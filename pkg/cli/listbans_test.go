package cli

import (
	"strings"
	"testing"
	"time"

	"bailiff/pkg/jail"
)

// TestBansListed: the head says what stands below it, and beside an id stands the address
// that its lines told.
func TestBansListed(t *testing.T) {
	start := time.Date(2026, 1, 31, 12, 0, 0, 0, time.Local)
	one := jail.BanStatus{IP: "192.0.2.7", Start: start}
	network := jail.BanStatus{IP: "203.0.113.0/24", Start: start}
	name := jail.BanStatus{IP: "my session", Name: true, Start: start}
	beside := jail.BanStatus{IP: "alice", Name: true, Address: "192.0.2.97", Start: start}
	like := jail.BanStatus{IP: "203.0.113.78", Address: "2001:db8::1", Start: start}
	for _, c := range []struct {
		bans []jail.BanStatus
		want []string // with blanks for columns
	}{
		{[]jail.BanStatus{one, network}, []string{"IP SINCE UNTIL", "192.0.2.7 SINCE for ever", "203.0.113.0/24 SINCE for ever"}},
		{[]jail.BanStatus{one, name}, []string{"ID SINCE UNTIL", "192.0.2.7 SINCE for ever", "my session SINCE for ever"}},
		{[]jail.BanStatus{like}, []string{"ID ADDRESS SINCE UNTIL", "203.0.113.78 2001:db8::1 SINCE for ever"}},
		{
			[]jail.BanStatus{one, name, beside, like},
			[]string{
				"ID ADDRESS SINCE UNTIL", "192.0.2.7 192.0.2.7 SINCE for ever", "my session - SINCE for ever",
				"alice 192.0.2.97 SINCE for ever", "203.0.113.78 2001:db8::1 SINCE for ever",
			},
		},
	} {
		var out strings.Builder
		printBans(&out, c.bans)
		var got []string
		for line := range strings.Lines(out.String()) {
			line = strings.ReplaceAll(line, start.Format(timeLayout), "SINCE")
			got = append(got, strings.Join(strings.Fields(line), " "))
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s\nwant\n%s", out.String(), strings.Join(c.want, "\n"))
		}
	}
}
