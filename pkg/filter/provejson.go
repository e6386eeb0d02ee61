package filter

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bailiff/pkg/pyregexp"
)

// json answers for a filter of JSON. Fields are apart by construction, whatever a client
// writes into one. What is left is which field holds what he writes: the address must
// not, and whether a line counts must not depend on it.
func (x *prover) json() (Proof, error) {
	f, err := Compile(x.def, x.loc)
	if err != nil {
		return Proof{}, err
	}
	in, ok := readObject([]byte(x.line[x.frame.Head:]), f.jsonFields, f.json.Forwarded)
	if !ok {
		return Proof{}, fmt.Errorf("the line holds no JSON object")
	}
	// A text that is written into the line again, as the service would.
	line := func(texts []string) string {
		var b strings.Builder
		at := 0
		for i, p := range x.parts {
			b.WriteString(x.line[at:p.from])
			b.WriteString(quoted(texts[i]))
			at = p.to
		}
		b.WriteString(x.line[at:])
		return b.String()
	}
	// In which part of which field something stands.
	holds := func(field string) (pieces []pyregexp.Piece, whose []int, any bool) {
		text, _ := plain(in, field)
		for text != "" {
			first, at := -1, len(text)
			for i, p := range x.parts {
				if k := strings.Index(text, p.Text); k >= 0 && k < at {
					first, at = i, k
				}
			}
			if at > 0 {
				pieces, whose = append(pieces, pyregexp.Piece{Text: text[:at]}), append(whose, -1)
			}
			if first < 0 {
				break
			}
			p := x.parts[first]
			pieces, whose = append(pieces, pyregexp.Piece{Text: p.Text, Open: p.Chars}), append(whose, first)
			text, any = text[at+len(p.Text):], true
		}
		return pieces, whose, any
	}
	texts := func() (out []string) {
		for _, p := range x.parts {
			out = append(out, p.Text)
		}
		return out
	}
	if x.probe.Host == "" {
		return x.jsonNothing(f, holds, texts, line)
	}
	for _, host := range f.json.Host {
		_, whose, any := holds(host)
		if !any {
			if text, _ := plain(in, host); address(text).IsValid() {
				break // it is taken, whatever stands in those after it
			}
			continue
		}
		if text, _ := plain(in, host); f.json.Peer != "" && f.Trusted != nil && strings.Contains(text, ",") && x.jsonList(f, host, text) == "" {
			break // the true one stands behind what he writes
		}
		for _, n := range whose {
			for _, d := range decoys {
				if t := texts(); n >= 0 {
					t[n] = d
					if _, err := x.held(line(t)); err != nil {
						return x.out, err
					}
				}
			}
		}
		if x.out.Forged == "" {
			x.out.Reason = fmt.Sprintf("the field %s, which the client writes, may hold an address", host)
		}
	}
	if _, whose, any := holds(f.json.Forwarded); any && f.Trusted != nil && f.Trusted(x.jsonPeer(f, in)) {
		text, _ := plain(in, f.json.Forwarded)
		if reason := x.jsonList(f, f.json.Forwarded, text); reason != "" {
			for _, n := range whose {
				for _, d := range append([]string{"x"}, decoys...) {
					if t := texts(); n >= 0 {
						t[n] = d
						if _, err := x.held(line(t)); err != nil {
							return x.out, err
						}
					}
				}
			}
			x.out.Reason = reason
		}
	}
	for _, m := range f.json.Match {
		for _, c := range m.Conditions {
			pieces, whose, any := holds(c.Field)
			if !any {
				continue
			}
			if err := x.condition(&c, pieces, whose, texts, line); err != nil {
				return x.out, err
			}
		}
	}
	return x.out, nil
}

// jsonPeer is who connected, by an object.
func (x *prover) jsonPeer(f *Filter, in map[string]any) netip.Prefix {
	for _, host := range slices.Backward(f.json.Host) {
		text, _ := plain(in, host)
		if p := address(text); p.IsValid() {
			return p
		}
	}
	return netip.Prefix{}
}

// jsonNothing answers for a line that is not to be taken: some condition must fail,
// whatever a client writes.
func (x *prover) jsonNothing(f *Filter, holds func(string) ([]pyregexp.Piece, []int, bool), texts func() []string, line func([]string) string) (Proof, error) {
	if _, err := x.held(line(texts())); err != nil {
		return x.out, err
	}
	for _, m := range f.json.Match {
		for _, c := range m.Conditions {
			if _, _, any := holds(c.Field); any {
				x.out.Reason = fmt.Sprintf("whether the line counts depends on the field %s, which the client writes", c.Field)
			}
		}
	}
	return x.out, nil
}

// condition looks whether a client can have a condition not hold.
func (x *prover) condition(c *Condition, pieces []pyregexp.Piece, whose []int, texts func() []string, line func([]string) string) error {
	if c.Regexp == nil { // one of some values, of which he can choose none
		for _, n := range whose {
			for _, t := range []string{"x", x.parts[max(n, 0)].Text + "x"} {
				if n >= 0 && x.allowed(x.parts[n].Chars, t) {
					all := texts()
					all[n] = t
					if _, err := x.held(line(all)); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	w := &pyregexp.Walk{List: []*pyregexp.Regexp{c.Regexp}, Most: x.most(), Bare: true}
	var failed error
	st, err := w.Run(pieces, func(e pyregexp.End) bool {
		if e.Matched >= 0 {
			return true
		}
		all := texts()
		for i, n := range whose {
			if n >= 0 {
				all[n] = e.Texts[i]
			}
		}
		// JSON in UTF-8 has no such byte.
		if slices.ContainsFunc(all, func(s string) bool { return strings.ToValidUTF8(s, "") != s }) {
			return true
		}
		_, failed = x.held(line(all))
		return failed == nil && x.out.Evading == ""
	})
	x.out.Situations += st.Situations
	if failed != nil {
		return failed
	}
	return err
}

// quoted is a text as it stands in a string of JSON.
func quoted(text string) string {
	q, _ := json.Marshal(text)
	return string(q[1 : len(q)-1])
}
