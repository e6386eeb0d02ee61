// Package events is the one numbered table of what happens: failures that were found and what
// became of them, bans and unbans and by whom, reloads, errors, repairs. It is kept as lines of
// JSON in files beside the database, so that it outlives the daemon, can be read with it or
// without, and can be followed from any number on:
//
//	t := events.Open(events.Options{Path: "/var/lib/bailiff/bailiff.sqlite3"})
//	t.Add(&events.Event{Kind: events.Unban, Jail: "sshd", IP: "192.0.2.7", Why: "by hand", By: "root"})
//	defer t.Close()
//
// An event has its number when it has been written, and is told to nobody before that: so over
// restarts and kills no number comes twice, and none is left out. What comes as often as a client
// likes has a share (Share) of what is kept, and what is beyond it is counted, which is an event,
// too. Add waits for nothing: neither a disk that is full nor one that hangs holds anybody up.
package events

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// Kind is what happened.
type Kind string

const (
	Found    Kind = "found"    // a failure, counted or not
	Ban      Kind = "ban"      // a ban begins, or lasts longer by now
	Unban    Kind = "unban"    // a ban ends
	Forgiven Kind = "forgiven" // failures were taken back, since who was tried has logged in; or were not, which Why says
	Restored Kind = "restored" // a start goes on with what was known
	Allow    Kind = "allow"    // somebody is let in for a while, or never banned, by an operator's word; or no more
	Start    Kind = "start"    // of the daemon
	Stop     Kind = "stop"     // of the daemon, in order
	Reload   Kind = "reload"   // of the configuration
	List     Kind = "list"     // a list was loaded
	Repair   Kind = "repair"   // what somebody else did to our rules or sets was put right
	Action   Kind = "action"   // an action's command failed
	Error    Kind = "error"    // another line of our log, of level ERROR or worse
	More     Kind = "more"     // events that are not kept one by one
	Gap      Kind = "gap"      // numbers that are nobody's
)

// Kinds are all of them.
var Kinds = []Kind{Found, Ban, Unban, Forgiven, Allow, Restored, Start, Stop, Reload, List, Repair, Action, Error, More, Gap}

// Reasons that tell one kind of an event from another.
const (
	// WhyObserve is why nothing comes of a ban: the jail only observes.
	WhyObserve = "it would be banned: the jail only observes"
	// WhyOver begins that of a ban's end for which nobody has asked.
	WhyOver = "its time is over"
)

// Event is one line of the table.
type Event struct {
	N    uint64    `json:"n"`    // from 1 on
	Time time.Time `json:"time"` // when it was told, to the millisecond
	Kind Kind      `json:"kind"`
	Jail string    `json:"jail,omitempty"`
	// IP is an address or a network; with Name, any other text that a filter found (<F-ID>).
	IP      string `json:"ip,omitempty"`
	Name    bool   `json:"name,omitempty"`
	Address string `json:"address,omitempty"` // that stood beside IP
	// At is when the failure was by its line, where that differs from Time by more than a second.
	At    *time.Time `json:"at,omitempty"`
	Log   string     `json:"log,omitempty"`
	Line  string     `json:"line,omitempty"`  // its first LineMost bytes
	Regex int        `json:"regex,omitempty"` // which failregex, from 1
	User  string     `json:"user,omitempty"`  // who was tried, its first UserMost bytes
	// Counted is false of a failure that does not count; else nil.
	Counted  *bool `json:"counted,omitempty"`
	Failures int   `json:"failures,omitempty"` // in the window, with this one; of Restored, in all
	MaxRetry int   `json:"maxretry,omitempty"`
	// Count is the how manieth ban of the address it is; of Found, for how many failures it counts,
	// if it weighs more than one; of Forgiven, how many were taken back; of More, how many events; of Restored, how many bans.
	Count     int        `json:"count,omitempty"`
	Until     *time.Time `json:"until,omitempty"`     // when the ban ends
	Permanent bool       `json:"permanent,omitempty"` // it does not
	Lines     []string   `json:"lines,omitempty"`     // that led to the ban
	What      Kind       `json:"what,omitempty"`      // of More: kind of the events
	From      uint64     `json:"from,omitempty"`      // of Gap: the first number that is nobody's
	To        uint64     `json:"to,omitempty"`        // and the last
	Why       string     `json:"why,omitempty"`
	By        string     `json:"by,omitempty"`   // the user who asked for it
	Text      string     `json:"text,omitempty"` // what our log says
}

