// Command proxies measures what it costs a proxy to ask the daemon who is banned, with a
// million bans: answers at 10,000 requests a second to a daemon of one core, wrk on nginx with
// auth_request and without, and how long it takes from a line of a log until nginx, Caddy, Apache and HAProxy
// refuse its address, and from an unban until they serve it again. The proxies are configured as
// docs/proxies.md has it (Debian, root).
// It prints Markdown tables, and with --write puts them into a document.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
	"bailiff/bench/section"
	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/control"
	"bailiff/pkg/netlab"
	"bailiff/pkg/store"
)

const (
	service, attacker, customer = "192.0.2.1", "192.0.2.66", "192.0.2.77"
	// networks of bans there are beside the addresses.
	networks = 1000
)

func main() {
	bans := flag.Int("bans", 1_000_000, "in force")
	rate := flag.Int("rate", 10_000, "requests a second")
	seconds := flag.Int("seconds", 2, "for which each load lasts")
	rounds := flag.Int("rounds", 20, "of a ban and an unban")
	program := flag.String("program", "bin/bailiff", "the `program`")
	write := flag.String("write", "", "a `file` whose section is replaced")
	ask := flag.String("ask", "", "only put that load onto a `socket`, and print in nanoseconds how long each answer took: this program calls itself so")
	flag.Parse()
	if *ask != "" {
		took, err := load(*ask, *rate, *seconds, *bans)
		if err != nil {
			fmt.Fprintln(os.Stderr, "proxies:", err)
			os.Exit(1)
		}
		out := bufio.NewWriter(os.Stdout)
		defer out.Flush()
		for _, t := range took {
			fmt.Fprintln(out, int64(t))
		}
		return
	}
	text, err := run(*bans, *rate, *seconds, *rounds, *program)
	if err == nil && *write != "" {
		err = section.Replace(*write, "proxies", text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "proxies:", err)
		os.Exit(1)
	}
	fmt.Print(text)
}

// bench is what is measured on.
type bench struct {
	dir            string
	program        string
	server, client *netlab.Host
	children       []*exec.Cmd
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// start runs a program on the server.
func (b *bench) start(args ...string) (*exec.Cmd, error) {
	c := b.server.Command(context.Background(), args[0], args[1:]...)
	c.Env = append(os.Environ(), "HOME="+b.dir, "XDG_DATA_HOME="+b.dir, "XDG_CONFIG_HOME="+b.dir)
	out, err := os.Create(b.path(fmt.Sprintf("out%d", len(b.children))))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		return nil, err
	}
	b.children = append(b.children, c)
	return c, nil
}

func (b *bench) end(c *exec.Cmd) {
	_ = c.Process.Signal(syscall.SIGTERM)
	_ = c.Wait()
	b.children = slices.DeleteFunc(b.children, func(o *exec.Cmd) bool { return o == c })
}

