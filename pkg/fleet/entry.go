package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Bounds of what is said of a ban.
const (
	// EntryMost is how many bytes an entry has at most.
	EntryMost = 512
	// textMost is how many bytes the name of a jail, or of an epoch, has.
	textMost = 64
	// Permanent is the Left of a ban that does not end. In the fleet it is as long as the longest that the
	// fleet knows, so that a lift outlives all that it lifts; the host says it anew before that.
	Permanent = -1
	// secondsMost is how many seconds there are in a Left or an Age at most: a hundred years.
	secondsMost = 100 * 366 * 24 * 3600
	// numberMost is the largest number that every reader of JSON knows exactly.
	numberMost = 1<<53 - 1
)

// version is that of entries, beats, and what is asked of the hub.
const version = 1

// Entry is what a host says of a ban, or of a lift.
type Entry struct {
	// Jail is the one that banned; of a lift who lifted, or nothing.
	Jail string
	// Left is how many seconds of the ban were left when it was made; Permanent: it doesn't end; 0: the
	// host has lifted its own ban. Of a lift it is 0.
	Left int64
	// N counts what this host has said: a larger one is later.
	N uint64
	// Seen is the number in the stream up to which the host had seen everything when it made this.
	Seen uint64
	// Epoch is the stream's that Seen is of; empty where that is not known any more.
	Epoch string
	// Age is how many seconds passed from its making to its sending: right on any clock.
	Age int64
	// Count is how often the host has banned it.
	Count uint32
	// Failures are those that led to the ban.
	Failures uint32
}

// wireEntry is an entry's form: these members, in this order, all of them.
type wireEntry struct {
	V        int    `json:"v"`
	Jail     string `json:"jail"`
	Left     int64  `json:"left"`
	N        uint64 `json:"n"`
	Seen     uint64 `json:"seen"`
	Epoch    string `json:"epoch"`
	Age      int64  `json:"age"`
	Count    uint32 `json:"count"`
	Failures uint32 `json:"failures"`
}

// ErrVersion is what is said in another version of this protocol.
var ErrVersion = errors.New("it is of another version of bailiff's fleet")

// Encode is the entry as the stream holds it under a key of that kind.
func (e Entry) Encode(k Kind) ([]byte, error) {
	if err := e.check(k); err != nil {
		return nil, err
	}
	return json.Marshal(wireEntry{version, e.Jail, e.Left, e.N, e.Seen, e.Epoch, e.Age, e.Count, e.Failures})
}

// DecodeEntry reads what Encode wrote, and nothing else.
func DecodeEntry(k Kind, data []byte) (Entry, error) {
	var w wireEntry
	if err := decode(data, EntryMost, &w); err != nil {
		return Entry{}, fmt.Errorf("entry: %w", err)
	}
	if w.V != version {
		return Entry{}, fmt.Errorf("entry: %w", ErrVersion)
	}
	e := Entry{w.Jail, w.Left, w.N, w.Seen, w.Epoch, w.Age, w.Count, w.Failures}
	return e, e.check(k)
}

// decode reads JSON of one form: as it is written by json.Marshal. So there are no members twice, none
// that nobody knows, and no two texts for one value.
func decode(data []byte, most int, into any) error {
	if len(data) > most {
		return fmt.Errorf("it has %d bytes, and may have %d", len(data), most)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return err
	}
	again, err := json.Marshal(into)
	if err == nil && !bytes.Equal(again, data) {
		return errors.New("its JSON is not in the form in which bailiff writes it")
	}
	return err
}

func (e Entry) check(k Kind) error {
	bad := func(what string, value any) error { return fmt.Errorf("entry: %s: %.80q", what, fmt.Sprint(value)) }
	switch {
	case k != Ban && k != Lift && k != Distrust:
		return errors.New("entry: it is of no ban and no lift")
	case e.Jail == "" && k == Ban || len(e.Jail) > textMost || !isText(e.Jail):
		return bad("a jail's name is 1 to 64 printable characters of ASCII", e.Jail)
	case len(e.Epoch) > textMost || e.Epoch != "" && !isName(e.Epoch):
		return bad("an epoch is a-z, 0-9 and -", e.Epoch)
	case e.Left < Permanent || e.Left > secondsMost || k != Ban && e.Left != 0:
		return bad("seconds left", e.Left)
	case e.Age < 0 || e.Age > secondsMost:
		return bad("age in seconds", e.Age)
	case e.N == 0 || e.N > numberMost:
		return bad("number", e.N)
	case e.Seen > numberMost:
		return bad("number seen", e.Seen)
	case k != Ban && (e.Count != 0 || e.Failures != 0):
		return bad("a lift has no failures and is no ban", e.Failures)
	}
	return nil
}

// isText reports whether JSON writes it as it is.
func isText(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

// Text is a jail's name as an entry may hold it: what can't be in one is _.
func Text(s string) string {
	b := []byte(s[:min(len(s), textMost)])
	for i := range b {
		if !isText(string(b[i : i+1])) {
			b[i] = '_'
		}
	}
	return string(b)
}

// byHand is what stands in the place of a jail's name before who has banned, or taken back, by hand.
const byHand = "by-hand "

// ByHand is what is said in the place of a jail where somebody bans by hand.
func ByHand(who string) string { return Text(byHand + who) }

// Hand is who has banned by hand; false: a jail has.
func (e Entry) Hand() (who string, ok bool) { return strings.CutPrefix(e.Jail, byHand) }

// Gone reports whether it says that the host's own ban is lifted.
func (e Entry) Gone() bool { return e.Left == 0 }

// keepLonger is how much longer than what it is about an entry stays in the stream, and liftLonger how
// much longer than the longest ban a lift does: a ban that the rule has it lift may be later by the grace.
const (
	keepLonger = 5 * time.Second
	liftLonger = time.Minute
)

// TTL is how long the stream is to keep an entry that comes in now, in whole seconds, which is what
// the server knows. Most is the longest time that a ban has in the fleet. It is not over before the ban
// ends; a lift and the word that a ban is gone stay for as long as what they lift could last. Ended says
// that there is nothing to be kept any more.
func (e Entry) TTL(k Kind, most time.Duration) (ttl time.Duration, ended bool) {
	left, longer := seconds(most+liftLonger), time.Duration(0)
	if k == Ban && !e.Gone() {
		left, longer = seconds(within(e.Left, most)), keepLonger
	}
	left -= e.Age
	return time.Duration(left)*time.Second + longer, left <= 0
}

// within is how long a ban is in force that had so many seconds left.
func within(left int64, most time.Duration) time.Duration {
	if left == Permanent || left > int64(most/time.Second) {
		return most
	}
	return time.Duration(left) * time.Second
}

// seconds rounds up to whole ones.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