const (
	// LineMost is how many bytes of a line are kept with a failure, or of another text.
	LineMost = 256
	// linesMost is how many bytes of lines are kept with a ban.
	linesMost = 768
	// UserMost is how many bytes are kept of who was tried.
	UserMost = 64
	// textMost is how many bytes any other text has.
	textMost = 512
)

// timeForm is RFC 3339 to the millisecond.
const timeForm = "2006-01-02T15:04:05.000Z07:00"

// appendTo appends the event without its number, which is not known before it is written: what
// stands behind `{"n":N`, with a newline at the end.
func (e *Event) appendTo(b []byte) []byte {
	b = append(b, `,"time":"`...)
	b = e.Time.AppendFormat(b, timeForm)
	b = append(append(append(b, `","kind":"`...), e.Kind...), '"')
	b = appendText(b, "jail", e.Jail, textMost)
	b = appendText(b, "ip", e.IP, 2*textMost)
	if e.Name {
		b = append(b, `,"name":true`...)
	}
	b = appendText(b, "address", e.Address, textMost)
	b = appendTime(b, "at", e.At)
	b = appendText(b, "log", e.Log, textMost)
	b = appendText(b, "line", e.Line, LineMost)
	b = appendNumber(b, "regex", uint64(e.Regex))
	b = appendText(b, "user", e.User, UserMost)
	if e.Counted != nil {
		b = strconv.AppendBool(append(b, `,"counted":`...), *e.Counted)
	}
	b = appendNumber(b, "failures", uint64(e.Failures))
	b = appendNumber(b, "maxretry", uint64(e.MaxRetry))
	b = appendNumber(b, "count", uint64(e.Count))
	b = appendTime(b, "until", e.Until)
	if e.Permanent {
		b = append(b, `,"permanent":true`...)
	}
	if len(e.Lines) > 0 {
		b = append(b, `,"lines":[`...)
		each := max(linesMost/len(e.Lines), 64)
		for i, l := range e.Lines {
			if i > 0 {
				b = append(b, ',')
			}
			b = quote(b, l, each)
		}
		b = append(b, ']')
	}
	b = appendText(b, "what", string(e.What), textMost)
	b = appendNumber(b, "from", e.From)
	b = appendNumber(b, "to", e.To)
	b = appendText(b, "why", e.Why, textMost)
	b = appendText(b, "by", e.By, textMost)
	b = appendText(b, "text", e.Text, textMost)
	return append(b, '}', '\n')
}

func appendText(b []byte, key, text string, most int) []byte {
	if text == "" {
		return b
	}
	return quote(appendKey(b, key), text, most)
}

func appendNumber(b []byte, key string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(appendKey(b, key), n, 10)
}

func appendTime(b []byte, key string, t *time.Time) []byte {
	if t == nil {
		return b
	}
	return append(t.AppendFormat(append(appendKey(b, key), '"'), timeForm), '"')
}

func appendKey(b []byte, key string) []byte {
	return append(append(append(b, ',', '"'), key...), '"', ':')
}

const hexDigits = "0123456789abcdef"

// quote appends a text as JSON, at most so many bytes of it, cut between two characters. What is
// no UTF-8 is written as U+FFFD, and what is no letter of ASCII's control characters escaped: a
// line of the table is a line for every reader.
func quote(b []byte, text string, most int) []byte {
	cut := len(text) > most
	if cut {
		for most > 0 && !utf8.RuneStart(text[most]) {
			most--
		}
		text = text[:most]
	}
	b = append(b, '"')
	for i := 0; i < len(text); {
		c := text[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(text[i:])
			switch {
			case r == utf8.RuneError && n == 1, r == '\u2028', r == '\u2029', r >= 0x80 && r < 0xa0:
				b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
			default:
				b = append(b, text[i:i+n]...)
			}
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, c)
		}
		i++
	}
	if cut {
		b = append(b, "…"...)
	}
	return append(b, '"')
}

// numberOf reads the number that a line of the table begins with.
func numberOf(line []byte) (n uint64, ok bool) {
	const head = `{"n":`
	if len(line) < len(head) || string(line[:len(head)]) != head {
		return 0, false
	}
	i := len(head)
	for ; i < len(line) && line[i] >= '0' && line[i] <= '9'; i++ {
		if n > 1<<63/10 {
			return 0, false
		}
		n = n*10 + uint64(line[i]-'0')
	}
	return n, i > len(head) && i < len(line) && line[i] == ','
}
