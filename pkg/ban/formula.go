package ban

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// Formula is bantime.formula or bantime.factor: an expression in the part of
// Python's language that numbers need. It knows ban.Time (seconds), ban.Count,
// banFactor, the functions of Python's math, and abs, float, int, max, min, pow,
// round. Nothing else can be reached through it.
//
// Numbers are float64: integers are exact up to 2^53, which is 285 million years
// in seconds.
type Formula struct {
	text string
	eval func(*formulaArgs) float64
}

type formulaArgs struct {
	time, count, factor float64
	err                 error
}

// ParseFormula compiles an expression.
func ParseFormula(text string) (*Formula, error) {
	p := &formulaParser{text: text}
	p.next()
	eval := p.ternary()
	if p.err == nil && p.token != "" {
		p.fail("unexpected %q", p.token)
	}
	if p.err != nil {
		return nil, fmt.Errorf("formula %q: %w", text, p.err)
	}
	f := &Formula{text, eval}
	// What can't be computed for any ban is a mistake that shows here.
	for _, count := range []float64{1, 5, 100} {
		if _, err := f.value(&formulaArgs{time: 600, count: count, factor: 1}); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// String returns the expression.
func (f *Formula) String() string { return f.text }

func (f *Formula) value(a *formulaArgs) (float64, error) {
	v := f.eval(a)
	if a.err == nil && math.IsNaN(v) {
		a.err = fmt.Errorf("is not a number")
	}
	if a.err != nil {
		return 0, fmt.Errorf("formula %q: %w with ban.Time %g, ban.Count %g, banFactor %g", f.text, a.err, a.time, a.count, a.factor)
	}
	return v, nil
}

// formulaParser is a parser by recursive descent, in Python's order of
// precedence.
type formulaParser struct {
	text  string
	pos   int
	token string // empty: the end
	depth int
	err   error
}

type evaluator = func(*formulaArgs) float64

// formulaDepth bounds the nesting of parentheses.
const formulaDepth = 50

func (p *formulaParser) fail(format string, args ...any) evaluator {
	if p.err == nil {
		p.err = fmt.Errorf("character %d: %s", p.pos-len(p.token)+1, fmt.Sprintf(format, args...))
	}
	p.token = ""
	return func(*formulaArgs) float64 { return 0 }
}

// next reads the next token: a number, a name with dots, or an operator.
func (p *formulaParser) next() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
	rest := p.text[p.pos:]
	n := 0
	switch {
	case rest == "":
	case isDigit(rest[0]) || rest[0] == '.' && len(rest) > 1 && isDigit(rest[1]):
		n = numberLen(rest)
	case rest[0] == '_' || rest[0] < 0x80 && unicode.IsLetter(rune(rest[0])):
		for n < len(rest) && (rest[n] == '_' || rest[n] == '.' || isDigit(rest[n]) || rest[n] < 0x80 && unicode.IsLetter(rune(rest[n]))) {
			n++
		}
	default:
		n = 1
		for _, op := range []string{"**", "//", "<<", ">>", "<=", ">=", "==", "!="} {
			if strings.HasPrefix(rest, op) {
				n = 2
			}
		}
	}
	p.token = rest[:n]
	p.pos += n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func numberLen(s string) int {
	n := 0
	for n < len(s) && (isDigit(s[n]) || s[n] == '.' || s[n] == '_') {
		n++
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		e := n + 1
		if e < len(s) && (s[e] == '+' || s[e] == '-') {
			e++
		}
		for e < len(s) && isDigit(s[e]) {
			e++
			n = e
		}
	}
	return n
}

func (p *formulaParser) take(token string) bool {
	if p.token != token || p.token == "" {
		return false
	}
	p.next()
	return true
}

func truthOf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// ternary is `a if condition else b`.
func (p *formulaParser) ternary() evaluator {
	if p.depth++; p.depth > formulaDepth {
		return p.fail("too deeply nested")
	}
	defer func() { p.depth-- }()
	a := p.or()
	if !p.take("if") {
		return a
	}
	condition := p.or()
	if !p.take("else") {
		return p.fail("want else")
	}
	b := p.ternary()
	return func(x *formulaArgs) float64 {
		if condition(x) != 0 {
			return a(x)
		}
		return b(x)
	}
}

func (p *formulaParser) or() evaluator {
	a := p.and()
	for p.take("or") {
		l, r := a, p.and()
		a = func(x *formulaArgs) float64 {
			if v := l(x); v != 0 {
				return v
			}
			return r(x)
		}
	}
	return a
}

func (p *formulaParser) and() evaluator {
	a := p.not()
	for p.take("and") {
		l, r := a, p.not()
		a = func(x *formulaArgs) float64 {
			if v := l(x); v == 0 {
				return v
			}
			return r(x)
		}
	}
	return a
}

func (p *formulaParser) not() evaluator {
	if !p.take("not") {
		return p.comparison()
	}
	if p.depth++; p.depth > formulaDepth {
		return p.fail("too deeply nested")
	}
	defer func() { p.depth-- }()
	a := p.not()
	return func(x *formulaArgs) float64 { return truthOf(a(x) == 0) }
}

// comparison may be chained: 1 < ban.Count < 5.
func (p *formulaParser) comparison() evaluator {
	first := p.binary(0)
	type step struct {
		op string
		v  evaluator
	}
	var steps []step
	for {
		switch op := p.token; op {
		case "<", "<=", ">", ">=", "==", "!=":
			p.next()
			steps = append(steps, step{op, p.binary(0)})
			continue
		}
		break
	}
	if len(steps) == 0 {
		return first
	}
	return func(x *formulaArgs) float64 {
		l := first(x)
		for _, s := range steps {
			r := s.v(x)
			ok := false
			switch s.op {
			case "<":
				ok = l < r
			case "<=":
				ok = l <= r
			case ">":
				ok = l > r
			case ">=":
				ok = l >= r
			case "==":
				ok = l == r
			case "!=":
				ok = l != r
			}
			if !ok {
				return 0
			}
			l = r
		}
		return 1
	}
}

// levels are the binary operators, the loosest first.
var levels = [][]string{{"|"}, {"^"}, {"&"}, {"<<", ">>"}, {"+", "-"}, {"*", "/", "//", "%"}}

func (p *formulaParser) binary(level int) evaluator {
	if level == len(levels) {
		return p.unary()
	}
	a := p.binary(level + 1)
	for {
		op := ""
		for _, o := range levels[level] {
			if p.token == o {
				op = o
			}
		}
		if op == "" {
			return a
		}
		p.next()
		l, r := a, p.binary(level+1)
		a = func(x *formulaArgs) float64 { return operate(x, op, l(x), r(x)) }
	}
}

func (p *formulaParser) unary() evaluator {
	for _, op := range []string{"-", "+", "~"} {
		if p.take(op) {
			if p.depth++; p.depth > formulaDepth {
				return p.fail("too deeply nested")
			}
			defer func() { p.depth-- }()
			a := p.unary()
			return func(x *formulaArgs) float64 {
				switch v := a(x); op {
				case "-":
					return -v
				case "~":
					return float64(^whole(x, v))
				default:
					return v
				}
			}
		}
	}
	return p.power()
}

// power binds tighter than a sign to its left, and to the right.
func (p *formulaParser) power() evaluator {
	a := p.atom()
	if !p.take("**") {
		return a
	}
	if p.depth++; p.depth > formulaDepth {
		return p.fail("too deeply nested")
	}
	defer func() { p.depth-- }()
	b := p.unary()
	return func(x *formulaArgs) float64 { return math.Pow(a(x), b(x)) }
}

func (p *formulaParser) atom() evaluator {
	token := p.token
	switch {
	case token == "":
		return p.fail("ends too early")
	case p.take("("):
		a := p.ternary()
		if !p.take(")") {
			return p.fail("want )")
		}
		return a
	case isDigit(token[0]) || token[0] == '.':
		v, err := strconv.ParseFloat(token, 64)
		if err != nil {
			return p.fail("%q is no number", token)
		}
		p.next()
		return func(*formulaArgs) float64 { return v }
	}
	switch token {
	case "ban.Time":
		p.next()
		return func(x *formulaArgs) float64 { return x.time }
	case "ban.Count":
		p.next()
		return func(x *formulaArgs) float64 { return x.count }
	case "banFactor":
		p.next()
		return func(x *formulaArgs) float64 { return x.factor }
	case "math.pi":
		p.next()
		return func(*formulaArgs) float64 { return math.Pi }
	case "math.e":
		p.next()
		return func(*formulaArgs) float64 { return math.E }
	case "True", "False":
		p.next()
		return func(*formulaArgs) float64 { return truthOf(token == "True") }
	}
	if f, ok := functions[token]; ok {
		return p.call(token, f)
	}
	return p.fail("unknown %q: ban.Time, ban.Count, banFactor, numbers, and functions of Python's math can be used", token)
}

type function struct {
	least, most int
	f           func([]float64) float64
}

func of1(f func(float64) float64) function {
	return function{1, 1, func(v []float64) float64 { return f(v[0]) }}
}

func of2(f func(a, b float64) float64) function {
	return function{2, 2, func(v []float64) float64 { return f(v[0], v[1]) }}
}

var functions = map[string]function{
	"abs": of1(math.Abs), "float": of1(func(v float64) float64 { return v }), "int": of1(math.Trunc), "bool": of1(func(v float64) float64 { return truthOf(v != 0) }),
	"pow": of2(math.Pow),
	"round": {1, 2, func(v []float64) float64 {
		if len(v) == 1 {
			return math.RoundToEven(v[0])
		}
		scale := math.Pow(10, math.Trunc(v[1]))
		return math.RoundToEven(v[0]*scale) / scale
	}},
	"max": {2, 20, func(v []float64) float64 {
		m := v[0]
		for _, x := range v {
			m = math.Max(m, x)
		}
		return m
	}},
	"min": {2, 20, func(v []float64) float64 {
		m := v[0]
		for _, x := range v {
			m = math.Min(m, x)
		}
		return m
	}},
	"math.exp": of1(math.Exp), "math.expm1": of1(math.Expm1), "math.exp2": of1(math.Exp2), "math.sqrt": of1(math.Sqrt), "math.cbrt": of1(math.Cbrt),
	"math.log2": of1(math.Log2), "math.log10": of1(math.Log10), "math.log1p": of1(math.Log1p), "math.pow": of2(math.Pow),
	"math.ceil": of1(math.Ceil), "math.floor": of1(math.Floor), "math.trunc": of1(math.Trunc), "math.fabs": of1(math.Abs), "math.fmod": of2(math.Mod),
	"math.sin": of1(math.Sin), "math.cos": of1(math.Cos), "math.tan": of1(math.Tan), "math.atan": of1(math.Atan), "math.tanh": of1(math.Tanh), "math.hypot": of2(math.Hypot),
	"math.log": {1, 2, func(v []float64) float64 {
		if len(v) == 2 {
			return math.Log(v[0]) / math.Log(v[1])
		}
		return math.Log(v[0])
	}},
}

func (p *formulaParser) call(name string, f function) evaluator {
	p.next()
	if !p.take("(") {
		return p.fail("want ( after %s", name)
	}
	var args []evaluator
	for p.token != ")" && p.err == nil {
		args = append(args, p.ternary())
		if !p.take(",") {
			break
		}
	}
	if !p.take(")") {
		return p.fail("want )")
	}
	if len(args) < f.least || len(args) > f.most {
		return p.fail("%s takes %d to %d values, not %d", name, f.least, f.most, len(args))
	}
	return func(x *formulaArgs) float64 {
		v := make([]float64, len(args))
		for i, a := range args {
			v[i] = a(x)
		}
		return f.f(v)
	}
}

func (a *formulaArgs) fail(format string, args ...any) float64 {
	if a.err == nil {
		a.err = fmt.Errorf(format, args...)
	}
	return 0
}

// whole is a value where only an integer makes sense.
func whole(x *formulaArgs, v float64) int64 {
	if v != math.Trunc(v) || math.Abs(v) > 1<<62 {
		x.fail("%g is no integer, as | ^ & ~ << and >> need", v)
		return 0
	}
	return int64(v)
}

func operate(x *formulaArgs, op string, l, r float64) float64 {
	switch op {
	case "+":
		return l + r
	case "-":
		return l - r
	case "*":
		return l * r
	case "/", "//", "%":
		if r == 0 {
			return x.fail("division by zero")
		}
		switch op {
		case "/":
			return l / r
		case "//":
			return math.Floor(l / r)
		}
		return l - r*math.Floor(l/r) // the sign is the divisor's, as in Python
	case "<<", ">>":
		n := whole(x, r)
		whole(x, l)
		if n < 0 {
			return x.fail("shift by %d", n)
		}
		if op == "<<" {
			return math.Ldexp(l, int(min(n, 2000)))
		}
		return math.Floor(math.Ldexp(l, -int(min(n, 2000))))
	}
	a, b := whole(x, l), whole(x, r)
	switch op {
	case "&":
		return float64(a & b)
	case "|":
		return float64(a | b)
	}
	return float64(a ^ b)
}
