package config

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/remote"
)

// ListURL is a list that a server publishes. Its file is among the jail's List.
type ListURL struct {
	remote.Published
	Every time.Duration
}

const (
	// listEvery is how often it is asked for where nobody says otherwise, listOftenest the
	// most often.
	listEvery    = time.Hour
	listOftenest = time.Minute
)

// isURL reports whether what is given as a list is one.
func isURL(s string) bool { return strings.Contains(s, "://") }

// listURLs has URLs among a jail's lists be files into which they are fetched.
func (l *loader) listURLs(r *resolver, j *Jail) {
	every := pick(r, keyListEvery)
	plain := pick(r, keyListHTTP)
	ca := pick(r, keyListCA)
	often := listEvery
	if every.v != "" {
		var err error
		if often, err = ParseTime(string(every.v)); err != nil || often < listOftenest {
			r.fail(every.at, "list_every", fmt.Errorf("list_every %q: want a time of at least 1m", string(every.v)))
		}
	}
	if ca.v != "" && !filepath.IsAbs(ca.v) {
		r.fail(ca.at, "list_ca", fmt.Errorf("list_ca %q: want a path from the root", ca.v))
	}
	dir := filepath.Dir(DefaultDatabase())
	if path := l.cfg.Database.Path; filepath.IsAbs(path) {
		dir = filepath.Dir(path)
	}
	list := pick(r, keyList)
	for i, s := range j.List {
		if !isURL(s) {
			continue
		}
		u, err := url.Parse(s)
		switch {
		case err == nil && u.User != nil: // not to be told: what this says is in the log
			r.fail(list.at, "list", fmt.Errorf("list %q: a name and a password in an address are not sent: want https://HOST/PATH", u.Scheme+"://…@"+u.Host+u.Path))
			continue
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
			r.fail(list.at, "list", fmt.Errorf("list %q: want a file, a pattern of some, or https://HOST/PATH", s))
			continue
		case u.Scheme == "http" && !plain.v:
			r.fail(list.at, "list", fmt.Errorf("list %q: over http:// anybody on the way can change it: want https://, or list_http = true", s))
			continue
		}
		file := filepath.Join(dir, fmt.Sprintf("list-%x.txt", sha256.Sum256([]byte(s)))[:29]+".txt")
		j.ListURLs = append(j.ListURLs, ListURL{remote.Published{URL: s, File: file, Plain: plain.v, CA: ca.v}, often})
		j.List[i] = file
	}
	j.List = slices.DeleteFunc(j.List, isURL) // what is wrong with them was said
}
