package enrol

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func token() Token {
	return Token{
		URLs: []string{"tls://hub.example:4222", "tls://[2001:db8::1]:4222"}, Pin: Pin([]byte("a certificate")), JWT: "a.b.c", Seed: "SU", ID: "abc234", Secret: "s",
		Until: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Unix(),
	}
}

func TestToken(t *testing.T) {
	text := token().String()
	got, err := ParseToken(" " + text + "\n")
	if err != nil || got.String() != text {
		t.Errorf("%+v, %v", got, err)
	}
	if !got.Over(time.Unix(got.Until, 0)) || got.Over(time.Unix(got.Until-1, 0)) {
		t.Error("it does not end when it says so")
	}
	change := func(f func(*Token)) string {
		k := token()
		f(&k)
		return k.String()
	}
	for _, bad := range []string{
		"", "x", prefix, text[:len(text)/2], text[1:], text + "A", text + "\n" + text, prefix + base64.RawURLEncoding.EncodeToString([]byte(`{"urls":1}`)),
		prefix + base64.RawURLEncoding.EncodeToString([]byte(`{"more":1}`)), strings.Repeat("a", tokenMost+1),
		change(func(k *Token) { k.URLs = nil }), change(func(k *Token) { k.URLs = []string{"nats://hub:4222"} }), change(func(k *Token) { k.URLs = []string{"tls://hub"} }),
		change(func(k *Token) { k.URLs = []string{"tls://u:p@hub:4222"} }), change(func(k *Token) { k.URLs = make([]string, 17) }), change(func(k *Token) { k.Pin = "" }),
		change(func(k *Token) { k.ID = "*" }), change(func(k *Token) { k.ID = "" }), change(func(k *Token) { k.ID = strings.Repeat("a", 41) }), change(func(k *Token) { k.Secret = "" }), change(func(k *Token) { k.JWT = "" }),
	} {
		if k, err := ParseToken(bad); err == nil {
			t.Errorf("%.60q was taken for %+v", bad, k)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(token().String())
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseToken(text)
		if err != nil {
			return
		}
		if again, err := ParseToken(k.String()); err != nil || again.String() != k.String() {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// TestRead: the name is the hub's word, and what is no name is not taken for one.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	write := func(claims string) {
		t.Helper()
		text := Credentials("e30."+base64.RawURLEncoding.EncodeToString([]byte(claims))+".x", "SU")
		if err := os.WriteFile(filepath.Join(dir, CredentialsFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "this host is in no fleet") {
		t.Error(err)
	}
	write(`{"name":"web-1"}`)
	if name, err := Read(dir); err != nil || name != "web-1" {
		t.Error(name, err)
	}
	for _, bad := range []string{`{"name":"*"}`, `{"name":"hub"}`, `{}`, `x`} {
		write(bad)
		if name, err := Read(dir); err == nil {
			t.Errorf("%s: named %q", bad, name)
		}
	}
}
