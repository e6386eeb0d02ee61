package fail2ban

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/references"
	"bailiff/pkg/tags"
)

// oracle is the real fail2ban's own reader.
type oracle struct{ *hosttest.Oracle }

type answer struct {
	Error    string
	OK       bool
	Commands [][]any
}

func startOracle(t *testing.T) *oracle {
	t.Helper()
	return &oracle{hosttest.StartOracle(t, hosttest.Newest(t), "testdata/ask.py")}
}

func (o *oracle) ask(t *testing.T, question map[string]any) (a answer) {
	t.Helper()
	o.Ask(t, question, &a)
	return a
}

var filterOptionsLine = regexp.MustCompile(`(?m)^#+ ?filterOptions:(.+)$`)

// optionSets are the options under which fail2ban's own tests read a filter.
func optionSets(t *testing.T, r references.Fail2ban, name string) []map[string]any {
	t.Helper()
	sets := []map[string]any{{}, {"logtype": "journal"}, {"logtype": "file"}}
	data, err := os.ReadFile(filepath.Join(r.Lib, "fail2ban/tests/files/logs", name))
	if err != nil {
		return sets
	}
	for _, m := range filterOptionsLine.FindAllSubmatch(data, -1) {
		var one map[string]any
		var many []map[string]any
		if json.Unmarshal(m[1], &many) != nil {
			if err := json.Unmarshal(m[1], &one); err != nil {
				t.Fatal(err)
			}
			many = []map[string]any{one}
		}
		for _, o := range many {
			for k := range o {
				if strings.HasPrefix(k, "test.") {
					delete(o, k)
				}
			}
			sets = append(sets, o)
		}
	}
	return sets
}

// commands puts a filter in the form of the oracle's answer.
func (f *Filter) commands() []string {
	var out []string
	add := func(key string, values ...string) {
		if len(values) > 0 && (len(values) > 1 || values[0] != "") {
			out = append(out, fmt.Sprintf("%s %q", key, values))
		}
	}
	add("prefregex", f.PrefRegex)
	add("maxlines", f.MaxLines)
	add("usedns", f.UseDNS)
	add("addfailregex", f.FailRegex...)
	add("addignoreregex", f.IgnoreRegex...)
	add("datepattern", f.DatePattern...)
	add("addjournalmatch", f.JournalMatch...)
	slices.Sort(out)
	return out
}

func theirs(a answer) []string {
	var out []string
	journal := []string{}
	for _, c := range a.Commands {
		key := c[2].(string)
		var values []string
		if list, ok := c[3].([]any); ok {
			for _, v := range list {
				values = append(values, v.(string))
			}
		} else {
			values = []string{fmt.Sprint(c[3])}
		}
		if key == "addjournalmatch" {
			words := []string{}
			for _, v := range c[3:] {
				words = append(words, v.(string))
			}
			journal = append(journal, strings.Join(words, " "))
			continue
		}
		if len(values) == 1 && values[0] == "" {
			continue
		}
		out = append(out, fmt.Sprintf("%s %q", key, values))
	}
	if len(journal) > 0 {
		out = append(out, fmt.Sprintf("addjournalmatch %q", journal))
	}
	slices.Sort(out)
	return out
}

// TestFilters resolves every filter of each fail2ban with every set of
// options that its tests use, and compares with fail2ban.
func TestFilters(t *testing.T) {
	o := startOracle(t)
	for _, r := range hosttest.Fail2bans(t) {
		t.Run(r.Version, func(t *testing.T) { filters(t, o, r) })
	}
}

func filters(t *testing.T, o *oracle, r references.Fail2ban) {
	tree := r.Config
	files, _ := filepath.Glob(filepath.Join(tree, "filter.d", "*.conf"))
	n := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".conf")
		if strings.HasSuffix(name, "common") {
			continue
		}
		for _, set := range optionSets(t, r, name) {
			given := &tags.Options{}
			for _, k := range slices.Sorted(maps.Keys(set)) {
				given.Set(k, fmt.Sprint(set[k]))
			}
			a := o.ask(t, map[string]any{"tree": tree, "filter": name, "options": set})
			f, err := ReadFilter(tree, name, given)
			if err != nil || a.Error != "" {
				t.Errorf("%s %v: ours %v, theirs %s", name, set, err, a.Error)
				continue
			}
			n++
			if got, want := f.commands(), theirs(a); !slices.Equal(got, want) {
				t.Errorf("%s %v:\n ours   %s\n theirs %s", name, set, strings.Join(got, "\n        "), strings.Join(want, "\n        "))
			}
		}
	}
	t.Logf("%d filters with options", n)
}
