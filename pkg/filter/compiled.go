package filter

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
	"unique"
	"weak"

	"bailiff/pkg/pyregexp"
)

// compiled is what filters with the same definition have in common, be they those of
// several jails, or of one that is looked at, made and made again: the expressions,
// and the tables of those who look at lines with them. It is safe for concurrent use.
type compiled struct {
	pref         *expression
	fail, ignore []expression // fail with those of success behind them
	logins       bool
	// These look for all at once; within does so in what the prefregex leaves of a line
	// and is nil where what may match in there is not known beforehand.
	failSet, ignoreSet, within *pyregexp.Set

	mu      sync.Mutex
	scouts  []*Scout      // that nobody uses now
	counted *pyregexp.Set // of counting; nil: nobody asked for it yet
}

// known are those that some filter still has, and those that were made lately: whoever reads
// a configuration compiles its filters to see what is wrong with them, and jails want them a
// moment later.
var known = struct {
	sync.Mutex
	byKey  map[unique.Handle[string]]weak.Pointer[compiled]
	lately []*compiled
	forget *time.Timer
}{byKey: map[unique.Handle[string]]weak.Pointer[compiled]{}}

// latelyFor is for how long they are kept after the last one was made.
const latelyFor = 5 * time.Second

// expressionsKey is equal for definitions of which the same is compiled.
func (d *Definition) expressionsKey(hostNames, multiline bool) unique.Handle[string] {
	b := fmt.Appendf(nil, "%v %v %v %v", hostNames, multiline, d.Failregex == nil && !d.Unwritten && d.JSON == nil, d.Prefregex.Text != "")
	add := func(list []Expr) {
		b = fmt.Appendf(b, " %d", len(list))
		for _, x := range list {
			b = strconv.AppendQuote(append(b, ' '), x.Text)
			b = strconv.AppendQuote(append(b, ' '), x.File)
			b = strconv.AppendInt(append(b, ' '), int64(x.Line), 10)
		}
	}
	add([]Expr{d.Prefregex})
	add(d.Failregex)
	add(d.Ignoreregex)
	if d.Logins {
		b = append(b, " logins"...)
		add(d.Success)
	}
	return unique.Make(string(b))
}

// compiledBefore returns what was compiled of an equal definition; nil if nobody has
// it any more.
func compiledBefore(key unique.Handle[string]) *compiled {
	known.Lock()
	defer known.Unlock()
	return known.byKey[key].Value()
}

// join makes the sets, and the whole known for other filters.
func (c *compiled) join(key unique.Handle[string]) {
	set := func(list []expression) *pyregexp.Set {
		res := make([]*pyregexp.Regexp, len(list))
		for i, x := range list {
			res[i] = x.re
		}
		return pyregexp.NewSet(res...)
	}
	c.failSet, c.ignoreSet = set(c.fail), set(c.ignore)
	if c.pref != nil {
		c.within = pyregexp.NewSetWithin(c.pref.re, "content", c.failSet.Members()...)
		if c.within != nil && !c.logins { // a farewell may be a login
			c.within.Minor(c.farewells()...)
		}
	}
	known.Lock()
	defer known.Unlock()
	for k, p := range known.byKey {
		if p.Value() == nil {
			delete(known.byKey, k)
		}
	}
	known.byKey[key] = weak.Make(c)
	known.lately = append(known.lately, c)
	if known.forget == nil {
		known.forget = time.AfterFunc(latelyFor, func() {
			known.Lock()
			defer known.Unlock()
			known.lately = nil
		})
	} else {
		known.forget.Reset(latelyFor)
	}
}

// take returns a scout, which is to be given back. Its tables are warm where another
// jail's filter has used it.
func (c *compiled) take(f *Filter) *Scout {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.scouts); n > 0 {
		s := c.scouts[n-1]
		c.scouts = c.scouts[:n-1]
		return s
	}
	return f.NewScout()
}

func (c *compiled) give(s *Scout) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scouts = append(c.scouts, s)
}

// compileDefinition compiles the expressions of a definition. The error names all that are
// wrong.
func compileDefinition(d *Definition, hostNames, multiline bool) (*compiled, error) {
	c := &compiled{}
	var errs []error
	if d.Failregex == nil && !d.Unwritten && d.JSON == nil {
		errs = append(errs, errors.New("no failregex"))
	}
	var flags pyregexp.Flag
	if multiline {
		flags = pyregexp.MULTILINE
	}
	prefID := false
	if d.Prefregex.Text != "" {
		x, err := compileExpr(d.Prefregex, hostNames, 0)
		if err != nil {
			errs = append(errs, err)
		} else {
			c.pref, prefID = &x, x.identifies()
		}
	}
	finds := func(list []Expr, success bool) { // somebody
		for _, e := range list {
			x, err := compileExpr(e, hostNames, flags)
			if err == nil && !prefID && !x.identifies() {
				err = &ExprError{Expr: e, Expanded: x.re.String()}
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			x.success = success
			c.fail = append(c.fail, x)
		}
	}
	finds(d.Failregex, false)
	c.logins = d.Logins
	if d.Logins {
		finds(d.Success, true)
	}
	for _, e := range d.Ignoreregex {
		x, err := compileExpr(e, hostNames, 0)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.ignore = append(c.ignore, x)
	}
	return c, errors.Join(errs...)
}

// ExprError says what is wrong with one expression.
type ExprError struct {
	Expr
	Expanded string // the expression with its tags written out
	Err      error  // why it does not compile; nil: it names no host or other id
}

func (e *ExprError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%sno failure-id group in %q: mark the address with <HOST>, <ADDR> or <F-ID>…</F-ID>", e.where(), e.Text)
	}
	return fmt.Sprintf("%sunable to compile regular expression %q: %v", e.where(), e.Text, e.Err)
}

func (e *ExprError) Unwrap() error { return e.Err }

func compileExpr(e Expr, hostNames bool, flags pyregexp.Flag) (expression, error) {
	expanded := expandTags(e.Text, hostNames)
	re, err := pyregexp.Compile(expanded, flags)
	if err != nil {
		// The position counts in the expanded text, which its reader never wrote;
		// give the one in his own where that is broken by itself.
		var own *pyregexp.Error
		if _, plain := pyregexp.Compile(e.Text, flags); errors.As(plain, &own) {
			err = plain
		}
		return expression{}, &ExprError{Expr: e, Expanded: expanded, Err: err}
	}
	x := expression{Expr: e, re: re, names: re.SubexpNames(), merged: mergedGroups(re.SubexpNames())}
	for _, n := range x.names {
		if n != "" {
			x.order = append(x.order, n)
		}
	}
	x.content = max(re.SubexpIndex("content"), 0)
	for _, a := range x.merged {
		if i := slices.Index(names[:], a.into); i >= 0 && !a.tuple {
			x.alternatives = append(x.alternatives, alternative{i, a.group})
		}
		x.tuples = x.tuples || a.tuple || a.into == "content"
	}
	for i, n := range names {
		if x.places[i] = max(re.SubexpIndex(n), 0); x.places[i] > 0 {
			x.held = append(x.held, named{i, x.places[i]})
		}
	}
	for n := 0; ; n++ {
		g := re.SubexpIndex("skiplines" + strconv.Itoa(n))
		if g < 0 {
			break
		}
		x.skips = append(x.skips, g)
	}
	return x, nil
}

// identifies reports whether some group says whose failure it is, or of which
// connection.
func (x *expression) identifies() bool {
	for _, n := range append(slices.Clone(idGroups), "mlfid") {
		if x.re.SubexpIndex(n) > 0 {
			return true
		}
	}
	return false
}
