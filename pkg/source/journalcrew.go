package source

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"
)

// crew are those who read a journal together.
type crew struct {
	members []*member
	at      entryPlace // up to which they were given everything
	table   *matchTable
	lists   [][]string // of matches; nil: everything
	unread  *unread
}

// entryPlace is behind an entry of a journal; without a cursor, it is where the journal was
// empty at a time.
type entryPlace struct {
	cursor string
	at     time.Time
}

func (p entryPlace) arg() string {
	if p.cursor == "" {
		return sinceArg(p.at.Add(-time.Second))
	}
	return atCursor(p.cursor)
}

// atCursor has journalctl begin at an entry, which is then passed over here: with
// --after-cursor, journalctl 252 passes over the first that matches, even if that is not
// the entry of the cursor.
func atCursor(cursor string) string { return "--cursor=" + cursor }

// tail returns the place of the last entry of a journal, whosever it is.
func (h *hub) tail(ctx context.Context) (entryPlace, error) {
	p := entryPlace{at: time.Now()}
	cmd, entries, failed, err := runJournalctl(ctx, h.options.args([]string{"_PID"}, "--lines=1"), nil)
	if err != nil {
		return p, err
	}
	e, err := entries.Next()
	p.cursor = e.Cursor
	_, _ = io.Copy(io.Discard, entries.in)
	waited := wait(ctx, cmd)
	if text := failed(); text != "" {
		return p, errors.New("journalctl: " + text)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return p, err
	}
	return p, waited
}

// form makes one crew of those who were there and those who come. After it, all of them
// were given everything up to the end of the journal, and reading goes on behind c.at, from
// where on they know what they have had.
func (h *hub) form(ctx context.Context, c *crew, coming []*member) error {
	var tail entryPlace
	for {
		var err error
		if tail, err = h.tail(ctx); err != nil {
			return err
		}
		if len(c.members) == 0 {
			break
		}
		// Up to the end. A lot can have come meanwhile: then once more.
		recent, err := h.finish(ctx, c)
		if err != nil {
			return err
		}
		if len(recent) < recentMost {
			for _, m := range c.members {
				m.recent = recent // what he had before is before the tail
			}
			break
		}
	}
	for _, m := range coming {
		close(m.begin)
	}
	late := time.NewTimer(comeMost)
	defer late.Stop()
	for _, m := range coming {
		select {
		case got := <-m.ready:
			if m.recent = got.recent; got.err == nil {
				c.members = append(c.members, m)
			}
			continue
		case <-late.C:
			late.Reset(0)
		}
		m.end(errBehind)
	}
	c.at = tail
	c.ask()
	return nil
}

// finish gives to those who were there what came up to now. It returns the cursors of
// that.
func (h *hub) finish(ctx context.Context, c *crew) (recent map[string]struct{}, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, entries, failed, err := runJournalctl(ctx, c.args(h.options, c.at.arg()), nil)
	if err != nil {
		return nil, err
	}
	entries.matches = c.table
	recent = map[string]struct{}{}
	for {
		cursor, err := c.read(entries)
		if err == nil {
			recent[cursor] = struct{}{}
			continue
		}
		if errors.Is(err, errUnread) {
			cancel()
			_ = wait(ctx, cmd)
			return nil, err
		}
		waited := wait(ctx, cmd)
		if text := failed(); text != "" {
			return nil, errors.New("journalctl: " + text)
		}
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
		return recent, waited
	}
}

// stream gives what comes, until ctx ends.
func (h *hub) stream(ctx context.Context, c *crew) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, entries, failed, err := runJournalctl(ctx, c.args(h.options, "--follow", c.at.arg()), nil)
	if err != nil {
		return err
	}
	entries.matches = c.table
	for {
		if _, err = c.read(entries); err == nil {
			continue
		}
		if errors.Is(err, errUnread) {
			cancel()
			_ = wait(ctx, cmd)
			return err
		}
		waited := wait(ctx, cmd)
		if text := failed(); text != "" {
			return errors.New("journalctl: " + text)
		}
		if errors.Is(err, io.EOF) {
			err = waited
		}
		if err == nil {
			err = errors.New("journalctl ended")
		}
		return err
	}
}

// ask has the crew's matches joined, and each know his own.
func (c *crew) ask() {
	c.lists = nil
	everything := false
	for _, m := range c.members {
		everything = everything || len(m.matches) == 0
		for _, list := range m.matches {
			if !slices.ContainsFunc(c.lists, func(l []string) bool { return slices.Equal(l, list) }) {
				c.lists = append(c.lists, list)
			}
		}
	}
	c.table = newMatchTable(c.lists)
	for _, m := range c.members {
		m.holds = c.table.matcher(m.matches)
	}
	if everything {
		c.lists = nil
	}
}

// args are journalctl's.
func (c *crew) args(o JournalOptions, more ...string) []string {
	o.Matches = c.lists
	fields := slices.Clone(journalFields)
	for _, f := range c.table.fields() {
		if !slices.Contains(fields, f) {
			fields = append(fields, f)
		}
	}
	return o.args(fields, append([]string{"--no-tail"}, more...)...)
}

// read gives the next entry to those whose it is, and who have not had it.
func (c *crew) read(in *EntryReader) (cursor string, err error) {
	fields, err := in.fields()
	if err != nil {
		return "", err
	}
	if v := fields["__CURSOR"]; len(v) > 0 {
		cursor = string(v[0])
	}
	if cursor != "" {
		if cursor == c.at.cursor {
			return cursor, nil // reading went on behind that
		}
		if len(fields["MESSAGE"]) == 0 && c.unread.again(cursor) {
			return "", errUnread
		}
		c.at = entryPlace{cursor: cursor}
	}
	type said struct {
		enc *Encoding
		Entry
	}
	var made []said
	for _, m := range c.members {
		if !m.holds.holds(c.table.hits) {
			continue
		}
		if _, had := m.recent[cursor]; had {
			continue
		}
		n := slices.IndexFunc(made, func(s said) bool { return s.enc == m.enc })
		if n < 0 {
			n = len(made)
			made = append(made, said{m.enc, entryOf(fields, m.enc)})
		}
		m.give(made[n].Entry)
	}
	return cursor, nil
}
