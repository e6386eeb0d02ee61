package top

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"bailiff/pkg/events"
	"bailiff/pkg/jail"
)

// How it looks. What has a meaning is told by a word or a sign, too, and never by colour alone; where
// NO_COLOR is set, bubbletea leaves the colours out.

// Colours and weights, as a terminal knows them: the sixteen that everybody has set to be read.
const (
	bold    = "1"
	dim     = "2"
	reverse = "7"
	red     = "31"
	green   = "32"
	yellow  = "33"
	cyan    = "36"
)

func style(how, s string) string {
	if how == "" || s == "" {
		return s
	}
	return "\x1b[" + how + "m" + s + "\x1b[m"
}

// leastWidth and leastHeight are what is needed to show anything.
const leastWidth, leastHeight = 30, 8

// View implements tea.Model.
func (m *Model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "bailiff top"
	return v
}

// lines are those of the screen, never more than it has, and none wider.
func (m *Model) lines() []string {
	if m.width < leastWidth || m.height < leastHeight {
		return []string{ansi.Truncate("too small: "+strconv.Itoa(leastWidth)+"x"+strconv.Itoa(leastHeight), max(m.width, 0), "")}
	}
	out := []string{m.head(), m.trouble()}
	switch m.mode {
	case helping:
		out = append(out, m.help()...)
	case showing:
		out = append(out, m.event()...)
	default:
		out = append(out, m.jails()...)
		out = append(out, m.list()...)
	}
	for len(out) < m.height-1 {
		out = append(out, "")
	}
	return append(out[:m.height-1], m.foot())
}

func (m *Model) head() string {
	if len(m.status.Jails) == 0 && m.status.Version == "" {
		return style(bold, fit("bailiff", m.width, false))
	}
	banned, failing := 0, 0
	for _, j := range m.status.Jails {
		if !j.List {
			banned += j.Banned
		}
		failing += j.Failed
	}
	up := m.opts.Now().Sub(m.status.Started).Truncate(time.Minute)
	if up < time.Minute {
		up = m.opts.Now().Sub(m.status.Started).Truncate(time.Second)
	}
	dry := ""
	if m.status.DryRun {
		dry = ", dry run"
	}
	text := fmt.Sprintf("bailiff %s, up %s%s: %d jails, %d banned, %d failing", clean(m.status.Version), span(up), dry, len(m.status.Jails), banned, failing)
	clock := m.opts.Now().In(m.opts.Zone).Format("15:04:05 MST")
	if room := m.width - ansi.StringWidth(clock) - 1; room >= 40 {
		return style(bold, fit(text, room, false)) + " " + clock
	}
	return style(bold, fit(text, m.width, false))
}

// span is a time as people say it.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return d.String()
}

// trouble is what is wrong, in a line.
func (m *Model) trouble() string {
	if m.lost != "" {
		return style(red, fit("NO DAEMON, trying again: "+clean(m.lost), m.width, false))
	}
	wrong := slices.Clone(m.status.Problems)
	for _, j := range m.status.Jails {
		if j.Error != "" {
			wrong = append(wrong, j.Name+": "+j.Error)
		}
		for _, p := range j.Problems {
			wrong = append(wrong, j.Name+": "+p)
		}
		for _, f := range j.Files {
			if f.Error != "" {
				wrong = append(wrong, j.Name+": "+f.Path+": "+f.Error)
			}
		}
	}
	switch len(wrong) {
	case 0:
		if len(m.status.Waiting) > 0 {
			return style(yellow, fit("under way: "+clean(m.status.Waiting[0]), m.width, false))
		}
		return ""
	case 1:
		return style(red, fit("WRONG: "+clean(wrong[0]), m.width, false))
	}
	return style(red, fit(fmt.Sprintf("WRONG (1 of %d): %s", len(wrong), clean(wrong[0])), m.width, false))
}

// jailRows is how many jails are shown.
func (m *Model) jailRows() int {
	room := m.height - 2 - 1 - 1 - 1 // head, trouble; their titles; the foot
	return max(min(len(m.status.Jails), room/2), 1)
}

