// Package remote speaks to servers elsewhere, over HTTPS: to those that keep a list of
// addresses for us (a CDN's), to those that publish one, and to those that want to be told of
// attacks.
//
//   - [Client] asks one server, within bounds of time and bytes, and with a token that no error
//     and no log tells;
//   - [Provider] describes a server that keeps lists, as data; [Providers] are those that are
//     known;
//   - [List] makes such a list equal to who is banned, and keeps it so;
//   - [Fetch] gets a published list, if it is another one than before.
//
// Nothing here is waited for by who bans: whoever calls it does so in a goroutine of its own.
// What fails is tried again, later each time ([Backoff]).
package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/safefile"
)

// Bounds of one request. Who is slower, or says more, is given up.
const (
	ConnectMost = 10 * time.Second // to connect, and again for TLS
	AnswerMost  = 30 * time.Second // until the answer begins
	RequestMost = time.Minute      // for all of it
	AnswerBytes = 8 << 20          // of an answer, unpacked
	headerBytes = 64 << 10
	errorBytes  = 300 // that are told of what a server says
	tokenLeast  = 8   // bytes of a token that is looked for in answers that are no errors
)

// Agent is what requests say of who sends them.
const Agent = "bailiff"

// Transport makes connections within the bounds, by the proxy that the environment names
// (HTTPS_PROXY, HTTP_PROXY, NO_PROXY). ca is a file of certificates in PEM that are trusted
// in place of the system's; empty: those are.
func Transport(ca string) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: ConnectMost}).DialContext,
		TLSHandshakeTimeout:    ConnectMost,
		ResponseHeaderTimeout:  AnswerMost,
		IdleConnTimeout:        time.Minute,
		MaxIdleConns:           2,
		MaxResponseHeaderBytes: headerBytes,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if ca == "" {
		return t, nil
	}
	pem, err := safefile.ReadFile(ca, 1<<20)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", ca)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

// Client asks one server.
type Client struct {
	// URL is where its paths begin, without a slash at the end.
	URL string
	// Token returns what the server knows us by. It is asked for each time, so that another
	// one in its file is used from the next request on.
	Token func() (string, error)
	// Header and Scheme say how it is sent: Header: Scheme Token.
	Header, Scheme string
	// CA is a file of certificates that are trusted in place of the system's; empty: those.
	CA string
	// Sign, if not nil, is what the token is for: it is not sent. It is called with each request that
	// is about to be sent, with its body and the token.
	Sign func(r *http.Request, body []byte, token string)

	http *http.Client
}

// Raw is JSON as it is to be sent, byte by byte.
type Raw []byte

// StatusError is an answer that is no success.
type StatusError struct {
	Code int
	// After is how long the server wants us to wait; 0: it does not say.
	After time.Duration
	// Text is what it says, cut.
	Text string
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("the server answers %d %s", e.Code, http.StatusText(e.Code))
	if e.Text != "" {
		text += ": " + e.Text
	}
	return strings.TrimSpace(text)
}

// Later reports whether the same request may be answered otherwise later.
func (e *StatusError) Later() bool {
	return e.Code >= 500 || e.Code == http.StatusTooManyRequests || e.Code == http.StatusRequestTimeout || e.Code == http.StatusTooEarly
}

// After returns how long a server wants us to wait; 0: it does not say.
func After(err error) time.Duration {
	if later := (*laterError)(nil); errors.As(err, &later) {
		err = later.err
	}
	if status := (*StatusError)(nil); errors.As(err, &status) {
		return status.After
	}
	return 0
}

// TokenError is a token that can't be used; its text never holds it.
type TokenError struct{ Err error }

func (e *TokenError) Error() string { return "token: " + e.Err.Error() }
func (e *TokenError) Unwrap() error { return e.Err }

// Do asks for a path, with what is to be sent as JSON, or as a form (url.Values); nil:
// nothing. It returns the answer's body. Redirects are errors: a token is for one server.
func (c *Client) Do(ctx context.Context, method, path string, body any) ([]byte, error) {
	token := ""
	if c.Token != nil {
		var err error
		if token, err = c.Token(); err != nil {
			return nil, &TokenError{err}
		}
	}
	answer, err := c.do(ctx, method, path, body, token)
	if len(token) >= tokenLeast && err == nil { // an operation's answer says why it has failed
		if text := without(string(answer), token); len(text) != len(answer) {
			answer = []byte(text)
		}
	}
	return answer, hide(err, token)
}

