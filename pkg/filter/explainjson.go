package filter

import "time"

// JSONExplanation says what a filter of JSON found in a line.
type JSONExplanation struct {
	// Object: the line is one JSON object. Nothing else was looked at if it is not.
	Object bool
	// Host are the fields that may hold the address, Time and User those of them; their
	// names are empty where the filter names none.
	Host       []JSONField
	Time, User JSONField
	Kinds      []JSONKind
}

// JSONField is a field of a line.
type JSONField struct {
	Name  string
	Value string // its text
	There bool   // it is there, and a text, a number, true or false
	Good  bool   // it holds what it is for: an address, a time
}

// JSONKind is a kind of failure.
type JSONKind struct {
	Expr       Expr
	Matched    bool // all of its conditions hold
	Conditions []JSONCondition
}

// JSONCondition is one condition of a kind.
type JSONCondition struct {
	JSONField
	Want  string // what the field has to hold
	Holds bool
}

// explainJSON is Explain for a filter of JSON.
func (f *Filter) explainJSON(line []byte, stamp, now time.Time) Explanation {
	e := Explanation{JSON: &JSONExplanation{}, Result: f.matchJSON(line, stamp, now)}
	x := e.JSON
	in, ok := readObject(line, f.jsonFields, f.json.Forwarded)
	if x.Object = ok; !ok {
		return e
	}
	look := func(name string) JSONField {
		out := JSONField{Name: name}
		out.Value, out.There = plain(in, name)
		return out
	}
	for _, name := range f.json.Host {
		h := look(name)
		h.Good = h.There && address(h.Value).IsValid()
		x.Host = append(x.Host, h)
	}
	if f.json.Time != "" {
		x.Time = look(f.json.Time)
		_, x.Time.Good = f.jsonTime(x.Time.Value, now)
	}
	if f.json.User != "" {
		x.User = look(f.json.User)
		x.User.Good = x.User.There
	}
	exprs := f.json.exprs()
	for i := range f.json.Match {
		k := JSONKind{Expr: exprs[i], Matched: true}
		for _, c := range f.json.Match[i].Conditions {
			a := JSONCondition{JSONField: look(c.Field), Want: c.want(), Holds: c.holds(in)}
			k.Matched = k.Matched && a.Holds
			k.Conditions = append(k.Conditions, a)
		}
		x.Kinds = append(x.Kinds, k)
	}
	return e
}
