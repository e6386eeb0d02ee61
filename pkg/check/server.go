// Package check answers proxies whether an address is shut out, and answers nothing else:
//
//	GET /v1/check?ip=192.0.2.7     204: let him in; 403: he is banned
//
// It is asked for each request that a proxy gets, so it looks at nothing but memory: a [Set]
// a jail, which that tells of each ban when it is made and when it is over, and an [Index] of
// those. nginx's auth_request, Caddy's and Traefik's forward_auth and [RewriteMap] for Apache ask it.
//
// Whom a request is about, and what becomes of one that doesn't say so, is in [Options]. What
// clients send is bounded, and nobody who is slow keeps a place for long.
package check

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"bailiff/pkg/gate"
)

// Options say how a server answers. They can be changed while it does.
type Options struct {
	// Jails are those whose bans count; nil: all but those of groups, any of which can be asked about, too. Others
	// can't be.
	Jails []string
	// Closed has those refused about whom nothing can be said: with 503 while the daemon starts, with 400
	// where the request names no address, or a jail that isn't there. Else they are let in, with 204, and
	// the header Bailiff-Check says why.
	Closed bool
	// Trusted reports whether an address is one of the proxies'; nil: none is.
	Trusted func(netip.Addr) bool
}

// Bounds of a client.
const (
	maxHeader     = 16 << 10
	headerTimeout = 5 * time.Second
	answerTimeout = 5 * time.Second
	// idleTimeout is longer than what proxies keep a connection for that nobody uses, so that
	// it is they who close it.
	idleTimeout = 2 * time.Minute
	closeGrace  = time.Second
)

// Server answers on one listener.
type Server struct {
	index *Index
	opts  atomic.Pointer[Options]
	warn  func(what, text string)
	http  *http.Server
	gate  *gate.Gate
}

// Serve answers on a listener from now on. most is how many connections there are at a time:
// beyond it, the one that has been idle for longest is closed; if none is, who comes waits. warn is told of requests that
// name nobody, what being the same for the same mistake.
func Serve(l net.Listener, index *Index, opts Options, most int, warn func(what, text string)) *Server {
	s := &Server{index: index, warn: warn}
	s.Set(opts)
	s.gate = gate.New(l, most, func() {})
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ConnState: s.gate.State,
		ErrorLog: log.New(io.Discard, "", 0), // what clients do wrong they are told
	}
	s.http.Protocols = new(http.Protocols)
	s.http.Protocols.SetHTTP1(true)
	go func() { _ = s.http.Serve(s.gate) }()
	return s
}

// Set has it answer as other options say.
func (s *Server) Set(opts Options) {
	if opts.Trusted == nil {
		opts.Trusted = func(netip.Addr) bool { return false }
	}
	s.opts.Store(&opts)
}

// Close ends it: what was asked is answered, who is idle is cut off.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		return s.http.Close()
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Cache-Control"] = noStore
	if r.ContentLength != 0 { // nobody waits for a body
		h.Set("Connection", "close")
	}
	switch {
	case r.URL.Path != "/v1/check":
		w.WriteHeader(http.StatusNotFound)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	w.WriteHeader(s.answer(r, h))
}

var noStore = []string{"no-store"}

// answer finds the answer's code, and writes into its header why nothing can be said.
func (s *Server) answer(r *http.Request, h http.Header) int {
	o := s.opts.Load()
	unclear := func(code int, err *QuestionError) int {
		h.Set("Bailiff-Check", err.What)
		if code == http.StatusBadRequest {
			s.warn(err.What, err.Error())
		}
		if o.Closed {
			return code
		}
		return http.StatusNoContent
	}
	q, err := ask(r, o.Trusted)
	var wrong *QuestionError
	errors.As(err, &wrong)
	jails := o.Jails
	if q.jails != nil {
		jails = q.jails
		for _, j := range q.jails {
			if s.index.Names(o.Jails, j) {
				continue
			}
			if wrong == nil {
				wrong = &QuestionError{"the request names a jail that [check] jails does not", j}
			}
			jails = slices.DeleteFunc(slices.Clone(jails), func(name string) bool { return name == j })
		}
	}
	complete := s.index.IsComplete() // before it is looked at
	missing, gone := "", false
	for _, a := range q.addrs {
		var shut bool
		if shut, missing, gone = s.index.Shut(a, jails); shut {
			return http.StatusForbidden
		}
	}
	switch {
	case wrong != nil:
		return unclear(http.StatusBadRequest, wrong)
	case !complete:
		h.Set("Retry-After", "1")
		return unclear(http.StatusServiceUnavailable, &QuestionError{"starting", ""})
	case gone && q.jails != nil:
		return unclear(http.StatusBadRequest, &QuestionError{"the request names a jail that isn't there", missing})
	}
	return http.StatusNoContent
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
