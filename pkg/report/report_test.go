package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/remote"
	"bailiff/pkg/remote/remotetest"
)

const secret = "s3cret-of-the-test"

// service is a fake one: it keeps what it is sent, and answers as it is told.
type service struct {
	mu     sync.Mutex
	forms  []url.Values
	heads  []http.Header
	paths  []string
	answer func(n int, w http.ResponseWriter)
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	s.mu.Lock()
	s.forms, s.heads, s.paths = append(s.forms, form), append(s.heads, r.Header), append(s.paths, r.Method+" "+r.URL.String())
	n := len(s.forms)
	s.mu.Unlock()
	if s.answer != nil {
		s.answer(n, w)
		return
	}
	fmt.Fprint(w, `{"data":{"ipAddress":"192.0.2.7","abuseConfidenceScore":52}}`)
}

func (s *service) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, f := range s.forms {
		out = append(out, f.Get("ip"))
	}
	return out
}

// reporter makes one that speaks to s.
func reporter(t *testing.T, s *service, kind, path string, change func(*Options)) (*Reporter, *strings.Builder) {
	t.Helper()
	url, ca := remotetest.TLS(t, s)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Name: "x", Kind: kind, URL: url + "/api/v2", CA: ca, Token: remote.Token{File: token}, Every: EveryDefault, Most: DayDefault}
	if kind == AbuseIPDB {
		o.Categories = []string{"18", "22"}
	}
	if change != nil {
		change(&o)
	}
	r := New(o, path)
	r.Backoff = remote.Backoff{First: time.Millisecond, Most: 5 * time.Millisecond}
	r.Protected = func(a netip.Addr) (bool, bool) { return a == netip.MustParseAddr("198.51.100.1"), true }
	told := &strings.Builder{}
	var mu sync.Mutex
	r.Tell = func(_ slog.Level, text string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(told, text)
	}
	return r, told
}

// run has it work until all that was added is dealt with.
func run(t *testing.T, r *Reporter, offences ...Offence) State {
	t.Helper()
	for _, o := range offences {
		r.Add(o)
	}
	before := r.dealt()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	if !hosttest.Soon(func() bool { return r.dealt() >= before+len(offences) }) {
		t.Fatalf("not all is dealt with: %+v", r.State())
	}
	cancel()
	<-done
	return r.State()
}

func (r *Reporter) dealt() int {
	s := r.State()
	return s.Sent + s.Dropped + s.Refused + s.Unsure + s.Repeated + s.Withheld
}

func offence(ip string) Offence {
	return Offence{Jail: "sshd", Addr: netip.MustParseAddr(ip), At: time.Now(), Failures: 5}
}

// TestAbuseIPDB: what is sent, once an address, to nobody that is private or protected, and not
// again by the next daemon, after a kill.
func TestAbuseIPDB(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report-x")
	s := &service{}
	r, _ := reporter(t, s, AbuseIPDB, path, nil)
	o := offence("192.0.2.7")
	o.Lines = func() ([]string, []string) { t.Error("lines are asked for"); return nil, nil }
	got := run(t, r, o, o, offence("2001:db8::7"), offence("::ffff:192.0.2.7"),
		offence("10.0.0.1"), offence("127.0.0.1"), offence("fe80::1"), offence("fd00::1"), offence("100.64.0.1"), offence("169.254.1.1"), offence("224.0.0.1"), offence("::1"),
		offence("198.51.100.1"))
	if got.Sent != 2 || got.Repeated != 2 || got.Withheld != 9 || got.Day != 2 || got.LastSuccess == nil || got.Error != "" {
		t.Errorf("it stands at %+v", got)
	}
	want := url.Values{
		"ip": {"192.0.2.7"}, "categories": {"18,22"}, "comment": {"5 failures, jail sshd"},
		"timestamp": {o.At.UTC().Format(time.RFC3339)},
	}
	if s.forms[0].Encode() != want.Encode() || s.paths[0] != "POST /api/v2/report" || s.heads[0].Get("Key") != secret || s.heads[0].Get("Accept") != "application/json" {
		t.Errorf("%s %v %v, want %v", s.paths[0], s.forms[0], s.heads[0], want)
	}
	// A daemon that was killed while it wrote.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "%d 203.0", time.Now().Unix())
	f.Close()
	next, _ := reporter(t, s, AbuseIPDB, path, nil)
	if got := run(t, next, offence("192.0.2.7"), offence("2001:db8::7"), offence("203.0.113.9")); got.Sent != 1 || got.Repeated != 2 || got.Day != 3 {
		t.Errorf("the next daemon stands at %+v", got)
	}
	// When that time is over.
	next, _ = reporter(t, s, AbuseIPDB, path, func(o *Options) { o.Every = EveryLeast })
	next.now = func() time.Time { return time.Now().Add(20 * time.Minute) }
	if got := run(t, next, offence("192.0.2.7")); got.Sent != 1 || got.Day != 4 {
		t.Errorf("after 20 minutes it stands at %+v", got)
	}
}

