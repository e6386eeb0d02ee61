package hub

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
)

// host is what the fleet knows of a host, under host.NAME.
type host struct {
	Name  string    `json:"name"`
	Key   string    `json:"key"`
	Lifts bool      `json:"lifts,omitempty"`
	Since time.Time `json:"since"`
	// Gone is when it left, or was taken out. Why is which of them.
	Gone time.Time `json:"gone"`
	Why  string    `json:"why,omitempty"`
	// Former are keys that were taken back before this one, and when.
	Former map[string]time.Time `json:"former,omitempty"`
}

// formerMost is how many of them a record holds: older ones are in no JWT that anybody has kept that long.
const formerMost = 8

// token is one that is out, under token.ID.
type token struct {
	// Hash is that of its secret.
	Hash  string    `json:"hash"`
	Name  string    `json:"name,omitempty"` // the host that it is for; empty: any
	Lifts bool      `json:"lifts,omitempty"`
	Until time.Time `json:"until"`
	// URLs are where its host finds its hub, if that is a region's.
	URLs []string `json:"urls,omitempty"`
	// Used is the key that it has let in.
	Used     string `json:"used,omitempty"`
	UsedName string `json:"used_name,omitempty"`
}

// members are the fleet's hosts and tokens, in a stream beside that of the bans.
type members struct {
	js jetstream.JetStream
	k  keys
	// urls and pin are what tokens tell.
	urls func() []string
	pin  string
	// allowKey is what hosts pin; empty: nothing.
	allowKey string
	// known are the hosts that changed has found, seen how far it has read their stream. They are the hub's main goroutine's.
	known map[string]host
	seen  uint64
}

// TokenOptions are what a token allows.
type TokenOptions struct {
	// Name is the only name that it lets in; empty: any that is free.
	Name string
	// Lifts: the host may lift what others banned.
	Lifts bool
	// Valid is how long it is good for.
	Valid time.Duration
	// Region is the one whose hub the host is to find; empty: the root.
	Region string
	urls   []string
}

// token makes one.
func (m *members) token(ctx context.Context, o TokenOptions) (enrol.Token, error) {
	t := enrol.Token{URLs: m.urls(), Pin: m.pin, AllowKey: m.allowKey}
	if o.Region != "" {
		t.URLs = o.urls
	}
	if o.Name != "" {
		if err := fleet.CheckHost(o.Name); err != nil {
			return t, err
		}
	}
	if o.Valid < time.Minute || o.Valid > 30*24*time.Hour {
		return t, fmt.Errorf("a token is good for %v: want a minute to 30 days", o.Valid)
	}
	until := time.Now().Add(o.Valid).Truncate(time.Second)
	user, err := nkeys.CreateUser()
	if err != nil {
		return t, err
	}
	seed, err := user.Seed()
	if err != nil {
		return t, err
	}
	t.Seed, t.Until = string(seed), until.Unix()
	t.ID, t.Secret = word(10), word(20)
	if t.JWT, err = signUser(m.k, joinRole, t.ID, public(user), until); err != nil {
		return t, err
	}
	data, err := json.Marshal(token{Hash: hash(t.Secret), Name: o.Name, Lifts: o.Lifts, Until: until, URLs: o.urls})
	if err != nil {
		return t, err
	}
	_, err = put(ctx, m.js, memberSubjects+"token."+t.ID, data, 0, time.Until(until).Truncate(time.Second)+time.Second)
	return t, err
}

