package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// A list elsewhere is made equal to who is banned, and kept so. There is no queue of changes:
// what is to be done is the difference between who is banned now and what the list holds, both
// of which outlive this process; so it is as long as the bans are many, and no longer, and a
// kill in the middle loses nothing. What is not known for sure (a connection that was cut, an
// operation that failed) is asked for anew.

const (
	// CompareEvery is how often the whole list is read.
	CompareEvery = time.Hour
	// MostItems is the longest list that is read.
	MostItems = 500_000
	pagesMost = 10_000
	readTries = 6 // of a page
	// operationMost is how long an operation is waited for.
	operationMost = 10 * time.Minute
	pollFirst     = 200 * time.Millisecond
	pollMost      = 5 * time.Second
	// findMost is how many items are asked for one by one, where their ids aren't known;
	// where there are more, the list is read.
	findMost = 20
	// singlesMost is how many items may be refused one after the other, each for itself:
	// then it is the list that takes no more.
	singlesMost = 3
	tellEvery   = time.Minute // errors of a list, to the log
	notNow      = time.Second
)

// ErrNotNow is that nobody can say now who is banned.
var ErrNotNow = errors.New("who is banned is not known now")

// Want is what is to be on a list.
type Want struct {
	Prefixes []netip.Prefix
	// Partial says why it is not all: nothing is taken out then; empty: it is.
	Partial string
	// Protected reports whether a network holds somebody who is never banned: one is not
	// widened to it.
	Protected func(netip.Prefix) bool
}

// List is a list elsewhere. The fields are set before Run.
type List struct {
	Provider    *Provider
	Client      *Client
	Account, ID string
	// Comment is what our items are known by. Two hosts with one list have two of them.
	Comment string
	Most    int // items, ours and others'
	Wanted  func() (Want, error)
	Tell    func(level slog.Level, text string)
	// Sleep waits; nil: by the clock.
	Sleep func(ctx context.Context, d time.Duration) error

	known   bool // what the list holds
	read    time.Time
	have    map[netip.Prefix]held
	total   int
	asked   time.Time // the last request
	batch   int
	refuses int // batches in a row
	singles int // items in a row
	refused map[netip.Prefix]bool
	told    time.Time

	mu    sync.Mutex
	state State
	seen  bool // how many there are is known
}

type held struct {
	id   string // empty: it is not known
	ours bool
}

// State is how a list stands.
type State struct {
	// On is how many of the bans are on it; Behind how many are to come and to go; -1: that
	// is not known yet.
	On     int `json:"on"`
	Behind int `json:"behind"`
	// Event is the number of the last event that a webhook has taken.
	Event uint64 `json:"event,omitempty"`
	// LeftOut is how many of the bans can't be on it, and Why.
	LeftOut int    `json:"left_out,omitempty"`
	Why     string `json:"why,omitempty"`
	// Widened is how many are on it as wider networks.
	Widened int `json:"widened,omitempty"`
	// Waits says why nothing is taken out.
	Waits string `json:"waits,omitempty"`
	// Error is what went wrong last, if nothing has worked since.
	Error       string     `json:"error,omitempty"`
	Failed      *time.Time `json:"last_error,omitempty"`
	LastSuccess *time.Time `json:"last_success,omitempty"`
}

// State returns how it stands.
func (l *List) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	if !l.seen {
		s.On, s.Behind = -1, -1
	}
	return s
}

// Run keeps the list equal until ctx ends. due has a value whenever who is banned may have
// changed.
func (l *List) Run(ctx context.Context, due <-chan struct{}) {
	if l.Sleep == nil {
		l.Sleep = Sleep
	}
	l.batch, l.refused = l.Provider.Batch, map[netip.Prefix]bool{}
	defer l.Client.Close()
	backoff := Backoff{}
	failures := 0
	for ctx.Err() == nil {
		equal, err := l.step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrNotNow):
			_ = l.Sleep(ctx, notNow)
		case err != nil:
			failures++
			wait := backoff.Failed(After(err))
			if permanent(err) {
				wait = max(wait, BackoffMost)
			}
			l.failed(err, failures > 2 || permanent(err), wait)
			_ = l.Sleep(ctx, wait)
		default:
			backoff.Worked()
			failures = 0
			l.worked()
			if !equal {
				continue
			}
			next := time.NewTimer(time.Until(l.read.Add(CompareEvery)))
			select {
			case <-ctx.Done():
			case <-due:
			case <-next.C:
			}
			next.Stop()
		}
	}
}

