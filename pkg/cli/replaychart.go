package cli

import (
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"bailiff/pkg/replay"
)

// How a replay is drawn: in plain characters, and as one page of HTML that needs nothing else.

const (
	plotWidth  = 60
	plotHeight = 6
	topShown   = 10
)

// plot draws failures over time, the networks that made most of them, and whom they tried.
func (p *replayText) plot(c *replay.Chart) {
	if len(c.Times) == 0 {
		return
	}
	each := (len(c.Times) + plotWidth - 1) / plotWidth // buckets of a column
	columns := make([]int64, (len(c.Times)+each-1)/each)
	most := int64(1)
	for i, b := range c.Times {
		n := i / each
		columns[n] += b.Failures
		most = max(most, columns[n])
	}
	fmt.Fprintf(p.w, "\nfailures over time, up to %s in one column\n", grouped(most))
	for row := plotHeight; row > 0; row-- {
		var line strings.Builder
		for _, n := range columns {
			if n*plotHeight > most*int64(row-1) {
				line.WriteByte('#')
			} else {
				line.WriteByte(' ')
			}
		}
		fmt.Fprintf(p.w, "  |%s\n", strings.TrimRight(line.String(), " "))
	}
	fmt.Fprintf(p.w, "  +%s\n   %s to %s\n", strings.Repeat("-", len(columns)), p.time(c.Begin), p.time(c.Begin.Add(time.Duration(len(c.Times))*c.Width)))
	bars := func(title string, list []replay.Count) {
		if len(list) == 0 {
			return
		}
		fmt.Fprintf(p.w, "\n%s\n", title)
		for _, n := range list {
			fmt.Fprintf(p.w, "  %-26.26s %9s %s\n", visible(n.Name), grouped(n.N), strings.Repeat("#", int(max(24*n.N/list[0].N, 1))))
		}
	}
	bars("networks", c.Networks(topShown))
	bars("users tried", c.Users(topShown))
}

// bar is one of a picture, in its units.
type bar struct {
	X, Y, Width, Height float64
	Title               string
}

// picture is bars over time.
type picture struct {
	Title    string
	Most     string
	From, To string
	Bars     []bar
}

const pictureWidth, pictureHeight = 720.0, 160.0

func (o *replayOptions) picture(title string, c *replay.Chart, of func(replay.Bucket) int64) (p picture) {
	most := int64(1)
	for _, b := range c.Times {
		most = max(most, of(b))
	}
	at := func(n int) string {
		return c.Begin.Add(time.Duration(n) * c.Width).In(o.location).Format(time.DateTime)
	}
	p = picture{Title: title, Most: grouped(most), From: at(0), To: at(len(c.Times))}
	width := pictureWidth / float64(max(len(c.Times), 1))
	for i, b := range c.Times {
		if n := of(b); n > 0 {
			h := pictureHeight * float64(n) / float64(most)
			p.Bars = append(p.Bars, bar{float64(i) * width, pictureHeight - h, width * 0.9, h, fmt.Sprintf("%s: %s", at(i), grouped(n))})
		}
	}
	return p
}

// page writes the report as one file of HTML.
func (o *replayOptions) page(w io.Writer, reports []*replay.Report) error {
	type jailPage struct {
		*replay.Report
		Pictures        []picture
		Networks, Users []replay.Count
		BestOf          int
	}
	var jails []jailPage
	for _, r := range reports {
		c := &r.Chart
		jails = append(jails, jailPage{
			r, []picture{
				o.picture("Failures over time", c, func(b replay.Bucket) int64 { return b.Failures }),
				o.picture("Bans over time", c, func(b replay.Bucket) int64 { return b.Bans }),
			}, c.Networks(topShown), c.Users(topShown), r.Best(),
		})
	}
	return pageTemplate.Execute(w, jails)
}

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"n": grouped, "setting": func(o replay.Outcome) string { return setting(&o.Setting) }, "hurt": func(o replay.Outcome) string { return hurtList(&o) },
	"share": func(n, of int64) float64 { return 100 * float64(n) / float64(max(of, 1)) },
}).Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>bailiff replay</title>
<style>
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --dim: #57606a; --line: #d0d7de; --bar: #0a62b5; }
@media (prefers-color-scheme: dark) { :root { --back: #0f1418; --text: #e6edf3; --dim: #9aa6b2; --line: #343c45; --bar: #58a6ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1200px; padding: 1rem; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
.grid { display: grid; gap: 1rem 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
.wide { overflow-x: auto; }
svg { display: block; width: 100%; height: auto; border-bottom: 1px solid var(--line); }
svg rect { fill: var(--bar); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .5rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.best td { font-weight: 600; }
p.dim, figcaption { color: var(--dim); }
figure { margin: 0; }
h2 { font-size: 1.1rem; margin: 1rem 0 .3rem; }
</style></head><body>
{{range $j := .}}<h1>jail {{.Jail}}</h1>
<p>{{setting .Outcome}}: {{n .Lines}} lines, {{n .Failures}} failures, {{n .LetThrough}} let through and {{n .ShutOut}} shut out; {{n .Bans}} bans of {{n .Banned}} addresses.</p>
<div class="grid">{{range .Pictures}}<figure><h2>{{.Title}}</h2>
<svg viewBox="0 0 720 160" role="img" aria-label="{{.Title}}, up to {{.Most}}">{{range .Bars}}<rect x="{{printf "%.2f" .X}}" y="{{printf "%.2f" .Y}}" width="{{printf "%.2f" .Width}}" height="{{printf "%.2f" .Height}}"><title>{{.Title}}</title></rect>{{end}}</svg>
<figcaption>{{.From}} to {{.To}}, up to {{.Most}}</figcaption></figure>{{end}}
{{if .Networks}}<section><h2>Networks</h2><table><tr><th>network</th><th>failures</th></tr>{{range .Networks}}<tr><td>{{.Name}}</td><td>{{n .N}}</td></tr>{{end}}</table></section>{{end}}
{{if .Users}}<section><h2>Users tried</h2><table><tr><th>user</th><th>failures</th></tr>{{range .Users}}<tr><td>{{.Name}}</td><td>{{n .N}}</td></tr>{{end}}</table></section>{{end}}</div>
{{if .Sweep}}<h2>Other settings</h2><div class="wide"><table><tr><th>setting</th><th>bans</th><th>addresses</th><th>let through</th><th>shut out</th><th>hurt</th><th>users</th></tr>
{{range $i, $o := .Sweep}}<tr{{if eq $i $j.BestOf}} class="best"{{end}}><td>{{setting $o}}{{if eq $i $j.BestOf}} (best){{end}}</td><td>{{n $o.Bans}}</td><td>{{n $o.Banned}}</td><td>{{n $o.LetThrough}}</td><td>{{n $o.ShutOut}}</td>{{if $j.KnowsLogins}}<td>{{$o.HurtAddresses}}</td><td>{{$o.HurtUsers}}</td>{{else}}<td>?</td><td>?</td>{{end}}</tr>{{end}}</table></div>
{{if $j.KnowsLogins}}{{range .Sweep}}{{if .HurtAddresses}}<p class="dim">hurt by {{setting .}}: {{hurt .}}</p>{{end}}{{end}}{{else}}<p class="dim">Whom a setting hurts can't be told: the filter knows no successful logins.</p>{{end}}{{end}}
{{range .Problems}}<p>{{.String}}</p>{{end}}{{end}}</body></html>
`))