// word is a secret of so many bytes.
func word(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Answers to who wants to join.
const (
	saidToken   = "the token is not known: it has ended, or is of another fleet; have `bailiff fleet token` print a new one at the hub"
	saidUsed    = "the token has let in another host: have `bailiff fleet token` print a new one at the hub"
	saidName    = "a host's name is a-z, 0-9 and, after the first, -; 63 at the most, and hub is the hub's own: choose one by --name"
	saidOther   = "the token is for a host of another name: the one that was said when it was made"
	saidTaken   = "there is a host of that name in the fleet: choose another one by --name, or `bailiff fleet distrust` the old one at the hub first"
	saidForm    = "what was asked is not in the form of this version of bailiff"
	saidLater   = "the hub can't store anything now: try again later"
	saidVersion = "the hub is of another version of bailiff"
)

// join lets a host in. changed: who is in the fleet is another now.
func (m *members) join(ctx context.Context, data []byte) (reply enrol.Reply, changed string, err error) {
	no := func(why string) (enrol.Reply, string, error) {
		return enrol.Reply{V: enrol.Version, Refused: why}, "", nil
	}
	var q enrol.Request
	if err := enrol.Decode(data, payloadMost, &q); err != nil {
		return no(saidForm)
	}
	if q.V != enrol.Version {
		return no(saidVersion)
	}
	if !nkeys.IsValidPublicUserKey(q.Key) {
		return no(saidForm)
	}
	if fleet.CheckHost(q.Name) != nil {
		return no(saidName)
	}
	if q.ID == "" || len(q.ID) > 40 || strings.Trim(q.ID, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return no(saidToken)
	}
	subject := memberSubjects + "token." + q.ID
	stored, rev, err := last(ctx, m.js, membersStream, subject)
	if err != nil {
		r, _, _ := no(saidLater)
		return r, "", err
	}
	var t token
	if rev == 0 || json.Unmarshal(stored, &t) != nil || subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hash(q.Secret))) != 1 || time.Now().After(t.Until) {
		return no(saidToken)
	}
	if t.Name != "" && t.Name != q.Name {
		return no(saidOther)
	}
	if t.Used != "" && (t.Used != q.Key || t.UsedName != q.Name) {
		return no(saidUsed)
	}
	h, hostRev, err := m.host(ctx, q.Name)
	if err != nil {
		r, _, _ := no(saidLater)
		return r, "", err
	}
	if hostRev != 0 && h.Gone.IsZero() && h.Key != q.Key {
		return no(saidTaken)
	}
	// The token first: it is used up though the rest fails; the same host may ask again by it.
	if t.Used == "" {
		t.Used, t.UsedName = q.Key, q.Name
		data, err := json.Marshal(t)
		if err != nil {
			return reply, "", err
		}
		if _, err := put(ctx, m.js, subject, data, rev, max(time.Until(t.Until), 0).Truncate(time.Second)+time.Second); err != nil {
			if isConflict(err) {
				return no(saidUsed)
			}
			r, _, _ := no(saidLater)
			return r, "", err
		}
	}
	signed, err := signHost(m.k, q.Name, q.Key, t.Lifts)
	if err != nil {
		return reply, "", err
	}
	if hostRev == 0 || h.Key != q.Key || !h.Gone.IsZero() {
		if _, known := h.Former[q.Key]; known || h.Key == q.Key {
			return no(saidUsed) // a key that was taken back does not come back
		}
		now := host{Name: q.Name, Key: q.Key, Lifts: t.Lifts, Since: time.Now().UTC().Truncate(time.Second), Former: h.Former}
		if h.Key != "" {
			now.retire(h.Key, h.Gone)
		}
		if err := m.setHost(ctx, now, hostRev); err != nil {
			if isConflict(err) {
				return no(saidTaken)
			}
			r, _, _ := no(saidLater)
			return r, "", err
		}
		changed = q.Name
	}
	urls := t.URLs
	if len(urls) == 0 {
		urls = m.urls()
	}
	return enrol.Reply{V: enrol.Version, JWT: signed, Lifts: t.Lifts, URLs: urls}, changed, nil
}

// retire notes a key that was taken back.
func (h *host) retire(key string, at time.Time) {
	former := map[string]time.Time{key: at}
	for k, t := range h.Former {
		former[k] = t
	}
	for len(former) > formerMost {
		oldest := ""
		for k, t := range former {
			if oldest == "" || t.Before(former[oldest]) {
				oldest = k
			}
		}
		delete(former, oldest)
	}
	h.Former = former
}

func (m *members) host(ctx context.Context, name string) (h host, rev uint64, err error) {
	data, rev, err := last(ctx, m.js, membersStream, memberSubjects+"host."+name)
	if err != nil || rev == 0 {
		return h, 0, err
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return h, 0, fmt.Errorf("what is stored of host %s: %w", name, err)
	}
	return h, rev, nil
}

func (m *members) setHost(ctx context.Context, h host, rev uint64) error {
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	_, err = put(ctx, m.js, memberSubjects+"host."+h.Name, data, rev, 0)
	return err
}

// errNoHost is of a name that is not in the fleet.
var errNoHost = errors.New("no such host is in the fleet")

