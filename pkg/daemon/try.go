package daemon

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/filter"
	"bailiff/pkg/safefile"
)

// A filter that is tried: it is compiled and shown lines beside everything else, within a time.

const (
	// tryPatience is how long it may take, and triesAtOnce how many are tried at a time: one that takes longer goes
	// on by itself, and keeps its place.
	tryPatience = 5 * time.Second
	triesAtOnce = 2
	// trySituations bounds what a proof goes through.
	trySituations = 50_000
)

// TryFilter implements control.Daemon.
func (d *Daemon) TryFilter(r control.TryRequest) (control.TryAnswer, error) {
	bad := func(format string, args ...any) (control.TryAnswer, error) {
		return control.TryAnswer{}, control.Bad(fmt.Errorf(format, args...))
	}
	switch {
	case strings.TrimSpace(r.Filter) == "":
		return bad("filter: want the name of one, or its text")
	case len(r.Lines) > control.TryMost:
		return bad("there are %d lines: want %d at the most", len(r.Lines), control.TryMost)
	}
	for i, l := range r.Lines {
		if len(l) > control.TryLine {
			return bad("line %d is longer than %d bytes", i+1, control.TryLine)
		}
	}
	select {
	case d.tries <- struct{}{}:
	default:
		return control.TryAnswer{}, fmt.Errorf("%d filters are being tried: ask again", triesAtOnce)
	}
	var out control.TryAnswer
	var err error
	if !safefile.Within(tryPatience, func() {
		defer func() { <-d.tries }()
		out, err = d.try(r)
	}) {
		return control.TryAnswer{}, fmt.Errorf("it takes longer than %v: try fewer lines, or a simpler expression", tryPatience)
	}
	return out, err
}

// try does what is asked; d is only asked for its configuration.
func (d *Daemon) try(r control.TryRequest) (out control.TryAnswer, err error) {
	out = control.TryAnswer{Name: "text", Lines: []control.TriedLine{}, Lint: []control.TriedLint{}}
	var def filter.Definition
	if strings.ContainsAny(r.Filter, "\n=") {
		def, err = config.DefinitionOf("text", []byte(r.Filter), r.Mode)
	} else {
		out.Name = r.Filter
		opts := d.opts.Config
		opts.Now, opts.All = nil, false
		var cfg *config.Config
		if cfg, err = config.LoadWithin(configMost, opts); err != nil {
			return out, err
		}
		def, err = cfg.FilterDefinition(r.Filter, r.Mode)
	}
	if err != nil {
		return out, control.Bad(err)
	}
	f, err := filter.Compile(def, time.Local)
	if err != nil {
		return out, control.Bad(err)
	}
	findings, err := filter.Lint(def)
	if err != nil {
		out.Problems = append(out.Problems, fmt.Sprintf("lint: %v", err))
	}
	for _, x := range findings {
		out.Lint = append(out.Lint, control.TriedLint{Rule: x.Rule, Text: x.Text, Expr: x.Expr.Text, Line: x.Expr.Line})
	}
	begun, now := time.Now(), d.clock.Wall()
	proved := !r.Prove
	for i, line := range r.Lines {
		if time.Since(begun) > tryPatience/2 {
			out.Problems = append(out.Problems, fmt.Sprintf("%d lines were not looked at: the time was over", len(r.Lines)-i))
			break
		}
		line = strings.TrimRight(line, "\r\n")
		e := f.Explain([]byte(line), now)
		t := triedLine(line, &e)
		out.Lines = append(out.Lines, t)
		if t.Verdict != "failure" || proved {
			continue
		}
		proved = true
		probe, ok := filter.ProbeOf(def, time.Local, line, now)
		if !ok {
			out.Problems = append(out.Problems, "prove: the filter does not say what of the line is the client's")
			continue
		}
		probe.Most = trySituations
		p, err := filter.Prove(def, time.Local, probe)
		if err != nil {
			out.Problems = append(out.Problems, fmt.Sprintf("prove: %v", err))
			continue
		}
		out.Proof = &control.TriedProof{Line: line, Verdict: p.Verdict, Forged: p.Forged, ForgedID: p.ForgedID, Evading: p.Evading, Reason: p.Reason}
	}
	if !proved && len(r.Lines) > 0 {
		out.Problems = append(out.Problems, "prove: none of the lines is a failure")
	}
	return out, nil
}

func triedLine(line string, e *filter.Explanation) control.TriedLine {
	t := control.TriedLine{Line: line, Verdict: "nothing", Date: e.DateText, CutAt: e.CutAt, Head: e.Head}
	if e.Dated && !e.Time.IsZero() {
		at := e.Time
		t.Time = &at
	}
	if e.Prefix != nil {
		t.Prefix = triedRegex("prefregex", e.Prefix)
	}
	if len(e.Failregex) > 0 {
		t.Regex = triedRegex("failregex", &e.Failregex[0])
	}
	if len(e.IgnoredBy) > 0 {
		t.Regex = triedRegex("ignoreregex", &e.IgnoredBy[0])
	}
	if e.Ignored >= 0 {
		t.Verdict = "ignored"
	}
	for i := range e.Failures {
		x := &e.Failures[i]
		if x.NoFail || x.Pending {
			continue
		}
		t.Verdict, t.ID, t.User = "failure", x.ID, x.User
		if x.IP.IsValid() {
			t.Address = x.IP.String()
		}
		if t.User == "" {
			t.User, _ = x.Groups.Text("user")
		}
		for j := range e.Failregex {
			if e.Failregex[j].Index == x.Regex && e.Failregex[j].Matched {
				t.Regex = triedRegex("failregex", &e.Failregex[j])
			}
		}
		break
	}
	return t
}

func triedRegex(kind string, a *filter.Attempt) *control.TriedRegex {
	r := &control.TriedRegex{
		Kind: kind, Number: a.Index + 1, Text: a.Expr.Text, File: a.Expr.File, Line: a.Expr.Line, Matched: a.Matched,
		Parts: triedParts(strings.TrimSuffix(a.Text, "\n"), a.Spans), Near: a.Near,
	}
	if a.Err != nil {
		r.Wanted = []string{a.Err.Error()}
	}
	for _, w := range a.Wanted {
		r.Wanted = append(r.Wanted, w.Expr)
	}
	return r
}

// triedParts cuts a text where groups begin and end; each part is of the innermost group around it.
func triedParts(text string, spans []filter.Span) []control.TriedPart {
	cuts := []int{0, len(text)}
	for _, s := range spans {
		cuts = append(cuts, min(s.From, len(text)), min(s.To, len(text)))
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	parts := []control.TriedPart{}
	for i := 0; i+1 < len(cuts); i++ {
		p := control.TriedPart{Text: text[cuts[i]:cuts[i+1]]}
		least := len(text) + 1
		for _, s := range spans {
			if s.From > cuts[i] || s.To < cuts[i+1] {
				continue
			}
			if p.Matched = true; s.Name != "" && s.To-s.From < least {
				p.Group, least = s.Name, s.To-s.From
			}
		}
		parts = append(parts, p)
	}
	return parts
}
