package web

import (
	"net/url"
	"strings"
	"testing"

	"bailiff/pkg/control"
)

// TestFleetPage: who is in a fleet has a page of it, with its hosts, groups and what is wrong; an operator bans and lifts
// there, with his name; who is in none has no link to it.
func TestFleetPage(t *testing.T) {
	x := newSite(t, nil)
	x.d.why = control.Why{Fleet: []control.FleetWord{
		{Host: "web-2", Group: "ssh", Jail: "sshd", IP: "192.0.2.9", Made: anHour, Stands: true}, {Host: "web-3", Group: "ssh", IP: "192.0.2.0/24", Made: anHour, Lift: true},
	}}
	b := x.in(control.Operator)
	link := `<a href="/fleet"`
	if over := b.get("/").Body.String(); strings.Contains(over, link) {
		t.Errorf("a link to no fleet:\n%s", over)
	}
	if page := b.get("/fleet").Body.String(); !strings.Contains(page, text("fleet.none")) || strings.Contains(page, "<form method=\"post\" action=\"/fleet") {
		t.Errorf("of no fleet:\n%s", page)
	}
	x.d.fleet = control.FleetStatus{
		Member: true, Host: "web-1", Connected: true, Complete: true, Since: anHour, Bans: 1234, Quota: 100000,
		Groups:  []control.FleetGroup{{Name: "ssh", Publish: []string{"sshd"}, Enforce: true, Quorum: 2, InForce: 77}, {Name: "web"}},
		Hosts:   []control.FleetOrigin{{Name: "web-1", Bans: 4, Accepted: true}, {Name: "web-2", Bans: 55, Accepted: true}, {Name: "lost", Distrusted: true}, {Name: "other"}},
		Refused: map[string]uint64{"never": 3}, RefusedByHub: map[string]uint64{"quota": 5}, Connection: "no route to it",
		AllowList: &control.FleetAllowList{Version: 7, IPs: []string{"203.0.113.0/24"}, Problem: "another key has signed it"},
	}
	x.d.status.Fleet = &x.d.fleet
	if over := b.get("/").Body.String(); strings.Contains(over, link+">Fleet</a>") {
		t.Error("what was seen a moment ago was asked for again")
	}
	x.later(fleetAge)
	over, page := b.get("/").Body.String(), b.get("/fleet").Body.String()
	if !strings.Contains(over, link) || !strings.Contains(over, text("fleet.title")) {
		t.Errorf("the overview has no link:\n%s", over)
	}
	for _, want := range []string{"1\u202f234", "web-2", text("fleet.distrusted"), text("fleet.ignored"), text("fleet.accepted"), text("fleet.noforce"), "another key has signed it", `<th scope="row">never</th><td class="n">3`, `<th scope="row">quota</th><td class="n">5`, text("fleet.ownonly"), "version 7"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	if strings.Index(page, "web-2") > strings.Index(page, `<th scope="row">web-1`) {
		t.Error("who has most bans is not the first")
	}
	if strings.Contains(page, "no route to it") {
		t.Error("what was wrong with a connection that is there")
	}
	if who := b.get("/address?ip=192.0.2.9").Body.String(); !strings.Contains(who, "web-2") || !strings.Contains(who, text("fleet.lifted")) || !strings.Contains(who, `action="/fleet/unban"`) {
		t.Errorf("of an address:\n%s", who)
	}
	x.d.why.Kernel = []control.WhyKernel{{Jail: "fleet-ssh", IP: "192.0.2.9", Set: "addr-set-fleet-ssh"}}
	if who := b.get("/address?ip=192.0.2.9").Body.String(); !strings.Contains(who, text("address.banned")) || strings.Contains(who, text("address.free")) {
		t.Errorf("whom the fleet shuts out here is said to be free:\n%s", who)
	}
	if page := x.in(control.Reader).get("/fleet").Body.String(); strings.Contains(page, `action="/fleet/`) {
		t.Errorf("a viewer may ban:\n%s", page)
	}
	for _, do := range []struct {
		to, said string
		form     url.Values
	}{
		{"/fleet/ban", "192.0.2.9 is banned on all hosts", url.Values{"ip": {" 192.0.2.9 "}, "group": {"ssh"}, "for": {"1d"}}},
		{"/fleet/unban", "192.0.2.9: unbanned in fleet-ssh", url.Values{"ip": {"192.0.2.9"}}},
	} {
		b.post("/fleet", do.to, do.form)
		if said := b.get("/fleet").Body.String(); !strings.Contains(said, do.said) {
			t.Errorf("%s: what was done is not said:\n%s", do.to, said)
		}
	}
	for _, bad := range []url.Values{{"ip": {""}}, {"ip": {"192.0.2.9"}, "for": {"soon"}}} {
		b.post("/fleet", "/fleet/ban", bad)
	}
	b.post("/fleet", "/fleet/unban", url.Values{})
	want := []string{`ban [192.0.2.9] in the fleet, group "ssh", for 86400 by web:`, `lift [192.0.2.9] in the fleet, group "", by web:`}
	if len(x.d.done) != len(want) {
		t.Fatalf("%q", x.d.done)
	}
	for i, w := range want {
		if !strings.HasPrefix(x.d.done[i], w) {
			t.Errorf("%q, want %q", x.d.done[i], w)
		}
	}
}
