package cli

import (
	"fmt"
	"html/template"
	"io"
	"sync"

	"bailiff/pkg/chart"
	"bailiff/pkg/replay"
)

// How a replay is drawn: in plain characters, and as one page of HTML that needs nothing else.

// plot draws failures over time, the networks that made most of them, and whom they tried.
func (p *replayText) plot(c *chart.Chart) {
	if len(c.Times) == 0 {
		return
	}
	fmt.Fprintln(p.w)
	plotTimes(p.w, p.o.location, "failures", c, func(b chart.Bucket) int64 { return b.Failures })
	plotBars(p.w, "networks", c.Networks(topShown))
	plotBars(p.w, "users tried", c.Users(topShown))
}

// page writes the report as one file of HTML.
func (o *replayOptions) page(w io.Writer, reports []*replay.Report) error {
	type jailPage struct {
		*replay.Report
		Pictures        []picture
		Networks, Users []chart.Count
		BestOf          int
	}
	var jails []jailPage
	for _, r := range reports {
		c := &r.Chart
		jails = append(jails, jailPage{
			r, []picture{
				pictureOf(o.location, "Failures over time", c, func(b chart.Bucket) int64 { return b.Failures }),
				pictureOf(o.location, "Bans over time", c, func(b chart.Bucket) int64 { return b.Bans }),
			}, c.Networks(topShown), c.Users(topShown), r.Best(),
		})
	}
	return pageTemplate().ExecuteTemplate(w, "page", jails)
}

var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.Must(chartPage().Clone()).New("page").Funcs(template.FuncMap{
		"setting": func(o replay.Outcome) string { return setting(&o.Setting) }, "hurt": func(o replay.Outcome) string { return hurtList(&o) },
	}).Parse(`{{template "head" "bailiff replay"}}{{range $j := .}}<h1>jail {{.Jail}}</h1>
<p>{{setting .Outcome}}: {{n .Lines}} lines, {{n .Failures}} failures, {{n .LetThrough}} let through and {{n .ShutOut}} shut out; {{n .Bans}} bans of {{n .Banned}} addresses.</p>
<div class="grid">{{range .Pictures}}{{template "picture" .}}{{end}}
{{if .Networks}}<section><h2>Networks</h2><table><tr><th>network</th><th>failures</th></tr>{{range .Networks}}<tr><td>{{.Name}}</td><td>{{n .N}}</td></tr>{{end}}</table></section>{{end}}
{{if .Users}}<section><h2>Users tried</h2><table><tr><th>user</th><th>failures</th></tr>{{range .Users}}<tr><td>{{.Name}}</td><td>{{n .N}}</td></tr>{{end}}</table></section>{{end}}</div>
{{if .Sweep}}<h2>Other settings</h2><div class="wide"><table><tr><th>setting</th><th>bans</th><th>addresses</th><th>let through</th><th>shut out</th><th>hurt</th><th>users</th></tr>
{{range $i, $o := .Sweep}}<tr{{if eq $i $j.BestOf}} class="best"{{end}}><td>{{setting $o}}{{if eq $i $j.BestOf}} (best){{end}}</td><td>{{n $o.Bans}}</td><td>{{n $o.Banned}}</td><td>{{n $o.LetThrough}}</td><td>{{n $o.ShutOut}}</td>{{if $j.KnowsLogins}}<td>{{$o.HurtAddresses}}</td><td>{{$o.HurtUsers}}</td>{{else}}<td>?</td><td>?</td>{{end}}</tr>{{end}}</table></div>
{{if $j.KnowsLogins}}{{range .Sweep}}{{if .HurtAddresses}}<p class="dim">hurt by {{setting .}}: {{hurt .}}</p>{{end}}{{end}}{{else}}<p class="dim">Whom a setting hurts can't be determined: the filter knows no successful logins.</p>{{end}}{{end}}
{{range .Problems}}<p>{{.String}}</p>{{end}}{{end}}</body></html>
`))
})
