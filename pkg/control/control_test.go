package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/events"
	"bailiff/pkg/finding"
	"bailiff/pkg/history"
	"bailiff/pkg/jail"
	"bailiff/pkg/metrics"
)

// fake is a daemon with one jail, sshd.
// noEvents is a table with one event.
var noEvents = sync.OnceValue(func() *events.Table {
	table := events.Open(events.Options{})
	table.Add(&events.Event{Kind: events.Start})
	for n := uint64(0); n == 0; time.Sleep(time.Millisecond) {
		n, _, _ = table.Last()
	}
	return table
})

type fake struct {
	bans, unbans, stops int
	events              *events.Table
}

func (f *fake) Status(name string, _ bool) (Status, error) {
	if name != "" && name != "sshd" {
		return Status{}, &NotFoundError{Jail: name}
	}
	return Status{Version: "1", Jails: []jail.Status{{Name: "sshd"}}}, nil
}
func (f *fake) ShutOut(string) ([]string, error) { return []string{}, nil }

func (f *fake) Bans(string) ([]jail.BanStatus, error) { return []jail.BanStatus{}, nil }

func (f *fake) SearchBans(q BansQuery) (BansPage, error) {
	return BansPage{Bans: []jail.BanStatus{}, Total: q.Limit}, nil
}

func (f *fake) Fleet() (FleetStatus, error) {
	return FleetStatus{Groups: []FleetGroup{}, Hosts: []FleetOrigin{}, Refused: map[string]uint64{}, RefusedByHub: map[string]uint64{}}, nil
}

func (f *fake) FleetBan(r FleetBanRequest) ([]BanResult, error) {
	f.bans++ // it is a change
	return make([]BanResult, len(r.IPs)), nil
}

func (f *fake) WebLogin(r WebLoginRequest) (WebLogin, error) {
	f.bans++ // it is a change
	return WebLogin{URLs: []string{}, Role: r.Role}, nil
}

func (f *fake) Ban(_ string, r BanRequest) ([]BanResult, error) {
	f.bans += len(r.IPs)
	if len(r.IPs) == 0 {
		return nil, nil
	}
	return []BanResult{{IP: r.IPs[0], Added: true}}, nil
}

func (f *fake) Import(r ImportRequest) ([]ImportResult, error) {
	f.bans += len(r.Bans)
	return []ImportResult{}, nil
}

func (*fake) Allow(AllowRequest) ([]AllowResult, error) { return nil, nil }
func (*fake) Allowed() []Allowance                      { return nil }
func (*fake) Never(NeverRequest) ([]AllowResult, error) { return nil, nil }
func (*fake) Nevers() []Never                           { return nil }
func (*fake) SavedFilters() ([]SavedFilter, error)      { return nil, nil }

func (f *fake) Unban(r UnbanRequest) ([]UnbanResult, error) {
	f.unbans++
	return nil, errors.New("the kernel refused")
}
func (f *fake) Reload(string) (ReloadResult, error)           { return ReloadResult{}, nil }
func (f *fake) History(history.Query) (history.Answer, error) { return history.Answer{}, nil }
func (f *fake) Top(events.TopQuery) (TopAnswer, error)        { return TopAnswer{}, nil }
func (f *fake) Settings(jail string) (JailSettings, error)    { return JailSettings{Jail: jail}, nil }

func (f *fake) ChangeSettings(string, SettingsRequest) (SettingsResult, error) {
	return SettingsResult{}, nil
}

func (f *fake) ForgetSettings(string, string) (SettingsResult, error) { return SettingsResult{}, nil }
func (f *fake) SaveFilter(string, SaveRequest) (SaveResult, error)    { return SaveResult{}, nil }

// Replay says what it was asked.
func (f *fake) Replay(ctx context.Context, q ReplayQuery) (ReplayAnswer, error) {
	text, err := io.ReadAll(q.Upload)
	if _, ok := ctx.Deadline(); !ok {
		err = errors.New("it has no end")
	}
	return ReplayAnswer{Jail: q.Jail, Logs: []string{q.Log, q.MaxRetry, q.FindTime, q.BanTime, string(text)}}, err
}

func (f *fake) Doctor(_ context.Context, q DoctorQuery) (DoctorAnswer, error) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	return DoctorAnswer{At: &at, Looking: q.Now, Report: finding.Report{Level: finding.Broken, Jails: []string{"sshd"}, Findings: []finding.Finding{{
		Jail: q.Jail, Link: finding.LinkBan, Level: finding.Broken, Symptom: "ban-action", Cause: `unknown key "hunter2"`, Remedy: "set\nactionban = hunter2",
		Seen: []string{"/etc/bailiff/bailiff.toml:12", "actionstart = curl -u x:hunter2", "age " + q.Age.String()},
	}}}}, nil
}
func (f *fake) TryFilter(TryRequest) (TryAnswer, error) { return TryAnswer{}, nil }
func (f *fake) Why(id string) (Why, error)              { return Why{IP: id}, nil }

func (f *fake) Metrics() *metrics.Page {
	p := metrics.NewPage()
	p.Add(metrics.F2bUp, 1)
	return p
}

func (f *fake) Events() *events.Table {
	if f.events != nil {
		return f.events
	}
	return noEvents()
}

func (f *fake) Stop() { f.stops++ }

