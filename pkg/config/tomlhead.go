package config

import (
	"strings"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/transport"
)

// head says what the filter makes of the head of syslog that a line may have: its samples
// show whether its expressions hold it.
func (f *Filter) head() filter.Head {
	if f.raw.JSON != nil {
		return filter.HeadEither
	}
	with, without := false, false
	for _, s := range f.raw.Sample {
		if s.Match != nil && !*s.Match {
			continue
		}
		line, _, _ := strings.Cut(s.Line, "\n")
		if transport.HasHead([]byte(line)) {
			with = true
		} else {
			without = true
		}
	}
	if with && !without {
		return filter.HeadTaken
	}
	return filter.HeadEither
}

// apply applies a filter to lines of one log, and returns what it says of the last one.
func apply(f *filter.Filter, def *filter.Definition, lines []string, now time.Time) (r filter.Result) {
	log := transport.New(def.Around())
	for _, line := range lines {
		if text, frame, ok := log.One([]byte(line)); ok {
			r = f.MatchFramed(text, frame, now)
		}
	}
	return r
}
