package filter

import (
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What a filter tells of a line.

// Failure is what one line gave.
type Failure struct {
	ID     string       // the text that identifies the offender; an address in its usual form
	Addr   netip.Prefix // the ID as an address or network; not valid if it is none
	IP     netip.Addr   // the address, where the ID is something else
	Name   bool         // the ID is a host name that wants resolving
	Free   bool         // the ID may be any text: a user, a session, a path (<F-ID>)
	Time   time.Time    // the line's own; zero if none is known
	Regex  int          // index of the failregex that matched
	Groups Groups       // all named groups that took part
	Lines  []Line       // of the log that made it
	// Order is the names of Groups as fail2ban has them, with those that took no
	// part, and with users, nofail-matches, mlfpending and ip where it keeps them.
	Order       []string
	User        string   // whom the line names, or the connection named last; empty: nobody
	Unsure      bool     // with Definition.Logins: the connection has tried others, too, or User may not be his whole name
	Users       []string // all that were tried on the connection
	NofailLines []Line   // of the connection, that are no failure by themselves

	// Among is what those whom the failure is told leave to each other; nil: it is told one alone.
	Among *Among

	number number
	// With CheckAll, matches that make no failure are told, too.
	NoFail  bool // one of F-NOFAIL
	Pending bool // of a connection whose address is not known yet
}

// Among is one value that those whom a failure is told leave to each other: each may do with less
// where another one has done the same before.
type Among struct {
	value atomic.Value
	// Counted and Kept are at which place of what it knows the last of them counted the failure and
	// kept its lines; 0: none has. The others look there first.
	Counted, Kept atomic.Int32
}

// Left returns what was left last; nil: nothing was.
func (a *Among) Left() any { return a.value.Load() }

// Leave leaves a value, always of the same type. It is not to be changed afterwards.
func (a *Among) Leave(value any) { a.value.Store(value) }

// number is how fail2ban writes a time as a number.
type number uint8

const (
	wholeFloat number = iota // 1426023083.0
	fullFloat                // 1426023083.25, where the log counts seconds
	integer                  // 1426023083, where the line names its zone
)

// Unmatched tells of the last line, in which nothing was found, in the form of a failure:
// of nobody, at the time that the line has.
func (f *Filter) Unmatched(line []byte) Failure {
	f.catchUp()
	return Failure{Time: f.last, number: f.number, Groups: Groups{"fid": ""}, Order: []string{"fid"}, Lines: []Line{{After: string(line)}}}
}

// Epoch returns the time in seconds since 1970 as fail2ban prints it.
func (x *Failure) Epoch() string {
	switch {
	case x.Time.IsZero():
		return "None"
	case x.number == integer:
		return strconv.FormatInt(x.Time.Unix(), 10)
	case x.number == fullFloat && x.Time.Nanosecond() != 0:
		return strconv.FormatFloat(float64(x.Time.Unix())+float64(x.Time.Nanosecond())/1e9, 'f', -1, 64)
	}
	return strconv.FormatInt(x.Time.Unix(), 10) + ".0"
}

// Detail is how much a filter tells of a line.
type Detail uint8

const (
	// DetailAll tells everything.
	DetailAll Detail = iota
	// DetailLines tells of failures, without groups and users: who, when, by which
	// expression, on which lines. Of a line without one, nothing but Err is told.
	DetailLines
	// DetailIDs leaves out the lines, too.
	DetailIDs
)

// Groups are the named groups of a match by name: strings, and []string for
// those that TUPLE_ made.
type Groups map[string]any

// Result is what a filter makes of one line.
type Result struct {
	Time     time.Time // of the line, or the last one's if that is near; zero if none is known
	Dated    bool      // the time was found in the line
	Failures []Failure
	// Tied says that an expression matched and said which connection the line is of: it was
	// noted there, be it a failure or none.
	Tied     bool
	Logins   []Login    // with Definition.Logins: who has logged in
	Withheld []Withheld // failures that are not told, since a client may have written whose they are
	// Beside is what a header says beside the address of a failure, where no proxies are
	// named: the address may be a proxy's. It is valid until the next Match.
	Beside string
	// Broken says that the line begins as an object of JSON and is none: it may have been cut
	// off, and nothing of it was looked at.
	Broken  bool
	Ignored int   // index of the ignoreregex that matched, or -1
	Ignores []int // every match of an ignoreregex, with CheckAll
	// Pref is the groups of the prefregex, nil if it did not match or there is none.
	Pref      Groups
	PrefOrder []string
	// Prefixed says that the prefregex matched, with DetailIDs and CheckAll.
	Prefixed bool
	// Rest is what the expressions saw: the line without its date. It is valid
	// until the next Match.
	Rest []byte
	// Err says that an expression was given up on this line, which then counts
	// as not matched: a *pyregexp.BudgetError.
	Err error
}

// Tells reports whether there is something to be told of a line.
func (r *Result) Tells() bool {
	return len(r.Failures) > 0 || len(r.Logins) > 0 || r.Err != nil || len(r.Withheld) > 0 || r.Broken
}

// Login is who has logged in, as a line tells.
type Login struct {
	Addr netip.Prefix // not valid: no address is known
	User string       // empty: not told
	// Unsure says that User is only whom the connection has tried last.
	Unsure bool
}

// Line is a line of the log in three parts, of which the middle is its date; one
// without a date may have that of the line before it.
type Line struct {
	Before, Date, After string

	whole string // the line as it stands, in memory of its own; empty: not made
}

// String returns the line as it stands.
func (l Line) String() string {
	if l.whole != "" {
		return l.whole
	}
	return l.Before + l.Date + l.After
}

// Stays reports whether what String returns may be kept: it is no part of a larger text.
func (l *Line) Stays() bool { return l.whole != "" || len(l.Before)+len(l.Date) > 0 }

// joinMost is how long a line may be that is joined for all.
const joinMost = 4 << 10

// join makes the line one text, once for all who ask for it.
func (l *Line) join() {
	if n := l.size(); l.whole == "" && n <= joinMost {
		b := make([]byte, 0, n)
		l.whole = view(append(append(append(b, l.Before...), l.Date...), l.After...))
	}
}

// Text returns a group as one string; a tuple as Python writes it.
func (g Groups) Text(name string) (string, bool) {
	switch v := g[name].(type) {
	case string:
		return v, true
	case []string:
		return "('" + strings.Join(v, "', '") + "')", true
	}
	return "", false
}
