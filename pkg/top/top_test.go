package top

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/jail"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

var sgr = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// fake is a daemon that answers from memory.
type fake struct {
	status  control.Status
	bans    []jail.BanStatus
	unbans  []control.UnbanRequest
	allows  []control.AllowRequest
	streams []func(q control.EventsQuery, f func([]byte) error) error
}

func (d *fake) Status() (control.Status, error) { return d.status, nil }

// SearchBans finds parts of addresses and jails.
func (d *fake) SearchBans(q control.BansQuery) (p control.BansPage, err error) {
	for _, b := range d.bans {
		if strings.Contains(b.IP+" "+b.Jail, q.Search) && (q.Jail == "" || b.Jail == q.Jail) {
			if p.Total++; len(p.Bans) < q.Limit {
				p.Bans = append(p.Bans, b)
			}
		}
	}
	return p, nil
}

func (d *fake) Events(ctx context.Context, q control.EventsQuery, f func([]byte) error) error {
	if len(d.streams) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	next := d.streams[0]
	d.streams = d.streams[1:]
	return next(q, f)
}

func (d *fake) Unban(r control.UnbanRequest) ([]control.UnbanResult, error) {
	d.unbans = append(d.unbans, r)
	return []control.UnbanResult{{IP: r.IPs[0], Jails: []string{"sshd"}}}, nil
}

func (d *fake) Allow(r control.AllowRequest) ([]control.AllowResult, error) {
	d.allows = append(d.allows, r)
	until := noon.Add(time.Hour)
	return []control.AllowResult{{IP: r.IPs[0], Until: &until}}, nil
}

func text(e *events.Event) string { return strings.TrimSpace(e.IP + " " + e.Why + e.Text + e.Line) }

// view is one with two jails, at a terminal of a size.
func view(t *testing.T, width, height int) (*Model, *fake) {
	t.Helper()
	d := &fake{status: control.Status{Version: "1.0", Started: noon.Add(-3 * time.Hour), Jails: []jail.Status{
		{Name: "sshd", Failed: 3, TotalFailed: 100, Banned: 2, TotalBanned: 9},
		{Name: "web", Error: "the filter \x1b[31mis\nwrong"},
	}}}
	m := New(t.Context(), d, NewFeed(d, noon), Options{Text: text, Now: func() time.Time { return noon }, Zone: time.UTC})
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	m.Update(m.ask())
	return m, d
}

func screen(m *Model) string { return ansi.Strip(strings.Join(m.lines(), "\n")) }

// press presses keys; what they ask for is done, and its answer taken in.
func press(m *Model, keys ...string) {
	for _, k := range keys {
		msg := tea.KeyPressMsg{Text: k, Code: []rune(k)[0]}
		switch k {
		case "enter":
			msg = tea.KeyPressMsg{Code: tea.KeyEnter}
		case "esc":
			msg = tea.KeyPressMsg{Code: tea.KeyEscape}
		case "tab":
			msg = tea.KeyPressMsg{Code: tea.KeyTab}
		case "down":
			msg = tea.KeyPressMsg{Code: tea.KeyDown}
		}
		if _, cmd := m.Update(msg); cmd != nil {
			if answer := cmd(); answer != nil {
				m.Update(answer)
			}
		}
	}
}

func typeText(m *Model, s string) {
	for _, r := range s {
		press(m, string(r))
	}
}

func ban(n uint64, ip string) events.Event {
	return events.Event{N: n, Time: noon, Kind: events.Ban, Jail: "sshd", IP: ip}
}

func wants(t *testing.T, m *Model, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if s := screen(m); !strings.Contains(s, w) {
			t.Errorf("there is no %q on the screen:\n%s", w, s)
		}
	}
}

