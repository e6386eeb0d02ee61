package web

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"bailiff/pkg/control"
)

// A jail's settings: each with its place, and the few that an admin may change, for now or for good. A
// change is shown first, as the API tells what it would be.

// settingsData is the page.
type settingsData struct {
	control.JailSettings
	Change []changeable
	May    bool
	// Of a change that is shown before it is made:
	Preview *control.SettingsResult
	Sent    []changeable // what was asked for
	Keep    bool
	Problem string
}

// changeable is a setting that can be changed.
type changeable struct {
	Name, Value string
	Bool        bool
	Sent        string // what was asked for and refused: it stands in the form again
}

// changeables are their names, in the order of the form; those with true are on or off.
var changeables = []struct {
	name string
	bool bool
}{{"enabled", true}, {"observe", true}, {"maxretry", false}, {"findtime", false}, {"bantime", false}, {"filter", false}}

func settingsPage(a *ask) error { return a.showSettings(http.StatusOK, &settingsData{}) }

// showSettings shows them as they are, with what d says of a change.
func (a *ask) showSettings(status int, d *settingsData) error {
	name := a.r.PathValue("jail")
	var err error
	if d.JailSettings, err = a.api().Settings(name); err != nil {
		return err
	}
	d.May = a.who.role >= control.Admin
	sent := func(name string) string {
		if at := slices.IndexFunc(d.Sent, func(c changeable) bool { return c.Name == name }); at >= 0 {
			return d.Sent[at].Value
		}
		return ""
	}
	for _, c := range changeables {
		at := slices.IndexFunc(d.Settings, func(s control.SettingStatus) bool { return s.Name == c.name })
		if at < 0 {
			d.Change = append(d.Change, changeable{Name: c.name, Bool: c.bool, Sent: sent(c.name)})
			continue
		}
		value := d.Settings[at].Value
		if d.Settings[at].Now != "" {
			value = d.Settings[at].Now
		}
		d.Change = append(d.Change, changeable{Name: c.name, Value: value, Bool: c.bool, Sent: sent(c.name)})
	}
	return a.show(status, "settings", text("settings.title", "jail", name), d)
}

// changeSettings shows what a change would be; or makes it, if it was shown.
func changeSettings(a *ask) error {
	name := a.r.PathValue("jail")
	d := &settingsData{Keep: a.form("keep") != "", Preview: &control.SettingsResult{}}
	req := control.SettingsRequest{Keep: d.Keep, Preview: a.form("sure") == ""}
	for _, c := range changeables {
		if value := strings.TrimSpace(a.form(c.name)); value != "" {
			d.Sent = append(d.Sent, changeable{Name: c.name, Value: value, Bool: c.bool})
		}
	}
	for _, c := range d.Sent {
		value := c.Value
		switch c.Name {
		case "enabled", "observe":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return &pageError{http.StatusBadRequest, err}
			}
			if c.Name == "enabled" {
				req.Enabled = &on
			} else {
				req.Observe = &on
			}
		case "maxretry":
			n, err := strconv.Atoi(value)
			if err != nil {
				d.Preview, d.Problem = nil, text("settings.number", "name", c.Name)
				return a.showSettings(http.StatusBadRequest, d)
			}
			req.MaxRetry = &n
		case "findtime":
			t := control.SettingText(value)
			req.FindTime = &t
		case "bantime":
			t := control.SettingText(value)
			req.BanTime = &t
		case "filter":
			req.Filter = &value
		}
	}
	if len(d.Sent) == 0 {
		d.Preview, d.Problem = nil, text("settings.nothing")
		return a.showSettings(http.StatusBadRequest, d)
	}
	got, err := a.api().ChangeSettings(name, req)
	if err != nil {
		status := http.StatusBadGateway
		if e, ok := errors.AsType[*control.AnswerError](err); ok {
			status = e.Status
		}
		d.Preview, d.Problem = nil, err.Error()
		return a.showSettings(status, d)
	}
	if req.Preview {
		d.Preview = &got
		return a.showSettings(http.StatusOK, d)
	}
	a.noteSettings(got)
	a.redirect(jailURL(name) + "/settings")
	return nil
}

// noteSettings says what became of a change.
func (a *ask) noteSettings(got control.SettingsResult) {
	a.note(false, text("settings.done", "jail", got.Jail, "did", got.Did))
	for _, n := range got.Notes {
		a.note(false, n)
	}
}

// forgetSettings takes back what was changed.
func forgetSettings(a *ask) error {
	name := a.r.PathValue("jail")
	got, err := a.api().ForgetSettings(name)
	if err != nil {
		a.note(true, err.Error())
	} else {
		a.noteSettings(got)
	}
	a.redirect(jailURL(name) + "/settings")
	return nil
}

// diffLines are those of a diff, each with what it is.
func diffLines(diff string) (out []diffLine) {
	for line := range strings.Lines(diff) {
		line = strings.TrimRight(line, "\n")
		kind := ""
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"), strings.HasPrefix(line, "@@"):
			kind = "at"
		case strings.HasPrefix(line, "+"):
			kind = "plus"
		case strings.HasPrefix(line, "-"):
			kind = "minus"
		}
		out = append(out, diffLine{kind, line})
	}
	return out
}

type diffLine struct{ Kind, Text string }
