package cli

import (
	"bytes"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/chart"
	"bailiff/pkg/replay"
)

// TestReplayPage: the page needs nothing from elsewhere, holds no script, and what a log or a client
// wrote is text in it.
func TestReplayPage(t *testing.T) {
	t.Parallel()
	r := &replay.Report{Jail: "<b>x", KnowsLogins: true, Logins: 1}
	r.Setting = replay.Setting{MaxRetry: 3, FindTime: time.Minute, BanTime: time.Hour}
	r.Outcome.Hurt, r.Outcome.HurtAddresses = []replay.Hurt{{Addr: netip.MustParseAddr("192.0.2.7"), Users: []string{"<script>alert(1)</script>"}}}, 1
	r.Sweep = []replay.Outcome{r.Outcome}
	r.Chart.Begin, r.Chart.Width = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), time.Minute
	r.Chart.Times = []chart.Bucket{{Failures: 3, Bans: 1}, {}, {Failures: 1}}
	o := replayOptions{location: time.UTC}
	var b bytes.Buffer
	if err := o.page(&b, []*replay.Report{r}); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if regexp.MustCompile(`(?i)<script|<b>|src=|href=|url\(|@import|\son\w+=`).MatchString(page) {
		t.Errorf("something of elsewhere is in it:\n%s", page)
	}
	for _, want := range []string{"&lt;script&gt;alert(1)", "jail &lt;b&gt;x", `height="160.00"><title>2026-01-31 12:00:00: 3`, `prefers-color-scheme: dark`, `class="best"`} {
		if !strings.Contains(page, want) {
			t.Errorf("there is no %s in it:\n%s", want, page)
		}
	}
}
