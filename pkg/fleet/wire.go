package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Names in the stream and on the wire. The stream is a bucket of NATS' key-value form.
const (
	// Stream is the stream's name.
	Stream = "KV_bans"
	// StreamSubjects is what stands before a key in the stream's subjects.
	StreamSubjects = "$KV.bans."
	// LiveSubjects is what stands before a key where the hub tells of what was stored.
	LiveSubjects = "live.bans."
	// PutSubjects is what stands before a key where a host asks the hub to store something.
	PutSubjects = "put."
	// GetSubject is where a host asks for what is stored (NATS' direct get of the stream).
	GetSubject = "get.bans"
	// InboxPrefix is what stands before a host's name in the subjects of answers to it.
	InboxPrefix = "_INBOX."
	// PutMost and AnswerMost are how many bytes a question and its answer have at most.
	PutMost    = EntryMost + 64
	AnswerMost = 256
	// BeatMost is how many bytes a beat has.
	BeatMost = 128
)

// AllowSubjects is what stands before the name of a host that asks for the fleet's allow-list.
const AllowSubjects = "fleet.allow."

type wireAllow struct {
	V       int    `json:"v"`
	Version uint64 `json:"version"`
}

// AllowAsked is where a host asks for the allow-list, and what: it has that version of it; 0: none. The answer is the signed list,
// or nothing where the hub has that one, or none.
func AllowAsked(host string, version uint64) (subject string, data []byte, err error) {
	data, err = json.Marshal(wireAllow{V: 1, Version: version})
	return AllowSubjects + host, data, err
}

// ParseAllowAsked reads what AllowAsked wrote.
func ParseAllowAsked(subject string, data []byte) (host string, version uint64, err error) {
	var w wireAllow
	if err := decode(data, AnswerMost, &w); err != nil {
		return "", 0, fmt.Errorf("allow-list: %w", err)
	}
	host, ok := strings.CutPrefix(subject, AllowSubjects)
	if !ok || w.V != 1 || w.Version > numberMost {
		return "", 0, errors.New("allow-list: it is not asked for in this form")
	}
	return host, w.Version, CheckHost(host)
}

// BeatEvery is how often the hub writes the beat.
const BeatEvery = 2 * time.Second

// Put asks the hub to store an entry under the key that the subject names: PutSubjects and the key. That
// the host is the one of the key is what NATS' permissions are for.
type Put struct {
	// Expect is the number in the stream that the key's entry has now; 0: there is none. So what is asked twice is
	// stored once.
	Expect uint64
	Entry  Entry
}

type wirePut struct {
	V      int             `json:"v"`
	Expect uint64          `json:"expect"`
	Entry  json.RawMessage `json:"entry"`
}

// PutSubject is where a put of that key is sent.
func PutSubject(k Key) string { return PutSubjects + k.String() }

// ParsePutSubject reads the key of a subject on which a put came: a ban or a lift of some host.
func ParsePutSubject(subject string) (Key, error) {
	rest, ok := strings.CutPrefix(subject, PutSubjects)
	if !ok {
		return Key{}, fmt.Errorf("subject %.200q: want %sKEY", subject, PutSubjects)
	}
	k, err := ParseKey(rest)
	switch {
	case err != nil:
		return Key{}, err
	case k.Host == Hub || k.Kind != Ban && k.Kind != Lift:
		return Key{}, fmt.Errorf("key %.200q: only the hub says that", rest)
	}
	return k, nil
}

// Encode is the put for a key of that kind.
func (p Put) Encode(k Kind) ([]byte, error) {
	entry, err := p.Entry.Encode(k)
	if err != nil {
		return nil, err
	}
	if p.Expect > numberMost {
		return nil, errors.New("put: the expected number is too large")
	}
	return json.Marshal(wirePut{version, p.Expect, entry})
}

// DecodePut reads what Encode wrote, and nothing else.
func DecodePut(k Kind, data []byte) (Put, error) {
	var w wirePut
	if err := decode(data, PutMost, &w); err != nil {
		return Put{}, fmt.Errorf("put: %w", err)
	}
	if w.V != version {
		return Put{}, fmt.Errorf("put: %w", ErrVersion)
	}
	if w.Expect > numberMost {
		return Put{}, errors.New("put: the expected number is too large")
	}
	e, err := DecodeEntry(k, w.Entry)
	return Put{Expect: w.Expect, Entry: e}, err
}

// Status is how the hub answers a put.
type Status string

const (
	// Stored: the stream has it, on disk, as number Rev.
	Stored Status = "ok"
	// Conflict: the key's entry is not the expected one. Who asked looks what it is, and
	// asks again only if his own is newer.
	Conflict Status = "conflict"
	// Refused: this entry will never be stored, for Reason.
	Refused Status = "refused"
	// Busy: not now, for Reason; Rev and Wait say nothing of others.
	Busy Status = "busy"
)

