package report

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/mail"
	"net/textproto"
	"strings"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/remote"
)

// A report in the XARF form, version 4: a login attack (category connection, type
// login_attack). It goes by mail as XARF's own description has it: a multipart/report of three
// parts, a text, a feedback report of the type xarf, and the report in JSON.

type xarfContact struct {
	Org     string `json:"org"`
	Contact string `json:"contact"`
	Domain  string `json:"domain"`
}

type xarfEvidence struct {
	ContentType string `json:"content_type"`
	Description string `json:"description"`
	Payload     string `json:"payload"`
}

type xarfReport struct {
	Version     string         `json:"xarf_version"`
	ID          string         `json:"report_id"`
	Timestamp   string         `json:"timestamp"`
	Reporter    xarfContact    `json:"reporter"`
	Sender      xarfContact    `json:"sender"`
	Source      string         `json:"source_identifier"`
	Category    string         `json:"category"`
	Type        string         `json:"type"`
	Protocol    string         `json:"protocol"`
	FirstSeen   string         `json:"first_seen"`
	Description string         `json:"description"`
	Evidence    []xarfEvidence `json:"evidence,omitempty"`
}

// xarf makes the report.
func (r *Reporter) xarf(o Offence) xarfReport {
	_, domain, _ := strings.Cut(r.From, "@")
	who := xarfContact{r.Org, r.From, domain}
	at := o.At.UTC().Format(time.RFC3339)
	out := xarfReport{
		Version: "4.0.0", ID: uuid(), Timestamp: at, Reporter: who, Sender: who, Source: o.Addr.String(),
		Category: "connection", Type: "login_attack", Protocol: r.Protocol, FirstSeen: at, Description: o.summary(),
	}
	if lines := o.lines(logsMost); r.Lines && lines != "" {
		out.Evidence = []xarfEvidence{{"text/plain", "lines of the log", base64.StdEncoding.EncodeToString([]byte(lines + "\n"))}}
	}
	return out
}

// mail makes the mail with a report.
func (r *Reporter) mail(o Offence) (func(context.Context) error, error) {
	report := r.xarf(o)
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return nil, err
	}
	message := r.message(o, report.ID, data)
	return func(ctx context.Context) error {
		m := action.Mail{Host: r.SMTP, User: r.SMTPUser, Sender: r.From, To: []string{r.To}}
		if r.SMTPUser != "" {
			password, err := r.Token.Read()
			if err != nil {
				return &remote.TokenError{Err: err}
			}
			m.Password = password
		}
		if err := m.Deliver(ctx, message); err != nil {
			if said := (*textproto.Error)(nil); errors.As(err, &said) {
				said.Msg = remote.Without(said.Msg, m.Password)
			}
			return &beforeData{fmt.Errorf("mail to %s by %s: %w", r.To, r.SMTP, err)}
		}
		return nil
	}, nil
}

func (r *Reporter) message(o Offence, id string, data []byte) []byte {
	_, domain, _ := strings.Cut(r.From, "@")
	boundary := "=_bailiff_" + id
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("From: %s", (&mail.Address{Name: r.Org, Address: r.From}).String())
	line("To: %s", (&mail.Address{Address: r.To}).String())
	line("Subject: %s", mime.QEncoding.Encode("utf-8", "login attack from "+o.Addr.String()))
	line("Date: %s", r.now().Format(time.RFC1123Z))
	line("Message-ID: <%s@%s>", id, domain)
	line("Auto-Submitted: auto-generated")
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=feedback-report; boundary=\"%s\"", boundary)
	line("")
	line("--%s", boundary)
	line("Content-Type: text/plain; charset=us-ascii")
	line("")
	line("%s attacked a server of ours at %s.", o.Addr, o.At.UTC().Format(time.RFC3339))
	line("Details are attached in the XARF form (version 4).")
	line("--%s", boundary)
	line("Content-Type: message/feedback-report")
	line("Content-Disposition: inline")
	line("")
	line("Feedback-Type: xarf")
	line("User-Agent: %s", remote.Agent)
	line("Version: 1")
	line("--%s", boundary)
	line("Content-Type: application/json; name=xarf.json")
	line("Content-Transfer-Encoding: base64")
	line("Content-Disposition: attachment; filename=xarf.json")
	line("")
	for text := base64.StdEncoding.EncodeToString(data); text != ""; {
		n := min(len(text), 76)
		line("%s", text[:n])
		text = text[n:]
	}
	line("--%s--", boundary)
	return b.Bytes()
}

// uuid is a random one (version 4).
func uuid() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // which never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
