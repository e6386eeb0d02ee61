package cli

import (
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"bailiff/pkg/chart"
	"bailiff/pkg/digest"
)

// How `bailiff report` is told: as text for a mail, and as one page of HTML. What strangers wrote
// is in it without characters that would steer a terminal or a mail reader.

func (o *digestOptions) at(t time.Time) string { return t.In(o.zone).Format(timeLayout) }

// sums are the lines of numbers that are there in any case, and of others where they are not 0.
func (o *digestOptions) sums(r *digested) (lines [][2]string) {
	add := func(what, format string, args ...any) {
		lines = append(lines, [2]string{what, fmt.Sprintf(format, args...)})
	}
	failures := grouped(r.All())
	var of []string
	if r.NotCounted > 0 {
		of = append(of, grouped(r.NotCounted)+" of them not counted (never banned, too late, of nobody)")
	}
	if r.Unnumbered > 0 {
		of = append(of, grouped(r.Unnumbered)+" of them not kept one by one")
	}
	if len(of) > 0 {
		failures += ", " + strings.Join(of, ", ")
	}
	add("failures", "%s", failures)
	bans := grouped(r.Bans)
	if r.Bans > 0 {
		least := ""
		if r.BannedLeast {
			least = "at least "
		}
		bans += " of " + least + addresses(int64(r.Banned))
	}
	if r.ByHand > 0 {
		bans += ", " + grouped(r.ByHand) + " by hand"
	}
	add("bans", "%s", bans)
	if r.WouldBan > 0 {
		add("would be bans", "%s, in jails that only observe", grouped(r.WouldBan))
	}
	add("bans ended", "%s, %s lifted before their time", grouped(r.Over+r.Unbans), grouped(r.Unbans))
	if r.Starts > 0 || r.Killed > 0 {
		killed := ""
		if r.Killed > 0 {
			killed = fmt.Sprintf(", %s not ended in order before", counted(int64(r.Killed), "time"))
		}
		add("starts", "%d%s", r.Starts, killed)
	}
	if r.Reloads > 0 {
		add("reloads", "%d", r.Reloads)
	}
	if r.Lists > 0 {
		add("lists loaded", "%d", r.Lists)
	}
	return lines
}

// notes are what restricts a report.
func (o *digestOptions) notes(r *digested) (notes []string) {
	if r.Kept != nil {
		notes = append(notes, fmt.Sprintf("Events are kept from %s on: what was before is not in this report.", o.at(*r.Kept)))
	}
	return notes
}

type saidList struct {
	Title string
	List  []digest.Said
	More  int
}

// said are the lists of what was told.
func (o *digestOptions) said(r *digested) (out []saidList) {
	for _, l := range []saidList{{Title: "errors", List: r.Errors}, {Title: "actions that failed", List: r.Actions}, {Title: "repairs", List: r.Repairs}, {Title: "events that are not kept", List: r.Lost}} {
		if len(l.List) == 0 {
			continue
		}
		if l.More = len(l.List) - o.most; l.More > 0 {
			l.List = l.List[:o.most]
		}
		out = append(out, l)
	}
	return out
}

// often says how often something was told, and when.
func (o *digestOptions) often(s digest.Said) string {
	if s.Count == 1 {
		return o.at(s.First)
	}
	return fmt.Sprintf("%s times, %s to %s", grouped(s.Count), o.at(s.First), o.at(s.Last))
}

func inJail(name string) string {
	if name == "" {
		return ""
	}
	return "[" + show(name) + "] "
}

