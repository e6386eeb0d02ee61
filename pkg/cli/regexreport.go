package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/scan"
)

// listed is how many missed or ignored lines are listed without being asked;
// --maxlines changes it, as with fail2ban-regex.
const listed = 20

// tally is the report's content.
type tally struct {
	o      *regexOptions
	filter *filter.Filter
	names  *resolver
	listed int

	fail         []hits
	ignore       []hits
	pref         int
	prefMatched  bool
	prefLast     string // its groups, as they are listed
	prefGroups   []string
	lines        int
	matched      lineList
	missed       lineList
	ignored      lineList
	prefixRegexp string

	now  time.Time // by which dates without a year are read, of the block
	turn int       // that one

	texts   textPile
	counted bool          // the filter counts: Pref is not told
	before  []filter.Line // with maxlines, those that waited before the present line
}

// hits are those of one expression.
type hits struct {
	n     int
	found hitList // with -v
}

// lineList is the lines of one kind; not all of them are kept.
type lineList struct {
	n    int
	kept []string
}

func newTally(o *regexOptions, f *filter.Filter, names *resolver) *tally {
	t := &tally{
		o: o, filter: f, names: names, listed: listed, prefixRegexp: f.Prefregex(),
		fail: make([]hits, len(f.Failregex())), ignore: make([]hits, len(f.Ignoreregex())),
	}
	if o.maxLines > 0 {
		t.listed = o.maxLines
	}
	return t
}

func (t *tally) read(log *logInput) error {
	t.counted = t.filter.Detail == filter.DetailIDs
	t.filter.Unnamed = t.counted && t.o.verbose == 0
	if log.from != nil && t.counted && !t.o.warns() {
		if t.o.verbose > 0 && t.prefixRegexp != "" {
			t.filter.ShowPrefixed(true)
		}
		return log.inBlocks(t.filter, t.o.clock, scan.Listener{
			Each:   func(line []byte, r *filter.Result) error { return t.result(log, line, r) },
			Missed: func(m *filter.Missed) error { return t.missedLines(log, m) },
			Block:  func(now time.Time) { t.now = now },
		})
	}
	return log.each(func(line []byte) error {
		if log.comment(line) {
			return nil
		}
		return t.line(log, line)
	})
}

// line counts one line.
func (t *tally) line(log *logInput, line []byte) error {
	if log.turn != t.turn || t.now.IsZero() { // once a block: who asks for each line pays for it
		t.now, t.turn = t.o.clock(), log.turn
	}
	if t.filter.MaxLines() > 1 {
		t.before = slices.Clone(t.filter.Buffered())
	}
	r := log.match(t.filter, line, t.now)
	return t.result(log, line, &r)
}

// missedLines counts lines in which nothing was found.
func (t *tally) missedLines(log *logInput, m *filter.Missed) error {
	n := m.To - m.From
	t.lines += n
	if t.prefixRegexp != "" {
		t.pref += m.Prefixed
		t.prefMatched = m.LastPrefixed
	}
	wanted := func() bool { return t.missed.wants(t.o.allMissed, t.o.noMissed, t.listed) }
	if wanted() {
		m.Lines(func(line []byte) bool {
			t.missed.n++
			t.missed.kept = append(t.missed.kept, t.texts.of(log.date, line))
			n--
			return wanted()
		})
	}
	t.missed.n += n
	return nil
}

