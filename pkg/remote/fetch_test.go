package remote_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/iplist"
	"bailiff/pkg/remote"
	"bailiff/pkg/remote/remotetest"
)

// TestFetch: what is no list is not taken, and the copy stays; what is the same is not sent
// again.
func TestFetch(t *testing.T) {
	const good = "# a list\n192.0.2.0/24\n2001:db8::/32\n"
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range iplist.MaxBytes>>20 + 1 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	_ = z.Close()
	asked, saved := 0, 0
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("ETag", `"one"`)
		if r.Header.Get("If-None-Match") == `"one"` {
			saved++
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, good)
	})
	text := func(path, kind, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			fmt.Fprint(w, body)
		})
	}
	text("/html", "text/html; charset=utf-8", good)
	text("/page", "text/plain", "\n <!DOCTYPE html>\n192.0.2.7\n")
	text("/empty", "text/plain", "")
	text("/comments", "text/plain", "# nothing today\n")
	text("/json", "application/json", `{"error": "over quota"}`)
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, good)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/plain", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/list", http.StatusFound)
	})
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/good", http.StatusMovedPermanently)
	})
	mux.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	url, ca := remotetest.TLS(t, mux)
	p := &remote.Published{URL: url + "/good", File: filepath.Join(t.TempDir(), "list"), CA: ca}
	for i, want := range []bool{true, false} {
		if changed, err := p.Fetch(context.Background()); changed != want || err != nil {
			t.Errorf("time %d: %v, %v", i+1, changed, err)
		}
	}
	if err := os.Remove(p.File); err != nil { // a copy that is gone is fetched anew
		t.Fatal(err)
	}
	if changed, err := p.Fetch(context.Background()); !changed || err != nil || asked != 3 || saved != 1 {
		t.Errorf("%v, %v, asked %d, %d of them in vain", changed, err, asked, saved)
	}
	for path, want := range map[string]string{
		"/html": "HTML", "/page": "HTML", "/empty": "no address", "/comments": "no address", "/json": "no address", "/bomb": "more than 67108864 bytes",
		"/cut": "ends early", "/plain": "redirected to http://", "/round": "more than 5 redirects", "/busy": "503", "/none": "404",
	} {
		p.URL = url + path
		if changed, err := p.Fetch(context.Background()); changed || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", path, changed, err)
		}
		if data, err := os.ReadFile(p.File); string(data) != good {
			t.Errorf("%s: the copy is %q, %v", path, data, err)
		}
	}
	p.URL, p.File = url+"/moved", p.File+"2"
	if changed, err := p.Fetch(context.Background()); !changed || err != nil {
		t.Error(changed, err)
	}
	p.CA = ""
	if _, err := p.Fetch(context.Background()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}
