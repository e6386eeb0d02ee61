package pyregexp

import "sort"

// Character classes are sets of runes kept as sorted, disjoint ranges. One
// value above Unicode stands for a byte that is no valid UTF-8: it is a
// character of its own that only a negation or the dot holds.

const (
	maxRune     = 0x10FFFF
	invalidByte = rune(0x110000) // what decode returns for a byte that is not UTF-8
)

type runeRange struct{ lo, hi rune }

type runeSet []runeRange

// lowerRun says that every step-th character of lo…hi has its lower case at
// distance delta.
type lowerRun struct {
	lo, hi, step rune
	delta        rune
}

// normal sorts the ranges and joins those that touch.
func (s runeSet) normal() runeSet {
	if len(s) < 2 {
		return s
	}
	sort.Slice(s, func(i, j int) bool { return s[i].lo < s[j].lo })
	out := s[:1]
	for _, r := range s[1:] {
		last := &out[len(out)-1]
		if r.lo <= last.hi+1 {
			last.hi = max(last.hi, r.hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

// negate returns every character that is not in s, the invalid byte included.
func (s runeSet) negate() runeSet {
	out := make(runeSet, 0, len(s)+1)
	next := rune(0)
	for _, r := range s {
		if r.lo > next {
			out = append(out, runeRange{next, r.lo - 1})
		}
		next = r.hi + 1
	}
	if next <= invalidByte {
		out = append(out, runeRange{next, invalidByte})
	}
	return out
}

func (s runeSet) contains(c rune) bool {
	lo, hi := 0, len(s)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch r := s[mid]; {
		case c < r.lo:
			hi = mid
		case c > r.hi:
			lo = mid + 1
		default:
			return true
		}
	}
	return false
}

// toLower is Python's one-character lower case; ascii limits it to A-Z.
func toLower(c rune, ascii bool) rune {
	if c < 0x80 || ascii {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}
	lo, hi := 0, len(lowerRuns)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch r := lowerRuns[mid]; {
		case c < r.lo:
			hi = mid
		case c > r.hi:
			lo = mid + 1
		default:
			if (c-r.lo)%r.step == 0 {
				return c + r.delta
			}
			return c
		}
	}
	return c
}

// eachLower calls f for every character whose lower case is another one.
func eachLower(ascii bool, f func(c, lower rune)) {
	for _, r := range lowerRuns {
		for c := r.lo; c <= r.hi; c += r.step {
			if ascii && c >= 0x80 {
				return
			}
			f(c, c+r.delta)
		}
	}
}

// lowered returns the lower cases of s, with Python's extra equivalents: what
// re compares the lower case of a subject's character with.
func (s runeSet) lowered(ascii bool) runeSet {
	out := append(runeSet(nil), s...)
	changed := map[rune]bool{}
	eachLower(ascii, func(c, l rune) {
		if s.contains(c) {
			changed[c] = true
			out = append(out, runeRange{l, l})
		}
	})
	out = out.normal()
	if !ascii {
		for k, others := range extraCases {
			if out.contains(k) && (s.contains(k) || lowersInto(s, k)) {
				for _, o := range others {
					out = append(out, runeRange{o, o})
				}
			}
		}
	}
	return out.normal()
}

func lowersInto(s runeSet, k rune) bool {
	found := false
	eachLower(false, func(c, l rune) { found = found || (l == k && s.contains(c)) })
	return found
}

// unlowered returns the characters whose lower case is in s: the final class
// of an expression that ignores case.
func (s runeSet) unlowered(ascii bool) runeSet {
	var drop, add runeSet
	eachLower(ascii, func(c, l rune) {
		if s.contains(l) {
			add = append(add, runeRange{c, c})
		} else if s.contains(c) {
			drop = append(drop, runeRange{c, c})
		}
	})
	out := append(runeSet(nil), s...)
	if len(drop) > 0 {
		keep := append(s.negate(), drop...)
		out = keep.normal().negate()
	}
	return append(out, add...).normal()
}

var (
	asciiDigits = runeSet{{'0', '9'}}
	asciiSpaces = runeSet{{'\t', '\r'}, {' ', ' '}}
	asciiWords  = runeSet{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}
)

// categories holds \d, \s, \w and their negations, by letter.
var categories, asciiCategories = categoryTable(digitSet, spaceSet, wordSet), categoryTable(asciiDigits, asciiSpaces, asciiWords)

func categoryTable(digits, spaces, words runeSet) map[rune]runeSet {
	return map[rune]runeSet{
		'd': digits, 's': spaces, 'w': words,
		'D': digits.negate(), 'S': spaces.negate(), 'W': words.negate(),
	}
}

// category returns the set of \d, \s or \w, or of their negations.
func category(letter rune, ascii bool) runeSet {
	if ascii {
		return asciiCategories[letter]
	}
	return categories[letter]
}
