package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// What docs/filters.md tells of proofs. That it is so, TestProved looks at.

// prove counts what is known of a sample.
func (r *row) prove(s Sample) {
	switch text := fmt.Sprintf("%s: %s", s.Unproved, s.Why); {
	case s.Client == nil:
	case s.Unproved == "":
		r.proved++
	case !slices.Contains(r.unproved, text):
		r.unproved = append(r.unproved, text)
	}
}

func (r *row) proof() string {
	if len(r.unproved) > 0 {
		return "[but](#what-a-client-can-do)"
	}
	return "yes"
}

func proofsDoc(rows []row) string {
	var b strings.Builder
	whole, lines := 0, 0
	for _, r := range rows {
		lines += r.proved
		if len(r.unproved) == 0 {
			whole++
		}
	}
	fmt.Fprintf(&b, `
## What a client can do

Each expression has a sample that says which parts of its line a client chooses, and of
which characters; so has a line of the same log that is no failure. For all texts that a
client may choose at once, `+"`bailiff filter prove`"+` follows the expressions over such a line:
*proved* says that no text makes another address count, and none makes the true one not
count. %d of %d filters are, with all of their %d lines; the others are but for lines of
which their service writes what a client chose as it is, before and behind the address:

`, whole, len(rows), lines)
	for _, r := range rows {
		if len(r.unproved) > 0 {
			fmt.Fprintf(&b, "- **%s**: %s.\n", r.name, strings.Join(r.unproved, "; "))
		}
	}
	b.WriteString(`
*Evadable* is such a line where what can be read in two ways is not taken: nobody else is
banned for it. *Forgeable* needs what is said there.

No proof covers a service that writes a newline which a client sent: the rest is a line of
its own. nginx does in its error log (a path with ` + "`%0a`" + `, seen on 1.22.1): any line can be put
there, also one of a wrong password from another address. What keeps it out, in each
` + "`server`" + `: ` + "`if ($uri ~ \"[\\x00-\\x1f]\") { return 400; }`" + `.

`)
	b.WriteString(fuzzed)
	b.WriteString(`
The same for fail2ban's own filters, with the lines of its sample logs that they take
(of each six kinds), in which what <F-USER> takes is what a client chooses, of any
characters (` + "`go test ./pkg/config -run TestProveFail2ban -prove.fail2ban`" + `). Whether its service
lets such a text through is not known there.

`)
	theirs, err := os.ReadFile(fail2banProofs)
	if err != nil {
		return err.Error()
	}
	b.Write(theirs)
	return b.String()
}

// fuzzed are the figures of a run with many lines.
const fuzzed = "Beside each proof, lines are made up of the filter's own words, other addresses and what stands\naround lines: 100,000 for each filter, 9,709,880 in all (of lines of connections 2,000 a sample),\nrefuted none (`go test ./pkg/config -run TestProved -prove.lines 100000`).\n"
