package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/references"
	"bailiff/zoo/animals"
)

var updateDocs = flag.Bool("update-docs", false, "write docs/filters.md anew")

// fail2banLogs is where a fail2ban's package holds sample logs, with what is expected of
// each line; the tests read those of two versions.
const fail2banLogs = "fail2ban/tests/files/logs"

// sameAtLeast is how many of the lines that name an address a stock filter must read as
// fail2ban's does, in percent, over all.
const sameAtLeast = 97

// otherLog names the sample log of a filter that has another name there.
var otherLog = map[string]string{
	"pam": "pam-generic", "phpmyadmin": "phpmyadmin-syslog", "gitea": "",
}

// expected is a line of a sample log.
type expected struct {
	line  string
	match bool
	host  string
	modes []string // with one of which it is to be read; "": none
	other bool     // options that ours has not
}

// readExpected reads a sample log of fail2ban's.
func readExpected(t *testing.T, path string) (out []expected) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (make test installs Debian's fail2ban)", err)
	}
	modes, other := []string{""}, false
	var next *expected
	for _, line := range strings.Split(string(data), "\n") {
		if text, ok := strings.CutPrefix(line, "# filterOptions:"); ok {
			var list []map[string]string
			if err := json.Unmarshal([]byte(text), &list); err != nil {
				var one map[string]string
				if err := json.Unmarshal([]byte(text), &one); err != nil {
					t.Fatalf("%s: %q: %v", path, line, err)
				}
				list = []map[string]string{one}
			}
			modes, other = nil, true
			for _, o := range list {
				foreign := false
				for k := range o {
					foreign = foreign || k != "mode" && k != "logtype" && k != "test.prefix-line" || k == "logtype" && o[k] != "file" || k == "test.prefix-line"
				}
				if !foreign {
					other = false
					modes = append(modes, o["mode"])
				}
			}
			continue
		}
		if text, ok := strings.CutPrefix(line, "# failJSON:"); ok {
			var want struct {
				Match bool   `json:"match"`
				Host  string `json:"host"`
			}
			if err := json.Unmarshal([]byte(text), &want); err != nil {
				t.Fatalf("%s: %q: %v", path, line, err)
			}
			next = &expected{match: want.Match, host: want.Host, modes: modes, other: other}
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") || next == nil {
			continue
		}
		next.line = string(bytes.ToValidUTF8([]byte(line), []byte("\uFFFD")))
		out = append(out, *next)
		next = nil
	}
	return out
}

// exception is a line on which a filter of ours differs from fail2ban's, and why.
type exception struct{ filter, text, reason string }

// row is what docs/filters.md tells of a filter.
type row struct {
	name, description        string
	origin                   string
	attempts                 bool
	seen                     []string // services, their versions, and where
	modes                    []string
	samples, others, attacks int
	theirs, same             [2]int // lines that name an address, by version
	differences              int
	reasons                  []string
	proved                   int // lines with which it is proved
	unproved                 []string
}

