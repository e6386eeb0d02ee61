package web

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
)

// TestUsersFile: what a file may hold, and who may have written it.
func TestUsersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u")
	for text, want := range map[string]string{
		"": "", "# x\n\nanna:viewer:*\n": "", "anna:owner:*": "want viewer", "anna": "want NAME:ROLE:HASH", "a b:viewer:*": "want up to",
		"anna:viewer:*\nanna:admin:*": "twice", "anna:viewer:secret": "argon2id", "anna:viewer:$argon2id$v=19$m=9999999,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA": "at most",
		"anna:viewer:" + nobodys: "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadUsers(path)
		if said := fmt.Sprint(err); (err == nil) != (want == "") || !strings.Contains(said, want) && want != "" {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadUsers(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by a group: %v", err)
	}
	if users, err := ReadUsers(path + "x"); len(users) > 0 || err != nil {
		t.Errorf("none: %v", err)
	}
}

// TestLimitBound: however many addresses try, few are kept.
func TestLimitBound(t *testing.T) {
	now := anHour
	l := newLimit(func() time.Time { return now })
	a := netip.MustParseAddr("2001:db8::1")
	for range triesAtOnce {
		l.take(a)
	}
	if l.take(a) || l.take(netip.MustParseAddr("2001:db8::2")) {
		t.Error("not bounded by network")
	}
	now = now.Add(triesEvery)
	if !l.take(a) || l.take(a) {
		t.Error("not one more")
	}
	for i := range triesKept + 100 {
		l.take(netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if n := len(l.by); n > triesKept || n != l.order.Len() {
		t.Errorf("%d kept", n)
	}
}

// TestUsersFileTold: where the file of users can't be read the page asks for no password, and the log says why.
func TestUsersFileTold(t *testing.T) {
	x := newSite(t, nil)
	x.user("anna", control.Admin, NoPassword)
	if page := x.browser().get("/login").Body.String(); !strings.Contains(page, `name="password"`) || len(x.warned) > 0 {
		t.Errorf("told %q, with\n%s", x.warned, page)
	}
	path := x.s.cfg.Load().Users
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	x.later(time.Minute)
	if page := x.browser().get("/login").Body.String(); strings.Contains(page, `name="password"`) || len(x.warned) != 1 || !strings.Contains(x.warned[0], "chmod 600 "+path) {
		t.Errorf("told %q, with\n%s", x.warned, page)
	}
}
