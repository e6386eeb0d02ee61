package hub

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/link"
)

// plain starts a server of NATS that is no hub.
func plain(t *testing.T, o server.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.StoreDir, o.TLS = "127.0.0.1", -1, true, t.TempDir(), o.TLSConfig != nil
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	scheme := "nats"
	if o.TLS {
		scheme = "tls"
	}
	return fmt.Sprintf("%s://127.0.0.1:%d", scheme, s.Addr().(*net.TCPAddr).Port)
}

// talks listens, and answers each connection by hand.
func talks(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				talk(c)
			}()
		}
	}()
	return "nats://" + l.Addr().String()
}

// old says what a server of an old version says first, and to a PING; with TLS after the first, if there is a configuration of it.
func old(secure *tls.Config) func(net.Conn) {
	return func(c net.Conn) {
		fmt.Fprintf(c, "INFO {\"server_id\":\"x\",\"version\":\"2.10.29\",\"proto\":1,\"headers\":true,\"max_payload\":1048576,\"nonce\":\"x\",\"tls_required\":%t}\r\n", secure != nil)
		if secure != nil {
			c = tls.Server(c, secure)
		}
		for in := bufio.NewScanner(c); in.Scan(); {
			if in.Text() == "PING" {
				fmt.Fprint(c, "PONG\r\n")
			}
		}
	}
}

// TestForeign: at a server that is no hub, or not its own, a host says what is wrong, once for as long as it stays so,
// and goes on.
func TestForeign(t *testing.T) {
	certificate := func(authority pair, made time.Time) *tls.Config {
		p, err := newServer(authority, "hub-1", []string{"127.0.0.1"}, made)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{p.cert.Raw, authority.cert.Raw}, PrivateKey: p.key}}}
	}
	ours, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ours.cert)
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	user := func(k string, deny ...string) []*server.NkeyUser {
		return []*server.NkeyUser{{Nkey: k, Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: deny}}}}
	}
	for _, c := range []struct{ what, at, want string }{
		{"without JetStream", plain(t, server.Options{TLSConfig: certificate(ours, time.Now()), Nkeys: user(public(key))}), "no stream of a fleet is behind it"},
		{"with JetStream, and without a fleet", plain(t, server.Options{TLSConfig: certificate(ours, time.Now()), Nkeys: user(public(key)), JetStream: true}), "no stream of a fleet is behind it"},
		{"without a right", plain(t, server.Options{TLSConfig: certificate(ours, time.Now()), Nkeys: user(public(key), "get.bans")}), "doesn't allow this host what every host of a fleet needs"},
		{"where it is not known", plain(t, server.Options{TLSConfig: certificate(ours, time.Now()), Nkeys: user(newUser(t))}), "the hub does not know this host, or no longer: join it again"},
		{"an ended certificate", plain(t, server.Options{TLSConfig: certificate(ours, time.Now().Add(-3*365*24*time.Hour)), Nkeys: user(public(key))}), "its certificate has ended, or this host's clock is wrong"},
		{"another fleet's", plain(t, server.Options{TLSConfig: certificate(other, time.Now()), Nkeys: user(public(key))}), "its certificate is not of this fleet's authority"},
		{"open to all", plain(t, server.Options{TLSConfig: certificate(ours, time.Now())}), "it lets in anybody, which a hub of bailiff never does"},
		{"of an old version", talks(t, old(nil)), "the NATS server is version 2.10.29: want 2.15.2 or newer"},
		{"no server of NATS", talks(t, func(c net.Conn) { fmt.Fprint(c, "SSH-2.0-other\r\n"); _, _ = bufio.NewReader(c).ReadString(0) }), "what answers there is not a NATS server"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			told := make(chan string, 1000)
			s := &shut{all: map[netip.Prefix]time.Time{}}
			connect := []nats.Option{nats.Nkey(public(key), key.Sign)}
			if strings.HasPrefix(c.at, "tls:") {
				connect = append(connect, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}))
			}
			l, err := link.New(link.Options{
				Host: "web-1", URLs: []string{c.at}, Now: time.Now,
				Connect: connect,
				Tell: func(what string, err error) {
					if err != nil {
						told <- what + ": " + err.Error()
					}
				},
			}, fleet.Policy{Groups: map[string]int{"ssh": 1}}, fleet.Start{}, s)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- l.Run(ctx) }()
			defer func() {
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}()
			before := ""
			for end := time.After(patience); ; {
				select {
				case text := <-told:
					if strings.Contains(text, c.want) {
						return
					}
					if text == before {
						t.Errorf("told twice: %s", text)
					}
					before = text
					t.Log(text)
				case <-end:
					t.Fatalf("nothing says %q", c.want)
				}
			}
		})
	}
}
