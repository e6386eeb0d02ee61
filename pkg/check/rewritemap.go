package check

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// askTimeout is how long a RewriteMap waits for an answer: all of httpd's requests that
// look an address up wait with it.
const askTimeout = 500 * time.Millisecond

// maxKey is how long an address may be that httpd asks about.
const maxKey = 1 << 10

// RewriteMap answers httpd as a program of a RewriteMap does (prg:): for each address, a line of
// in, a line of out, "banned" or "NULL", which is httpd's word for what isn't in a map. It asks at a Unix
// socket, PATH, or at ADDRESS:PORT, and returns when in ends. Where nobody answers in time it says
// NULL, and tells once until somebody does.
func RewriteMap(ctx context.Context, in io.Reader, out io.Writer, at string, jails []string, tell func(string)) error {
	network := "tcp"
	if path := strings.TrimPrefix(at, "unix:"); strings.HasPrefix(path, "/") {
		network, at = "unix", path
	}
	dialer := &net.Dialer{Timeout: askTimeout}
	client := &http.Client{Timeout: askTimeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, network, at) },
		// One at a time asks. The server closes later than this.
		MaxIdleConns: 1, IdleConnTimeout: time.Minute, DisableCompression: true,
	}}
	silent := false
	lines := bufio.NewReaderSize(in, maxKey)
	for {
		line, err := lines.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		answer := "NULL"
		if !long {
			banned, err := shut(ctx, client, strings.TrimSpace(string(line)), jails)
			switch {
			case err != nil && !silent:
				silent = true
				tell(fmt.Sprintf("nobody is refused until it answers: %v", err))
			case err == nil && silent:
				silent = false
				tell("it answers again")
			}
			if banned {
				answer = "banned"
			}
		}
		if _, err := io.WriteString(out, answer+"\n"); err != nil {
			return err
		}
	}
}

// shut asks whether an address is shut out.
func shut(ctx context.Context, client *http.Client, addr string, jails []string) (bool, error) {
	query := url.Values{"ip": {addr}}
	if len(jails) > 0 {
		query["jail"] = jails
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://bailiff/v1/check?"+query.Encode(), nil)
	if err != nil {
		return false, err
	}
	res, err := client.Do(r)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err
		}
		return false, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxHeader))
	switch {
	case res.StatusCode == http.StatusForbidden:
		return true, nil
	case res.StatusCode == http.StatusNoContent && res.Header.Get("Bailiff-Check") == "":
		return false, nil
	}
	return false, fmt.Errorf("%s %s", res.Status, res.Header.Get("Bailiff-Check"))
}