func (b *bench) files(files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(b.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// snippet is a block of docs/proxies.md.
func (b *bench) snippet(kind string, replace ...string) string {
	page, err := os.ReadFile("docs/proxies.md")
	if err != nil {
		panic(err)
	}
	m := regexp.MustCompile("(?s)```" + kind + "\n(.*?)```").FindSubmatch(page)
	replace = append(replace, "/run/bailiff/check.sock", b.path("check.sock"), "/var/www/html", b.path("www"))
	return strings.NewReplacer(replace...).Replace(string(m[1]))
}

func run(bans, rate, seconds, rounds int, program string) (text string, err error) {
	program, err = filepath.Abs(program)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "bailiff-bench-proxies-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	lab := netlab.New(fmt.Sprintf("bailiff-bench-proxies-%d", os.Getpid()))
	defer lab.Close()
	b := &bench{dir: dir, program: program}
	for name, host := range map[string]**netlab.Host{"server": &b.server, "client": &b.client} {
		if *host, err = lab.Host(name); err != nil {
			return "", err
		}
	}
	if err := lab.Cable(b.server, b.client, []string{service + "/24"}, []string{attacker + "/24", customer + "/24"}); err != nil {
		return "", err
	}
	defer func() {
		for _, c := range slices.Clone(b.children) {
			b.end(c)
		}
	}()
	if err := os.Mkdir(b.path("www"), 0o755); err != nil {
		return "", err
	}
	if err := b.files(map[string]string{
		"www/index.html": "hello\n", "app.log": "", "bailiff.map": "",
		"bailiff.toml": fmt.Sprintf("[firewall]\nenabled = false\n[check]\nlisten = %q\ngroup = \"www-data\"\n[export.haproxy]\nfile = %q\nformat = \"haproxy\"\nsocket = %q\njails = \"quick\"\n"+
			"[jail.app]\nenabled = true\nfailregex = '^\\s*never from <ADDR>$'\nlogpath = %q\n[jail.quick]\nenabled = true\nfailregex = '^\\s*failed from <ADDR>$'\nlogpath = %[4]q\nmaxretry = 1\n",
			b.path("check.sock"), b.path("bailiff.map"), b.path("admin.sock"), b.path("app.log")),
	}); err != nil {
		return "", err
	}
	var out strings.Builder
	if err := b.answers(&out, bans, rate, seconds); err != nil {
		return "", err
	}
	if err := b.wrk(&out, bans, seconds); err != nil {
		return "", err
	}
	if err := b.reactions(&out, bans, rounds); err != nil {
		return "", err
	}
	return out.String(), nil
}

// nth is the address of a ban: of 10.0.0.0/8, beside the networks.
func nth(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }

// daemon starts one of one core with so many bans; quick: others on the machine don't count.
func (b *bench) daemon(bans int, quick bool) (*exec.Cmd, error) {
	db := b.path(fmt.Sprintf("%d.sqlite3", bans))
	if _, err := os.Stat(db); err != nil {
		s, err := store.Open(db, clock.System())
		if err != nil {
			return nil, err
		}
		delta, now := &store.Delta{Jail: "app"}, time.Now()
		put := func(p netip.Prefix) {
			delta.Events = append(delta.Events, store.Event{Ban: ban.Ban{ID: ban.Of(p), Start: now, End: now.Add(time.Hour)}})
		}
		for i := range bans {
			put(netip.PrefixFrom(nth(i), 32))
		}
		for i := range min(bans, networks) {
			a := nth(i << 8).As4()
			put(netip.PrefixFrom(netip.AddrFrom4([4]byte{100, a[1], a[2], 0}), 24+i%6))
		}
		if err := s.Write([]*store.Delta{delta}); err != nil {
			return nil, err
		}
		if err := s.Close(); err != nil {
			return nil, err
		}
	}
	args := []string{"taskset", "-c", "1"}
	if quick {
		args = append([]string{"chrt", "-f", "10"}, args...)
	}
	c, err := b.start(append(args, b.program, "run", "--config", b.dir, "--socket", b.path("sock"), "--database", db, "--log-target", b.path("log"))...)
	if err != nil {
		return nil, err
	}
	api := control.NewClient(b.path("sock"))
	defer api.Close()
	return c, b.until("the daemon starts", func() bool {
		s, err := api.Status()
		return err == nil && len(s.Jails) == 2 && s.Jails[0].Banned >= bans && b.complete()
	})
}

// complete reports whether the daemon says of nobody that it is starting.
func (b *bench) complete() bool {
	c, err := net.Dial("unix", b.path("check.sock"))
	if err != nil {
		return false
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /v1/check?ip=%s HTTP/1.1\r\nHost: x\r\n\r\n", customer)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	return err == nil && res.StatusCode == 204 && res.Header.Get("Bailiff-Check") == ""
}

func (b *bench) until(what string, true func() bool) error {
	for end := time.Now().Add(2 * time.Minute); !true(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			log, _ := os.ReadFile(b.path("log"))
			return fmt.Errorf("%s: not within two minutes\n%s", what, log[max(0, len(log)-2000):])
		}
	}
	return nil
}

// answers asks at a fixed rate, whatever the answers take.
func (b *bench) answers(out *strings.Builder, bans, rate, seconds int) error {
	const runs = 5
	fmt.Fprintf(out, "%s requests a second on 16 connections to a Unix socket of a daemon of one core, half of them of who is banned; from the\nmoment at which a request was due, however late it was sent; %d runs of %d s, medians of theirs, and the run with the lowest p99. Both have real-time\npriority (`chrt -f 10`), since others are on the machine (load %s):\n\n", measure.Thousands(rate), runs, seconds, loadOf())
	out.WriteString("| bans in force | median | p99 | promised | lowest p99 | its p99.9 | CPU of the daemon a request | resident |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, n := range []int{0, bans} {
		d, err := b.daemon(n, true)
		if err != nil {
			return err
		}
		time.Sleep(12 * time.Second)                  // what the start took is given back by then
		if _, err := b.load(rate, 1, n); err != nil { // it warms up
			return err
		}
		before, _, err := measure.Usage(d.Process.Pid)
		if err != nil {
			return err
		}
		var mid, p99, p999 []time.Duration
		count := 0
		for range runs {
			took, err := b.load(rate, seconds, n)
			if err != nil {
				return err
			}
			count += len(took)
			mid, p99, p999 = append(mid, measure.Median(took)), append(p99, measure.Quantile(took, 0.99)), append(p999, measure.Quantile(took, 0.999))
		}
		after, rss, err := measure.Usage(d.Process.Pid)
		if err != nil {
			return err
		}
		b.end(d)
		best := slices.Index(p99, slices.Min(p99))
		fmt.Fprintf(out, "| %s | %s | %s | 1 ms | %s | %s | %s | %.0f MB |\n", measure.Thousands(n), measure.Round(measure.Median(mid)), measure.Round(measure.Median(p99)),
			measure.Round(p99[best]), measure.Round(p999[best]), measure.Round((after-before)/time.Duration(count)), float64(rss)/1e6)
		if n == bans {
			figures.Note("answers to proxies with a million bans: p99, ms", measure.Median(p99).Seconds()*1000)
		}
	}
	return nil
}

// loadOf is the load of the machine.
func loadOf() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// load has another process send requests at their time, and returns how long each took.
func (b *bench) load(rate, seconds, bans int) (took []time.Duration, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.Command("chrt", "-f", "10", "taskset", "-c", "0", self, "-ask", b.path("check.sock"), "-rate", strconv.Itoa(rate), "-seconds", strconv.Itoa(seconds), "-bans", strconv.Itoa(bans))
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, err
	}
	for _, f := range strings.Fields(string(out)) {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return nil, err
		}
		took = append(took, time.Duration(n))
	}
	return took, nil
}