// listRows is how many lines of the list are.
func (m *Model) listRows() int { return m.height - 2 - 1 - 1 - 1 - m.jailRows() }

// window is which of n are shown in so many rows, if one is chosen.
func window(at, n, rows int) (from, to int) {
	from = max(min(at-rows/2, n-rows), 0)
	return from, min(from+rows, n)
}

// stateOf is the state of a jail in a word, and its colour.
func stateOf(j *jail.Status) (word, how string) {
	wrongLog := slices.ContainsFunc(j.Files, func(f fileStatus) bool { return f.Error != "" })
	switch {
	case j.Error != "":
		return "broken", red
	case len(j.Problems) > 0 || wrongLog:
		return "wrong", yellow
	case j.Busy != "":
		return "busy", yellow
	case j.List:
		return "list", cyan
	case j.Observe:
		return "observes", cyan
	}
	return "on", green
}

func (m *Model) jails() []string {
	const stateWidth, number = 8, 8
	name := 10
	for _, j := range m.status.Jails {
		name = max(name, min(ansi.StringWidth(clean(j.Name)), 28))
	}
	name = min(name, m.width/4)
	wide := m.width >= 100
	used := 2 + name + 1 + stateWidth + 2*(number+1)
	if wide {
		used += 2 * (number + 1)
	}
	spark := min((m.width-used-2)/2, ratesMost)
	row := func(mark, jail, state, failed, banned, allFailed, allBanned, f, b string) []string {
		cells := []string{mark, fit(jail, name, false), fit(state, stateWidth, false), fit(failed, number, true), fit(banned, number, true)}
		if wide {
			cells = append(cells, fit(allFailed, number, true), fit(allBanned, number, true))
		}
		if spark >= 4 {
			cells = append(cells, fit(f, spark, false), fit(b, spark, false))
		}
		return cells
	}
	title := strings.Join(row(" ", "JAIL", "STATE", "FAILING", "BANNED", "FAILED", "BANS", "failures/"+span(m.opts.Every), "bans/"+span(m.opts.Every)), " ")
	out := []string{style(underOf(m.pane == jailsPane), fit(title, m.width, false))}
	if len(m.status.Jails) == 0 {
		text := "no jails"
		if m.status.Version == "" {
			text = "…"
		}
		return append(out, fit(text, m.width, false))
	}
	from, to := window(m.at, len(m.status.Jails), m.jailRows())
	for i := from; i < to; i++ {
		j := &m.status.Jails[i]
		state, how := stateOf(j)
		r := m.rates[j.Name]
		if r == nil {
			r = &rates{}
		}
		banned, bans := j.Banned, j.TotalBanned
		if j.Observe {
			banned, bans = j.WouldBan, j.TotalWouldBan
		}
		mark := " "
		if j.Name == m.jail {
			mark = "*"
		}
		if m.pane == jailsPane && i == m.at {
			mark = ">"
		}
		cells := row(mark, clean(j.Name), state, strconv.Itoa(j.Failed), strconv.Itoa(banned), strconv.Itoa(j.TotalFailed), strconv.Itoa(bans),
			sparkline(r.failures, spark, m.opts.Plain), sparkline(r.bans, spark, m.opts.Plain))
		if mark == ">" {
			out = append(out, style(reverse, fit(strings.Join(cells, " "), m.width, false)))
			continue
		}
		cells[2] = style(how, cells[2])
		if spark >= 4 {
			cells[len(cells)-2] = style(yellow, cells[len(cells)-2])
			cells[len(cells)-1] = style(red, cells[len(cells)-1])
		}
		out = append(out, ansi.Truncate(strings.Join(cells, " "), m.width, ""))
	}
	return out
}

func underOf(here bool) string {
	if here {
		return bold + ";4"
	}
	return dim
}

