package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

// writePair writes a certificate that signs itself, with its key.
func writePair(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	of := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTLS: with cert and key the page is at https, its cookies are for that alone, another certificate is
// taken over, and a file that is none leaves the one before in place.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	x := newSite(t, func(w *config.Web) { w.Cert, w.Key = cert, key })
	at := x.listen(16)
	serial := func() (n int64) {
		c := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		res, err := c.Get("https://" + at + "/login")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		for _, c := range res.Cookies() {
			if !c.Secure || c.Name != formCookie {
				t.Errorf("cookie %+v", c)
			}
		}
		return res.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Errorf("certificate %d", n)
	}
	writePair(t, cert, key, 2)
	x.later(certificateEvery + time.Second)
	if n := serial(); n != 2 {
		t.Errorf("certificate %d after it was changed", n)
	}
	if err := os.WriteFile(cert, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	x.later(certificateEvery + time.Second)
	if n := serial(); n != 2 {
		t.Errorf("certificate %d while there is none", n)
	}
	if err := CheckCertificate(x.s.cfg.Load()); err == nil || !strings.Contains(err.Error(), "PEM") {
		t.Errorf("a file that is none: %v", err)
	}
	// Behind a proxy that has TLS, cookies are for that, too.
	x.s.cfg.Load().TrustUnix = true
	x.peer = connInfo{unix: true}
	b := x.browser()
	b.header["X-Forwarded-Proto"] = "https"
	token, _ := x.s.Link("anna", control.Reader)
	if w := b.post("/login/"+token, "/login/"+token, map[string][]string{}); w.Code != http.StatusSeeOther || b.cookies["__Host-bailiff"] == "" || !strings.Contains(strings.Join(w.Result().Header.Values("Set-Cookie"), ";"), "Secure") {
		t.Errorf("%d %v", w.Code, w.Result().Header)
	}
}
