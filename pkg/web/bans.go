package web

import (
	"net/http"
	"net/url"
	"strings"

	"bailiff/pkg/control"
	"bailiff/pkg/jail"
)

// The page of bans: searched, sorted and cut into pages by the API, of however many there are.

// column is one of the table's.
type column struct {
	Text, To, Class string
	Order           string // as aria-sort has it; empty: it is not sorted by this one
}

// banRow is a ban in the table.
type banRow struct {
	jail.BanStatus
	Key string // as a form names it
}

func bansPage(a *ask) error {
	v := a.r.URL.Query()
	q := control.BansQuery{Search: strings.TrimSpace(v.Get("q")), Jail: v.Get("jail"), Sort: v.Get("sort"), After: v.Get("after"), Before: v.Get("before")}
	api := a.api()
	st, err := api.Status()
	if err != nil {
		return err
	}
	p, err := api.SearchBans(q)
	if err != nil {
		return err
	}
	d := struct {
		Q               control.BansQuery
		Jails, Bannable []string
		May             bool
		List            []banRow
		Columns         []column
		Count, Range    string
		Prev, Next      string
		Problems        []string
	}{Q: q, Bannable: bannable(st.Jails), May: a.who.role >= control.Operator, Problems: p.Problems}
	for _, j := range st.Jails {
		if !j.List {
			d.Jails = append(d.Jails, j.Name)
		}
	}
	for _, b := range p.Bans {
		d.List = append(d.List, banRow{b, banKey{b.Jail, b.IP}.text()})
	}
	to := func(set func(*control.BansQuery)) string {
		next := q
		next.After, next.Before = "", ""
		set(&next)
		return bansURL(next)
	}
	by, down := q.Order()
	for _, c := range []struct{ by, text, class string }{
		{"ip", "bans.who", ""}, {"jail", "bans.jail", ""}, {"time", "bans.since", ""}, {"end", "bans.ends", ""}, {"count", "bans.times", "n wide"},
	} {
		col := column{Text: text(c.text), Class: c.class}
		next := c.by
		if c.by == "time" || c.by == "count" { // the last and the most are what is looked for
			next = "-" + c.by
		}
		if c.by == by {
			col.Order = "ascending"
			next = "-" + c.by
			if down {
				col.Order, next = "descending", c.by
			}
		}
		col.To = to(func(n *control.BansQuery) { n.Sort = next })
		d.Columns = append(d.Columns, col)
	}
	if p.Next != "" {
		d.Next = to(func(n *control.BansQuery) { n.After = p.Next })
	}
	if p.Prev != "" {
		d.Prev = to(func(n *control.BansQuery) { n.Before = p.Prev })
	}
	searched := q.Search != "" || q.Jail != ""
	switch {
	case p.Total == 0 && searched:
		d.Count = text("bans.nomatch")
	case p.Total == 0:
		d.Count = text("bans.none")
	case searched:
		d.Count = text("bans.found", "n", number(p.Total), "all", number(p.All))
	case p.Total == 1:
		d.Count = text("bans.one")
	default:
		d.Count = text("bans.count", "n", number(p.Total))
	}
	if len(d.List) > 0 && len(d.List) < p.Total {
		d.Range = text("bans.showing", "from", number(p.Offset+1), "to", number(p.Offset+len(d.List)))
	}
	return a.show(http.StatusOK, "bans", text("bans.title"), d)
}

// bansURL is the page of bans for a query.
func bansURL(q control.BansQuery) string {
	v := url.Values{}
	for _, kv := range [][2]string{{"q", q.Search}, {"jail", q.Jail}, {"sort", q.Sort}, {"after", q.After}, {"before", q.Before}} {
		if kv[1] != "" {
			v.Set(kv[0], kv[1])
		}
	}
	if len(v) == 0 {
		return "/bans"
	}
	return "/bans?" + v.Encode()
}