// Reason is why the hub doesn't store an entry: one of a few words, so that an answer never repeats what was sent.
type Reason string

// The reasons.
const (
	BadKey     Reason = "key"        // the subject is no key of a ban or a lift
	BadEntry   Reason = "entry"      // what was sent is not a put in its form
	BadVersion Reason = "version"    // it is of another version
	BadSeen    Reason = "seen"       // it says to have seen what is not there yet
	NoGroup    Reason = "group"      // the hub knows no such group
	NoHost     Reason = "host"       // the host is not, or no longer, one of the fleet
	NoLift     Reason = "lift"       // the host may not lift what others banned
	Allowed    Reason = "allowed"    // the fleet's allow-list holds the address, or a part of the network
	TooWide    Reason = "wide"       // the network is larger than the fleet bans
	Ended      Reason = "ended"      // the ban is over
	Quota      Reason = "quota"      // the host has as many bans in the fleet as it may have
	Rate       Reason = "rate"       // the host sends faster than it may
	Down       Reason = "down"       // the stream does not take anything now
	Full       Reason = "full"       // the stream is full
	StaleEpoch Reason = "stale"      // the hub does not yet know what its stream holds
	TooMany    Reason = "concurrent" // too many puts are on their way
	NoCount    Reason = "count"      // the hub counts no failures in that group
)

var reasons = map[Reason]Status{
	BadKey: Refused, BadEntry: Refused, BadVersion: Refused, BadSeen: Refused, NoGroup: Refused, NoHost: Refused,
	NoLift: Refused, Allowed: Refused, TooWide: Refused, Ended: Refused, NoCount: Refused,
	Quota: Busy, Rate: Busy, Down: Busy, Full: Busy, StaleEpoch: Busy, TooMany: Busy,
}

// Answer is what the hub says to a put. It says Stored only after the stream's own word.
type Answer struct {
	Status Status
	// Rev is the number in the stream, where it was Stored.
	Rev uint64
	// Reason is why not, of Refused and Busy.
	Reason Reason
}

type wireAnswer struct {
	V      int    `json:"v"`
	Status Status `json:"status"`
	Rev    uint64 `json:"rev,omitempty"`
	Reason Reason `json:"reason,omitempty"`
}

// No is the answer for a reason.
func No(r Reason) Answer { return Answer{Status: reasons[r], Reason: r} }

func (a Answer) check() error {
	switch {
	case a.Status == Stored && a.Rev > 0 && a.Rev <= numberMost && a.Reason == "":
	case a.Status == Conflict && a.Rev == 0 && a.Reason == "":
	case (a.Status == Refused || a.Status == Busy) && a.Rev == 0 && reasons[a.Reason] == a.Status:
	default:
		return errors.New("answer: it is none that a hub of this version gives")
	}
	return nil
}

// Encode is the answer as it is sent.
func (a Answer) Encode() ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return json.Marshal(wireAnswer{version, a.Status, a.Rev, a.Reason})
}

// DecodeAnswer reads what Encode wrote, and nothing else.
func DecodeAnswer(data []byte) (Answer, error) {
	var w wireAnswer
	if err := decode(data, AnswerMost, &w); err != nil {
		return Answer{}, fmt.Errorf("answer: %w", err)
	}
	if w.V != version {
		return Answer{}, fmt.Errorf("answer: %w", ErrVersion)
	}
	a := Answer{w.Status, w.Rev, w.Reason}
	return a, a.check()
}

type wireBeat struct {
	V     int    `json:"v"`
	Epoch string `json:"epoch"`
}

// EncodeBeat is the beat's value: which stream this is. A stream that was made anew, or put back from a
// backup, has another epoch.
func EncodeBeat(epoch string) ([]byte, error) {
	if !isName(epoch) {
		return nil, fmt.Errorf("epoch %.80q: want a-z, 0-9 and -", epoch)
	}
	return json.Marshal(wireBeat{version, epoch})
}

// DecodeBeat reads what EncodeBeat wrote.
func DecodeBeat(data []byte) (epoch string, err error) {
	var w wireBeat
	if err := decode(data, BeatMost, &w); err != nil {
		return "", fmt.Errorf("beat: %w", err)
	}
	if w.V != version {
		return "", fmt.Errorf("beat: %w", ErrVersion)
	}
	if !isName(w.Epoch) {
		return "", fmt.Errorf("beat: epoch %.80q: want a-z, 0-9 and -", w.Epoch)
	}
	return w.Epoch, nil
}
