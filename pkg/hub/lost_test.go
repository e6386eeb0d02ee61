package hub

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/link"
	"bailiff/pkg/hosttest"
)

// TestStreamLost: hosts' agents at a real hub whose stream is deleted, and then put back as it was before more was said: who was banned
// is, who was lifted isn't, though who has lifted him is off; failures that the hub has counted are counted anew, and its own bans end.
func TestStreamLost(t *testing.T) {
	dir := made(t, "burst = 100000", "rate = 10000.0")
	counted(t, dir, "maxretry = 2", `bantime = "1h"`)
	_, stop := running(t, dir)
	links, shuts := map[string]*link.Link{}, map[string]*shut{}
	for _, name := range []string{"web-1", "web-2"} {
		links[name], shuts[name] = countingAgent(t, dir, name, TokenOptions{})
	}
	in, out := map[string]bool{}, map[string]bool{}
	n := 0
	bans := func(count int) {
		t.Helper()
		for range count {
			for _, name := range []string{"web-1", "web-2"} {
				n++
				who := fmt.Sprintf("203.0.113.%d", n)
				tell(t, links[name], fleet.BanKey(name, "ssh", prefix(who)), fleet.Entry{Jail: "sshd", Left: 3600, Count: 1, Failures: 5})
				in[who] = true
			}
		}
	}
	// lifts has a host lift that is here for that and goes again.
	lifts := func(name string, some ...int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			l, s := countingAgent(t, dir, name, TokenOptions{Lifts: true})
			hosttest.Until(t, "who lifts knows whom", func() bool { lost, _ := s.differs(in, nil); return len(lost) == 0 })
			for _, i := range some {
				who := fmt.Sprintf("203.0.113.%d", i)
				tell(t, l, fleet.LiftKey(name, "ssh", prefix(who)), fleet.Entry{})
				delete(in, who)
				out[who] = true
			}
			hosttest.Until(t, "it is stored", func() bool { return stats(t, l).Waiting == 0 })
		})
	}
	same := func(what string) {
		t.Helper()
		hosttest.Until(t, what, func() bool {
			for name, s := range shuts {
				st := stats(t, links[name])
				if lost, back := s.differs(in, out); len(lost)+len(back) > 0 || !st.Complete || st.Waiting > 0 {
					return false
				}
			}
			return true
		})
	}
	verdict := func(what string) {
		t.Helper()
		// One that comes now has nothing of before.
		name := fmt.Sprint("new-", len(shuts))
		links[name], shuts[name] = countingAgent(t, dir, name, TokenOptions{})
		same(what)
		time.Sleep(fleet.BeatEvery) // nothing comes behind it
		lost, back := 0, 0
		for name, s := range shuts {
			l, b := s.differs(in, out)
			lost, back = lost+len(l), back+len(b)
			if len(l)+len(b) > 0 {
				t.Errorf("%s: %v lost, %v resurrected", name, l, b)
			}
		}
		t.Logf("%s: %d acknowledged, %d lost, %d resurrected", what, len(in)+len(out), lost, back)
	}
	bans(10)
	same("all hold the same")
	lifts("admin-1", 1, 2, 3, 4)
	const counts = "198.51.100.7"
	failing(t, links["web-1"], counts, 1)
	failing(t, links["web-2"], counts, 1)
	shuts["web-1"].has(t, counts, true)
	epochs := stats(t, links["web-1"]).Epochs
	if err := client(t, dir).js.DeleteStream(within(t), fleet.Stream); err != nil {
		t.Fatal(err)
	}
	hosttest.Until(t, "hosts know of another stream", func() bool {
		return stats(t, links["web-1"]).Epochs > epochs && stats(t, links["web-2"]).Epochs > epochs
	})
	verdict("the stream was deleted")
	for _, s := range shuts { // the hub does not say once more what it had counted
		s.has(t, counts, false)
	}
	failing(t, links["web-1"], counts, 1)
	failing(t, links["web-2"], counts, 1)
	for _, s := range shuts {
		s.has(t, counts, true)
	}

	// A copy as a backup has it; more is said; then it is put back.
	stop()
	store, backup := filepath.Join(dir, storeDir), filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(store)); err != nil {
		t.Fatal(err)
	}
	_, stop = running(t, dir)
	bans(10)
	same("all hold the same")
	lifts("admin-2", 5, 6, 21, 22)
	same("lifted everywhere")
	stop()
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(store, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(store, 0o700); err != nil {
		t.Fatal(err)
	}
	_, stop = running(t, dir)
	defer stop()
	verdict("the stream was put back from a backup")
}
