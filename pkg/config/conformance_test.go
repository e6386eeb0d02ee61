package config

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/tags"
)

// A fail2ban to compare with: Debian's, or another one that LIB, CONFIG and LOGS
// name (make conformance).
var (
	lib        = cmp.Or(os.Getenv("LIB"), "/usr/lib/python3/dist-packages")
	tree       = cmp.Or(os.Getenv("CONFIG"), "/etc/fail2ban")
	sampleLogs = cmp.Or(os.Getenv("LOGS"), filepath.Join(lib, "fail2ban/tests/files/logs"))
)

type sampleLine struct {
	Filter   string         `json:"filter"`
	Opts     map[string]any `json:"opts"`
	N        int            `json:"n"`
	Line     string         `json:"line"`
	Journal  bool           `json:"journal"`
	Ignored  bool           `json:"ignored"`
	Failures []sampleFailure
}

type sampleFailure struct {
	ID      any            `json:"id"`
	Time    *float64       `json:"time"`
	Regex   int            `json:"regex"`
	Matches int            `json:"matches"`
	Groups  map[string]any `json:"groups"`
}

func (f sampleFailure) String() string {
	when := "none"
	if f.Time != nil {
		when = fmt.Sprintf("%.3f", *f.Time)
	}
	groups, _ := json.Marshal(f.Groups)
	return fmt.Sprintf("id %v, time %s, regex %d, %d lines, groups %s", f.ID, when, f.Regex, f.Matches, groups)
}

// sampleLines is how many sample lines the package of a version holds.
var sampleLines = map[string]int{"1.0.2": 1375, "1.1.0": 1419, "1.1.1": 1557}

// TestConformance runs every filter of a fail2ban tree on fail2ban's own sample
// logs, there and here: id, time, number of the regex, groups, the number of
// lines that made the failure, and whether a line is ignored. It does so for each
// fail2ban that there is.
func TestConformance(t *testing.T) {
	sequential(t)
	if os.Getenv("LIB")+os.Getenv("CONFIG")+os.Getenv("LOGS") != "" {
		conformance(t, lib, tree, sampleLogs, 1)
		return
	}
	all := hosttest.Fail2bans(t)
	for _, r := range all {
		version := r.Release()
		t.Run(version, func(t *testing.T) {
			conformance(t, r.Lib, r.Config, filepath.Join(r.Lib, "fail2ban/tests/files/logs"), cmp.Or(sampleLines[version], 1557))
		})
	}
}

func conformance(t *testing.T, lib, tree, sampleLogs string, least int) {
	cmd := exec.Command("/usr/bin/python3", "testdata/samples.py", lib, tree, sampleLogs)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1124013600, 0)
	compiled := map[string]*filter.Filter{}
	names := map[string]bool{}
	lines, bad := 0, 0
	in := bufio.NewReaderSize(out, 1<<20)
	for {
		raw, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var s sampleLine
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		opts, _ := json.Marshal(s.Opts)
		key := s.Filter + " " + string(opts)
		f := compiled[key]
		if f == nil {
			if f, err = sampleFilter(s, tree, zurich); err != nil {
				t.Errorf("%s: %v", key, err)
				bad++
				continue
			}
			compiled[key] = f
			names[s.Filter] = true
		}
		lines++
		var r filter.Result
		if s.Journal {
			r = f.MatchAt("", []byte(s.Line), now)
		} else {
			r = f.Match([]byte(s.Line), now)
		}
		var got, want []string
		for _, x := range r.Failures {
			g := sampleFailure{ID: x.ID, Regex: x.Regex, Matches: len(x.Lines), Groups: x.Groups}
			if !x.Time.IsZero() {
				// fail2ban drops fractions of a second, but for those of EPOCH.
				sec := float64(x.Time.Unix())
				g.Time = &sec
			}
			got = append(got, g.String())
		}
		for _, x := range s.Failures {
			if x.Time != nil {
				sec := float64(int64(*x.Time))
				x.Time = &sec
			}
			want = append(want, x.String())
		}
		if !slices.Equal(got, want) || (r.Ignored >= 0) != s.Ignored {
			bad++
			t.Errorf("%s line %d: %s\n ours   %q ignored %v\n theirs %q ignored %v", key, s.N, s.Line, got, r.Ignored >= 0, want, s.Ignored)
			if bad > 20 {
				t.Fatal("too many differences")
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("testdata/samples.py: %v (it needs Debian's package fail2ban; make test installs it)", err)
	}
	t.Logf("%d of %d lines equal; %d filters, %d with options", lines-bad, lines, len(names), len(compiled))
	if lines < least {
		t.Errorf("%d lines, want %d: is the package whole?", lines, least)
	}
}

func sampleFilter(s sampleLine, tree string, loc *time.Location) (*filter.Filter, error) {
	given := &tags.Options{}
	for k, v := range s.Opts {
		given.Set(k, fmt.Sprint(v))
	}
	read, err := fail2ban.ReadFilter(tree, s.Filter, given)
	if err != nil {
		return nil, err
	}
	def, err := FromFail2ban(read)
	if err != nil {
		return nil, err
	}
	f, err := filter.Compile(def, loc)
	if err != nil {
		return nil, err
	}
	f.RawHosts = true
	return f, nil
}