// TestFaults: what may be taken later is sent again; what is refused, or may have been taken,
// is not.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(n int, w http.ResponseWriter)
		want   State
		tries  int
		told   string
	}{
		{"429 and 503, then it works", func(n int, w http.ResponseWriter) {
			if n < 4 {
				w.WriteHeader([]int{0, 429, 503, 429}[n])
			}
		}, State{Sent: 1}, 4, "429"},
		{"422", func(_ int, w http.ResponseWriter) {
			w.WriteHeader(422)
			fmt.Fprintf(w, `{"errors":[{"detail":"The ip must be a valid IP address (%s).","status":422}]}`, secret)
		}, State{Refused: 1}, 1, "must be a valid IP address (***)"},
		{"500", func(_ int, w http.ResponseWriter) { w.WriteHeader(500) }, State{Unsure: 1}, 1, "500"},
		{"cut", func(int, http.ResponseWriter) { panic(http.ErrAbortHandler) }, State{Unsure: 1}, 1, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &service{answer: c.answer}
			r, told := reporter(t, s, AbuseIPDB, filepath.Join(t.TempDir(), "b"), nil)
			got := run(t, r, offence("192.0.2.7"))
			if got.Sent != c.want.Sent || got.Refused != c.want.Refused || got.Unsure != c.want.Unsure || len(s.sent()) != c.tries {
				t.Errorf("%d tries, %+v", len(s.sent()), got)
			}
			if !strings.Contains(told.String(), c.told) || strings.Contains(told.String(), secret) {
				t.Errorf("told: %s", told)
			}
		})
	}
	// What says how long to wait is waited for.
	if after := remote.After(&remote.StatusError{Code: 429, After: time.Hour}); (&remote.Backoff{}).Failed(after) < time.Hour {
		t.Error("Retry-After is not kept")
	}
	// Nobody listens there: nothing was sent, so it is tried again.
	s := &service{}
	r, _ := reporter(t, s, AbuseIPDB, filepath.Join(t.TempDir(), "b"), func(o *Options) { o.URL = "https://127.0.0.1:1" })
	_, err := r.client.Do(context.Background(), "POST", "/report", nil)
	if judge(err) != later {
		t.Errorf("%v is taken for %v", err, judge(err))
	}
	// A certificate of somebody else's.
	r, _ = reporter(t, s, AbuseIPDB, filepath.Join(t.TempDir(), "b"), func(o *Options) { o.CA = "" })
	_, err = r.client.Do(context.Background(), "POST", "/report", nil)
	if judge(err) != later || len(s.sent()) != 0 {
		t.Errorf("%v is taken for %v", err, judge(err))
	}
}

