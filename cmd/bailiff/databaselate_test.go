package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/control"
)

// TestDatabaseLate: a database whose disk hangs at a start after a reboot, when the kernel
// holds nothing, tells later what it knows: who was banned is banned again, but for whom
// somebody let in meanwhile; and what came meanwhile is kept.
func TestDatabaseLate(t *testing.T) {
	t.Parallel()
	var only []blockage
	for _, b := range blockages {
		if b.name == "database" {
			only = append(only, b)
		}
	}
	w := newBlockedWorld(t, only)
	w.spawn()
	defer func() {
		w.free()
		_ = w.api.Stop()
		w.ended("the end")
	}()
	w.started()
	banned := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}
	w.fail("well.log", banned...)
	holds := func(who ...string) bool {
		return !slices.ContainsFunc(who, func(a string) bool { return !w.holds("well", a) })
	}
	w.until("they are banned", func() bool { return holds(banned...) })
	w.stops("orderly")
	if out, err := w.host.Command(context.Background(), "nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	// Their failures are gone: so no log brings them back.
	w.write("well.log", "")
	w.hang(false)
	w.spawn()
	w.started()
	s, err := w.api.Status()
	if err != nil || !slices.ContainsFunc(s.Waiting, func(text string) bool { return strings.Contains(text, "database "+w.database+" is waited for") }) {
		t.Errorf("status does not tell: %q, %v", s.Waiting, err)
	}
	if _, err := w.api.Unban(control.UnbanRequest{IPs: []string{"192.0.2.2"}}); err != nil {
		t.Error(err)
	}
	w.fail("well.log", "192.0.2.9")
	w.until("an attacker is banned", func() bool { return holds("192.0.2.9") })
	w.configure("11m") // the jail is made anew
	if _, err := w.api.Reload(); err != nil {
		t.Error(err)
	}
	if _, err := w.api.Unban(control.UnbanRequest{IPs: []string{"192.0.2.3"}}); err != nil {
		t.Error(err)
	}
	if w.holds("well", "192.0.2.1") {
		t.Error("the database does not hang")
	}
	w.free()
	in := []string{"192.0.2.1", "192.0.2.4", "192.0.2.9"}
	check := func(when string) {
		t.Helper()
		w.until(when+": who was banned is, again", func() bool { return holds(in...) })
		for _, who := range []string{"192.0.2.2", "192.0.2.3"} {
			if w.holds("well", who) {
				t.Errorf("%s: %s, whom somebody has let in, is banned", when, who)
			}
		}
	}
	check("when it answers")
	w.said("[well] the database has been read: 2 bans known from before are in force again")
	w.stops("when it answers")
	w.spawn()
	w.started()
	check("after a restart")
	w.stops("at the end")
}
