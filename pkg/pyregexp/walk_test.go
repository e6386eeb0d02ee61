package pyregexp

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// walkCase is a walk over a template with one open piece or two.
type walkCase struct {
	list, ignore []string
	outer        string
	whole        bool
	before       string // fixed
	open         string // the alphabet of what somebody writes, up to `most` of it
	between      string
	truth        string
	after        string
	behind       bool // something may be written behind it, too
	upTo         bool // of the group, only the end matters
}

var onceCompiled = map[string]*Regexp{}

func compiledOnce(re string) *Regexp {
	if onceCompiled[re] == nil {
		onceCompiled[re] = MustCompile(re, 0)
	}
	return onceCompiled[re]
}

// outcomeOf is what is found in a text, by the exact matcher.
func (c *walkCase) outcomeOf(t *testing.T, text string, from, to int) string {
	t.Helper()
	find := func(re string, in string) ([]int, *Regexp) {
		x := compiledOnce(re)
		m, err := x.Search([]byte(in), nil)
		if err != nil {
			t.Fatal(err)
		}
		return m, x
	}
	inOpen := func(at int) bool {
		return at >= len(c.before) && at < from-len(c.between) || at >= to+len(c.after)
	}
	taken := func(m []int, re *Regexp, shift int) Taken {
		g := re.SubexpIndex("id")
		switch {
		case m == nil || g < 0 || m[2*g] < 0:
			return TookNothing
		case (m[2*g]+shift == from || c.upTo && m[2*g]+shift < from) && m[2*g+1]+shift == to:
			return TookTruth
		case c.upTo && m[2*g]+shift <= from:
			return TookOther
		case inOpen(m[2*g]+shift) && inOpen(m[2*g+1]+shift-1):
			return TookOpen
		}
		return TookOther
	}
	whole := text + "\n"
	in, shift := whole, 0
	outer := TookNothing
	if c.whole || c.outer == "" {
		for _, re := range c.ignore {
			if m, _ := find(re, whole); m != nil {
				return "-1"
			}
		}
	}
	if c.outer != "" {
		m, re := find(c.outer, whole)
		if m == nil {
			return "-1"
		}
		g := re.SubexpIndex("content")
		in, shift = whole[m[2*g]:m[2*g+1]]+"\n", m[2*g]
		outer = taken(m, re, 0)
		if !c.whole {
			for _, re := range c.ignore {
				if m, _ := find(re, in); m != nil {
					return "-1"
				}
			}
		}
	}
	for i, re := range c.list {
		if m, x := find(re, in); m != nil {
			return fmt.Sprint(i, taken(m, x, shift), outer)
		}
	}
	return "-1"
}

func (c *walkCase) template(most int) []Piece {
	open := func() Piece {
		return Piece{Text: "x", Open: MustCompile(fmt.Sprintf("[%s]{0,%d}", c.open, most), 0)}
	}
	out := []Piece{{Text: c.before}, open(), {Text: c.between}, {Text: c.truth, Truth: true}, {Text: c.after}}
	if c.behind {
		out = append(out, open())
	}
	return out
}

