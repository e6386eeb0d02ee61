package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/remote/remotetest"
)

// TestListURL: a confined daemon fetches a list, keeps it when its server answers with a page,
// and has it at a start without a server.
func TestListURL(t *testing.T) {
	dir := t.TempDir()
	var broken atomic.Bool
	url, ca := remotetest.TLS(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>moved</html>")
			return
		}
		fmt.Fprint(w, "198.51.100.0/24\n203.0.113.7\n")
	}))
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o755); err != nil {
		t.Fatal(err)
	}
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), fmt.Sprintf(`
[database]
path = %q
[firewall]
enabled = false
[export.plain]
file = %q
format = "plain"
[jail.feed]
enabled = true
list = %q
list_ca = %q
`, filepath.Join(dir, "db", "bailiff.sqlite3"), filepath.Join(dir, "db", "banned"), url+"/drop.txt", ca))
	d := daemonHere(t, dir)
	loaded := func() bool {
		data, _ := os.ReadFile(filepath.Join(dir, "db", "banned"))
		return strings.Contains(string(data), "198.51.100.0/24\n203.0.113.7\n")
	}
	d.until("the list is not in force", loaded)
	d.end()
	if err := os.Remove(filepath.Join(dir, "db", "banned")); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	d = daemonHere(t, dir)
	d.until("the copy is not in force", loaded)
	d.until("it is not said that the list can't be fetched", func() bool {
		s, err := d.api.Jail("feed")
		return err == nil && s.Banned == 2 && s.Files[0].Path == url+"/drop.txt" && strings.Contains(strings.Join(s.Problems, "\n"), "HTML")
	})
	if !strings.Contains(d.text(), url+"/drop.txt can't be fetched: the server answers with a page (HTML), and no list; the copy of ") {
		t.Error(d.text())
	}
}