func (c *Client) do(ctx context.Context, method, path string, body any, token string) ([]byte, error) {
	if c.http == nil {
		transport, err := Transport(c.CA)
		if err != nil {
			return nil, err
		}
		c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	var data []byte
	kind := ""
	switch b := body.(type) {
	case nil:
	case Raw:
		data, kind = b, "application/json"
	case url.Values:
		data, kind = []byte(b.Encode()), "application/x-www-form-urlencoded"
	default:
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, err
		}
		kind = "application/json"
	}
	ctx, cancel := context.WithTimeout(ctx, RequestMost)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", Agent)
	req.Header.Set("Accept", "application/json")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if token != "" && c.Header != "" {
		req.Header.Set(c.Header, strings.TrimSpace(c.Scheme+" "+token))
	}
	if c.Sign != nil {
		c.Sign(req, data, token)
	}
	// Whether what is sent twice is done twice is for who sends it to know.
	req.GetBody = nil
	res, err := c.http.Do(req)
	if err != nil {
		return nil, plain(hide(err, token)) // before it is cut
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, AnswerBytes+1))
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, &StatusError{Code: res.StatusCode, After: RetryAfter(res.Header, time.Now()), Text: said(answer, token)}
	}
	if err == nil && len(answer) > AnswerBytes {
		err = fmt.Errorf("the answer has more than %d bytes", AnswerBytes)
	}
	return answer, err
}

// Close ends connections that are kept open.
func (c *Client) Close() {
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
}

// plain is an error of net/http's without the URL, which is known and long. It may quote what a server
// sent, up to the whole head of an answer.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		if u.Timeout() {
			return fmt.Errorf("no answer in time: %w", u.Err)
		}
		err = u.Err
	}
	if len(err.Error()) > errorBytes {
		return &longError{err}
	}
	return err
}

// longError is an error whose text is told on one line, and cut.
type longError struct{ error }

func (e *longError) Error() string { return oneLine(e.error.Error()) }
func (e *longError) Unwrap() error { return e.error }

// hide takes a token out of an error: a server may send back what it was sent.
func hide(err error, token string) error {
	if err == nil || token == "" {
		return err
	}
	if status := (*StatusError)(nil); errors.As(err, &status) {
		return err // said had none of it
	}
	if text := err.Error(); without(text, token) != text {
		return errors.New(without(text, token))
	}
	return err
}

// Without is a text without a token, for who sends one by himself.
func Without(text, token string) string {
	if token == "" {
		return text
	}
	return without(text, token)
}

// without is a text without a token, also as Go and JSON write it between quotes.
func without(text, token string) string {
	quoted := strconv.Quote(token)
	text = strings.ReplaceAll(text, token, "***")
	text = strings.ReplaceAll(text, quoted[1:len(quoted)-1], "***")
	if escaped, err := json.Marshal(token); err == nil {
		text = strings.ReplaceAll(text, string(escaped[1:len(escaped)-1]), "***")
	}
	return text
}

// said is what an answer's body says of what went wrong, on one line, and without the token: it is taken
// out before the text is cut, since half of it is too much, too.
func said(body []byte, token string) string {
	var known struct {
		Errors []struct {
			Code    json.Number `json:"code"`
			Message string      `json:"message"`
			Detail  string      `json:"detail"`
		} `json:"errors"`
		Message string `json:"message"`
		Msg     string `json:"msg"`
	}
	text := ""
	if json.Unmarshal(body, &known) == nil {
		var all []string
		for _, e := range known.Errors {
			part := e.Message + e.Detail
			if e.Code != "" {
				part += " (" + e.Code.String() + ")"
			}
			all = append(all, part)
		}
		if len(all) == 0 {
			all = append(all, known.Message+known.Msg)
		}
		text = strings.Join(all, "; ")
	} else if body = bytes.TrimSpace(body); len(body) > 0 && body[0] != '<' { // a page is for eyes
		text = string(body)
	}
	if token != "" {
		text = without(text, token)
	}
	return oneLine(text[:min(len(text), 4*errorBytes)])
}

// oneLine is a text as a line of a log can hold it.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfffd || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > errorBytes {
		text = strings.ToValidUTF8(text[:errorBytes], "") + "…"
	}
	return text
}
