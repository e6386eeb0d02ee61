package syslog

import (
	"bytes"
	"time"
)

// Dates of messages.

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// readDate reads the date at the beginning of a text: "Jan 31 12:00:00" with or without a
// fraction, a year, a zone (a word of capitals or an offset) and a colon behind it, as
// appliances write them; or "2026-01-31T12:00:00.25+01:00". n is its length; 0: there is none.
func readDate(text []byte, now time.Time) (t time.Time, n int) {
	if len(text) > 19 && text[4] == '-' && text[10] == 'T' {
		n = bytes.IndexByte(text[:min(len(text), 40)], ' ')
		if n < 0 {
			return t, 0
		}
		stamp := bytes.TrimSuffix(text[:n], []byte(":"))
		if t, ok := rfc3339(stamp); ok {
			return t, n
		}
		if t, err := time.ParseInLocation("2006-01-02T15:04:05.999999999", string(stamp), now.Location()); err == nil {
			return t, n
		}
		return t, 0
	}
	at := 0
	if len(text) > 0 && (text[0] == '*' || text[0] == '.') { // the clock of a router is not set
		at = 1
	}
	if len(text) < at+15 || text[at+3] != ' ' {
		return t, 0
	}
	month := bytes.Index([]byte(months), text[at:at+3])
	if month < 0 || month%3 != 0 {
		return t, 0
	}
	at += 4
	if text[at] == ' ' {
		at++
	}
	day, at, ok := number(text, at, 1, 2)
	if !ok || at >= len(text) || text[at] != ' ' {
		return t, 0
	}
	at++
	year := 0
	if y, next, ok := number(text, at, 4, 4); ok && next < len(text) && text[next] == ' ' {
		year, at = y, next+1
	}
	var clock [3]int
	for i := range clock {
		if i > 0 {
			if at >= len(text) || text[at] != ':' {
				return t, 0
			}
			at++
		}
		if clock[i], at, ok = number(text, at, 2, 2); !ok {
			return t, 0
		}
	}
	nanos := 0
	if at+1 < len(text) && text[at] == '.' && isDigit(text[at+1]) {
		scale := int(time.Second)
		for at++; at < len(text) && isDigit(text[at]); at++ {
			if scale /= 10; scale > 0 {
				nanos += int(text[at]-'0') * scale
			}
		}
	}
	zone := now.Location()
	if name, next := zoneName(text, at); next > 0 {
		if name == "UTC" || name == "GMT" || name == "Z" {
			zone = time.UTC
		}
		at = next
	}
	if at < len(text) && text[at] == ':' {
		at++
	}
	if at < len(text) && text[at] != ' ' {
		return t, 0
	}
	if day < 1 || day > 31 || clock[0] > 23 || clock[1] > 59 || clock[2] > 60 {
		return t, 0
	}
	in := func(year int) time.Time {
		return time.Date(year, time.Month(month/3+1), day, clock[0], clock[1], clock[2], nanos, zone)
	}
	if year != 0 {
		return in(year), at
	}
	// The year in which it is nearest to now.
	year = now.In(zone).Year()
	t = in(year)
	for _, y := range []int{year - 1, year + 1} {
		if other := in(y); other.Sub(now).Abs() < t.Sub(now).Abs() {
			t = other
		}
	}
	return t, at
}

// zoneName reads " UTC:", a word of capitals that a colon ends; next is 0 if there is none.
func zoneName(text []byte, at int) (name string, next int) {
	if at >= len(text) || text[at] != ' ' {
		return "", 0
	}
	n := at + 1
	for n < len(text) && n < at+6 && text[n] >= 'A' && text[n] <= 'Z' {
		n++
	}
	if n == at+1 || n >= len(text) || text[n] != ':' {
		return "", 0
	}
	return string(text[at+1 : n]), n
}

// number reads a number of so many digits.
func number(text []byte, at, least, most int) (value, next int, ok bool) {
	next = at
	for next < len(text) && next < at+most && isDigit(text[next]) {
		value = value*10 + int(text[next]-'0')
		next++
	}
	return value, next, next-at >= least
}

// rfc3339 reads a date as RFC 5424 has it.
func rfc3339(text []byte) (time.Time, bool) {
	if len(text) < 20 || len(text) > 35 || text[10] != 'T' || bytes.IndexByte(text, ',') >= 0 {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	return t, err == nil
}
