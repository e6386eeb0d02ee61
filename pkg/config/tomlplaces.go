package config

import (
	"strconv"
	"strings"
)

// The parser of TOML keeps no places, so they are looked for here, in text that it has
// accepted: what is no TOML at all needn't be told from what is.

// place is where a key stands.
type place struct {
	line  int // from 1
	order int // among all keys of the file, from 1
}

// pathKey is a path as a key of a map.
func pathKey(path []string) string { return strings.Join(path, "\x00") }

// places finds the line of each key, and of each table, by its path. The tables of an
// array have their number in their paths, from 0.
func places(text string) map[string]place {
	s := &placeScanner{text: strings.TrimPrefix(text, "\ufeff"), line: 1, at: map[string]place{}, arrays: map[string]int{}}
	s.document()
	return s.at
}

type placeScanner struct {
	text   string
	pos    int
	line   int
	at     map[string]place
	arrays map[string]int // tables of an array so far
}

// placeDepth bounds how deep values are looked into.
const placeDepth = 200

func (s *placeScanner) note(path []string) {
	key := pathKey(path)
	if _, ok := s.at[key]; !ok {
		s.at[key] = place{s.line, len(s.at) + 1}
	}
}

func (s *placeScanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *placeScanner) skip(n int) {
	end := min(s.pos+n, len(s.text))
	s.line += strings.Count(s.text[s.pos:end], "\n")
	s.pos = end
}

// blank skips white space, comments, and newlines.
func (s *placeScanner) blank() {
	for s.pos < len(s.text) {
		switch s.peek() {
		case ' ', '\t', '\r', '\n':
			s.skip(1)
		case '#':
			n := strings.IndexByte(s.text[s.pos:], '\n')
			if n < 0 {
				n = len(s.text) - s.pos
			}
			s.skip(n)
		default:
			return
		}
	}
}

func (s *placeScanner) document() {
	var table []string
	for {
		s.blank()
		before := s.pos
		switch {
		case s.pos >= len(s.text):
			return
		case strings.HasPrefix(s.text[s.pos:], "[["):
			s.skip(2)
			path := s.resolve(nil, s.key(), false)
			n := s.arrays[pathKey(path)]
			s.arrays[pathKey(path)]++
			s.note(path)
			table = append(path, strconv.Itoa(n))
			s.note(table)
			s.skip(2)
		case s.peek() == '[':
			s.skip(1)
			table = s.resolve(nil, s.key(), true)
			s.note(table)
			s.skip(1)
		default:
			s.pair(table, 0)
		}
		if s.pos == before { // no TOML
			s.skip(1)
		}
	}
}

// resolve returns the path of a key below a table; in an array of tables, that of the
// last one. last: of the key itself, too.
func (s *placeScanner) resolve(table, key []string, last bool) []string {
	path := append([]string(nil), table...)
	for i, k := range key {
		path = append(path, k)
		if n := s.arrays[pathKey(path)]; n > 0 && (last || i < len(key)-1) {
			path = append(path, strconv.Itoa(n-1))
		}
		if i < len(key)-1 {
			s.note(path)
		}
	}
	return path
}

// key reads a key with dots, up to what follows it.
func (s *placeScanner) key() (parts []string) {
	for {
		s.blank()
		switch c := s.peek(); c {
		case '"', '\'':
			from := s.pos
			s.str()
			parts = append(parts, unquoted(s.text[from:s.pos]))
		default:
			from := s.pos
			for s.pos < len(s.text) && !strings.ContainsRune(" \t\r\n.=]#\"'", rune(s.text[s.pos])) {
				s.pos++
			}
			parts = append(parts, s.text[from:s.pos])
		}
		s.blank()
		if s.peek() != '.' {
			return parts
		}
		s.skip(1)
	}
}

// unquoted returns what a quoted key means.
func unquoted(s string) string {
	if len(s) < 2 {
		return s
	}
	inner := s[1 : len(s)-1]
	if s[0] == '\'' || !strings.Contains(inner, `\`) {
		return inner
	}
	// TOML has \e beside what JSON has.
	if out, err := strconv.Unquote(`"` + strings.ReplaceAll(inner, `\e`, `\x1b`) + `"`); err == nil {
		return out
	}
	return inner
}

func (s *placeScanner) pair(table []string, depth int) {
	line := s.line
	path := s.resolve(table, s.key(), false)
	if s.peek() != '=' {
		return
	}
	key := pathKey(path)
	if _, ok := s.at[key]; !ok {
		s.at[key] = place{line, len(s.at) + 1}
	}
	s.skip(1)
	s.value(path, depth+1)
}

// value passes over a value; keys in it are noted.
func (s *placeScanner) value(path []string, depth int) {
	s.blank()
	switch c := s.peek(); {
	case c == '"' || c == '\'':
		s.str()
	case (c == '[' || c == '{') && depth < placeDepth:
		s.skip(1)
		for n := 0; ; n++ {
			s.blank()
			before := s.pos
			switch {
			case s.pos >= len(s.text):
				return
			case s.peek() == ']' || s.peek() == '}':
				s.skip(1)
				return
			case s.peek() == ',':
				s.skip(1)
				n--
				continue
			case c == '{':
				s.pair(path, depth)
			default:
				at := append(append([]string(nil), path...), strconv.Itoa(n))
				s.note(at)
				s.value(at, depth+1)
			}
			if s.pos == before {
				s.skip(1)
			}
		}
	default:
		for s.pos < len(s.text) && !strings.ContainsRune(",]}#\r\n", rune(s.text[s.pos])) {
			s.pos++
		}
	}
}

// str passes over a string.
func (s *placeScanner) str() {
	quote := s.text[s.pos : s.pos+1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(s.text[s.pos:], long) {
		quote = long
	}
	s.skip(len(quote))
	for s.pos < len(s.text) {
		switch {
		case quote[0] == '"' && s.peek() == '\\':
			s.skip(2)
		case strings.HasPrefix(s.text[s.pos:], quote):
			s.skip(len(quote))
			for len(quote) == 3 && s.peek() == quote[0] { // one or two of them may end the text itself
				s.skip(1)
			}
			return
		default:
			s.skip(1)
		}
	}
}
