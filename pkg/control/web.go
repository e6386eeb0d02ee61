package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/lazyregexp"
)

// HTTP on the socket. As with fail2ban's protocol, a table says who may do what.

// route is a request, and who may make it.
type route struct {
	pattern string
	role    Role
	// do carries it out; body reads the request's body. nil: it is the one for events.
	do func(d Daemon, r *http.Request, body func(into any) error) (any, error)
}

// longRoutes are requests that others would wait for too long: they have bounds of their own.
var longRoutes = []string{"GET /v1/doctor", "POST /v1/replay"}

// plain is an answer of lines of text.
type plain []string

var routes = []route{
	{"GET /v1/ping", Reader, func(Daemon, *http.Request, func(any) error) (any, error) {
		return "pong", nil
	}},
	{"GET /v1/status", Reader, func(d Daemon, _ *http.Request, _ func(any) error) (any, error) {
		return d.Status("", false)
	}},
	{"GET /v1/jails/{jail}", Reader, func(d Daemon, r *http.Request, _ func(any) error) (any, error) {
		s, err := d.Status(r.PathValue("jail"), true)
		if err != nil {
			return nil, err
		}
		return s.Jails[0], nil
	}},
	{"GET /v1/bans", Reader, bans},
	{"GET /v1/jails/{jail}/settings", Reader, func(d Daemon, r *http.Request, _ func(any) error) (any, error) {
		return d.Settings(r.PathValue("jail"))
	}},
	{"POST /v1/jails/{jail}/settings", Admin, changeSettings},
	{"DELETE /v1/jails/{jail}/settings", Admin, func(d Daemon, r *http.Request, _ func(any) error) (any, error) {
		return d.ForgetSettings(r.PathValue("jail"), askedBy(r))
	}},
	{"GET /v1/events", Reader, nil},
	{"GET /metrics", Reader, tellMetrics},
	{"GET /v1/why", Reader, why},
	{"POST /v1/filter/try", Operator, tryFilter},
	{"GET /v1/filters", Reader, func(d Daemon, _ *http.Request, _ func(any) error) (any, error) { return d.SavedFilters() }},
	{"POST /v1/filters/{name}", Admin, saveFilter},
	{"GET /v1/doctor", Reader, askDoctor},
	{"POST /v1/replay", Operator, askReplay},
	{"GET /v1/history", Reader, askHistory},
	{"GET /v1/top", Reader, askTop},
	{"POST /v1/import", Operator, func(d Daemon, r *http.Request, body func(any) error) (any, error) {
		var req ImportRequest
		if err := body(&req); err != nil {
			return nil, err
		}
		req.By = askedBy(r)
		return d.Import(req)
	}},
	{"POST /v1/jails/{jail}/ban", Operator, func(d Daemon, r *http.Request, body func(any) error) (any, error) {
		var req BanRequest
		if err := body(&req); err != nil {
			return nil, err
		}
		req.By = askedBy(r)
		return d.Ban(r.PathValue("jail"), req)
	}},
	{"POST /v1/unban", Operator, func(d Daemon, r *http.Request, body func(any) error) (any, error) {
		var req UnbanRequest
		if err := body(&req); err != nil {
			return nil, err
		}
		req.By = askedBy(r)
		return d.Unban(req)
	}},
	{"GET /v1/allow", Reader, func(d Daemon, _ *http.Request, _ func(any) error) (any, error) {
		return d.Allowed(), nil
	}},
	{"POST /v1/allow", Operator, func(d Daemon, r *http.Request, body func(any) error) (any, error) {
		var req AllowRequest
		if err := body(&req); err != nil {
			return nil, err
		}
		req.By = askedBy(r)
		return d.Allow(req)
	}},
	{"GET /v1/never", Reader, func(d Daemon, _ *http.Request, _ func(any) error) (any, error) {
		return d.Nevers(), nil
	}},
	{"POST /v1/never", Admin, never},
	{"GET /v1/fleet", Reader, func(d Daemon, _ *http.Request, _ func(any) error) (any, error) { return d.Fleet() }},
	{"POST /v1/fleet/ban", Operator, fleetBan},
	{"POST /v1/web/login", Owner, func(d Daemon, r *http.Request, body func(any) error) (any, error) {
		var req WebLoginRequest
		if err := body(&req); err != nil {
			return nil, err
		}
		req.By = askedBy(r)
		return d.WebLogin(req)
	}},
	{"POST /v1/reload", Operator, func(d Daemon, r *http.Request, _ func(any) error) (any, error) {
		return d.Reload(askedBy(r))
	}},
	{"POST /v1/stop", Owner, func(d Daemon, _ *http.Request, _ func(any) error) (any, error) {
		go d.Stop() // this answer is waited for
		return "stopping", nil
	}},
}

