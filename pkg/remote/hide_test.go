package remote_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/remote"
	"bailiff/pkg/remote/remotetest"
)

// TestTokenNeverTold: a server that sends the token back, wherever and in whatever way, has no part of it
// told, and no error is long.
func TestTokenNeverTold(t *testing.T) {
	const token = `0123456789abcdefghij"KLMNOPQRSTUVWXYZ\<&>`
	url, ca := remotetest.TLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, n := r.Header.Get("Key"), 0
		kind, at, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		_, _ = fmt.Sscan(at, &n)
		switch kind {
		case "text": // cut where it stands
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, strings.Repeat("x", n)+got)
		case "json":
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"errors":[{"message":%q}]}`, strings.Repeat("x", n)+got)
		case "often":
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, strings.Repeat(got, 40)[:n])
		case "answer": // of an operation that has failed
			_ = json.NewEncoder(w).Encode(map[string]string{"error": got})
		default: // what is no HTTP
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			out := bufio.NewWriter(conn)
			defer out.Flush()
			switch kind {
			case "status":
				fmt.Fprintf(out, "HTTP/1.1 %s%s\r\n\r\n", got, strings.Repeat("y", n))
			case "proto":
				fmt.Fprintf(out, "%s%s\r\n\r\n", got, strings.Repeat("y", n))
			case "header":
				fmt.Fprintf(out, "HTTP/1.1 200 OK\r\n%s%s\r\n\r\n", got, strings.Repeat("y", n))
			case "length":
				fmt.Fprintf(out, "HTTP/1.1 200 OK\r\nContent-Length: %s%s\r\n\r\n", got, strings.Repeat("y", n))
			}
		}
	}))
	c := &remote.Client{URL: url, CA: ca, Header: "Key", Token: func() (string, error) { return token, nil }}
	for _, path := range []string{
		"/text/0", "/text/280", "/text/295", "/text/1180", "/text/8000", "/often/1640", "/json/0", "/json/280", "/json/290",
		"/status/0", "/status/60000", "/proto/0", "/proto/60000", "/header/0", "/header/60000", "/length/0", "/length/60000",
	} {
		_, err := c.Do(context.Background(), http.MethodGet, path, nil)
		if err == nil {
			t.Errorf("%s: no error", path)
			continue
		}
		text := err.Error()
		for i := 0; i+6 <= len(token); i++ {
			if strings.Contains(text, token[i:i+6]) {
				t.Errorf("%s: %q of the token: %.400s", path, token[i:i+6], text)
				break
			}
		}
		if len(text) > 600 {
			t.Errorf("%s: an error of %d bytes", path, len(text))
		}
	}
	answer, err := c.Do(context.Background(), http.MethodGet, "/answer", nil)
	var said struct{ Error string }
	if err != nil || json.Unmarshal(answer, &said) != nil || said.Error != "***" {
		t.Errorf("%s %v", answer, err)
	}
	list := &remote.Published{URL: url + "/proto/60000", CA: ca, File: filepath.Join(t.TempDir(), "list")}
	if _, err := list.Fetch(context.Background()); err == nil || len(err.Error()) > 600 {
		t.Errorf("of a list that is no HTTP: %.100s", err)
	}
}
