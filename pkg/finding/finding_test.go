package finding

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestOrder: what is broken first, then what is doubtful, what nobody has seen, what is well; and by links.
func TestOrder(t *testing.T) {
	r := Report{Jails: []string{"a"}, Findings: []Finding{
		{Jail: "a", Link: LinkLog},
		{Jail: "a", Link: LinkBan, Level: Unlooked},
		{Link: LinkBan, Level: Doubtful, Symptom: NoDaemon},
		{Jail: "b", Link: LinkSums, Level: Doubtful},
		{Jail: "a", Link: LinkBan, Level: Broken},
		{Jail: "a", Link: LinkLog, Level: Broken},
	}}
	r.Sort()
	var got []string
	for _, f := range r.Findings {
		got = append(got, f.Level.String()+" "+f.Link)
	}
	want := "broken log, broken ban, doubtful sums, doubtful ban, not looked at ban, ok log"
	if strings.Join(got, ", ") != want || r.Level != Broken {
		t.Errorf("%s: %s, want %s", r.Level, strings.Join(got, ", "), want)
	}
	if o := r.Others(); len(o) != 2 || o[0] != "" || o[1] != "b" {
		t.Errorf("others: %q", o)
	}
	if r.Of("a", LinkLog) != "broken" || r.Of("a", LinkWho) != "-" {
		t.Error(r.Of("a", LinkLog), r.Of("a", LinkWho))
	}
	// What nobody has looked at is neither well nor wrong.
	r = Report{Findings: []Finding{{Jail: "a", Link: LinkLog, Level: Unlooked}}}
	r.Sort()
	if r.Level != OK || r.Of("a", LinkLog) != "-" {
		t.Error(r.Level, r.Of("a", LinkLog))
	}
}

// TestLevelText: each level is read as it is written.
func TestLevelText(t *testing.T) {
	for l := OK; l <= Unlooked; l++ {
		text, err := json.Marshal(l)
		var got Level
		if err != nil || json.Unmarshal(text, &got) != nil || got != l {
			t.Errorf("%s is read as %v (%v)", text, got, err)
		}
	}
	var l Level
	if json.Unmarshal([]byte(`"fine"`), &l) == nil {
		t.Error("another word is a level")
	}
}