// Bounds of a request of HTTP.
const (
	maxHeader = 16 << 10
	maxBody   = 4 << 20
	maxValues = 200_000 // in a body: an address is one
	maxNested = 8       // arrays and objects in one another
	maxText   = 1 << 10 // bytes of a text in it
)

type connKey struct{}

func newWebServer(d Daemon, role Role, turns *turns, closing <-chan struct{}) *http.Server {
	mux := http.NewServeMux()
	following := &streams{looks: make(chan struct{}, looksAtOnce), wait: sheetPatience}
	for _, rt := range routes {
		mux.HandleFunc(rt.pattern, func(w http.ResponseWriter, r *http.Request) {
			c, ok := r.Context().Value(connKey{}).(*conn)
			role := role
			if ok && c.caller != nil {
				role = c.caller.Role
			}
			switch {
			case ok && c.caller != nil && role < rt.role:
				fail(w, http.StatusForbidden, &RoleError{role, rt.role})
				return
			case !ok || role < rt.role:
				fail(w, http.StatusForbidden, errors.New("this socket can only be asked: use the daemon's own"))
				return
			}
			c.note(waiting)
			done := turns.take()
			if done == nil {
				fail(w, http.StatusServiceUnavailable, errBusy)
				return
			}
			defer done()
			if slices.Contains(longRoutes, rt.pattern) {
				done()                                                                        // who waits for it keeps no other waiting
				_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(ReplayMost)) // where there is a connection
			}
			if rt.do == nil {
				tellEvents(d.Events(), role, following, w, r, c, closing, done)
				return
			}
			v, err := rt.do(d, r, func(into any) error { return readBody(c, r, into) })
			if role < Owner {
				v, err = unquoted(v, err)
			}
			c.release()
			answer(w, c, v, err, done)
		})
	}
	return &http.Server{
		Handler:           jsonErrors(mux),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(io.Discard, "", 0), // what clients do wrong they are told
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if k, ok := c.(*conn); ok {
				switch state {
				case http.StateActive:
					k.note(asking) // its header is still read
				case http.StateIdle:
					k.note(quiet)
				}
			}
		},
	}
}

// jsonErrors answers what no route is for in JSON, as all other errors are, where mux
// would answer in plain text or send the client elsewhere.
func jsonErrors(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.EscapedPath(); p != path.Clean("/"+p) {
			fail(w, http.StatusNotFound, fmt.Errorf("no such path: %.200q; docs/api.md lists those there are", r.URL.Path))
			return
		}
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		said := &onlyHeader{header: http.Header{}}
		h.ServeHTTP(said, r)
		if allow := said.header.Get("Allow"); said.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", allow)
			fail(w, said.status, fmt.Errorf("%.20q is not for %.200q: %s", r.Method, r.URL.Path, allow))
			return
		}
		fail(w, http.StatusNotFound, fmt.Errorf("no such path: %.200q; docs/api.md lists those there are", r.URL.Path))
	})
}

// onlyHeader keeps of an answer its status and its header.
type onlyHeader struct {
	header http.Header
	status int
}

func (o *onlyHeader) Header() http.Header         { return o.header }
func (o *onlyHeader) WriteHeader(status int)      { o.status = status }
func (o *onlyHeader) Write(p []byte) (int, error) { return len(p), nil }

// badRequest is an error of who asks.
type badRequest struct{ error }

// readBody reads a body of JSON into a value, once it is known to be small when read.
func readBody(c *conn, r *http.Request, into any) error {
	bad := func(err error) error { return badRequest{fmt.Errorf("request: %w", err)} }
	if r.ContentLength > maxBody {
		return bad(fmt.Errorf("it is longer than %d bytes", maxBody))
	}
	c.note(asking)
	defer c.note(waiting)
	var body []byte
	if n := r.ContentLength; n > 0 {
		body = make([]byte, 0, min(n, 64<<10))
	}
	chunk := make([]byte, 16<<10)
	for {
		n, err := r.Body.Read(chunk)
		if n > 0 && !c.hold(n) {
			return bad(errTooMuch)
		}
		if body = append(body, chunk[:n]...); len(body) > maxBody {
			return bad(fmt.Errorf("it is longer than %d bytes", maxBody))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return bad(err)
		}
	}
	most := maxText
	if longer, ok := into.(interface{ textMost() int }); ok {
		most = longer.textMost()
	}
	if err := weighJSON(body, most); err != nil {
		return bad(err)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return bad(err)
	}
	return nil
}

