package fleet

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestKey(t *testing.T) {
	for text, want := range map[string]Key{
		"web-1.b.ssh.4c6336407":                             BanKey("web-1", "ssh", netip.MustParsePrefix("198.51.100.7/32")),
		"web-1.b.ssh.4c6336400-24":                          BanKey("web-1", "ssh", netip.MustParsePrefix("198.51.100.9/24")),
		"hub.l.mail.620010db8000000000000000000000001":      LiftKey("hub", "mail", netip.MustParsePrefix("2001:db8::1/128")),
		"a.l.0.620010db8000000000000000000000000-64":        LiftKey("a", "0", netip.MustParsePrefix("2001:db8::7/64")),
		"a.b.x.400000000-0":                                 BanKey("a", "x", netip.MustParsePrefix("0.0.0.0/0")),
		"a.b.x.4cb007107":                                   BanKey("a", "x", netip.MustParsePrefix("::ffff:203.0.113.7/128")),
		"hub.o.web-1":                                       DistrustKey("web-1"),
		"hub.b.beat":                                        BeatKey(),
		strings.Repeat("a", 63) + ".b." + "g.4c6336407":     BanKey(strings.Repeat("a", 63), "g", netip.MustParsePrefix("198.51.100.7/32")),
		"hub.b.beat.4c6336407":                              BanKey("hub", "beat", netip.MustParsePrefix("198.51.100.7/32")),
		"web-1.b.ssh.6fffffffffffffffffffffffffffffffe-127": BanKey("web-1", "ssh", netip.MustParsePrefix("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127")),
	} {
		got, err := ParseKey(text)
		if err != nil || got != want || got.String() != text || want.Check() != nil {
			t.Errorf("%s: %+v, %v; want %+v (%s)", text, got, err, want, want)
		}
	}
	for _, text := range []string{
		"", ".", "...", "beat", "hub.b", "hub.b.", "web-1.b.beat", "hub.o.hub", "hub.o.", "web.o.web-1", "hub.o.web-1.4c6336407", "hub.o.a.",
		"*.b.ssh.4c6336407", ">.b.ssh.4c6336407", "web.*.ssh.4c6336407", "web.b.*.4c6336407", "Web.b.ssh.4c6336407", "-w.b.ssh.4c6336407",
		"web.b.ssh", "web.b.ssh.", "web.b.ssh.4C6336407", "web.b.ssh.4c633640", "web.b.ssh.4c63364071", "web.b.ssh.5c6336407",
		"web.b.ssh.4c6336407-32", "web.b.ssh.4c6336407-24", "web.b.ssh.4c6336400-024", "web.b.ssh.4c6336400-+24", "web.b.ssh.4c6336400-",
		"web.b.ssh.4c6336400--1", "web.b.ssh.4c6336400-33", "web.b.ssh.4c6336400-24-24", "web.b.ssh.4c6336407.x", "web.b.ssh.4c6336407 ",
		"web.b.ssh.600000000000000000000ffffc6336407", "web.b.ssh.600000000000000000000ffffc6336400-120", "web.b.ssh.6c6336407",
		"web.b.ssh.4", "web.b.ssh.6", "web_1.b.ssh.4c6336407", "w\x00b.b.ssh.4c6336407", strings.Repeat("a", 64) + ".b.ssh.4c6336407",
	} {
		if k, err := ParseKey(text); err == nil {
			t.Errorf("%q was taken for %+v", text, k)
		}
	}
	if err := CheckHost(Hub); err == nil {
		t.Error("a host may be named as the hub")
	}
	if err := CheckHost("*"); err == nil {
		t.Error("a host may be named *")
	}
	// The order of tokens is that of addresses.
	if a, b := Token(netip.MustParsePrefix("198.51.100.9/32")), Token(netip.MustParsePrefix("198.51.100.10/32")); a >= b {
		t.Errorf("%s is not before %s", a, b)
	}
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"web-1.b.ssh.4c6336407", "a.l.0.620010db8000000000000000000000000-64", "hub.o.web-1", beatKey, "a.b.x.400000000-0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseKey(s)
		if err != nil {
			return
		}
		if k.String() != s {
			t.Errorf("%q prints as %q", s, k)
		}
		if err := k.Check(); err != nil {
			t.Error(err)
		}
	})
}

