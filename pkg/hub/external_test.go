package hub

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"bailiff/pkg/eventlog"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/hosttest"
)

var natsServer = flag.String("nats-server", "", "NATS' own program, 2.15.2 or newer (scripts/nats-server), which TestExternal runs in the place of the library")

// outside is a gatekeeper's directory, and the configuration of a server for it, on a port of its own: what
// nats.conf says, with the places that an operator changes.
func outside(t *testing.T, settings ...string) (dir, conf string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "gate")
	port := ports(t, 1)[0]
	if _, err := Init(dir, InitOptions{Names: []string{"127.0.0.1"}, Port: port, External: true}); err != nil {
		t.Fatal(err)
	}
	set(t, dir, settings...)
	data, err := os.ReadFile(filepath.Join(dir, NATSFile))
	if err != nil {
		t.Fatal(err)
	}
	at := t.TempDir()
	text := strings.NewReplacer(externalFiles, dir, externalData, at).Replace(string(data))
	conf = filepath.Join(at, "server.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "server_name: nats-1\nlisten: \"127.0.0.1:%d\"\n%s", port, text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, conf
}

// serving is NATS' server with a configuration, as a program that knows nothing of bailiff; stop ends it.
func serving(t *testing.T, conf string) (stop func()) {
	t.Helper()
	if *natsServer != "" {
		return program(t, *natsServer, conf)
	}
	o, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs = true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.SetLoggerV2(&bridge{log: logged(t)}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	stop = sync.OnceFunc(func() { s.Shutdown(); s.WaitForShutdown() })
	t.Cleanup(stop)
	return stop
}

// program runs NATS' own program.
func program(t *testing.T, path, conf string) (stop func()) {
	t.Helper()
	c := exec.Command(path, "-c", conf)
	c.Stdout, c.Stderr = testWriter{t}, testWriter{t}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = c.Process.Kill(); _ = c.Wait() })
	t.Cleanup(stop)
	return stop
}

// notes is a log that a test waits for lines of.
type notes struct {
	t    *testing.T
	mu   sync.Mutex
	text []string
}

func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text = append(n.text, string(b))
	n.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

// count is how many lines have that in them.
func (n *notes) count(what string) (found int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, line := range n.text {
		if strings.Contains(line, what) {
			found++
		}
	}
	return found
}

func (n *notes) await(what string) {
	n.t.Helper()
	hosttest.Until(n.t, fmt.Sprintf("the log says %q", what), func() bool { return n.count(what) > 0 })
}

// keeping is a gatekeeper at work, which may wait for its server, and its log.
func keeping(t *testing.T, dir string) (n *notes, stop func()) {
	t.Helper()
	n = &notes{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, dir, RunOptions{Log: slog.New(eventlog.New(n, "INFO")), Version: "test"})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return n, stop
}

// ready waits until hosts can be let in: the gate is at work.
func ready(t *testing.T, dir string, gates int) {
	t.Helper()
	reported(t, dir, fmt.Sprintf("%d gatekeepers at work", gates), func(s Status) bool {
		return len(s.Hubs) == gates && !slices.ContainsFunc(s.Hubs, func(h HubStatus) bool { return h.Problem != "" })
	})
}

// TestExternal: a NATS server that is not the hub's, with what init --external has written, and two gatekeepers: a ban is known on
// another host; each of them alone is enough; the server may go and come; who was taken out is out, after its restart, too.
func TestExternal(t *testing.T) {
	dir, conf := outside(t)
	other := filepath.Join(t.TempDir(), "gate")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("chmod", "-R", "go=", other).Run(); err != nil {
		t.Fatal(err)
	}
	set(t, other, `name = "gate-2"`)
	log, stopFirst := keeping(t, dir)
	log.await("no connection to the NATS server") // it waits for one
	stopServer := serving(t, conf)
	log.await("The stream has epoch")
	keeping(t, other)
	ready(t, dir, 2)

	ban := fleet.Entry{Jail: "sshd", Left: 3600, Count: 1, Failures: 5}
	one, a := agent(t, dir, "web-1", TokenOptions{})
	two, b := agent(t, dir, "web-2", TokenOptions{})
	tell(t, one, fleet.BanKey("web-1", "ssh", prefix("198.51.100.7")), ban)
	b.has(t, "198.51.100.7", true)
	epoch := epochOf(t, dir)
	// One of two gatekeepers ends: the other one does all.
	stopFirst()
	tell(t, two, fleet.BanKey("web-2", "ssh", prefix("198.51.100.8")), ban)
	a.has(t, "198.51.100.8", true)
	keeping(t, dir)
	ready(t, dir, 2)
	// The server goes and comes.
	stopServer()
	tell(t, one, fleet.BanKey("web-1", "ssh", prefix("198.51.100.9")), ban)
	serving(t, conf)
	b.has(t, "198.51.100.9", true)
	if got := epochOf(t, dir); got != epoch {
		t.Errorf("the epoch is %s, and was %s", got, epoch)
	}
	c := client(t, dir)
	s, err := c.Status(within(t))
	if err != nil || len(s.Hosts) != 2 || s.Hosts[0].Connected == nil || s.Hosts[0].Entries != 2 {
		t.Errorf("status: %+v, %v", s, err)
	}
	raw, files := joined(t, dir, "web-3", TokenOptions{})
	takenOut(t, dir, "web-3", raw, files)
}

