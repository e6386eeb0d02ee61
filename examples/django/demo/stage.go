package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/nftables"

	"bailiff/pkg/netlab"
)

// stage is everything that runs.
type stage struct {
	ctx                        context.Context
	dir                        string // of this run
	bailiff                    string // the program
	wave                       int
	lab                        *netlab.Lab
	server, attacker, customer *netlab.Host
	djangoVersion              string
	project                    string   // Django's directory
	env                        []string // of its programs

	stop    context.CancelFunc
	running sync.WaitGroup
	daemon  *exec.Cmd
	kernel  *kernelWatch
}

func setUp(ctx context.Context, root string, wave int, tree bool) (s *stage, err error) {
	if os.Getuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	root, err = filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	s = &stage{wave: wave, bailiff: filepath.Join(root, "bin/bailiff"), lab: netlab.New("bailiff-demo")}
	s.ctx, s.stop = context.WithCancel(ctx)
	if _, err := os.Stat(s.bailiff); err != nil {
		return s, fmt.Errorf("%w: run `make build` first", err)
	}
	if s.dir, err = os.MkdirTemp("", "bailiff-demo-"); err != nil {
		return s, err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return s, err
	}
	if err := s.network(); err != nil {
		return s, err
	}
	if err := s.site(filepath.Join(root, "examples/django")); err != nil {
		return s, err
	}
	if s.kernel, err = watchKernel(s.server); err != nil {
		return s, err
	}
	if tree {
		err = s.treeConfig()
	} else {
		if err = s.ownConfig(filepath.Join(root, "examples/django/bailiff/bailiff.toml")); err == nil {
			err = s.axesConfig(filepath.Join(root, "examples/django/bailiff/jails"))
		}
	}
	if err != nil {
		return s, err
	}
	return s, s.startBailiff()
}