// TestScreen: jails, what is wrong, and events are there, the newest first; failures on demand.
func TestScreen(t *testing.T) {
	t.Parallel()
	m, _ := view(t, 80, 24)
	wants(t, m, "bailiff 1.0, up 3h00m: 2 jails, 2 banned, 3 failing", "12:00:00 UTC", "sshd       on              3        2", "web        broken", "WRONG: web: the filter \uFFFD[31mis wrong", "q quit")
	m.Update(batchMsg{Events: []events.Event{ban(1, "192.0.2.7"), {N: 2, Time: noon, Kind: events.Found, Jail: "web", IP: "192.0.2.8"}, ban(3, "192.0.2.9")}})
	wants(t, m, "> 12:00:00 ban      [sshd] 192.0.2.9 ", "\n  12:00:00 ban      [sshd] 192.0.2.7 ")
	if strings.Contains(screen(m), "192.0.2.8") {
		t.Error("a failure is shown that was not asked for")
	}
	press(m, "e")
	wants(t, m, "192.0.2.8")
	press(m, "tab", "enter") // of the first jail only
	wants(t, m, "EVENTS: all (e: without failures), of sshd")
	if strings.Contains(screen(m), "192.0.2.8") {
		t.Error("an event of another jail is shown")
	}
	press(m, "esc", "?")
	wants(t, m, "lift the ban of who is chosen")
	press(m, "?")
	wants(t, m, "EVENTS")
}

// TestSizes: no line is wider than the terminal and no screen higher, whatever its size and whatever a
// stranger wrote, and nothing of that steers it.
func TestSizes(t *testing.T) {
	t.Parallel()
	evil := []string{"\x1b]0;owned\x07\x1b[2J", "a\u202Eb\u200B\u0085\x9b31m", strings.Repeat("漢字", 100), "e" + strings.Repeat("\u0301", 50), strings.Repeat("👨‍👩‍👧‍👦", 30), "\xff\xfe", "a\nb\tc"}
	for _, size := range [][2]int{{1, 1}, {10, 3}, {30, 8}, {40, 10}, {80, 24}, {100, 30}, {132, 43}, {400, 120}} {
		m, _ := view(t, size[0], size[1])
		var jails []jail.Status
		for i, e := range evil {
			jails = append(jails, jail.Status{Name: e, TotalFailed: i, Problems: []string{e}})
			m.Update(batchMsg{Events: []events.Event{{N: uint64(i + 1), Time: noon, Kind: events.Ban, Jail: e, IP: e, Why: e, Line: e, Lines: []string{e}}}})
		}
		m.Update(statusMsg{s: control.Status{Version: evil[0], Problems: evil, Jails: jails}})
		look := func(what string) {
			t.Helper()
			lines := m.lines()
			if len(lines) > size[1] {
				t.Errorf("%v, %s: %d lines", size, what, len(lines))
			}
			for _, l := range lines {
				if w := ansi.StringWidth(l); w > size[0] {
					t.Errorf("%v, %s: a line is %d wide: %q", size, what, w, l)
				}
				plain := ansi.Strip(l)
				if strings.ContainsAny(plain, "\x1b\x07\n\t\u202e\u200b\u0085\u0301") || strings.Contains(plain, "\x9b") {
					t.Errorf("%v, %s: %q", size, what, l)
				}
				if rest := sgr.ReplaceAllString(l, ""); strings.Contains(rest, "\x1b") {
					t.Errorf("%v, %s: more than colours: %q", size, what, l)
				}
			}
		}
		look("events")
		for range 8 {
			press(m, "down")
		}
		look("moved")
		press(m, "enter")
		look("one event")
		press(m, "esc", "?")
		look("help")
		press(m, "esc", "/")
		typeText(m, strings.Repeat("漢", 150))
		look("typing")
		press(m, "enter")
		look("search")
		press(m, "esc", "u")
		look("asking")
	}
}

