package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Spans of time in fail2ban's words. There they are an expression of Python's in which
// units stand for factors: `1h 30m` is 1*3600+1*60*30 seconds, `24*3600` a day, `2*1h/3`
// what it says. Here only numbers, units, + - * / // % ** and parentheses are read; the
// outcome is the same (testdata/seconds.py asks the real one).

// unitSeconds are fail2ban's abbreviations of time, and secs and mins. A month is a
// twelfth of a year, which has 365.25 days.
var unitSeconds = func() map[string]string {
	out := map[string]string{}
	for seconds, names := range map[string]string{
		"1":        "s ss se sec second seconds secs",
		"60":       "m mm mi min minute minutes mins",
		"3600":     "h hh ho hou hour hours",
		"86400":    "d dd da day days",
		"604800":   "w ww we wee week weeks",
		"2629800":  "mo mon month months",
		"31557600": "y yy ye yea year years",
	} {
		for _, n := range strings.Fields(names) {
			out[n] = seconds
		}
	}
	return out
}()

const (
	// timeLength bounds the text of a time, in bytes; timeDepth its parentheses.
	timeLength = 1000
	timeDepth  = 50
	// LongestTime is what a longer time is cut to: as good as for ever, and a Duration
	// can still be added to it.
	LongestTime = 9_000_000_000 * time.Second // 285 years
)

// Seconds is a number of seconds: whole, as fail2ban prints integers, or not.
type Seconds struct {
	Int     int64
	Float   float64
	IsFloat bool
}

func (s Seconds) float() float64 {
	if s.IsFloat {
		return s.Float
	}
	return float64(s.Int)
}

