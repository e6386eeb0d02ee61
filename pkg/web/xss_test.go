package web

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	counts "bailiff/pkg/chart"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/finding"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/jail"
	"bailiff/pkg/replay"
	logs "bailiff/pkg/source"
)

// payloads are what attackers write into lines, names and paths in the hope that somebody looks at it
// with a browser. Each calls x.
var payloads = []string{
	`<script>x()</script>`, `<SCRIPT SRC=//evil.example/x.js></SCRIPT>`, `"><script>x()</script>`, `'><script>x()</script>`, `</title><script>x()</script>`,
	`</textarea><script>x()</script>`, `</style><script>x()</script>`, `--><script>x()</script>`, `<![CDATA[<script>x()</script>]]>`, `<scr<script>ipt>x()</scr</script>ipt>`,
	`<img src=x onerror=x()>`, `"><img src=x onerror=x()>`, `'><img src=x onerror=x()>`, `<img src="x" onerror="x()"`, "<img\tsrc=x\nonerror=x()>",
	`<svg onload=x()>`, `<svg/onload=x()>`, `<svg><script>x()</script></svg>`, `<svg><animate onbegin=x() attributeName=x>`, `<math><mtext></form><form><mglyph><style></math><img src onerror=x()>`,
	`<body onload=x()>`, `<iframe src=javascript:x()>`, `<iframe srcdoc="<script>x()</script>">`, `<object data=javascript:x()>`, `<embed src=javascript:x()>`,
	`<a href=javascript:x()>a</a>`, `javascript:x()`, `JaVaScRiPt:x()`, "java\tscript:x()", `data:text/html,<script>x()</script>`,
	`" onmouseover="x()`, `' onmouseover='x()`, `" autofocus onfocus="x()`, `x onfocus=x() autofocus`, `"><input autofocus onfocus=x()>`,
	`<details open ontoggle=x()>`, `<video><source onerror=x()>`, `<audio src=x onerror=x()>`, `<marquee onstart=x()>`, `<form action=javascript:x()><button>`,
	`<meta http-equiv=refresh content="0;url=javascript:x()">`, `<base href=//evil.example/>`, `<link rel=stylesheet href=//evil.example/x.css>`, `<style>@import '//evil.example/x.css'</style>`, `<div style="background:url(javascript:x())">`,
	`{{.CSRF}}`, `{{printf "%s" .}}`, `${x()}`, "`-x()-`", `\u003cscript\u003ex()\u003c/script\u003e`,
	`&lt;script&gt;x()&lt;/script&gt;`, `&#60;script&#62;x()`, "<script\x00>x()</script>", "\xc0\xbcscript>x()</script>", "<\u202escript>x()</script>",
}