// TestUnban: who is chosen is let in, after a yes and not before it; and who has been searched for.
func TestUnban(t *testing.T) {
	t.Parallel()
	m, d := view(t, 80, 24)
	d.bans = []jail.BanStatus{
		{Jail: "sshd", IP: "198.51.100.7", Start: noon}, {Jail: "web", IP: "203.0.113.0/24", Start: noon}, {Jail: "web", IP: "alice", Name: true, Address: "2001:db8::7", Start: noon},
	}
	press(m, "u")
	wants(t, m, "nobody is chosen")
	m.Update(batchMsg{Events: []events.Event{ban(1, "192.0.2.7"), ban(2, "192.0.2.9")}})
	press(m, "down", "u")
	wants(t, m, "unban 192.0.2.7 in sshd? y/n")
	m.Update(batchMsg{Events: []events.Event{ban(3, "192.0.2.11")}}) // another one comes meanwhile
	press(m, "n")
	if len(d.unbans) != 0 {
		t.Fatalf("%v", d.unbans)
	}
	press(m, "u", "y")
	if len(d.unbans) != 1 || d.unbans[0].IPs[0] != "192.0.2.7" || d.unbans[0].Jail != "sshd" || d.unbans[0].All {
		t.Fatalf("%+v", d.unbans)
	}
	wants(t, m, "192.0.2.7 unbanned in sshd")
	for query, found := range map[string]string{"203.0.113.0/24": "203.0.113.0/24", "198.51": "198.51.100.7", "ali": "alice"} {
		press(m, "/")
		typeText(m, query)
		press(m, "enter")
		wants(t, m, "SEARCH "+query+": 1 bans", "> "+found)
	}
	press(m, "/")
	typeText(m, "web")
	press(m, "enter")
	wants(t, m, ": 2 bans")
	press(m, "down", "a", "y")
	if len(d.allows) != 1 || d.allows[0].IPs[0] != "alice" || d.allows[0].Seconds != 3600 {
		t.Errorf("%+v", d.allows)
	}
	wants(t, m, "alice is let in until 13:00:00")
	press(m, "/") // one that is banned by nobody's list, and may be in the kernel
	typeText(m, "192.0.2.200")
	press(m, "enter", "u")
	wants(t, m, "unban 192.0.2.200 in all jails? y/n")
	if _, cmd := m.Update(tea.KeyPressMsg{Code: tea.KeyEnter}); cmd != nil || len(d.unbans) != 1 {
		t.Errorf("enter is no yes: %+v", d.unbans)
	}
}

// TestRates: a rate is what came between two looks; a daemon that begins anew has none before.
func TestRates(t *testing.T) {
	t.Parallel()
	m, d := view(t, 80, 24)
	for _, n := range []int{105, 105, 125} {
		d.status.Jails[0].TotalFailed = n
		m.Update(m.ask())
	}
	if r := m.rates["sshd"]; fmt.Sprint(r.failures, r.bans) != "[5 0 20] [0 0 0]" {
		t.Errorf("%v", r)
	}
	if got := sparkline([]int{5, 0, 20}, 5, false); got != "  ▂ █" {
		t.Errorf("%q", got)
	}
	if got := sparkline([]int{5, 0, 20}, 5, true); got != "  : @" {
		t.Errorf("%q", got)
	}
	d.status.Started, d.status.Jails[0].TotalFailed = noon, 3
	m.Update(m.ask())
	d.status.Jails[0].TotalFailed = 4
	m.Update(m.ask())
	if r := m.rates["sshd"]; fmt.Sprint(r.failures) != "[5 0 20 1]" {
		t.Errorf("%v", r)
	}
	for range 2 * ratesMost {
		m.Update(m.ask())
	}
	if n := len(m.rates["sshd"].failures); n != ratesMost {
		t.Errorf("%d values", n)
	}
	d.status.Jails = nil
	m.Update(m.ask())
	if len(m.rates) != 0 {
		t.Errorf("%v", m.rates)
	}
}

