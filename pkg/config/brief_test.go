package config

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/bench/logs"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/tags"
)

func definition(t testing.TB, name string, options ...string) filter.Definition {
	t.Helper()
	given := &tags.Options{}
	for i := 0; i < len(options); i += 2 {
		given.Set(options[i], options[i+1])
	}
	f, err := fail2ban.ReadFilter("/etc/fail2ban", name, given)
	if err != nil {
		t.Fatalf("%v (make test installs Debian's fail2ban)", err)
	}
	def, err := FromFail2ban(f)
	if err != nil {
		t.Fatal(err)
	}
	return def
}

func compiled(t testing.TB, name string, options ...string) *filter.Filter {
	t.Helper()
	out, err := filter.Compile(definition(t, name, options...), time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func generated(t testing.TB, kind string, lines int, share float64) [][]byte {
	t.Helper()
	var b bytes.Buffer
	if err := logs.Write(&b, logs.Options{Kind: kind, Lines: lines, Share: share, Seed: 5, Start: time.Now().Add(-time.Hour), PerSecond: 30}); err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(b.Bytes(), []byte("\n")), []byte("\n"))
}

// manyLines are fail2ban's own samples and generated ones, and the same in reverse.
func manyLines(t *testing.T) [][]byte {
	t.Helper()
	var lines [][]byte
	samples, err := filepath.Glob("/usr/lib/python3/dist-packages/fail2ban/tests/files/logs/*")
	if err != nil || len(samples) < 50 {
		t.Fatalf("%d sample logs, %v: make test installs Debian's fail2ban", len(samples), err)
	}
	for _, s := range samples {
		if fi, err := os.Stat(s); err != nil || fi.IsDir() {
			continue
		}
		data, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range bytes.Split(data, []byte("\n")) {
			if len(l) > 0 && l[0] != '#' {
				lines = append(lines, bytes.ToValidUTF8(l, []byte("\uFFFD")))
			}
		}
	}
	for _, kind := range logs.Kinds() {
		lines = append(lines, generated(t, kind, 400, 0.5)...)
	}
	// The same lines once more in reverse, for other neighbours.
	back := slices.Clone(lines)
	slices.Reverse(back)
	return append(lines, back...)
}

// with is a filter with options.
type with struct {
	name    string
	options []string
}

// allFilters are all of fail2ban's.
func allFilters(t *testing.T) []with {
	t.Helper()
	conf, err := filepath.Glob("/etc/fail2ban/filter.d/*.conf")
	if err != nil {
		t.Fatal(err)
	}
	var filters []with
	for _, c := range conf {
		if name := strings.TrimSuffix(filepath.Base(c), ".conf"); !strings.HasSuffix(name, "-common") && name != "common" {
			filters = append(filters, with{name: name})
		}
	}
	for _, mode := range []string{"normal", "ddos", "extra", "aggressive"} {
		filters = append(filters, with{"sshd", []string{"mode", mode}}, with{"postfix", []string{"mode", mode}})
	}
	for _, name := range []string{"dovecot", "exim"} {
		filters = append(filters, with{name, []string{"mode", "aggressive"}})
	}
	return filters
}

// TestBrief: a filter that tells less finds the same failures, whatever the filter
// and the log; and so does one for which lines were looked at ahead, by a scout of
// another filter that is like it.
func TestBrief(t *testing.T) {
	sequential(t)
	lines, filters := manyLines(t), allFilters(t)
	least := 5000
	if raced { // nothing here has goroutines
		filters, least = filters[:len(filters)/20], 1
	}
	now := time.Now()
	total, without := 0, 0
	r := rand.New(rand.NewPCG(1, 2))
	for _, w := range filters {
		full, lean, ids := compiled(t, w.name, w.options...), compiled(t, w.name, w.options...), compiled(t, w.name, w.options...)
		lean.Detail, ids.Detail = filter.DetailLines, filter.DetailIDs
		ahead, other := compiled(t, w.name, w.options...), compiled(t, w.name, w.options...)
		ahead.Detail, other.Detail = filter.DetailLines, filter.DetailLines
		scout := other.NewScout()
		var seen filter.Sightings
		seenAhead := map[int]string{}
		form := ahead.Form()
		for from := 0; from < len(lines); {
			to := min(from+1+r.IntN(50), len(lines))
			if r.IntN(3) > 0 { // else, by what was the form a while ago
				form = ahead.Form()
			}
			given := &seen
			if scout == nil {
				given = nil
				without++
			} else {
				scout.Look(lines[from:to], form, &seen)
			}
			err := ahead.MatchAll(lines[from:to], given, now, func(i int, r *filter.Result) error {
				seenAhead[from+i] = told(*r, true)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			from = to
		}
		for i, l := range lines {
			a, b, c := full.Match(l, now), lean.Match(l, now), ids.Match(l, now)
			total += len(a.Failures)
			if x := told(b, true); x != seenAhead[i] {
				t.Fatalf("%s %v, line %d: %s\nalone %s\nahead %s", w.name, w.options, i, l, x, seenAhead[i])
			}
			if x, y, z := told(a, true), told(b, true), told(c, false); x != y || told(a, false) != z {
				t.Fatalf("%s %v, line %d: %s\nall   %s\nlines %s\nids   %s", w.name, w.options, i, l, x, y, z)
			}
		}
	}
	t.Logf("%d filters × %d lines, %d failures; %d blocks of lines without a scout", len(filters), len(lines), total, without)
	if total < least {
		t.Errorf("only %d failures", total)
	}
}

func told(r filter.Result, lines bool) string {
	var b strings.Builder
	if r.Err != nil {
		fmt.Fprint(&b, r.Err)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "%s %v %v %v %s %d", f.ID, f.Addr, f.IP, f.Name, f.Epoch(), f.Regex)
		if lines {
			fmt.Fprintf(&b, " %q", f.Lines)
		}
	}
	return b.String()
}

// BenchmarkFilter is the whole way of a line through fail2ban's filters, by
// detail, on a log with a tenth of failures.
func BenchmarkFilter(b *testing.B) {
	for _, of := range []struct{ filter, kind string }{
		{"sshd", "auth"},
		{"nginx-http-auth", "nginx-error"},
		{"nginx-botsearch", "nginx-access"},
		{"dovecot", "dovecot"},
		{"postfix", "mail"},
		{"apache-auth", "apache-error"},
		{"recidive", "fail2ban"},
	} {
		lines := generated(b, of.kind, 50_000, 0.1)
		for _, detail := range []filter.Detail{filter.DetailAll, filter.DetailLines, filter.DetailIDs} {
			b.Run(fmt.Sprintf("%s/%s", of.filter, []string{"all", "lines", "ids"}[detail]), func(b *testing.B) {
				f := compiled(b, of.filter)
				f.Detail = detail
				now := time.Now()
				b.ReportAllocs()
				bytes := 0
				for i := 0; b.Loop(); i++ {
					l := lines[i%len(lines)]
					bytes += len(l)
					f.Match(l, now)
				}
				b.SetBytes(int64(bytes / max(b.N, 1)))
			})
		}
	}
}
