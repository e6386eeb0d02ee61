package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/finding"
)

// What is wrong on this host. The daemon looks beside everything else, and no page waits for that: it shows
// what was found last, and what is found then comes when it is loaded again.

// lookedAge is how old what the overview shows may be before the daemon looks again; who asks for a
// look has a new one.
const lookedAge = 10 * time.Minute

// wrongShown is how many findings the overview has.
const wrongShown = 20

// looked is what was found.
type looked struct {
	control.DoctorAnswer
	Wrong, Unlooked, Fine []findingRow
	Problem               string
	Links                 []string
	Table                 []linkRow
	Jail                  string
	Path                  string // of the page itself
}

// findingRow is a finding with how it is shown.
type findingRow struct {
	finding.Finding
	Tone   string
	Remedy []string // lines
}

// linkRow is how the links of a jail are.
type linkRow struct {
	Name  string
	Words []state
}

// levelTone is how a level looks.
func levelTone(word string) string {
	return map[string]string{finding.Broken.String(): "bad", finding.Doubtful.String(): "warn", finding.OK.String(): "good"}[word]
}

// look asks what is wrong, without waiting for it.
func (a *ask) look(jail string, age time.Duration) (d looked) {
	d.Jail, d.Path = jail, "/doctor"
	if jail != "" {
		d.Path += "?jail=" + url.QueryEscape(jail)
	}
	got, err := a.api().Doctor(control.DoctorQuery{Jail: jail, Age: age, Now: true})
	if err != nil {
		d.Problem = err.Error()
		return d
	}
	d.DoctorAnswer = got
	for _, f := range got.Findings {
		row := findingRow{Finding: f, Tone: levelTone(f.Level.String())}
		if f.Remedy != "" {
			row.Remedy = strings.Split(f.Remedy, "\n")
		}
		switch {
		case f.Level.Wrong():
			d.Wrong = append(d.Wrong, row)
		case f.Level == finding.Unlooked:
			d.Unlooked = append(d.Unlooked, row)
		default:
			d.Fine = append(d.Fine, row)
		}
	}
	return d
}

func doctorPage(a *ask) error {
	age := lookedAge
	if a.r.URL.Query().Get("again") != "" {
		age = control.DoctorAge
	}
	d := a.look(a.r.URL.Query().Get("jail"), age)
	d.Links = finding.Links
	for _, jail := range slices.Concat(d.Jails, d.Others()) {
		row := linkRow{Name: jail}
		for _, link := range finding.Links {
			word := d.Of(jail, link)
			row.Words = append(row.Words, state{word, levelTone(word)})
		}
		d.Table = append(d.Table, row)
	}
	return a.show(http.StatusOK, "doctor", text("doctor.title"), d)
}
