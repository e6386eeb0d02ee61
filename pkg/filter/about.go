package filter

import (
	"slices"

	"bailiff/pkg/logtime"
)

// What can be asked of a filter beside lines.

// Buffered returns the lines that wait for more, where maxlines is not 1.
func (f *Filter) Buffered() []Line {
	if f.maxLines == 1 {
		return nil
	}
	f.part()
	return f.buffer
}

// MaxLines is the number of lines looked at together.
func (f *Filter) MaxLines() int { return f.maxLines }

// Prefregex returns the prefregex with its tags written out, "" if there is none.
func (f *Filter) Prefregex() string {
	if f.pref == nil {
		return ""
	}
	return f.pref.re.String()
}

// Failregex returns the expressions in order, as configured.
func (f *Filter) Failregex() []Expr {
	if f.json != nil {
		return f.json.exprs()
	}
	list := exprs(f.fail.list)
	for i, x := range f.def.Failregex { // what was compiled is shared with others that differ in that
		list[i].Weight = x.Weight
	}
	return list
}

// Captures returns the names of what the prefregex and the failregexes capture, sorted, but for what
// tells an address or a connection.
func (f *Filter) Captures() (out []string) {
	for i := range f.fail.list {
		if x := &f.fail.list[i]; !x.success {
			out = append(out, x.captured()...)
		}
	}
	if f.pref != nil {
		out = append(out, f.pref.captured()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Ignoreregex returns the expressions in order, as configured.
func (f *Filter) Ignoreregex() []Expr { return exprs(f.ignore.list) }

// Expanded returns the failregexes with their tags written out.
func (f *Filter) Expanded() []string {
	if f.json != nil {
		var out []string
		for _, x := range f.json.exprs() {
			out = append(out, x.Text)
		}
		return out
	}
	out := make([]string, len(f.fail.list))
	for i, x := range f.fail.list {
		out[i] = x.re.String()
	}
	return out
}

// ExpandedIgnore returns the ignoreregexes with their tags written out.
func (f *Filter) ExpandedIgnore() []string {
	out := make([]string, len(f.ignore.list))
	for i, x := range f.ignore.list {
		out[i] = x.re.String()
	}
	return out
}

// Dates returns the filter's date templates with their hits.
func (f *Filter) Dates() []*logtime.Template {
	if m := f.in; m != nil {
		m.run.mu.Lock()
		defer m.run.mu.Unlock()
		dates, _ := m.run.front.dates.Clone()
		return dates.Templates()
	}
	return f.dates.Templates()
}
