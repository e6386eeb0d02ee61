package filter

import (
	"maps"
	"slices"
	"time"

	"bailiff/pkg/logtime"
)

// What a filter knows of the lines that it was given.

// state is all of it. It is not changed.
type state struct {
	dates, headDates *logtime.Detector
	last             time.Time
	lastText         string
	lately           logtime.Date
	latelyText       []byte
	latelyNow        time.Time
	isLately         bool
	number           number
	buffer           []Line
	conns            connections
}

// state is what the filter knows now.
func (f *Filter) state() *state {
	s := state{
		dates: f.dates, headDates: f.headDates, last: f.last, lastText: f.lastText, lately: f.lately, latelyText: f.latelyText,
		latelyNow: f.latelyNow, isLately: f.isLately, number: f.number, buffer: f.buffer, conns: f.conns,
	}
	return s.clone()
}

// know has the filter know a state, which is its own from then on.
func (f *Filter) know(s *state) {
	f.dates, f.headDates, f.last, f.lastText, f.lately, f.latelyText = s.dates, s.headDates, s.last, s.lastText, s.lately, s.latelyText
	f.latelyNow, f.isLately, f.number, f.buffer, f.conns = s.latelyNow, s.isLately, s.number, s.buffer, s.conns
}

func (s *state) clone() *state {
	c := *s
	dates, twin := s.dates.Clone()
	c.dates, c.lately = dates, twin(s.lately)
	if s.headDates != nil {
		c.headDates, _ = s.headDates.Clone()
	}
	c.latelyText, c.buffer, c.conns = slices.Clone(s.latelyText), slices.Clone(s.buffer), s.conns.clone()
	return &c
}

func (c *connections) clone() connections {
	out := connections{size: c.size, sums: c.sums.clone()}
	if len(c.byID) == 0 {
		return out
	}
	out.byID = make(map[string]*connection, len(c.byID))
	all := make([]connection, 0, len(c.byID))
	for conn := range c.order.All() {
		all = append(all, *conn)
		twin := &all[len(all)-1]
		twin.users, twin.matches, twin.nofailMatches = few(conn.users), few(conn.matches), few(conn.nofailMatches)
		twin.attempts.by, twin.groups, twin.order = few(conn.attempts.by), maps.Clone(conn.groups), few(conn.order)
		out.byID[twin.id] = twin
		out.order.Append(twin)
	}
	return out
}

// few is a list in memory of its own; of none, none.
func few[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return slices.Clone(list)
}