// TestMost: no more than so many a day, and no more than so many wait.
func TestMost(t *testing.T) {
	s := &service{}
	r, told := reporter(t, s, AbuseIPDB, filepath.Join(t.TempDir(), "b"), func(o *Options) { o.Most = 3 })
	var all []Offence
	for n := range 5 {
		all = append(all, offence(fmt.Sprintf("192.0.2.%d", n+1)))
	}
	if got := run(t, r, all...); got.Sent != 3 || got.Dropped != 2 || len(s.sent()) != 3 || !strings.Contains(told.String(), "3 reports in 24 hours") {
		t.Errorf("%+v: %s", got, told)
	}
	r, told = reporter(t, s, AbuseIPDB, filepath.Join(t.TempDir(), "c"), nil)
	for range QueueMost + 7 {
		r.Add(offence("192.0.2.1"))
	}
	if got := r.State(); got.Waiting != QueueMost || got.Dropped != 7 || strings.Count(told.String(), "are dropped") != 1 {
		t.Errorf("%+v: %s", got, told)
	}
	old := offence("192.0.2.99")
	old.At = time.Now().Add(-staleAfter)
	r, _ = reporter(t, s, AbuseIPDB, filepath.Join(t.TempDir(), "d"), nil)
	if got := run(t, r, old); got.Dropped != 1 || len(s.sent()) != 3 {
		t.Errorf("an old one: %+v", got)
	}
}

