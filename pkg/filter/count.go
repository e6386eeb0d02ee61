package filter

import "fmt"

// What a report counts of each line: all failregexes that match it, the prefregex, the
// ignoreregexes, dates. No text of a line is wanted for that.

// counts reports whether that is all that is asked for.
func (f *Filter) counts() bool {
	return f.CheckAll && f.Detail == DetailIDs && f.json == nil && f.maxLines == 1 && !f.explain
}

// count is search for a line of which no text is wanted.
func (f *Filter) count(r *Result, before, after []byte) {
	m := f.lines
	m.join(before, after)
	r.Rest = m.text[:len(m.text)-1]
	if m.ignoresEarly() && f.ignored(r, m.text) {
		return
	}
	text, pre, err := m.leaves()
	if err != nil {
		r.Err = err
	}
	if text == nil {
		return
	}
	r.Prefixed = pre != nil
	m.maybe = m.failing.Match(text, m.maybe)
	for _, i := range m.maybe {
		x := &m.fail[i]
		caps, err := m.failing.Confirm(i, text, m.caps)
		if err != nil {
			r.Err = fmt.Errorf("%s%w", x.where(), err)
		}
		if caps == nil {
			continue
		}
		m.caps = caps
		f.line.by(f.pref, x, caps, text, pre)
		f.line.groups, f.line.order = nil, nil
		if len(f.ignore.list) > 0 && f.ignored(r, text) {
			continue
		}
		if f.isLately {
			f.catchUp()
			r.Time, r.Dated = f.last, true
		}
		f.failure(i, &f.line, nil, r)
	}
}
