package transport

import (
	"bytes"
	"encoding/json"
	"time"
)

// What container runtimes write around a line.

// record is a line of a runtime's log.
type record struct {
	text   []byte // with its newline, if it has one
	stamp  time.Time
	stderr bool
	part   bool // more of the line is to come
}

// dockerBegins reports whether a line begins as Docker's do.
func dockerBegins(line []byte) bool {
	return len(line) > 20 && string(line[:6]) == `{"log"` && line[len(line)-1] == '}'
}

// readDocker reads a line of Docker's json-file: {"log":"text\n","stream":"stdout",
// "attrs":{…},"time":"…"}. A part of a line has no newline at its end.
func readDocker(line []byte) (r record, ok bool) {
	if !dockerBegins(line) {
		return r, false
	}
	// As Docker writes it; whatever else is the same object, more slowly.
	const begins, out, errs, at = `{"log":"`, `,"stream":"stdout",`, `,"stream":"stderr",`, `"time":"`
	if text, rest, found := cutString(line, begins); found {
		r.stderr = bytes.HasPrefix(rest, []byte(errs))
		if r.stderr || bytes.HasPrefix(rest, []byte(out)) {
			rest = rest[len(out):]
			if stamp, end, found := cutString(rest, at); found && len(end) == 1 {
				if r.stamp, ok = parseStamp(stamp); ok && r.unescape(text) {
					return r, true
				}
			}
		}
	}
	var object struct {
		Log    *string         `json:"log"`
		Stream *string         `json:"stream"`
		Time   *time.Time      `json:"time"`
		Attrs  json.RawMessage `json:"attrs"`
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if d.Decode(&object) != nil || d.More() || object.Log == nil || object.Time == nil || object.Stream == nil {
		return record{}, false
	}
	if d.InputOffset() != int64(len(line)) || *object.Stream != "stdout" && *object.Stream != "stderr" {
		return record{}, false
	}
	text := []byte(*object.Log)
	return record{text: text, stamp: *object.Time, stderr: *object.Stream == "stderr", part: !bytes.HasSuffix(text, []byte("\n"))}, true
}

// cutString cuts a string of JSON behind a beginning; what it returns is escaped.
func cutString(line []byte, begins string) (text, rest []byte, ok bool) {
	if len(line) < len(begins) || string(line[:len(begins)]) != begins {
		return nil, nil, false
	}
	line = line[len(begins):]
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			return line[:i], line[i+1:], true
		case c == '\\':
			i++
		case c < ' ':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// unescape takes over a text as it stands between its quotes.
func (r *record) unescape(text []byte) bool {
	end := bytes.HasSuffix(text, []byte(`\n`)) && !bytes.HasSuffix(text, []byte(`\\n`))
	if end && bytes.IndexByte(text[:len(text)-2], '\\') < 0 {
		r.text = text[:len(text)-2]
		return true
	}
	if bytes.IndexByte(text, '\\') < 0 {
		r.text, r.part = text, true
		return true
	}
	var s string
	if json.Unmarshal(append(append([]byte{'"'}, text...), '"'), &s) != nil {
		return false
	}
	r.text = []byte(s)
	r.part = !bytes.HasSuffix(r.text, []byte("\n"))
	return true
}

// isoBegins reports whether a line begins with a date as 2026-01-31T12:00:00, which is
// how CRI's do.
func isoBegins(line []byte) bool {
	return len(line) > 20 && line[10] == 'T' && line[4] == '-' && line[7] == '-' && line[13] == ':' && line[16] == ':' && line[0]-'0' <= 9
}

// readCRI reads a line of CRI: 2026-01-31T12:00:00.123456789Z stdout F text. P in place
// of F says that more of it is to come.
func readCRI(line []byte) (r record, ok bool) {
	if !isoBegins(line) {
		return r, false
	}
	space := bytes.IndexByte(line[:min(len(line), 40)], ' ')
	if space < 0 || len(line) < space+9 {
		return r, false
	}
	switch string(line[space+1 : space+8]) {
	case "stdout ":
	case "stderr ":
		r.stderr = true
	default:
		return r, false
	}
	rest := line[space+8:]
	if r.part = rest[0] == 'P'; !r.part && rest[0] != 'F' {
		return r, false
	}
	rest = rest[1:]
	if len(rest) > 0 && rest[0] == ':' { // tags that nobody has given a meaning yet
		if i := bytes.IndexByte(rest, ' '); i >= 0 {
			rest = rest[i:]
		} else {
			rest = nil
		}
	}
	switch {
	case len(rest) > 0 && rest[0] != ' ':
		return r, false
	case len(rest) > 0:
		rest = rest[1:]
	}
	r.text = rest
	r.stamp, ok = parseStamp(line[:space])
	return r, ok
}

// parseStamp reads a time as RFC 3339 has it.
func parseStamp(text []byte) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, string(text))
	return t, err == nil
}

// withoutColours takes out what sets colours: ESC [ numbers m, or K. Nothing else: a client
// who begins a longer sequence in what he writes could have it end in what the service
// writes behind, and so take the address out of the line.
func withoutColours(line []byte) []byte {
	from := bytes.IndexByte(line, 0x1b)
	if from < 0 {
		return line
	}
	out := append(make([]byte, 0, len(line)), line[:from]...)
	for i := from; i < len(line); i++ {
		if line[i] != 0x1b {
			out = append(out, line[i])
			continue
		}
		n := sequence(line[i+1:])
		if n == 0 {
			out = append(out, line[i])
		}
		i += n
	}
	return out
}

// sequence is the length of what stands behind an ESC and belongs to it; 0: nothing does.
func sequence(text []byte) int {
	if len(text) == 0 || text[0] != '[' {
		return 0
	}
	for i := 1; i < len(text) && i < longestColour; i++ {
		switch c := text[i]; {
		case c == 'm' || c == 'K':
			return i + 1
		case !isDigit(c) && c != ';' && c != ':':
			return 0
		}
	}
	return 0
}

// longestColour is the length of a sequence, beyond which it is none: 38;2;255;255;255 and
// as much for the background.
const longestColour = 48