// TestUnwritable: where it can't be noted who is reported, nobody is.
func TestUnwritable(t *testing.T) {
	dir := t.TempDir()
	s := &service{}
	path := filepath.Join(dir, "not", "there")
	r, told := reporter(t, s, AbuseIPDB, path, nil)
	r.Add(offence("192.0.2.7"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	if !hosttest.Soon(func() bool { return r.State().Error != "" }) {
		t.Fatal("it says nothing")
	}
	cancel()
	<-done
	if len(s.sent()) != 0 || !strings.Contains(told.String(), "no such file") {
		t.Errorf("sent: %q; told: %s", s.sent(), told)
	}
	// A file that is no book, nor small, is none.
	huge := filepath.Join(dir, "huge")
	if err := errors.Join(os.WriteFile(huge, nil, 0o600), os.Truncate(huge, bookBytes+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := open(huge, time.Hour, time.Now()); err == nil {
		t.Error("a huge file is read")
	}
}

// TestBlocklistDE: what is sent, what its answers mean, and that no error tells the key.
func TestBlocklistDE(t *testing.T) {
	answers := []string{"", `{"status":"success","error":0}`, `{"status":"error","error":{"apikey":"` + strings.Repeat("x", 274) + secret + `"}}`, `<html>`}
	s := &service{answer: func(n int, w http.ResponseWriter) { fmt.Fprint(w, answers[n]) }}
	r, told := reporter(t, s, BlocklistDE, filepath.Join(t.TempDir(), "b"), func(o *Options) {
		o.Server, o.Service, o.Lines = "reports@example.org", "ssh", true
	})
	with := func(ip string) Offence {
		o := offence(ip)
		o.Lines = func() ([]string, []string) {
			return []string{"Failed password for root from " + ip, "Failed password for alice from " + ip}, []string{"root", "alice"}
		}
		return o
	}
	got := run(t, r, with("192.0.2.7"), with("192.0.2.8"), with("192.0.2.9"), offence("192.0.2.10"))
	if got.Sent != 1 || got.Refused != 2 || got.Withheld != 1 || len(s.sent()) != 3 {
		t.Errorf("%+v", got)
	}
	want := url.Values{
		"server": {"reports@example.org"}, "apikey": {secret}, "service": {"ssh"}, "ip": {"192.0.2.7"}, "format": {"json"},
		"logs": {"Failed password for <user> from 192.0.2.7\nFailed password for <user> from 192.0.2.7"},
	}
	if s.forms[0].Encode() != want.Encode() || s.paths[0] != "POST /api/v2/httpreports.html" {
		t.Errorf("%s %v", s.paths[0], s.forms[0])
	}
	if strings.Contains(told.String()+r.State().Error, secret) || !strings.Contains(told.String(), "***") {
		t.Errorf("told: %s", told)
	}
}

// TestLines: users go, whole words alone, the longest first; lines are cut, the last ones stay.
func TestLines(t *testing.T) {
	for _, c := range []struct {
		lines, users []string
		most         int
		want         string
	}{
		{[]string{"for root from 192.0.2.7 by rooted root2 root-x root"}, []string{"root"}, 1000, "for <user> from 192.0.2.7 by rooted root2 <user>-x <user>"},
		{[]string{"user=<ann> <ann@example.org>"}, []string{"ann", "ann@example.org"}, 1000, "user=<<user>> <<user>>"},
		{[]string{"für Jörg von"}, []string{"Jörg", ""}, 1000, "für <user> von"},
		{[]string{"a\x1b[31m\x00b\nc"}, nil, 1000, "a [31m b c"},
		{[]string{"first", "second", "third"}, nil, 12, "second\nthird"},
		{[]string{strings.Repeat("x", 400)}, nil, 1000, strings.Repeat("x", lineMost-3) + "…"},
		{[]string{strings.Repeat("x", 400)}, nil, 100, ""},
		{[]string{"aaa aa a"}, []string{"aa"}, 100, "aaa <user> a"},
	} {
		if got := shown(func() ([]string, []string) { return c.lines, c.users }, c.most); got != c.want || len(got) > c.most {
			t.Errorf("%q without %q: %q, want %q", c.lines, c.users, got, c.want)
		}
	}
	r := &Reporter{Options: Options{Lines: true}}
	o := offence("192.0.2.7")
	var long []string
	for range 50 {
		long = append(long, strings.Repeat("y", 290))
	}
	o.Lines = func() ([]string, []string) { return long, nil }
	if c := r.abuseIPDB(o).Get("comment"); len(c) > commentMost || strings.Count(c, "\n") != 3 {
		t.Errorf("the comment has %d bytes", len(c))
	}
}

// TestBook: the file never has more than its bound, and what matters is known over all of it.
func TestBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b")
	now := time.Unix(1_800_000_000, 0)
	b, err := open(path, 24*time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}) }
	for n := range 4000 { // 40 an hour
		now = now.Add(90 * time.Second)
		if err := b.note(addr(n), now); err != nil {
			t.Fatal(err)
		}
		if b.lines > 2*961+1001 {
			t.Fatalf("%d lines after %d", b.lines, n)
		}
	}
	data, _ := os.ReadFile(path)
	if got := strings.Count(string(data), "\n"); got != b.lines {
		t.Errorf("%d lines, counted %d", got, b.lines)
	}
	again, err := open(path, 24*time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	if d := again.day(now); d != 961 && d != 960 || again.since(addr(3999), now) != 0 || again.since(addr(2000), now) < 24*time.Hour || len(again.last) != len(again.noted) {
		t.Errorf("%d in a day, %d known", d, len(again.last))
	}
	// The clock is set back by a year.
	back, err := open(path, 24*time.Hour, now.Add(-365*24*time.Hour))
	if err != nil || back.since(addr(3999), now.Add(-365*24*time.Hour)) >= 24*time.Hour {
		t.Errorf("after the clock was set back: %v", err)
	}
}

func FuzzBook(f *testing.F) {
	f.Add([]byte("1800000000 192.0.2.7\n1800000000 2001:db8::1\n12 x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "b")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1_800_000_100, 0)
		b, err := open(path, 24*time.Hour, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.note(netip.MustParseAddr("192.0.2.7"), now); err != nil || b.since(netip.MustParseAddr("192.0.2.7"), now) > time.Second {
			t.Fatal(err, b.noted)
		}
		b.close()
	})
}
