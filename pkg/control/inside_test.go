package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestInsideRoles: every request with every role, from within the process: it is answered if the
// table says so, else refused with what is wanted; nobody sees what is quoted of a configuration.
func TestInsideRoles(t *testing.T) {
	in := NewInside(&fake{}, func(string) {})
	defer in.Close()
	for _, rt := range routes {
		method, pattern, _ := strings.Cut(rt.pattern, " ")
		for role := Reader; role <= Owner; role++ {
			if rt.do == nil {
				continue // it wants a table of events
			}
			res, err := in.Client(Caller{"anna", role}).http.Do(newRequest(t, method, strings.ReplaceAll(pattern, "{jail}", aJail), `{"ips": []}`))
			if err != nil {
				t.Fatal(err)
			}
			if role < rt.role != (res.StatusCode == http.StatusForbidden) {
				t.Errorf("%s as %s: %s", rt.pattern, role, res.Status)
			}
			var f Failure
			_ = json.NewDecoder(res.Body).Decode(&f)
			if want := fmt.Sprintf("this wants the role %s, yours is %s", rt.role, role); role < rt.role && f.Error != want {
				t.Errorf("%s as %s: %q, want %q", rt.pattern, role, f.Error, want)
			}
			res.Body.Close()
		}
	}
	if n := len(in.crowd.conns) + in.crowd.bytes; n != 0 {
		t.Errorf("%d connections and bytes are left over", n)
	}
}

func newRequest(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, "http://inside"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestUnquotedIsStillRefused: what is refused with words in quotes, which who is not the owner does not read, is still said to be the client's to mend.
func TestUnquotedIsStillRefused(t *testing.T) {
	for err, want := range map[error]int{Bad(errors.New(`filter: "x": want a name`)): 400, errors.New(`the disk says "no"`): 500, &ListError{Jail: "x", Files: []string{`"a"`}}: 400} {
		_, err := unquoted(nil, err)
		w := httptest.NewRecorder()
		answer(w, nil, nil, err, func() {})
		if w.Code != want || !strings.Contains(w.Body.String(), "\\\"…\\\"") {
			t.Errorf("%v: %d %s, want %d", err, w.Code, w.Body, want)
		}
	}
}

// TestOwnWords: of what an error quotes, the client reads what it has said itself, and nothing of the configuration.
func TestOwnWords(t *testing.T) {
	err := fmt.Errorf("shop: %w", OwnWords(Bad(errors.New(`bantime: "soon": no time, as "secret" is none`)), "soon"))
	if _, err := unquoted(nil, err); err.Error() != `shop: bantime: "soon": no time, as "…" is none` {
		t.Error(err)
	} else if bad, ok := errors.AsType[*BadError](err); !ok {
		t.Errorf("%v is %T, want %T", err, err, bad)
	}
	if _, err := unquoted(nil, OwnWords(errors.New(`bantime: unknown unit "x" in "2x", as in "7y" and ""`), "2x")); err.Error() != `bantime: unknown unit "x" in "2x", as in "…" and "…"` {
		t.Error(err)
	}
	if OwnWords(nil, "x") != nil {
		t.Error("no error became one")
	}
}

// savesNothing refuses filters, with what is wrong with a text and a word of the configuration.
type savesNothing struct{ fake }

func (*savesNothing) SaveFilter(name string, r SaveRequest) (SaveResult, error) {
	return SaveResult{}, Bad(fmt.Errorf(`filter %q: unknown key "actionban", beside a jail with "secret"`, name))
}

// TestOwnText: who saves a filter reads what is wrong with his text, and nothing of the configuration.
func TestOwnText(t *testing.T) {
	in := NewInside(&savesNothing{}, func(string) {})
	defer in.Close()
	_, err := in.Client(Caller{"web:anna", Admin}).SaveFilter("mine", SaveRequest{Text: "actionban = 'id'\n"})
	bad, ok := errors.AsType[*AnswerError](err)
	if !ok || bad.Status != 400 || bad.Error() != `filter "mine": unknown key "actionban", beside a jail with "…"` {
		t.Errorf("%v", err)
	}
	if ownText(nil, "x") != nil {
		t.Error("no error became one")
	}
}

// TestInsideBy: a change is said to be of the user of the page.
func TestInsideBy(t *testing.T) {
	d := &byDaemon{}
	in := NewInside(d, func(string) {})
	defer in.Close()
	c := in.Client(Caller{"web:anna", Operator})
	if _, err := c.Unban(UnbanRequest{IPs: []string{"192.0.2.7"}}); err != nil {
		t.Fatal(err)
	}
	if d.by != "web:anna" {
		t.Errorf("by %q", d.by)
	}
}

type byDaemon struct {
	fake
	by string
}

func (d *byDaemon) Unban(r UnbanRequest) ([]UnbanResult, error) {
	d.by = r.By
	return nil, nil
}

// TestInsideFollows: events are followed until the end, and the server's end is one.
func TestInsideFollows(t *testing.T) {
	table, _ := listenEvents(t, Options{})
	in := NewInside(&fake{events: table}, func(string) {})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	over := make(chan *httptest.ResponseRecorder)
	begun := make(chan struct{}, 1)
	go func() {
		w := httptest.NewRecorder()
		r := newRequest(t, "GET", "/v1/events", "").WithContext(ctx)
		r.Header.Set("Accept", "text/event-stream")
		in.Serve(Caller{"anna", Reader}, &beginning{ResponseRecorder: w, begun: begun}, r)
		over <- w
	}()
	select {
	case <-begun:
	case w := <-over:
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	in.Close()
	if w := <-over; w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if ctx.Err() != nil {
		t.Error("it did not end")
	}
}

// beginning tells that an answer has begun.
type beginning struct {
	*httptest.ResponseRecorder
	begun chan struct{}
}

func (b *beginning) SetWriteDeadline(time.Time) error { return nil }

func (b *beginning) Flush() {
	select {
	case b.begun <- struct{}{}:
	default:
	}
}
