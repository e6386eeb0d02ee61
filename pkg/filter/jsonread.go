package filter

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Who writes into a log may fill a line with a million empty lists. So of an object only
// the fields that are asked for are made values of; the rest is checked, and passed over
// where it stands.

// readObject reads a line that is one JSON object and nothing else. Of what it holds,
// only what is one of the wanted fields, or leads to one, is there in the result; in
// place of a list, or an object that leads to none, stands nil; but what is in lists may be
// a list of texts. Of two members of the
// same name, the last one counts.
func readObject(line []byte, wanted []string, lists ...string) (map[string]any, bool) {
	if line = bare(line); len(line) == 0 || line[0] != '{' {
		return nil, false
	}
	if !json.Valid(line) {
		if line = mended(line); line == nil || !json.Valid(line) {
			return nil, false
		}
	}
	r := objectReader{text: line, wanted: wanted, lists: lists}
	return r.object(""), true
}

// bare is a line without what may stand before an object: blanks, the mark of a file's
// encoding, and the one by which syslog knows JSON (@cee:).
func bare(line []byte) []byte {
	line = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(line), []byte("\ufeff")))
	if len(line) > 0 && line[0] == '@' {
		line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("@cee:")))
	}
	return line
}

// mended is a line with that made JSON which common writers put into it at a client's
// word: NaN, Infinity and -Infinity (Python's json), control characters in a text (now
// blanks), and
// what stands behind a backslash in nginx's default escaping (\x22). Else a client would
// choose that its line isn't read. It is nil if there is nothing of that in it.
func mended(line []byte) []byte {
	out := make([]byte, 0, len(line)+len(line)/2+1) // the most that it can be
	within, changed := false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case !within:
			for _, word := range [...]string{"NaN", "Infinity", "-Infinity"} {
				if bytes.HasPrefix(line[i:], []byte(word)) {
					out = append(out, "null"...)
					i += len(word)
					changed = true
					break
				}
			}
			if i == len(line) {
				continue
			}
			c = line[i]
			within = c == '"'
			out = append(out, c)
		case c == '"':
			within = false
			out = append(out, c)
		case c < ' ':
			out = append(out, ' ')
			changed = true
		case c == '\\' && i+1 < len(line):
			next := line[i+1]
			if !escapes(line[i+1:]) {
				out = append(out, '\\', '\\')
				changed = true
				continue // what is behind it stands for itself
			}
			out = append(out, c, next)
			i++
		default:
			out = append(out, c)
		}
	}
	if !changed {
		return nil
	}
	return out
}

// escapes reports whether a backslash before a text makes an escape of JSON.
func escapes(text []byte) bool {
	if text[0] != 'u' {
		return strings.IndexByte(`"\/bfnrt`, text[0]) >= 0
	}
	if len(text) < 5 {
		return false
	}
	for _, c := range text[1:5] {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

// objectReader reads an object that is known to be valid.
type objectReader struct {
	text   []byte
	at     int
	wanted []string
	lists  []string // fields that may be lists of texts
}

func (r *objectReader) space() {
	for r.text[r.at] <= ' ' {
		r.at++
	}
}

// object reads one from its brace on. path is where it stands, with a dot behind it.
func (r *objectReader) object(path string) map[string]any {
	out := map[string]any{}
	r.at++
	for {
		if r.space(); r.text[r.at] == ',' {
			r.at++
			r.space()
		}
		if r.text[r.at] == '}' {
			r.at++
			return out
		}
		key := r.string()
		r.space()
		r.at++ // the colon
		r.space()
		is, leads := r.asked(path, key)
		switch c := r.text[r.at]; {
		case !is && !leads:
			r.pass()
		case c == '{' && leads:
			name := string(key)
			out[name] = r.object(path + name + ".")
		case c == '[' && is && slices.Contains(r.lists, path+string(key)):
			from := r.at
			r.pass()
			var list []string
			if json.Unmarshal(r.text[from:r.at], &list) == nil {
				out[string(key)] = list
			}
		case c == '{' || c == '[' || c == 'n' || !is:
			r.pass()
			out[string(key)] = nil
		case c == '"':
			out[string(key)] = string(r.string())
		default:
			from := r.at
			switch r.pass(); c {
			case 't', 'f':
				out[string(key)] = c == 't'
			default:
				out[string(key)] = json.Number(r.text[from:r.at])
			}
		}
	}
}

// asked reports whether a member is a wanted field, and whether one is in it.
func (r *objectReader) asked(path string, key []byte) (is, leads bool) {
	for _, w := range r.wanted {
		rest, ok := strings.CutPrefix(w, path)
		if !ok || len(rest) < len(key) || rest[:len(key)] != view(key) {
			continue
		}
		is = is || len(rest) == len(key)
		leads = leads || len(rest) > len(key) && rest[len(key)] == '.'
	}
	return is, leads
}

// string reads a string; what it returns may be part of the line.
func (r *objectReader) string() []byte {
	from := r.at
	plain := true
	for r.at++; r.text[r.at] != '"'; r.at++ {
		switch c := r.text[r.at]; {
		case c == '\\':
			r.at++
			plain = false
		case c >= 0x80:
			plain = false
		}
	}
	r.at++
	if plain {
		return r.text[from+1 : r.at-1]
	}
	var s string
	_ = json.Unmarshal(r.text[from:r.at], &s) // it is valid
	return []byte(s)
}

// pass passes over a value.
func (r *objectReader) pass() {
	for depth := 0; ; {
		switch r.text[r.at] {
		case '"':
			for r.at++; r.text[r.at] != '"'; r.at++ {
				if r.text[r.at] == '\\' {
					r.at++
				}
			}
			r.at++
		case '{', '[':
			depth++
			r.at++
		case '}', ']':
			depth--
			r.at++
		case ',', ':', ' ', '\t', '\n', '\r':
			r.at++ // within a list or an object
		default:
			for r.at < len(r.text) && !bytes.ContainsRune([]byte(",]} \t\n\r:"), rune(r.text[r.at])) {
				r.at++
			}
		}
		if depth == 0 {
			return
		}
	}
}
