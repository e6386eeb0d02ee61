package hub

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/fleet/enrol"
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
