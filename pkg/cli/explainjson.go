package cli

import (
	"fmt"
	"io"

	"bailiff/pkg/filter"
)

// explainJSON tells what a filter of JSON makes of a line.
func explainJSON(w io.Writer, e *filter.Explanation) {
	x := e.JSON
	if !x.Object {
		fmt.Fprintf(w, "The line is not one JSON object, so nothing in it was looked at:\n  %s\n\n%s\n", shown(string(e.Rest)), verdict(e))
		return
	}
	switch {
	case x.Time.Name == "":
		fmt.Fprint(w, "Time      the filter names no field for it: the line counts as of now\n")
	case x.Time.Good:
		fmt.Fprintf(w, "Time      %s, from %s = %q\n", e.Time.Format("2006-01-02 15:04:05 MST"), x.Time.Name, clip(x.Time.Value, 80))
	case x.Time.There:
		fmt.Fprintf(w, "Time      %s, which is no time: the line counts as of now\n", fieldText(x.Time))
	default:
		fmt.Fprintf(w, "Time      %s: the line counts as of now\n", fieldText(x.Time))
	}
	for _, h := range x.Host {
		text := fieldText(h)
		if h.There && !h.Good {
			text += ", which is no address"
		}
		if fmt.Fprintf(w, "Address   %s\n", text); h.Good {
			break
		}
	}
	if x.User.Name != "" {
		fmt.Fprintf(w, "User      %s\n", fieldText(x.User))
	}
	for i, k := range x.Kinds {
		word := "Not so   "
		if k.Matched {
			word = "Matched  "
		}
		fmt.Fprintf(w, "\n%s json.match %d%s\n", word, i+1, place(k.Expr))
		for _, c := range k.Conditions {
			is := "holds"
			if !c.Holds {
				is = "does not hold: want " + c.Want
			}
			fmt.Fprintf(w, "  %s %s\n", fieldText(c.JSONField), is)
		}
	}
	fmt.Fprintf(w, "\n%s\n", verdict(e))
}

func fieldText(f filter.JSONField) string {
	if !f.There {
		return f.Name + " is not there"
	}
	return fmt.Sprintf("%s = %q", f.Name, clip(f.Value, 80))
}

// explainedFields is what --json tells of a filter of JSON.
type explainedFields struct {
	Object bool            `json:"object"`
	Host   []explainedOne  `json:"host"`
	Time   *explainedOne   `json:"time"`
	User   *explainedOne   `json:"user"`
	Match  []explainedKind `json:"match"`
}

type explainedKind struct {
	File       string         `json:"file,omitempty"`
	Line       int            `json:"line,omitempty"`
	Matched    bool           `json:"matched"`
	Conditions []explainedOne `json:"conditions"`
}

type explainedOne struct {
	Field string  `json:"field"`
	Value *string `json:"value"` // null: it is not there, or no text, number or boolean
	Want  string  `json:"want,omitempty"`
	Holds bool    `json:"holds"`
}

func fieldsJSON(x *filter.JSONExplanation) *explainedFields {
	if x == nil {
		return nil
	}
	one := func(f filter.JSONField, want string, holds bool) explainedOne {
		out := explainedOne{Field: f.Name, Want: want, Holds: holds}
		if f.There {
			out.Value = &f.Value
		}
		return out
	}
	maybe := func(f filter.JSONField) *explainedOne {
		if f.Name == "" {
			return nil
		}
		out := one(f, "", f.Good)
		return &out
	}
	out := &explainedFields{Object: x.Object, Host: []explainedOne{}, Time: maybe(x.Time), User: maybe(x.User), Match: []explainedKind{}}
	for _, h := range x.Host {
		out.Host = append(out.Host, one(h, "", h.Good))
	}
	for _, k := range x.Kinds {
		kind := explainedKind{File: k.Expr.File, Line: k.Expr.Line, Matched: k.Matched, Conditions: []explainedOne{}}
		for _, c := range k.Conditions {
			kind.Conditions = append(kind.Conditions, one(c.JSONField, c.Want, c.Holds))
		}
		out.Match = append(out.Match, kind)
	}
	return out
}
