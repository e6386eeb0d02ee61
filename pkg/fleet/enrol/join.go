package enrol

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"bailiff/pkg/fleet"
	"bailiff/pkg/safefile"
)

// The files that a host has of its fleet, in one directory.
const (
	// CredentialsFile holds the host's JWT and its seed, in NATS' own form. Only its owner reads it.
	CredentialsFile = "fleet.creds"
	// AuthorityFile is the certificate by which the hub is known.
	AuthorityFile = "fleet-ca.pem"
	// keyFile holds the host's key from before a hub is asked until the two others are there, and the name that it asks for: so the
	// same token lets the same host in again, whatever has gone wrong behind the question.
	keyFile = "fleet.joining"
)

// askMost is how long a hub may take for an answer.
const askMost = 10 * time.Second

// Joined is what came of Join.
type Joined struct {
	Name  string
	URLs  []string
	Lifts bool
	// AllowKey is the key of the fleet's allow-list; empty: there is none.
	AllowKey string
	// Credentials and Authority are the paths of what was written.
	Credentials, Authority string
}

// Join makes a key, has the hub of the token let this host in under that name, and writes what is
// needed to connect into dir, which is made if it is not there. Credentials that are there already are not touched:
// a host that is in a fleet leaves it first. The key is on the disk before the hub is asked: a directory that can't be written to
// costs no token.
func Join(ctx context.Context, t Token, name, dir string) (Joined, error) {
	j := Joined{Name: name, AllowKey: t.AllowKey, Credentials: filepath.Join(dir, CredentialsFile), Authority: filepath.Join(dir, AuthorityFile)}
	if err := fleet.CheckHost(name); err != nil {
		return j, err
	}
	if t.Over(time.Now()) {
		return j, fmt.Errorf("the token ended on %s: have `bailiff fleet token` print a new one at the hub", time.Unix(t.Until, 0).Format(time.DateTime))
	}
	if _, err := os.Lstat(j.Credentials); err == nil {
		return j, fmt.Errorf("%s is there: this host is in a fleet already; `bailiff fleet leave` first", j.Credentials)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return j, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return j, err
	}
	key, again, err := ownKey(dir, name)
	if err != nil {
		return j, err
	}
	defer func() { key.Wipe() }()
	var authority []byte
	nc, err := connect(t, &authority)
	if err != nil {
		return j, err
	}
	defer nc.Close()
	reply, err := letIn(ctx, nc, t, name, key)
	var no *refusal
	if again && errors.As(err, &no) { // it may be the key of one that was taken out meanwhile
		fresh, failed := newKey(dir, name)
		if failed != nil {
			return j, failed
		}
		key.Wipe()
		key = fresh
		reply, err = letIn(ctx, nc, t, name, key)
	}
	if err != nil {
		return j, err
	}
	j.URLs, j.Lifts = reply.URLs, reply.Lifts
	for _, u := range j.URLs {
		if err := CheckURL(u); err != nil {
			return j, fmt.Errorf("the hub says where it is: %w", err)
		}
	}
	seed, err := key.Seed()
	if err != nil {
		return j, err
	}
	err = write(j.Authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority}))
	if err == nil {
		err = write(j.Credentials, Credentials(reply.JWT, string(seed)))
	}
	if err != nil {
		return j, fmt.Errorf("the hub has let this host in, but %w: with that mended, the same token does it once more, in the same directory", err)
	}
	return j, os.Remove(filepath.Join(dir, keyFile))
}

// ownKey is this host's key. again: it has asked with it before, and it isn't known what came of that.
func ownKey(dir, name string) (key nkeys.KeyPair, again bool, err error) {
	data, err := safefile.ReadFile(filepath.Join(dir, keyFile), 1<<10)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	if seed, of, ok := strings.Cut(strings.TrimSpace(string(data)), " "); ok && of == name {
		if key, err := nkeys.FromSeed([]byte(seed)); err == nil {
			return key, true, nil
		}
	}
	key, err = newKey(dir, name)
	return key, false, err
}

