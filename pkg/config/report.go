package config

import (
	"fmt"
	"net"
	"net/mail"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/report"
)

// Report is a service elsewhere that is told of bans.
type Report struct {
	report.Options
	Jails []string
	At    string // FILE:LINE where it is configured
}

var (
	categoryNumber = lazyregexp.New(`^[1-9][0-9]?$`)
	reportWord     = lazyregexp.New(`^[A-Za-z0-9@._+-]{1,200}$`)
	xarfProtocols  = []string{"tcp", "udp", "icmp", "sctp"}
)

// reports reads [report.NAME]. One that is wrong stays as it was, where a daemon runs.
func (l *loader) reports(doc *document, raw map[string]rawReport) {
	table, _ := doc.get("report").(map[string]any)
	for _, name := range sortedKeys(table) {
		x, ok := raw[name] // not one with a value of another type, which is told
		fail := func(key, format string, args ...any) {
			ok = false
			l.complain(l.stays(&Error{doc.file, doc.line("report", name, key), "report " + name + ": " + fmt.Sprintf(format, args...)}))
		}
		if ok {
			r := l.report(name, x, fail)
			if r.At = fmt.Sprintf("%s:%d", doc.file, doc.line("report", name, "kind")); ok {
				l.cfg.Reports = append(l.cfg.Reports, r)
				continue
			}
		}
		if l.was != nil {
			l.cfg.Reports = stayed(l.cfg.Reports, l.was.Reports, name, func(x Report) string { return x.Name })
		}
	}
}

// reportKeys are the keys that are of some kinds alone, in their order.
func (x *rawReport) reportKeys() []struct {
	givenKey
	kinds []string
} {
	services, ipdb, blocklist, xarf := []string{report.AbuseIPDB, report.BlocklistDE}, []string{report.AbuseIPDB}, []string{report.BlocklistDE}, []string{report.XARF}
	return []struct {
		givenKey
		kinds []string
	}{
		{givenKey{"url", x.URL != ""}, services},
		{givenKey{"ca_file", x.CAFile != ""}, services},
		{givenKey{"categories", x.Categories != nil}, ipdb},
		{givenKey{"server", x.Server != ""}, blocklist},
		{givenKey{"service", x.Service != ""}, blocklist},
		{givenKey{"to", x.To != ""}, xarf},
		{givenKey{"from", x.From != ""}, xarf},
		{givenKey{"org", x.Org != ""}, xarf},
		{givenKey{"smtp", x.SMTP != ""}, xarf},
		{givenKey{"smtp_user", x.SMTPUser != ""}, xarf},
		{givenKey{"protocol", x.Protocol != ""}, xarf},
	}
}

func (l *loader) report(name string, x rawReport, fail func(key, format string, args ...any)) (r Report) {
	r.Options = report.Options{Name: name, Kind: x.Kind, Every: report.EveryDefault, Most: report.DayDefault, Lines: x.Lines, CA: x.CAFile}
	r.Jails = x.Jails
	if !slices.Contains(report.Kinds, x.Kind) {
		fail("kind", "kind %q: want %s", x.Kind, strings.Join(report.Kinds, ", "))
		return r
	}
	if !pathWord.MatchString(name) {
		fail("kind", "want a name of letters, digits, - and _: a file beside the database has it")
	}
	if l.cfg.Database.Path == "" {
		fail("kind", "want [database] path: who was reported is kept beside it")
	}
	if len(x.Jails) == 0 {
		fail("jails", "want jails: those whose bans are reported")
	}
	for _, k := range x.reportKeys() {
		if k.given && !slices.Contains(k.kinds, x.Kind) {
			fail(k.key, "%s is for kind = %q", k.key, k.kinds[0])
		}
	}
	if x.Every != nil {
		var err error
		if r.Every, err = ParseTime(string(*x.Every)); err != nil || r.Every < report.EveryLeast || r.Every > report.EveryMost {
			fail("every", "every %q: want a time of 15m to 7d", string(*x.Every))
		}
	}
	if x.Most != nil {
		if r.Most = *x.Most; r.Most < 1 || r.Most > report.DayMost {
			fail("most", "most = %d: want 1 to %d", r.Most, report.DayMost)
		}
	}
	if x.CAFile != "" && !filepath.IsAbs(x.CAFile) {
		fail("ca_file", "ca_file %q: want a path from the root", x.CAFile)
	}
	var err error
	if x.Kind != report.XARF || x.SMTPUser != "" {
		if r.Token, err = tokenOf(x.TokenFile, x.TokenCredential); err != nil {
			fail("token_file", "%v", err)
		}
	} else if x.TokenFile != "" || x.TokenCredential != "" {
		fail("token_file", "a token is the password of smtp_user: want that, too")
	}
	switch x.Kind {
	case report.AbuseIPDB:
		r.URL, r.Categories = report.AbuseIPDBURL, x.Categories
		if len(r.Categories) == 0 || slices.ContainsFunc(r.Categories, func(c string) bool { return !categoryNumber.MatchString(c) }) {
			fail("categories", "categories %q: want numbers of AbuseIPDB's categories, as [18, 22]", []string(x.Categories))
		}
	case report.BlocklistDE:
		r.URL, r.Server, r.Service = report.BlocklistDEURL, x.Server, x.Service
		if !reportWord.MatchString(x.Server) {
			fail("server", "server %q: want the address of mail, or the number, by which blocklist.de knows this server", x.Server)
		}
		if !reportWord.MatchString(x.Service) {
			fail("service", "service %q: want what was attacked, as ssh, imap or ftp", x.Service)
		}
		if !x.Lines {
			fail("lines", "blocklist.de takes no report without lines of the log: want lines = true")
		}
	case report.XARF:
		l.xarfReport(&r, x, fail)
	}
	if x.URL != "" {
		if r.URL, err = secureURL(x.URL); err != nil {
			fail("url", "%v", err)
		}
	}
	return r
}

func (l *loader) xarfReport(r *Report, x rawReport, fail func(key, format string, args ...any)) {
	r.To, r.From, r.Org, r.SMTP, r.SMTPUser, r.Protocol = x.To, x.From, x.Org, x.SMTP, x.SMTPUser, x.Protocol
	for _, a := range []struct{ key, address string }{{"to", x.To}, {"from", x.From}} {
		if parsed, err := mail.ParseAddress(a.address); err != nil || parsed.Address != a.address || !reportWord.MatchString(a.address) {
			fail(a.key, "%s %q: want one address of mail", a.key, a.address)
		}
	}
	if x.Org == "" || len(x.Org) > 200 || strings.IndexFunc(x.Org, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
		fail("org", "org %.220q: want who reports, a name of at most 200 characters", x.Org)
	}
	if r.SMTP == "" {
		r.SMTP = "localhost"
	}
	host, port, err := net.SplitHostPort(r.SMTP)
	if err != nil {
		host, port = r.SMTP, "25"
	}
	if host == "" || port == "" || strings.ContainsAny(host, " /\t\r\n") {
		fail("smtp", "smtp %q: want HOST, or HOST:PORT", x.SMTP)
	}
	if strings.IndexFunc(x.SMTPUser, func(r rune) bool { return r < ' ' }) >= 0 {
		fail("smtp_user", "smtp_user %q: want a name", x.SMTPUser)
	}
	if r.Protocol == "" {
		r.Protocol = "tcp"
	}
	if !slices.Contains(xarfProtocols, r.Protocol) {
		fail("protocol", "protocol %q: want %s", x.Protocol, strings.Join(xarfProtocols, ", "))
	}
}