// TestFeed: a daemon that has gone is said and tried again, behind the last number; and what is held
// of a flood has an end.
func TestFeed(t *testing.T) {
	t.Parallel()
	line := func(n uint64) []byte {
		b, _ := json.Marshal(ban(n, "192.0.2.7"))
		return b
	}
	d := &fake{}
	asked := make(chan uint64, 10)
	d.streams = append(d.streams,
		func(q control.EventsQuery, f func([]byte) error) error {
			asked <- q.Since
			for n := range uint64(5) {
				_ = f(line(n + 1))
			}
			return errors.New("cut off")
		},
		func(q control.EventsQuery, _ func([]byte) error) error { // not there
			asked <- q.Since
			return errors.New("no daemon\nis running")
		},
		func(q control.EventsQuery, f func([]byte) error) error {
			asked <- q.Since
			for n := range uint64(10 * eventsMost) {
				_ = f(line(n + 6))
			}
			asked <- 0
			<-make(chan struct{})
			return nil
		})
	feed := NewFeed(d, noon)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go feed.Run(ctx)
	for _, want := range []uint64{0, 5, 5, 0} {
		select {
		case got := <-asked:
			if got != want {
				t.Fatalf("behind %d, want %d", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was asked")
		}
	}
	b, ok := feed.Next(ctx)
	if n := len(b.Events); !ok || b.Err != nil || n > eventsMost || b.Dropped+uint64(n) != 10*eventsMost+5 || b.Events[n-1].N != 10*eventsMost+5 {
		t.Errorf("%v, %v, %d events, %d dropped", ok, b.Err, n, b.Dropped)
	}
	m, _ := view(t, 80, 24)
	m.Update(batchMsg(b))
	m.Update(batchMsg{Err: errors.New("no daemon\nis running")})
	wants(t, m, "NO DAEMON, trying again: no daemon; is running")
	if len(m.events) > eventsMost {
		t.Errorf("%d events are held", len(m.events))
	}
	m.Update(m.ask())
	wants(t, m, "WRONG: web")
}

// TestFlood: a flood of failures does not push out the bans.
func TestFlood(t *testing.T) {
	t.Parallel()
	m, _ := view(t, 80, 24)
	m.Update(batchMsg{Events: []events.Event{ban(1, "192.0.2.7")}})
	for i := range 10 * eventsMost {
		m.Update(batchMsg{Events: []events.Event{{N: uint64(i + 2), Time: noon, Kind: events.Found, Jail: "sshd", IP: "192.0.2.9"}}})
	}
	wants(t, m, "192.0.2.7")
	if len(m.events) != eventsMost {
		t.Errorf("%d events", len(m.events))
	}
	for i := range eventsMost {
		m.Update(batchMsg{Events: []events.Event{ban(uint64(20*eventsMost+i), "192.0.2.11")}})
	}
	if list := m.shown(); len(m.events) != eventsMost || len(list) < eventsMost/2 {
		t.Errorf("%d events, %d of them bans", len(m.events), len(list))
	}
}

// TestFeedWaits: where nothing may be left out, the daemon waits.
func TestFeedWaits(t *testing.T) {
	t.Parallel()
	d := &fake{}
	const all = 5 * eventsMost
	d.streams = append(d.streams, func(_ control.EventsQuery, f func([]byte) error) error {
		for n := range uint64(all) {
			b, _ := json.Marshal(ban(n+1, "192.0.2.7"))
			if err := f(b); err != nil {
				return err
			}
		}
		return errors.New("the end")
	})
	feed := NewFeed(d, noon)
	feed.Wait = true
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go feed.Run(ctx)
	for next := uint64(1); next <= all; {
		b, ok := feed.Next(ctx)
		if !ok || b.Dropped > 0 {
			t.Fatalf("behind %d: %v, %d dropped", next-1, ok, b.Dropped)
		}
		for _, e := range b.Events {
			if e.N != next {
				t.Fatalf("%d, want %d", e.N, next)
			}
			next++
		}
	}
}