// entry is one as hosts write them.
func entry() Entry {
	return Entry{Jail: "sshd", Left: 3600, N: 7, Seen: 40, Epoch: "e1", Age: 2, Count: 1, Failures: 5}
}

const entryText = `{"v":1,"jail":"sshd","left":3600,"n":7,"seen":40,"epoch":"e1","age":2,"count":1,"failures":5}`

func TestEntry(t *testing.T) {
	e := entry()
	data, err := e.Encode(Ban)
	if err != nil || string(data) != entryText {
		t.Fatalf("%s, %v", data, err)
	}
	if got, err := DecodeEntry(Ban, data); err != nil || got != e {
		t.Errorf("%+v, %v", got, err)
	}
	change := func(from, to string) string { return strings.Replace(entryText, from, to, 1) }
	for _, text := range []string{
		"", "null", "[]", "{}", entryText + "\n", " " + entryText, entryText[:len(entryText)-1],
		change(`"v":1`, `"v":2`), change(`"v":1,`, ``), change(`"jail"`, `"Jail"`), change(`"left":3600`, `"left":3600,"left":1`),
		change(`"left":3600`, `"left":3.6e3`), change(`"left":3600`, `"left":-2`), change(`3600`, `99999999999`), change(`"n":7`, `"n":0`),
		change(`"n":7`, `"n":-1`), change(`"n":7`, `"n":9007199254740992`), change(`"age":2`, `"age":-2`), change(`"age":2`, `"age":"2"`),
		change(`sshd`, ``), change(`sshd`, `s\u0073hd`), change(`sshd`, "s\\nhd"), change(`sshd`, "sch\u00f6n"), change(`sshd`, strings.Repeat("s", 65)),
		change(`e1`, `E1`), change(`e1`, `e 1`), change(`"failures":5`, `"failures":5,"more":1`), change(`"failures":5`, `"failures":4294967296`),
		change(`sshd`, strings.Repeat("s", EntryMost)), strings.Repeat("[", 400),
	} {
		if e, err := DecodeEntry(Ban, []byte(text)); err == nil {
			t.Errorf("%s was taken for %+v", text, e)
		}
	}
	if _, err := DecodeEntry(Ban, []byte(change(`"v":1`, `"v":2`))); !errors.Is(err, ErrVersion) {
		t.Errorf("another version: %v", err)
	}
	for _, e := range []Entry{{Left: 1, N: 1}, {Left: Permanent, N: 1}, {Left: 0, N: 1, Count: 1}, {N: 0}} {
		if data, err := e.Encode(Lift); err == nil {
			t.Errorf("a lift was written as %s", data)
		}
	}
	long := Entry{Jail: strings.Repeat("j", textMost), Epoch: strings.Repeat("e", nameMost), Left: secondsMost, N: numberMost, Seen: numberMost, Age: secondsMost, Count: 1<<32 - 1, Failures: 1<<32 - 1}
	if data, err := long.Encode(Ban); err != nil || len(data) > EntryMost {
		t.Errorf("the longest entry has %d bytes, %v", len(data), err)
	}
	put, err := Put{numberMost, long}.Encode(Ban)
	if err != nil || len(put) > PutMost {
		t.Errorf("the longest put has %d bytes, %v", len(put), err)
	}
	if got, want := Text("a\"b\xf6<"+strings.Repeat("x", 99)), "a_b__"+strings.Repeat("x", textMost-5); got != want {
		t.Errorf("a jail's name became %q, not %q", got, want)
	}
}

