// Package banfile is the form in which bans go from one host to another: a line of JSON
// for each, with its jail, who is banned, when that began and how long it lasts.
//
//	{"jail":"sshd","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":3600,"count":2}
//
// It says of the form of a line whether it is right; who may be banned is for the daemon
// to say.
//
//	r := banfile.NewReader(os.Stdin)
//	for {
//		record, err := r.Next() // *LineError: that line is none, and the next one may be
//		…
//	}
package banfile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"bailiff/pkg/ban"
)

// Bounds of a line.
const (
	// LineMost is how many bytes a line has at most; what is longer is passed over.
	LineMost = 16 << 10
	// jailMost is how many bytes the name of a jail has.
	jailMost = 200
	// ForEver is the BanTime of a ban that does not end.
	ForEver = -1
	// banTimeMost is how many seconds a ban lasts at most that is not for ever: a hundred
	// years, as the database has it.
	banTimeMost = 100 * 366 * 24 * 3600
	// CountMost is how often somebody was banned at the most.
	CountMost = math.MaxInt32
)

// Record is a ban.
type Record struct {
	Jail string `json:"jail"`
	// IP is an address, a network, or another id as a filter found it (<F-ID>).
	IP string `json:"ip"`
	// Address is one that stood beside such an id: that is shut out.
	Address string `json:"address,omitempty"`
	// Time is when the ban began, of whole seconds.
	Time time.Time `json:"time"`
	// BanTime is how long it lasts from then on, in seconds; ForEver: it does not end.
	BanTime int64 `json:"bantime"`
	// Count is how often IP was banned in the jail, with this time; 0 is taken for 1.
	Count int `json:"count,omitempty"`
}

// End returns when the ban is over; not valid: never.
func (r Record) End() (end time.Time, ends bool) {
	if r.BanTime < 0 {
		return time.Time{}, false
	}
	return r.Time.Add(time.Duration(r.BanTime) * time.Second), true
}

// Over reports whether the ban has ended by then.
func (r Record) Over(now time.Time) bool {
	end, ends := r.End()
	return ends && !end.After(now)
}

// Check says what is wrong with a record.
func (r Record) Check() error {
	switch {
	case r.Jail == "":
		return errors.New("it names no jail")
	case len(r.Jail) > jailMost || strings.ContainsFunc(r.Jail, unicode.IsControl) || !utf8.ValidString(r.Jail):
		return fmt.Errorf("%.80q is no name of a jail", r.Jail)
	case r.IP == "":
		return errors.New("it names nobody (ip)")
	case len(r.IP) > ban.MaxName:
		return fmt.Errorf("ip has %d bytes, and %d are the most", len(r.IP), ban.MaxName)
	case r.Time.IsZero():
		return errors.New("it has no time at which the ban began")
	case r.Time.Year() < 1970 || r.Time.Year() > 9000:
		return fmt.Errorf("time is in the year %d", r.Time.Year())
	case r.BanTime < ForEver || r.BanTime > banTimeMost:
		return fmt.Errorf("bantime is %d: want seconds, a hundred years at the most, or %d for a ban without end", r.BanTime, ForEver)
	case r.Count < 0 || r.Count > CountMost:
		return fmt.Errorf("count is %d", r.Count)
	}
	return nil
}

// Parse reads a line.
func Parse(line []byte) (Record, error) {
	// What has to be there can't be told from its zero otherwise.
	var in struct {
		Jail    *string    `json:"jail"`
		IP      *string    `json:"ip"`
		Address string     `json:"address"`
		Time    *time.Time `json:"time"`
		BanTime *int64     `json:"bantime"`
		Count   int        `json:"count"`
	}
	if !utf8.Valid(line) {
		return Record{}, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return Record{}, plainly(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Record{}, errors.New("more follows the ban: a line has one")
	}
	var missing []string
	for _, k := range []struct {
		name string
		none bool
	}{{"jail", in.Jail == nil}, {"ip", in.IP == nil}, {"time", in.Time == nil}, {"bantime", in.BanTime == nil}} {
		if k.none {
			missing = append(missing, k.name)
		}
	}
	if len(missing) > 0 {
		return Record{}, fmt.Errorf("it has no %s", strings.Join(missing, ", "))
	}
	r := Record{Jail: *in.Jail, IP: *in.IP, Address: in.Address, Time: in.Time.UTC().Truncate(time.Second), BanTime: *in.BanTime, Count: in.Count}
	return r, r.Check()
}

// plainly says of an error of the decoder's what a person can do about it.
func plainly(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Errorf("%s: want %s, not %s", kind.Field, kind.Type, kind.Value)
	case errors.As(err, &kind):
		return fmt.Errorf("want an object of JSON, not %s", kind.Value)
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("it is no JSON: %w", err)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// LineError says that a line is no ban.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// Reader reads bans, a line each.
type Reader struct {
	in   *bufio.Reader
	line int
}

// NewReader makes one.
func NewReader(r io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(r, LineMost)} }

// Line is the number of the line that was read last, from 1.
func (r *Reader) Line() int { return r.line }

// Next returns the next ban; empty lines are passed over. io.EOF: that was all. After a
// *LineError reading goes on; any other error is that of what is read from.
func (r *Reader) Next() (Record, error) {
	for {
		line, err := r.in.ReadSlice('\n')
		if len(line) == 0 && err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return Record{}, err
		}
		r.line++
		if errors.Is(err, bufio.ErrBufferFull) {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.in.ReadSlice('\n')
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return Record{}, err
			}
			return Record{}, &LineError{r.line, fmt.Errorf("it is longer than %d bytes", LineMost)}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return Record{}, err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		record, err := Parse(line)
		if err != nil {
			return Record{}, &LineError{r.line, err}
		}
		return record, nil
	}
}

// Write writes bans, a line each.
func Write(w io.Writer, records []Record) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return out.Flush()
}
