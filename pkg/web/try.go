package web

import (
	"net/http"
	"strings"

	"bailiff/pkg/control"
)

// A filter tried on lines that somebody pastes: what it makes of each, in the colours of its groups.

// tryData is the page.
type tryData struct {
	Filter, Mode, Text string // as they were sent
	Prove              bool
	Written            bool // the text of a filter was sent, and no name
	Answer             *control.TryAnswer
	May                bool // it may be saved
	Name               string
	Save               *control.SaveResult
	Saved              []control.SavedFilter
	Lines              []triedLine
	Problem            string
}

// triedLine is a line with its pieces.
type triedLine struct {
	control.TriedLine
	Tone   string
	Pieces []piece
	Groups []piece // those that took something, with their colours
}

// piece is one of a line, and the class of its colour.
type piece struct{ Text, Group, Class string }

// groupColours is how many there are.
const groupColours = 6

func tryPage(a *ask) error {
	return a.showTry(&tryData{Filter: clipped(a.r.URL.Query().Get("filter"), 200)})
}

// showTry shows the page, with the filters that were saved.
func (a *ask) showTry(d *tryData) error {
	d.May = a.who.role >= control.Admin
	var err error
	if d.Saved, err = a.api().SavedFilters(); err != nil && d.Problem == "" {
		d.Problem = err.Error()
	}
	return a.show(http.StatusOK, "try", text("try.title"), *d)
}

// linesOf are the lines of what was pasted that are not empty.
func linesOf(pasted string) (out []string) {
	for line := range strings.SplitSeq(strings.ReplaceAll(pasted, "\r\n", "\n"), "\n") {
		if strings.TrimSpace(line) != "" {
			out = append(out, line)
		}
	}
	return out
}

// saveFilter shows what saving a filter, or removing one, would be; or does it, if it was shown.
func saveFilter(a *ask) error {
	d := &tryData{Filter: a.form("filter"), Mode: strings.TrimSpace(a.form("mode")), Text: a.form("lines"), Name: strings.TrimSpace(a.form("name"))}
	req := control.SaveRequest{Preview: a.form("sure") == ""}
	if a.form("remove") == "" {
		if req.Text = strings.ReplaceAll(d.Filter, "\r\n", "\n"); !strings.Contains(req.Text, "=") {
			d.Problem = text("try.onlytext")
			return a.showTry(d)
		}
		req.Lines, req.Mode = linesOf(d.Text), d.Mode
	}
	got, err := a.api().SaveFilter(d.Name, req)
	switch {
	case err != nil:
		d.Problem = err.Error()
		return a.showTry(d)
	case req.Preview:
		d.Save = &got
		return a.showTry(d)
	case got.Text == "":
		a.note(false, text("try.removed", "name", got.Name))
	default:
		a.note(false, text("try.saved", "name", got.Name, "file", got.File))
	}
	if got.Note != "" {
		a.note(false, got.Note)
	}
	a.redirect("/filter")
	return nil
}

func try(a *ask) error {
	d := &tryData{Filter: a.form("filter"), Mode: strings.TrimSpace(a.form("mode")), Text: strings.ReplaceAll(a.form("lines"), "\r\n", "\n"), Prove: a.form("prove") != ""}
	req := control.TryRequest{Filter: d.Filter, Mode: d.Mode, Prove: d.Prove}
	if !strings.Contains(strings.TrimSpace(d.Filter), "\n") { // it is a name
		req.Filter = strings.TrimSpace(d.Filter)
	}
	req.Lines = linesOf(d.Text)
	got, err := a.api().TryFilter(req)
	if err != nil {
		d.Problem = err.Error()
		return a.showTry(d)
	}
	d.Answer, d.Written = &got, strings.Contains(req.Filter, "=")
	for _, l := range got.Lines {
		d.Lines = append(d.Lines, tried(l))
	}
	return a.showTry(d)
}

// tried gives the pieces of a line their colours.
func tried(l control.TriedLine) triedLine {
	t := triedLine{TriedLine: l, Tone: map[string]string{"failure": "bad", "ignored": "warn"}[l.Verdict]}
	if l.Regex == nil {
		t.Pieces = []piece{{Text: l.Line}}
		return t
	}
	colours := map[string]string{}
	for _, p := range l.Regex.Parts {
		of := piece{Text: p.Text, Group: p.Group}
		switch {
		case p.Group != "":
			if colours[p.Group] == "" {
				colours[p.Group] = "g" + string(rune('0'+len(colours)%groupColours))
				t.Groups = append(t.Groups, piece{p.Group, p.Group, colours[p.Group]})
			}
			of.Class = colours[p.Group]
		case p.Matched:
			of.Class = "matched"
		}
		t.Pieces = append(t.Pieces, of)
	}
	return t
}
