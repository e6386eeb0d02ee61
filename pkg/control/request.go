package control

import (
	"errors"
	"strconv"
	"strings"
)

// A Request is a command of fail2ban's protocol in the one form in which it is
// judged and carried out: read once from what a client sent, never looked at in
// another way afterwards. Whether a client wrote a word as text, bytes or a number
// makes no difference to who may do what; a list is never a word.
type Request struct {
	Words []*Word
	Role  Role   // of who asks
	By    string // the user who asks, by his name; empty: nobody knows
}

// Word is one word of a request: text, a number, True, False or None; or a list or
// tuple of such.
type Word struct {
	kind  kind
	text  string // of everything but lists: as Python's str() has it
	items []*Word
}

type kind uint8

const (
	aNone kind = iota
	aBool
	anInt
	aFloat
	aText
	aList
	aTuple
	aDict // its items are keys and values in turn
)

// Text is the word as Python's str() has it; empty for a list.
func (w *Word) Text() string { return w.text }

// IsNumber says that this is a number.
func (w *Word) IsNumber() bool { return w.kind == anInt || w.kind == aFloat }

// IsList says that this is a list, a tuple or a dict of words.
func (w *Word) IsList() bool { return w.kind == aList || w.kind == aTuple || w.kind == aDict }

// IsDict says that this is a dict.
func (w *Word) IsDict() bool { return w.kind == aDict }

// Items are the words of a list; of a dict, its keys and values in turn.
func (w *Word) Items() []*Word { return w.items }

// Value is the word as an answer can have it: nil, bool, int, float64, string, List
// Tuple or Dict. An integer beyond 64 bits is its text.
func (w *Word) Value() any {
	switch w.kind {
	case aNone:
		return nil
	case aBool:
		return w.text == "True"
	case anInt:
		if n, err := strconv.Atoi(w.text); err == nil {
			return n
		}
		return w.text
	case aFloat:
		f, _ := strconv.ParseFloat(w.text, 64)
		return f
	case aText:
		return w.text
	}
	if w.kind == aDict {
		out := Dict{Values: map[string]any{}}
		for i := 0; i+1 < len(w.items); i += 2 {
			key := w.items[i].text
			if _, twice := out.Values[key]; !twice {
				out.Keys = append(out.Keys, key)
			}
			out.Values[key] = w.items[i+1].Value()
		}
		return out
	}
	out := make([]any, len(w.items))
	for i, x := range w.items {
		out[i] = x.Value()
	}
	if w.kind == aTuple {
		return Tuple(out)
	}
	return List(out)
}

// Shown is the request as Python's repr, cut to about so many bytes.
func (r *Request) Shown(most int) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, w := range r.Words {
		if i > 0 {
			b.WriteString(", ")
		}
		w.show(&b, most)
	}
	b.WriteByte(']')
	s := b.String()
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// show writes nothing more once there is more than can be shown.
func (w *Word) show(b *strings.Builder, most int) {
	if b.Len() > most {
		return
	}
	switch w.kind {
	case aText:
		b.WriteString(ReprString(w.text[:min(len(w.text), most+1)]))
		return
	case aList:
		b.WriteByte('[')
	case aTuple:
		b.WriteByte('(')
	case aDict:
		b.WriteByte('{')
	default:
		b.WriteString(w.text)
		return
	}
	for i, x := range w.items {
		switch {
		case i == 0:
		case w.kind == aDict && i%2 == 1:
			b.WriteString(": ")
		default:
			b.WriteString(", ")
		}
		if b.Len() > most {
			return
		}
		x.show(b, most)
	}
	switch {
	case w.kind == aList:
		b.WriteByte(']')
	case w.kind == aDict:
		b.WriteByte('}')
	case len(w.items) == 1:
		b.WriteString(",)")
	default:
		b.WriteByte(')')
	}
}

// weigh checks that what a value is when it is written out (one value can stand in
// a request at a million places) stays within the limits.
func (w *Word) weigh(depth int, l *limits, items, bytes *int) error {
	*items++
	*bytes += len(w.text)
	switch {
	case depth > maxDepth:
		return errTooDeep
	case *items > l.items:
		return l.tooMany()
	case *bytes > l.bytes:
		return l.tooLong()
	}
	for _, x := range w.items {
		if err := x.weigh(depth+1, l, items, bytes); err != nil {
			return err
		}
	}
	return nil
}

var errTooDeep = errors.New("lists in it are nested too deep")
