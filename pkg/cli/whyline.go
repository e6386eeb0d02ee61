package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/guard"
	"bailiff/pkg/jail"
	"bailiff/pkg/transport"
)

// whyLine is what one jail says of a line.
type whyLine struct {
	Jail string `json:"jail"`
	// Counts says whether it is a failure that counts; Verdict says it, and why not.
	Counts  bool   `json:"counts"`
	Verdict string `json:"verdict"`
	Explain any    `json:"explain"`

	e    filter.Explanation
	form string
}

// ignoreWait is how long names and files of ignoreip are waited for.
const ignoreWait = 2 * time.Second

// whyOfLine tells what each enabled jail makes of a line, the last of some.
func (g *global) whyOfLine(out io.Writer, path, text string, asJSON bool, most int) error {
	load := config.Options{Path: path}
	if path == "" {
		if s, err := g.client().Status(); err == nil {
			load.Path = s.Config
		}
	}
	cfg, err := config.LoadWithin(startMost, load)
	if err != nil {
		return err
	}
	protect := guard.New(guard.Options{Log: slog.New(slog.DiscardHandler)})
	defer protect.Close()
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	now := time.Now()
	said := []whyLine{}
	for _, j := range cfg.Jails {
		if j.Disabled || len(j.List) > 0 {
			continue
		}
		w := whyLine{Jail: j.Name}
		if err := j.Broken(); err != nil {
			w.Verdict = "The jail is broken: " + err.Error()
			said = append(said, w)
			continue
		}
		f, err := filter.Compile(j.Filter, time.Local)
		if err != nil {
			w.Verdict = "The jail is broken: " + err.Error()
			said = append(said, w)
			continue
		}
		w.e, w.form = explainLast(f, transport.New(j.Filter.Around()), slices.Clone(lines), now)
		w.Explain = explanationJSON(&w.e)
		w.Counts, w.Verdict = counts(j, protect, &w.e, now)
		said = append(said, w)
	}
	if len(said) == 0 {
		return failed("no jail is enabled in %s", cmp.Or(load.Path, config.DefaultDir))
	}
	// Whom it concerns first, and then who was nearest.
	slices.SortStableFunc(said, func(a, b whyLine) int {
		return cmp.Or(-cmp.Compare(a.near(), b.near()), 0)
	})
	if asJSON {
		err = printJSON(out, said)
	} else {
		printWhyLine(out, said, most)
	}
	if err == nil && !slices.ContainsFunc(said, func(w whyLine) bool { return w.Counts }) {
		err = &exitError{code: exitFailed}
	}
	return err
}

// near is how near a line came to be a failure for a jail.
func (w *whyLine) near() float64 {
	switch {
	case w.Counts:
		return 4
	case isFailure(&w.e):
		return 3
	case len(w.e.Failures)+len(w.e.Withheld)+len(w.e.IgnoredBy) > 0:
		return 2
	case len(w.e.Failregex) > 0:
		return w.e.Failregex[0].Near
	}
	return 0
}

// counts reports whether a jail would count what was found, and says so.
func counts(j *config.Jail, protect *guard.Guard, e *filter.Explanation, now time.Time) (bool, string) {
	text := verdict(e)
	if !isFailure(e) {
		return false, text
	}
	if age := now.Sub(e.Time); e.Dated && !e.Time.IsZero() && age > j.FindTime {
		return false, fmt.Sprintf("%s It does not count: it is of %s, and older than findtime, %s.", text, e.Time.Format(timeLayout), short(j.FindTime))
	}
	view := protect.View(jail.Protected(j), nil)
	defer view.Close()
	ctx, done := context.WithTimeout(context.Background(), ignoreWait)
	defer done()
	for !view.Ready() && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	for i := range e.Failures {
		x := &e.Failures[i]
		if x.NoFail || x.Pending {
			continue
		}
		id := x.Addr
		if x.IP.IsValid() {
			id = netip.PrefixFrom(x.IP, x.IP.BitLen())
		}
		var why guard.Reason
		if id.IsValid() {
			why = view.Rules().Why(id)
		} else {
			why = view.Rules().WhyName(x.ID)
		}
		if why.Some() {
			return false, text + " It does not count, since it is never banned: " + why.Text + "."
		}
	}
	more := ""
	if !view.Ready() {
		more = fmt.Sprintf(" Names or files of ignoreip have not answered within %v.", ignoreWait)
	}
	if j.IgnoreCommand != "" {
		more += " What ignorecommand says of it was not asked."
	}
	what := "ban"
	if j.Observe {
		what = "would ban (observe)"
	}
	return true, fmt.Sprintf("%s It counts: %d within %s %s.%s", text, j.MaxRetry, short(j.FindTime), what, more)
}

func printWhyLine(out io.Writer, said []whyLine, most int) {
	var not []string
	for i := range said {
		w := &said[i]
		if i > 0 && w.near() < 2 && w.Explain != nil {
			not = append(not, w.Jail)
			continue
		}
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s: %s\n", w.Jail, w.Verdict)
		if w.Explain == nil {
			continue
		}
		if w.form != "" {
			fmt.Fprintf(out, "Around    %s\n", w.form)
		}
		explain(out, &w.e, most)
	}
	if len(not) > 0 {
		fmt.Fprintf(out, "\nNo failure for, and farther from one: %s\n", strings.Join(not, ", "))
	}
}
