package web

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	counts "bailiff/pkg/chart"
	"bailiff/pkg/control"
	"bailiff/pkg/history"
	"bailiff/pkg/replay"
)

// What if: a jail run over a log that is there, or one that somebody sends, with its own numbers and with
// others. A file goes through to the daemon as it comes, and is kept nowhere.

// replayData is the page.
type replayData struct {
	Jails []chosen
	Jail  string
	Logs  []chosen
	// as they were sent
	MaxRetry, FindTime, BanTime string
	Now                         replayNow
	MostMiB                     int64

	Problem         string
	Answer          *control.ReplayAnswer
	Sum             string
	Rows            []replayRow
	Best            string
	Hurt            []string
	Bans            []replay.BanAnswer
	MoreBans        int64
	Charts          []chart
	Networks, Users []counts.Count
	Took            string
}

// replayNow are the jail's own numbers.
type replayNow struct {
	MaxRetry          int
	FindTime, BanTime float64
}

// replayRow is a setting and what came of it.
type replayRow struct {
	replay.OutcomeAnswer
	Own, Best, Told bool // Told: whom it hurts is known
}

// replayBans is how many bans the page shows, and replayHurt how many of those who are hurt by a setting.
const replayBans, replayHurt = 100, 5

// replayForm fills in what can be chosen.
func (a *ask) replayForm(jail, log string) (d replayData, err error) {
	st, err := a.api().Status()
	if err != nil {
		return d, err
	}
	d.MostMiB = control.ReplayBytes >> 20
	for _, j := range st.Jails {
		if j.List {
			continue
		}
		if jail == "" {
			jail = j.Name
		}
		d.Jails = append(d.Jails, chosen{Value: j.Name, Text: j.Name, Is: j.Name == jail})
		if j.Name != jail {
			continue
		}
		d.Jail, d.Now = jail, replayNow{j.MaxRetry, j.FindTime, j.BanTime}
		d.Logs = []chosen{{Value: "", Text: text("replay.alllogs"), Is: log == ""}}
		for _, f := range j.Files {
			d.Logs = append(d.Logs, chosen{Value: f.Path, Text: f.Path, Is: f.Path == log})
		}
	}
	return d, nil
}

func replayPage(a *ask) error {
	q := a.r.URL.Query()
	d, err := a.replayForm(q.Get("jail"), q.Get("log"))
	if err != nil {
		return err
	}
	return a.show(http.StatusOK, "replay", text("replay.title"), d)
}

func runReplay(a *ask) error {
	q := control.ReplayQuery{Jail: a.form("jail"), Log: a.form("log"), MaxRetry: a.form("maxretry"), FindTime: a.form("findtime"), BanTime: a.form("bantime")}
	d, err := a.replayForm(q.Jail, q.Log)
	if err != nil {
		return err
	}
	d.MaxRetry, d.FindTime, d.BanTime = q.MaxRetry, q.FindTime, q.BanTime
	if a.file != nil {
		q.Log, q.Upload = control.ReplayUpload, a.file
	}
	got, err := a.api().Replay(a.r.Context(), q)
	if err != nil {
		d.Problem = err.Error()
	} else {
		d.fill(&got)
	}
	return a.show(http.StatusOK, "replay", text("replay.title"), d)
}