func (m *Model) list() []string {
	rows := m.listRows()
	title := "EVENTS: bans and what else matters (e: failures, too)"
	if m.all {
		title = "EVENTS: all (e: without failures)"
	}
	if m.jail != "" {
		title += ", of " + clean(m.jail)
	}
	if m.query != "" {
		of := ""
		if m.jail != "" {
			of = " in " + clean(m.jail)
		}
		switch {
		case m.busy:
			title = "SEARCH " + clean(m.query) + of + ": looking …"
		case m.foundN > len(m.found):
			title = fmt.Sprintf("SEARCH %s%s: %d bans, the first %d (esc: back)", clean(m.query), of, m.foundN, len(m.found))
		default:
			title = fmt.Sprintf("SEARCH %s%s: %d bans (esc: back)", clean(m.query), of, m.foundN)
		}
	}
	out := []string{style(underOf(m.pane == listPane), fit(title, m.width, false))}
	n := m.listLen()
	line := min(m.line, max(n-1, 0))
	from, to := window(line, n, rows)
	var list []*events.Event
	if m.query == "" {
		list = m.shown()
	}
	for i := from; i < to; i++ {
		var text, how string
		if m.query != "" {
			text = m.banLine(&m.found[i])
		} else {
			text, how = m.eventLine(list[i]), colourOf(list[i].Kind)
		}
		mark := "  "
		if m.pane == listPane && i == line {
			mark, how = "> ", reverse
		}
		out = append(out, style(how, fit(mark+text, m.width, false)))
	}
	return out
}

func colourOf(k events.Kind) string {
	switch k {
	case events.Ban:
		return red
	case events.Unban:
		return green
	case events.Error, events.Action, events.Gap:
		return bold
	case events.Found:
		return dim
	}
	return ""
}

func (m *Model) eventLine(e *events.Event) string {
	at := "        "
	if !e.Time.IsZero() {
		at = e.Time.In(m.opts.Zone).Format(time.TimeOnly)
	}
	of := ""
	if e.Jail != "" {
		of = " [" + clean(e.Jail) + "]"
	}
	return clean(fmt.Sprintf("%s %-8s%s %s", at, e.Kind, of, m.opts.Text(e)))
}

func (m *Model) banLine(b *jail.BanStatus) string {
	who, until := b.IP, "for ever"
	if b.Address != "" {
		who += " at " + b.Address
	}
	if b.End != nil {
		until = "until " + b.End.In(m.opts.Zone).Format(time.DateTime)
	}
	return clean(fmt.Sprintf("%-39s [%s] since %s %s", who, b.Jail, b.Start.In(m.opts.Zone).Format(time.DateTime), until))
}

// event is one in full.
func (m *Model) event() []string {
	list := m.shown()
	if m.line >= len(list) {
		return nil
	}
	e := list[m.line]
	text := []string{fmt.Sprintf("event %d, %s", e.N, e.Time.In(m.opts.Zone).Format("2006-01-02 15:04:05 MST")), m.eventLine(e)}
	for _, l := range append([]string{e.Line}, e.Lines...) {
		if l != "" {
			text = append(text, "| "+clean(l))
		}
	}
	var out []string
	for _, t := range text {
		for _, l := range strings.Split(ansi.Hardwrap(t, m.width, true), "\n") {
			out = append(out, fit(l, m.width, false))
		}
	}
	return out
}

func (m *Model) help() []string {
	out := []string{style(bold, fit("keys", m.width, false))}
	for _, k := range keysHelp {
		head := fit(k[0], 28, false)
		for i, l := range strings.Split(ansi.Wrap(k[1], max(m.width-30, 10), " "), "\n") {
			if i > 0 {
				head = fit("", 28, false)
			}
			out = append(out, fit(head+"  "+l, m.width, false))
		}
	}
	return out
}

func (m *Model) foot() string {
	switch {
	case m.mode == searching:
		shown := m.input
		if room := m.width - 10; ansi.StringWidth(shown) > room {
			shown = ansi.TruncateLeft(shown, ansi.StringWidth(shown)-room, "…")
		}
		return fit("search: "+shown+"_", m.width, false)
	case m.mode == asking:
		return style(reverse, fit(m.question, m.width, false))
	case m.said != "" && m.bad:
		return style(red, fit(clean(m.said), m.width, false))
	case m.said != "":
		return style(bold, fit(clean(m.said), m.width, false))
	case m.mode != looking:
		return fit("any key: back", m.width, false)
	}
	return style(dim, fit("q quit  ? help  / search  u unban  a allow  e failures  tab  enter", m.width, false))
}