// newKey makes one, and keeps it.
func newKey(dir, name string) (nkeys.KeyPair, error) {
	key, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	seed, err := key.Seed()
	if err != nil {
		return nil, err
	}
	return key, write(filepath.Join(dir, keyFile), fmt.Appendf(nil, "%s %s\n", seed, name))
}

// letIn asks the hub to let this host in.
func letIn(ctx context.Context, nc *nats.Conn, t Token, name string, key nkeys.KeyPair) (Reply, error) {
	public, err := key.PublicKey()
	if err != nil {
		return Reply{}, err
	}
	data, err := json.Marshal(Request{Version, t.ID, t.Secret, name, public})
	if err != nil {
		return Reply{}, err
	}
	return ask(ctx, nc, JoinSubject, data)
}

// connect speaks to a hub of the token, as the token's user. Where a certificate of the pin's is in the
// chain and vouches for the name, that is the hub; authority is that certificate.
func connect(t Token, authority *[]byte) (*nats.Conn, error) {
	var untrusted error
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		// What is checked is below: which authority it is, is known by its pin alone.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			der, err := pinned(t.Pin, s)
			if err != nil {
				untrusted = err
				return err
			}
			*authority = der
			return nil
		},
	}
	nc, err := nats.Connect(strings.Join(t.URLs, ","), nats.Name("bailiff fleet join"), nats.Secure(config), nats.UserJWTAndSeed(t.JWT, t.Seed),
		nats.CustomInboxPrefix(JoinInboxes+t.ID), nats.Timeout(askMost), nats.NoReconnect(), quiet)
	if untrusted != nil {
		return nil, untrusted
	}
	if err != nil {
		return nil, fmt.Errorf("the hub at %s: %w", strings.Join(t.URLs, ", "), Explain(err))
	}
	return nc, nil
}

// quiet has what goes wrong on a connection beside an answer be told by the answer that doesn't come; NATS' client
// would print it.
var quiet = nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})

// Explain says what an error of a connection to a hub means, and what to do.
func Explain(err error) error {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return errors.New("its certificate has ended, or this host's clock is wrong: `bailiff hub renew` at the hub")
	case errors.As(err, &unknown):
		return errors.New("its certificate is not of this fleet's authority")
	case errors.As(err, &host):
		return fmt.Errorf("its certificate is for other names (%w): `bailiff hub renew --san` at the hub", err)
	case errors.Is(err, nats.ErrNoServers):
		return errors.New("nothing listens there (the connection is refused): is `bailiff hub run` at work, and is that its port?")
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return errors.New("it does not let this in: it has ended, was taken back, or is of another fleet")
	}
	if what := foreign(err); what != nil {
		return what
	}
	return err
}

// pinned is the certificate of that pin in a chain, if the chain leads to it.
func pinned(pin string, s tls.ConnectionState) ([]byte, error) {
	want, err := base64.StdEncoding.DecodeString(pin)
	if err != nil {
		return nil, err
	}
	for _, c := range s.PeerCertificates {
		if sum := sha256.Sum256(c.Raw); subtle.ConstantTimeCompare(sum[:], want) != 1 {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(c)
		if _, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: s.ServerName, Roots: roots}); err != nil {
			return nil, fmt.Errorf("the hub at %s: %w", s.ServerName, Explain(err))
		}
		return c.Raw, nil
	}
	return nil, fmt.Errorf("who answers at %s is not the hub of the token: its certificate is another one", s.ServerName)
}

// Pin is the pin of a certificate.
func Pin(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func ask(ctx context.Context, nc *nats.Conn, subject string, data []byte) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	m, err := request(ctx, nc, subject, data)
	switch {
	case err != nil:
		return Reply{}, fmt.Errorf("the hub does not answer: %w", err)
	case len(m.Data) == 0 && m.Header.Get("Status") == "503":
		return Reply{}, errors.New("the hub's server answers, but nobody behind it lets hosts in: is `bailiff hub run` at work?")
	}
	var r Reply
	if err := Decode(m.Data, replyMost, &r); err != nil {
		return Reply{}, fmt.Errorf("the hub's answer: %w", err)
	}
	if r.V != Version {
		return Reply{}, errors.New("the hub is of another version of bailiff")
	}
	if r.Refused != "" {
		return Reply{}, &refusal{r.Refused}
	}
	return r, nil
}

