package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"bailiff/pkg/eventlog"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/hosttest"
)

// patience is how long a test waits for what is to come: only a test that fails waits for so long.
const patience = 90 * time.Second

// TestMain has hubs look more often, and end sooner, than where hosts depend on them.
func TestMain(m *testing.M) {
	lookEvery, lameDuck, lameDuckFirst, gather = time.Second, 200*time.Millisecond, 100*time.Millisecond, 2*time.Second
	os.Exit(m.Run())
}

// ports are so many that nobody listens on now.
func ports(t *testing.T, n int) (out []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out
}

// logged is a log into the test's own.
func logged(t *testing.T) *slog.Logger {
	return slog.New(eventlog.New(testWriter{t}, "INFO"))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

// made is a new hub's directory on loopback, with lines of hub.toml before the others.
func made(t *testing.T, settings ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "hub")
	if _, err := Init(dir, InitOptions{Names: []string{"127.0.0.1"}, Address: "127.0.0.1", Port: ports(t, 1)[0]}); err != nil {
		t.Fatal(err)
	}
	set(t, dir, settings...)
	return dir
}

func set(t *testing.T, dir string, settings ...string) {
	t.Helper()
	file := filepath.Join(dir, ConfigFile)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := "\n" + string(data)
	for _, s := range settings {
		if key, _, _ := strings.Cut(s, " "); strings.Contains(text, "\n"+key+" = ") {
			at := strings.Index(text, "\n"+key+" = ") + 1
			text = text[:at] + s + text[at+strings.IndexByte(text[at:], '\n'):]
		} else {
			text = "\n" + s + text
		}
	}
	if err := os.WriteFile(file, []byte(text[1:]), 0o600); err != nil {
		t.Fatal(err)
	}
}

// appendTo adds to the end of a hub's configuration.
func appendTo(t *testing.T, dir, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, ConfigFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// running is a hub at work, and how to end it.
func running(t *testing.T, dir string) (h *Hub, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h, err := Open(ctx, dir, RunOptions{Log: logged(t), Version: "test"})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- h.Serve(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return h, stop
}

// client is the hub's own commands' connection.
func client(t *testing.T, dir string) *Client {
	t.Helper()
	c, err := Dial(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// reported waits until what a hub reports is what is wanted.
func reported(t *testing.T, dir, what string, is func(Status) bool) (s Status) {
	t.Helper()
	var err error
	if !hosttest.Soon(func() bool {
		var c *Client
		if c, err = Dial(dir, ""); err != nil {
			return false
		}
		defer c.Close()
		s, err = c.Status(within(t))
		return err == nil && is(s)
	}) {
		t.Fatalf("no report of %s: %+v, %v", what, s, err)
	}
	return s
}

// within is a context for what a test asks.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// joined lets a host in, by a token, and connects as it, with a raw client.
func joined(t *testing.T, dir, name string, o TokenOptions) (*nats.Conn, string) {
	t.Helper()
	c := client(t, dir)
	o.Valid = time.Hour
	token, err := c.Token(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	token, err = enrol.ParseToken(token.String())
	if err != nil {
		t.Fatal(err)
	}
	files := filepath.Join(t.TempDir(), "fleet")
	j, err := enrol.Join(within(t), token, name, files)
	if err != nil {
		t.Fatal(err)
	}
	return host1(t, j.URLs, name, files), files
}

func host1(t *testing.T, urls []string, name, files string, more ...nats.Option) *nats.Conn {
	t.Helper()
	opts := append([]nats.Option{
		nats.UserCredentials(filepath.Join(files, enrol.CredentialsFile)), nats.RootCAs(filepath.Join(files, enrol.AuthorityFile)),
		nats.CustomInboxPrefix(fleet.InboxPrefix + name), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond), nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond),
		nats.Timeout(patience), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, more...)
	nc, err := nats.Connect(strings.Join(urls, ","), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func prefix(s string) netip.Prefix {
	if !strings.Contains(s, "/") {
		a := netip.MustParseAddr(s)
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.MustParsePrefix(s)
}

// entry is a ban of an hour.
func entry(n uint64) fleet.Entry {
	return fleet.Entry{Jail: "sshd", Left: 3600, N: n, Count: 1, Failures: 5}
}

// say asks the gate; busy answers are asked again, but for those that a test asks for.
func say(t *testing.T, nc *nats.Conn, key fleet.Key, p fleet.Put) fleet.Answer {
	t.Helper()
	data, err := p.Encode(key.Kind)
	if err != nil {
		t.Fatal(err)
	}
	return sayRaw(t, nc, &nats.Msg{Subject: fleet.PutSubject(key), Data: data})
}

func sayRaw(t *testing.T, nc *nats.Conn, m *nats.Msg) fleet.Answer {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		reply, err := nc.RequestMsgWithContext(ctx, m)
		cancel()
		if err == nil {
			a, err := fleet.DecodeAnswer(reply.Data)
			if err != nil {
				t.Fatalf("%q: %v", reply.Data, err)
			}
			if a.Reason != fleet.Down && a.Reason != fleet.StaleEpoch && a.Reason != fleet.TooMany || time.Now().After(end) {
				return a
			}
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// holds are the keys that the stream has, by the hub's own eyes.
func holds(t *testing.T, h *Hub) map[string]uint64 {
	t.Helper()
	s, err := h.js.Stream(within(t), fleet.Stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(within(t))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]uint64{}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(within(t), seq)
		if err != nil {
			continue // it was replaced, or has ended
		}
		out[strings.TrimPrefix(m.Subject, fleet.StreamSubjects)] = seq
	}
	delete(out, fleet.BeatKey().String())
	return out
}

// noting has what a server refuses go to a channel.
func noting(refused chan error) nats.Option {
	return nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case refused <- err:
		default:
		}
	})
}

// violation waits for the server's refusal of a subject.
func violation(t *testing.T, refused chan error, subject string) {
	t.Helper()
	select {
	case err := <-refused:
		if !strings.Contains(err.Error(), "Permissions Violation") || !strings.Contains(err.Error(), `"`+subject+`"`) {
			t.Errorf("%s: %v", subject, err)
		}
	case <-time.After(patience):
		t.Errorf("%s: nothing is refused", subject)
	}
}

func newUser(t *testing.T) string {
	t.Helper()
	k, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	return public(k)
}

// trusting is TLS with the authority of a hub's directory.
func trusting(t *testing.T, dir string) *tls.Config {
	t.Helper()
	authority, err := readAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}
}
