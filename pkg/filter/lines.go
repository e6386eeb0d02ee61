package filter

import (
	"fmt"
	"slices"

	"bailiff/pkg/pyregexp"
)

// lineMatcher says which failregex matches a line, and whose failure that is, where
// nothing more is asked for (Filter.onlyFailures). It remembers nothing from line to line,
// so that lines may be looked at before it is their turn; one goroutine uses it.
type lineMatcher struct {
	pref         *expression
	fail, ignore []expression

	// whole says of a line, before the prefregex, which failregexes may match; nil:
	// that is not known beforehand.
	whole *pyregexp.Matcher
	// These follow only the groups that identify.
	failing  *pyregexp.Matcher
	ignoring *pyregexp.Matcher
	prefix   *pyregexp.Searcher

	text, own, content  []byte // own is memory for text
	copied              bool   // what inside returned is a copy
	caps, prefCaps      []int
	maybe, maybeIgnored []int
	pre                 prefix
	conns               *connections // that are known; nil: they are not known here
	idFirst             bool         // the name of the connection is what lines begin with
}

// newLineMatcher makes another one of a filter's.
func (f *Filter) newLineMatcher() *lineMatcher {
	m := &lineMatcher{pref: f.pref, fail: f.fail.list, ignore: f.ignore.list}
	m.failing = f.fail.set.NewMatcher(f.fail.captures()...)
	m.ignoring = f.ignore.set.NewMatcher()
	m.idFirst = f.pref != nil && f.pref.re.BeginsWith(names[mlfid])
	switch {
	case f.pref == nil:
		m.whole = m.failing
	default:
		m.prefix = f.pref.re.NewSearcher(append(f.pref.captures(), "content")...)
		switch within := f.within; {
		case within != nil && f.counts():
			if within = f.compiled.counting(); within != nil {
				m.whole = within.NewMatcher()
			}
		case within != nil:
			m.whole = within.NewMatcher()
		}
	}
	return m
}

// match looks at a line whose date stood between before and after. regex is -1 if it
// tells of nothing; else line is what it tells, whose texts are valid until the next
// call. err says that an expression was given up, which then counts as not matched.
func (m *lineMatcher) match(before, after []byte, line *found) (regex int, err error) {
	joined := false
	if m.whole != nil {
		if len(before) == 0 {
			m.maybe = m.whole.MatchLine(after, m.maybe)
		} else {
			m.join(before, after)
			joined = true
			m.maybe = m.whole.Match(m.text, m.maybe)
		}
		if len(m.maybe) == 0 {
			return -1, nil
		}
	}
	if !joined {
		m.join(before, after)
	}
	var in inside
	if m.conns != nil && m.whole != nil && m.whole.Set().AllMinor(m.maybe) {
		if m.idFirst && len(before) == 0 && !m.conns.knowsBegin(after) {
			return -1, nil
		}
		in = m.inside()
		if id, ok := m.farewell(&in); ok && (in.text == nil || !m.conns.knows(view(id), sumOf(view(id)))) {
			return -1, nil
		}
	}
	return m.confirm(&in, line)
}

func (m *lineMatcher) join(before, after []byte) {
	m.own = append(append(append(m.own[:0], before...), after...), '\n')
	m.text = m.own
}

// take has it look at a line, which is without its newline.
func (m *lineMatcher) take(line *looked) {
	if line.stays {
		m.text = line.rest[: len(line.rest)+1 : len(line.rest)+1]
		return
	}
	m.own = append(append(m.own[:0], line.rest...), '\n')
	m.text = m.own
}

// ignoresEarly reports whether ignoreregexes are looked for in the whole line first: they
// are so few that it saves time.
func (m *lineMatcher) ignoresEarly() bool {
	return len(m.ignore) > 0 && len(m.ignore) < len(m.fail)-2
}

// inside is what the failregexes see of a line, and what the prefregex found around that;
// known, when somebody has looked.
type inside struct {
	known bool
	text  []byte // nil: the prefregex does not match
	pre   *prefix
	err   error
}