// fill fills in what came of it.
func (d *replayData) fill(got *control.ReplayAnswer) {
	d.Answer, d.Took = got, span(got.Took)
	d.Sum = text("replay.sum", "lines", number(got.Lines), "failures", number(got.Failures), "through", number(got.LetThrough), "out", number(got.ShutOut), "bans", number(got.BanCount), "addresses", number(got.Banned))
	d.Bans = got.Bans[:min(len(got.Bans), replayBans)]
	d.MoreBans = got.BanCount - int64(len(d.Bans))
	told := got.Logins != nil && *got.Logins > 0
	own := false
	row := func(o *replay.OutcomeAnswer) {
		r := replayRow{OutcomeAnswer: *o, Told: told}
		r.Own = o.MaxRetry == got.MaxRetry && o.FindTime == got.FindTime && o.BanTime == got.BanTime
		r.Best = got.Best != nil && o.MaxRetry == got.Best.MaxRetry && o.FindTime == got.Best.FindTime && o.BanTime == got.Best.BanTime
		own = own || r.Own
		d.Rows = append(d.Rows, r)
		if o.HurtAddresses > 0 {
			d.Hurt = append(d.Hurt, text("replay.hurtby", "setting", settingText(o), "who", hurtText(o)))
		}
	}
	for i := range got.Sweep {
		row(&got.Sweep[i])
	}
	if !own {
		row(&replay.OutcomeAnswer{
			MaxRetry: got.MaxRetry, FindTime: got.FindTime, BanTime: got.BanTime, Failures: got.Failures, LetThrough: got.LetThrough, ShutOut: got.ShutOut,
			Bans: got.BanCount, Banned: got.Banned, Hurt: got.Hurt, HurtAddresses: len(got.Hurt), HurtUsers: usersOf(got.Hurt),
		})
	}
	switch b := got.Best; {
	case b == nil:
	case got.Logins == nil:
		d.Best = text("replay.bestunknown", "setting", settingText(b), "out", number(b.ShutOut), "failures", number(b.Failures))
	case !told:
		d.Best = text("replay.bestnologin", "setting", settingText(b), "out", number(b.ShutOut), "failures", number(b.Failures))
	case b.HurtAddresses > 0:
		d.Best = text("replay.besthurts", "setting", settingText(b), "out", number(b.ShutOut), "failures", number(b.Failures), "n", number(b.HurtAddresses))
	default:
		d.Best = text("replay.best", "setting", settingText(b), "out", number(b.ShutOut), "failures", number(b.Failures))
	}
	p := &got.Plot
	d.Networks, d.Users = p.Networks, p.Users
	if p.Begin != nil {
		to := p.Begin.Add(time.Duration(p.Step * float64(len(p.Failures)) * float64(time.Second)))
		d.Charts = []chart{chartOf(history.Answer{From: *p.Begin, To: to, Step: p.Step, Failures: p.Failures, Bans: p.Bans}, text("replay.overtime"))}
	}
}

func settingText(o *replay.OutcomeAnswer) string {
	return text("replay.setting", "maxretry", o.MaxRetry, "findtime", span(o.FindTime), "bantime", span(o.BanTime))
}

func hurtText(o *replay.OutcomeAnswer) string {
	var out []string
	for _, h := range o.Hurt[:min(len(o.Hurt), replayHurt)] {
		who := h.Address
		if len(h.Users) > 0 {
			who += " (" + strings.Join(h.Users, ", ") + ")"
		}
		out = append(out, who)
	}
	if more := o.HurtAddresses - len(out); more > 0 {
		out = append(out, text("replay.more", "n", number(more)))
	}
	return strings.Join(out, ", ")
}

func usersOf(hurt []replay.HurtAnswer) int {
	users := map[string]bool{}
	for _, h := range hurt {
		for _, u := range h.Users {
			users[u] = true
		}
	}
	return len(users)
}

// fieldCosts is what a field of such a form counts for beside its name and its value, of formMost: else a million
// empty ones were kept.
const fieldCosts = 64

// readParts reads the fields of a form that has a file at its end, which is left to be read.
func (a *ask) readParts() {
	a.r.Form, a.r.PostForm = url.Values{}, url.Values{}
	parts, err := a.r.MultipartReader()
	if err != nil {
		return
	}
	_ = http.NewResponseController(a.w).SetReadDeadline(time.Now().Add(control.ReplayMost)) // as long as the daemon reads it
	for left := int64(formMost); ; {
		part, err := parts.NextRawPart()
		switch {
		case errors.Is(err, io.EOF): // to the end: only then is it noticed that the browser goes
			_, _ = io.Copy(io.Discard, io.LimitReader(a.r.Body, formMost))
			return
		case err != nil:
			return
		case part.FileName() != "":
			a.file = part
			return
		}
		value, err := io.ReadAll(io.LimitReader(part, left+1))
		if left -= int64(len(value) + len(part.FormName()) + fieldCosts); err != nil || left < 0 {
			clear(a.r.PostForm)
			return
		}
		a.r.PostForm.Add(cmp.Or(part.FormName(), "?"), string(value))
	}
}
