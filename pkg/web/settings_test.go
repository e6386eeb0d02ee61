package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
)

// TestRefusedStays: what was filled in stands in the form again when one value is refused, so that this
// value alone is to be mended.
func TestRefusedStays(t *testing.T) {
	t.Parallel()
	b := newSite(t, nil).in(control.Admin)
	w := b.post("/jails/sshd/settings", "/jails/sshd/settings", url.Values{"maxretry": {"many"}, "bantime": {"2h"}, "observe": {"true"}, "keep": {"1"}})
	body := w.Body.String()
	if w.Code != http.StatusBadRequest {
		t.Errorf("maxretry = many: %d", w.Code)
	}
	for _, want := range []string{`value="many"`, `value="2h"`, `name="keep" value="1" checked`} {
		if !strings.Contains(body, want) {
			t.Errorf("the form has no %s", want)
		}
	}
	if n := strings.Count(body, " selected>"+text("settings.on")); n != 1 {
		t.Errorf("%d are on, want observe alone", n)
	}
	if fresh := b.get("/jails/sshd/settings").Body.String(); strings.Contains(fresh, `value="2h"`) || strings.Contains(fresh, " checked") {
		t.Error("the form keeps what somebody sent before")
	}
}

// TestForgiven: a row says how many failures were taken back, as `bailiff events` does.
func TestForgiven(t *testing.T) {
	r := rowOf(events.Event{Kind: events.Forgiven, Count: 3, Failures: 1})
	if r.Word != "forgiven" || !strings.Contains(r.Says, "3 failures taken back, 1 left") {
		t.Errorf("forgiven: %q, %q", r.Word, r.Says)
	}
}

// TestUsersHaveNoBans: a ban is of an address, so that of users tried failures alone are told.
func TestUsersHaveNoBans(t *testing.T) {
	t.Parallel()
	page := newSite(t, nil).in(control.Reader).get("/").Body.String()
	for what, want := range map[string]bool{"ip": true, "user": false} {
		_, table, ok := strings.Cut(page, `<table aria-labelledby="top-`+what+`"`)
		table, _, _ = strings.Cut(table, "</table>")
		if !ok || strings.Contains(table, ">"+text("top.bans")+"<") != want || strings.Count(table, "<th scope=\"col\"") != strings.Count(table, "<td")+1 {
			t.Errorf("%s: %v: %s", what, ok, table)
		}
	}
}
