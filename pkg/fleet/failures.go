package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Failures that are counted over all hosts: what a host tells the hub of them, and what that answers. Nothing of it is stored in
// the stream: the hub counts in memory, and what comes of it is a ban in its own name.

const (
	// FailSubjects is what stands before the name of a host that tells of failures.
	FailSubjects = "fail."
	// FailuresMost is how many bytes are told at a time.
	FailuresMost = 4000
	// AgesMost is how many failures of an address are told at most: the newest.
	AgesMost = 16
	// FindMost is how old a failure may be that is told.
	FindMost = 24 * time.Hour
	// FailAnswerMost is how many bytes an answer has.
	FailAnswerMost = 128
)

// Failures are what a host has seen in a group, of some addresses. Of each it is all that the host would have counted, and takes
// the place of what the host has told of that before: so what is told twice counts once, and what was lost is made
// good by the next.
type Failures struct {
	// Run names the life of the host's daemon: what one before it told of an address goes on to count beside.
	Run   string
	Group string
	Of    []FailuresOf
}

// FailuresOf are those of an address or a network: how many seconds ago, the newest first. None: the host has taken them back.
type FailuresOf struct {
	Prefix netip.Prefix
	Ages   []int64
}

type wireFailures struct {
	V     int              `json:"v"`
	Run   string           `json:"run"`
	Group string           `json:"group"`
	Of    []wireFailuresOf `json:"of"`
}

type wireFailuresOf struct {
	Addr string  `json:"addr"`
	Ages []int64 `json:"ages"`
}

func (f *Failures) check() error {
	switch {
	case !isName(f.Run):
		return fmt.Errorf("failures: run %.80q: want a-z, 0-9 and -", f.Run)
	case !isName(f.Group):
		return fmt.Errorf("failures: group %.80q: want a-z, 0-9 and -", f.Group)
	case len(f.Of) == 0:
		return errors.New("failures: of nobody")
	}
	for _, of := range f.Of {
		if len(of.Ages) > AgesMost {
			return fmt.Errorf("failures: %d of one address: want %d at most", len(of.Ages), AgesMost)
		}
		before := int64(0)
		for _, age := range of.Ages {
			if age < before || age > int64(FindMost/time.Second) {
				return errors.New("failures: want seconds, the newest first")
			}
			before = age
		}
	}
	return nil
}

// Encode is what is sent.
func (f *Failures) Encode() ([]byte, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	w := wireFailures{version, f.Run, f.Group, make([]wireFailuresOf, 0, len(f.Of))}
	for _, of := range f.Of {
		ages := of.Ages
		if ages == nil {
			ages = []int64{}
		}
		w.Of = append(w.Of, wireFailuresOf{Token(of.Prefix), ages})
	}
	data, err := json.Marshal(w)
	if err == nil && len(data) > FailuresMost {
		err = fmt.Errorf("failures: %d bytes: want %d at most", len(data), FailuresMost)
	}
	return data, err
}

// DecodeFailures reads what Encode wrote, and nothing else.
func DecodeFailures(data []byte) (f Failures, err error) {
	var w wireFailures
	if err := decode(data, FailuresMost, &w); err != nil {
		return f, fmt.Errorf("failures: %w", err)
	}
	if w.V != version {
		return f, fmt.Errorf("failures: %w", ErrVersion)
	}
	f = Failures{Run: w.Run, Group: w.Group}
	for _, of := range w.Of {
		p, err := ParseToken(of.Addr)
		if err != nil {
			return Failures{}, fmt.Errorf("failures: %w", err)
		}
		if of.Ages == nil {
			return Failures{}, errors.New("failures: want seconds, or [] for none")
		}
		f.Of = append(f.Of, FailuresOf{p, of.Ages})
	}
	if err := f.check(); err != nil {
		return Failures{}, err
	}
	return f, nil
}

// bytes is how many of them one address takes at the most.
func (of *FailuresOf) bytes() int {
	n := len(`{"addr":"","ages":[]},`) + len(Token(of.Prefix))
	for _, age := range of.Ages {
		n += len(fmt.Sprint(age)) + 1
	}
	return n
}

// FailSubject is where a host tells of failures.
func FailSubject(host string) string { return FailSubjects + host }

// ParseFailSubject is the host of a subject on which failures came.
func ParseFailSubject(subject string) (host string, err error) {
	host, ok := strings.CutPrefix(subject, FailSubjects)
	if !ok {
		return "", fmt.Errorf("subject %.200q: want %sHOST", subject, FailSubjects)
	}
	return host, CheckHost(host)
}

// FailAnswer is what the hub says to Failures.
type FailAnswer struct {
	// Reason is why they are not counted; empty: they are.
	Reason Reason
	// Find is in which time the hub counts in that group, Share how many failures of one host.
	Find  time.Duration
	Share int
}

type wireFailAnswer struct {
	V      int    `json:"v"`
	Find   int64  `json:"find"`
	Share  int    `json:"share"`
	Reason Reason `json:"uncounted,omitempty"`
}

func (a FailAnswer) check() error {
	_, known := reasons[a.Reason]
	counted := a.Reason == "" && a.Find >= time.Second && a.Find <= FindMost && a.Share >= 1 && a.Share <= AgesMost
	if refused := known && a.Find == 0 && a.Share == 0; !counted && !refused {
		return errors.New("answer to failures: it is none that a hub of this version gives")
	}
	return nil
}

// Encode is the answer as it is sent.
func (a FailAnswer) Encode() ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return json.Marshal(wireFailAnswer{version, int64(a.Find / time.Second), a.Share, a.Reason})
}

// DecodeFailAnswer reads what Encode wrote, and nothing else.
func DecodeFailAnswer(data []byte) (FailAnswer, error) {
	var w wireFailAnswer
	if err := decode(data, FailAnswerMost, &w); err != nil {
		return FailAnswer{}, fmt.Errorf("answer to failures: %w", err)
	}
	if w.V != version {
		return FailAnswer{}, fmt.Errorf("answer to failures: %w", ErrVersion)
	}
	if w.Find < 0 || w.Find > int64(FindMost/time.Second) {
		return FailAnswer{}, errors.New("answer to failures: it is none that a hub of this version gives")
	}
	a := FailAnswer{w.Reason, time.Duration(w.Find) * time.Second, w.Share}
	return a, a.check()
}
