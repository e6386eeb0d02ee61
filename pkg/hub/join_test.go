package hub

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/fleet/link"
)

// TestJoinAgain: what goes wrong on the host behind the hub's answer costs no token, and no name: the same one lets it in again.
func TestJoinAgain(t *testing.T) {
	dir := made(t)
	running(t, dir)
	c := client(t, dir)
	token := func() enrol.Token {
		t.Helper()
		token, err := c.Token(within(t), TokenOptions{Valid: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	files := filepath.Join(t.TempDir(), "etc")
	creds := filepath.Join(files, enrol.CredentialsFile)
	// A directory where the certificate is to be: it can't be put there.
	if err := os.MkdirAll(filepath.Join(files, enrol.AuthorityFile, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	first := token()
	if _, err := enrol.Join(within(t), first, "web-1", files); err == nil || !strings.Contains(err.Error(), "the same token does it once more") {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(files, enrol.AuthorityFile)); err != nil {
		t.Fatal(err)
	}
	j, err := enrol.Join(within(t), first, "web-1", files)
	if err != nil {
		t.Fatalf("the same token, of the same host: %v", err)
	}
	host1(t, j.URLs, "web-1", files)
	left, err := os.ReadDir(files)
	if err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}

	// Of a host that was taken out meanwhile the key is no good any more, and a new token lets it in all the same.
	if err := enrol.Remove(files); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(files, enrol.AuthorityFile, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	second := token()
	if _, err := enrol.Join(within(t), second, "web-2", files); err == nil {
		t.Fatal("it was written over a directory")
	}
	if err := os.RemoveAll(filepath.Join(files, enrol.AuthorityFile)); err != nil {
		t.Fatal(err)
	}
	if err := c.Distrust(within(t), "web-2"); err != nil {
		t.Fatal(err)
	}
	if _, err := enrol.Join(within(t), second, "web-2", files); err == nil {
		t.Error("a host that was taken out is let in by the token of before")
	}
	if j, err = enrol.Join(within(t), token(), "web-2", files); err != nil {
		t.Fatal(err)
	}
	host1(t, j.URLs, "web-2", files)

	// Where nothing can be written, the hub is not asked.
	other := filepath.Join(t.TempDir(), "etc")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	third := token()
	if _, err := enrol.Join(within(t), third, "web-3", other); err == nil {
		t.Error("a file was taken for a directory")
	}
	if _, err := enrol.Join(within(t), third, "web-4", filepath.Join(t.TempDir(), "etc")); err != nil {
		t.Errorf("the token is used up: %v", err)
	}
	if _, err := os.Stat(creds); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// dials counts how often somebody tries to connect.
type dials struct{ n chan struct{} }

func (d dials) Dial(network, address string) (net.Conn, error) {
	d.n <- struct{}{}
	return net.Dial(network, address)
}

// TestTakenBack: a host whose key was taken back says so once, however often it tries.
func TestTakenBack(t *testing.T) {
	dir := made(t)
	h, _ := running(t, dir)
	first, files := joined(t, dir, "web-1", TokenOptions{})
	first.Close()
	tries, up := dials{make(chan struct{}, 1000)}, make(chan struct{}, 1000)
	var mu sync.Mutex
	told := map[string]int{}
	l, err := link.New(link.Options{
		Host: "web-1", URLs: h.cfg.URLs, Now: time.Now,
		Connect: append(link.Credentials(filepath.Join(files, enrol.CredentialsFile), filepath.Join(files, enrol.AuthorityFile)), nats.SetCustomDialer(tries)),
		Tell: func(what string, err error) {
			if err == nil {
				up <- struct{}{}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			told[what+": "+err.Error()]++
		},
	}, fleet.Policy{Groups: map[string]int{"ssh": 1}}, fleet.Start{}, &shut{all: map[netip.Prefix]time.Time{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	wait := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(patience):
			t.Fatalf("%s did not come", what)
		}
	}
	wait("a connection", up)
	if err := client(t, dir).Distrust(within(t), "web-1"); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		wait("a try", tries.n)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	const want = "no connection to the hub: the hub does not know this host, or no longer: join it again with a new token"
	mu.Lock()
	defer mu.Unlock()
	for text, n := range told {
		if n > 1 || told[want] != 1 {
			t.Errorf("%d times: %s", n, text)
		}
	}
}
