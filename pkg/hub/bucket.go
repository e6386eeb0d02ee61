package hub

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/pkg/fleet"
	"bailiff/pkg/safefile"
)

// epochKey is where the stream's own description has its epoch, which is made with it.
const epochKey = "bailiff-epoch"

// membersStream holds who is in the fleet, and which tokens are out; memberSubjects stands before its keys.
const (
	membersStream  = "KV_fleet"
	memberSubjects = "$KV.fleet."
	membersMost    = 200_000
)

// olderMost is how long a cluster's stream must be older than it was, until that is believed: for longer than servers
// take to elect a leader (4 to 9 s). A leader that was asleep answers as of then until it hears of the new one, and nobody
// is to read everything anew for that.
const olderMost = 12 * time.Second

// errOlder is of a stream whose leader knows less than this hub has seen.
var errOlder = errors.New("the stream's leader answers as of some time ago: it has been asleep, or the stream was put back from a backup; it is asked again for 12 s")

// newEpoch is a name that no stream had before.
func newEpoch() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// bansConfig is the stream of bans. It is a bucket of NATS' key-value form, but made by itself: made as a bucket
// with markers it would allow roll-ups, and with those anybody's message may empty it.
func bansConfig(cfg Config, epoch string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: fleet.Stream, Description: "bans of a fleet, written by its gate", Subjects: []string{fleet.StreamSubjects + ">"},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: cfg.Replicas,
		MaxMsgsPerSubject: 1, MaxMsgs: cfg.Entries, MaxBytes: cfg.Store * 3 / 4, MaxMsgSize: 1024, Discard: jetstream.DiscardNew,
		AllowMsgTTL: true, AllowDirect: true, AllowRollup: false, DenyDelete: true, DenyPurge: false,
		// Nothing here has ids; the shortest window that the server takes, so that it remembers none.
		Duplicates: 100 * time.Millisecond,
		RePublish:  &jetstream.RePublish{Source: fleet.StreamSubjects + ">", Destination: fleet.LiveSubjects + ">"},
		Metadata:   map[string]string{epochKey: epoch},
	}
}

func membersConfig(cfg Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: membersStream, Description: "hosts of a fleet, and tokens", Subjects: []string{memberSubjects + ">"},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: cfg.Replicas,
		MaxMsgsPerSubject: 1, MaxMsgs: membersMost, MaxBytes: cfg.Store / 8, MaxMsgSize: 2048, Discard: jetstream.DiscardNew,
		AllowMsgTTL: true, DenyPurge: false, Duplicates: 100 * time.Millisecond,
	}
}

// bucket is the stream of bans as this hub knows it.
type bucket struct {
	dir string
	cfg Config
	js  jetstream.JetStream

	epoch string
	// last is the newest number that this hub has seen in it, beat that of the beat.
	last, beat uint64
	// older is since when the stream is older than that.
	older time.Time
}

// forget has the next open look anew, where the stream is gone; an epoch that is known stays so.
func (b *bucket) forget(err error) {
	if isGone(err) || errors.Is(err, errNotOurs) {
		b.beat = 0
	}
}

// state is what a hub remembers of the stream beside it, so that one that was put back from a backup is known.
type state struct {
	Epoch string `json:"epoch"`
	Last  uint64 `json:"last"`
}

