package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// pair makes two hosts with a cable between them: 192.0.2.1 and 192.0.2.66, 203.0.113.1
// and 203.0.113.9, 2001:db8:f::1 and 2001:db8:f::66.
func pair(t *testing.T) (server, client *netlab.Host) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root (make test says how)")
	}
	lab := netlab.New(fmt.Sprintf("bailiff-%s-%d", strings.ToLower(t.Name()), os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	var err error
	for name, host := range map[string]**netlab.Host{"server": &server, "client": &client} {
		if *host, err = lab.Host(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.Cable(server, client, []string{"192.0.2.1/24", "203.0.113.1/24", "2001:db8:f::1/64"}, []string{"192.0.2.66/24", "203.0.113.9/24", "2001:db8:f::66/64"}); err != nil {
		t.Fatal(err)
	}
	return server, client
}

// TestList loads 200,000 networks into a real kernel, changes the list, an allow-list,
// and takes the sets away, all while an address that is on both lists is tried: it gets
// through at no moment. Needs root.
func TestList(t *testing.T) {
	t.Parallel()
	host, client := pair(t)
	dir := t.TempDir()
	const networks = 200_000
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		hosttest.Write(t, path+".new", text)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	large := func(from int) string {
		var b strings.Builder
		b.WriteString("# a feed\n203.0.113.9\n2001:db8::/32 ; x\n")
		for i := from; i < from+networks; i++ {
			fmt.Fprintf(&b, "%d.%d.%d.%d/29\n", 1+i>>20, i>>12&255, i>>4&255, i&15<<4)
		}
		return b.String()
	}
	list := write("feed.txt", large(0))
	allow := write("allow.txt", "1.0.0.1 # ours\n")
	write("bailiff.toml", fmt.Sprintf("[jail.feed]\nenabled = true\nlist = %q\nport = \"all\"\nprotocol = \"all\"\nblocktype = \"drop\"\nignoreip = [\"file:%s\", \"1.0.0.16/29\"]\n", filepath.Join(dir, "*d.txt"), allow))
	ctx := context.Background()
	socket, logFile := filepath.Join(dir, "sock"), filepath.Join(dir, "log")
	daemon := host.Command(ctx, program(t, "bailiff"), "run", "--config", dir, "--socket", socket, "--database", "none", "--log-target", logFile)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
	})
	log := func() string {
		text, _ := os.ReadFile(logFile)
		return string(text)
	}
	api := control.NewClient(socket)
	if !hosttest.Soon(func() bool {
		_, err := api.Status()
		return err == nil
	}) {
		t.Fatalf("it does not start:\n%s", log())
	}
	has := func(addr string) bool { return holds(t, host, "net", "feed", addr) }
	took := func(lines int) time.Duration {
		t.Helper()
		var found []string
		for end := time.Now().Add(2 * time.Minute); len(found) < lines && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			found = nil
			for _, l := range strings.Split(log(), "\n") {
				if strings.Contains(l, "list loaded") {
					found = append(found, l)
				}
			}
		}
		if len(found) < lines {
			t.Fatalf("the list was not loaded %d times:\n%s", lines, log())
		}
		_, text, _ := strings.Cut(found[lines-1], " in ")
		text = text[strings.LastIndex(text, " ")+1:]
		d, err := time.ParseDuration(strings.Trim(text, `"`))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := took(1)
	t.Logf("%d networks loaded in %v", networks, first)
	for addr, want := range map[string]bool{"1.0.0.0": true, "1.0.0.1": false, "1.0.0.17": false, "2001:db8:9::1": true, "2001:db9::1": false, "2001:db8:f::1": false} {
		if got := has(addr); got != want {
			t.Errorf("%s: %v, want %v\n%s", addr, got, want, log())
		}
	}
	// Both lists have 203.0.113.9: a packet from there is counted by a rule behind ours.
	counting := "table inet seen { chain in { type filter hook input priority 10; ip saddr 203.0.113.9 counter; }; }"
	rules := host.Command(ctx, "nft", "-f", "-")
	rules.Stdin = strings.NewReader(counting)
	if out, err := rules.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	flood, halt := context.WithCancel(ctx)
	flooded := make(chan int)
	go func() {
		n := 0
		_ = client.Do(func() error {
			for flood.Err() == nil {
				c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(203, 0, 113, 9)}, &net.UDPAddr{IP: net.IPv4(203, 0, 113, 1), Port: 9})
				if err != nil {
					return err
				}
				if _, err := c.Write([]byte("x")); err == nil {
					n++
				}
				c.Close()
				time.Sleep(200 * time.Microsecond)
			}
			return nil
		})
		flooded <- n
	}()
	write("feed.txt", large(100_000))
	again := took(2)
	t.Logf("loaded again in %v", again)
	if has("1.0.0.0") || !has("203.0.113.9") {
		t.Error("the new list is not in force")
	}
	write("allow.txt", "1.0.0.1\n2001:db8:9::/48\n")
	took(3)
	if has("2001:db8:9::1") || !has("2001:db8:a::1") {
		t.Errorf("the new allow-list is not in force:\n%s", log())
	}
	halt()
	sent := <-flooded
	out, err := host.Command(ctx, "nft", "list", "table", "inet", "seen").Output()
	if err != nil || !bytes.Contains(out, []byte("counter packets 0 ")) {
		t.Errorf("of %d packets some came through: %s %v", sent, out, err)
	}
	if sent < 1000 {
		t.Errorf("only %d packets were sent", sent)
	}
	// Another hand takes everything away.
	if out, err := host.Command(ctx, "nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !hosttest.Soon(func() bool { return strings.Contains(log(), "sets and rules made anew, with 200") }) {
		t.Fatalf("it is not said that what another hand removed is back:\n%s", log())
	}
	if !has("2001:db8:a::1") {
		t.Error("what another hand removed is not back")
	}
	// A list that is gone leaves what was read; status says so.
	if err := os.Remove(list); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		s, err := api.Status()
		if err == nil && len(s.Jails) == 1 && s.Jails[0].List && s.Jails[0].Banned > networks && strings.Contains(s.Jails[0].Error, "no file matches") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v %v", s, err)
		}
	}
	if !has("2001:db8:a::1") {
		t.Error("what was read is gone")
	}
}
