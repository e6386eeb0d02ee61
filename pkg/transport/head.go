package transport

import (
	"bytes"
	"time"
)

// The heads of syslog's lines.

// head is what stands before a message.
type head struct {
	length int
	stamp  time.Time // zero: there is none, or one without a year
}

// headed reports whether a line has a head, or is one that syslog writes by itself.
func headed(line []byte) bool {
	if len(line) == 0 || noise(line) {
		return true
	}
	if line[0] == '<' {
		_, _, ok := rewritten(line)
		return ok
	}
	_, ok := readHead(line)
	return ok
}

// HasHead reports whether a line begins with a head of syslog, as [Options.Heads] knows it.
func HasHead(line []byte) bool { return len(line) > 0 && headed(line) && !noise(line) }

// noise reports whether a line with a date is one of syslog's own, which have no program.
func noise(line []byte) bool {
	n, _ := readDate(line)
	if n == 0 {
		return false
	}
	rest := line[n:]
	if i := bytes.IndexByte(rest, ' '); i > 0 && i < 256 {
		rest = rest[i+1:]
	}
	return bytes.HasPrefix(rest, []byte("last message repeated ")) && bytes.HasSuffix(rest, []byte(" times")) || string(rest) == "-- MARK --"
}

// readHead reads a head: "Jan 31 12:00:00 host program[pid]: ", with a date as
// 2026-01-31T12:00:00.25+01:00, or without one, where a pid has to be there. A program
// without a pid needs its colon.
func readHead(line []byte) (h head, ok bool) {
	at, stamp := readDate(line)
	h.stamp = stamp
	host := word(line[at:], isHost)
	if host == 0 || at+host >= len(line) || line[at+host] != ' ' {
		return h, false
	}
	dated := at > 0
	at += host + 1
	for at < len(line) && line[at] == ' ' {
		at++
	}
	n, pid := tag(line[at:])
	if n == 0 || !dated && !pid {
		return h, false
	}
	h.length = at + n
	return h, true
}

// tag is the length of "program[pid]: ".
func tag(text []byte) (n int, pid bool) {
	n = word(text, isProgram)
	if n == 0 || n == len(text) {
		return 0, false
	}
	if text[n] == '[' {
		digits := word(text[n+1:], isDigit)
		if digits == 0 || n+1+digits >= len(text) || text[n+1+digits] != ']' {
			return 0, false
		}
		n += digits + 2
		pid = true
	}
	if n >= len(text) || text[n] != ':' {
		return 0, false
	}
	if n++; n < len(text) {
		if text[n] != ' ' {
			return 0, false
		}
		n++
	}
	return n, pid
}

// word is the length of what a text begins with; 0 if that is too long.
func word(text []byte, is func(byte) bool) int {
	n := 0
	for n < len(text) && is(text[n]) {
		if n++; n > 255 {
			return 0
		}
	}
	return n
}

func isDigit(c byte) bool { return c-'0' <= 9 }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || isDigit(c) }

func isHost(c byte) bool { return isLetter(c) || c == '.' || c == '-' || c == '_' || c == ':' }

func isProgram(c byte) bool {
	return isLetter(c) || c == '.' || c == '-' || c == '_' || c == '/' || c == '(' || c == ')' || c == '@' || c == '+'
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// readDate is the length of a date of syslog with the blank behind it; 0: there is none.
func readDate(line []byte) (n int, stamp time.Time) {
	if isoBegins(line) {
		n = bytes.IndexByte(line[:min(len(line), 40)], ' ')
		if n < 0 {
			return 0, stamp
		}
		t, ok := parseStamp(line[:n])
		if !ok {
			return 0, stamp
		}
		return n + 1, t
	}
	// Jan 31 12:00:00, the day with a blank in place of a zero.
	if len(line) < 17 || line[3] != ' ' || line[6] != ' ' || line[9] != ':' || line[12] != ':' {
		return 0, stamp
	}
	if i := bytes.Index([]byte(months), line[:3]); i < 0 || i%3 != 0 || !isDigit(line[5]) || !isDigit(line[4]) && line[4] != ' ' {
		return 0, stamp
	}
	for n = 7; n < len(line) && (isDigit(line[n]) || line[n] == ':' || line[n] == '.' && n > 14); {
		n++
	}
	if n < 15 || n >= len(line) || line[n] != ' ' {
		return 0, stamp
	}
	return n + 1, stamp
}

// rewritten takes "<38>" off a line, and writes a head of RFC 5424 as those of syslog's
// files are: "<38>1 DATE host program pid id [data] message" becomes "DATE host
// program[pid]: message".
func rewritten(line []byte) (text []byte, h head, ok bool) {
	digits := word(line[1:], isDigit)
	if digits == 0 || digits > 3 || len(line) <= digits+2 || line[digits+1] != '>' {
		return nil, h, false
	}
	rest := line[digits+2:]
	if len(rest) < 2 || rest[0] != '1' || rest[1] != ' ' {
		h, ok = readHead(rest)
		n, _ := readDate(rest)
		return rest, h, ok && n > 0
	}
	var fields [5][]byte
	rest = rest[2:]
	for i := range fields {
		n := bytes.IndexByte(rest, ' ')
		if n <= 0 || n > 255 {
			return nil, h, false
		}
		fields[i], rest = rest[:n], rest[n+1:]
	}
	data := structured(rest)
	if data == 0 {
		return nil, h, false
	}
	rest = rest[data:]
	if len(rest) > 0 {
		rest = bytes.TrimPrefix(rest[1:], []byte("\uFEFF"))
	}
	date, host, program, pid := fields[0], fields[1], fields[2], fields[3]
	if string(date) != "-" {
		if h.stamp, ok = parseStamp(date); !ok {
			return nil, h, false
		}
		text = append(append(text, date...), ' ')
	}
	// A program with blanks there can't be: they part fields.
	text = append(append(text, host...), ' ')
	text = append(text, program...)
	if string(pid) != "-" {
		text = append(append(append(text, '['), pid...), ']')
	}
	text = append(text, ':', ' ')
	h.length = len(text)
	return append(text, rest...), h, true
}

// structured is the length of RFC 5424's structured data: "-", or elements
// [id name="value" …], in whose values quotes and brackets are escaped. 0: it is none.
func structured(text []byte) int {
	if len(text) == 0 {
		return 0
	}
	if text[0] == '-' {
		if len(text) > 1 && text[1] != ' ' {
			return 0
		}
		return 1
	}
	i := 0
	for i < len(text) && text[i] == '[' {
		quoted := false
		for i++; ; i++ {
			if i >= len(text) {
				return 0
			}
			switch c := text[i]; {
			case quoted && c == '\\':
				i++
				continue
			case c == '"':
				quoted = !quoted
				continue
			case quoted || c != ']':
				continue
			}
			break
		}
		i++
	}
	if i == 0 || i < len(text) && text[i] != ' ' {
		return 0
	}
	return i
}