func listen(t *testing.T) (*fake, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	d := &fake{}
	s, err := Listen(path, d, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return d, path
}

func TestClient(t *testing.T) {
	d, path := listen(t)
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v: want mode 0600", fi.Mode(), err)
	}
	c := NewClient(path)
	if err := c.Ping(); err != nil {
		t.Error(err)
	}
	if s, err := c.Status(); err != nil || len(s.Jails) != 1 {
		t.Errorf("status %+v, %v", s, err)
	}
	if _, err := c.Jail("a/../b"); err == nil || err.Error() != "no jail a/../b" {
		t.Errorf("a jail that is not there: %v", err)
	}
	if r, err := c.Ban("sshd", BanRequest{IPs: []string{"192.0.2.7"}}); err != nil || !r[0].Added || d.bans != 1 {
		t.Errorf("ban %+v, %v", r, err)
	}
	if _, err := c.Unban(UnbanRequest{All: true}); err == nil || err.Error() != "the kernel refused" {
		t.Errorf("unban: %v", err)
	}
	var gone *NotRunningError
	if err := NewClient(path + "x").Ping(); !errors.As(err, &gone) {
		t.Errorf("nobody there: %v", err)
	}
}

// TestGarbage sends what no client sends; the server answers an error or hangs
// up, and goes on.
func TestGarbage(t *testing.T) {
	d, path := listen(t)
	post := func(body string) string {
		return fmt.Sprintf("POST /v1/unban HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	for _, c := range []struct{ send, status string }{
		{"\x80\x04\x95\x00garbage\xff\x00<F2B_END_COMMAND>\r\n\r\n", "400"},
		{"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
		{"DELETE /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", "405"},
		{post(""), "400"},
		{post("{"), "400"},
		{post(`{"ips": "192.0.2.7"}`), "400"},
		{post(`{"ipz": []}`), "400"},
		{post(strings.Repeat("[", 100_000)), "400"},
		{post(`{"ips": ["` + strings.Repeat("a", 5<<20) + `"]}`), "400"},
		{"GET /" + strings.Repeat("a", 100_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", "431"},
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(conn, c.send) }()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		switch {
		case err != nil:
			t.Errorf("%.40q: %v", c.send, err)
		case !strings.HasPrefix(res.Status, c.status):
			t.Errorf("%.40q: %s, want %s", c.send, res.Status, c.status)
		}
		conn.Close()
	}
	if d.unbans != 0 || d.stops != 0 {
		t.Error("something was carried out")
	}
	if err := NewClient(path).Ping(); err != nil {
		t.Error(err)
	}
}

func TestListen(t *testing.T) {
	_, path := listen(t)
	if _, err := Listen(path, &fake{}, Options{}); err == nil || !strings.Contains(err.Error(), "another daemon is running here") {
		t.Errorf("a second daemon: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file, &fake{}, Options{}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a plain file: %v", err)
	}
	// A socket left behind by a daemon that was killed is replaced.
	stale := filepath.Join(t.TempDir(), "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	s, err := Listen(stale, &fake{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// TestListenAfterClose: who starts while another daemon ends waits for it, and is refused
// at once while that one is at work. There are never two.
func TestListenAfterClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	d := &slow{begun: make(chan struct{}), free: make(chan struct{})}
	s, err := Listen(path, d, Options{})
	if err != nil {
		t.Fatal(err)
	}
	reloaded := make(chan error, 1)
	go func() {
		_, err := NewClient(path).Reload()
		reloaded <- err
	}()
	<-d.begun
	if _, err := Listen(path, &fake{}, Options{}); err == nil || !strings.Contains(err.Error(), "another daemon is running here") {
		t.Errorf("a second daemon: %v", err)
	}
	go s.Close()
	for answered(path) {
		time.Sleep(time.Millisecond)
	}
	next := make(chan error, 1)
	go func() {
		s, err := Listen(path, &fake{}, Options{})
		if err == nil && !d.done.Load() {
			err = errors.New("it does not wait")
		}
		if s != nil {
			defer s.Close()
		}
		next <- err
	}()
	close(d.free)
	if err := <-reloaded; err != nil {
		t.Errorf("the last answer: %v", err)
	}
	if err := <-next; err != nil {
		t.Error(err)
	}

	var at atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				s, err := Listen(path, &fake{}, Options{})
				if err != nil {
					continue
				}
				if n := at.Add(1); n != 1 {
					t.Errorf("%d daemons at once", n)
				}
				at.Add(-1)
				s.Close()
			}
		})
	}
	wg.Wait()
}

// slow takes its time for a reload.
type slow struct {
	fake
	begun, free chan struct{}
	done        atomic.Bool
}

func (s *slow) Reload(string) (ReloadResult, error) {
	close(s.begun)
	<-s.free
	s.done.Store(true)
	return ReloadResult{}, nil
}

// TestLockFile: who owns the directory can't have a file made elsewhere by a link at the
// lock's name, nor a FIFO or device opened.
func TestLockFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	elsewhere := filepath.Join(t.TempDir(), "made")
	for what, put := range map[string]func() error{
		"a link to what is not there": func() error { return os.Symlink(elsewhere, path+".lock") },
		"a link to a device":          func() error { return os.Symlink("/dev/null", path+".lock") },
		"a FIFO":                      func() error { return syscall.Mkfifo(path+".lock", 0o600) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if s, err := Listen(path, &fake{}, Options{}); err == nil {
			t.Errorf("%s: taken", what)
			s.Close()
		}
		if _, err := os.Lstat(elsewhere); err == nil {
			t.Errorf("%s: %s was made", what, elsewhere)
		}
		if err := os.Remove(path + ".lock"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestShare: the group gets the socket, and nothing that a link at its name leads to.
func TestShare(t *testing.T) {
	dir := t.TempDir()
	secret, link := filepath.Join(dir, "secret"), filepath.Join(dir, "sock")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, secret} {
		if err := share(path, "nogroup"); err == nil || !strings.Contains(err.Error(), "in its place") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if fi, err := os.Stat(secret); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
}
