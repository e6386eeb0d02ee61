package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"time"

	"bailiff/pkg/iplist"
	"bailiff/pkg/safefile"
)

// Published is a list of addresses that a server publishes, and the file in which the last
// good copy of it is kept.
type Published struct {
	URL  string
	File string
	// Plain: http:// is taken, too, also where it is redirected to.
	Plain bool
	CA    string // as Transport's
}

const (
	fetchMost     = 2 * time.Minute
	redirectsMost = 5
)

// kept is what is known of the copy, beside it.
type kept struct {
	URL      string `json:"url"`
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
	Size     int64  `json:"size"`
}

// Fetch gets the list, if it is another one than that of which the copy is, and puts it in
// the copy's place. What is no list (a page for eyes, nothing at all, more than
// [iplist.MaxBytes], unpacked) is an error, and the copy stays.
func (p *Published) Fetch(ctx context.Context) (changed bool, err error) {
	transport, err := Transport(p.CA)
	if err != nil {
		return false, err
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, fetchMost)
	defer cancel()
	client := &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) > redirectsMost:
			return fmt.Errorf("more than %d redirects", redirectsMost)
		case r.URL.Scheme != "https" && !p.Plain:
			return errors.New("it is redirected to http://, where anybody on the way can change it (list_http = true takes it)")
		}
		return nil
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("User-Agent", Agent)
	if was := p.kept(); was != nil {
		if was.ETag != "" {
			req.Header.Set("If-None-Match", was.ETag)
		}
		if was.Modified != "" {
			req.Header.Set("If-Modified-Since", was.Modified)
		}
	}
	res, err := client.Do(req)
	if err != nil {
		return false, plain(err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotModified:
		return false, nil
	case res.StatusCode != http.StatusOK:
		return false, &StatusError{Code: res.StatusCode, After: RetryAfter(res.Header, time.Now())}
	}
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind == "text/html" || kind == "application/xhtml+xml" {
		return false, errors.New("the server answers with a page (HTML), and no list")
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, iplist.MaxBytes+1))
	if err != nil {
		return false, fmt.Errorf("the answer ends early: %w", plain(err))
	}
	if len(data) > iplist.MaxBytes {
		return false, fmt.Errorf("the list has more than %d bytes", iplist.MaxBytes)
	}
	if err := isList(data); err != nil {
		return false, err
	}
	return true, p.keep(data, kept{URL: p.URL, ETag: res.Header.Get("ETag"), Modified: res.Header.Get("Last-Modified"), Size: int64(len(data))})
}

// isList says why what a server sent is none.
func isList(data []byte) error {
	if text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\uFEFF"))); len(text) > 0 && text[0] == '<' {
		return errors.New("the server answers with a page (HTML), and no list")
	}
	ranges, _, err := iplist.Read(bytes.NewReader(data), "the list")
	if err == nil && len(ranges) == 0 {
		err = errors.New("the server's answer has no address and no network in it")
	}
	return err
}

func (p *Published) notes() string { return p.File + ".json" }

// kept returns what is known of the copy; nil: there is none.
func (p *Published) kept() *kept {
	fi, err := os.Stat(p.File)
	if err != nil {
		return nil
	}
	data, err := safefile.ReadFile(p.notes(), 64<<10)
	k := &kept{}
	if err != nil || json.Unmarshal(data, k) != nil || k.URL != p.URL || k.Size != fi.Size() {
		return nil
	}
	return k
}

// keep puts a copy in place: whoever reads it has the one before or this one, whole. The notes
// go first, so that there are none that aren't the copy's.
func (p *Published) keep(data []byte, k kept) error {
	if err := os.Remove(p.notes()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := replace(p.File, data); err != nil {
		return err
	}
	if len(k.ETag) > 1024 || len(k.Modified) > 1024 {
		return nil
	}
	notes, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return replace(p.notes(), notes)
}

func replace(path string, data []byte) error {
	return safefile.Replace(path, func(f *os.File) error { _, err := f.Write(data); return err })
}
