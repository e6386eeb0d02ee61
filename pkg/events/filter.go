package events

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"time"
)

// Filter says which events are wanted. The zero value wants all.
type Filter struct {
	Jail  string
	Kinds []Kind
	// ID is an address or a network: wanted is what is of it, of what is inside it, or of a
	// network that holds it; or any other text, that of an id.
	ID   string
	From time.Time // when it was told, at the earliest

	network netip.Prefix
	ready   bool
}

// Wants reports whether a line of the table is wanted.
func (f *Filter) Wants(line []byte) bool {
	if !f.ready {
		f.ready = true
		if p, err := netip.ParsePrefix(f.ID); err == nil {
			f.network = p.Masked()
		} else if a, err := netip.ParseAddr(f.ID); err == nil {
			f.network = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if len(f.Kinds) > 0 {
		kind, _ := field(line, `,"kind":"`)
		if !slices.Contains(f.Kinds, Kind(kind)) {
			return false
		}
	}
	if f.Jail != "" {
		if jail, ok := field(line, `,"jail":"`); !ok || string(jail) != f.Jail {
			return false
		}
	}
	if f.ID != "" && !f.is(line, `,"ip":"`) && !f.is(line, `,"address":"`) {
		return false
	}
	if !f.From.IsZero() {
		text, _ := field(line, `,"time":"`)
		at, err := time.Parse(time.RFC3339, string(text))
		if err != nil || at.Before(f.From) {
			return false
		}
	}
	return true
}

// is reports whether a field is of the ID.
func (f *Filter) is(line []byte, key string) bool {
	text, ok := field(line, key)
	if !ok {
		return false
	}
	if string(text) == f.ID {
		return true
	}
	if !f.network.IsValid() {
		return false
	}
	if bytes.IndexByte(text, '/') < 0 {
		a, err := netip.ParseAddr(string(text))
		return err == nil && f.network.Contains(a)
	}
	p, err := netip.ParsePrefix(string(text))
	return err == nil && p.Overlaps(f.network)
}

// field finds a text in a line of the table. No text in it can be taken for a key: its quotes are
// escaped.
func field(line []byte, key string) (text []byte, ok bool) {
	_, rest, ok := bytes.Cut(line, []byte(key))
	if !ok {
		return nil, false
	}
	escaped := false
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			if !escaped {
				return rest[:i], true
			}
			var s string
			if json.Unmarshal(append(append([]byte{'"'}, rest[:i]...), '"'), &s) != nil {
				return nil, false
			}
			return []byte(s), true
		}
	}
	return nil, false
}
