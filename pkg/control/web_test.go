package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/jail"
)

// serveOne has a handler answer one request as it stands on the wire.
func serveOne(h http.Handler, c *conn, data []byte) *httptest.ResponseRecorder {
	r, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(data), 256))
	if err != nil {
		return nil
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(context.WithValue(context.Background(), connKey{}, c)))
	return w
}

func post(body string) string {
	return fmt.Sprintf("POST /v1/unban HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// bodies that would become more than they are.
func bodies() map[string]string {
	return map[string]string{
		"numbers of many digits":   `{"ips": [` + strings.Repeat("9", 1_000_000) + `]}`,
		"a million empty texts":    `{"ips": [` + strings.Repeat(`"",`, 1_000_000) + `""]}`,
		"arrays in one another":    strings.Repeat("[", 500_000),
		"objects in one another":   strings.Repeat(`{"ips":`, 100_000),
		"too long":                 `{"ips": ["` + strings.Repeat("a", 5<<20) + `"]}`,
		"a key of a million":       `{"` + strings.Repeat("a", 1_000_000) + `": 1}`,
		"a text without end":       `{"ips": ["` + strings.Repeat("\\\"", 1_000_000),
		"the same key many times":  `{` + strings.Repeat(`"ips":[],`, 300_000) + `"all":true}`,
		"an exponent of a million": `{"all": 1e` + strings.Repeat("9", 1_000_000) + `}`,
	}
}

func TestBodies(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	d := &fake{}
	crowd := newCrowd(Owner, func(string) {})
	c := crowd.enter(a, 0)
	h := newWebServer(d, Owner, newTurns(Owner), nil).Handler
	for name, body := range bodies() {
		data := []byte(post(body))
		var w *httptest.ResponseRecorder
		took := allocated(func() { w = serveOne(h, c, data) })
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", name, w.Code)
		}
		if took > uint64(256<<10+8*len(data)) {
			t.Errorf("%s: %d bytes took %d of memory", name, len(data), took)
		}
	}
	if d.unbans != 0 {
		t.Error("something was carried out")
	}
	if crowd.bytes != 0 {
		t.Errorf("%d bytes are left over", crowd.bytes)
	}
}

// TestNoRoute: what no route is for is answered in JSON, too.
func TestNoRoute(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	c := newCrowd(Owner, func(string) {}).enter(a, 0)
	h := newWebServer(&fake{}, Owner, newTurns(Owner), nil).Handler
	for _, x := range []struct {
		line  string
		code  int
		text  string
		allow string
	}{
		{"GET /", 404, `no such path: "/"`, ""},
		{"GET /v2", 404, `no such path: "/v2"`, ""},
		{"GET /v1/status/", 404, `no such path: "/v1/status/"`, ""},
		{"GET //v1/status", 404, `no such path: "//v1/status"`, ""},
		{"GET /v1/../v1/status", 404, `no such path`, ""},
		{"GET /v1/stop", 405, `"GET" is not for "/v1/stop": POST`, "POST"},
		{"DELETE /v1/status", 405, `"DELETE" is not for "/v1/status": GET, HEAD`, "GET, HEAD"},
		{"HEAD /v1/ping", 200, "", ""},
		{"GET /v1/ping", 200, "", ""},
	} {
		w := serveOne(h, c, []byte(x.line+" HTTP/1.1\r\nHost: x\r\n\r\n"))
		if w.Code != x.code || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Allow") != x.allow {
			t.Errorf("%s: %d %v", x.line, w.Code, w.Header())
		}
		if x.text == "" {
			continue
		}
		var f Failure
		if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || !strings.Contains(f.Error, x.text) {
			t.Errorf("%s: %v %s, want %s", x.line, err, w.Body, x.text)
		}
	}
}

func FuzzHTTP(f *testing.F) {
	for _, body := range []string{``, `{`, `{"all": true}`, `{"ips": ["192.0.2.7", "2001:db8::/32"], "jail": "sshd"}`, `{"ips": [[[[]]]]}`, `{"ips": [1e999, "\u0000"]}`} {
		f.Add([]byte(post(body)))
	}
	f.Add([]byte("GET /v1/jails/a%2f..%2fb HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("GET /v1/bans?format=text&jail=x HTTP/1.0\r\n\r\n"))
	f.Add([]byte("POST /v1/jails/sshd/ban HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"ips\r\n0\r\n\r\n"))
	a, b := net.Pipe()
	f.Cleanup(func() { a.Close(); b.Close() })
	c := newCrowd(Owner, func(string) {}).enter(a, 0)
	f.Fuzz(func(t *testing.T, data []byte) {
		for role := Reader; role <= Owner; role++ {
			d := &fake{}
			h := newWebServer(d, role, newTurns(role), nil).Handler
			took := allocated(func() { serveOne(h, c, data) })
			if took > uint64(256<<10+100*len(data)) {
				t.Errorf("%d bytes took %d of memory", len(data), took)
			}
			if role == Reader && d.bans+d.unbans+d.stops > 0 {
				t.Error("a reader had something changed")
			}
		}
	})
}

// TestSlowHTTP: who sends his request a byte at a time holds a place, and nothing
// else; where others want it, he goes.
func TestSlowHTTP(t *testing.T) {
	d := &echoCommander{}
	path, s := readSocketFor(t, d)
	for range s.crowd.clients {
		c := dial(t, path)
		if _, err := c.Write([]byte("GET /v1/status HTTP/1.1\r\nX: ")); err != nil {
			t.Fatal(err)
		}
	}
	client := NewClient(path)
	client.http.Timeout = 10 * time.Second
	if _, err := client.Status(); err != nil {
		t.Errorf("beside slow ones: %v", err)
	}
	if _, err := client.Jail("nothing"); err == nil {
		t.Error("a jail that is not there")
	}
}

// TestUnquoted: who may only ask is told that a jail is not running, and where it is
// wrong, but not what stands there: it may be a command with a password.
func TestUnquoted(t *testing.T) {
	const wrong = `/etc/bailiff/bailiff.toml:7: action mail: timeout "PASS\"WORD": want a time`
	path := filepath.Join(t.TempDir(), "read.sock")
	server, err := Listen(path, &brokenDaemon{wrong: wrong}, Options{ReadGroup: "nogroup"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, where := range []string{"/v1/status", "/v1/jails/web"} {
		res, err := NewClient(path).http.Get("http://bailiff" + where)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if !strings.Contains(string(text), `bailiff.toml:7: action mail: timeout`) || strings.Contains(string(text), "WORD") {
			t.Errorf("%s: %s", where, text)
		}
	}
}

type brokenDaemon struct {
	fake
	wrong string
}

func (d *brokenDaemon) Status(name string, _ bool) (Status, error) {
	if name != "" {
		return Status{}, fmt.Errorf("jail %s is not running: %s", name, d.wrong)
	}
	return Status{Jails: []jail.Status{{Name: "web", Error: d.wrong}}}, nil
}