// takenOut takes a host out, which is cut off by that, and not let in again.
func takenOut(t *testing.T, dir, name string, raw *nats.Conn, files string) {
	t.Helper()
	cut := make(chan struct{})
	raw.SetClosedHandler(func(*nats.Conn) { close(cut) })
	if err := client(t, dir).Distrust(within(t), name); err != nil {
		t.Fatal(err)
	}
	select {
	case <-cut:
	case <-time.After(patience):
		t.Error("a host that was taken out is connected still")
	}
	if nc, err := nats.Connect(raw.Servers()[0], enrolled(filepath.Join(files, "fleet.creds"), filepath.Join(files, "fleet-ca.pem"))...); err == nil {
		nc.Close()
		t.Error("a host that was taken out is let in")
	}
}

func epochOf(t *testing.T, dir string) string {
	t.Helper()
	s, err := client(t, dir).Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return s.Epoch
}

// TestExternalForeign: at servers that can hold no fleet, the gatekeeper says what is wrong, once, and goes on trying.
func TestExternalForeign(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(t *testing.T, dir, conf string) (text string)
		want   string
	}{
		{"without JetStream", func(_ *testing.T, _, conf string) string { return cutBlock(conf, "jetstream {") }, "has no JetStream for the account FLEET"},
		{"without the accounts", func(t *testing.T, _, conf string) string {
			_, other := outside(t)
			data, err := os.ReadFile(other)
			if err != nil {
				t.Fatal(err)
			}
			ours := strings.SplitN(conf, "\n# Whose", 2)
			_, theirs, _ := strings.Cut(string(data), "\n# Whose")
			accounts, _, _ := strings.Cut(theirs, "\n# Hosts know")
			_, rest, _ := strings.Cut(ours[1], "\n# Hosts know")
			return ours[0] + "\n# Whose" + accounts + "\n# Hosts know" + rest
		}, "it does not know the fleet's accounts"},
		{"with accounts in memory", func(_ *testing.T, _, conf string) string {
			return strings.Replace(cutBlock(conf, "resolver {"), "\nresolver_preload", "\nresolver: MEMORY\nresolver_preload", 1)
		}, "refused by the gate, but not cut off: the NATS server takes no new accounts while it is at work: want a resolver of type full"},
		{"without a right", func(t *testing.T, dir, conf string) string {
			k, err := readKeys(dir)
			if err != nil {
				t.Fatal(err)
			}
			creds, err := limitedHub(k)
			if err != nil {
				t.Fatal(err)
			}
			if err := replace(filepath.Join(dir, hubUserFile), creds); err != nil {
				t.Fatal(err)
			}
			return conf
		}, "the NATS server does not allow what the gate needs"},
		{"with another certificate", func(t *testing.T, dir, conf string) string {
			other, _ := outside(t)
			return strings.ReplaceAll(conf, filepath.Join(dir, "server."), filepath.Join(other, "server."))
		}, "its certificate is not of this fleet's authority"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			dir, conf := outside(t)
			data, err := os.ReadFile(conf)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(conf, []byte(c.change(t, dir, string(data))), 0o600); err != nil {
				t.Fatal(err)
			}
			serving(t, conf)
			log, stop := keeping(t, dir)
			log.await(c.want)
			time.Sleep(2 * lookEvery) // it goes on trying, and has nothing new to say
			stop()
			if n := log.count(c.want); n != 1 {
				t.Errorf("told %d times", n)
			}
		})
	}
	t.Run("of an old version", func(t *testing.T) {
		dir, _ := outside(t)
		own, err := readTransport(dir, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		at := talks(t, old(own.hosts))
		config := filepath.Join(dir, ConfigFile)
		data, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := ReadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), cfg.ExternalServers[0], "tls://"+strings.TrimPrefix(at, "nats://"))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		log, _ := keeping(t, dir)
		log.await("the NATS server is version 2.10.29: want 2.15.2 or newer")
	})
}

// limitedHub are credentials by which the hub's own user may do less than it needs.
func limitedHub(k keys) ([]byte, error) {
	u := jwt.NewUserClaims(public(k[hubUserKey]))
	u.Name = fleet.Hub
	u.Pub.Allow.Add("_INBOX.>", fleet.LiveSubjects+">")
	text, err := u.Encode(k[fleetKey])
	if err != nil {
		return nil, err
	}
	seed, err := k[hubUserKey].Seed()
	return enrol.Credentials(text, string(seed)), err
}

// cutBlock takes a block out of a configuration.
func cutBlock(conf, head string) string {
	before, rest, ok := strings.Cut(conf, "\n"+head)
	if !ok {
		panic(head)
	}
	_, after, _ := strings.Cut(rest, "\n}\n")
	return before + "\n" + after
}