// check compares all that a walk tells of with all texts, one by one.
func (c *walkCase) check(t *testing.T, most int) (n int) {
	t.Helper()
	compile := func(list []string) (out []*Regexp) {
		for _, s := range list {
			out = append(out, MustCompile(s, 0))
		}
		return out
	}
	w := Walk{List: compile(c.list), Ignore: compile(c.ignore), Names: []string{"id"}, Content: "content", Whole: c.whole}
	if c.outer != "" {
		w.Outer = MustCompile(c.outer, 0)
	}
	if c.upTo {
		w.UpTo = w.Names
	}
	at := func(texts []string) (string, int, int) {
		from := len(texts[0] + texts[1] + texts[2])
		return strings.Join(texts, ""), from, from + len(texts[3])
	}
	told := map[string]string{}
	_, err := w.Run(c.template(most), func(e End) bool {
		text, from, to := at(e.Texts)
		o := "-1"
		if e.Matched >= 0 {
			outer := TookNothing
			if e.Outer != nil {
				outer = e.Outer[0]
			}
			o = fmt.Sprint(e.Matched, e.Inner[0], outer)
		}
		if have := c.outcomeOf(t, text, from, to); have != o {
			t.Errorf("%+v: %q is said to give %s, gives %s", *c, text, o, have)
		}
		told[o] = text
		return true
	})
	if err != nil {
		t.Logf("%+v: %v", *c, err)
		return 0
	}
	all := []string{""}
	for level := all; len(level[0]) < most; all = append(all, level...) {
		var next []string
		for _, s := range level {
			for _, r := range c.open {
				next = append(next, s+string(r))
			}
		}
		level = next
	}
	last := []string{""}
	if c.behind {
		last = all
	}
	for _, a := range all {
		for _, b := range last {
			text, from, to := at([]string{c.before, a, c.between, c.truth, c.after + b})
			if o := c.outcomeOf(t, text, from, to); told[o] == "" {
				if _, ok := told[o]; !ok {
					t.Fatalf("%+v: %q gives %s, of which nothing was told: %v", *c, text, o, slices.Sorted(maps.Keys(told)))
				}
			}
		}
	}
	return len(told)
}

// TestWalk compares walks with all texts of some length.
func TestWalk(t *testing.T) {
	for _, c := range []walkCase{
		{list: []string{`^u (.*) from (?P<id>\d+)$`}, open: "1 a", before: "u ", between: " from ", truth: "7"},
		{list: []string{`^u .* (?P<id>\d+)`}, open: "1 a", before: "u ", between: " ", truth: "7", after: " x", behind: true},
		{list: []string{`^u .*? (?P<id>\d+)(?: x)?$`}, open: "1 x", before: "u ", between: " ", truth: "7", after: " x", behind: true},
		{list: []string{`^u (?:(?! a\d).)* a(?P<id>\d+)`}, open: "1 a", before: "u ", between: " a", truth: "7"},
		{list: []string{`^u (?:(?! a\d+ b).)* a(?P<id>\d+) b`, `a(?P<id>1)`}, open: "1 ab", before: "u ", between: " a", truth: "7", after: " b"},
		{list: []string{`(?P<id>\d+)(?=b)`, `^u .*(?<=a)(?P<id>\d+)`}, open: "1ab", before: "u ", between: "a", truth: "7", behind: true},
		{list: []string{`\b(?P<id>\d+)\b`}, open: "1a ", before: "u ", between: " ", truth: "7"},
		{list: []string{`^(?:u (?P<id>[\da]+)|u a*\s+(?P<x>\d)) `, `^u.*\s(?P<id>\d)$`}, open: "1a ", before: "u ", between: " ", truth: "7"},
		{list: []string{`^(a)?u(?(1)b|c).*(?P<id>\d)`}, open: "1ab", before: "", between: "uc", truth: "7", behind: true},
		{list: []string{`^u .*(?P<id>\d)$`}, ignore: []string{`ab`}, open: "1ab", before: "u ", between: " ", truth: "7"},
		{outer: `^u (?P<content>.+)$`, list: []string{`^a*(?P<id>\d)$`, `b(?P<id>\d)`}, open: "1ab", before: "u ", between: "", truth: "7"},
		{outer: `^(?P<id>\d)?u (?P<content>.+?) (?:e|$)`, list: []string{`^a*(?P<id>\d)$`, `b`}, open: "1 e", before: "7u ", between: "", truth: "7", after: " e", behind: true},
		{outer: `u(?P<content>.+)b`, list: []string{`(?P<id>\d)`}, ignore: []string{`b$`}, open: "u1b", before: "", between: "u", truth: "7", after: "b", behind: true},
		{outer: `u(?P<content>.+)b`, list: []string{`(?P<id>\d)`}, ignore: []string{`ub`}, whole: true, open: "u1b", before: "", between: "u", truth: "7", after: "b"},
		{list: []string{`^(?:a|ab)*(?P<id>\w)(?:1|$)`}, open: "1aé", before: "a", between: "b", truth: "7"},
		{list: []string{`^u "(?:[^"\\]|\\.)*" (?P<id>\d)$`}, open: `"1 \\`, before: `u "`, between: `" `, truth: "7"},
		{list: []string{`^u '(?P<id>(?:.*, )?\d)' b`}, open: "1,' b", before: "u '", between: ", ", truth: "7", after: "' b", upTo: true},
		{list: []string{`^(?P<id>(?:(?!' b).)*)' b`, `b(?P<id>.*)$`}, open: "1' b", before: "u", between: "", truth: "7", after: "' b", behind: true, upTo: true},
	} {
		if n := c.check(t, 5-len(c.ignore)); n == 0 {
			t.Errorf("%+v: not decided", c)
		}
	}
}