func TestTTL(t *testing.T) {
	const most = 7 * 24 * time.Hour
	for _, c := range []struct {
		kind  Kind
		entry Entry
		want  time.Duration
		ended bool
	}{
		{Ban, Entry{Left: 60, Age: 10}, 55 * time.Second, false},
		{Ban, Entry{Left: 60, Age: 60}, 5 * time.Second, true},
		{Ban, Entry{Left: 30 * 24 * 3600}, most + 5*time.Second, false},
		{Ban, Entry{Left: Permanent, Age: 10}, most - 5*time.Second, false},
		{Ban, Entry{Left: 0, Age: 10}, most + 50*time.Second, false},
		{Lift, Entry{}, most + time.Minute, false},
		{Distrust, Entry{Age: 8 * 24 * 3600}, time.Minute - 24*time.Hour, true},
	} {
		if ttl, ended := c.entry.TTL(c.kind, most); ttl != c.want || ended != c.ended {
			t.Errorf("kind %d, %+v: %v, %v; want %v, %v", c.kind, c.entry, ttl, ended, c.want, c.ended)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(uint8(Ban), []byte(entryText))
	f.Add(uint8(Lift), []byte(`{"v":1,"jail":"","left":0,"n":7,"seen":40,"epoch":"","age":2,"count":0,"failures":0}`))
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		e, err := DecodeEntry(Kind(kind), data)
		if err != nil {
			return
		}
		if again, err := e.Encode(Kind(kind)); err != nil || string(again) != string(data) {
			t.Errorf("%s is written as %s, %v", data, again, err)
		}
	})
}

