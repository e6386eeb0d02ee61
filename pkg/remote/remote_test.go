package remote_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/remote"
	"bailiff/pkg/remote/remotetest"
)

// TestToken: a token that others can read or change is refused, and so is what is none.
func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for _, x := range []struct {
		text string
		mode os.FileMode
		want string
		err  string
	}{
		{"abc\n", 0o600, "abc", ""},
		{"abc", 0o640, "abc", ""},
		{"abc", 0o644, "", "chmod 0600"},
		{"abc", 0o620, "", "chmod 0600"},
		{"", 0o600, "", "is empty"},
		{"a b", 0o600, "", "more than one word"},
		{strings.Repeat("a", 9000), 0o600, "", "is no token"},
	} {
		if err := os.WriteFile(path, []byte(x.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, x.mode); err != nil {
			t.Fatal(err)
		}
		got, err := remote.Token{File: path}.Read()
		if got != x.want || (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) {
			t.Errorf("%.10q %o: %q, %v", x.text, x.mode, got, err)
		}
	}
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (remote.Token{Credential: "token"}).Read(); err == nil || !strings.Contains(err.Error(), "LoadCredential=token:") {
		t.Error(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(path))
	if got, err := (remote.Token{Credential: "token"}).Read(); got != "abc" {
		t.Error(got, err)
	}
}

// TestRetryAfter: seconds and dates, within a bound.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "x": 0, "1.5": 0, "99999999999": remote.AfterMost, "99999999999999999999999": 0,
		"Fri, 27 Nov 2026 12:00:30 GMT": 30 * time.Second, "Fri, 27 Nov 2026 11:00:00 GMT": 0, "Fri, 27 Nov 2099 12:00:00 GMT": remote.AfterMost,
	} {
		if got := remote.RetryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	var b remote.Backoff
	for i := range 30 {
		if wait := b.Failed(0); wait < min(remote.BackoffFirst<<i, remote.BackoffMost)/2-1 && i < 9 || wait > remote.BackoffMost+1 {
			t.Errorf("after %d failures %v", i+1, wait)
		}
	}
	if wait := b.Failed(20 * time.Minute); wait < 20*time.Minute {
		t.Error(wait)
	}
}

// TestClient: answers that are too long, redirects, and a server that tells the token.
func TestClient(t *testing.T) {
	elsewhere := 0
	mux := http.NewServeMux()
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		for range remote.AnswerBytes/1024 + 1 {
			_, _ = w.Write(make([]byte, 1024))
		}
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/there", http.StatusFound) })
	mux.HandleFunc("/there", func(http.ResponseWriter, *http.Request) { elsewhere++ })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]any{"message": "no\x1b[31m " + r.Header.Get("Key")})
	})
	url, ca := remotetest.TLS(t, mux)
	c := &remote.Client{URL: url, CA: ca, Header: "Key", Token: func() (string, error) { return secret, nil }}
	for path, want := range map[string]string{"/large": "more than", "/away": "302 Found", "/echo": "403 Forbidden: no [31m ***"} {
		if _, err := c.Do(context.Background(), http.MethodGet, path, nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if elsewhere > 0 {
		t.Error("it went where it was redirected")
	}
	none := &remote.Client{URL: url, CA: ca, Token: func() (string, error) { return "", errors.New("there is none") }}
	if _, err := none.Do(context.Background(), http.MethodGet, "/there", nil); err == nil || elsewhere > 0 {
		t.Error("it asked without a token")
	}
}

// TestFit: what a list takes as it is, wider, or not at all.
func TestFit(t *testing.T) {
	p := remote.ProviderOf("cloudflare")
	for _, x := range []struct{ in, out string }{
		{"192.0.2.7/32", "192.0.2.7/32"},
		{"192.0.2.0/24", "192.0.2.0/24"},
		{"10.0.0.0/8", "10.0.0.0/8"},
		{"10.0.0.0/7", ""},
		{"2001:db8::7/128", "2001:db8::/64"},
		{"2001:db8::/64", "2001:db8::/64"},
		{"2001:db8::/32", "2001:db8::/32"},
		{"2000::/11", ""},
	} {
		fit, widened, ok := p.Fit(netip.MustParsePrefix(x.in))
		if ok != (x.out != "") || ok && (fit.String() != x.out || widened != (x.in != x.out)) {
			t.Errorf("%s: %v %v %v", x.in, fit, widened, ok)
		}
	}
	seen := []string{}
	for _, p := range remote.Providers {
		if slices.Contains(seen, p.Name) || p.Batch < 1 || p.Page < 1 || p.Most < 1 || p.Most > remote.MostItems || !strings.HasPrefix(p.URL, "https://") || p.AddBody == nil || p.RemoveBody == nil {
			t.Errorf("%+v", p)
		}
		seen = append(seen, p.Name)
	}
}
