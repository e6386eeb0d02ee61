package main

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// sampled is the day on which samples are, so that a new one differs from an old one only
// where the service does.
var sampled = time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)

// layouts are the forms in which services write a day, the longer before those that are
// part of them.
var layouts = []string{
	"Mon Jan _2", "Mon, 02 Jan 2006", "02 Jan 2006", "2006-01-02", "2006/01/02", "02/Jan/2006", "02-Jan-2006", "Jan _2", "Jan 02", "20060102",
}

var epoch = regexp.MustCompile(`\b\d{10}\b`)

// moved is a text of a day, or the day before it, as if it were of the day of samples.
// What is of other days stays.
func moved(text string, day time.Time) string {
	day = day.UTC().Truncate(24 * time.Hour)
	for _, d := range []time.Time{day, day.AddDate(0, 0, -1)} {
		for _, layout := range layouts {
			text = strings.ReplaceAll(text, d.Format(layout), sampled.Format(layout))
		}
		// Years that stand elsewhere, as in "Sat Jan 31 12:00:00 2026".
		if d.Year() != sampled.Year() {
			text = strings.ReplaceAll(text, " "+d.Format("2006")+"]", " "+sampled.Format("2006")+"]")
		}
	}
	return epoch.ReplaceAllStringFunc(text, func(s string) string {
		n, err := strconv.ParseInt(s, 10, 64)
		at := time.Unix(n, 0).UTC().Truncate(24 * time.Hour)
		if err != nil || !at.Equal(day) && !at.Equal(day.AddDate(0, 0, -1)) {
			return s
		}
		return strconv.FormatInt(n-int64(at.Sub(sampled)/time.Second), 10)
	})
}
