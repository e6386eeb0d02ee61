package source

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What is asked of the journal, and told apart here where several ask for different
// entries.

// ParseJournalMatch parts a journalmatch into lists.
func ParseJournalMatch(s string) ([][]string, error) {
	words, err := Words(s)
	if err != nil {
		return nil, fmt.Errorf("journalmatch %q: %w", s, err)
	}
	out := [][]string{{}}
	for _, w := range words {
		last := &out[len(out)-1]
		switch {
		case w == "+" && len(*last) == 0:
			return nil, fmt.Errorf("journalmatch %q: nothing before +", s)
		case w == "+":
			out = append(out, []string{})
		case !strings.Contains(w, "=") && !strings.HasPrefix(w, "/"):
			return nil, fmt.Errorf("journalmatch %q: %q is not FIELD=VALUE", s, w)
		default:
			*last = append(*last, w)
		}
	}
	if len(out[len(out)-1]) == 0 {
		return nil, fmt.Errorf("journalmatch %q: nothing after +", s)
	}
	return out, nil
}

// Words parts a text as a shell does, with quotes and backslashes.
func Words(s string) ([]string, error) {
	var out []string
	var word strings.Builder
	inWord := false
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote == '\'' && c != '\'' || quote == '"' && c != '"' && c != '\\':
			word.WriteByte(c)
		case c == quote && quote != 0:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, inWord = c, true
		case c == '\\':
			if i++; i == len(s) {
				return nil, errors.New("ends with a backslash")
			}
			word.WriteByte(s[i])
			inWord = true
		case c == ' ' || c == '\t' || c == '\n':
			if inWord {
				out = append(out, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("the %c is not closed", quote)
	}
	if inWord {
		out = append(out, word.String())
	}
	return out, nil
}

// matchTable knows which of some FIELD=VALUE an entry has.
type matchTable struct {
	at   map[string]map[string]int
	hits []bool
}

// newMatchTable makes a table of all matches of some lists.
func newMatchTable(lists [][]string) *matchTable {
	t := &matchTable{at: map[string]map[string]int{}}
	for _, list := range lists {
		for _, m := range list {
			field, value, _ := strings.Cut(m, "=")
			if t.at[field] == nil {
				t.at[field] = map[string]int{}
			}
			if _, ok := t.at[field][value]; !ok {
				t.at[field][value] = len(t.hits)
				t.hits = append(t.hits, false)
			}
		}
	}
	return t
}

// fields returns the names of the fields that are asked for.
func (t *matchTable) fields() []string {
	var out []string
	for f := range t.at {
		out = append(out, f)
	}
	slices.Sort(out)
	return out
}

func (t *matchTable) clear() {
	if t != nil {
		clear(t.hits)
	}
}

func (t *matchTable) hit(field, value []byte) {
	if t == nil {
		return
	}
	if n, ok := t.at[string(field)][string(value)]; ok {
		t.hits[n] = true
	}
}

// matcher says whether an entry is one of somebody's, as journalctl does: any of its lists
// is enough, and in a list one value of each field.
type matcher [][][]int // lists, of fields, of places in a table; none: everything

func (t *matchTable) matcher(lists [][]string) (out matcher) {
	for _, list := range lists {
		var order []string
		fields := map[string][]int{}
		for _, m := range list {
			field, value, _ := strings.Cut(m, "=")
			if fields[field] == nil {
				order = append(order, field)
			}
			fields[field] = append(fields[field], t.at[field][value])
		}
		var all [][]int
		for _, f := range order {
			all = append(all, fields[f])
		}
		out = append(out, all)
	}
	return out
}

func (m matcher) holds(hits []bool) bool {
	if len(m) == 0 {
		return true
	}
	for _, list := range m {
		all := true
		for _, values := range list {
			if all = slices.ContainsFunc(values, func(n int) bool { return hits[n] }); !all {
				break
			}
		}
		if all {
			return true
		}
	}
	return false
}

// byPath reports whether one of the matches is a program's path: journalctl looks what
// that is, and knows more ways to ask for it than one.
func byPath(lists [][]string) bool {
	return slices.ContainsFunc(lists, func(list []string) bool {
		return slices.ContainsFunc(list, func(m string) bool { return strings.HasPrefix(m, "/") })
	})
}
