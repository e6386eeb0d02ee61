package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"bailiff/pkg/source"
	"bailiff/pkg/syslog"
)

// backend = "syslog".

func isSyslog(backend string) bool { return strings.EqualFold(strings.TrimSpace(backend), "syslog") }

// syslogJail reads what a jail receives.
func (l *loader) syslogJail(r *resolver, j *Jail) {
	o := &source.SyslogOptions{}
	j.Syslog = o
	listen := pick(r, keyListen)
	local := true
	for _, s := range words(listen.v) {
		a, err := syslog.ParseAddress(s)
		if err != nil {
			r.fail(listen.at, "listen", err)
			continue
		}
		o.Listen = append(o.Listen, a)
		local = local && a.Local()
		if a.Kind == syslog.TLS && (l.cfg.Syslog.Cert == "" || l.cfg.Syslog.Key == "" || l.cfg.Syslog.CA == "") {
			r.fail(listen.at, "listen", fmt.Errorf("listen %s: it needs [syslog] cert and key, who this host is, and ca, who says who may send", a))
		}
	}
	if len(o.Listen) == 0 && len(r.errs) == 0 {
		r.fail(listen.at, "listen", errors.New(`backend = "syslog" needs listen, as listen = "udp://192.0.2.1:514"`))
	}
	allow := pick(r, keyAllow)
	for _, s := range words(allow.v) {
		p, err := syslog.ParsePrefix(s)
		if err != nil {
			r.fail(allow.at, "allow", fmt.Errorf("allow: %w", err))
			continue
		}
		o.Allow = append(o.Allow, p)
	}
	if len(o.Allow) == 0 && !local {
		r.warn(j, listen.at, "listen", "listen: nobody but this host can send to it: name who may, allow = [\"192.0.2.0/24\"]")
	}
	o.TrustTime = pick(r, keyTrustTime).v
	o.TrustName = pick(r, keyTrustName).v
	match := pick(r, keyMatch)
	var err error
	if o.Match, err = syslog.ParseMatch(match.v); err != nil {
		r.fail(match.at, "match", err)
	}
	if o.Match.ByHost && !o.TrustName {
		r.fail(match.at, "match", errors.New("match: host= is what a message says of its sender, which is not believed: want from=ADDRESS, or trust_name = true"))
	}
	if o.Match.ByCert && len(o.Listen) > 0 && !slices.ContainsFunc(o.Listen, func(a syslog.Address) bool { return a.Kind == syslog.TLS }) {
		r.fail(match.at, "match", errors.New("match: cert= is a name in the certificate of who sends by TLS, and nothing in listen is tls://ADDRESS:PORT"))
	}
}

// syslogSettings reads [syslog].
func (l *loader) syslogSettings(raw rawSyslog, fail func(string, ...any) func(...string)) {
	s := &l.cfg.Syslog
	for _, f := range []struct {
		key, value string
		to         *string
	}{{"cert", raw.Cert, &s.Cert}, {"key", raw.Key, &s.Key}, {"ca", raw.CA, &s.CA}} {
		if f.value != "" && !filepath.IsAbs(f.value) {
			fail("[syslog] %s = %q: want a path from the root", f.key, f.value)("syslog", f.key)
			continue
		}
		*f.to = f.value
	}
	for _, n := range []struct {
		key         string
		value       *int
		least, most int
		to          *int
	}{{"lines", raw.Lines, 1, 1e9, &s.Lines}, {"bytes", raw.Bytes, 1024, 1 << 40, &s.Bytes}, {"connections", raw.Connections, 1, 512, &s.Connections}} {
		switch {
		case n.value == nil:
		case *n.value < n.least || *n.value > n.most:
			fail("[syslog] %s = %d: want %d to %d", n.key, *n.value, n.least, n.most)("syslog", n.key)
		default:
			*n.to = *n.value
		}
	}
	if raw.Mode != "" {
		mode, err := strconv.ParseUint(raw.Mode, 8, 32)
		if err != nil || mode == 0 || mode&^0o666 != 0 {
			fail("[syslog] mode = %q: want the mode of a socket, as \"0660\"", raw.Mode)("syslog", "mode")
		} else {
			s.Mode = uint32(mode)
		}
	}
	s.Group = raw.Group
}
