package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// TestAllow: who is let in for a while is unbanned, alone and within a network, left out of a
// list, and not banned again, which is told; over a kill, too. Afterwards he is as others.
func TestAllow(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	hosttest.Write(t, n.path("auth.log"), "")
	hosttest.Write(t, n.path("feed.txt"), "192.0.2.64/30\n")
	config := n.twoInAnHour() + fmt.Sprintf(`
[jail.feed]
enabled = true
list = %q
`, n.path("feed.txt"))
	log := func(text string) func() bool {
		return func() bool { all, _ := os.ReadFile(n.path("out")); return strings.Contains(string(all), text) }
	}
	run := func(args ...string) (string, bool) {
		t.Helper()
		out, err := exec.Command(n.path("bailiff"), append(args, "--socket", n.path("sock"))...).CombinedOutput()
		return string(out), err == nil
	}
	in := func(who, to string, want bool) {
		t.Helper()
		n.comesTo(n.attacker, who, to, want)
	}
	n.start(config)
	n.until("the list is in force", log("[feed] list loaded"))
	n.failures(2, "192.0.2.66")
	n.until("banned", log("] Ban 192.0.2.66"))
	in("192.0.2.66", "192.0.2.1:80", false)
	in("192.0.2.67", "192.0.2.1:80", false) // the list

	out, ok := run("allow", "192.0.2.66", "--for", "2h")
	if !ok || !strings.HasPrefix(out, "192.0.2.66 unbanned in django-auth, and let in until 2") {
		t.Errorf("%v %q", ok, out)
	}
	in("192.0.2.66", "192.0.2.1:80", true)
	in("192.0.2.67", "192.0.2.1:80", false)
	n.failures(2, "192.0.2.66")
	n.until("it is told", log("] Would ban 192.0.2.66: bailiff allow (let in until 2"))
	in("192.0.2.66", "192.0.2.1:80", true)

	// A network that holds it, by hand: refused; and one that was banned before is lifted.
	if out, ok := run("ban", "django-auth", "192.0.2.64/29"); ok || !strings.Contains(out, "let in until") {
		t.Errorf("%v %q", ok, out)
	}
	if out, ok := run("ban", "django-auth", "2001:db8:a::60/124"); !ok {
		t.Error(out)
	}
	in("2001:db8:a::66", "[2001:db8:a::1]:80", false)
	if out, ok := run("allow", "2001:db8:a::66"); !ok || !strings.Contains(out, "; the ban of 2001:db8:a::60/124 in django-auth is lifted\n") {
		t.Errorf("%v %q", ok, out)
	}
	in("2001:db8:a::66", "[2001:db8:a::1]:80", true)
	// What was made with force stays, which is told; of a network, what is inside it is lifted.
	if out, ok := run("ban", "--force", "django-auth", "198.51.100.64/28"); !ok {
		t.Error(out)
	}
	if out, ok := run("allow", "198.51.100.66"); ok || !strings.Contains(out, "198.51.100.66 is still shut out: it is part of 198.51.100.64/28, which is banned in django-auth: to let it in, bailiff unban 198.51.100.64/28") || strings.Contains(out, "lifted") {
		t.Errorf("%v %q", ok, out)
	}
	if out, ok := run("unban", "198.51.100.64/28"); !ok {
		t.Error(out)
	}
	if out, ok := run("ban", "django-auth", "198.51.100.129", "198.51.100.130"); !ok {
		t.Error(out)
	}
	if out, ok := run("allow", "198.51.100.128/26"); !ok || !strings.Contains(out, "; 2 bans inside it in django-auth are lifted\n") {
		t.Errorf("%v %q", ok, out)
	}
	if out, ok := run("allow", "192.0.2.65"); !ok || !strings.Contains(out, "; list feed leaves it out\n") {
		t.Errorf("%v %q", ok, out)
	}
	if out, ok := run("allow", "--end", "192.0.2.65", "198.51.100.66", "198.51.100.128/26"); !ok {
		t.Error(out)
	}

	for _, c := range []struct{ args, says string }{
		{"allow --end 192.0.2.66 --for 2h", "--end or --for"},
		{"allow 192.0.2.9 --for soon", "--for soon"},
		{"allow 192.0.2.9 --for 500d", "--for 500d: at most 366d"},
		{"allow somebody", "somebody"},
		{"allow 0.0.0.0/0", "wider than"},
		{"allow --end 198.51.100.9", "198.51.100.9 is not let in"},
	} {
		if out, ok := run(strings.Fields(c.args)...); ok || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v %q", c.args, ok, out)
		}
	}

	if err := n.daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-n.exited
	// What a disk made of the file costs those lines, however long they are.
	kept, err := os.ReadFile(n.path("db.sqlite3.allowed"))
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Write(t, n.path("db.sqlite3.allowed"), "{\"ip\n"+strings.Repeat("\x00", 100000)+"\n"+string(kept)+string(kept))
	n.launch(config)
	n.until("it is up", func() bool { out, _ := run("allow"); return strings.Contains(out, "192.0.2.66") })
	n.until("the list is in force again", log("[feed] list loaded"))
	n.until("what is no line is told", log("db.sqlite3.allowed:1: no address with a time, nor in 1 lines behind it: left out"))
	if out, ok := run("allow"); !ok || strings.Count(out, "\n") != 3 || !strings.Contains(out, "2001:db8:a::66") {
		t.Errorf("%v %q", ok, out)
	}
	n.failures(2, "192.0.2.66")
	n.until("it is told again", log("] Would ban 192.0.2.66: bailiff allow"))
	in("192.0.2.66", "192.0.2.1:80", true)

	if out, ok := run("allow", "--end", "192.0.2.66", "2001:db8:a::66"); !ok || out != "192.0.2.66 is no longer let in\n2001:db8:a::66 is no longer let in\n" {
		t.Errorf("%v %q", ok, out)
	}
	n.until("the list holds it again", func() bool { return n.reaches(n.attacker, "192.0.2.66", "192.0.2.1:80", false) == nil })
	n.failures(2, "192.0.2.66")
	n.until("banned again", log("] Ban 192.0.2.66"))
	if out, ok := run("allow"); !ok || out != "nobody is let in by bailiff allow\n" {
		t.Errorf("%v %q", ok, out)
	}
	many := []string{"allow"}
	for i := range 1001 {
		many = append(many, fmt.Sprintf("2001:db8:b::%x", i+1))
	}
	if out, ok := run(many...); ok || strings.Count(out, " is let in until ") != 1000 || !strings.Contains(out, "2001:db8:b::3e9: 1000 addresses and networks are let in") {
		t.Errorf("%v %q", ok, clipped(out, 500))
	}
	if out, ok := run(append([]string{"allow", "--end"}, many[1:1001]...)...); !ok {
		t.Errorf("%v %q", ok, clipped(out, 500))
	}
	if _, err := os.Stat(n.path("db.sqlite3.allowed")); err == nil {
		t.Error("its file is still there")
	}
}
