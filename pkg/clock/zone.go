package clock

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"time"

	"bailiff/pkg/lazyregexp"
)

// posixZone is the form of TZ in POSIX, as in CET-1CEST,M3.5.0,M10.5.0/3: a name and how
// far it lies behind UTC, the same of summer time, and when that begins and ends.
var posixZone = lazyregexp.New(`^(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d{1,2}(?::\d{1,2}){0,2}` +
	`(?:(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)(?:[+-]?\d{1,2}(?::\d{1,2}){0,2})?` +
	`(?:,(?:M\d{1,2}\.[1-5]\.[0-6]|J?\d{1,3})(?:/[+-]?\d{1,3}(?::\d{1,2}){0,2})?){0,2})?$`)

// UsePOSIXZone makes time.Local what TZ says, where it has the form of POSIX; Go takes it
// for the name of a zone, and UTC in its place. Called at the start of a program, before
// anything asks for the time.
func UsePOSIXZone() {
	tz := strings.TrimPrefix(os.Getenv("TZ"), ":")
	if tz == "" {
		return
	}
	if loc, err := POSIXZone(tz); err == nil {
		if _, err := time.LoadLocation(tz); err != nil { // a file of that name goes first
			time.Local = loc
		}
	}
}

// POSIXZone returns the zone that a text in POSIX' form describes.
func POSIXZone(tz string) (*time.Location, error) {
	if !posixZone.MatchString(tz) {
		return nil, fmt.Errorf("time zone %q: want it as CET-1CEST,M3.5.0,M10.5.0/3", tz)
	}
	// A file of zones (RFC 8536) without any change of time ends with such a text, which
	// says what is to come after the last change; Go reads it there.
	header := func(b []byte) []byte {
		b = append(b, "TZif2"...)
		b = append(b, make([]byte, 15)...)
		for _, n := range []uint32{0, 0, 0, 0, 1, 4} { // one kind of time, four letters of names
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return append(append(b, 0, 0, 0, 0, 0, 0), "UTC\x00"...)
	}
	data := header(header(nil))
	return time.LoadLocationFromTZData("Local", append(data, "\n"+tz+"\n"...))
}