// text prints a report for people.
func (o *digestOptions) text(w io.Writer, r *digested) {
	fmt.Fprintf(w, "bailiff on %s, %s to %s\n", show(r.Host), o.at(r.From), o.at(r.To))
	fmt.Fprintf(w, "times are in %s; from %s\n", r.Zone, r.Source)
	if r.Jail != "" {
		fmt.Fprintf(w, "of jail %s only\n", show(r.Jail))
	}
	for _, n := range o.notes(r) {
		fmt.Fprintln(w, n)
	}
	switch {
	case r.Wrong == nil:
	case len(r.Wrong) == 0:
		fmt.Fprintln(w, "\nnothing is known to be wrong now")
	default:
		fmt.Fprintln(w, "\nwrong now")
		for _, text := range r.Wrong {
			fmt.Fprintf(w, "  %s\n", show(text))
		}
	}
	fmt.Fprintln(w)
	for _, l := range o.sums(r) {
		fmt.Fprintf(w, "%-14s %s\n", l[0], l[1])
	}
	if r.All()+r.Bans > 0 {
		fmt.Fprintln(w)
		plotTimes(w, o.zone, "failures", &r.Chart, func(b chart.Bucket) int64 { return b.Failures })
		fmt.Fprintln(w)
		plotTimes(w, o.zone, "bans", &r.Chart, func(b chart.Bucket) int64 { return b.Bans })
	}
	if len(r.Jails) > 0 {
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(t, "JAIL\tFAILURES\tBANS\tENDED\tLIFTED")
		for _, j := range r.Jails {
			bans := grouped(j.Bans)
			if j.WouldBan > 0 {
				bans += " (would be " + grouped(j.WouldBan) + ")"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", show(j.Name), grouped(j.All()), bans, grouped(j.Over+j.Unbans), grouped(j.Unbans))
		}
		t.Flush()
	}
	if len(r.Addresses) > 0 {
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(t, "ADDRESS\tFAILURES\tBANS\tJAILS")
		for _, a := range r.Addresses {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", shown(a.IP), grouped(a.Failures), grouped(a.Bans), show(strings.Join(a.Jails, ", ")))
		}
		t.Flush()
	}
	plotBars(w, "networks, by failures and bans", r.Networks)
	plotBars(w, "users tried, by failures", r.Users)
	for _, l := range o.said(r) {
		fmt.Fprintf(w, "\n%s\n", l.Title)
		for _, s := range l.List {
			fmt.Fprintf(w, "  %s%s\n    %s\n", inJail(s.Jail), show(s.Text), o.often(s))
		}
		if l.More > 0 {
			fmt.Fprintf(w, "  and %d more\n", l.More)
		}
	}
}

// digestView is what the page is made of.
type digestView struct {
	*digested
	Title    string
	Looked   bool // for what is wrong
	From, To string
	Sums     [][2]string
	Notes    []string
	Pictures []picture
	Said     []saidList
	Often    func(digest.Said) string
}

func (o *digestOptions) page(r *digested) digestView {
	v := digestView{digested: r, Looked: r.Wrong != nil, Title: "bailiff on " + r.Host, From: o.at(r.From), To: o.at(r.To), Sums: o.sums(r), Notes: o.notes(r), Said: o.said(r), Often: o.often}
	if r.All()+r.Bans > 0 {
		v.Pictures = []picture{
			pictureOf(o.zone, "Failures over time", &r.Chart, func(b chart.Bucket) int64 { return b.Failures }),
			pictureOf(o.zone, "Bans over time", &r.Chart, func(b chart.Bucket) int64 { return b.Bans }),
		}
	}
	return v
}

var digestPage = sync.OnceValue(func() *template.Template {
	return template.Must(template.Must(chartPage().Clone()).New("report").Funcs(template.FuncMap{
		"show": show, "shown": shown, "jails": func(names []string) string { return show(strings.Join(names, ", ")) }, "in": inJail,
		"ended": func(n digest.Numbers) int64 { return n.Over + n.Unbans },
	}).Parse(`{{template "head" show .Title}}<h1>{{show .Title}}</h1>
<p>{{.From}} to {{.To}}{{with .Jail}}, jail {{show .}} only{{end}}.</p>
<p class="dim">Times are in {{.Zone}}; from {{.Source}}.{{range .Notes}} {{.}}{{end}}</p>
{{if .Wrong}}<h2>Wrong now</h2><ul>{{range .Wrong}}<li>{{show .}}</li>{{end}}</ul>{{else if .Looked}}<p>Nothing is known to be wrong now.</p>{{end}}
<table>{{range .Sums}}<tr><th scope="row">{{index . 0}}</th><td class="text">{{index . 1}}</td></tr>{{end}}</table>
<div class="grid">{{range .Pictures}}{{template "picture" .}}{{end}}
{{if .Jails}}<section><h2>Jails</h2><div class="wide"><table><tr><th>jail</th><th>failures</th><th>bans</th><th>ended</th><th>lifted</th></tr>{{range .Jails}}<tr><td>{{show .Name}}</td><td>{{n .All}}</td><td>{{n .Bans}}{{if .WouldBan}} (would be {{n .WouldBan}}){{end}}</td><td>{{n (ended .Numbers)}}</td><td>{{n .Unbans}}</td></tr>{{end}}</table></div></section>{{end}}
{{if .Addresses}}<section><h2>Addresses</h2><div class="wide"><table><tr><th>address</th><th>failures</th><th>bans</th><th>jails</th></tr>{{range .Addresses}}<tr><td>{{shown .IP}}</td><td>{{n .Failures}}</td><td>{{n .Bans}}</td><td>{{jails .Jails}}</td></tr>{{end}}</table></div></section>{{end}}
{{if .Networks}}<section><h2>Networks</h2><table><tr><th>network</th><th>failures and bans</th></tr>{{range .Networks}}<tr><td>{{.Name}}</td><td>{{n .N}}</td></tr>{{end}}</table></section>{{end}}
{{if .Users}}<section><h2>Users tried</h2><table><tr><th>user</th><th>failures</th></tr>{{range .Users}}<tr><td>{{show .Name}}</td><td>{{n .N}}</td></tr>{{end}}</table></section>{{end}}</div>
{{$often := .Often}}{{range .Said}}<h2>{{.Title}}</h2><table>{{range .List}}<tr><td>{{in .Jail}}{{show .Text}}</td><td class="text">{{call $often .}}</td></tr>{{end}}</table>{{if .More}}<p class="dim">and {{.More}} more</p>{{end}}{{end}}
</body></html>
`))
})
