package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/references"
	"bailiff/pkg/tags"
)

var proveFail2ban = flag.Bool("prove.fail2ban", false, "prove all of fail2ban's filters, not a few, and write the numbers")

// fail2banProofs is where the numbers are kept that docs/filters.md tells.
const fail2banProofs = "testdata/prove-fail2ban.txt"

// mostKinds is how many kinds of lines of a sample log are looked at for each filter and mode.
const mostKinds = 6

// TestProveFail2ban has the prover look at fail2ban's own filters, with the lines of its
// sample logs that they take: what <F-USER> takes of them counts as what a client chooses.
func TestProveFail2ban(t *testing.T) {
	sequential(t)
	all := hosttest.Fail2bans(t)
	var text strings.Builder
	for _, v := range []references.Fail2ban{all[0], all[len(all)-1]} {
		logs, err := filepath.Glob(filepath.Join(v.Lib, fail2banLogs, "*"))
		if err != nil || len(logs) == 0 {
			t.Fatalf("no sample logs of %s: %v", v.Version, err)
		}
		found := map[string]filter.Verdict{}
		reasons := map[string]int{}
		without := 0
		var mu sync.Mutex
		t.Run(v.Version, func(t *testing.T) {
			for _, log := range logs {
				name := filepath.Base(log)
				if _, err := os.Stat(filepath.Join(v.Config, "filter.d", name+".conf")); err != nil {
					continue
				}
				if !*proveFail2ban && !slices.Contains([]string{"dropbear", "vsftpd", "gitlab", "xrdp"}, name) {
					continue
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					verdict, why := proveTheirs(t, v, name, log)
					mu.Lock()
					defer mu.Unlock()
					if verdict == "" {
						without++
						return
					}
					found[name] = verdict
					if verdict == filter.Undecided {
						reasons[why]++
					}
				})
			}
		})
		count := map[filter.Verdict][]string{}
		for _, name := range sortedKeys(found) {
			count[found[name]] = append(count[found[name]], name)
		}
		fmt.Fprintf(&text, "- fail2ban %s: %d filters of which a sample line names a user, %d of which none does. ", strings.Split(v.Version, "-")[0], len(found), without)
		for i, verdict := range []filter.Verdict{filter.Proved, filter.Forgeable, filter.Evadable, filter.Undecided} {
			if i > 0 {
				text.WriteString("; ")
			}
			fmt.Fprintf(&text, "%s: %d (%s)", verdict, len(count[verdict]), strings.Join(count[verdict], ", "))
		}
		text.WriteString(".")
		for _, why := range sortedKeys(reasons) {
			fmt.Fprintf(&text, " Not decided since %s: %d.", why, reasons[why])
		}
		text.WriteString("\n")
		// [x] FAIL LOGIN: Client "203.0.113.9",] FAIL LOGIN: Client "192.0.2.7"
		if v == all[len(all)-1] && found["vsftpd"] != filter.Forgeable {
			t.Errorf("vsftpd of %s: %s, want %s", v.Version, found["vsftpd"], filter.Forgeable)
		}
	}
	t.Log(text.String())
	if *proveFail2ban {
		hosttest.Write(t, fail2banProofs, text.String())
	}
}

// proveTheirs returns the worst that is known of a filter of fail2ban's; "": no line of its
// log says who the user is.
func proveTheirs(t *testing.T, v references.Fail2ban, name, log string) (worst filter.Verdict, why string) {
	kinds := map[string]bool{}
	for _, x := range readExpected(t, log) {
		if !x.match || x.other {
			continue
		}
		for _, mode := range x.modes {
			options := &tags.Options{}
			if mode != "" {
				options.Set("mode", mode)
			}
			f, err := fail2ban.ReadFilter(v.Config, name, options)
			if err != nil {
				t.Fatal(err)
			}
			def, err := FromFail2ban(f)
			if err != nil {
				return worst, why
			}
			p, ok := filter.ProbeOf(def, time.UTC, x.line, time.Now())
			if !ok {
				continue
			}
			kind := mode + strings.Map(func(r rune) rune {
				if r >= '0' && r <= '9' {
					return -1
				}
				return r
			}, strings.Replace(p.Line, p.Client[0].Text, "\x00", 1))
			if kinds[kind] || len(kinds) >= mostKinds {
				continue
			}
			kinds[kind] = true
			p.Most = 40_000 // for some, all of them would take many minutes
			proof, err := filter.Prove(def, time.UTC, p)
			if err != nil {
				continue
			}
			t.Logf("%s: %s %s%s%s", name, proof.Verdict, proof.Forged, proof.Evading, proof.Reason)
			order := []filter.Verdict{"", filter.Proved, filter.Undecided, filter.Evadable, filter.Forgeable}
			if slices.Index(order, proof.Verdict) > slices.Index(order, worst) {
				worst, why = proof.Verdict, kindOf(proof.Reason)
			}
		}
	}
	return worst, why
}

// kindOf is a reason without what it quotes.
func kindOf(reason string) string {
	if i := strings.IndexAny(reason, `"`); i >= 0 {
		reason = reason[:i]
	}
	reason, _, _ = strings.Cut(reason, ":")
	return strings.Trim(reason, " ,;")
}