// TestHostileTexts: what stands in lines, names of users and jails, paths and errors comes into a page as
// the text that it is, and adds no element and no attribute to it: the page has the tags that it has
// with harmless texts, and these alone.
func TestHostileTexts(t *testing.T) {
	if len(payloads) < 50 {
		t.Fatalf("only %d", len(payloads))
	}
	x := newSite(t, nil)
	b := x.in(control.Admin)
	fill := func(p string) []string {
		end := anHour.Add(time.Hour)
		x.d.status = control.Status{Version: "1", Problems: []string{p}, Waiting: []string{p}, Jails: []jail.Status{
			{Name: p, MaxRetry: 5, Problems: []string{p}, ByCommands: []string{p}, Files: []logs.Status{{Path: "/var/log/" + p, Error: p}}},
			{Name: "broken", Error: p},
			{Name: "busy", Busy: p},
		}}
		x.d.bans = []jail.BanStatus{{Jail: p, IP: p, Name: true, Address: p, Start: anHour, End: &end, Count: 2}}
		x.d.why = control.Why{
			Name: true, Banned: x.d.bans, Would: x.d.bans, Inside: []control.Wider{{Jail: p, IP: p, Inside: 2}}, Lists: []control.Wider{{Jail: p, List: true, File: p, Line: 1}},
			Kernel: []control.WhyKernel{{Jail: p, IP: p, Set: p, Rule: p}}, Failures: []control.WhyFailures{{Jail: p, IP: p, MaxRetry: 3, FindTime: 9}},
			Never: []control.WhyNever{{Jails: []string{p}, Why: p}}, Problems: []string{p},
			Fleet:  []control.FleetWord{{Host: p, Group: p, IP: p, Jail: p, Made: anHour, Until: &end, Stands: true}, {Host: p, Group: p, IP: p, Lift: true, Made: anHour}},
			Events: []events.Event{{N: 1, Time: anHour, Kind: events.Kind(p), Jail: p, IP: p, Name: true, Address: p, Log: p, Line: p, Why: p, By: p, Text: p, What: events.Kind(p)}},
		}
		x.d.fleet = control.FleetStatus{
			Member: true, Host: p, Hubs: []string{p}, Since: anHour, Connection: p, Problem: p, Unsaid: 3, WaitingSince: &end, LiftsOthers: true,
			Groups: []control.FleetGroup{{Name: p, Publish: []string{p}, Enforce: true}}, Hosts: []control.FleetOrigin{{Name: p, Bans: 2, Accepted: true}, {Name: p, Distrusted: true}},
			Refused: map[string]uint64{p: 2}, RefusedByHub: map[string]uint64{p: 3}, AllowList: &control.FleetAllowList{Version: 3, Problem: p}, Counting: &control.FleetCounting{Problem: p},
		}
		x.d.status.Fleet = &x.d.fleet
		n := int64(3)
		hurt := []replay.HurtAnswer{{Address: p, Users: []string{p}}}
		x.d.replay = control.ReplayAnswer{
			Jail: p, Logs: []string{p}, Bans: []replay.BanAnswer{{ID: p, Name: true, Address: p, Start: anHour}},
			Answer: replay.Answer{First: &anHour, Last: &anHour, Notes: []string{p}, Problems: []string{p}, Logins: &n, Hurt: hurt, Sweep: []replay.OutcomeAnswer{{MaxRetry: 3, Hurt: hurt, HurtAddresses: 2}}},
			Plot:   replay.PlotAnswer{Begin: &anHour, Step: 60, Failures: []int64{3}, Bans: []int64{1}, Networks: []counts.Count{{Name: p, N: 3}}, Users: []counts.Count{{Name: p, N: 3}}},
		}
		x.d.diff = "--- a\n+++ b\n+" + p + "\n-" + p
		x.d.settings = control.JailSettings{
			Settings: []control.SettingStatus{{Setting: config.Setting{Name: p, Value: p, File: p, Line: 3}, Now: p}, {Setting: config.Setting{Name: "maxretry", Value: p}}, {Setting: config.Setting{Name: "enabled", Value: p}}},
			Files:    []control.LogStatus{{Status: logs.Status{Path: p, Error: p}}}, Regexes: []control.RegexStatus{{Kind: p, Text: p, File: p, Hits: &n}}, Kept: p, KeptText: p, KeepNot: p, Problems: []string{p},
		}
		x.d.topKey, x.s.tops.by = p, nil
		x.d.doctor = control.DoctorAnswer{At: &anHour, Looking: true, Report: finding.Report{Jails: []string{p}, Findings: []finding.Finding{
			{Jail: p, Link: finding.LinkLog, Symptom: p, Level: finding.Broken, Cause: p, Seen: []string{p, p}, Remedy: p + "\n" + p},
			{Link: p, Level: finding.Unlooked, Cause: p},
			{Jail: p, Link: p, Cause: p},
		}}}
		q := url.QueryEscape(p)
		return []string{
			"/", "/never", "/fleet", "/replay?jail=" + q, "/doctor", "/doctor?again=1&jail=" + q, "/jails", "/jails/" + url.PathEscape(p), "/jails/" + url.PathEscape(p) + "/settings", "/bans", "/bans?q=" + q + "&jail=" + q + "&after=" + q, "/address?ip=" + q, "/events?ip=" + q + "&jail=" + q, "/events/rows?since=0&ip=" + q,
			"/jails/" + url.PathEscape("no"+p), "/events?kind=" + q, "/login?to=" + q, "/login/" + url.PathEscape(p), "/" + url.PathEscape(p),
		}
	}
	n := uint64(0)
	for i, p := range append([]string{"harmless"}, payloads...) {
		x.d.table.Add(&events.Event{Kind: events.Found, Jail: p, IP: p, Name: true, Address: p, Log: p, Line: p, Why: p, By: p})
		n++
		if !hosttest.Soon(func() bool {
			last, _, _ := x.d.table.Last()
			return last >= n
		}) {
			t.Fatal("the event is not there")
		}
		for _, path := range fill(p) {
			w := b.get(path)
			if w.Code >= 500 && w.Code != 502 {
				t.Fatalf("%q: %s: %d", p, path, w.Code)
			}
			if wrong := strange(w.Body.String()); wrong != "" {
				t.Errorf("%d: %q: %s has %s", i, p, path, wrong)
			}
		}
		change := b.post("/jails/sshd", "/jails/"+url.PathEscape(p)+"/settings", url.Values{"bantime": {p}, "keep": {"1"}})
		if wrong := strange(change.Body.String()); wrong != "" || change.Code != 200 || !strings.Contains(change.Body.String(), "class=\"diff\"") {
			t.Errorf("%d: %q: a change: %d, has %s", i, p, change.Code, wrong)
		}
		tried := b.post("/bans", "/filter", url.Values{"filter": {p}, "mode": {p}, "lines": {p + "\n" + p}, "prove": {"1"}})
		if wrong := strange(strings.ReplaceAll(tried.Body.String(), "<textarea", "<p")); wrong != "" || tried.Code != 200 || strings.Count(tried.Body.String(), "<textarea") != 2 {
			t.Errorf("%d: %q: a filter that is tried: %d, has %s", i, p, tried.Code, wrong)
		}
		ran := b.post("/bans", "/replay", url.Values{"jail": {p}, "log": {p}, "maxretry": {p}, "findtime": {p}, "bantime": {p}})
		if wrong := strange(ran.Body.String()); wrong != "" || ran.Code != 200 || !strings.Contains(ran.Body.String(), `class="sweep"`) {
			t.Errorf("%d: %q: a replay: %d, has %s", i, p, ran.Code, wrong)
		}
		saved := b.post("/bans", "/filter/save", url.Values{"name": {p}, "filter": {"a = " + p}, "mode": {p}, "lines": {p}})
		if wrong := strange(strings.ReplaceAll(saved.Body.String(), "<textarea", "<p")); wrong != "" || saved.Code != 200 || !strings.Contains(saved.Body.String(), "class=\"diff\"") {
			t.Errorf("%d: %q: a filter that is to be saved: %d, has %s", i, p, saved.Code, wrong)
		}
		// What was done is said of it, too.
		b.post("/bans", "/ban", url.Values{"ip": {p}, "jail": {p}})
		if wrong := strange(b.get("/").Body.String()); wrong != "" {
			t.Errorf("%d: %q: a notice has %s", i, p, wrong)
		}
	}
}

