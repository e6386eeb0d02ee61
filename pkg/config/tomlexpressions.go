package config

import (
	"fmt"
	"strings"

	"bailiff/pkg/filter"
)

// The expressions of a filter, from what its keys hold.

// words parts what stands in a list, or in one text.
func words(list []string) (out []string) {
	for _, s := range list {
		out = append(out, strings.FieldsFunc(s, isListSpace)...)
	}
	return out
}

func expressions(list []string, at *layer, key string) []filter.Expr {
	if at == nil || at.doc == nil {
		return exprList(list, "", "", 0)
	}
	return exprList(list, at.file, at.doc.text, at.line(key))
}

// exprList splits what stands on several lines; each is an expression. Its place
// is looked for in the file's text from the line of its key on.
func exprList(list []string, file, text string, line int) []filter.Expr {
	var out []filter.Expr
	lines := strings.Split(text, "\n")
	place := func(e string) int {
		for i := max(line, 1); i <= len(lines); i++ {
			if strings.Contains(lines[i-1], e) {
				return i
			}
		}
		return line // it stands there with escapes
	}
	for _, s := range list {
		for _, e := range strings.Split(s, "\n") {
			if e = strings.TrimSpace(e); e != "" {
				out = append(out, filter.Expr{Text: e, File: file, Line: place(e)})
			}
		}
	}
	return out
}

func (f *Filter) exprs(list []string, key ...string) []filter.Expr {
	if len(list) == 0 {
		return nil
	}
	out := exprList(list, f.Source, f.doc.text, f.doc.line(key...))
	for i := range out {
		out[i].Text = f.prefixed(out[i].Text)
	}
	return out
}

// weighed is exprs for expressions that may weigh more than others.
func (f *Filter) weighed(list failList, key ...string) []filter.Expr {
	return weighed(list, func(list []string) []filter.Expr { return f.exprs(list, key...) })
}

// weighed reads a list of expressions by parts of the same weight, so that each has its own.
func weighed(list failList, read func([]string) []filter.Expr) (out []filter.Expr) {
	if len(list) == 0 {
		return read(nil)
	}
	for from := 0; from < len(list); {
		to := from + 1
		for to < len(list) && list[to].weight == list[from].weight {
			to++
		}
		some := read(list[from:to].texts())
		for i := range some {
			some[i].Weight = list[from].weight
		}
		out = append(out, some...)
		from = to
	}
	return out
}

// definition returns the filter in one mode.
func (f *Filter) definition(mode string) (filter.Definition, error) {
	def := filter.Definition{
		Name:        f.Name,
		Failregex:   f.weighed(f.raw.Failregex, "failregex"),
		Ignoreregex: f.exprs(f.raw.Ignoreregex, "ignoreregex"),
		Success:     f.exprs(f.raw.Success, "success"),
		DatePattern: f.raw.DatePattern,
		MaxLines:    f.raw.MaxLines,
		Attempts:    f.raw.Attempts,
		Head:        f.head(),
	}
	if pre := f.exprs(stringList{f.raw.Prefregex}, "prefregex"); len(pre) > 0 {
		def.Prefregex = pre[0]
	}
	if f.raw.Attempts && !strings.Contains(def.Prefregex.Text+exprTexts(def.Failregex), "<F-MLFID>") {
		return def, &Error{f.Source, f.doc.line("attempts"), "attempts = true counts by connection, and no failregex says which it is: mark it with <F-MLFID>…</F-MLFID>"}
	}
	if f.raw.JSON != nil {
		var err error
		if def.JSON, err = f.json(); err != nil {
			return def, err
		}
	}
	if mode == "" || mode == "normal" && len(f.Modes) > 0 {
		mode = "normal"
		if _, ok := f.raw.Mode[mode]; !ok {
			return def, nil
		}
	}
	seen := map[string]bool{}
	var add func(m string) error
	add = func(m string) error {
		raw, ok := f.raw.Mode[m]
		if m == "normal" && !ok {
			return nil
		}
		if !ok {
			if len(f.Modes) == 0 {
				return fmt.Errorf("unknown mode %q: this filter has none", m)
			}
			return fmt.Errorf("unknown mode %q (%s)", m, strings.Join(f.Modes, ", "))
		}
		if seen[m] {
			return nil
		}
		seen[m] = true
		for _, with := range raw.With {
			if err := add(with); err != nil {
				return err
			}
		}
		def.Failregex = append(def.Failregex, f.weighed(raw.Failregex, "mode", m, "failregex")...)
		return nil
	}
	return def, add(mode)
}
