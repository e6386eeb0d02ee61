package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	counts "bailiff/pkg/chart"
	"bailiff/pkg/control"
	"bailiff/pkg/replay"
)

// Replay reads what is sent, and answers with the texts that a test has set.
func (d *daemon) Replay(_ context.Context, q control.ReplayQuery) (control.ReplayAnswer, error) {
	text, err := io.ReadAll(q.Upload)
	if err != nil {
		return control.ReplayAnswer{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.replays = append(d.replays, fmt.Sprintf("%s over %q (%d bytes) with %s, %s, %s", q.Jail, q.Log, len(text), q.MaxRetry, q.FindTime, q.BanTime))
	return d.replay, nil
}

// sendLog sends the form of the page as a browser does, with a file at its end; "": none was chosen.
func (b *browser) sendLog(csrf, log string, fields url.Values) *httptest.ResponseRecorder {
	b.x.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField("csrf", csrf)
	for key, values := range fields {
		_ = form.WriteField(key, values[0])
	}
	name := ""
	if log != "" {
		name = "auth.log.1"
	}
	part, _ := form.CreatePart(map[string][]string{"Content-Disposition": {`form-data; name="file"; filename="` + name + `"`}})
	_, _ = part.Write([]byte(log))
	form.Close()
	r := httptest.NewRequest("POST", "/replay", &body)
	r.Host, r.RemoteAddr = b.host, b.x.addr
	r.Header.Set("Content-Type", form.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for k, v := range b.cookies {
		r.AddCookie(&http.Cookie{Name: k, Value: v})
	}
	w := httptest.NewRecorder()
	b.x.s.serve(w, r.WithContext(contextWith(r, b.x.peer)))
	return w
}

// TestReplayPage: a file goes to the daemon as it was sent, a form without one asks for a log that is there; who
// is no operator, or has no token, sends nothing; and the answer is on the page.
func TestReplayPage(t *testing.T) {
	x := newSite(t, nil)
	logins := int64(2)
	best := replay.OutcomeAnswer{MaxRetry: 10, FindTime: 3600, BanTime: -1, Failures: 9000, ShutOut: 8000, Bans: 4, Banned: 4}
	x.d.replay = control.ReplayAnswer{
		Jail: "sshd", Logs: []string{"-"}, Bans: []replay.BanAnswer{{ID: "203.0.113.7", Start: anHour, Failures: 5}},
		Answer: replay.Answer{
			MaxRetry: 5, FindTime: 600, BanTime: 3600, Lines: 12345, First: &anHour, Last: &anHour, Failures: 9000, BanCount: 3, Banned: 2, Logins: &logins, Complete: true,
			Sweep: []replay.OutcomeAnswer{{MaxRetry: 3, FindTime: 600, BanTime: 3600, HurtAddresses: 6, HurtUsers: 1, Hurt: []replay.HurtAnswer{{Address: "192.0.2.101", Users: []string{"carol"}}}}, best}, Best: &best,
		},
		Plot: replay.PlotAnswer{Begin: &anHour, Step: 60, Failures: []int64{7, 2}, Bans: []int64{1, 2}, Networks: []counts.Count{{Name: "203.0.113.0/24", N: 9}}, Users: []counts.Count{{Name: "root", N: 9}}},
	}
	b := x.in(control.Operator)
	form := b.get("/replay").Body.String()
	csrf := hidden.FindStringSubmatch(form)
	if csrf == nil || !strings.Contains(form, `enctype="multipart/form-data"`) || !strings.Contains(form, "maxretry (now 5)") {
		t.Fatal(form)
	}
	fields := url.Values{"jail": {"sshd"}, "maxretry": {"3,10"}, "findtime": {"10m"}, "bantime": {""}}
	big := strings.Repeat("a line of a log\n", 2*formMost/16)
	w := b.sendLog(csrf[2], big, fields)
	body := w.Body.String()
	for _, part := range []string{
		text("replay.sent"), "12\u202f345", "<svg", "203.0.113.0/24", "root", "203.0.113.7", "192.0.2.101 (carol)", text("replay.more", "n", "5"),
		text("replay.best", "setting", settingText(&best), "out", "8\u202f000", "failures", "9\u202f000"), `<span class="tag">now</span>`, `<span class="tag good">best</span>`,
	} {
		if !strings.Contains(body, part) {
			t.Errorf("%d: no %q in\n%s", w.Code, part, body)
		}
	}
	if n := strings.Count(body, "<tr><td>"); n != 3 { // two settings, and the present one
		t.Errorf("%d rows", n)
	}
	b.sendLog(csrf[2], "", url.Values{"jail": {"sshd"}, "log": {"/var/log/auth.log"}})
	b.post("/replay", "/replay", fields) // as a plain form
	want := []string{
		`sshd over "-" (524288 bytes) with 3,10, 10m, `,
		`sshd over "/var/log/auth.log" (0 bytes) with , , `,
		`sshd over "" (0 bytes) with 3,10, 10m, `,
	}
	if strings.Join(x.d.replays, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked:\n%s\nwant:\n%s", strings.Join(x.d.replays, "\n"), strings.Join(want, "\n"))
	}
	x.d.replays = nil
	if w := b.sendLog("wrong", big, fields); w.Code != http.StatusForbidden {
		t.Errorf("without the token: %d", w.Code)
	}
	if w := b.sendLog(csrf[2], "", url.Values{"jail": {strings.Repeat("x", formMost)}}); w.Code != http.StatusForbidden {
		t.Errorf("with fields that are too long: %d", w.Code)
	}
	many := url.Values{"jail": {"sshd"}}
	for i := range formMost / fieldCosts {
		many.Set(fmt.Sprint("f", i), "")
	}
	if w := b.sendLog(csrf[2], "", many); w.Code != http.StatusForbidden {
		t.Errorf("with too many fields: %d", w.Code)
	}
	if w := x.in(control.Reader).sendLog(csrf[2], big, fields); w.Code != http.StatusForbidden {
		t.Errorf("a viewer: %d", w.Code)
	}
	if w := x.browser().sendLog(csrf[2], big, fields); w.Code != http.StatusUnauthorized {
		t.Errorf("nobody: %d", w.Code)
	}
	if len(x.d.replays) > 0 {
		t.Errorf("done: %q", x.d.replays)
	}
}
