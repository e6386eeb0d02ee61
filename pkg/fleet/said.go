package fleet

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Said is what the stream holds under a key.
type Said struct {
	Key Key
	// Entry is the host's word; nothing in a beat.
	Entry Entry
	// Epoch is that of the stream, in a beat.
	Epoch string
	// Rev is the number that the stream gave it: each is larger than those before.
	Rev uint64
	// Stored is the server's time of that.
	Stored time.Time
}

// The headers that NATS adds to what it tells of its stream, each of them exactly once.
const (
	headerStream   = "Nats-Stream"
	headerSubject  = "Nats-Subject"
	headerSequence = "Nats-Sequence"
	headerTime     = "Nats-Time-Stamp"
)

// errHeaders is of a message whose headers are not those of a server that tells of its stream: a writer's own
// come first, and the first is what most readers take.
var errHeaders = errors.New("its headers are not those that the hub's server writes")

// BadMessage is something that came from the hub and is not to be believed, or not to be understood.
// It is dropped. Rev is the number that it has in the stream, 0 if even that isn't known:
// with one, it is not missing either.
type BadMessage struct {
	Rev uint64
	Err error
}

func (e *BadMessage) Error() string { return "message of the hub: " + e.Err.Error() }

func (e *BadMessage) Unwrap() error { return e.Err }

// ReadLive reads what came on a subject of LiveSubjects. All errors are of *BadMessage.
func ReadLive(subject string, headers map[string][]string, data []byte) (Said, error) {
	s, key, err := read(headers, data)
	if key != "" && subject != LiveSubjects+key {
		return Said{}, &BadMessage{Err: fmt.Errorf("it came on %.200q and says to be of %.200q", subject, key)}
	}
	return s, err
}

// ReadStored reads one of the answers to what was asked at GetSubject. All errors are of *BadMessage.
func ReadStored(headers map[string][]string, data []byte) (Said, error) {
	s, _, err := read(headers, data)
	return s, err
}

func read(headers map[string][]string, data []byte) (s Said, key string, err error) {
	var stream, subject, sequence, stamp string
	for name, values := range headers {
		var into *string
		switch name {
		case headerStream:
			into = &stream
		case headerSubject:
			into = &subject
		case headerSequence:
			into = &sequence
		case headerTime:
			into = &stamp
		default:
			if mistaken(name) {
				return Said{}, "", &BadMessage{Err: errHeaders}
			}
			continue
		}
		if len(values) != 1 {
			return Said{}, "", &BadMessage{Err: errHeaders}
		}
		*into = values[0]
	}
	key, ok := strings.CutPrefix(subject, StreamSubjects)
	rev, err := strconv.ParseUint(sequence, 10, 64)
	if !ok || stream != Stream || err != nil || rev == 0 || rev > numberMost || strconv.FormatUint(rev, 10) != sequence {
		return Said{}, "", &BadMessage{Err: errHeaders}
	}
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil || at.Year() < 2000 || at.Year() > 2200 {
		return Said{}, "", &BadMessage{Err: errHeaders}
	}
	s = Said{Rev: rev, Stored: at}
	if s.Key, err = ParseKey(key); err == nil {
		if s.Key.Kind == Beat {
			s.Epoch, err = DecodeBeat(data)
		} else {
			s.Entry, err = DecodeEntry(s.Key.Kind, data)
		}
	}
	if err != nil {
		return Said{}, key, &BadMessage{Rev: rev, Err: err}
	}
	return s, key, nil
}

// mistaken reports whether a header could be taken for one that counts here: in other letters, or
// a status, which no entry has.
func mistaken(name string) bool {
	for _, one := range []string{headerStream, headerSubject, headerSequence, headerTime, "Status", "Description"} {
		if strings.EqualFold(name, one) {
			return true
		}
	}
	return false
}
