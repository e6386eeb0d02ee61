package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"bailiff/pkg/filter"
)

// jailDefaults is what holds where no file says anything, as in resolve.
var jailDefaults = map[string]string{
	"enabled": "false", "maxretry": "5", "findtime": "10m", "bantime": "10m", "protocol": "tcp",
	"ignoreself": "true", "usedns": "warn", "blocktype": "reject",
	"ban.prefix4": "32", "ban.prefix6": "64", "success.most": "3",
}

// settings lists the keys of a jail that are set or have a default, each with the
// place that decided.
func (r *resolver) settings() []Setting {
	var out []Setting
	for _, f := range jailKeys() {
		key := f.key
		s := Setting{Name: key, Value: jailDefaults[key]}
		_, known := jailDefaults[key]
		for _, l := range slices.Backward(r.layers) {
			v, err := reflect.ValueOf(&l.raw).Elem().FieldByIndexErr(f.index)
			if err != nil || v.IsNil() {
				continue
			}
			known = true
			s.Value, s.File = settingText(v), l.file
			if l.doc != nil {
				s.Line = l.line(key)
			}
			break
		}
		if known {
			out = append(out, s)
		}
	}
	return out
}

type jailKey struct {
	key   string
	index []int
}

// jailKeys are the keys of a jail with their fields of rawJail. They are not to be changed.
var jailKeys = sync.OnceValue(func() []jailKey {
	var out []jailKey
	for _, f := range reflect.VisibleFields(reflect.TypeFor[rawJail]()) {
		key := f.Tag.Get("toml")
		if f.Type.Kind() == reflect.Map {
			continue // actions are parts of their own
		}
		if f.Type.Kind() != reflect.Pointer || f.Type.Elem().Kind() != reflect.Struct {
			out = append(out, jailKey{key, f.Index})
			continue
		}
		for _, inner := range reflect.VisibleFields(f.Type.Elem()) {
			out = append(out, jailKey{key + "." + inner.Tag.Get("toml"), append(slices.Clone(f.Index), inner.Index...)})
		}
	}
	return out
})

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

func settingText(v reflect.Value) string {
	if v.Kind() == reflect.Pointer && v.Type().Elem() == reflect.TypeFor[stringList]() {
		v = v.Elem()
	}
	if list, ok := v.Interface().(failList); ok {
		return list.String()
	}
	if list, ok := v.Interface().(stringList); ok {
		var lines []string
		for _, s := range list {
			lines = append(lines, strings.TrimSpace(s))
		}
		return strings.Join(lines, "\n")
	}
	return fmt.Sprint(v.Elem().Interface())
}
