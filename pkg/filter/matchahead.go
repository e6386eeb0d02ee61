package filter

import "time"

// What a Scout has told of lines is taken over by the Filter whose lines they are, in their
// order: what it knows by itself are dates that go on from line to line, and connections.

// MatchAll is Match for many lines, of which a Scout may have told. each is called
// for every line of which there is something to tell, in order; an error of its own ends
// it. The result is valid until each returns.
func (f *Filter) MatchAll(lines [][]byte, seen *Sightings, now time.Time, each func(line int, r *Result) error) error {
	c := cursor{lines: lines}
	return f.matchAll(&c, seen, now, func(_ []byte, r *Result) error { return each(c.next, r) })
}

// MatchText is MatchAll for a text of which a Scout has told with LookText.
func (f *Filter) MatchText(text []byte, seen *Sightings, now time.Time, each func(line []byte, r *Result) error) error {
	return f.matchAll(&cursor{text: text}, seen, now, each)
}

func (f *Filter) matchAll(c *cursor, seen *Sightings, now time.Time, each func(line []byte, r *Result) error) error {
	f.part()
	look := func() error {
		line := c.line()
		r := f.Match(line, now)
		var err error
		if r.Tells() {
			err = each(line, &r)
		}
		c.step()
		return err
	}
	if seen != nil && f.onlyFailures() && f.dates.Has(seen.form) {
		// From which line on lines were passed, which have dates and tell of nothing.
		from := 0
		settle := func() {
			if from == c.next {
				return
			}
			if q, ok := f.dates.Run(c.next-from, c.last, now); ok {
				f.note(&q, c.last, now)
			}
		}
		list, byes := seen.list, seen.farewells
		for follows := false; c.more(); {
			alone := !follows && !f.dates.Follows(c.line())
			for !alone && len(byes) > 0 && (len(list) == 0 || int(byes[0].line) < list[0].line) && !f.conns.meets(&byes[0], c) {
				byes = byes[1:]
			}
			// The next line that was told of, and is not to be taken over.
			line, bye := -1, len(byes) > 0 && (len(list) == 0 || int(byes[0].line) < list[0].line)
			if bye {
				line = int(byes[0].line)
			} else if len(list) > 0 {
				line = list[0].line
			}
			switch {
			case alone, line == c.next && (bye || !list[0].sure):
				settle()
				if len(list) > 0 && list[0].line == c.next {
					list = list[1:]
				}
				if len(byes) > 0 && int(byes[0].line) == c.next {
					byes = byes[1:]
				}
				if err := look(); err != nil {
					return err
				}
				from = c.next
				if follows = false; !f.dates.Has(seen.form) {
					seen = &Sightings{}
				}
			case line < 0:
				c.toEnd(seen)
				follows = true
			case line > c.next:
				if bye {
					in := byes[0].place(c.text, c.of(&byes[0].skimmed))
					c.jump(line, &in)
				} else {
					c.jump(line, &list[0].in)
				}
				follows = true
			default:
				x := &list[0]
				line := c.line()
				f.dates.Passed(c.next-from+1, line, &x.date, now)
				f.note(&x.date, line, now)
				follows, list = true, list[1:]
				r := &f.result
				*r = Result{Ignored: -1, Failures: r.Failures[:0], Logins: r.Logins[:0]}
				if r.Err = x.err; x.regex >= 0 {
					f.catchUp()
					r.Time, r.Dated = f.last, true
					if x.found.stays {
						// What is found is changed by what becomes of it, and others want it, too.
						f.line = x.found
						f.org = append(f.org[:0], x.text)
						f.failure(x.regex, &f.line, f.org, r)
					} else {
						f.told(x.regex, &x.found, line[:x.date.Start], f.latelyText, line[x.date.End:], r)
					}
				}
				var err error
				if r.Tells() {
					err = each(line, r)
				}
				c.step()
				if from = c.next; err != nil {
					return err
				}
			}
			if !seen.form.Known() {
				break // dates look otherwise by now
			}
		}
		settle()
	}
	for c.more() {
		if err := look(); err != nil {
			return err
		}
	}
	return nil
}
