package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/fakeengine"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/jail"
)

// heard is a log that is looked at while it is written.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) has(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(h.text.String(), text)
}

func (h *heard) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// TestLabels: jails come with containers that ask for them by labels, ban by what those write, survive
// reloads, and go some time after their containers; none takes the place of another one.
func TestLabels(t *testing.T) {
	kept, look := labelKept, labelLook
	labelKept, labelLook = time.Hour, 20*time.Millisecond
	defer func() { labelKept, labelLook = kept, look }()
	dir := t.TempDir()
	e := fakeengine.New(filepath.Join(dir, "sock"))
	write := func(more string) {
		t.Helper()
		const text = "[docker]\nsocket = 'unix://%s'\nlabels = true\nmaxretry = '2-5'\n[jail.app]\nfailregex = '^failed <HOST>$'\n[jail.docker-taken]\nenabled = true\nfailregex = '^failed <HOST>$'\nlogpath = '/nonexistent/log'\n%s"
		if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(fmt.Sprintf(text, e.Socket(), more)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	log := &heard{}
	d := unstarted(t, config.Options{Path: dir}, slog.NewTextHandler(log, nil))
	d.cfg.Filters = nil
	if commands, engines := runs(d.cfg, Options{}); commands+engines == "" || len(Commands(d.cfg).Engines) != 1 {
		t.Error("for labels alone nobody is there who may ask the engine")
	}
	d.labels = newLabels(d)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { d.labels.run(ctx); close(done) }()
	defer func() {
		cancel()
		<-done
		for _, j := range d.jailsNow() {
			j.Stop(false)
		}
	}()
	until := func(what string, ok func() bool) {
		t.Helper()
		if !hosttest.Soon(ok) {
			t.Fatalf("%s: %s", what, log.all())
		}
	}
	status := func(name string) (jail.Status, bool) {
		s, err := d.Status("", false)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range s.Jails {
			if j.Name == name {
				return j, true
			}
		}
		return jail.Status{}, false
	}
	runs := func(name string) bool { j, ok := status(name); return ok && j.Error == "" }
	banned := func(name string, n int) func() bool {
		return func() bool { j, _ := status(name); return j.Banned == n }
	}
	until("it isn't said that the engine isn't there", func() bool { return log.has("labels are not seen until it answers") })
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	ask := func(more ...string) map[string]string {
		out := map[string]string{"bailiff.jail": "app"}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	web := e.Add(fakeengine.Container{Name: "web", Labels: ask("bailiff.maxretry", "100"), Ports: []int{8080}})
	e.Add(fakeengine.Container{Name: "none", Ports: []int{80}})
	e.Add(fakeengine.Container{Name: "hostile", Labels: map[string]string{"bailiff.jail": "app\nERROR forged"}, Ports: []int{80}})
	e.Add(fakeengine.Container{Name: "taken", Labels: ask(), Ports: []int{80}})
	short := e.Add(fakeengine.Container{Name: "short", Labels: ask(), Ports: []int{81}})
	until("no jail comes", func() bool { return runs("docker-web") && runs("docker-short") })
	until("it isn't told what labels don't get", func() bool {
		return log.has(`\"100\" is taken for 5, the most`) && log.has("jail docker-taken would be made, and is one of the configuration") && log.has(`forged\": want 1 to 64`) // in quotes of quotes
	})
	if runs("docker-none") || runs("docker-hostile") || runs("docker-taken") {
		t.Error("a jail came that may not")
	}
	for range 5 {
		web.Line("failed 203.0.113.77")
	}
	until("nobody is banned", banned("docker-web", 1))
	// Beside its ports it shuts nothing, unless its jails are named.
	for _, of := range []struct {
		jails []string
		want  int
	}{{nil, 0}, {[]string{"all"}, 0}, {[]string{"docker-short"}, 0}, {[]string{"docker-web"}, 1}, {[]string{"all", "docker-*"}, 1}} {
		if out, err := d.shutOut(of.jails); err != nil || len(out) != of.want {
			t.Errorf("by %q are shut out: %v, %v", of.jails, out, err)
		}
	}
	if !banned("docker-short", 0)() {
		t.Error("another one's jail bans, too")
	}

	// A half-edited file is not looked at; a reload keeps the jails, and what is new holds.
	write("[default]\nbantime = '1d'\n[jail.x]\nenabled = nonsense")
	late := e.Add(fakeengine.Container{Name: "late", Labels: ask(), Ports: []int{82}})
	until("a jail doesn't come while a file is edited", func() bool { return runs("docker-late") })
	if j, _ := status("docker-late"); j.BanTime != 600 {
		t.Errorf("it has what is half edited: %v", j.BanTime)
	}
	if _, err := d.Reload(""); err == nil {
		t.Error("what can't be read is taken")
	}
	write("[default]\nbantime = '1d'\n")
	res, err := d.Reload("")
	if err != nil || len(res.Stopped) > 0 {
		t.Fatalf("%+v %v", res, err)
	}
	until("a reload doesn't reach it", func() bool {
		for _, name := range []string{"docker-web", "docker-late", "docker-short"} {
			if j, ok := status(name); !ok || j.BanTime != 86400 {
				return false
			}
		}
		return true
	})
	until("its ban is lost", banned("docker-web", 1))

	// Another container of its name goes on with its jail, and with its bans.
	web.Remove()
	until("it isn't gone", func() bool {
		d.labels.mu.Lock()
		defer d.labels.mu.Unlock()
		return !d.labels.jails["docker-web"].gone.IsZero()
	})
	if !runs("docker-web") {
		t.Error("its jail goes with it at once")
	}
	web = e.Add(fakeengine.Container{Name: "web", Labels: ask("bailiff.maxretry", "2"), Ports: []int{8080}})
	until("another one of its name isn't read", func() bool {
		j, _ := status("docker-web")
		return j.MaxRetry == 2 && j.Banned == 1 && len(j.Files) == 1 && strings.Contains(j.Files[0].Path, web.ID[:12])
	})

	// Who stops one has it stopped.
	if err := d.stopJails([]string{"docker-late"}); err != nil {
		t.Fatal(err)
	}
	extra := e.Add(fakeengine.Container{Name: "extra", Labels: ask(), Ports: []int{83}})
	until("no jail comes any more", func() bool { return runs("docker-extra") })
	if runs("docker-late") {
		t.Error("one that was stopped is there again")
	}
	late.Remove()
	extra.Remove()

	// A jail ends once its container is gone for long enough, and nobody is banned.
	web.Remove()
	short.Remove()
	until("they aren't gone", func() bool {
		d.labels.mu.Lock()
		defer d.labels.mu.Unlock()
		for _, one := range d.labels.jails {
			if one.gone.IsZero() {
				return false
			}
			one.gone = time.Now().Add(-2 * labelKept)
		}
		return true
	})
	until("a jail doesn't end", func() bool { _, there := status("docker-short"); return !there && !runs("docker-extra") })
	if !banned("docker-web", 1)() {
		t.Error("a jail ended that has bans")
	}

	// There are so many, and no more.
	for i := range labelJailsMost + 3 {
		e.Add(fakeengine.Container{Name: fmt.Sprint("many-", i), Labels: ask(), Ports: []int{1000 + i}})
	}
	ofLabels := func() (n int) {
		for _, j := range d.jailsNow() {
			if j.Configured.Labelled != "" {
				n++
			}
		}
		return n
	}
	until("there are too few, or too many", func() bool {
		return ofLabels() == labelJailsMost && log.has("there are 64 jails of labels, and no more")
	})

	// Without the permission there are none.
	if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Reload(""); err != nil {
		t.Fatal(err)
	}
	until("jails stay", func() bool { return len(d.jailsNow()) == 0 })
}