// TestWalkRandom does so with expressions that are put together at random.
func TestWalkRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	atoms := []string{
		"a", "b", "1", "7", " ", ".", ".", ".*", ".*?", `\d`, `\d+`, `\w*`, `[^a]`, `[^ ]+`, `\s`, "a*", "b?", "a+?", "$", "^", `\b`, `\B`,
		`(?!a)`, `(?!1b)`, `(?=.*b)`, `(?=1)`, `(?! 7)`, `(?<=a)`, `(?<!1)`, `(?<!a1)`, "(?:a|b1)", "(?:ab|a)*", "(?:1|)*", "(?i:A)", `(?:(?!ab).)*`, `(?:(?! 7).)+`, "(a)?(?(1)b|1)",
	}
	piece := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(atoms[r.IntN(len(atoms))])
		}
		return b.String()
	}
	decided, outcomes := 0, 0
	for range 300 {
		one := func() string {
			s := piece(r.IntN(3)) + `(?P<id>` + []string{`\d`, `\d+`, `[\da]+`, `\w+?`}[r.IntN(4)] + `)` + piece(r.IntN(3))
			if r.IntN(2) == 0 {
				s = "^" + s
			}
			if strings.Count(s, "(a)") > 0 {
				s = strings.Replace(s, "(a)?(?(1)b|1)", "(?P<c>a)?(?(c)b|1)", 1)
				s = strings.ReplaceAll(s, "(a)?(?(1)b|1)", "a?")
			}
			return s
		}
		c := walkCase{open: "1ab ", before: []string{"", "a", "1 "}[r.IntN(3)], between: []string{"", " ", "b"}[r.IntN(3)], truth: "7", after: []string{"", " b", "1"}[r.IntN(3)], behind: r.IntN(2) == 0, upTo: r.IntN(4) == 0}
		for range 1 + r.IntN(2) {
			c.list = append(c.list, one())
		}
		if r.IntN(4) == 0 {
			c.ignore = append(c.ignore, piece(2))
		}
		if r.IntN(3) == 0 {
			c.outer, c.whole = piece(r.IntN(2))+`(?P<content>`+[]string{`.+`, `.+?`, `\w.*`}[r.IntN(3)]+`)`+piece(r.IntN(2)), r.IntN(2) == 0
			c.outer = strings.ReplaceAll(c.outer, "(a)?(?(1)b|1)", "a?")
		}
		for i := range c.ignore {
			c.ignore[i] = strings.ReplaceAll(c.ignore[i], "(a)?(?(1)b|1)", "a?")
		}
		most := 3
		if n := c.check(t, most); n > 0 {
			decided++
			outcomes += n
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of 300 decided, with %d outcomes", decided, outcomes)
	if decided < 200 {
		t.Errorf("only %d of 300 are decided", decided)
	}
}
