package filter

import (
	"fmt"
	"maps"
)

// The expressions at work on a line, or on several, whose date is cut out.

// find looks for failures in a line whose date is cut out.
func (f *Filter) find(r *Result, before, date, after []byte) {
	if f.counts() {
		f.count(r, before, after)
		return
	}
	if f.onlyFailures() {
		regex, err := f.lines.match(before, after, &f.line)
		r.Err = err
		if regex >= 0 {
			f.told(regex, &f.line, before, date, after, r)
		}
		return
	}
	f.buf = append(append(append(f.buf[:0], before...), after...), '\n')
	if f.maxLines == 1 {
		// Strings are made only of lines that match.
		f.org = f.org[:0]
	} else {
		f.buffer = append(f.buffer, Line{Before: string(before), Date: string(date), After: string(after)})
		if extra := f.surplus(); extra > 0 {
			f.buffer = append(f.buffer[:0:0], f.buffer[extra:]...)
		}
		f.org = f.buffer
		f.rebuild(f.buffer)
	}
	f.search(r, before, date, after)
}

// mostBuffered bounds the bytes of the lines that are looked at together: all of them are
// searched with each line that comes.
const mostBuffered = 256 << 10

// surplus is how many of the lines that are looked at together are too many, or too
// long together. The last one stays, whatever its length.
func (f *Filter) surplus() int {
	extra, size := max(len(f.buffer)-f.maxLines, 0), 0
	for i := len(f.buffer) - 1; i >= extra; i-- {
		l := &f.buffer[i]
		if size += len(l.Before) + len(l.Date) + len(l.After) + 1; size > mostBuffered && i < len(f.buffer)-1 {
			return i + 1
		}
	}
	return extra
}

// search looks for failures in buf.
func (f *Filter) search(r *Result, before, date, after []byte) {
	single := f.maxLines == 1
	r.Rest = f.buf[:len(f.buf)-1]
	if f.explain {
		f.seen = append(f.seen[:0], f.buf...)
	}
	if len(f.ignore.list) > 0 && len(f.ignore.list) < len(f.fail.list)-2 && f.ignored(r, f.buf) {
		return
	}
	var pre *prefix
	if f.pref != nil {
		m, err := f.searcher.Search(f.buf, f.preCaps)
		if err != nil {
			r.Err = fmt.Errorf("%s%w", f.pref.where(), err)
		}
		if m == nil {
			return
		}
		f.preCaps = m
		pre = &f.prefix
		*pre = prefix{m: m, text: f.buf}
		var content []byte
		if g := f.pref.content; g > 0 && m[2*g] >= 0 {
			content = f.buf[m[2*g]:m[2*g+1]]
		}
		pre.groups = f.pref.groups(m, f.buf)
		r.Pref, r.PrefOrder = maps.Clone(pre.groups), f.pref.order
		if len(f.pref.merged) > 0 { // another group may have become the content
			text, _ := pre.groups["content"].(string)
			content = []byte(text)
		}
		delete(pre.groups, "content")
		if len(content) > 0 {
			f.buf, f.spare = append(append(f.spare[:0], content...), '\n'), f.buf // Rest stays as it is
			if !single {
				f.buffer = []Line{{After: string(content)}}
			}
		}
	}
	if f.explain {
		f.seen = append(f.seen[:0], f.buf...)
	}
	if single && f.Detail != DetailIDs {
		f.org = append(f.org, f.lineOf(before, date, after))
	}
	f.failures(r, pre, f.fail.candidates(f.buf))
}

// lineOf makes a Line of its parts, with the head that was taken off.
func (f *Filter) lineOf(before, date, after []byte) Line {
	if len(f.head) > 0 {
		before = append(f.head[:len(f.head):len(f.head)], before...)
	}
	return lineOf(before, date, after)
}

// lineOf makes one text of a line's parts, and its parts of that.
func lineOf(before, date, after []byte) Line {
	text := make([]byte, 0, len(before)+len(date)+len(after))
	text = append(append(append(text, before...), date...), after...)
	s := view(text)
	from, to := len(before), len(before)+len(date)
	return Line{Before: s[:from], Date: s[from:to], After: s[to:], whole: s}
}

// rebuild makes the text that expressions see of lines.
func (f *Filter) rebuild(lines []Line) {
	f.buf = f.buf[:0]
	for i, l := range lines {
		if i > 0 {
			f.buf = append(f.buf, '\n')
		}
		f.buf = append(append(f.buf, l.Before...), l.After...)
	}
	f.buf = append(f.buf, '\n')
}

// candidates returns the expressions that may match.
func (g *group) candidates(text []byte) []int {
	if len(g.list) == 0 {
		return nil
	}
	g.maybe = g.matcher.Match(text, g.maybe)
	return g.maybe
}

func (f *Filter) confirm(g *group, i int, text []byte, r *Result) []int {
	m, err := g.matcher.Confirm(i, text, f.caps)
	if err != nil {
		r.Err = fmt.Errorf("%s%w", g.list[i].where(), err)
		return nil
	}
	if m != nil {
		f.caps = m
	}
	return m
}

// ignored reports whether some ignoreregex matches.
func (f *Filter) ignored(r *Result, text []byte) bool {
	found := false
	for _, i := range f.ignore.candidates(text) {
		if f.confirm(&f.ignore, i, text, r) == nil {
			continue
		}
		found = true
		r.Ignored = i
		r.Ignores = append(r.Ignores, i)
		if !f.CheckAll {
			break
		}
	}
	return found
}

// groups returns the named groups that took part in a match, with alternatives merged.
func (x *expression) groups(m []int, text []byte) Groups {
	out := make(Groups, len(x.names))
	for i, n := range x.names {
		if n != "" && m[2*i] >= 0 {
			out[n] = string(text[m[2*i]:m[2*i+1]])
		}
	}
	for _, a := range x.merged {
		v, ok := out[a.from].(string)
		if !a.tuple {
			if have, _ := out[a.into].(string); ok && v != "" && have == "" {
				out[a.into] = v
			}
			continue
		}
		switch have := out[a.into].(type) {
		case []string:
			out[a.into] = append(have, v)
		case string:
			out[a.into] = []string{have, v}
		default:
			out[a.into] = []string{"", v}
		}
	}
	return out
}