// remove takes a host out: its key is taken back, what it has said is lifted and deleted. lasts is how long the lift
// has to be there.
func (m *members) remove(ctx context.Context, name, why string, epoch string, lasts time.Duration) error {
	if err := fleet.CheckHost(name); err != nil {
		return err
	}
	h, rev, err := m.host(ctx, name)
	if err != nil {
		return err
	}
	if rev == 0 {
		return fmt.Errorf("%s: %w", name, errNoHost)
	}
	if h.Gone.IsZero() {
		h.Gone, h.Why = time.Now().UTC().Truncate(time.Second), why
		if err := m.setHost(ctx, h, rev); err != nil {
			return err
		}
	}
	return m.lift(ctx, name, epoch, lasts)
}

// lift lifts all that a host has said, and has the stream forget it.
func (m *members) lift(ctx context.Context, name, epoch string, lasts time.Duration) error {
	s, err := m.js.Stream(ctx, fleet.Stream)
	if err != nil {
		return err
	}
	key := fleet.DistrustKey(name)
	_, rev, err := last(ctx, m.js, fleet.Stream, fleet.StreamSubjects+key.String())
	if err != nil {
		return err
	}
	e := fleet.Entry{Jail: "", N: uint64(time.Now().UnixMilli()), Seen: s.CachedInfo().State.LastSeq, Epoch: epoch}
	data, err := e.Encode(key.Kind)
	if err != nil {
		return err
	}
	ttl, _ := e.TTL(key.Kind, lasts)
	if _, err := put(ctx, m.js, fleet.StreamSubjects+key.String(), data, rev, ttl); err != nil {
		return fmt.Errorf("its bans can't be lifted: %w", err)
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(fleet.StreamSubjects+name+".>")); err != nil {
		return fmt.Errorf("its bans are lifted, but its entries can't be deleted: %w", err)
	}
	return nil
}

// changed reads what is new of hosts since it was called last: so it costs as much as has changed, however many there are.
func (m *members) changed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	s, err := m.js.Stream(ctx, membersStream)
	if err != nil {
		return err
	}
	if m.known == nil || s.CachedInfo().State.LastSeq < m.seen {
		m.known, m.seen = map[string]host{}, 0 // it is another stream
	}
	for {
		msg, err := s.GetMsg(ctx, m.seen+1, jetstream.WithGetMsgSubject(memberSubjects+"host.>"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(msg.Subject, memberSubjects+"host.")
		var h host
		if err := json.Unmarshal(msg.Data, &h); err != nil {
			return fmt.Errorf("what is stored of host %s: %w", name, err)
		}
		m.known[name], m.seen = h, msg.Sequence
	}
}

// askersMost is how many records are asked for at a time.
const askersMost = 32

// hosts are all of them, by name, with those that are gone.
func (m *members) hosts(ctx context.Context) ([]host, error) {
	brief, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	s, err := m.js.Stream(brief, membersStream)
	if err != nil {
		return nil, err
	}
	info, err := s.Info(brief, jetstream.WithSubjectFilter(memberSubjects+"host.>"))
	if err != nil {
		return nil, err
	}
	names, out := make(chan string, len(info.State.Subjects)), make([]host, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		names <- strings.TrimPrefix(subject, memberSubjects+"host.")
	}
	close(names)
	// Each is a question of its own, and most of the time goes by on its way.
	var mu sync.Mutex
	var wrong error
	var askers sync.WaitGroup
	for range askersMost {
		askers.Go(func() {
			for name := range names {
				h, rev, err := m.host(ctx, name)
				mu.Lock()
				if wrong == nil {
					wrong = err
				}
				stop := wrong != nil
				if rev != 0 {
					out = append(out, h)
				}
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	askers.Wait()
	if wrong != nil {
		return nil, wrong
	}
	slices.SortFunc(out, func(a, b host) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// revoked are the keys that were taken back, and the names of those who are gone.
func revoked(hosts iter.Seq[host]) (taken map[string]time.Time, gone map[string]bool) {
	taken, gone = map[string]time.Time{}, map[string]bool{}
	for h := range hosts {
		for key, at := range h.Former {
			taken[key] = at
		}
		if !h.Gone.IsZero() {
			taken[h.Key] = h.Gone
			gone[h.Name] = true
		}
	}
	return taken, gone
}