func (s *stage) tearDown() error {
	s.stop() // TERM for everything
	s.running.Wait()
	if s.kernel != nil {
		s.kernel.close()
	}
	err := s.lab.Close()
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// waveAddresses are the attackers of the second act.
func (s *stage) waveAddresses() []string {
	var out []string
	for i := range s.wave - 1 {
		out = append(out, fmt.Sprintf("192.0.2.%d", 100+i))
	}
	return append(out, attacker6)
}

func (s *stage) network() (err error) {
	if s.wave < 1 || s.wave > 100 {
		return fmt.Errorf("%d attackers: want 1 to 100", s.wave)
	}
	for _, h := range []struct {
		name string
		host **netlab.Host
	}{{"server", &s.server}, {"attacker", &s.attacker}, {"customer", &s.customer}} {
		if *h.host, err = s.lab.Host(h.name); err != nil {
			return err
		}
	}
	theirs := []string{attacker + "/24", attacker6 + "/64"}
	for _, a := range []string{locked, halfway, listed, allowed} {
		theirs = append(theirs, a+"/24")
	}
	for _, a := range s.waveAddresses() {
		if a != attacker6 {
			theirs = append(theirs, a+"/24")
		}
	}
	if err := s.lab.Cable(s.server, s.attacker, []string{serverForAttacker + "/24", server6 + "/64"}, theirs); err != nil {
		return err
	}
	return s.lab.Cable(s.server, s.customer, []string{serverForCustomer + "/24"}, []string{customer + "/24"})
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// start runs a program on the server until the end, its output in NAME.log.
func (s *stage) start(name string, env []string, program string, args ...string) (*exec.Cmd, error) {
	out, err := os.Create(s.path(name + ".log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c := s.server.Command(s.ctx, program, args...)
	c.Env = append(os.Environ(), env...)
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is ours to deal with
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.running.Go(func() { _ = c.Wait() })
	return c, nil
}

// output returns what a program said, for an error's text.
func (s *stage) output(name string) string {
	text, _ := os.ReadFile(s.path(name + ".log"))
	return strings.TrimSpace(string(text))
}

func (s *stage) site(project string) error {
	www, err := user.Lookup("www-data")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(www.Uid)
	gid, _ := strconv.Atoi(www.Gid)
	// The site's user may have no way to where this was cloned: root's home is root's alone.
	site := s.path("site")
	if err := os.CopyFS(site, os.DirFS(project)); err != nil {
		return err
	}
	project = site
	data := s.path("data")
	if err := os.Mkdir(data, 0o755); err != nil {
		return err
	}
	env := []string{
		"MYSITE_DATA=" + data, "MYSITE_AUTH_LOG=" + s.authLog(), "MYSITE_HOSTS=*",
		"MYSITE_SECRET_KEY=of-this-run-only", "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=" + project, "LANG=C.UTF-8",
	}
	s.project, s.env = project, append(env, "MYSITE_AXES_LOG="+s.axesLog(), fmt.Sprintf("MYSITE_BANTIME=%.0f", banTime.Seconds()))
	var file strings.Builder
	for _, v := range append(s.env, "DJANGO_SETTINGS_MODULE=mysite.settings_axes") {
		name, value, _ := strings.Cut(v, "=")
		fmt.Fprintf(&file, "%s='%s'\n", name, value)
	}
	if err := os.WriteFile(s.path("mysite.env"), []byte(file.String()), 0o644); err != nil {
		return err
	}
	python := func(args ...string) (string, error) {
		c := s.server.Command(s.ctx, "/usr/bin/python3", append([]string{filepath.Join(project, "manage.py")}, args...)...)
		c.Env = append(append(os.Environ(), env...), "DJANGO_SUPERUSER_PASSWORD=the-right-one")
		out, err := c.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("manage.py %s: %w\n%s", args[0], err, out)
		}
		return strings.TrimSpace(string(out)), nil
	}
	if s.djangoVersion, err = python("version"); err != nil {
		return err
	}
	if _, err := python("migrate", "--verbosity", "0"); err != nil {
		return err
	}
	if _, err := python("createsuperuser", "--noinput", "--username", "admin", "--email", "admin@example.org"); err != nil {
		return err
	}
	if _, err := s.manage("migrate", "--verbosity", "0"); err != nil {
		return err
	}
	if _, err := s.manage("shell", "-c", "from django.contrib.auth.models import User; User.objects.get().staticdevice_set.create(name='demo').token_set.create(token='"+token+"')"); err != nil {
		return err
	}
	for _, f := range []string{data, filepath.Join(data, "db.sqlite3"), s.authLog(), s.axesLog()} {
		if err := os.Chown(f, uid, gid); err != nil {
			return err
		}
	}
	if _, err := s.start("gunicorn", env, "/usr/bin/python3", "-m", "gunicorn", "--workers", "2", "--bind", "127.0.0.1:8000",
		"--user", "www-data", "--group", "www-data", "mysite.wsgi"); err != nil {
		return err
	}
	if _, err := s.start("gunicorn-axes", append(s.env, "DJANGO_SETTINGS_MODULE=mysite.settings_axes", "MYSITE_BAILIFF_SOCKET="+s.path("read.sock")),
		"/usr/bin/python3", "-m", "gunicorn", "--workers", "2", "--bind", "127.0.0.1:8001", "--user", "www-data", "--group", "www-data", "mysite.wsgi"); err != nil {
		return err
	}
	server, err := os.ReadFile(filepath.Join(project, "nginx.conf"))
	if err != nil {
		return err
	}
	other := strings.NewReplacer("listen 80;", "listen "+axesPort+";", "listen [::]:80;", "listen [::]:"+axesPort+";", "127.0.0.1:8000", "127.0.0.1:8001").Replace(string(server))
	if err := os.WriteFile(s.path("nginx-axes.conf"), []byte(other), 0o644); err != nil {
		return err
	}
	// What Debian's nginx.conf has around a site.
	conf := fmt.Sprintf("user www-data; daemon off; pid %[1]s/nginx.pid; error_log stderr;\nevents {}\nhttp {\n access_log off;\n client_body_temp_path %[1]s/nginx-body;\n proxy_temp_path %[1]s/nginx-proxy;\n fastcgi_temp_path %[1]s/nginx-fastcgi;\n uwsgi_temp_path %[1]s/nginx-uwsgi;\n scgi_temp_path %[1]s/nginx-scgi;\n include %[2]s/nginx.conf;\n include %[1]s/nginx-axes.conf;\n}\n", s.dir, project)
	if err := os.WriteFile(s.path("nginx.conf"), []byte(conf), 0o644); err != nil {
		return err
	}
	if _, err := s.start("nginx", nil, "nginx", "-c", s.path("nginx.conf")); err != nil {
		return err
	}
	c := s.browser(s.customer, customer, serverForCustomer)
	status := 0
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if status, err = c.get("/admin/login/"); err == nil && status == 200 {
			return nil
		}
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the site does not answer with 200: status %d, %v\nnginx: %s\ngunicorn: %s", status, err, s.output("nginx"), s.output("gunicorn"))
}

// patience is how long anything may take where the machine has much else to do. What is promised is
// measured, and told.
const patience = time.Minute

func (s *stage) authLog() string { return s.path("data/auth.log") }

func (s *stage) socket() string { return s.path("bailiff.sock") }

// ownConfig is the example's configuration: only the log is another one, and the
// ban time is short.
func (s *stage) ownConfig(config string) error {
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	for old, replacement := range map[string]string{
		`"/var/log/django/auth.log"`: strconv.Quote(s.authLog()),
		`bantime = "1h"`:             fmt.Sprintf("bantime = %q", banTime),
		`"127.0.0.0/8", "::1"`:       fmt.Sprintf(`"127.0.0.0/8", "::1", "file:%s"`, s.path("allow.txt")),
	} {
		if !bytes.Contains(text, []byte(old)) {
			return fmt.Errorf("%s: %s is not in it", config, old)
		}
		text = bytes.ReplaceAll(text, []byte(old), []byte(replacement))
	}
	if err := os.Mkdir(s.path("bailiff"), 0o755); err != nil {
		return err
	}
	// The site with Axes asks over a socket of its own.
	text = bytes.Replace(text, []byte("\n[jail."), fmt.Appendf(nil, "\n[read]\nsocket = %q\ngroup = \"www-data\"\n\n[jail.", s.path("read.sock")), 1)
	return os.WriteFile(s.path("bailiff/bailiff.toml"), text, 0o644)
}

// treeConfig is Debian's /etc/fail2ban with a jail and a filter for Django's log
// as people write them.
func (s *stage) treeConfig() error {
	if out, err := exec.Command("cp", "-r", "/etc/fail2ban", s.path("bailiff")).CombinedOutput(); err != nil {
		return fmt.Errorf("the package fail2ban is needed for its configuration: %w: %s", err, out)
	}
	jail := fmt.Sprintf("[DEFAULT]\nbanaction = nftables-multiport\n\n[sshd]\nenabled = false\n\n[django-auth]\nenabled = true\nfilter = django-auth\nport = 80,443\nlogpath = %s\nmaxretry = %d\nbantime = %d\n", s.authLog(), maxRetry, int(banTime.Seconds()))
	for name, text := range map[string]string{
		"bailiff/jail.local":                jail,
		"bailiff/filter.d/django-auth.conf": "[Definition]\nfailregex = Login failure <HOST>\n",
		"bailiff/fail2ban.local":            "[Definition]\nlogtarget = STDERR\n",
	} {
		if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) startBailiff() (err error) {
	if s.daemon, err = s.start("bailiff", []string{"STATE_DIRECTORY=" + s.path("state")}, s.bailiff, "run", "--config", s.path("bailiff"), "--socket", s.socket()); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err = exec.Command(s.bailiff, "status", "--socket", s.socket()).Run(); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("bailiff does not start: %w\n%s", err, s.output("bailiff"))
}

// show runs a command on the server and prints it with its output, which must
// hold want.
func (s *stage) show(ctx context.Context, program string, args []string, want string) error {
	fmt.Println("      $", program, strings.Join(args, " "))
	if program == "bailiff" {
		program, args = s.bailiff, append(args, "--socket", s.socket())
	}
	out, err := s.server.Command(ctx, program, args...).CombinedOutput()
	for _, line := range strings.Split(strings.TrimRight(string(out), "\n"), "\n") {
		fmt.Println("        " + line)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	if !strings.Contains(string(out), want) {
		return fmt.Errorf("%s %s: %q is not in its output", program, args[0], want)
	}
	return nil
}

// lastLine returns when Django wrote its last line about an address: the time in
// the line, taken before it was written.
func (s *stage) lastLine(addr string) (time.Time, error) {
	text, err := os.ReadFile(s.authLog())
	if err != nil {
		return time.Time{}, err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasSuffix(lines[i], " Login failure "+addr) {
			return time.ParseInLocation("2006-01-02 15:04:05,000", lines[i][:23], time.UTC)
		}
	}
	return time.Time{}, fmt.Errorf("%s: no line about %s", s.authLog(), addr)
}

// kill ends the daemon as no daemon expects it.
func (s *stage) kill() error {
	if err := s.daemon.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err := exec.Command(s.bailiff, "status", "--socket", s.socket()).Run(); err != nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("bailiff still answers after kill -9")
}

// waitUntilGone asks the kernel for the set until the address is not in it.
func (s *stage) waitUntilGone(ctx context.Context, addr string) (time.Time, error) {
	for deadline := time.Now().Add(banTime + patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, err := s.server.Command(ctx, "nft", "list", "set", "inet", "f2b-table", "addr-set-django-auth").CombinedOutput()
		if err != nil {
			return time.Time{}, fmt.Errorf("nft list set: %w: %s", err, out)
		}
		if !strings.Contains(string(out), addr+" ") {
			return time.Now(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is still in the set long after its ban should have ended", addr)
}

// kernelWatch notes when elements come into the server's sets, as the kernel
// tells of them.
type kernelWatch struct {
	monitor *nftables.Monitor
	mu      sync.Mutex
	seen    map[netip.Addr]time.Time
}

func watchKernel(h *netlab.Host) (*kernelWatch, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(h.NsFd()))
	if err != nil {
		return nil, err
	}
	k := &kernelWatch{seen: map[netip.Addr]time.Time{}, monitor: nftables.NewMonitor(
		nftables.WithMonitorAction(nftables.MonitorActionNew), nftables.WithMonitorObject(nftables.MonitorObjectElements))}
	events, err := conn.AddMonitor(k.monitor)
	if err != nil {
		return nil, fmt.Errorf("nftables' events: %w", err)
	}
	go func() {
		for e := range events {
			now := time.Now()
			if e.Type != nftables.MonitorEventTypeNewSetElem {
				continue
			}
			elements, _ := e.Data.([]nftables.SetElement)
			k.mu.Lock()
			for _, x := range elements {
				if a, ok := netip.AddrFromSlice(x.Key); ok {
					k.seen[a] = now
				}
			}
			k.mu.Unlock()
		}
	}()
	return k, nil
}

func (k *kernelWatch) added(addr string) (time.Time, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.seen[netip.MustParseAddr(addr)]
	return t, ok
}

func (k *kernelWatch) forget(addr string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.seen, netip.MustParseAddr(addr))
}

func (k *kernelWatch) close() { _ = k.monitor.Close() }
