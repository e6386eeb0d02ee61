package web

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"bailiff/pkg/control"
	"bailiff/pkg/finding"
	"bailiff/pkg/jail"
)

func (d *daemon) Doctor(_ context.Context, q control.DoctorQuery) (control.DoctorAnswer, error) {
	if !q.Now {
		panic("a page waits for a look")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looks = append(d.looks, fmt.Sprintf("%q, at most %v old", q.Jail, q.Age))
	return d.doctor, nil
}

// TestDoctorPages: the overview shows what is wrong with what to do, and neither it nor the page of all
// findings waits for a look (the fake panics then); what is in order and what nobody saw is on that alone.
func TestDoctorPages(t *testing.T) {
	x := newSite(t, nil)
	b := x.in(control.Reader)
	for _, path := range []string{"/", "/doctor"} { // nobody has looked
		x.d.doctor = control.DoctorAnswer{Looking: true}
		if body := b.get(path).Body.String(); !strings.Contains(body, text("doctor.not")) || !strings.Contains(body, text("doctor.looking")) || strings.Contains(body, text("doctor.fine")) {
			t.Errorf("%s, before a look:\n%s", path, body)
		}
	}
	x.d.doctor = control.DoctorAnswer{At: &anHour, Report: finding.Report{Level: finding.Broken, Jails: []string{"sshd"}, Findings: []finding.Finding{
		{Jail: "sshd", Link: finding.LinkLog, Symptom: "log-missing", Level: finding.Broken, Cause: "it is not there", Seen: []string{"logpath = here"}, Remedy: "set\nlogpath = there"},
		{Link: finding.LinkBan, Level: finding.Doubtful, Cause: "the disk is full"},
		{Jail: "sshd", Link: finding.LinkBan, Level: finding.Unlooked, Cause: "not looked at from inside: iptables' rules"},
		{Jail: "sshd", Link: finding.LinkConfiguration, Cause: "no mistakes"},
	}}}
	over, all := b.get("/").Body.String(), b.get("/doctor?jail=sshd").Body.String()
	for part, where := range map[string][2]bool{
		"it is not there": {true, true}, "logpath = there": {true, true}, "the disk is full": {true, true}, "logpath = here": {false, true}, "log-missing": {false, true},
		"not looked at from inside": {false, true}, "no mistakes": {false, true}, `<span class="tag bad">broken</span></td>`: {false, true},
	} {
		if got := [2]bool{strings.Contains(over, part), strings.Contains(all, part)}; got != where {
			t.Errorf("%q on the overview and on the page of all: %v, want %v", part, got, where)
		}
	}
	if strings.Contains(all, text("doctor.fine")) {
		t.Error("it says that nothing is wrong")
	}
	b.get("/doctor?again=1")
	want := []string{`"", at most 10m0s old`, `"sshd", at most 10m0s old`, fmt.Sprintf(`"", at most %v old`, control.DoctorAge)}
	if got := x.d.looks[len(x.d.looks)-3:]; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked: %q, want %q", got, want)
	}
	// What status says of a jail is not said twice, unless the finding isn't shown.
	x.d.status.Jails = []jail.Status{{Name: "sshd", Error: "it is not there"}, {Name: "shop", Error: "it is not there"}}
	if over := b.get("/").Body.String(); strings.Count(over, "it is not there") != 2 {
		t.Errorf("of two broken jails, one of which doctor speaks of:\n%s", over)
	}
}
