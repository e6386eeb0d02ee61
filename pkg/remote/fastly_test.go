package remote_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/remote"
	"bailiff/pkg/remote/remotetest"
)

// TestFastly: the table alone makes another provider of it, whose answers have other forms,
// whose pages are counted, and whose changes hold at once.
func TestFastly(t *testing.T) {
	type entry struct {
		Op      string `json:"op,omitempty"`
		ID      string `json:"id"`
		IP      string `json:"ip"`
		Subnet  *int   `json:"subnet"`
		Comment string `json:"comment"`
	}
	var mu sync.Mutex
	var list []entry
	bits := 24
	list = append(list, entry{ID: "0", IP: "198.51.100.0", Subnet: &bits, Comment: "by hand"}, entry{ID: "x", IP: "192.0.2.200", Comment: ours})
	made := 0
	url, ca := remotetest.TLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != "/service/svc/acl/acl1/entries" || r.Header.Get("Fastly-Key") != secret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet {
			page, _ := strconv.Atoi(r.URL.Query().Get("page"))
			size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
			from := min((page-1)*size, len(list))
			_ = json.NewEncoder(w).Encode(list[from:min(from+size, len(list))])
			return
		}
		var body struct{ Entries []entry }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method != http.MethodPatch {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, e := range body.Entries {
			if e.Op == "create" {
				made++
				list = append(list, entry{ID: fmt.Sprint("made", made), IP: e.IP, Subnet: e.Subnet, Comment: e.Comment})
			} else {
				list = slices.DeleteFunc(list, func(o entry) bool { return o.ID == e.ID })
			}
		}
		_, _ = w.Write([]byte(`{"status":"ok"}`))
	}))
	p := *remote.ProviderOf("fastly")
	p.Pause = 0
	var want []netip.Prefix
	set := func(n int) {
		want = []netip.Prefix{netip.MustParsePrefix("2001:db8::/64")}
		for i := range n {
			want = append(want, netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/32", i)))
		}
	}
	set(250)
	due := make(chan struct{}, 1)
	l := &remote.List{
		Provider: &p, Account: "svc", ID: "acl1", Comment: ours, Most: 1000,
		Client: &remote.Client{URL: url, CA: ca, Header: p.Header, Token: func() (string, error) { return secret, nil }},
		Wanted: func() (remote.Want, error) {
			mu.Lock()
			defer mu.Unlock()
			return remote.Want{Prefixes: want}, nil
		},
		Tell: func(_ slog.Level, text string) { t.Log(text) },
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx, due) }()
	defer func() { stop(); <-done }()
	until := func(n int) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			mu.Lock()
			has, hand, network := 0, 0, 0
			for _, e := range list {
				switch {
				case e.Comment != ours:
					hand++
				case e.Subnet != nil && *e.Subnet == 64 && e.IP == "2001:db8::":
					network++
				case e.Subnet == nil:
					has++
				}
			}
			mu.Unlock()
			if has == n && hand == 1 && network == 1 && l.State().Behind == 0 {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d of %d, %d by hand, %d networks: %+v", has, n, hand, network, l.State())
			}
		}
	}
	until(250)
	mu.Lock()
	set(120)
	mu.Unlock()
	due <- struct{}{}
	until(120)
}