// request is that of NATS' client, but for an answer behind which the server cuts this host off, as one that leaves: the
// client drops what has come and was not handed on before it saw the end, which on one core is the answer each time.
func request(ctx context.Context, nc *nats.Conn, subject string, data []byte) (*nats.Msg, error) {
	answers, over := make(chan *nats.Msg, 1), make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(over) })
	defer nc.SetClosedHandler(nil)
	inbox := nc.NewInbox()
	s, err := nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Unsubscribe() }()
	if err := nc.PublishRequest(subject, inbox, data); err != nil {
		return nil, err
	}
	select {
	case m := <-answers:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-over:
	}
	select {
	case m := <-answers:
		return m, nil
	default:
		return nil, cmp.Or(nc.LastError(), nats.ErrConnectionClosed)
	}
}

// refusal is why a hub does not do what it is asked.
type refusal struct{ why string }

func (r *refusal) Error() string { return fmt.Sprintf("the hub refuses: %.300s", r.why) }

// Leave tells the hub that this host leaves, by the credentials in dir. What it has said is lifted, and its
// key is taken back. The files stay.
func Leave(ctx context.Context, urls []string, name, dir string) error {
	nc, err := nats.Connect(strings.Join(urls, ","), nats.Name("bailiff fleet leave"), nats.RootCAs(filepath.Join(dir, AuthorityFile)),
		nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13}), nats.UserCredentials(filepath.Join(dir, CredentialsFile)),
		nats.CustomInboxPrefix(fleet.InboxPrefix+name), nats.Timeout(askMost), nats.NoReconnect(), quiet)
	if err != nil {
		return fmt.Errorf("the hub at %s: %w", strings.Join(urls, ", "), Explain(err))
	}
	defer nc.Close()
	data, err := json.Marshal(Leaving{Version, true})
	if err != nil {
		return err
	}
	_, err = ask(ctx, nc, LeaveSubjects+name, data)
	return err
}

// Remove takes away what Join wrote; what isn't there is no error.
func Remove(dir string) (err error) {
	for _, name := range []string{CredentialsFile, AuthorityFile, keyFile} {
		if one := os.Remove(filepath.Join(dir, name)); one != nil && !errors.Is(one, fs.ErrNotExist) {
			err = errors.Join(err, one)
		}
	}
	return err
}

// Credentials is a JWT and a seed in the form of NATS' own tools.
func Credentials(jwt, seed string) []byte {
	return fmt.Appendf(nil, `-----BEGIN NATS USER JWT-----
%s
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
%s
------END USER NKEY SEED------
`, jwt, seed)
}

// write makes a file that only its owner reads.
func write(path string, data []byte) error {
	return safefile.Replace(path, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// noFleetError is of a host without credentials.
type noFleetError struct{ file string }

func (e *noFleetError) Error() string {
	return e.file + " is not there: this host is in no fleet; `bailiff fleet join` brings it into one"
}

func (e *noFleetError) Unwrap() error { return fs.ErrNotExist }

// Read is who this host is in its fleet, by the files in dir: the name that its hub gave it.
func Read(dir string) (name string, err error) { return Name(filepath.Join(dir, CredentialsFile)) }

// Name is who this host is by a file of credentials. A file that is not there is an error of fs.ErrNotExist.
func Name(file string) (name string, err error) {
	data, err := safefile.ReadFile(file, tokenMost)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &noFleetError{file}
	}
	if err != nil {
		if !strings.Contains(err.Error(), file) {
			err = fmt.Errorf("%s: %w", file, err)
		}
		return "", err
	}
	text, err := nkeys.ParseDecoratedJWT(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	// What is signed is the hub's business: here it is only asked which name it gave.
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("%s: the JWT in it is damaged", file)
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", fmt.Errorf("%s: the JWT in it is damaged: %w", file, err)
	}
	var claims struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(body, &claims); err != nil {
		return "", fmt.Errorf("%s: the JWT in it is damaged: %w", file, err)
	}
	return claims.Name, fleet.CheckHost(claims.Name)
}