// permanent reports whether trying again soon is of no use.
func permanent(err error) bool {
	var status *StatusError
	var token *TokenError
	var full *fullError
	return errors.As(err, &token) || errors.As(err, &full) || errors.As(err, &status) && !status.Later()
}

// fullError is a list that takes no more.
type fullError struct{ reason string }

func (e *fullError) Error() string { return "the list takes no more: " + e.reason }

func (l *List) failed(err error, tell bool, wait time.Duration) {
	now := time.Now()
	l.mu.Lock()
	l.state.Error, l.state.Failed = oneLine(err.Error()), &now
	text := l.state.Error
	l.mu.Unlock()
	if tell && (l.told.IsZero() || now.Sub(l.told) >= tellEvery) {
		l.told = now
		l.Tell(slog.LevelError, fmt.Sprintf("%s; bans are in force here all the same, and it is tried again in %v", text, wait.Round(time.Second)))
	}
}

func (l *List) worked() {
	now := time.Now()
	l.mu.Lock()
	l.state.Error, l.state.LastSuccess = "", &now
	l.mu.Unlock()
	if !l.told.IsZero() {
		l.told = time.Time{}
		l.Tell(slog.LevelInfo, "it works again")
	}
}

// step does one piece of what is to be done; equal: there is nothing any more.
func (l *List) step(ctx context.Context) (equal bool, err error) {
	want, err := l.Wanted()
	if err != nil {
		return false, err
	}
	if !l.known || time.Since(l.read) >= CompareEvery {
		if err := l.compare(ctx); err != nil {
			return false, err
		}
	}
	add, remove := l.difference(want)
	room := max(l.Most-l.total, 0)
	switch {
	case len(add) > 0 && room > 0:
		return false, l.add(ctx, add[:min(len(add), room, l.batch)])
	case len(remove) > 0:
		return false, l.remove(ctx, remove[:min(len(remove), l.Provider.Batch)])
	}
	return true, nil
}

// difference returns what is to come and to go, and notes how the list stands.
func (l *List) difference(want Want) (add, remove []netip.Prefix) {
	wanted := make(map[netip.Prefix]bool, len(want.Prefixes))
	wide, guarded, refused, widened, on := 0, 0, 0, 0, 0
	for _, p := range want.Prefixes {
		fit, wider, ok := l.Provider.Fit(p)
		switch {
		case !ok:
			wide++
			continue
		case wider && want.Protected != nil && want.Protected(fit):
			guarded++
			continue
		case wider:
			widened++
		}
		if wanted[fit] {
			continue
		}
		wanted[fit] = true
		switch _, there := l.have[fit]; {
		case there:
			on++
		case l.refused[fit]:
			refused++
		default:
			add = append(add, fit)
		}
	}
	if want.Partial == "" {
		for p, h := range l.have {
			if h.ours && !wanted[p] {
				remove = append(remove, p)
			}
		}
		slices.SortFunc(remove, netip.Prefix.Compare)
	}
	full := max(len(add)-max(l.Most-l.total, 0)-len(remove), 0)
	var why []string
	for _, of := range []struct {
		n    int
		text string
	}{
		{wide, fmt.Sprintf("wider than the list takes (/%d, IPv6: /%d)", l.Provider.Shortest[0], l.Provider.Shortest[1])},
		{guarded, fmt.Sprintf("the list takes nothing narrower than /%d, and that would shut out who is never banned", l.Provider.Longest[1])},
		{refused, "refused by the server"},
		{full, fmt.Sprintf("the list has room for %d (max_items)", l.Most)},
	} {
		if of.n > 0 {
			why = append(why, fmt.Sprintf("%d: %s", of.n, of.text))
		}
	}
	l.mu.Lock()
	before := l.state.LeftOut
	l.seen = true
	l.state.On, l.state.Behind = on, len(add)-full+len(remove)
	l.state.LeftOut, l.state.Why = wide+guarded+refused+full, strings.Join(why, "; ")
	l.state.Widened, l.state.Waits = widened, want.Partial
	left := l.state.LeftOut
	l.mu.Unlock()
	if before == 0 && left > 0 {
		l.Tell(slog.LevelWarn, "bans that can't be on the list: "+strings.Join(why, "; "))
	}
	return add, remove
}

