package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"bailiff/pkg/filter"
	"bailiff/pkg/transport"
)

func explainCommand() *cobra.Command {
	o := regexOptions{location: time.Local}
	var asJSON bool
	var most int
	var now, zone string
	var trusted []string
	c := &cobra.Command{
		Use:   "explain LINE FILTER|REGEX",
		Short: "Explain why a line matches or does not",
		Long: `Explain why a line of a log matches a filter or does not: the time found in it and by
which form, what was left of the line, and for each failregex how far it got: where
in the line, where in the expression, and what was expected there. The nearest
comes first.

LINE may hold several lines with newlines between them: the last one is explained,
the others come before it. FILTER is the name of a filter, also with options as
NAME[mode=MODE], a filter's file, or an expression. The exit code is 0 if the line
is a failure, 1 if it is not.`,
		Example: `  bailiff explain '2026-01-31 12:00:00 Login failed 192.0.2.7' django-auth
  bailiff explain --config /etc/fail2ban "$(tail -1 /var/log/auth.log)" sshd`,
		Args: args(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if o.location, o.now, err = clockFlags(zone, now); err != nil {
				return err
			}
			if err := o.readAround(c, trusted); err != nil {
				return err
			}
			o.json, o.out = true, c.OutOrStdout() // no head
			def, err := o.definition(args[1])
			if err != nil {
				return err
			}
			f, err := filter.Compile(def, o.location)
			if err != nil {
				return err
			}
			warnGreedy(c.ErrOrStderr(), f)
			lines := strings.Split(strings.TrimRight(args[0], "\r\n"), "\n")
			e, form := explainLast(f, transport.New(def.Around()), lines, o.clock())
			if form != "" && !asJSON {
				fmt.Fprintf(o.out, "Around    %s\n", form)
			}
			if asJSON {
				err = printJSON(o.out, explanationJSON(&e))
			} else {
				explain(o.out, &e, most)
			}
			if err == nil && !isFailure(&e) {
				err = &exitError{code: exitFailed}
			}
			return err
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVarP(&o.config, "config", "c", "", "`directory` of the configuration in which filters are looked up")
	f.StringVarP(&o.datePattern, "datepattern", "d", "", "the `pattern` of dates, in place of the filter's")
	f.IntVarP(&o.maxLines, "maxlines", "L", 0, "look at `N` lines together")
	f.IntVarP(&most, "number", "n", 3, "how many expressions that do not match are listed; 0: all")
	f.BoolVar(&asJSON, "json", false, "print JSON, with all expressions")
	o.aroundFlags(f, &trusted)
	f.StringVar(&now, "now", "", "the `time` by which dates without a year are read, RFC 3339")
	f.StringVar(&zone, "tz", "", "the local `zone`, as Europe/Zurich")
	return c
}

// explainLast explains the last of some lines as the daemon sees it, and tells what
// stood around it.
func explainLast(f *filter.Filter, around *transport.Log, lines []string, now time.Time) (e filter.Explanation, form string) {
	last := ""
	var frame transport.Frame
	some, whole, coloured := false, false, false
	for _, l := range lines {
		before := around.Coloured()
		text, fr, ok := around.One([]byte(l))
		if whole = ok; !ok {
			continue
		}
		coloured = around.Coloured() > before
		if some {
			f.MatchFramed([]byte(last), frame, now)
		}
		last, frame, some = string(text), fr, true
	}
	given := lines[len(lines)-1]
	switch {
	case !whole:
		last, frame = given, transport.Frame{}
		form = around.Form() + ": the beginning of a line whose rest is missing: give both, with a newline between them"
	case last != given || frame.Head > 0:
		form = around.Form()
		if form == "" && (!coloured || frame.Head > 0 || given[0] == '<' && !strings.HasPrefix(last, "<")) {
			form = transport.Syslog
		}
		if coloured {
			form = strings.TrimPrefix(form+", colours of a terminal: taken off", ", ")
		} else {
			form += ", which is taken off"
		}
	}
	return f.ExplainFramed([]byte(last), frame, now), form
}

// clockFlags reads --tz and --now.
func clockFlags(zone, now string) (loc *time.Location, at time.Time, err error) {
	loc = time.Local
	if zone != "" {
		if loc, err = time.LoadLocation(zone); err != nil {
			return nil, at, &exitError{exitUsage, fmt.Sprintf("--tz: %v", err)}
		}
	}
	if now != "" {
		if at, err = time.Parse(time.RFC3339Nano, now); err != nil {
			return nil, at, &exitError{exitUsage, fmt.Sprintf("--now %s: want RFC 3339, as 2026-01-31T12:00:00Z", now)}
		}
	}
	return loc, at, nil
}

func isFailure(e *filter.Explanation) bool {
	for _, x := range e.Failures {
		if !x.NoFail && !x.Pending {
			return true
		}
	}
	return false
}

func explain(w io.Writer, e *filter.Explanation, most int) {
	if e.JSON != nil {
		explainJSON(w, e)
		return
	}
	switch {
	case e.Template == nil:
		fmt.Fprint(w, "Time      none found: give the form of the log's dates (datepattern, --datepattern)\n")
	case !e.Dated:
		fmt.Fprintf(w, "Time      %q is in the form %s, and no date\n", e.DateText, e.Template.Name)
	default:
		fmt.Fprintf(w, "Time      %s, from %q\n          by %s\n", e.Time.Format("2006-01-02 15:04:05 MST"), e.DateText, e.Template.Name)
	}
	fmt.Fprintf(w, "Rest      %s\n", shown(string(e.Rest)))
	if e.Prefix != nil {
		if !e.Prefix.Matched {
			fmt.Fprint(w, "\nThe prefregex does not match, so no failregex was tried:\n")
			fmt.Fprintf(w, "  prefregex%s", place(e.Prefix.Expr))
			explainAttempt(w, e.Prefix)
		} else {
			fmt.Fprintf(w, "Prefregex %s\n", shown(e.Prefix.Expr.Text))
			printGroups(w, e.Prefix)
		}
	}
	for i := range e.IgnoredBy {
		fmt.Fprintf(w, "\nIgnored   by ignoreregex %d: %s\n", e.IgnoredBy[i].Index+1, shown(e.IgnoredBy[i].Expr.Text))
	}
	missed := 0
	for i := range e.Failregex {
		a := &e.Failregex[i]
		if a.Matched {
			weight := ""
			if a.Expr.Weight > 1 {
				weight = fmt.Sprintf(", weight %d", a.Expr.Weight)
			}
			fmt.Fprintf(w, "\nMatched   failregex %d%s%s: %s\n", a.Index+1, place(a.Expr), weight, shown(a.Expr.Text))
			printGroups(w, a)
			continue
		}
		if missed++; most > 0 && missed > most || isFailure(e) {
			continue
		}
		fmt.Fprintf(w, "\nFailregex %d%s", a.Index+1, place(a.Expr))
		explainAttempt(w, a)
	}
	if hidden := missed - most; most > 0 && hidden > 0 && !isFailure(e) {
		fmt.Fprintf(w, "\n%d more failregexes are further off (--number 0 shows all)\n", hidden)
	}
	fmt.Fprintf(w, "\n%s\n", verdict(e))
}

// verdict says in a sentence what became of the line.
func verdict(e *filter.Explanation) string {
	if len(e.Failures) > 0 {
		switch x := e.Failures[0]; {
		case x.NoFail:
			return "No failure by itself: it is marked F-NOFAIL, and counts if its connection fails."
		case x.Pending:
			return "A failure that waits: the line of its connection that names the address has not come."
		case x.Name:
			return fmt.Sprintf("A failure of the host name %s, which is looked up (usedns).", x.ID)
		default:
			if e.Beside != "" {
				return fmt.Sprintf("A failure of %s.\nHint: %s.", x.ID, filter.BesideText(x.ID, e.Beside))
			}
			for i := range e.Failregex {
				if a := &e.Failregex[i]; a.Index == x.Regex && a.Expr.Weight > 1 {
					return fmt.Sprintf("A failure of %s, which counts for %d.", x.ID, a.Expr.Weight)
				}
			}
			return fmt.Sprintf("A failure of %s.", x.ID)
		}
	}
	switch {
	case len(e.Withheld) > 0:
		return fmt.Sprintf("Not counted, though it is a failure: of %q; %s.", e.Withheld[0].Chain, e.Withheld[0].Remedy())
	case e.Err != nil:
		return "Given up: " + e.Err.Error()
	case len(e.IgnoredBy) > 0:
		return "No failure: it is ignored."
	case e.JSON != nil && slices.ContainsFunc(e.JSON.Kinds, func(k filter.JSONKind) bool { return k.Matched }):
		return "No failure: no field of its host holds an address."
	}
	return "No failure."
}

func place(x filter.Expr) string {
	switch {
	case x.File == "":
		return ""
	case x.Line == 0:
		return " (" + x.File + ")"
	}
	return fmt.Sprintf(" (%s:%d)", x.File, x.Line)
}

func explainAttempt(w io.Writer, a *filter.Attempt) {
	if a.Err != nil {
		fmt.Fprintf(w, "\n  given up: %v\n", a.Err)
		return
	}
	fmt.Fprintf(w, ", %d%% there\n", int(a.Near*100))
	marked(w, "line", a.Text, a.TextPos, a.TextPos)
	var texts []string
	for i, want := range a.Wanted {
		if i == 0 {
			marked(w, "expression", a.Expr.Text, want.From, want.To)
		}
		text := want.Expr
		switch {
		case want.Literal:
			text = fmt.Sprintf("%q", text)
		case text == "$" || text == `\Z`:
			text += " (the end)"
		case text == "^" || text == `\A`:
			text += " (the beginning)"
		}
		if want.InTag != "" {
			text = want.InTag + " (" + want.Expr + ")"
		}
		texts = append(texts, text)
	}
	found := a.Text[a.TextPos:]
	found, _, _ = strings.Cut(found, "\n")
	if found == "" {
		found = "the end of the line"
	} else {
		found = fmt.Sprintf("%q", clip(found, 30))
	}
	fmt.Fprintf(w, "  expected    %s\n  found       %s\n", strings.Join(texts, "  or  "), found)
}

// marked prints a text with a part of it underlined, not more than a line of a
// terminal of it.
func marked(w io.Writer, title, text string, from, to int) {
	const width, before = 100, 60
	text = strings.TrimSuffix(text, "\n")
	from, to = min(from, len(text)), min(max(to, from), len(text))
	head, part, tail := []rune(show(text[:from])), []rune(show(text[from:to])), []rune(show(text[to:]))
	if len(head)+len(part)+len(tail) > width {
		if len(head) > before {
			head = append([]rune("…"), head[len(head)-before+1:]...)
		}
		if len(part) > 30 {
			part = append(part[:29:29], '…')
		}
		if room := max(width-len(head)-len(part), 10); len(tail) > room {
			tail = append(tail[:room-1:room-1], '…')
		}
	}
	fmt.Fprintf(w, "  %-10s  %s%s%s\n%*s%s\n", title, string(head), string(part), string(tail),
		14+len(head), "", strings.Repeat("^", max(1, len(part))))
}

// show makes control characters visible, one character for each.
func show(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return '⏎'
		case r == '\t':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r):
			return '\uFFFD'
		}
		return r
	}, s)
}

