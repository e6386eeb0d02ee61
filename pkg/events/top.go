package events

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Who was most active, counted over what the table has of failures and bans. Who it is says a client,
// so what is counted is bounded: where there are more, those with least are forgotten.

// TopWhat are what can be counted by.
var TopWhat = []string{"ip", "network", "user", "jail"}

// TopQuery says what is wanted.
type TopQuery struct {
	What  string    // one of TopWhat
	Since time.Time // zero: as far back as there is anything
	Jail  string    // empty: of all
	Most  int       // how many
}

const (
	// countedMost is how many are counted at a time, and countedKept how many are left of them where
	// there are more.
	countedMost = 20_000
	countedKept = 10_000
	// nameMost is how many bytes of a name are counted by.
	nameMost = 128
)

// Most is one of those that were most active.
type Most struct {
	Key      string    `json:"key"`
	Failures int       `json:"failures"`
	Bans     int       `json:"bans"`
	Last     time.Time `json:"last"`
}

// Top is who was.
type Top struct {
	What    string    `json:"what"`
	Since   time.Time `json:"since"` // of the first event that was looked at
	Entries []Most    `json:"entries"`
	// Uncounted are failures that were too many to be kept one by one.
	Uncounted int `json:"uncounted"`
	// Missing is by how many failures and bans together an entry may have had more, since there
	// were too many of them to be counted.
	Missing int `json:"missing"`
}

// TopOf counts.
func TopOf(r *Reader, q TopQuery) (t Top, err error) {
	t = Top{What: q.What, Entries: []Most{}}
	counted := map[string]*Most{}
	err = r.Each(func(_ uint64, line []byte) bool {
		kind, _ := field(line, `,"kind":"`)
		switch Kind(kind) {
		case Found, Ban, More:
		default:
			return true
		}
		text, _ := field(line, `,"time":"`)
		at, err := time.Parse(time.RFC3339, string(text))
		if err != nil || at.Before(q.Since) {
			return true
		}
		if q.Jail != "" {
			if jail, _ := field(line, `,"jail":"`); string(jail) != q.Jail {
				return true
			}
		}
		if t.Since.IsZero() || at.Before(t.Since) {
			t.Since = at
		}
		if Kind(kind) == More {
			if e, err := Parse(line); err == nil && e.What == Found {
				t.Uncounted += e.Count
			}
			return true
		}
		key := topKey(q.What, line)
		if key == "" {
			return true
		}
		m := counted[key]
		if m == nil {
			if len(counted) >= countedMost {
				t.Missing = max(t.Missing, forget(counted))
			}
			m = &Most{Key: key}
			counted[key] = m
		}
		if Kind(kind) == Ban {
			m.Bans++
		} else {
			m.Failures++
		}
		if at.After(m.Last) {
			m.Last = at
		}
		return true
	})
	for _, m := range mostOf(counted) {
		if len(t.Entries) == q.Most {
			break
		}
		t.Entries = append(t.Entries, *m)
	}
	return t, err
}

func mostOf(counted map[string]*Most) []*Most {
	all := make([]*Most, 0, len(counted))
	for _, m := range counted {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *Most) int {
		return cmp.Or(cmp.Compare(b.Failures+b.Bans, a.Failures+a.Bans), b.Last.Compare(a.Last), cmp.Compare(a.Key, b.Key))
	})
	return all
}

// forget forgets those with least, and returns what the most active of them had.
func forget(counted map[string]*Most) int {
	all := mostOf(counted)
	for _, m := range all[countedKept:] {
		delete(counted, m.Key)
	}
	return all[countedKept].Failures + all[countedKept].Bans
}

// topKey is what a line is counted under; empty: nothing.
func topKey(what string, line []byte) string {
	switch what {
	case "jail":
		jail, _ := field(line, `,"jail":"`)
		return string(jail)
	case "user":
		user, _ := field(line, `,"user":"`)
		return Clean(string(user), nameMost)
	}
	id, _ := field(line, `,"ip":"`)
	if bytes.Contains(line, []byte(`,"name":true`)) {
		if what == "ip" {
			if address, ok := field(line, `,"address":"`); ok {
				return string(address)
			}
			return ""
		}
		id, _ = field(line, `,"address":"`)
	}
	if what == "ip" {
		return Clean(string(id), nameMost)
	}
	return networkOf(string(id))
}

// networkOf is the /24 or the /48 that an address or a network lies in.
func networkOf(text string) string {
	addr, length, _ := strings.Cut(text, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return ""
	}
	a = a.Unmap()
	bits := 48
	if a.Is4() {
		bits = 24
	}
	if n, err := strconv.Atoi(length); err == nil {
		bits = min(bits, n)
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}

// Clean is a client's text as it can be shown: of one line, without what moves a cursor or turns the
// direction of text, at most so many bytes and an ellipsis.
func Clean(text string, most int) string {
	clean := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, text)
	if len(clean) <= most {
		return clean
	}
	for most > 0 && !utf8.RuneStart(clean[most]) {
		most--
	}
	return clean[:most] + "…"
}
