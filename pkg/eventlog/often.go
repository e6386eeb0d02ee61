package eventlog

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Some lines come as often as a client likes: each failed login is "Found". Of such a kind
// some hundred a second are told one by one, and how many more there were in one line a
// second, for all jails. A jail that floods takes nothing from what the others may tell.

const (
	// OftenOwn is how many lines of a kind each jail may tell in a second, whatever the
	// others do, and OftenShared how many more all of them together.
	OftenOwn    = 20
	OftenShared = 280
	// oftenJails is how many jails are named in a line that sums up.
	oftenJails = 20
)

// Kind is what lines that come often have in common.
type Kind struct {
	Component string
	Level     slog.Level
	Name      string // the words that all of them have
}

// Often sums up lines that come too often, of all kinds and jails. It is safe for
// concurrent use.
type Often struct {
	// Now is time.Now; tests have another one.
	Now func() time.Time

	log   *slog.Logger
	mu    sync.Mutex
	kinds map[Kind]*oftenKind
	ended bool
	after func(time.Duration, func()) // time.AfterFunc
}

// oftenKind is one kind in the present second.
type oftenKind struct {
	Kind
	often  *Often
	began  time.Time // of the present second
	turn   uint64    // its number
	shared int       // of OftenShared, those that were told
	over   []*Share  // that had lines which were not told
	armed  bool      // a timer ends the second
}

// Share is a jail's part of a kind.
type Share struct {
	of   *oftenKind
	jail string
	turn uint64 // of which the rest is
	told int
	left int // not told
}

// NewOften returns one that sums up in a log.
func NewOften(log *slog.Logger) *Often {
	return &Often{log: log, kinds: map[Kind]*oftenKind{}, Now: time.Now, after: func(d time.Duration, f func()) { time.AfterFunc(d, f) }}
}

// Share returns a jail's part of a kind. Each caller has one of its own.
func (o *Often) Share(k Kind, jail string) *Share {
	o.mu.Lock()
	defer o.mu.Unlock()
	kind := o.kinds[k]
	if kind == nil {
		kind = &oftenKind{Kind: k, often: o}
		o.kinds[k] = kind
	}
	return &Share{of: kind, jail: jail}
}

// Tell reports whether one more line is to be told; else it was counted.
func (s *Share) Tell() bool {
	k := s.of
	o := k.often
	now := o.Now()
	o.mu.Lock()
	sum := ""
	if d := now.Sub(k.began); d >= time.Second || d < 0 {
		sum = k.next(now)
	}
	if s.turn != k.turn {
		s.turn, s.told = k.turn, 0
	}
	tell := true
	switch {
	case s.told < OftenOwn:
	case k.shared < OftenShared:
		k.shared++
	default:
		tell = false
		if s.left++; s.left == 1 {
			k.over = append(k.over, s)
		}
		if !k.armed && !o.ended {
			k.armed = true
			o.after(k.began.Add(time.Second).Sub(now), k.end)
		}
	}
	if tell {
		s.told++
	}
	o.mu.Unlock()
	k.say(sum)
	return tell
}

// next begins another second, and returns what is to be said of the last one. The caller
// holds the lock.
func (k *oftenKind) next(now time.Time) string {
	over := k.over
	k.began, k.shared, k.over = now, 0, nil
	k.turn++
	if len(over) == 0 {
		return ""
	}
	// A jail that was started anew within the second has two parts.
	count := map[string]int{}
	all := 0
	for _, s := range over {
		count[s.jail] += s.left
		all += s.left
		s.left = 0
	}
	names := make([]string, 0, len(count))
	for name := range count {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(count[b]-count[a], strings.Compare(a, b)) })
	var parts []string
	for i, name := range names {
		if i == oftenJails {
			parts = append(parts, fmt.Sprintf("and %d more jails", len(names)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("[%s] %d", name, count[name]))
	}
	return fmt.Sprintf("%d more \"%s\" within a second, which are not logged one by one: %s", all, k.Name, strings.Join(parts, ", "))
}

// end ends the present second, after which there may be no line for long.
func (k *oftenKind) end() {
	o := k.often
	now := o.Now()
	o.mu.Lock()
	k.armed = false
	sum := ""
	switch left := k.began.Add(time.Second).Sub(now); {
	case len(k.over) == 0: // a later line has ended it
	case left > 0 && !o.ended:
		k.armed = true
		o.after(left, k.end)
	default:
		sum = k.next(now)
	}
	o.mu.Unlock()
	k.say(sum)
}

func (k *oftenKind) say(sum string) {
	if sum != "" {
		k.often.log.With("component", k.Component).Log(context.Background(), k.Level, sum)
	}
}

// Close tells what was not told yet, at the end.
func (o *Often) Close() {
	now := o.Now()
	o.mu.Lock()
	o.ended = true
	sums := map[*oftenKind]string{}
	for _, k := range o.kinds {
		sums[k] = k.next(now)
	}
	o.mu.Unlock()
	for k, sum := range sums {
		k.say(sum)
	}
}
