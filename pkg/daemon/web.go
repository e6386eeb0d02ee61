package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/opener"
	"bailiff/pkg/web"
)

// The page ([web]). Where it isn't configured there is nothing of it.

// page is the page's server with its listeners.
type page struct {
	d  *Daemon
	mu sync.Mutex
	// server and inside are nil where there is no page.
	server  *web.Server
	inside  *control.Inside
	cfg     config.Web
	by      map[string]net.Listener // by where it listens
	missing map[string]error        // where nobody could listen, and why; it is tried again
	pause   time.Duration           // before the next try
	retry   *time.Timer
	ended   bool
}

func newPage(d *Daemon) *page { return &page{d: d, by: map[string]net.Listener{}} }

// webPlaces are those of TCP where the page is.
func webPlaces(cfg *config.Config) (out []opener.Place) {
	for _, at := range cfg.Web.Listen {
		if _, err := netip.ParseAddrPort(at); err == nil && !filepath.IsAbs(at) {
			out = append(out, opener.Place{Network: "tcp", Address: at})
		}
	}
	return out
}

// webFiles are those that the page reads.
func webFiles(w *config.Web) (out []string) {
	if len(w.Listen) == 0 {
		return nil
	}
	for _, path := range append([]string{w.Users, w.Cert, w.Key, w.Metrics}, w.MMDB...) {
		if filepath.IsAbs(path) {
			out = append(out, path)
		}
	}
	return out
}

// configure brings the page in line with a configuration. The errors say where it could not be.
func (p *page) configure(cfg *config.Config) (wrong []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	want := cfg.Web
	if p.d.opts.DryRun {
		want.Listen = nil
		for _, at := range cfg.Web.Listen {
			p.d.wouldDo("have the page at %s", at)
		}
	}
	was := p.cfg
	p.cfg = want
	for at, l := range p.by { // another key or group wants another listener
		if !slices.Contains(want.Listen, at) || filepath.IsAbs(at) && want.Group != was.Group || (want.Cert == "") != (was.Cert == "") {
			p.server.Stop(l)
			delete(p.by, at)
		}
	}
	if len(want.Listen) == 0 {
		p.stopServer()
		p.missing = nil
		p.tryLater()
		return nil
	}
	if p.server == nil {
		p.begin()
	}
	p.server.Set(want)
	p.missing, p.pause = map[string]error{}, checkAgain
	for _, at := range want.Listen {
		if p.by[at] == nil {
			if err := p.listen(at); err != nil {
				p.missing[at] = err
				wrong = append(wrong, p.cantListen(at))
			}
		}
	}
	p.tryLater()
	return wrong
}

// pageMost is how many connections there may be to the page: a quarter of the descriptors, 32 to
// web.ConnectionsMost, of which two thirds may follow events.
func pageMost() int { return min(max(descriptors()/4, 32), web.ConnectionsMost) }

// begin makes the server. By p.mu.
func (p *page) begin() {
	log := p.d.log.With("component", "web")
	p.inside = control.NewInside(p.d, func(text string) { log.Warn(text) })
	failed := p.d.often.Share(eventlog.Kind{Component: "web", Level: eventlog.LevelWarning, Name: "login failed"}, "web")
	unread := p.d.often.Share(eventlog.Kind{Component: "web", Level: eventlog.LevelWarning, Name: "metrics' token"}, "web")
	p.server = web.New(p.inside, web.Options{
		Failed: func(text string) {
			if failed.Tell() {
				log.Warn(text)
			}
		},
		Warn: func(text string) { log.Warn(text) },
		Note: func(text string) { log.Info(text) },
		Most: pageMost(), Version: p.d.opts.Version, Started: time.Now(),
	})
	p.server.Mount("/metrics", metricsByToken(control.MetricsHandler(p.d), func() string { return p.d.cfgNow().Web.Metrics }, func(text string) {
		if unread.Tell() {
			log.Warn(text)
		}
	}))
}

func (p *page) stopServer() {
	if p.server != nil {
		p.server.Close()
		p.inside.Close()
		p.server, p.inside = nil, nil
	}
}

// listen has the page be at a place. By p.mu.
func (p *page) listen(at string) error {
	if err := web.CheckCertificate(&p.cfg); err != nil && !filepath.IsAbs(at) {
		return err
	}
	l, err := listenFor(at, p.cfg.Group)
	if err != nil {
		return err
	}
	p.by[at] = l
	p.server.Serve(l)
	return nil
}

// cantListen says where the page is not. By p.mu.
func (p *page) cantListen(at string) error {
	return fmt.Errorf("%s[web] listen %s: %w: the page is not there; it is tried again", p.cfg.Where, at, p.missing[at])
}

// tryLater has what is missing be tried after a pause. By p.mu.
func (p *page) tryLater() {
	if p.retry != nil {
		p.retry.Stop()
		p.retry = nil
	}
	if len(p.missing) == 0 {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(p.pause, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.retry != t || p.ended {
			return
		}
		log := p.d.log.With("component", "web")
		for _, at := range sortedKeys(p.missing) {
			err := p.listen(at)
			if err == nil {
				delete(p.missing, at)
				log.Info("[web] listen " + at + ": the page is there now")
			} else if was := p.missing[at]; err.Error() != was.Error() {
				p.missing[at] = err
				log.Error(p.cantListen(at).Error())
			}
		}
		p.tryLater()
	})
	p.retry = t
	p.pause = min(2*p.pause, checkAgainMost)
}

// problems tell where the page is not.
func (p *page) problems() (out []string) {
	if !p.mu.TryLock() { // a directory hangs
		return nil
	}
	defer p.mu.Unlock()
	for _, at := range sortedKeys(p.missing) {
		out = append(out, p.cantListen(at).Error())
	}
	return out
}

func (p *page) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.retry != nil {
		p.retry.Stop()
	}
	p.stopServer()
}

// WebLogin makes a one-time login for the page, and tells where that is.
func (d *Daemon) WebLogin(r control.WebLoginRequest) (control.WebLogin, error) {
	role, err := control.ParseRole(r.Role)
	if err != nil {
		return control.WebLogin{}, control.Bad(err)
	}
	p := d.page
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server == nil {
		return control.WebLogin{}, control.Bad(fmt.Errorf("there is no page: set listen in [web] of bailiff.toml (listen = \"127.0.0.1:8990\"), and reload"))
	}
	out := control.WebLogin{Role: role.String(), Name: r.By, URLs: []string{}, Sockets: []string{}}
	for _, at := range sortedKeys(p.by) {
		if url, ok := p.cfg.WebAddress(at); ok {
			out.URLs = append(out.URLs, url)
		} else {
			out.Sockets = append(out.Sockets, at)
		}
	}
	for _, at := range sortedKeys(p.missing) {
		out.Problems = append(out.Problems, p.cantListen(at).Error())
	}
	if len(p.by) == 0 {
		return out, fmt.Errorf("the page listens nowhere now: %s", out.Problems[0])
	}
	token, until := p.server.Link(r.By, role)
	out.Path, out.Until = "/login/"+token, until
	return out, nil
}
