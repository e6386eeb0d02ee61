package daemon

import (
	"errors"
	"strings"
	"testing"

	"bailiff/pkg/clock"
	"bailiff/pkg/control"
	"bailiff/pkg/filter"
)

func TestTryFilter(t *testing.T) {
	d := &Daemon{clock: clock.System(), tries: make(chan struct{}, 1)}
	d.opts.Config.Path = t.TempDir()
	text := "failregex = '''^ ?shop: login of <F-USER>\\S+</F-USER> from <ADDR> failed$'''\nignoreregex = 'from 192\\.0\\.2\\.9 '\n"
	a, err := d.TryFilter(control.TryRequest{Filter: text, Prove: true, Lines: []string{
		"2026-01-31 12:00:00 shop: login of anna from 192.0.2.7 failed", "2026-01-31 12:00:00 shop: login of anna from 192.0.2.9 failed",
		"2026-01-31 12:00:00 shop: login of anna from nowhere", "nothing",
	}})
	if err != nil || len(a.Lines) != 4 || len(a.Problems) > 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	one := a.Lines[0]
	if one.Verdict != "failure" || one.ID != "192.0.2.7" || one.User != "anna" || one.Date != "2026-01-31 12:00:00" || one.Time == nil {
		t.Errorf("%+v", one)
	}
	var parts []string
	for _, p := range one.Regex.Parts {
		if !p.Matched {
			t.Errorf("not of the match: %+v", p)
		}
		parts = append(parts, p.Group+":"+p.Text)
	}
	if got := strings.Join(parts, "|"); got != ": shop: login of |user:anna|: from |ip4:192.0.2.7|: failed" {
		t.Error(got)
	}
	if a.Lines[1].Verdict != "ignored" || a.Lines[1].Regex.Kind != "ignoreregex" {
		t.Errorf("%+v", a.Lines[1])
	}
	if l := a.Lines[2]; l.Verdict != "nothing" || l.Regex == nil || l.Regex.Matched || l.Regex.Near <= 0 || len(l.Regex.Wanted) == 0 {
		t.Errorf("%+v", l)
	}
	if a.Proof == nil || a.Proof.Verdict != filter.Evadable || a.Proof.Evading == "" { // by a user without a name
		t.Errorf("%+v", a.Proof)
	}
	if a, err := d.TryFilter(control.TryRequest{Filter: "sshd", Lines: []string{"Jan 31 12:00:00 host sshd[41]: Failed password for root from 192.0.2.7 port 4711 ssh2"}}); err != nil || a.Name != "sshd" || a.Lines[0].ID != "192.0.2.7" {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := d.TryFilter(control.TryRequest{Filter: "failregex = 'x .* from <HOST>'\n"}); err != nil || len(a.Lint) == 0 {
		t.Errorf("lint: %+v, %v", a, err)
	}
	for _, r := range []control.TryRequest{{}, {Filter: "nosuchfilter"}, {Filter: "failregex = '('\n"}, {Filter: "x = 1\n"}, {Filter: "failregex = 1="}, {Filter: "sshd", Lines: make([]string, 201)}, {Filter: "sshd", Lines: []string{strings.Repeat("x", 5000)}}} {
		var bad *control.BadError
		if _, err := d.TryFilter(r); !errors.As(err, &bad) {
			t.Errorf("%.40q: %v", r.Filter, err)
		}
	}
	if len(d.tries) != 0 {
		t.Error("a place is not given back")
	}
}