func TestPut(t *testing.T) {
	p := Put{Expect: 12, Entry: entry()}
	data, err := p.Encode(Ban)
	if want := `{"v":1,"expect":12,"entry":` + entryText + `}`; err != nil || string(data) != want {
		t.Fatalf("%s, %v", data, err)
	}
	if got, err := DecodePut(Ban, data); err != nil || got != p {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{``, `{"v":1,"expect":12}`, `{"v":1,"expect":-1,"entry":` + entryText + `}`, `{"v":1,"expect":1,"entry":null}`, `{"v":3,"expect":1,"entry":` + entryText + `}`} {
		if p, err := DecodePut(Ban, []byte(text)); err == nil {
			t.Errorf("%s was taken for %+v", text, p)
		}
	}
	key := BanKey("web-1", "ssh", netip.MustParsePrefix("198.51.100.7/32"))
	if got, err := ParsePutSubject(PutSubject(key)); err != nil || got != key {
		t.Errorf("%+v, %v", got, err)
	}
	for _, subject := range []string{"put.hub.b.ssh.4c6336407", "put.hub.b.beat", "put.hub.o.web-1", "live.bans.web-1.b.ssh.4c6336407", "put."} {
		if k, err := ParsePutSubject(subject); err == nil {
			t.Errorf("%s was taken for %+v", subject, k)
		}
	}
}

func TestAnswer(t *testing.T) {
	answers := []Answer{{Status: Stored, Rev: 9}, {Status: Conflict}}
	for r := range reasons {
		answers = append(answers, No(r))
	}
	for _, a := range answers {
		data, err := a.Encode()
		if err != nil || len(data) > AnswerMost {
			t.Fatalf("%+v: %s, %v", a, data, err)
		}
		if got, err := DecodeAnswer(data); err != nil || got != a {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
	}
	for _, text := range []string{``, `{}`, `{"v":1,"status":"ok"}`, `{"v":1,"status":"ok","rev":0}`, `{"v":1,"status":"refused"}`, `{"v":1,"status":"refused","reason":"rate"}`, `{"v":1,"status":"busy","reason":"what you sent"}`, `{"v":1,"status":"ok","rev":1,"reason":"rate"}`, `{"v":2,"status":"ok","rev":1}`} {
		if a, err := DecodeAnswer([]byte(text)); err == nil {
			t.Errorf("%s was taken for %+v", text, a)
		}
	}
}

func FuzzWire(f *testing.F) {
	f.Add([]byte(`{"v":1,"expect":12,"entry":` + entryText + `}`))
	f.Add([]byte(`{"v":1,"status":"ok","rev":9}`))
	f.Add([]byte(`{"v":1,"epoch":"e1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var again []byte
		if p, err := DecodePut(Ban, data); err == nil {
			again, _ = p.Encode(Ban)
		} else if a, err := DecodeAnswer(data); err == nil {
			again, _ = a.Encode()
		} else if e, err := DecodeBeat(data); err == nil {
			again, _ = EncodeBeat(e)
		} else {
			return
		}
		if string(again) != string(data) {
			t.Errorf("%s is written as %s", data, again)
		}
	})
}

// headers are those of a stored message.
func headers(key, rev string) map[string][]string {
	return map[string][]string{
		headerStream: {Stream}, headerSubject: {StreamSubjects + key}, headerSequence: {rev},
		headerTime: {"2026-11-27T12:00:00.123456789Z"}, "Nats-Last-Sequence": {"3"},
	}
}

func TestReadLive(t *testing.T) {
	const key = "web-1.b.ssh.4c6336407"
	s, err := ReadLive(LiveSubjects+key, headers(key, "41"), []byte(entryText))
	at := time.Date(2026, 11, 27, 12, 0, 0, 123456789, time.UTC)
	if err != nil || s.Key.String() != key || s.Rev != 41 || !s.Stored.Equal(at) || s.Entry != entry() {
		t.Fatalf("%+v, %v", s, err)
	}
	if s, err := ReadStored(headers(beatKey, "42"), []byte(`{"v":1,"epoch":"e1"}`)); err != nil || s.Key != BeatKey() || s.Epoch != "e1" {
		t.Errorf("the beat: %+v, %v", s, err)
	}
	for what, c := range map[string]struct {
		change  func(map[string][]string)
		subject string
		data    string
		rev     uint64
	}{
		"none at all":        {change: func(h map[string][]string) { clear(h) }},
		"no stream":          {change: func(h map[string][]string) { delete(h, headerStream) }},
		"another stream":     {change: func(h map[string][]string) { h[headerStream] = []string{"KV_other"} }},
		"a number before it": {change: func(h map[string][]string) { h[headerSequence] = []string{"99", "41"} }},
		"a subject before it": {change: func(h map[string][]string) {
			h[headerSubject] = []string{"$KV.bans.web-2.b.ssh.4c6336407", h[headerSubject][0]}
		}},
		"a time before it":        {change: func(h map[string][]string) { h[headerTime] = append(h[headerTime], h[headerTime][0]) }},
		"no value":                {change: func(h map[string][]string) { h[headerTime] = nil }},
		"a number that isn't":     {change: func(h map[string][]string) { h[headerSequence] = []string{"041"} }},
		"number 0":                {change: func(h map[string][]string) { h[headerSequence] = []string{"0"} }},
		"another subject":         {change: func(h map[string][]string) { h[headerSubject] = []string{"put." + key} }},
		"a status":                {change: func(h map[string][]string) { h["Status"] = []string{"204"} }},
		"a name in other letters": {change: func(h map[string][]string) { h["nats-sequence"] = []string{"7"} }},
		"a time from long ago":    {change: func(h map[string][]string) { h[headerTime] = []string{"0001-01-01T00:00:00Z"} }},
		"sent to another's place": {subject: LiveSubjects + "web-2.b.ssh.4c6336407"},
		"an inbox":                {subject: "_INBOX.web-1.x"},
		"a value of rubbish":      {data: "rubbish", rev: 41},
	} {
		h := headers(key, "41")
		if c.change != nil {
			c.change(h)
		}
		if c.subject == "" {
			c.subject = LiveSubjects + key
		}
		if c.data == "" {
			c.data = entryText
		}
		s, err := ReadLive(c.subject, h, []byte(c.data))
		var bad *BadMessage
		if !errors.As(err, &bad) || bad.Rev != c.rev {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
	}
}
