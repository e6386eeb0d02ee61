package migrate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/store"
)

// held are bans by jail, by the wall clock.
type held map[string]map[ban.ID]ban.Ban

// add adds a ban; of two the one stays that ends later.
func (h held) add(jail string, b ban.Ban) {
	of := h[jail]
	if of == nil {
		of = map[ban.ID]ban.Ban{}
		h[jail] = of
	}
	if was, ok := of[b.ID]; ok && (was.Permanent() || !b.Permanent() && !b.End.After(was.End)) {
		return
	}
	of[b.ID] = b
}

func (h held) addAll(more held) {
	for jail, bans := range more {
		for _, b := range bans {
			h.add(jail, b)
		}
	}
}

func (h held) count() (n int) {
	for _, bans := range h {
		n += len(bans)
	}
	return n
}

// drop forgets bans that end within a moment: whether they are there is of no matter.
func (h held) drop(now time.Time) {
	for _, bans := range h {
		for id, b := range bans {
			if !b.Permanent() && !b.End.After(now.Add(endSoon)) {
				delete(bans, id)
			}
		}
	}
}

// endSoon is by how much clocks, the kernel's ticks and whole seconds may differ.
const endSoon = 3 * time.Second

// missing are the bans that another holds not. A network holds what is in it.
func (h held) missing(in held) held {
	out := held{}
	for jail, bans := range h {
		var networks []ban.ID
		for id := range in[jail] {
			if id.IsNetwork() {
				networks = append(networks, id)
			}
		}
		for id, b := range bans {
			if _, ok := in[jail][id]; ok || slices.ContainsFunc(networks, func(n ban.ID) bool { return n.Holds(id) }) {
				continue
			}
			out.add(jail, b)
		}
	}
	return out
}

// some names a few of the bans, for a message.
func (h held) some() string {
	var names []string
	for jail, bans := range h {
		for id := range bans {
			names = append(names, ban.Told(id)+" in "+jail)
		}
	}
	slices.Sort(names)
	if n := len(names); n > 5 {
		names = append(names[:5], fmt.Sprintf("and %d more", n-5))
	}
	return strings.Join(names, ", ")
}

// bans asks a server for the bans of its jails.
func (s *Server) bans(jails []string) (held, error) {
	out := held{}
	zone, now := s.zone(), time.Now()
	for _, jail := range jails {
		v, err := ask(s.Socket, changeAsk, "get", jail, "banip", "--with-time")
		if err != nil {
			return nil, fmt.Errorf("get %s banip: %w", jail, err)
		}
		var lines []string
		if text, ok := v.(string); ok {
			lines = strings.Split(text, "\n")
		}
		for _, item := range items(v) {
			lines = append(lines, fmt.Sprint(item))
		}
		for _, line := range lines {
			if strings.TrimSpace(line) == "" {
				continue
			}
			b, err := readBan(line, zone, now)
			if err != nil {
				return nil, fmt.Errorf("get %s banip: %w", jail, err)
			}
			out.add(jail, b)
		}
	}
	return out, nil
}

// readBan reads "192.0.2.7 \t2026-01-31 12:00:00 + 3600 = 2026-01-31 13:00:00".
func readBan(line string, zone *time.Location, now time.Time) (ban.Ban, error) {
	who, times, ok := cutLast(line, " \t")
	if !ok {
		return ban.Ban{}, fmt.Errorf("%.200q is not written as a ban is", line)
	}
	b := ban.Ban{}
	var err error
	if b.ID, err = ban.ParseID(who); err != nil {
		if b.ID = ban.Named(who); !b.ID.IsValid() {
			return b, err
		}
	}
	start, rest, ok := strings.Cut(times, " + ")
	lasts, _, ok2 := strings.Cut(rest, " = ")
	if !ok || !ok2 {
		return b, fmt.Errorf("%.200q is not written as a ban is", line)
	}
	if b.Start, err = time.ParseInLocation(time.DateTime, start, zone); err != nil {
		return b, err
	}
	n, ok := number(lasts)
	if !ok {
		return b, fmt.Errorf("%.200q: %q is no time", line, lasts)
	}
	if b.Start.After(now) {
		b.Start = now
	}
	if n >= 0 {
		b.End = b.Start.Add(time.Duration(min(n, 100*366*24*3600)) * time.Second)
	}
	return b, nil
}

// cutLast cuts a text at the last place of another one.
func cutLast(text, at string) (before, after string, ok bool) {
	i := strings.LastIndex(text, at)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(at):], true
}

// inDatabase reads the bans of some jails out of a database; there may be none.
func inDatabase(ctx context.Context, path string, jails []string) (held, []string, error) {
	out := held{}
	if path == "" {
		return out, nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	all, notes, err := store.InForce(ctx, path)
	if errors.Is(err, os.ErrNotExist) {
		return out, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, h := range all {
		if slices.Contains(jails, h.Jail) {
			out.add(h.Jail, h.Ban)
		}
	}
	return out, notes, nil
}

// element is what of a ban the kernel can hold; not valid: nothing.
func element(b ban.Ban) netip.Prefix {
	if e := b.Element(); e.IsValid() {
		return e.Prefix()
	}
	return netip.Prefix{}
}
