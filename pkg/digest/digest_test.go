package digest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"bailiff/pkg/chart"
	"bailiff/pkg/events"
)

var begin = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func add(t *testing.T, d *Digest, list ...events.Event) {
	t.Helper()
	for _, e := range list {
		line, err := json.Marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Add(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

// TestDigest: each kind of event is counted where it belongs, and what is before or behind is not.
func TestDigest(t *testing.T) {
	t.Parallel()
	n := uint64(0)
	at := func(minutes int, e events.Event) events.Event {
		n++
		e.N, e.Time = n, begin.Add(time.Duration(minutes)*time.Minute)
		return e
	}
	no := false
	d := New(begin, begin.Add(time.Hour))
	add(t, d,
		at(-1, events.Event{Kind: events.Ban, Jail: "sshd", IP: "192.0.2.1"}), // before
		at(0, events.Event{Kind: events.Start}),                               // the one before was killed
		at(1, events.Event{Kind: events.Found, Jail: "sshd", IP: "192.0.2.7", User: "root", Failures: 1, MaxRetry: 3}),
		at(2, events.Event{Kind: events.Found, Jail: "sshd", IP: "192.0.2.7", User: "root", Failures: 2, MaxRetry: 3}),
		at(3, events.Event{Kind: events.Found, Jail: "sshd", IP: "192.0.2.9", User: "admin", Counted: &no, Why: "it is this host"}),
		at(4, events.Event{Kind: events.Ban, Jail: "sshd", IP: "192.0.2.7"}),
		at(5, events.Event{Kind: events.Ban, Jail: "web", IP: "alice", Name: true, Address: "2001:db8::7", By: "root", Why: "by hand"}),
		at(6, events.Event{Kind: events.Ban, Jail: "try", IP: "198.51.100.7", Why: events.WhyObserve}),
		at(7, events.Event{Kind: events.Unban, Jail: "sshd", IP: "192.0.2.7", Why: events.WhyOver}),
		at(8, events.Event{Kind: events.Unban, Jail: "web", IP: "alice", Why: "by hand", By: "root"}),
		at(9, events.Event{Kind: events.More, What: events.Found, Jail: "web", Count: 1000, Why: "too many"}),
		at(10, events.Event{Kind: events.Error, Jail: "web", Text: "the log is gone"}),
		at(11, events.Event{Kind: events.Error, Jail: "web", Text: "the log is gone"}),
		at(12, events.Event{Kind: events.Action, Jail: "web", Text: "failed"}),
		at(13, events.Event{Kind: events.Repair, Text: "a set was missing"}),
		at(14, events.Event{Kind: events.Reload}),
		at(15, events.Event{Kind: events.List}),
		at(16, events.Event{Kind: events.Stop}),
		at(17, events.Event{Kind: events.Start}),                              // in order
		at(60, events.Event{Kind: events.Ban, Jail: "sshd", IP: "192.0.2.1"}), // behind
	)
	d.KeptSince(begin.Add(-time.Hour))
	s := d.Sum(10)
	want := Numbers{Failures: 2, NotCounted: 1, Unnumbered: 1000, Bans: 2, ByHand: 1, WouldBan: 1, Unbans: 1, Over: 1}
	if s.Numbers != want || s.All() != 1003 {
		t.Errorf("%+v, want %+v", s.Numbers, want)
	}
	if s.First != 2 || s.Last != n-1 || s.Starts != 2 || s.Killed != 1 || s.Reloads != 1 || s.Lists != 1 || s.Banned != 2 || s.BannedLeast || s.Kept != nil {
		t.Errorf("%+v", s)
	}
	if want := []Address{{IP: "192.0.2.7", Failures: 2, Bans: 1, Jails: []string{"sshd"}}, {IP: "alice", Name: true, Bans: 1, Jails: []string{"web"}}}; !reflect.DeepEqual(s.Addresses, want) {
		t.Errorf("%+v", s.Addresses)
	}
	if want := []chart.Count{{Name: "192.0.2.0/24", N: 3}, {Name: "2001:db8::/64", N: 1}}; !reflect.DeepEqual(s.Networks, want) {
		t.Errorf("%+v", s.Networks)
	}
	if want := []chart.Count{{Name: "root", N: 2}, {Name: "admin", N: 1}}; !reflect.DeepEqual(s.Users, want) {
		t.Errorf("%+v", s.Users)
	}
	var jails []string
	for _, j := range s.Jails {
		jails = append(jails, j.Name)
	}
	if want := []string{"web", "sshd", "try"}; !reflect.DeepEqual(jails, want) {
		t.Errorf("%v", jails)
	}
	if len(s.Errors) != 1 || s.Errors[0].Count != 2 || s.Errors[0].First != begin.Add(10*time.Minute) || s.Errors[0].Last != begin.Add(11*time.Minute) || len(s.Actions) != 1 || len(s.Repairs) != 1 || len(s.Lost) != 0 {
		t.Errorf("%+v %+v %+v %+v", s.Errors, s.Actions, s.Repairs, s.Lost)
	}
	failures, bans := int64(0), int64(0)
	for _, b := range s.Chart.Times {
		failures += b.Failures
		bans += b.Bans
	}
	if failures != 1003 || bans != 2 || s.Chart.Begin != begin || s.Chart.Begin.Add(time.Duration(len(s.Chart.Times))*s.Chart.Width).Before(s.To) {
		t.Errorf("%+v", s.Chart)
	}
	if later := New(begin.Add(-2*time.Hour), begin); true {
		later.KeptSince(begin.Add(-time.Hour))
		if s := later.Sum(1); s.Kept == nil || !s.Nothing() {
			t.Errorf("%+v", s)
		}
	}
}

// TestDigestBounded: what a digest holds has an end, and the frequent ones stay.
func TestDigestBounded(t *testing.T) {
	t.Parallel()
	d := New(begin, begin.Add(24*time.Hour))
	for i := range 3 * addressesMost {
		add(t, d,
			events.Event{N: 1, Time: begin, Kind: events.Ban, Jail: fmt.Sprint("jail", i%(jailsMost+100)), IP: fmt.Sprintf("2001:db8:%x:%x::7", i>>16, i&0xffff)},
			events.Event{N: 1, Time: begin, Kind: events.Found, Jail: "jail0", IP: "192.0.2.7", User: fmt.Sprint("user", i)},
		)
		if i < 2*saidMost {
			add(t, d, events.Event{N: 1, Time: begin, Kind: events.Error, Text: fmt.Sprint("error ", i)})
		}
	}
	s := d.Sum(3)
	if len(d.addresses) > addressesMost || len(d.jails) > jailsMost+1 || len(d.said[errorsSaid]) > saidMost+1 {
		t.Errorf("%d addresses, %d jails, %d texts", len(d.addresses), len(d.jails), len(d.said[errorsSaid]))
	}
	if s.Bans != 3*addressesMost || s.Addresses[0].IP != "192.0.2.7" || s.Addresses[0].Failures != 3*addressesMost || !s.BannedLeast || len(s.Networks) != 3 {
		t.Errorf("%+v", s)
	}
	if s.Errors[0].Text != "(others)" || s.Errors[0].Count != saidMost {
		t.Errorf("%+v", s.Errors[0])
	}
}
