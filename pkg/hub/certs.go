package hub

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"bailiff/pkg/safefile"
)

// Files of certificates in a hub's directory.
const (
	authorityFile    = "ca.pem"
	authorityKeyFile = "ca.key"
	serverFile       = "server.pem"
	serverKeyFile    = "server.key"
)

const (
	// authorityLasts is how long the fleet's own authority is good for: hosts pin it.
	authorityLasts = 20 * 365 * 24 * time.Hour
	// serverLasts is how long a hub's certificate is; `bailiff hub renew` makes a new one.
	serverLasts = 2 * 365 * 24 * time.Hour
	// renewBefore is how long before its end the log asks for a new one.
	renewBefore = 30 * 24 * time.Hour
)

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// files are the certificate, with those of others behind it, and the key, as PEM.
func (p pair) files(others ...*x509.Certificate) (certs, key []byte, err error) {
	for _, c := range append([]*x509.Certificate{p.cert}, others...) {
		certs = append(certs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	return certs, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// issue has signer sign a certificate for a new key; without a signer it signs itself.
func issue(template *x509.Certificate, signer *pair, now time.Time, lasts time.Duration) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return pair{}, err
	}
	// Clocks of hosts may be behind by a day.
	template.NotBefore, template.NotAfter = now.Add(-24*time.Hour), now.Add(lasts)
	template.BasicConstraintsValid = true
	by := pair{template, key}
	if signer != nil {
		by = *signer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		return pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return pair{cert, key}, err
}

func newAuthority(now time.Time) (pair, error) {
	return issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "bailiff fleet"}, IsCA: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil, now, authorityLasts)
}

// newServer makes the certificate of a hub that is reached by those names and addresses.
func newServer(authority pair, hub string, names []string, now time.Time) (pair, error) {
	t := &x509.Certificate{
		Subject:  pkix.Name{CommonName: "bailiff " + hub},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	return issue(t, &authority, now, min(serverLasts, authority.cert.NotAfter.Sub(now)))
}

// sans are the names and addresses of a certificate.
func sans(c *x509.Certificate) (names []string) {
	names = append(names, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// readPair reads a certificate and its key.
func readPair(dir, certFile, keyFile string) (pair, error) {
	certs, err := safefile.ReadFile(filepath.Join(dir, certFile), 1<<20)
	if err != nil {
		return pair{}, err
	}
	keys, err := safefile.ReadFile(filepath.Join(dir, keyFile), 1<<20)
	if err != nil {
		return pair{}, err
	}
	both, err := tls.X509KeyPair(certs, keys)
	if err != nil {
		return pair{}, fmt.Errorf("%s and %s: %w", filepath.Join(dir, certFile), filepath.Join(dir, keyFile), err)
	}
	key, ok := both.PrivateKey.(crypto.Signer)
	if !ok {
		return pair{}, fmt.Errorf("%s: it is no key that signs", filepath.Join(dir, keyFile))
	}
	return pair{both.Leaf, key}, nil
}

// readAuthority is the fleet's authority: its certificate alone.
func readAuthority(dir string) (*x509.Certificate, error) {
	file := filepath.Join(dir, authorityFile)
	data, err := safefile.ReadFile(file, 1<<20)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: no certificate is in it", file)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// transport is what a hub needs for TLS, toward hosts and toward other hubs.
type transport struct {
	hosts, hubs *tls.Config
	ends        time.Time
}

// readTransport reads the certificates of a directory. One that has ended is an error.
func readTransport(dir string, now time.Time) (transport, error) {
	own, err := readPair(dir, serverFile, serverKeyFile)
	if err != nil {
		return transport{}, err
	}
	authority, err := readAuthority(dir)
	if err != nil {
		return transport{}, err
	}
	file := filepath.Join(dir, serverFile)
	if now.After(own.cert.NotAfter) {
		return transport{}, fmt.Errorf("%s: the certificate ended on %s: `bailiff hub renew %s` makes a new one, and hosts need nothing for it", file, own.cert.NotAfter.Format(time.DateTime), dir)
	}
	if now.Before(own.cert.NotBefore) {
		return transport{}, fmt.Errorf("%s: the certificate is not good before %s: is this machine's clock right?", file, own.cert.NotBefore.Format(time.DateTime))
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	if _, err := own.cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		return transport{}, fmt.Errorf("%s: it is not of %s: %w", file, authorityFile, err)
	}
	certs := []tls.Certificate{{Certificate: [][]byte{own.cert.Raw, authority.Raw}, PrivateKey: own.key, Leaf: own.cert}}
	return transport{
		hosts: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: certs},
		hubs:  &tls.Config{MinVersion: tls.VersionTLS13, Certificates: certs, RootCAs: roots, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert},
		ends:  own.cert.NotAfter,
	}, nil
}

// Renew makes a new certificate for the hub of a directory: for the same names, or for others. It is
// served from the next start on.
func Renew(dir string, names []string) (until time.Time, err error) {
	if err := checkOurs(dir); err != nil {
		return until, err
	}
	cfg, err := ReadConfig(dir)
	if err != nil {
		return until, err
	}
	authority, err := readPair(dir, authorityFile, authorityKeyFile)
	if err != nil {
		return until, fmt.Errorf("the key of the fleet's authority is needed: %w", err)
	}
	if len(names) == 0 {
		was, err := readPair(dir, serverFile, serverKeyFile)
		if err != nil {
			return until, err
		}
		names = sans(was.cert)
	}
	if len(names) == 0 {
		return until, errors.New("the certificate names nothing: say --san")
	}
	own, err := newServer(authority, cfg.Name, names, time.Now())
	if err != nil {
		return until, err
	}
	var behind []*x509.Certificate
	if cfg.External() {
		behind = append(behind, authority.cert)
	}
	certs, key, err := own.files(behind...)
	if err != nil {
		return until, err
	}
	// The key first: of the two renames a kill in between leaves a pair that does not fit, which the start says.
	if err := replace(filepath.Join(dir, serverKeyFile), key); err != nil {
		return until, err
	}
	return own.cert.NotAfter, replace(filepath.Join(dir, serverFile), certs)
}
