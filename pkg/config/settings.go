package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"bailiff/pkg/filter"
)

// settings lists the keys of a jail that are set or are always shown, each with the
// place that decided.
func (r *resolver) settings() []Setting {
	var out []Setting
	for _, k := range jailKeys {
		s := Setting{Name: k.name, Value: k.without}
		value, at := r.text(k.name)
		switch {
		case at != nil:
			s.Value, s.File = value, at.file
			if at.doc != nil {
				s.Line = at.line(k.name)
			}
		case !k.shown:
			continue
		}
		out = append(out, s)
	}
	return out
}

// filterPart lists what a filter is made of; more are options that are no part of
// the definition.
func filterPart(name string, def *filter.Definition, more []Setting) Part {
	p := Part{Kind: "filter", Name: name, Settings: []Setting{}}
	add := func(key string, e filter.Expr) {
		if e.Text != "" {
			text := e.Text
			if e.Weight > 1 {
				text = fmt.Sprintf("%s (weight %d)", text, e.Weight)
			}
			p.Settings = append(p.Settings, Setting{key, text, e.File, e.Line})
		}
	}
	add("prefregex", def.Prefregex)
	for _, e := range def.Failregex {
		add("failregex", e)
	}
	for _, e := range def.Ignoreregex {
		add("ignoreregex", e)
	}
	given := map[string]bool{}
	for _, s := range more {
		given[s.Name] = true
	}
	if len(def.DatePattern) > 0 && !given["datepattern"] {
		p.Settings = append(p.Settings, Setting{Name: "datepattern", Value: strings.Join(def.DatePattern, "\n")})
	}
	if def.MaxLines > 1 && !given["maxlines"] {
		p.Settings = append(p.Settings, Setting{Name: "maxlines", Value: strconv.Itoa(def.MaxLines)})
	}
	p.Settings = append(p.Settings, more...)
	return p
}

// settingText is a value as `bailiff config show` prints it; v is a pointer to one.
func settingText(v any) string {
	switch v := v.(type) {
	case *failList:
		return v.String()
	case *stringList:
		var lines []string
		for _, s := range *v {
			lines = append(lines, strings.TrimSpace(s))
		}
		return strings.Join(lines, "\n")
	}
	return fmt.Sprint(reflect.ValueOf(v).Elem().Interface())
}
