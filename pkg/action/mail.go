package action

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"
)

// Mail is an action that sends mail itself: what fail2ban's smtp.py does, with the
// same parameters. It tells of the jail's start and stop and of new bans, not of
// restored ones.
type Mail struct {
	Host           string // HOST or HOST:PORT; port 25 if it names none
	User, Password string
	SenderName     string
	Sender         string // address
	To             []string
	// Matches names what lines are told with a ban: matches, ipmatches or
	// ipjailmatches; empty: none.
	Matches string
	SSL     bool // TLS from the first byte on
}

// MailDefaults are fail2ban's.
func MailDefaults() Mail {
	return Mail{Host: "localhost", SenderName: "Fail2Ban", Sender: "fail2ban", To: []string{"root"}}
}

// letter is one mail.
type letter struct{ subject, text string }

const farewell = "\nRegards,\nFail2Ban"

func (m *Mail) started(s *Site) letter {
	return letter{
		fmt.Sprintf("[Fail2Ban] %s: started on %s", s.Jail, hostName()),
		fmt.Sprintf("Hi,\n\nthe jail %s is at work now.\n%s", s.Jail, farewell),
	}
}

func (m *Mail) stopped(s *Site) letter {
	return letter{
		fmt.Sprintf("[Fail2Ban] %s: stopped on %s", s.Jail, hostName()),
		fmt.Sprintf("Hi,\n\nthe jail %s was stopped.\n%s", s.Jail, farewell),
	}
}

func (m *Mail) banned(s *Site, t *Ticket) letter {
	ip, _ := t.Tag("ip")
	lasts := "for ever"
	if t.BanTime >= 0 {
		lasts = fmt.Sprintf("for %d seconds", int64(t.BanTime/time.Second))
	}
	text := fmt.Sprintf("Hi,\n\nthe IP %s was just banned %s, after %d attempts against %s.\n", ip, lasts, t.Failures, s.Jail)
	switch m.Matches {
	case "matches", "ipmatches", "ipjailmatches":
		lines, _ := t.Tag(m.Matches)
		what := map[string]string{
			"matches": "Matches for this ban", "ipmatches": "Matches for " + ip, "ipjailmatches": "Matches for " + ip + " in jail " + s.Jail,
		}[m.Matches]
		text += fmt.Sprintf("\n%s:\n%s\n", what, lines)
	}
	return letter{fmt.Sprintf("[Fail2Ban] %s: banned %s from %s", s.Jail, ip, hostName()), text + farewell}
}

func (a *Action) mail(l letter) error {
	if a.site.DryRun {
		a.wouldDo("send mail to %s by %s: %s", strings.Join(a.def.Mail.To, ", "), a.def.Mail.Host, l.subject)
		return nil
	}
	ctx, cancel := context.WithTimeout(a.ctx, a.timeout())
	defer cancel()
	began := time.Now()
	err := a.def.Mail.send(ctx, l, began)
	a.ran(err == nil, time.Since(began))
	if err != nil {
		return fmt.Errorf("mail to %s by %s: %w", strings.Join(a.def.Mail.To, ", "), a.def.Mail.Host, err)
	}
	return nil
}

// compose writes a mail. What a log line holds can end no header: there is none in
// them, and the text is encoded.
func (m *Mail) compose(l letter, now time.Time) []byte {
	var b bytes.Buffer
	one := strings.NewReplacer("\r", " ", "\n", " ")
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, one.Replace(value)) }
	header("Subject", mime.QEncoding.Encode("utf-8", one.Replace(l.subject)))
	header("From", (&mail.Address{Name: m.SenderName, Address: m.Sender}).String())
	header("To", strings.Join(m.To, ", "))
	header("Date", now.Format(time.RFC1123Z))
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	_, _ = q.Write([]byte(strings.ReplaceAll(l.text, "\n", "\r\n"))) // a buffer takes all
	_ = q.Close()
	return b.Bytes()
}

func (m *Mail) send(ctx context.Context, l letter, now time.Time) error {
	return m.Deliver(ctx, m.compose(l, now))
}

// UnsureError is a mail of which it isn't known whether the server has taken it.
type UnsureError struct{ Err error }

func (e *UnsureError) Error() string { return e.Err.Error() }
func (e *UnsureError) Unwrap() error { return e.Err }

// Deliver sends a mail that is composed already, with its headers. An error that is no
// [UnsureError] says that somebody of To has not got it.
func (m *Mail) Deliver(ctx context.Context, message []byte) error {
	host, port, err := net.SplitHostPort(m.Host)
	if err != nil {
		host, port = m.Host, "25"
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(end) // of all steps
	}
	raw := conn
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })() // ended before that
	secure := &tls.Config{ServerName: host}
	if m.SSL {
		conn = tls.Client(conn, secure)
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	defer c.Close()
	if m.User != "" && m.Password != "" {
		if ok, _ := c.Extension("STARTTLS"); ok && !m.SSL {
			if err := c.StartTLS(secure); err != nil {
				return err
			}
		}
		if err := c.Auth(smtp.PlainAuth("", m.User, m.Password, host)); err != nil {
			return err
		}
	}
	if err := c.Mail(m.Sender); err != nil {
		return err
	}
	var refused []error
	for _, to := range m.To {
		if err := c.Rcpt(to); err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", to, err))
		}
	}
	if len(refused) == len(m.To) {
		return joined(refused)
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(message); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		if said := (*textproto.Error)(nil); errors.As(err, &said) {
			return err
		}
		return &UnsureError{err}
	}
	_ = c.Quit() // it has taken the mail
	return joined(refused)
}

// joined makes one line of some errors, nil of none.
func joined(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	err := errs[0]
	for _, e := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, e)
	}
	return err
}
