package daemon

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/metrics"
)

// TestMetricsPartHangs: a part that hangs is missing on the page, is not asked again before it comes back,
// and the others are told.
func TestMetricsPartHangs(t *testing.T) {
	m := &meter{}
	hang, ran := make(chan struct{}), make(chan struct{}, 10)
	parts := []part{
		{"good", func(p *metrics.Page) { p.Add(metrics.F2bUp, 1) }},
		{"hangs", func(p *metrics.Page) {
			ran <- struct{}{}
			<-hang
			p.Add(metrics.Goroutines, 7)
		}},
	}
	missing := func(p *metrics.Page) float64 {
		for _, s := range p.Samples(metrics.PartsMissing) {
			if s.Values[0] == "hangs" {
				return s.Number
			}
		}
		return -1
	}
	for end := time.Now().Add(30 * time.Second); ; {
		p := m.page(parts)
		if missing(p) != 1 || len(p.Samples(metrics.Goroutines)) != 0 {
			t.Error("a part that hangs is not said to be missing")
		}
		if len(p.Samples(metrics.F2bUp)) == 1 && len(ran) > 0 { // others may have the processor for long
			break
		}
		if time.Now().After(end) {
			t.Fatal("what is good is not told")
		}
	}
	m.page(parts)
	if n := len(ran); n != 1 {
		t.Errorf("it was asked %d times while it hung", n)
	}
	close(hang)
	if !hosttest.Soon(func() bool {
		p := m.page(parts)
		return missing(p) == 0
	}) {
		t.Fatal("it is missing for ever")
	}
}

// TestSizes: a file whose size is not to be had in time costs itself.
func TestSizes(t *testing.T) {
	dir := t.TempDir()
	good, fifo := filepath.Join(dir, "good"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(good, make([]byte, 123), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	var s sizes
	stuck := filepath.Join(dir, "stuck")
	s.begin(stuck) // somebody asked, and has not heard
	got := s.of([]string{stuck, fifo, filepath.Join(dir, "none"), good}, 10*time.Second)
	if len(got) != 1 || got[good] != 123 {
		t.Errorf("%v", got)
	}
}

// TestMetricsByToken: the page tells metrics to whom it is to, and to nobody else.
func TestMetricsByToken(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a-secret-of-ours\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	warned := 0
	who := ""
	h := metricsByToken(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}), func() string { return who }, func(string) { warned++ })
	for _, k := range []struct {
		who, sent string
		want      int
	}{
		{"", "", 404},
		{"", "Bearer a-secret-of-ours", 404},
		{"open", "", 200},
		{token, "", 401},
		{token, "Bearer ", 401},
		{token, "Bearer a-secret-of-theirs", 401},
		{token, "a-secret-of-ours", 401},
		{token, "Basic a-secret-of-ours", 401},
		{token, "Bearer a-secret-of-ours", 200},
		{token + "-none", "Bearer ", 503},
	} {
		who = k.who
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Authorization", k.sent)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != k.want {
			t.Errorf("[web] metrics = %q, sent %q: %d, want %d", k.who, k.sent, w.Code, k.want)
		}
	}
	if warned != 1 {
		t.Errorf("%d warnings of a token that can't be read", warned)
	}
}