func readState(dir string) (s state, err error) {
	data, err := safefile.ReadFile(filepath.Join(dir, stateFile), 4<<10)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

// save writes what the next start compares with.
func (b *bucket) save() error {
	data, err := json.Marshal(state{b.epoch, b.last})
	if err != nil {
		return err
	}
	return replace(filepath.Join(b.dir, stateFile), append(data, '\n'))
}

// errNotOurs is of a stream that somebody else made, in another way.
var errNotOurs = errors.New("stream " + fleet.Stream + " is not as bailiff makes it")

// open finds the streams, or makes them. anew: the stream of bans has another epoch than this hub knew: it was
// made now, or is an old one that was put back.
func (b *bucket) open(ctx context.Context) (anew bool, err error) {
	// It is made where it is not there, and not asked for by making it: in a cluster that is an entry in all servers' log each time,
	// whose answer doesn't come while one of them is cut off.
	if _, err := b.js.Stream(ctx, membersStream); errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err := b.js.CreateStream(ctx, membersConfig(b.cfg)); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return false, err
		}
	} else if err != nil {
		return false, err
	}
	info, err := b.info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		// Another hub may make it at the same moment: then it is the one that is there.
		if _, err := b.js.CreateStream(ctx, bansConfig(b.cfg, newEpoch())); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return false, err
		}
		info, err = b.info(ctx)
	}
	if err != nil {
		return false, err
	}
	c := info.Config
	if c.AllowRollup || c.MaxMsgsPerSubject != 1 || c.SubjectDeleteMarkerTTL != 0 || !c.AllowMsgTTL || c.RePublish == nil || c.Storage != jetstream.FileStorage || c.AllowMsgCounter || c.AllowAtomicPublish {
		return false, errNotOurs
	}
	epoch := c.Metadata[epochKey]
	known, err := readState(b.dir)
	if b.epoch != "" {
		known, err = state{b.epoch, b.last}, nil
	}
	older := func() bool { return err == nil && epoch == known.Epoch && info.State.LastSeq < known.Last }
	switch {
	case !older() || b.cfg.alone():
		b.older = time.Time{}
	case b.older.IsZero():
		b.older = time.Now()
		return false, errOlder
	case time.Since(b.older) < olderMost:
		return false, errOlder
	}
	// A hub alone that remembers nothing was put back without that: so its stream may be an old one.
	unknown := err != nil && b.cfg.alone()
	if epoch == "" || unknown || older() {
		epoch = newEpoch()
		anew = true
	}
	want := bansConfig(b.cfg, epoch)
	if anew || c.MaxMsgs != want.MaxMsgs || c.MaxBytes != want.MaxBytes || c.Replicas != want.Replicas {
		s, err := b.js.UpdateStream(ctx, want)
		if err != nil {
			return false, fmt.Errorf("stream %s: %w", fleet.Stream, err)
		}
		info = s.CachedInfo()
	}
	anew = anew || err != nil || info.Config.Metadata[epochKey] != known.Epoch
	b.epoch, b.last = info.Config.Metadata[epochKey], info.State.LastSeq
	if b.epoch == "" {
		return false, errNotOurs
	}
	return anew, b.save()
}

// info asks the stream's leader. Where there is none, nobody answers: so no question waits for longer than lookMost,
// here and below.
func (b *bucket) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	s, err := b.js.Stream(ctx, fleet.Stream)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

// put writes a message under a key, if the key's last one is expect; 0: if there is none.
func put(ctx context.Context, js jetstream.JetStream, subject string, data []byte, expect uint64, ttl time.Duration) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(expect), jetstream.WithRetryAttempts(0)}
	if ttl > 0 {
		opts = append(opts, jetstream.WithMsgTTL(ttl))
	}
	ack, err := js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: data}, opts...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// Error codes of the server that are dealt with.
const (
	codeConflict         = 10071
	codeConflictReplicas = 10164
	codeStoreFailed      = 10077 // with the store's own words
	codeResources        = 10023
	codeStorageResources = 10047
)

// isConflict reports whether a key's entry was another one than expected.
func isConflict(err error) bool {
	code := codeOf(err)
	return code == codeConflict || code == codeConflictReplicas
}

// isFull reports whether the stream, or its disk, takes no more.
func isFull(err error) bool {
	switch codeOf(err) {
	case codeResources, codeStorageResources:
		return true
	case codeStoreFailed:
		return strings.Contains(err.Error(), "maximum ") || strings.Contains(err.Error(), "no space")
	}
	return false
}

func codeOf(err error) int {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return int(api.ErrorCode)
	}
	var js jetstream.JetStreamError
	if errors.As(err, &js) && js.APIError() != nil {
		return int(js.APIError().ErrorCode)
	}
	return 0
}

// last reads the last message of a subject, with its number; 0: there is none. Where the stream allows direct gets, as that of
// the bans does, any of its servers answers, and may be behind: who writes by the number is refused then, and
// asks again or says so.
func last(ctx context.Context, js jetstream.JetStream, stream, subject string) (data []byte, rev uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, 0, err
	}
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return m.Data, m.Sequence, nil
}