// result counts a line of which the filter has told.
func (t *tally) result(log *logInput, line []byte, r *filter.Result) error {
	if r.Err != nil {
		return r.Err
	}
	for _, i := range r.Ignores {
		t.ignore[i].n++
	}
	if r.Beside != "" && len(r.Failures) > 0 && t.o.hints != nil && !t.o.warnedBeside {
		t.o.warnedBeside = true
		fmt.Fprintf(t.o.hints, "bailiff: warning: %s\n", filter.BesideText(r.Failures[0].ID, r.Beside))
	}
	ignored := r.Ignored >= 0
	found := 0
	for i := range r.Failures {
		x := &r.Failures[i]
		t.o.warnUndated(x, r, line)
		hit := func(id string) {
			h := &t.fail[x.Regex]
			h.n++
			if t.o.verbose > 0 {
				when := x.Time
				if when.IsZero() {
					when = t.now
				}
				h.found.add(id, when, found > 1)
			}
			if x.NoFail {
				ignored = true
			} else {
				found++
			}
		}
		switch {
		case x.Pending:
			hit("None")
		case !x.Name:
			hit(x.ID)
		default: // each of its addresses counts
			for _, id := range failureIDs(x, t.names) {
				hit(id)
			}
		}
	}
	t.prefregex(r)
	text := func() string { return t.texts.of(log.date, line) }
	if t.filter.MaxLines() > 1 {
		all := t.unbuffer(t.before, log.text(line), r.Rest)
		text = func() string { return all }
	}
	list, wanted := &t.missed, false
	switch {
	case ignored:
		list = &t.ignored
		wanted = list.wants(t.o.allIgnored, t.o.noIgnored, t.listed)
	case found > 0:
		list, wanted = &t.matched, t.o.allMatched
	default:
		wanted = list.wants(t.o.allMissed, t.o.noMissed, t.listed)
	}
	list.n++
	t.lines++
	if wanted {
		list.kept = append(list.kept, text())
	}
	return nil
}

func linesDate(x *filter.Failure) string {
	if len(x.Lines) == 0 {
		return ""
	}
	return x.Lines[len(x.Lines)-1].Date
}

// failureIDs are what a failure counts for: a host name gives each of its addresses, and
// nothing if it has none.
func failureIDs(x *filter.Failure, names *resolver) []string {
	switch {
	case x.Pending:
		return []string{"None"}
	case !x.Name:
		return []string{x.ID}
	}
	var ids []string
	for _, a := range names.addresses(x.ID) {
		ids = append(ids, a.String())
	}
	return ids
}

// prefregex counts the matches of the prefregex. A line that an ignoreregex took
// out before counts as the line before it did, as with fail2ban-regex.
func (t *tally) prefregex(r *filter.Result) {
	if t.prefixRegexp == "" {
		return
	}
	if matched := r.Pref != nil || r.Prefixed; matched || r.Ignored < 0 {
		t.prefMatched = matched
	}
	if !t.prefMatched {
		return
	}
	t.pref++
	if t.o.verbose == 0 {
		return
	}
	n := len(t.prefGroups)
	if n > t.listed {
		return
	}
	groups, order := r.Pref, r.PrefOrder
	if t.counted && r.Prefixed {
		groups, order = t.filter.Prefixed(r.Rest)
	}
	if groups != nil {
		t.prefLast = "    " + pyDict(order, func(k string) any { return groups[k] })
	}
	if n < t.listed {
		t.prefGroups = append(t.prefGroups, t.prefLast)
		return
	}
	t.prefGroups = append(t.prefGroups, "    ...")
	t.filter.ShowPrefixed(false)
}

// unbuffer moves the lines that a match over several of them used up from the
// missed to the matched ones. It returns the text by which the present line is
// listed: with --debuggex, that is all of them, without their dates.
func (t *tally) unbuffer(before []filter.Line, text string, rest []byte) string {
	if len(before) >= t.filter.MaxLines() {
		before = before[1:]
	}
	after := t.filter.Buffered()
	var joined []string
	for _, l := range before {
		if slices.Contains(after, l) {
			continue
		}
		t.matched.n++
		t.missed.n--
		if t.o.debuggex {
			if t.o.allMatched {
				joined = append(joined, l.Before+l.After)
			}
			continue
		}
		if i := slices.Index(t.missed.kept, l.String()); i >= 0 {
			t.missed.kept = slices.Delete(t.missed.kept, i, i+1)
		}
		if t.o.allMatched {
			t.matched.kept = append(t.matched.kept, l.String())
		}
	}
	if joined == nil {
		return text
	}
	own := rest[bytes.LastIndexByte(rest, '\n')+1:]
	return strings.Join(append(joined, string(own)), "\n")
}

// wants reports whether the text of one more line is listed.
func (l *lineList) wants(all, none bool, most int) bool { return !none && (all || l.n <= most) }