// TestStockFilters runs the samples of all stock filters, and fail2ban's sample logs of the
// same services through ours: each line that it expects to match does, with the same
// address, and none that it expects not to.
func TestStockFilters(t *testing.T) {
	sequential(t)
	cfg, err := Load(Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	all := hosttest.Fail2bans(t)
	versions := []references.Fail2ban{all[0], all[len(all)-1]}
	// The page is of 1.0 and 1.1.1. Debian 13's Python runs no 1.0.
	paged := strings.HasPrefix(all[0].Version, "1.0.")
	if !paged {
		versions[0] = versions[1]
		t.Logf("fail2ban 1.0 can't run on this machine: its sample logs and docs/filters.md are not compared; make test on Debian 12 does")
	}
	var rows []row
	used := make([]bool, len(exceptions))
	now := time.Now()
	for _, name := range sortedKeys(cfg.Filters) {
		f := cfg.Filters[name]
		r := row{name: name, description: f.Description, modes: f.Modes, origin: f.Origin, attempts: f.raw.Attempts}
		if len(f.Errors) > 0 {
			t.Errorf("%s: %v", name, f.Errors)
			continue
		}
		for _, s := range f.Samples {
			if s.From != "" && !slices.Contains(r.seen, s.From) {
				r.seen = append(r.seen, s.From)
			}
			r.prove(s)
			switch {
			case s.Injection:
				r.attacks++
			case s.Match:
				r.samples++
			default:
				r.others++
			}
			if problem := f.Check(s); problem != "" {
				t.Errorf("%s:%d: %s: %s", s.File, s.LineNo, problem, s.Line)
			}
		}
		if len(r.seen) == 0 && r.origin == "" {
			t.Errorf("%s: no sample says which version of the service wrote it (from), and the filter does not say where its lines are from (source)", name)
		}
		if r.samples == 0 || r.others == 0 || r.attacks == 0 {
			t.Errorf("%s: %d samples that match, %d that don't, %d injections: want one of each at least", name, r.samples, r.others, r.attacks)
		}
		log, named := otherLog[name]
		if !named {
			log = name
		}
		seen := map[string]bool{}
		for i, v := range versions {
			path := filepath.Join(v.Lib, fail2banLogs, log)
			if _, err := os.Stat(path); err == nil && log != "" {
				crossCheck(t, f, path, now, &r, i, used, seen)
			}
		}
		rows = append(rows, r)
	}
	for i, u := range used {
		if !u && paged {
			t.Errorf("an exception that is none: %+v", exceptions[i])
		}
	}
	var names [2]string
	for i, v := range versions {
		names[i] = v.Release()
		theirs, same := 0, 0
		for _, r := range rows {
			theirs, same = theirs+r.theirs[i], same+r.same[i]
		}
		if same*100 < theirs*sameAtLeast {
			t.Errorf("fail2ban %s: %d of %d lines that name an address are read the same: want %d %%", v.Version, same, theirs, sameAtLeast)
		}
	}
	if t.Failed() || !paged {
		return
	}
	compareDocs(t, filtersDoc(rows, names))
}

// crossCheck compares a filter with what fail2ban expects of its sample log. Lines that were
// seen in an older version's are not told again.
func crossCheck(t *testing.T, f *Filter, log string, now time.Time, r *row, version int, used []bool, seen map[string]bool) {
	filters := map[string]*filter.Filter{}
	for _, x := range readExpected(t, log) {
		if x.other {
			continue // read with options that ours has not
		}
		for _, mode := range x.modes {
			if mode != "" && !slices.Contains(f.Modes, mode) {
				continue
			}
			c := filters[mode]
			if c == nil {
				def, err := f.definition(mode)
				if err != nil {
					t.Fatal(err)
				}
				def.Attempts = false // what is asked is whether each line is understood
				if c, err = filter.Compile(def, time.UTC); err != nil {
					t.Fatal(err)
				}
				filters[mode] = c
			}
			got := c.Match([]byte(x.line), now)
			host := ""
			if len(got.Failures) > 0 {
				host = got.Failures[0].ID
			}
			want := ""
			if x.match {
				want = x.host
				if a, err := netip.ParseAddr(want); err == nil {
					want = a.Unmap().String()
				}
			}
			_, notAddress := netip.ParseAddr(want)
			if notAddress == nil {
				r.theirs[version]++
			}
			if host == want {
				if notAddress == nil {
					r.same[version]++
				}
				continue
			}
			reason := ""
			for i, e := range exceptions {
				if e.filter == f.Name && strings.Contains(x.line, e.text) {
					used[i], reason = true, e.reason
				}
			}
			if reason == "" && notAddress != nil && want != "" && host == "" {
				reason = "host names are not taken: whoever owns an address decides what it is called"
			}
			if reason == "" {
				t.Errorf("%s, mode %q: %q, want %q: %s", f.Name, mode, host, want, x.line)
				continue
			}
			if !seen[mode+x.line] {
				r.differences++
			}
			seen[mode+x.line] = true
			if !slices.Contains(r.reasons, reason) {
				r.reasons = append(r.reasons, reason)
			}
		}
	}
}

// filtersDoc is docs/filters.md; versions are those of fail2ban.
func filtersDoc(rows []row, versions [2]string) string {
	var b strings.Builder
	samples, others, attacks := 0, 0, 0
	var theirs, same [2]int
	for _, r := range rows {
		samples, others, attacks = samples+r.samples, others+r.others, attacks+r.attacks
		for i := range theirs {
			theirs[i], same[i] = theirs[i]+r.theirs[i], same[i]+r.same[i]
		}
	}
	fmt.Fprintf(&b, `# The stock filters

%d filters, each with lines that match (%d), lines that don't (%d), and lines in
which a client tries to have another address taken for its own (%d; "injections").
Where fail2ban has a filter of the same service, its sample logs are run through
ours: of the lines that name an address, %d of %d of version %s's are read the same
(%.1f %%), and %d of %d of %s's (%.1f %%); the others are listed below with their reasons.
`+"`bailiff filter test` runs the samples, `go test ./pkg/config -run TestStockFilters` all\nof it; `-update-docs` writes this page.\n\n", len(rows), samples, others, attacks,
		same[0], theirs[0], versions[0], 100*float64(same[0])/float64(theirs[0]), same[1], theirs[1], versions[1], 100*float64(same[1])/float64(theirs[1]))
	fmt.Fprintf(&b, "| filter | modes | match | don't | injections | %s's lines, the same | %s's | proved | |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n", versions[0], versions[1])
	for _, r := range rows {
		check := [2]string{}
		for i := range check {
			if r.theirs[i] > 0 {
				check[i] = fmt.Sprintf("%d of %d", r.same[i], r.theirs[i])
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %s | %s | %s | %s |\n", r.name, strings.Join(r.modes, ", "), r.samples, r.others, r.attacks, check[0], check[1], r.proof(), r.description)
	}
	seen := 0
	for _, r := range rows {
		if len(r.seen) > 0 {
			seen++
		}
	}
	var attempts []string
	for _, r := range rows {
		if r.attempts {
			attempts = append(attempts, r.name)
		}
	}
	fmt.Fprintf(&b, "\n## Attempts, not lines\n\nWhere a service writes several lines for one attempt, it counts once. These filters say\n`attempts = true`, and which connection a line is of (`<F-MLFID>`): %s. A\nconnection has as many attempts as there are lines of the kind that it has most of.\n", strings.Join(attempts, ", "))
	fmt.Fprintf(&b, "\n## Where their lines are from\n\n%d of the filters have counted a real service's lines in the zoo (`make zoo`), which it\nkeeps as samples; of the others it is said where their lines are from.\n\n| filter | seen on |\n| --- | --- |\n", seen)
	for _, r := range rows {
		where := strings.Join(r.seen, ", ")
		if r.origin != "" {
			where = strings.TrimPrefix(where+"; "+r.origin, "; ")
		}
		fmt.Fprintf(&b, "| %s | %s |\n", r.name, where)
	}
	b.WriteString("\nThe table of its last whole run is in [bench/zoo.md](../bench/zoo.md). What it plays and can't\ncount, and what it can't play:\n\n")
	for _, line := range animals.Missing() {
		b.WriteString("- " + line + "\n")
	}
	b.WriteString(proofsDoc(rows))
	b.WriteString("\n## Where they differ from fail2ban's\n\n")
	for _, r := range rows {
		if len(r.reasons) > 0 {
			fmt.Fprintf(&b, "- **%s** (%d): %s.\n", r.name, r.differences, strings.Join(r.reasons, "; "))
		}
	}
	return b.String()
}

func compareDocs(t *testing.T, text string) {
	t.Helper()
	const path = "../../docs/filters.md"
	if *updateDocs {
		hosttest.Write(t, path, text)
		return
	}
	if have, err := os.ReadFile(path); err != nil || string(have) != text {
		t.Errorf("docs/filters.md is not as it would be written now (%v): go test ./pkg/config -run TestStockFilters -update-docs", err)
	}
}

// exceptions are known, and wanted.
var exceptions = []exception{
	{"sogo-auth", "192.0.2.16, 10.0.0.1", "a list that a client may have begun: counted with trusted proxies named"},
	{"sshd", "sshd[32310]: Connection closed by", connection},
	{"sshd", "sshd[2716]: Connection closed by", "PAM's own line counts in the filter pam"},
	{"sshd", "ssh1: ruser", twoWays},
	{"sshd", "ssh2: from 10.10.1.2", twoWays},
	{"pam", "rhost=192.0.2.151", twoWays},
	{"pam", "rhost=192.0.2.152", twoWays},
	{"freeswitch", "SIP auth challenge", "a challenge is how every call begins: it counts in mode ddos only"},
	{"mongodb-auth", "end connection", "MongoDB logs JSON since 4.4; its older text is not read"},
	{"postfix", "improper command pipelining", "a mode adds to what the filter finds in any case"},
	{"sendmail-reject", "root@yourhost.com", "a line of a connection that names the sender, and no reason"},
	{"nginx-limit-req", "delaying request", "delayed, and not refused: it counts in mode delay only"},
	{"vsftpd", "vsftpd(pam_unix)[15522]", "fail2ban 1.0.2 does not take this line, 1.1.1 does"},
	{"postfix", "does not resolve to address", "a warning of what is wrong with a name, which is written of friends, too"},
	{"postfix", "lost connection after AUTH", "a mode adds to what the filter finds in any case"},
	{"sendmail-reject", "davaojk25", "a line of a connection that names the sender, and no reason"},
	{"nginx-http-auth", `user "test": password mismatch, client: 127.0.0.1`, "a user name of basic authentication holds no colon: such a line can't come about, and the first address is nginx's own"},
}

const (
	connection = "several lines of a connection are one failure there; here each line that names the address of a failure is"
	twoWays    = "the client can write it so that it can be read in two ways; it is not taken"
)
