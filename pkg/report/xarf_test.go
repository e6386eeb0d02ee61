package report

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// smtp is a server that answers DATA's end as it is told, and keeps what it took.
func smtp(t *testing.T, answer func(n int64) string) (at string, letters chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	letters = make(chan string, 10)
	var mails atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				fmt.Fprint(c, "220 test\r\n")
				for {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					if !strings.HasPrefix(strings.ToUpper(line), "DATA") {
						fmt.Fprint(c, "250 ok\r\n")
						continue
					}
					fmt.Fprint(c, "354 go on\r\n")
					text := ""
					for l := ""; l != ".\r\n"; text += l {
						if l, err = in.ReadString('\n'); err != nil {
							return
						}
					}
					said := answer(mails.Add(1))
					if said == "" { // it hangs up
						return
					}
					if said[0] == '2' {
						letters <- strings.TrimSuffix(text, ".\r\n")
					}
					fmt.Fprint(c, said+"\r\n")
				}
			}()
		}
	}()
	return l.Addr().String(), letters
}

// TestXARF: the mail has the three parts, and the report the fields that XARF's schemas require.
func TestXARF(t *testing.T) {
	at, letters := smtp(t, func(n int64) string {
		return []string{"451 later", "250 taken", "554 no", ""}[n-1]
	})
	r, _ := reporter(t, &service{}, XARF, filepath.Join(t.TempDir(), "b"), func(o *Options) {
		o.URL, o.CA = "", ""
		o.To, o.From, o.Org, o.SMTP, o.Protocol, o.Lines = "abuse@example.net", "reports@example.org", "Exämple", at, "tcp", true
	})
	o := offence("2001:db8::7")
	o.Lines = func() ([]string, []string) {
		return []string{"Failed password for root from 2001:db8::7"}, []string{"root"}
	}
	got := run(t, r, o, offence("192.0.2.8"), offence("192.0.2.9"))
	if got.Sent != 1 || got.Refused != 1 || got.Unsure != 1 {
		t.Fatalf("%+v", got)
	}
	m, err := mail.ReadMessage(strings.NewReader(<-letters))
	if err != nil {
		t.Fatal(err)
	}
	from, err := m.Header.AddressList("From")
	if err != nil || from[0].Name != "Exämple" || from[0].Address != "reports@example.org" || m.Header.Get("To") != "<abuse@example.net>" || m.Header.Get("Subject") != "login attack from 2001:db8::7" {
		t.Errorf("%v %v", m.Header, err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "feedback-report" {
		t.Fatal(kind, params, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	var texts, kinds []string
	for {
		p, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(p)
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		kinds, texts = append(kinds, kind), append(texts, string(text))
	}
	if strings.Join(kinds, " ") != "text/plain message/feedback-report application/json" || !strings.Contains(texts[1], "Feedback-Type: xarf\r\n") {
		t.Fatalf("%q %q", kinds, texts)
	}
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(texts[2], "\r\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	var x map[string]any
	if err := json.Unmarshal(data, &x); err != nil {
		t.Fatal(err)
	}
	stamp := o.At.UTC().Format(time.RFC3339)
	who := map[string]any{"org": "Exämple", "contact": "reports@example.org", "domain": "example.org"}
	for key, want := range map[string]any{
		"xarf_version": "4.0.0", "timestamp": stamp, "reporter": who, "sender": who, "source_identifier": "2001:db8::7",
		"category": "connection", "type": "login_attack", "protocol": "tcp", "first_seen": stamp, "description": "5 failures, jail sshd",
	} {
		if fmt.Sprint(x[key]) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", key, x[key], want)
		}
	}
	if id, _ := x["report_id"].(string); !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("report_id is %q", id)
	}
	evidence := x["evidence"].([]any)[0].(map[string]any)
	line, _ := base64.StdEncoding.DecodeString(evidence["payload"].(string))
	if evidence["content_type"] != "text/plain" || string(line) != "Failed password for <user> from 2001:db8::7\n" {
		t.Errorf("evidence is %v: %q", evidence, line)
	}
}