func (t *tally) print(took time.Duration) {
	w := bufio.NewWriterSize(t.o.out, 64<<10)
	defer w.Flush()
	fmt.Fprint(w, "\nResults\n=======\n")
	if t.prefixRegexp != "" {
		fmt.Fprintf(w, "\nPrefregex: %d total\n", t.pref)
		printList(w, "", append([]string{t.prefixRegexp}, t.prefGroups...))
	}
	t.printHits(w, "Failregex", t.fail, t.filter.Failregex())
	t.printHits(w, "Ignoreregex", t.ignore, t.filter.Ignoreregex())
	t.printDates(w)
	fmt.Fprintf(w, "\nLines: %d lines, %d ignored, %d matched, %d missed\n", t.lines, t.ignored.n, t.matched.n, t.missed.n)
	fmt.Fprintf(w, "[processed in %.2f sec]\n\n", took.Seconds())
	if t.o.allMatched {
		t.printLines(w, "matched", &t.matched, true)
	}
	if !t.o.noIgnored {
		t.printLines(w, "ignored", &t.ignored, t.o.allIgnored)
	}
	if !t.o.noMissed {
		t.printLines(w, "missed", &t.missed, t.o.allMissed)
	}
}

func printList(w *bufio.Writer, header string, list []string) {
	if len(list) == 0 {
		return
	}
	if header != "" {
		fmt.Fprintf(w, "|- %s\n", header)
	}
	for _, text := range list {
		_, _ = w.WriteString("|  ") // an error stays with w
		_, _ = w.WriteString(text)
		_ = w.WriteByte('\n')
	}
	_, _ = w.WriteString("`-\n")
}

func (t *tally) printHits(w *bufio.Writer, title string, list []hits, exprs []filter.Expr) {
	total := 0
	for _, h := range list {
		total += h.n
	}
	fmt.Fprintf(w, "\n%s: %d total\n", title, total)
	if total == 0 && (t.o.verbose == 0 || len(list) == 0) {
		return
	}
	fmt.Fprint(w, "|-  #) [# of hits] regular expression\n")
	for i, h := range list {
		if h.n > 0 || t.o.verbose > 0 {
			weight := ""
			if exprs[i].Weight > 1 {
				weight = fmt.Sprintf(" (weight %d: counts for %s)", exprs[i].Weight, counted(int64(h.n)*int64(exprs[i].Weight), "failure"))
			}
			fmt.Fprintf(w, "|  %2d) [%d] %s%s\n", i+1, h.n, exprs[i].Text, weight)
		}
		h.found.print(w, t.o.location)
	}
	fmt.Fprint(w, "`-\n")
}

func (t *tally) printDates(w *bufio.Writer) {
	if t.o.undated {
		return
	}
	fmt.Fprint(w, "\nDate template hits:\n")
	var out []string
	for _, d := range t.filter.Dates() {
		if d.Hits == 0 && t.o.verbose == 0 {
			continue
		}
		out = append(out, fmt.Sprintf("[%d] %s", d.Hits, d.Name))
		if t.o.verboseDate {
			pattern := ""
			if d.HasPattern() {
				pattern = d.Pattern
			}
			out = append(out,
				fmt.Sprintf("    # weight: %.3f (%.3f), pattern: %s", d.Weight(), d.Preference(), pattern),
				"    # regex:   "+d.Fail2banRegex())
		}
	}
	printList(w, "[# of hits] date format", out)
}

func (t *tally) printLines(w *bufio.Writer, kind string, l *lineList, all bool) {
	if l.n == 0 {
		return
	}
	header := strings.ToUpper(kind[:1]) + kind[1:] + " line(s):"
	if l.n >= t.listed && !all {
		fmt.Fprintf(w, "%s too many to print.  Use --print-all-%s to print all %d lines\n", header, kind, l.n)
		return
	}
	lines := l.kept
	if t.o.debuggex {
		lines = t.links(kind, lines)
	}
	for i, s := range lines {
		lines[i] = strings.TrimRight(s, " \t\r\n\v\f")
	}
	printList(w, header, lines)
}

// links are those to debuggex.com, for each line with each expression.
func (t *tally) links(kind string, lines []string) []string {
	exprs, expanded := t.filter.Failregex(), t.filter.Expanded()
	if kind == "ignored" {
		exprs, expanded = t.filter.Ignoreregex(), t.filter.ExpandedIgnore()
	}
	var out []string
	for _, l := range lines {
		for i, x := range exprs {
			link := "https://www.debuggex.com/?re=" + url.QueryEscape(expanded[i]) + "&str=" + url.QueryEscape(l) + "&flavor=python"
			if t.filter.MaxLines() > 1 {
				link += "&flags=m"
			}
			out = append(out, l+" | "+x.Text+" |  "+link)
		}
	}
	return out
}
