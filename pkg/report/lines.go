package report

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// lineMost is how much of a line is sent, in bytes.
	lineMost = 300
	// somebody is what stands in place of a user's name.
	somebody = "<user>"
)

// shown are lines as they are sent: without the names of users, each cut, the last ones, at
// most so many bytes.
func shown(find func() (lines, users []string), most int) string {
	lines, users := find()
	users = slices.Clone(users)
	slices.SortFunc(users, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // a part of another comes after it
	var out []string
	for _, l := range slices.Backward(lines) {
		for _, u := range users {
			l = without(l, u)
		}
		l = oneLine(l, lineMost)
		if most -= len(l) + 1; most < -1 {
			break
		}
		out = append(out, l)
	}
	slices.Reverse(out)
	return strings.Join(out, "\n")
}

// without is a line in which a name stands nowhere as a word.
func without(line, name string) string {
	if name == "" {
		return line
	}
	var b strings.Builder
	for from := 0; ; {
		at := strings.Index(line[from:], name)
		if at < 0 {
			b.WriteString(line[from:])
			return b.String()
		}
		at += from
		end := at + len(name)
		before, _ := utf8.DecodeLastRuneInString(line[:at])
		after, _ := utf8.DecodeRuneInString(line[end:])
		first, _ := utf8.DecodeRuneInString(name)
		last, _ := utf8.DecodeLastRuneInString(name)
		if at > 0 && letter(before) && letter(first) || end < len(line) && letter(after) && letter(last) { // a part of a word
			_, size := utf8.DecodeRuneInString(line[at:])
			b.WriteString(line[from : at+size])
			from = at + size
			continue
		}
		b.WriteString(line[from:at])
		b.WriteString(somebody)
		from = end
	}
}

func letter(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// oneLine is a text that ends no line and holds nothing that can't be seen, cut.
func oneLine(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most-3], "") + "…"
	}
	return text
}