// line is one connection of a load.
type line struct {
	fd      int
	due     time.Time // of its request that is under way, or of the next one
	waiting bool
	want    string
	got     []byte
}

// load sends requests at their time and returns how long each took from then on. One thread does
// it, which waits in the kernel: timers of Go's are a millisecond late.
func load(socket string, rate, seconds, bans int) ([]time.Duration, error) {
	const conns = 16
	runtime.LockOSThread()
	each := time.Second * conns / time.Duration(rate)
	begin := time.Now().Add(50 * time.Millisecond)
	var lines [conns]line
	var polled [conns]unix.PollFd
	for k := range lines {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
			return nil, err
		}
		lines[k] = line{fd: fd, due: begin.Add(time.Second * time.Duration(k) / time.Duration(rate))}
		polled[k] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	buf := make([]byte, 4096)
	took := make([]time.Duration, 0, rate*seconds)
	for sent := 0; len(took) < rate*seconds; {
		now, next := time.Now(), time.Second
		for k := range lines {
			l := &lines[k]
			if !l.waiting && sent < rate*seconds {
				if left := l.due.Sub(now); left > 0 {
					next = min(next, left)
					continue
				}
				who := customer
				if l.want = "204"; sent%2 == 0 && bans > 0 {
					who, l.want = nth(sent*7919%bans).String(), "403"
				}
				if _, err := unix.Write(l.fd, fmt.Appendf(buf[:0], "GET /v1/check?ip=%s HTTP/1.1\r\nHost: bailiff\r\n\r\n", who)); err != nil {
					return nil, err
				}
				l.waiting, l.got = true, l.got[:0]
				sent++
			}
		}
		ts := unix.NsecToTimespec(int64(next))
		if _, err := unix.Ppoll(polled[:], &ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return nil, err
		}
		now = time.Now()
		for k := range lines {
			l := &lines[k]
			if polled[k].Revents == 0 {
				continue
			}
			n, err := unix.Read(l.fd, buf)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("an answer ended: %w", cmp.Or(err, io.EOF))
			}
			if l.got = append(l.got, buf[:n]...); !bytes.HasSuffix(l.got, []byte("\r\n\r\n")) {
				continue
			}
			if !bytes.HasPrefix(l.got, []byte("HTTP/1.1 "+l.want)) {
				return nil, fmt.Errorf("%q, want %s", l.got, l.want)
			}
			took = append(took, now.Sub(l.due))
			l.due, l.waiting = l.due.Add(each), false
		}
	}
	return took, nil
}

