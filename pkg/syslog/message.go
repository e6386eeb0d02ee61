package syslog

import (
	"bytes"
	"errors"
	"net/netip"
	"time"
)

// Message is one message, as its sender wrote it. Its texts are parts of what was parsed.
type Message struct {
	Facility, Severity uint8
	// Time is the sender's; zero: he tells none.
	Time time.Time
	// Host and Program are nil where none is told; PID is nil, or has no blanks.
	Host, Program, PID []byte
	// Text is the rest, without the byte order mark that RFC 5424 puts there.
	Text []byte
}

// Why something is no message.
var (
	ErrEmpty     = errors.New("it is empty")
	ErrPriority  = errors.New("it does not begin with a priority, <0> to <191>")
	ErrHeader    = errors.New("it says that it is of RFC 5424, and its header isn't")
	ErrStructure = errors.New("it says that it is of RFC 5424, and its structured data isn't")
)

const (
	wordMost = 255 // bytes of a host, a program or a process's name
	bom      = "\uFEFF"
)

// Parse reads a message. now says which year is meant where none is told, and its location
// is the zone of dates that name none.
func Parse(data []byte, now time.Time) (m Message, err error) {
	data = bytes.TrimRight(data, "\r\n\x00")
	if len(data) == 0 {
		return m, ErrEmpty
	}
	rest, ok := m.priority(data)
	if !ok {
		return m, ErrPriority
	}
	if len(rest) >= 2 && rest[0] == '1' && rest[1] == ' ' {
		err := m.modern(rest[2:])
		return m, err
	}
	m.traditional(rest, now)
	return m, nil
}

// priority reads "<38>".
func (m *Message) priority(data []byte) (rest []byte, ok bool) {
	if data[0] != '<' {
		return nil, false
	}
	value, n := 0, 1
	for n < len(data) && n < 4 && isDigit(data[n]) {
		value = value*10 + int(data[n]-'0')
		n++
	}
	if n == 1 || n >= len(data) || data[n] != '>' || value > 191 {
		return nil, false
	}
	m.Facility, m.Severity = uint8(value>>3), uint8(value&7)
	return data[n+1:], true
}

// modern reads what comes behind the version of RFC 5424.
func (m *Message) modern(rest []byte) error {
	var fields [5][]byte // time, host, program, process, kind
	for i := range fields {
		n := bytes.IndexByte(rest, ' ')
		if n <= 0 || n > wordMost || !printable(rest[:n]) {
			return ErrHeader
		}
		fields[i], rest = rest[:n], rest[n+1:]
	}
	if string(fields[0]) != "-" {
		t, ok := rfc3339(fields[0])
		if !ok {
			return ErrHeader
		}
		m.Time = t
	}
	n := structured(rest)
	if n == 0 {
		return ErrStructure
	}
	m.Host, m.Program, m.PID = told(fields[1]), told(fields[2]), told(fields[3])
	if bytes.IndexByte(m.PID, ']') >= 0 {
		m.PID = nil // it would end where it doesn't
	}
	if bytes.ContainsAny(m.Program, "[]") || bytes.HasSuffix(m.Program, []byte(":")) {
		m.Program = nil
	}
	if rest = rest[n:]; len(rest) > 0 {
		m.Text = bytes.TrimPrefix(rest[1:], []byte(bom))
	}
	return nil
}

// told is a field, or nil for RFC 5424's nil.
func told(field []byte) []byte {
	if string(field) == "-" {
		return nil
	}
	return field
}

// structured is the length of RFC 5424's structured data: "-", or elements
// [id name="value" …], in whose values quotes and brackets are escaped. 0: it is none.
func structured(text []byte) int {
	if len(text) > 0 && text[0] == '-' {
		if len(text) > 1 && text[1] != ' ' {
			return 0
		}
		return 1
	}
	i := 0
	for i < len(text) && text[i] == '[' {
		i++
		n := name(text[i:])
		if n == 0 {
			return 0
		}
		for i += n; i < len(text) && text[i] == ' '; {
			i++
			n := name(text[i:])
			if i += n; n == 0 || i+1 >= len(text) || text[i] != '=' || text[i+1] != '"' {
				return 0
			}
			for i += 2; i < len(text) && text[i] != '"'; i++ {
				switch text[i] {
				case '\\':
					i++
				case ']':
					return 0
				}
			}
			i++
		}
		if i >= len(text) || text[i] != ']' {
			return 0
		}
		i++
	}
	if i == 0 || i < len(text) && text[i] != ' ' {
		return 0
	}
	return i
}

