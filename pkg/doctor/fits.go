package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// What would find the failures that the jail's filter doesn't: each way is tried on the very
// lines.

// fit is a change that finds them.
type fit struct {
	symptom, text, remedy string
	filter                string // another one's name; empty: the jail's own stays
}

// fits looks for a change by which the filter, or another one, takes at least half of some
// lines, or all of a kind.
func (l *look) fits(ctx context.Context, lines []missed) (fit, bool) {
	def := l.j.Filter
	enough := func(n int) bool { return n > 0 && n*2 >= len(lines) }
	if len(def.Transport) > 0 {
		d := def
		d.Transport = nil
		if n := l.takes(d, lines); enough(n) {
			return fit{
				symptom: "lines-transport", text: fmt.Sprintf("with transport = auto, %d of them match", n),
				remedy: "take transport = " + strings.Join(def.Transport, " ") + " out" + l.placed("transport") + ": what stands around lines is found from them",
			}, true
		}
	}
	if len(def.DatePattern) > 0 {
		d := def
		d.DatePattern = nil
		if n := l.takes(d, lines); enough(n) {
			return fit{symptom: "lines-datepattern", text: fmt.Sprintf("without datepattern, %d of them match", n), remedy: "take datepattern out" + l.placed("datepattern") + ", or make it that of the lines"}, true
		}
	}
	name := def.Name
	if own := l.cfg.Filters[name]; own != nil && l.cfg.Fail2ban == nil {
		if f, ok := l.modes(name, lines, enough); ok {
			return f, true
		}
	}
	best, by := "", 0
	var names []string
	for n := range l.cfg.Filters {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if ctx.Err() != nil {
			break
		}
		if n == name && l.cfg.Fail2ban == nil || len(l.cfg.Filters[n].Errors) > 0 {
			continue
		}
		other, err := l.cfg.FilterDefinition(n, "")
		if err != nil {
			continue
		}
		other.Proxies = def.Proxies
		// A few tell whether it is worth the rest.
		if some := lines[max(len(lines)-20, 0):]; l.takes(other, some) == 0 {
			continue
		}
		if n2 := l.takes(other, lines); n2 > by || n2 == by && n == name {
			best, by = n, n2
		}
	}
	switch {
	case !enough(by):
		if l.cfg.Fail2ban != nil {
			return l.modes(name, lines, enough)
		}
		return fit{}, false
	case best == name:
		return fit{
			symptom: "filter-old", text: fmt.Sprintf("this program's own filter %s matches %d of them: the one in %s is older than the service", best, by, l.cfg.Fail2ban.Dir),
			remedy: fmt.Sprintf("take the newer filter.d/%s.conf of fail2ban, or: bailiff filter show %s", name, best),
		}, true
	}
	return fit{"filter-wrong", fmt.Sprintf("filter %s matches %d of them", best, by), l.set(l.key("filter", best)), best}, true
}

// modes looks for a mode of a filter that takes the lines.
func (l *look) modes(name string, lines []missed, enough func(int) bool) (fit, bool) {
	f := l.cfg.Filters[name]
	if f == nil {
		return fit{}, false
	}
	modes := slices.Clone(f.Modes)
	slices.SortStableFunc(modes, func(a, b string) int { // the one that holds all others is the last resort
		return cmp.Compare(strings.Count(a, "aggressive"), strings.Count(b, "aggressive"))
	})
	for _, mode := range modes {
		if mode == l.j.Mode {
			continue
		}
		d, err := l.cfg.FilterDefinition(name, mode)
		if err != nil {
			continue
		}
		if n := l.takes(d, lines); enough(n) {
			return fit{symptom: "lines-mode", text: fmt.Sprintf("in mode %s, %d of them match", mode, n), remedy: l.set(l.key("mode", mode))}, true
		}
	}
	return fit{}, false
}

// placed says where a setting stands, as an addition to a sentence.
func (l *look) placed(name string) string {
	if at := setting(l.j, name); at != "" {
		return " (" + at + ")"
	}
	return ""
}
