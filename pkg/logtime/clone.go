package logtime

import "slices"

// Clone returns a detector that knows the same, and goes on by itself. twin says what a date
// of this one is there.
func (d *Detector) Clone() (c *Detector, twin func(Date) Date) {
	own := *d
	c = &own
	templates := make(map[*Template]*Template, len(d.templates))
	all := make([]Template, len(d.templates))
	c.templates = make([]*Template, len(d.templates))
	for i, t := range d.templates {
		all[i] = *t
		c.templates[i], templates[t] = &all[i], &all[i]
	}
	if d.order != nil { // the set is everybody's
		c.order = make([]*Template, len(d.order))
		for i, t := range d.order {
			c.order[i] = templates[t]
		}
	}
	shapes := map[*shape]*shape{}
	same := func(s *shape) *shape {
		if s == nil || templates[s.t] == nil {
			return s // of another detector
		}
		t := shapes[s]
		if t == nil {
			own := *s // what it points to does not change
			own.t = templates[s.t]
			t, shapes[s] = &own, &own
		}
		return t
	}
	c.last, c.shape, c.reader.s = templates[d.last], same(d.shape), same(d.reader.s)
	for i, s := range d.shapes {
		c.shapes[i] = same(s)
	}
	c.reader.text = slices.Clone(d.reader.text)
	c.maybe, c.bufs = nil, [2][]int{}
	return c, func(q Date) Date {
		q.shape = same(q.shape)
		return q
	}
}