// String is the number as Python prints it.
func (s Seconds) String() string {
	if !s.IsFloat {
		return strconv.FormatInt(s.Int, 10)
	}
	abs := math.Abs(s.Float)
	if abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(s.Float, 'e', -1, 64)
	}
	text := strconv.FormatFloat(s.Float, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// Duration returns the span, to the millisecond; LongestTime for a longer one.
func (s Seconds) Duration() time.Duration {
	f := s.float()
	if math.Abs(f) >= LongestTime.Seconds() {
		return time.Duration(math.Copysign(float64(LongestTime), f))
	}
	return time.Duration(f * 1e9).Round(time.Millisecond)
}

// ParseTime reads a span as fail2ban writes them: 600, 10m, "1d 12h", 24*3600, -1 (for
// ever). A number without a unit is seconds; what is longer than LongestTime is that.
func ParseTime(s string) (time.Duration, error) {
	n, err := ParseSeconds(s)
	return n.Duration(), err
}

// ParseSeconds is ParseTime in seconds, whatever their number.
func ParseSeconds(s string) (Seconds, error) {
	if strings.TrimSpace(s) == "" {
		return Seconds{}, errors.New("empty time: want something like 10m, \"1d 12h\", 600 or -1")
	}
	if len(s) > timeLength {
		return Seconds{}, fmt.Errorf("time %.20q…: longer than %d characters", s, timeLength)
	}
	p := &timeParser{text: inSeconds(s)}
	p.next()
	n := p.sum()
	if p.err == nil && p.token != "" {
		p.behind()
	}
	if p.err != nil {
		return Seconds{}, fmt.Errorf("time %q: %w", s, p.err)
	}
	return n, nil
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isSpace(c byte) bool  { return strings.IndexByte(" \t\r\n\v\f", c) >= 0 }

// inSeconds puts factors in the place of units, and a plus between two numbers that
// stand side by side.
func inSeconds(s string) string {
	if i := strings.IndexByte(s, '#'); i >= 0 {
		s = s[:i]
	}
	// A digit behind a letter begins a number.
	var b strings.Builder
	for i := range len(s) {
		if i > 0 && isDigit(s[i]) && isLetter(s[i-1]) {
			b.WriteByte(' ')
		}
		b.WriteByte(s[i])
	}
	s = b.String()
	// A word is a unit behind a digit, or behind a space.
	b.Reset()
	word := func(c byte) bool { return isLetter(c) || isDigit(c) || c == '_' || c >= 0x80 }
	for i := 0; i < len(s); {
		n := 0
		if i > 0 && (isDigit(s[i-1]) || isSpace(s[i-1])) {
			for i+n < len(s) && isLetter(s[i+n]) {
				n++
			}
		}
		factor, ok := unitSeconds[strings.ToLower(s[i:i+n])]
		switch {
		case ok && (i+n == len(s) || !word(s[i+n])):
			b.WriteString("*" + factor)
			if len(factor) > 6 { // a month and a year are no whole numbers
				b.WriteString(".0")
			}
		case n > 0:
			b.WriteString(s[i : i+n])
		default:
			n = 1
			b.WriteByte(s[i])
		}
		i += n
	}
	s = b.String()
	b.Reset()
	for i := 0; i < len(s); {
		n := 0
		if isDigit(s[i]) {
			for i+1+n < len(s) && isSpace(s[i+1+n]) {
				n++
			}
		}
		b.WriteByte(s[i])
		if i++; n > 0 && i+n < len(s) && isDigit(s[i+n]) {
			b.WriteByte('+')
			b.WriteByte(s[i+n]) // no end of the next pair: fail2ban's 1 2 3 is no time
			n++
		} else {
			n = 0
		}
		i += n
	}
	return strings.TrimSpace(b.String())
}

// timeParser is a parser by recursive descent, in Python's order of precedence.
type timeParser struct {
	text  string
	pos   int
	token string // empty: the end
	depth int
	err   error
}

func (p *timeParser) fail(format string, args ...any) Seconds {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
	p.token = ""
	return Seconds{}
}

// behind tells of what stands where only a unit or an operator can.
func (p *timeParser) behind() Seconds {
	if p.token != "" && isLetter(p.token[0]) {
		return p.fail("unknown unit %q (s, m, h, d, w, mo, y)", p.token)
	}
	return p.unexpected()
}

func (p *timeParser) unexpected() Seconds {
	return p.fail("want something like 10m, \"1d 12h\", 600 or -1")
}

func (p *timeParser) next() {
	for p.pos < len(p.text) && isSpace(p.text[p.pos]) {
		p.pos++
	}
	rest := p.text[p.pos:]
	n := 0
	switch {
	case rest == "":
	case isDigit(rest[0]) || rest[0] == '.':
		for n < len(rest) && (isDigit(rest[n]) || rest[n] == '.' || rest[n] == '_') {
			n++
		}
		if n+2 < len(rest) && rest[n]|0x20 == 'e' && (rest[n+1] == '+' || rest[n+1] == '-') && isDigit(rest[n+2]) {
			for n += 2; n < len(rest) && isDigit(rest[n]); n++ {
			}
		}
	case isLetter(rest[0]):
		for n < len(rest) && isLetter(rest[n]) {
			n++
		}
	case strings.HasPrefix(rest, "**"), strings.HasPrefix(rest, "//"):
		n = 2
	default:
		n = 1
	}
	p.token = rest[:n]
	p.pos += n
}

func (p *timeParser) take(tokens ...string) string {
	for _, t := range tokens {
		if p.token == t && p.err == nil {
			p.next()
			return t
		}
	}
	return ""
}

func (p *timeParser) sum() Seconds {
	if p.depth++; p.depth > timeDepth {
		return p.fail("more than %d parentheses deep", timeDepth)
	}
	defer func() { p.depth-- }()
	v := p.product()
	for p.err == nil {
		switch p.take("+", "-") {
		case "+":
			v = p.apply("+", v, p.product())
		case "-":
			v = p.apply("-", v, p.product())
		default:
			return v
		}
	}
	return v
}

func (p *timeParser) product() Seconds {
	v := p.signed()
	for p.err == nil {
		op := p.take("*", "/", "//", "%")
		if op == "" {
			return v
		}
		v = p.apply(op, v, p.signed())
	}
	return v
}

func (p *timeParser) signed() Seconds {
	minus := false
	for p.err == nil {
		switch p.take("+", "-") {
		case "-":
			minus = !minus
			continue
		case "+":
			continue
		}
		break
	}
	v := p.power()
	if minus {
		v.Int, v.Float = -v.Int, -v.Float
	}
	return v
}

func (p *timeParser) power() Seconds {
	v := p.atom()
	if p.take("**") == "" {
		return v
	}
	if p.depth++; p.depth > timeDepth {
		return p.fail("more than %d powers deep", timeDepth)
	}
	defer func() { p.depth-- }()
	return p.apply("**", v, p.signed())
}

func (p *timeParser) atom() Seconds {
	if p.take("(") != "" {
		v := p.sum()
		if p.take(")") == "" {
			return p.behind()
		}
		return v
	}
	t := p.token
	if t == "" || !isDigit(t[0]) && (t[0] != '.' || len(t) < 2) {
		return p.unexpected()
	}
	digits := strings.ReplaceAll(t, "_", "")
	for i := range len(t) {
		if t[i] == '_' && (i == 0 || i+1 == len(t) || !isDigit(t[i-1]) || !isDigit(t[i+1])) {
			return p.fail("%q is no number", t)
		}
	}
	var v Seconds
	if strings.ContainsAny(digits, ".eE") {
		f, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			return p.fail("%q is no number", t)
		}
		v = Seconds{Float: f, IsFloat: true}
	} else {
		if zeros := strings.TrimLeft(digits, "0"); zeros != "" && len(zeros) < len(digits) {
			return p.fail("%q: a number does not begin with 0", t)
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return p.fail("too long")
		}
		v.Int = n
	}
	p.next()
	if p.token != "" && (p.text[p.pos-len(p.token)] == '.' || isDigit(p.token[0])) {
		return p.unexpected()
	}
	return v
}

// apply computes as Python does: whole numbers stay so but for / and negative powers.
func (p *timeParser) apply(op string, a, b Seconds) Seconds {
	if p.err != nil {
		return a
	}
	if (op == "/" || op == "//" || op == "%") && b.float() == 0 {
		return p.fail("division by zero")
	}
	if !a.IsFloat && !b.IsFloat && op != "/" && (op != "**" || b.Int >= 0) {
		return p.whole(op, a.Int, b.Int)
	}
	x, y := a.float(), b.float()
	f := 0.0
	switch op {
	case "+":
		f = x + y
	case "-":
		f = x - y
	case "*":
		f = x * y
	case "/":
		f = x / y
	case "//", "%":
		rest := math.Mod(x, y)
		times := (x - rest) / y
		if rest != 0 && (rest < 0) != (y < 0) {
			rest, times = rest+y, times-1
		}
		if f = rest; rest == 0 {
			f = math.Copysign(0, y)
		}
		if op == "//" {
			if f = math.Floor(times); times-f > 0.5 {
				f++
			}
		}
	case "**":
		if x == 0 && y < 0 {
			return p.fail("division by zero")
		}
		f = math.Pow(x, y)
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return p.fail("too long")
	}
	return Seconds{Float: f, IsFloat: true}
}

func (p *timeParser) whole(op string, a, b int64) Seconds {
	const most = 1 << 62
	n := int64(0)
	switch op {
	case "+", "-":
		if n = a + b; op == "-" {
			n = a - b
		}
		if math.Abs(float64(a))+math.Abs(float64(b)) >= 2*most && math.Abs(float64(n)) < most {
			return p.fail("too long") // it went over
		}
	case "*":
		if a != 0 && b != 0 {
			if f := math.Abs(float64(a) * float64(b)); f >= most {
				return p.fail("too long")
			}
		}
		n = a * b
	case "//":
		if n = a / b; a%b != 0 && (a < 0) != (b < 0) {
			n--
		}
	case "%":
		if n = a % b; n != 0 && (n < 0) != (b < 0) {
			n += b
		}
	case "**":
		n = 1
		if a == -1 {
			b %= 2
		}
		for i := int64(0); i < b && a != 0 && a != 1; i++ {
			if math.Abs(float64(n)*float64(a)) >= most {
				return p.fail("too long")
			}
			n *= a
		}
		if a == 0 && b > 0 {
			n = 0
		}
	}
	if n > most || n < -most {
		return p.fail("too long")
	}
	return Seconds{Int: n}
}
