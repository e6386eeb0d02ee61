// Package enrol brings a host into a fleet: the token that its hub's operator gives it, what the
// host asks the hub for with that, and the files that it keeps.
//
//	token, err := enrol.ParseToken(text)
//	reply, err := enrol.Join(ctx, token, "web-1", "/etc/bailiff/fleet")
//
// The host makes its own key, and the seed never leaves it: what it is given is a signed
// word of what that key may do. Whom it speaks to is known by the certificate that the token
// pins. The server is not here: that is pkg/hub.
package enrol

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/allow"
)

// Subjects of a hub on which hosts ask for what is not of bans.
const (
	// JoinSubject is where who has a token asks to be let in.
	JoinSubject = "fleet.enrol"
	// LeaveSubjects is what stands before the name of a host that says that it leaves.
	LeaveSubjects = "fleet.leave."
	// JoinInboxes is what stands before a token's id in the subjects of answers to who has it.
	JoinInboxes = "_JOIN."
)

// Bounds of what is read.
const (
	tokenMost = 8 << 10
	urlsMost  = 16
	replyMost = 4 << 10
)

// prefix is what a token begins with, so that it is known for what it is.
const prefix = "bailiff1."

// Token is what an operator hands to a host, by a way that he trusts: it lets one host in, once.
type Token struct {
	// URLs are where the hub is, tls://HOST:PORT each.
	URLs []string `json:"urls"`
	// Pin is the SHA-256 of the certificate of the hub's own authority, in base64.
	Pin string `json:"pin"`
	// AllowKey is the key by which the fleet's allow-list is signed; empty: there is none.
	AllowKey string `json:"allow_key,omitempty"`
	// JWT and Seed are a user of NATS that may ask JoinSubject and nothing else.
	JWT  string `json:"jwt"`
	Seed string `json:"seed"`
	// ID names the token, Secret shows that who asks has it.
	ID     string `json:"id"`
	Secret string `json:"secret"`
	// Until is when it ends, in Unix seconds, by the hub's clock.
	Until int64 `json:"until"`
}

// String is the token as one word. It is secret.
func (t Token) String() string {
	data, err := json.Marshal(t)
	if err != nil { // strings and a number
		panic(err)
	}
	return prefix + base64.RawURLEncoding.EncodeToString(data)
}

// ParseToken reads what String wrote.
func ParseToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	body, ok := strings.CutPrefix(text, prefix)
	if !ok || len(text) > tokenMost {
		return Token{}, fmt.Errorf("that is no token: want the word that begins with %s, as `bailiff fleet token` printed it", prefix)
	}
	data, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return Token{}, errors.New("the token is damaged: copy all of it, as `bailiff fleet token` printed it")
	}
	var t Token
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil || d.More() {
		return Token{}, errors.New("the token is damaged, or of another version of bailiff: copy all of it, as `bailiff fleet token` printed it")
	}
	return t, t.check()
}

func (t Token) check() error {
	pin, err := base64.StdEncoding.DecodeString(t.Pin)
	if err != nil || len(pin) != 32 {
		return errors.New("the token names no certificate of the hub")
	}
	if len(t.URLs) == 0 || len(t.URLs) > urlsMost {
		return fmt.Errorf("the token names %d places where the hub is: want 1 to %d", len(t.URLs), urlsMost)
	}
	if t.AllowKey != "" {
		if err := allow.CheckKey(t.AllowKey); err != nil {
			return fmt.Errorf("the token's key of the allow-list: %w", err)
		}
	}
	for _, u := range t.URLs {
		if err := CheckURL(u); err != nil {
			return err
		}
	}
	if t.JWT == "" || t.Seed == "" || t.Secret == "" || !isID(t.ID) {
		return errors.New("the token is not whole")
	}
	return nil
}

// isID reports whether a token's id is one: it is a part of subjects.
func isID(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// CheckURL says what is wrong with where a hub is to which a host is brought: it is always spoken to by TLS.
func CheckURL(s string) error {
	if !strings.HasPrefix(s, "tls://") {
		return fmt.Errorf("%.200q: want tls://HOST:PORT", s)
	}
	return fleet.CheckURL(s)
}

// Over reports whether the token has ended by that clock.
func (t Token) Over(now time.Time) bool { return now.Unix() >= t.Until }

// Request is what a host asks at JoinSubject.
type Request struct {
	V      int    `json:"v"`
	ID     string `json:"id"`
	Secret string `json:"secret"`
	Name   string `json:"name"`
	// Key is the public half of the host's own key.
	Key string `json:"key"`
}

// Reply is what the hub answers: a JWT, or why not. It repeats nothing of what was asked.
type Reply struct {
	V   int    `json:"v"`
	JWT string `json:"jwt,omitempty"`
	// Lifts: the host may lift what others banned.
	Lifts bool `json:"lifts,omitempty"`
	// URLs are where the hub is, all of them.
	URLs []string `json:"urls,omitempty"`
	// Refused is why not; empty: it was let in.
	Refused string `json:"refused,omitempty"`
}

// Version is that of Request, Leaving and Reply.
const Version = 1

// Leaving is what a host asks at LeaveSubjects and its name. No answer of a hub can be taken for one: so nobody has
// another host leave by having an answer sent there.
type Leaving struct {
	V     int  `json:"v"`
	Leave bool `json:"leave"`
}

// Decode reads JSON of one member each, of at most that many bytes.
func Decode(data []byte, most int, into any) error {
	if len(data) > most {
		return fmt.Errorf("%d bytes, at most %d may be there", len(data), most)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("there is more behind it")
	}
	return nil
}
