package web

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"

	"bailiff/pkg/events"
)

// A map beside the table of countries. Its outlines are a file of ours (assets/world.svg, made by scripts/worldmap), which a
// browser keeps; a page only names the countries in it that are to be shaded, each with a class.

// shades are how many there are: the last one is for the country with the most.
const shades = 5

// shaded is a country on the map.
type shaded struct {
	Code, Title string
	Shade       int
}

// worldMap is what is to be seen.
type worldMap struct {
	Title     string
	Countries []shaded
	Missing   []string // what the map has no place for
}

// mapped are the codes of the countries that the map has.
var mapped = sync.OnceValue(func() map[string]bool {
	data, err := embedded.ReadFile("assets/world.svg")
	if err != nil {
		panic(err)
	}
	codes := map[string]bool{}
	for _, m := range regexp.MustCompile(`id="([A-Z]{2})"`).FindAllSubmatch(data, -1) {
		codes[string(m[1])] = true
	}
	return codes
})

// countries counts the most active addresses by where they are, for a table and for the map.
func (a *ask) countries(s spanOf) (topTable, worldMap, error) {
	top, err := a.askTop("ip", s)
	if err != nil {
		return topTable{}, worldMap{}, err
	}
	type country struct {
		code string
		events.Most
	}
	by := map[string]*country{}
	for _, e := range top.Entries {
		p := a.place(e.Key)
		name := cmp.Or(p.Name, text("top.nowhere"))
		c := by[name]
		if c == nil {
			c = &country{code: p.Country, Most: events.Most{Key: name}}
			by[name] = c
		}
		c.Failures += e.Failures
		c.Bans += e.Bans
	}
	var list []*country
	for _, c := range by {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *country) int {
		return cmp.Or(cmp.Compare(b.Failures+b.Bans, a.Failures+a.Bans), strings.Compare(a.Key, b.Key))
	})
	var rows []events.Most
	m := worldMap{}
	most := int64(0)
	var says []string
	for _, c := range list {
		rows = append(rows, c.Most)
		if !mapped()[c.code] {
			if c.code != "" {
				m.Missing = append(m.Missing, c.Key)
			}
			continue
		}
		n := int64(c.Failures) + int64(c.Bans)
		most = max(most, n) // that of the first one
		of := shaded{Code: c.code, Title: text("map.country", "name", c.Key, "failures", c.Failures, "bans", c.Bans), Shade: shade(n, most)}
		if m.Countries = append(m.Countries, of); len(says) < 5 {
			says = append(says, of.Title)
		}
	}
	m.Title = text("map.title")
	if len(says) > 0 {
		m.Title += " " + strings.Join(says, "; ") + "."
	}
	return topOf("country", rows, false), m, nil
}

// shade is which one a number has beside the largest: each stands for a third of the one above it, since one country
// mostly has far more than the others.
func shade(n, most int64) int {
	at := shades
	for most > 0 && at > 1 && n*3 <= most {
		at, most = at-1, most/3
	}
	return at
}