var (
	requests = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	p99      = regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s)`)
	non2xx   = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// wrk loads nginx with and without auth_request.
func (b *bench) wrk(out *strings.Builder, bans, seconds int) error {
	d, err := b.daemon(bans, false)
	if err != nil {
		return err
	}
	defer b.end(d)
	conf := fmt.Sprintf("user www-data; worker_processes 1; daemon off; pid %s; error_log stderr;\nevents {}\nhttp { access_log off;\n%s\nserver { listen 8002; location / { root %s; } }\n}\n",
		b.path("nginx.pid"), b.snippet("nginx", "listen 80;", "listen 8001;"), b.path("www"))
	if err := b.files(map[string]string{"nginx.conf": conf}); err != nil {
		return err
	}
	nginx, err := b.start("nginx", "-c", b.path("nginx.conf"))
	if err != nil {
		return err
	}
	defer b.end(nginx)
	if err := b.until("nginx starts", func() bool { return b.get(customer, 8002) == 200 && b.get(customer, 8001) == 200 }); err != nil {
		return err
	}
	var rates [2][]float64
	var late [2][]time.Duration
	for range 4 {
		for i, port := range []int{8002, 8001} {
			text, err := b.client.Command(context.Background(), "wrk", "-t1", "-c32", fmt.Sprintf("-d%ds", seconds), "--latency", fmt.Sprintf("http://%s:%d/", service, port)).CombinedOutput()
			r, l := requests.FindSubmatch(text), p99.FindSubmatch(text)
			if err != nil || r == nil || l == nil || non2xx.Match(text) {
				return fmt.Errorf("wrk: %w: %s", err, text)
			}
			rate, _ := strconv.ParseFloat(string(r[1]), 64)
			slow, err := time.ParseDuration(string(l[1]) + string(l[2]))
			if err != nil {
				return err
			}
			rates[i], late[i] = append(rates[i], rate), append(late[i], slow)
		}
	}
	fmt.Fprintf(out, "\n`wrk -t1 -c32` on nginx with one worker and a file of 6 bytes, %s bans, medians of 3 runs in turns; all of it on two cores:\n\n", measure.Thousands(bans))
	out.WriteString("| nginx | requests/s | p99 |\n| --- | --- | --- |\n")
	var mid [2]float64
	for i, name := range []string{"as it is", "with `auth_request` to us"} {
		r := slices.Sorted(slices.Values(rates[i][1:]))
		mid[i] = r[len(r)/2]
		fmt.Fprintf(out, "| %s | %s | %s |\n", name, measure.Thousands(int(mid[i])), measure.Round(measure.Median(late[i][1:])))
	}
	figures.Note("nginx with auth_request: requests/s, to nginx without", mid[1]/mid[0])
	return nil
}

// get asks a port of the server as a client; 0: there was no answer.
func (b *bench) get(from string, port int) int {
	c, err := b.client.Dial(from, net.JoinHostPort(service, strconv.Itoa(port)), 5*time.Second)
	if err != nil {
		return 0
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// reactions measures how long it takes from a line to a refusal, and from an unban to an answer.
func (b *bench) reactions(out *strings.Builder, bans, rounds int) error {
	d, err := b.daemon(bans, false)
	if err != nil {
		return err
	}
	defer b.end(d)
	var modules strings.Builder
	for _, m := range []string{"mpm_event", "authz_core", "rewrite", "dir"} {
		fmt.Fprintf(&modules, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", m, m)
	}
	if err := b.files(map[string]string{
		"caddyfile": "{\n admin off\n auto_https off\n}\n" + b.snippet("caddy", "http://example.org", "http://:8003"),
		"apache.conf": modules.String() + fmt.Sprintf("Listen 8004\nServerName x\nServerRoot %[1]s\nPidFile %[1]s/apache.pid\nDefaultRuntimeDir %[1]s\nUser www-data\nGroup www-data\nErrorLog /dev/stderr\nDirectoryIndex index.html\n", b.dir) +
			b.snippet("apache", "*:80", "*:8004", "/usr/bin/bailiff", b.program),
		"haproxy.cfg": b.snippet("haproxy", "/run/haproxy/admin.sock", b.path("admin.sock"), " group bailiff", "", "/var/lib/bailiff/haproxy.map", b.path("bailiff.map"), "bind :80", "bind :8005",
			"default_backend app", "http-request return status 200 content-type text/plain string hello"),
	}); err != nil {
		return err
	}
	proxies := []struct {
		name string
		port int
		args []string
	}{
		{"nginx, `auth_request`", 8001, []string{"nginx", "-c", b.path("nginx.conf")}},
		{"Caddy, `forward_auth`", 8003, []string{"caddy", "run", "--adapter", "caddyfile", "--config", b.path("caddyfile")}},
		{"Apache httpd, RewriteMap", 8004, []string{"apache2", "-f", b.path("apache.conf"), "-DFOREGROUND"}},
		{"HAProxy, map", 8005, []string{"haproxy", "-f", b.path("haproxy.cfg")}},
	}
	log, err := os.OpenFile(b.path("app.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	api := control.NewClient(b.path("sock"))
	defer api.Close()
	fmt.Fprintf(out, "\nFrom the write of a line until a new connection of its address is refused, and from the request for an unban until one is served, %s bans, no reload;\n%d rounds each, asked as fast as the proxy answers:\n\n", measure.Thousands(bans), rounds)
	out.WriteString("| proxy | refused: median | at most | served again: median | at most | promised |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, p := range proxies {
		c, err := b.start(p.args...)
		if err != nil {
			return err
		}
		if err := b.until(p.name+" serves", func() bool { return b.get(attacker, p.port) == 200 }); err != nil {
			return err
		}
		time.Sleep(2 * time.Second) // HAProxy is found again once a second
		var refused, served []time.Duration
		wait := func(code int, since time.Time) (time.Duration, error) {
			for {
				asked := time.Now()
				if got := b.get(attacker, p.port); got == code {
					return max(asked.Sub(since), 0), nil
				}
				if time.Since(since) > time.Minute {
					return 0, fmt.Errorf("%s: no %d within a minute", p.name, code)
				}
			}
		}
		for range rounds {
			began := time.Now()
			fmt.Fprintf(log, "%s failed from %s\n", began.Format("2006-01-02 15:04:05"), attacker)
			took, err := wait(403, began)
			if err != nil {
				return err
			}
			refused = append(refused, took)
			began = time.Now()
			if _, err := api.Unban(control.UnbanRequest{IPs: []string{attacker}}); err != nil {
				return err
			}
			if took, err = wait(200, began); err != nil {
				return err
			}
			served = append(served, took)
		}
		b.end(c)
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | 50 ms |\n", p.name, measure.Round(measure.Median(refused)), measure.Round(slices.Max(refused)), measure.Round(measure.Median(served)), measure.Round(slices.Max(served)))
		figures.Note("from a line to a refusal by "+strings.SplitN(p.name, ",", 2)[0]+", median, ms", measure.Median(refused).Seconds()*1000)
	}
	return nil
}