// name is the length of a name in structured data.
func name(text []byte) int {
	n := 0
	for n < len(text) && n < wordMost && text[n] > ' ' && text[n] < 0x7f && text[n] != '=' && text[n] != ']' && text[n] != '"' {
		n++
	}
	return n
}

// traditional reads what comes behind the priority in all other forms: a date, a host, a
// program, as far as they are there.
func (m *Message) traditional(rest []byte, now time.Time) {
	if len(rest) > 0 && rest[0] == ' ' {
		rest = rest[1:]
	}
	if t, n := readDate(rest, now); n > 0 {
		m.Time, rest = t, rest[n:]
		for len(rest) > 0 && rest[0] == ' ' {
			rest = rest[1:]
		}
		if n := host(rest); n > 0 {
			m.Host, rest = rest[:n], rest[n+1:]
			for len(rest) > 0 && rest[0] == ' ' {
				rest = rest[1:]
			}
		}
	}
	n := 0
	if m.Program, m.PID, n = tag(rest); n > 0 {
		rest = rest[n:]
	}
	m.Text = rest
}

// host is the length of the name of a host, behind which there is a blank; 0: there is none.
// What is a program, as in what a program of this host sends, is none.
func host(text []byte) int {
	n := bytes.IndexByte(text, ' ')
	if n <= 0 || !IsHost(text[:n]) {
		return 0
	}
	if text[n-1] == ':' {
		if _, err := netip.ParseAddr(string(text[:n])); err != nil {
			return 0
		}
	}
	return n
}

// IsHost reports whether a text may be the name or the address of a host.
func IsHost(text []byte) bool {
	for _, c := range text {
		if !isLetter(c) && !isDigit(c) && c != '.' && c != '-' && c != '_' && c != ':' && c != '/' {
			return false
		}
	}
	return len(text) > 0 && len(text) <= wordMost
}

// tag reads "program[pid]: ", "program: " and "program[pid] "; n is its length, 0: there is
// none.
func tag(text []byte) (program, pid []byte, n int) {
	for n < len(text) && n <= wordMost && text[n] > ' ' && text[n] < 0x7f && text[n] != '[' && text[n] != ']' && text[n] != ':' {
		n++
	}
	if n == 0 || n > wordMost {
		return nil, nil, 0
	}
	program = text[:n]
	if n < len(text) && text[n] == '[' {
		end := bytes.IndexByte(text[n:min(len(text), n+wordMost)], ']')
		if end < 2 || !printable(text[n+1:n+end]) {
			return nil, nil, 0
		}
		pid = text[n+1 : n+end]
		n += end + 1
	}
	if n < len(text) && text[n] == ':' {
		n++
	} else if pid == nil {
		return nil, nil, 0
	}
	switch {
	case n == len(text):
		return program, pid, n
	case text[n] == ' ':
		return program, pid, n + 1
	}
	return nil, nil, 0
}

// printable reports whether a text is of ASCII's printable characters, without a blank.
func printable(text []byte) bool {
	for _, c := range text {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool  { return c-'0' <= 9 }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// Line writes a message as it would stand behind its date in a file of syslog:
// "host program[pid]: text". head is the length of what stands before the text. There are no
// newlines in it.
func (m *Message) Line(host string) (line []byte, head int) {
	line = make([]byte, 0, len(host)+len(m.Program)+len(m.PID)+len(m.Text)+6)
	line = append(append(line, host...), ' ')
	if len(m.Program) > 0 {
		line = append(line, m.Program...)
		if len(m.PID) > 0 {
			line = append(append(append(line, '['), m.PID...), ']')
		}
		line = append(line, ':', ' ')
	}
	head = len(line)
	line = append(line, m.Text...)
	if bytes.IndexByte(line[head:], '\n') >= 0 {
		line = append(line[:head:head], bytes.ReplaceAll(line[head:], []byte("\n"), []byte(`\n`))...)
	}
	return line, head
}
