package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"sync"
	"time"

	"bailiff/pkg/control"
)

// Who is logged in. Sessions are in memory alone: with the daemon they end.

const (
	sessionIdle    = time.Hour      // without a request
	sessionLongest = 12 * time.Hour // from the login on
	sessionsMost   = 1000           // in all
	sessionsOwn    = 20             // of one user
	linkFor        = 10 * time.Minute
	linksMost      = 20
)

// session is somebody who is logged in. What is not fixed is guarded by sessions.mu.
type session struct {
	key    [32]byte // the sum of its cookie: what is kept lets nobody in
	name   string
	role   control.Role
	source source
	csrf   string
	begun  time.Time

	once    bool     // for one request alone: nobody finds it
	stamp   [32]byte // of the user's entry
	used    time.Time
	streams int
	notes   []notice // for the next page
}

// source is what somebody has logged in by.
type source uint8

const (
	byPassword source = iota
	byLink
	byHeader
	byPeer
)

func (s source) String() string {
	return [...]string{"password", "one-time link", "proxy's header", "Unix socket"}[s]
}

// sessions are all of them, bounded.
type sessions struct {
	now   func() time.Time
	mu    sync.Mutex
	by    map[[32]byte]*session
	links map[[32]byte]link
}

// link lets in once.
type link struct {
	name  string
	role  control.Role
	until time.Time
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, by: map[[32]byte]*session{}, links: map[[32]byte]link{}}
}

// secret is 256 bits that nobody guesses.
func secret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// begin logs somebody in, under an id that nobody had before. Where there are too many, the one
// that was idle for longest ends.
func (s *sessions) begin(name string, role control.Role, by source, stamp [32]byte) (*session, string) {
	id := secret()
	now := s.now()
	n := s.passing(name, role, by, stamp)
	n.key, n.once = sha256.Sum256([]byte(id)), false
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	own := 0
	for _, o := range s.by {
		if o.name == name {
			own++
		}
	}
	if own >= sessionsOwn {
		s.endOldest(func(o *session) bool { return o.name == name })
	} else if len(s.by) >= sessionsMost {
		s.endOldest(func(*session) bool { return true })
	}
	s.by[n.key] = n
	return n, id
}

// passing is a session of one request, which is kept nowhere.
func (s *sessions) passing(name string, role control.Role, by source, stamp [32]byte) *session {
	now := s.now()
	return &session{name: name, role: role, source: by, csrf: secret(), begun: now, used: now, stamp: stamp, once: true}
}

func (s *sessions) endOldest(of func(*session) bool) {
	var oldest *session
	for _, o := range s.by {
		if of(o) && (oldest == nil || o.used.Before(oldest.used)) {
			oldest = o
		}
	}
	if oldest != nil {
		delete(s.by, oldest.key)
	}
}

// sweep ends those whose time is over.
func (s *sessions) sweep(now time.Time) {
	for key, o := range s.by {
		if o.over(now) {
			delete(s.by, key)
		}
	}
	for key, l := range s.links {
		if now.After(l.until) {
			delete(s.links, key)
		}
	}
}

func (n *session) over(now time.Time) bool {
	return now.Sub(n.used) > sessionIdle || now.Sub(n.begun) > sessionLongest
}

// find is the session of a cookie; nil: there is none. It is used with that, unless it is asked for by a
// page that asks by itself.
func (s *sessions) find(id string, use bool) *session {
	if id == "" {
		return nil
	}
	key := sha256.Sum256([]byte(id))
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.by[key]
	if n == nil {
		return nil
	}
	if n.over(now) {
		delete(s.by, key)
		return nil
	}
	if use {
		n.used = now
	}
	return n
}

// end logs somebody out.
func (s *sessions) end(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, n.key)
}

// there reports whether a session has not ended.
func (s *sessions) there(n *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (n.once || s.by[n.key] == n) && !n.over(s.now())
}

// makeLink makes a one-time login.
func (s *sessions) makeLink(name string, role control.Role) (token string, until time.Time) {
	token = secret()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.sweep(now)
	if len(s.links) >= linksMost {
		var first [32]byte
		for key, l := range s.links {
			if first == ([32]byte{}) || l.until.Before(s.links[first].until) {
				first = key
			}
		}
		delete(s.links, first)
	}
	until = now.Add(linkFor)
	s.links[sha256.Sum256([]byte(token))] = link{name, role, until}
	return token, until
}

// useLink takes a one-time login, which then is none any more.
func (s *sessions) useLink(token string) (l link, ok bool) {
	key := sha256.Sum256([]byte(token))
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok = s.links[key]
	delete(s.links, key)
	return l, ok && !s.now().After(l.until)
}

// seeLink reports whether a one-time login is one, and leaves it.
func (s *sessions) seeLink(token string) (l link, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok = s.links[sha256.Sum256([]byte(token))]
	return l, ok && !s.now().After(l.until)
}

// same compares secrets.
func same(a, b string) bool { return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
