package cli

import (
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/chart"
)

// What is drawn: in plain characters, and as one page of HTML that needs nothing else: no script, no request to elsewhere, and
// light or dark as the reader has it.

const (
	plotWidth  = 60
	plotHeight = 6
	topShown   = 10
)

// plotTimes draws how many there were over time.
func plotTimes(w io.Writer, zone *time.Location, what string, c *chart.Chart, of func(chart.Bucket) int64) {
	each := (len(c.Times) + plotWidth - 1) / plotWidth // buckets of a column
	columns := make([]int64, (len(c.Times)+each-1)/each)
	most := int64(0)
	for i, b := range c.Times {
		n := i / each
		columns[n] += of(b)
		most = max(most, columns[n])
	}
	fmt.Fprintf(w, "%s over time, up to %s in one column\n", what, grouped(most))
	for row := plotHeight; row > 0; row-- {
		var line strings.Builder
		for _, n := range columns {
			if n*plotHeight > most*int64(row-1) {
				line.WriteByte('#')
			} else {
				line.WriteByte(' ')
			}
		}
		fmt.Fprintf(w, "  |%s\n", strings.TrimRight(line.String(), " "))
	}
	at := func(t time.Time) string { return t.In(zone).Format(time.DateTime) }
	fmt.Fprintf(w, "  +%s\n   %s to %s\n", strings.Repeat("-", len(columns)), at(c.Begin), at(c.Begin.Add(time.Duration(len(c.Times))*c.Width)))
}

// plotBars draws a list, the first of which is the longest.
func plotBars(w io.Writer, title string, list []chart.Count) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	for _, n := range list {
		fmt.Fprintf(w, "  %-26.26s %9s %s\n", show(n.Name), grouped(n.N), strings.Repeat("#", int(max(24*n.N/list[0].N, 1))))
	}
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

func pictureOf(zone *time.Location, title string, c *chart.Chart, of func(chart.Bucket) int64) (p picture) {
	most := int64(0)
	for _, b := range c.Times {
		most = max(most, of(b))
	}
	at := func(n int) string {
		return c.Begin.Add(time.Duration(n) * c.Width).In(zone).Format(time.DateTime)
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

// chartPage has what such pages share: their head, by its title, and a picture.
var chartPage = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{"n": grouped}).Parse(`{{define "head"}}<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{.}}</title>
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
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 10em; }
th[scope=row] { white-space: nowrap; overflow-wrap: normal; }
td.text { text-align: left; white-space: normal; }
.best td { font-weight: 600; }
p.dim, figcaption { color: var(--dim); }
figure { margin: 0; }
h2 { font-size: 1.1rem; margin: 1rem 0 .3rem; }
</style></head><body>
{{end}}{{define "picture"}}<figure><h2>{{.Title}}</h2>
<svg viewBox="0 0 720 160" role="img" aria-label="{{.Title}}, up to {{.Most}}">{{range .Bars}}<rect x="{{printf "%.2f" .X}}" y="{{printf "%.2f" .Y}}" width="{{printf "%.2f" .Width}}" height="{{printf "%.2f" .Height}}"><title>{{.Title}}</title></rect>{{end}}</svg>
<figcaption>{{.From}} to {{.To}}, up to {{.Most}}</figcaption></figure>{{end}}`))
})
