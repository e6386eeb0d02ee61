package cli

import (
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
)

// TestFleetWords: why says of a ban that stands what is wanted for it to be in force, and who has banned by hand.
func TestFleetWords(t *testing.T) {
	word := func(host, jail string, quorum int, count uint32) control.FleetWord {
		return control.FleetWord{Host: host, Group: "ssh", IP: "192.0.2.7", Jail: jail, Made: time.Now(), Failures: 3, Count: count, Stands: true, Quorum: quorum}
	}
	lifted := word("web-3", "sshd", 2, 1)
	lifted.Stands = false
	for _, c := range []struct {
		words []control.FleetWord
		want  []string
	}{
		{[]control.FleetWord{word("web-1", "sshd", 0, 1)}, []string{"(group ssh, jail sshd, 3 failures), "}},
		{[]control.FleetWord{word("web-1", "by-hand root", 0, 1)}, []string{"(group ssh, by hand, by root), "}},
		{[]control.FleetWord{word("web-1", "sshd", 2, 1)}, []string{"it stands; it is in force here when 2 hosts have banned it (quorum), and one has"}},
		{[]control.FleetWord{word("web-1", "sshd", 2, 1), lifted}, []string{"and one has", "it is lifted"}},
		{[]control.FleetWord{word("web-1", "sshd", 2, 1), word("web-2", "sshd", 2, 1)}, []string{"it stands\n", "it stands\n"}},
		{[]control.FleetWord{word("web-1", "sshd", 2, 1), word("hub", "web-1:2 web-2:2", 2, 2)}, []string{"it stands\n", "it stands\n"}},
		{[]control.FleetWord{word("web-1", "sshd", 3, 1), word("hub", "web-1:2 web-2:2", 3, 2)}, []string{"and one has", "and it was counted on 2"}},
	} {
		var b strings.Builder
		printFleetWords(&b, "192.0.2.7", c.words)
		lines := strings.SplitAfter(b.String(), "\n")
		for i, want := range c.want {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%q is not in %q", want, lines[i])
			}
		}
	}
}