// confirm is match for the line in text, of which maybe says what may match it.
func (m *lineMatcher) confirm(in *inside, line *found) (regex int, err error) {
	if m.ignoresEarly() {
		ignored, e := m.ignored(m.text)
		if err = e; ignored {
			return -1, err
		}
	}
	if !in.known {
		*in = m.inside()
	}
	if in.err != nil {
		err = in.err
	}
	text, pre := in.text, in.pre
	if text == nil {
		return -1, err
	}
	if m.whole == nil {
		m.maybe = m.failing.Match(text, m.maybe)
	}
	for _, i := range m.maybe {
		x := &m.fail[i]
		caps, e := m.failing.Confirm(i, text, m.caps)
		if e != nil {
			err = fmt.Errorf("%s%w", x.where(), e)
		}
		if caps == nil {
			continue
		}
		m.caps = caps
		line.by(m.pref, x, caps, text, pre)
		line.groups, line.order = nil, nil
		if len(m.ignore) > 0 {
			ignored, e := m.ignored(text)
			if e != nil {
				err = e
			}
			if ignored {
				return -1, err
			}
		}
		return i, err
	}
	return -1, err
}

// inside is what the failregexes see of the line in text.
func (m *lineMatcher) inside() inside {
	text, pre, err := m.leaves()
	return inside{true, text, pre, err}
}

// leaves returns what the prefregex leaves of the line in text, and what it found; nil if it
// does not match.
func (m *lineMatcher) leaves() (text []byte, pre *prefix, err error) {
	m.copied = false
	if m.pref == nil {
		return m.text, nil, nil
	}
	caps, err := m.prefix.Search(m.text, m.prefCaps)
	if err != nil {
		err = fmt.Errorf("%s%w", m.pref.where(), err)
	}
	if caps == nil {
		return nil, nil, err
	}
	m.prefCaps = caps
	pre = &m.pre
	*pre = prefix{m: caps, text: m.text}
	var content []byte
	if g := m.pref.content; g > 0 && caps[2*g] >= 0 {
		content = m.text[caps[2*g]:caps[2*g+1]]
	}
	if m.pref.tuples {
		pre.groups = m.pref.groups(caps, m.text)
		if len(m.pref.merged) > 0 { // another group may have become the content
			text, _ := pre.groups["content"].(string)
			content = []byte(text)
		}
		delete(pre.groups, "content")
	}
	switch g := m.pref.content; {
	case len(content) == 0:
		return m.text, pre, err
	case !m.pref.tuples && caps[2*g+1] == len(m.text)-1:
		return m.text[caps[2*g]:], pre, err // up to the newline that is there
	}
	m.copied = true
	m.content = append(append(m.content[:0], content...), '\n')
	return m.content, pre, err
}

// ignored reports whether some ignoreregex matches.
func (m *lineMatcher) ignored(text []byte) (found bool, err error) {
	m.maybeIgnored = m.ignoring.Match(text, m.maybeIgnored)
	var caps []int
	for _, i := range m.maybeIgnored {
		caps, e := m.ignoring.Confirm(i, text, caps)
		if e != nil {
			err = fmt.Errorf("%s%w", m.ignore[i].where(), e)
		}
		if caps != nil {
			return true, err
		}
	}
	return false, err
}

// by reads the groups of a match of x and of the prefregex around it.
func (line *found) by(pref, x *expression, caps []int, text []byte, pre *prefix) {
	if !x.tuples && (pre == nil || !pref.tuples) {
		line.look(pref, x, caps, text, pre)
		return
	}
	groups, order := x.groups(caps, text), x.order
	if pre != nil {
		if pre.groups == nil { // only where this expression merges groups
			pre.groups = pref.groups(pre.m, pre.text)
			delete(pre.groups, "content")
		}
		groups, order = withPrefix(pref, pre, x, groups)
	}
	*line = lookIn(groups, order)
}

// captures are the names of the groups that identify, and of what is merged into
// them.
func (x *expression) captures() []string {
	out := slices.Clone(names[:])
	for _, m := range x.merged {
		out = append(out, m.from)
	}
	return out
}

func (g *group) captures() (out []string) {
	for i := range g.list {
		out = append(out, g.list[i].captures()...)
	}
	return out
}