// weighJSON looks whether a text, be it JSON or not, would become more than is good
// for anybody.
func weighJSON(body []byte, most int) error {
	depth, values, digits, text := 0, 0, 0, 0
	inText, escaped := false, false
	for _, b := range body {
		if inText {
			if text++; text > most {
				return fmt.Errorf("a text in it is longer than %d bytes", most)
			}
			switch {
			case escaped:
				escaped = false
			case b == '\\':
				escaped = true
			case b == '"':
				inText = false
			}
			continue
		}
		if b >= '0' && b <= '9' {
			if digits++; digits > maxDigits {
				return errors.New("a number in it is longer than any that is of use")
			}
			continue
		}
		digits = 0
		switch b {
		case '"':
			inText, text = true, 0
		case '[', '{':
			depth++
			values++
		case ']', '}':
			depth--
		case ',':
			values++
		}
		switch {
		case depth > maxNested:
			return errTooDeep
		case values > maxValues:
			return fmt.Errorf("it has more than %d values", maxValues)
		}
	}
	return nil
}

// quoted is what an error says of a configuration: it may be the text of a command, with
// a password.
var quoted = lazyregexp.New(`"(?:[^"\\]|\\.)*"`)

// ownError quotes what the client itself has said.
type ownError struct {
	error
	words []string
	text  string
}

func (e *ownError) Unwrap() error { return e.error }

// OwnWords lets whoever may not read what errors quote of the configuration read what they quote of his own words.
func OwnWords(err error, words ...string) error {
	if err == nil {
		return nil
	}
	return &ownError{err, words, ""}
}

// ownText is OwnWords for all that stands in a text of his.
func ownText(err error, text string) error {
	if err == nil {
		return nil
	}
	return &ownError{err, nil, text}
}

// said reports whether a text is one of the client's own, or a part of one, as a unit of a time is.
func (e *ownError) said(text string) bool {
	return text != "" && (strings.Contains(e.text, text) || slices.ContainsFunc(e.words, func(own string) bool { return strings.Contains(own, text) }))
}

// unquoted leaves out of an answer for who may only ask what is quoted of the
// configuration of jails that are not running.
func unquoted(v any, err error) (any, error) {
	_, notThere := errors.AsType[*NotFoundError](err)
	_, asked := errors.AsType[badRequest](err) // which quotes what the client said
	if err != nil && !notThere && !asked {
		own, ok := errors.AsType[*ownError](err)
		if !ok {
			own = &ownError{}
		}
		text := quoted.ReplaceAllStringFunc(err.Error(), func(q string) string {
			if word, err := strconv.Unquote(q); err == nil && own.said(word) {
				return q
			}
			return `"…"`
		})
		if text != err.Error() {
			bad, list := (*BadError)(nil), (*ListError)(nil)
			refused := errors.As(err, &bad) || errors.As(err, &list)
			if err = errors.New(text); refused { // it is still the client's to mend
				err = Bad(err)
			}
		}
	}
	if a, ok := v.(DoctorAnswer); ok {
		v = a.forReader()
	}
	if s, ok := v.(JailSettings); ok {
		v = s.forReader()
	}
	if s, ok := v.(Status); ok {
		s.Jails = slices.Clone(s.Jails)
		for i := range s.Jails {
			s.Jails[i].Error = quoted.ReplaceAllLiteralString(s.Jails[i].Error, `"…"`)
		}
		v = s
	}
	return v, err
}

// answer encodes an answer, and then sends it: what it takes until the client has it
// is accounted for. encoded is called in between.
func answer(w http.ResponseWriter, c *conn, v any, err error, encoded func()) {
	if err != nil {
		encoded()
		status := http.StatusInternalServerError
		if _, ok := errors.AsType[*NotFoundError](err); ok {
			status = http.StatusNotFound
		}
		if _, ok := errors.AsType[*ListError](err); ok {
			status = http.StatusBadRequest
		}
		if _, ok := errors.AsType[badRequest](err); ok {
			status = http.StatusBadRequest
		}
		if _, ok := errors.AsType[*BadError](err); ok {
			status = http.StatusBadRequest
		}
		fail(w, status, err)
		return
	}
	kind := "application/json"
	var b bytes.Buffer
	if doc, ok := v.(document); ok {
		kind = doc.kind
		b = *bytes.NewBuffer(doc.body)
	} else if lines, ok := v.(plain); ok {
		kind = "text/plain; charset=utf-8"
		for _, l := range lines {
			b.WriteString(l + "\n")
		}
	} else if err := json.NewEncoder(&b).Encode(v); err != nil {
		encoded()
		fail(w, http.StatusInternalServerError, fmt.Errorf("the answer can't be encoded: %w", err))
		return
	}
	held := c.holdAnswer(b.Len())
	encoded()
	if !held {
		panic(http.ErrAbortHandler) // closes the connection without a word
	}
	defer c.release()
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(b.Bytes()) // a client that has gone needs no answer
}

func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Failure{Error: err.Error()})
}
