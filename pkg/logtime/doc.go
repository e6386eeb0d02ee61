// Package logtime finds the time in a line of a log and reads it. It knows
// nothing of filters, and it never asks the clock: what time it is now, by
// which a date without a year is read, is an argument.
//
//	d, err := logtime.NewDetector(nil, logtime.Options{Location: time.Local})
//	if m, ok := d.Find(line, now); ok {
//		rest := slices.Concat(line[:m.Start], line[m.End:])
//		…
//	}
//
// Patterns are those of fail2ban's datepattern: strptime directives in a
// Python regular expression, EPOCH, and the anchor {^LN-BEG}.
package logtime