// ask makes a request, a pause after the one before.
func (l *List) ask(ctx context.Context, call Call, body any, pairs ...string) ([]byte, error) {
	if pause := time.Until(l.asked.Add(l.Provider.Pause)); !l.asked.IsZero() && pause > 0 {
		if err := l.Sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
	pairs = append(pairs, "account", l.Account, "list", l.ID)
	answer, err := l.Client.Do(ctx, call.Method, call.path(pairs...), body)
	l.asked = time.Now()
	return answer, err
}

// get is ask for what changes nothing: it is tried again a few times.
func (l *List) get(ctx context.Context, call Call, pairs ...string) (answer []byte, err error) {
	backoff := Backoff{}
	for try := 1; ; try++ {
		answer, err = l.ask(ctx, call, nil, pairs...)
		if err == nil || ctx.Err() != nil || permanent(err) || try == readTries {
			return answer, err
		}
		if err := l.Sleep(ctx, backoff.Failed(After(err))); err != nil {
			return nil, err
		}
	}
}

// compare reads the whole list.
func (l *List) compare(ctx context.Context) error {
	have := map[netip.Prefix]held{}
	total, cursor := 0, ""
	if l.Provider.Next == "" {
		cursor = "1"
	}
	for page := 1; ; page++ {
		answer, err := l.get(ctx, l.Provider.Read, "cursor", cursor)
		if err != nil {
			return err
		}
		items, next, err := l.Provider.items(answer)
		if err != nil {
			return err
		}
		if total += len(items); total > MostItems || page > pagesMost {
			return fmt.Errorf("the list has more than %d items: it is left alone", MostItems)
		}
		l.hold(have, items)
		if l.Provider.Next == "" && len(items) >= l.Provider.Page {
			next = fmt.Sprint(page + 1)
		}
		if next == "" || next == cursor {
			break
		}
		cursor = next
	}
	if time.Since(l.read) >= CompareEvery { // they may be taken now
		clear(l.refused)
	}
	l.have, l.total, l.known, l.read = have, total, true, time.Now()
	return nil
}

func (l *List) hold(have map[netip.Prefix]held, items []Item) {
	for _, i := range items {
		ours := i.Comment == l.Comment && i.ID != ""
		if !i.Prefix.IsValid() || have[i.Prefix].ours && !ours { // a list may hold it twice
			continue
		}
		have[i.Prefix] = held{i.ID, ours}
	}
}

// add puts items on the list.
func (l *List) add(ctx context.Context, items []netip.Prefix) error {
	err := l.change(ctx, l.Provider.Add, l.Provider.AddBody(items, l.Comment))
	if err == nil {
		for _, p := range items {
			l.have[p] = held{ours: true}
		}
		l.total += len(items)
		l.refuses, l.singles = 0, 0
		l.batch = min(2*l.batch, l.Provider.Batch)
		return nil
	}
	var refusal *refusal
	if !errors.As(err, &refusal) {
		return err
	}
	// One item that is refused has all of them refused: it is looked for by halves. The first
	// time it may be that the list was another one than was known.
	l.refuses++
	switch {
	case l.refuses == 1:
		return &laterError{err}
	case len(items) > 1:
		l.batch = (len(items) + 1) / 2
		return &laterError{err}
	case l.singles >= singlesMost:
		l.batch, l.refuses, l.singles = l.Provider.Batch, 0, 0
		clear(l.refused)
		return &fullError{refusal.reason}
	}
	l.singles++
	l.refused[items[0]] = true
	l.batch = l.Provider.Batch
	l.refuses = 0
	l.Tell(slog.LevelWarn, fmt.Sprintf("%s is not on the list: %s", Written(items[0]), refusal.reason))
	return nil
}

// laterError is one after which it is tried again soon.
type laterError struct{ err error }

func (e *laterError) Error() string { return e.err.Error() }

// refusal is that the server does not take what was sent.
type refusal struct{ reason string }

func (e *refusal) Error() string { return "the server refuses: " + e.reason }

// remove takes items off the list.
func (l *List) remove(ctx context.Context, items []netip.Prefix) error {
	var unknown []netip.Prefix
	for _, p := range items {
		if l.have[p].id == "" {
			unknown = append(unknown, p)
		}
	}
	if len(unknown) > findMost || len(unknown) > 0 && l.Provider.Find.Path == "" {
		return l.compare(ctx)
	}
	for _, p := range unknown {
		answer, err := l.get(ctx, l.Provider.Find, "address", Written(p), "cursor", "")
		if err != nil {
			return err
		}
		found, _, err := l.Provider.items(answer)
		if err != nil {
			return err
		}
		delete(l.have, p) // who is not found is not there
		for _, i := range found {
			if i.Prefix == p {
				l.hold(l.have, []Item{i})
			}
		}
	}
	var ids []string
	var gone []netip.Prefix
	for _, p := range items {
		if h := l.have[p]; h.ours && h.id != "" {
			ids, gone = append(ids, h.id), append(gone, p)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	if err := l.change(ctx, l.Provider.Remove, l.Provider.RemoveBody(ids)); err != nil {
		l.known = false
		var refusal *refusal
		if errors.As(err, &refusal) {
			return &laterError{err}
		}
		return err
	}
	for _, p := range gone {
		delete(l.have, p)
	}
	l.total -= len(gone)
	return nil
}

// change has something changed, and waits until it is. After an error what the list holds is
// not known, but where the server has said that it changed nothing.
func (l *List) change(ctx context.Context, call Call, body any) error {
	answer, err := l.ask(ctx, call, body)
	var status *StatusError
	switch {
	case errors.As(err, &status) && l.busy(status):
		l.known = false // what is under way may be of ours, from before
		return &laterError{err}
	case errors.As(err, &status) && status.Code == 429:
		return err
	case errors.As(err, &status) && slices.Contains([]int{400, 409, 413, 422}, status.Code):
		l.known = false
		return &refusal{status.Error()}
	case err != nil:
		l.known = false
		return err
	case l.Provider.Operation == "":
		return nil
	}
	l.known = false // until it is done
	var all any
	if err := json.Unmarshal(answer, &all); err != nil {
		return fmt.Errorf("the server's answer is no JSON: %w", err)
	}
	operation := text(at(all, l.Provider.Operation))
	if operation == "" {
		return fmt.Errorf("the server's answer names no operation at %q", l.Provider.Operation)
	}
	if err := l.await(ctx, operation); err != nil {
		return err
	}
	l.known = true
	return nil
}

func (l *List) busy(e *StatusError) bool {
	return e.Code >= 400 && e.Code < 500 && slices.ContainsFunc(l.Provider.Busy, func(word string) bool { return strings.Contains(strings.ToLower(e.Text), word) })
}

// await waits for an operation.
func (l *List) await(ctx context.Context, operation string) error {
	waited := time.Duration(0)
	for poll := pollFirst; waited < operationMost; poll = min(2*poll, pollMost) {
		if err := l.Sleep(ctx, poll); err != nil {
			return err
		}
		waited += poll
		answer, err := l.get(ctx, l.Provider.Await, "operation", operation)
		if err != nil {
			return err
		}
		var all any
		if err := json.Unmarshal(answer, &all); err != nil {
			return fmt.Errorf("the server's answer is no JSON: %w", err)
		}
		switch state := text(at(all, l.Provider.State)); {
		case slices.Contains(l.Provider.Done, state):
			return nil
		case slices.Contains(l.Provider.Failed, state):
			return &refusal{oneLine(text(at(all, l.Provider.Reason)))}
		}
	}
	return fmt.Errorf("the server's operation %s has not ended after %v", oneLine(operation), operationMost)
}

// Sleep waits, or until ctx ends: that is its error.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