func shown(s string) string { return clip(show(s), 200) }

func clip(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

func printGroups(w io.Writer, a *filter.Attempt) {
	for _, name := range a.Order {
		switch v := a.Groups[name].(type) {
		case string:
			fmt.Fprintf(w, "  %-10s  %q\n", name, clip(v, 80))
		case []string:
			fmt.Fprintf(w, "  %-10s  %q\n", name, v)
		}
	}
}

type explanation struct {
	Failure   bool            `json:"failure"`
	IDs       []string        `json:"ids"`
	Verdict   string          `json:"verdict"`
	Time      *time.Time      `json:"time"` // null: none is known
	DateText  string          `json:"date_text"`
	Template  string          `json:"template"`
	Rest      string          `json:"rest"`
	Prefregex *explainedJSON  `json:"prefregex"`
	Failregex []explainedJSON `json:"failregex"`
	// Fields are what a filter of JSON looked at.
	Fields  *explainedFields `json:"fields,omitempty"`
	Ignored []int            `json:"ignored_by"` // numbers of ignoreregexes, from 1
}

type explainedJSON struct {
	Number   int            `json:"number"` // from 1
	Regex    string         `json:"regex"`
	File     string         `json:"file,omitempty"`
	Line     int            `json:"line,omitempty"`
	Weight   int            `json:"weight,omitempty"` // for how many failures a match counts; none: for one
	Matched  bool           `json:"matched"`
	Groups   filter.Groups  `json:"groups,omitempty"`
	Near     float64        `json:"near"` // 0 to 1
	Text     string         `json:"text"`
	TextPos  int            `json:"text_pos"` // bytes
	Expected []expectedJSON `json:"expected,omitempty"`
	Error    string         `json:"error,omitempty"`
}

type expectedJSON struct {
	From int    `json:"from"` // in regex, bytes
	To   int    `json:"to"`
	Expr string `json:"expr"`
	Tag  string `json:"tag,omitempty"`
}

func explanationJSON(e *filter.Explanation) explanation {
	out := explanation{Failure: isFailure(e), IDs: []string{}, Verdict: verdict(e), DateText: e.DateText, Rest: string(e.Rest), Ignored: []int{}, Failregex: []explainedJSON{}}
	if !e.Time.IsZero() {
		out.Time = &e.Time
	}
	if e.Template != nil {
		out.Template = e.Template.Name
	}
	for _, x := range e.Failures {
		if !x.NoFail && !x.Pending {
			out.IDs = append(out.IDs, x.ID)
		}
	}
	out.Fields = fieldsJSON(e.JSON)
	one := func(a *filter.Attempt) explainedJSON {
		j := explainedJSON{
			Number: a.Index + 1, Regex: a.Expr.Text, File: a.Expr.File, Line: a.Expr.Line, Weight: a.Expr.Weight, Matched: a.Matched,
			Groups: a.Groups, Near: a.Near, Text: strings.TrimSuffix(a.Text, "\n"), TextPos: a.TextPos,
		}
		if a.Matched {
			j.Near = 1
		}
		for _, w := range a.Wanted {
			j.Expected = append(j.Expected, expectedJSON{w.From, w.To, w.Expr, w.InTag})
		}
		if a.Err != nil {
			j.Error = a.Err.Error()
		}
		return j
	}
	if e.Prefix != nil {
		p := one(e.Prefix)
		out.Prefregex = &p
	}
	for i := range e.Failregex {
		out.Failregex = append(out.Failregex, one(&e.Failregex[i]))
	}
	for i := range e.IgnoredBy {
		out.Ignored = append(out.Ignored, e.IgnoredBy[i].Index+1)
	}
	return out
}