// ours are the attributes that our pages have.
var ours = map[string]bool{}

func init() {
	for _, a := range strings.Fields(`lang data-theme charset name content rel href type src defer class id for action method enctype role maxlength placeholder value title tabindex datetime
		scope aria-label aria-labelledby aria-current aria-hidden aria-live aria-sort viewbox viewBox d data-refresh data-live data-lost data-stream data-rows data-last data-most data-n selected checked required
		disabled required x y width height preserveaspectratio preserveAspectRatio autofocus autocomplete autocapitalize spellcheck`) {
		ours[a] = true
	}
}

// strange is what in a page is not ours: an element, an attribute, a place that a link leads to.
func strange(page string) string {
	z := html.NewTokenizer(strings.NewReader(page))
	scripts := 0
	for {
		switch z.Next() {
		case html.ErrorToken:
			if scripts > 1 {
				return fmt.Sprintf("%d scripts", scripts)
			}
			return ""
		case html.CommentToken:
			return "a comment"
		case html.StartTagToken, html.SelfClosingTagToken:
			tok := z.Token()
			switch tok.Data {
			case "script":
				scripts++
			case "style", "iframe", "img", "object", "embed", "base", "math", "video", "audio", "marquee", "textarea", "details", "body2", "animate", "source":
				return "<" + tok.Data + ">"
			}
			for _, a := range tok.Attr {
				switch {
				case !ours[a.Key]:
					return fmt.Sprintf("<%s %s=%q>", tok.Data, a.Key, a.Val)
				case a.Key == "href" && !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#") && !strings.HasPrefix(a.Val, "https://rdap.org/ip/"),
					a.Key == "href" && strings.HasPrefix(a.Val, "//"),
					a.Key == "src" && !strings.HasPrefix(a.Val, "/assets/"),
					a.Key == "action" && !strings.HasPrefix(a.Val, "/"):
					return fmt.Sprintf("<%s %s=%q>", tok.Data, a.Key, a.Val)
				}
			}
		}
	}
}
