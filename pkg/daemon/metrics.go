package daemon

import (
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/metrics"
	"bailiff/pkg/source"
	"bailiff/pkg/transmit"
)

// The page for Prometheus. Each part of the daemon tells its own by a goroutine of its own, of what
// is at hand: no jail is asked, by no inbox. A part that does not come back in time is left out of
// the page, which says so, and is not asked again before it has.

const (
	// metricsMost is how long a page waits for its parts.
	metricsMost = 250 * time.Millisecond
	// logsTold is of how many logs of a jail is told, each by itself.
	logsTold = 64
	// seriesMost is how many series a metric may have on a page.
	seriesMost = 5000
)

// meter knows which parts have not come back, and what is known of files.
type meter struct {
	mu    sync.Mutex
	asked map[string]bool
	files sizes
}

// Metrics implements control.Measured.
func (d *Daemon) Metrics() *metrics.Page {
	return d.meter.page([]part{
		{"daemon", d.measureSelf},
		{"clients", d.measureClients},
		{"jails", d.measureJails},
		{"logs", d.measureLogs},
		{"kernel", d.measureKernel},
		{"database", d.measureDatabase},
		{"actions", d.measureActions},
		{"lists", d.measureLists},
		{"fleet", d.measureFleet},
	})
}

// part is a part of the daemon, and what it tells.
type part struct {
	name string
	tell func(*metrics.Page)
}

// page asks all parts at once.
func (m *meter) page(parts []part) *metrics.Page {
	type answer struct {
		at   int
		page *metrics.Page
	}
	got := make(chan answer, len(parts)) // nobody may wait for what comes late
	begun := 0
	m.mu.Lock()
	if m.asked == nil {
		m.asked = map[string]bool{}
	}
	for i, part := range parts {
		if m.asked[part.name] {
			continue
		}
		m.asked[part.name] = true
		begun++
		go func() {
			page := metrics.NewPage()
			part.tell(page)
			m.mu.Lock()
			delete(m.asked, part.name)
			m.mu.Unlock()
			got <- answer{i, page}
		}()
	}
	m.mu.Unlock()
	timer := time.NewTimer(metricsMost)
	defer timer.Stop()
	page := metrics.NewPage()
	there := make([]bool, len(parts))
	for late := false; begun > 0 && !late; begun-- {
		select {
		case a := <-got:
			there[a.at] = true
			page.Merge(a.page)
		case <-timer.C:
			late = true
		}
	}
	for i, part := range parts {
		page.Add(metrics.PartsMissing, metrics.Flag(!there[i]), part.name)
	}
	page.Add(metrics.SeriesCut, float64(page.Cut(seriesMost)))
	return page
}

func stamp(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

func (d *Daemon) measureSelf(p *metrics.Page) {
	p.Add(metrics.F2bUp, 1)
	p.Add(metrics.F2bErrors, 0, "socket_conn")
	p.Add(metrics.F2bErrors, 0, "socket_req")
	p.Add(metrics.F2bVersion, 1, "bailiff "+d.opts.Version, fail2ban.Version)
	p.Add(metrics.BuildInfo, 1, d.opts.Version, runtime.Version())
	p.Add(metrics.StartTime, stamp(d.clock.ToWall(d.started)))
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) == nil {
		p.Add(metrics.CPUSeconds, float64(used.Utime.Nano()+used.Stime.Nano())/1e9)
		p.Add(metrics.ResidentMax, float64(used.Maxrss<<10))
	}
	p.Add(metrics.Goroutines, float64(runtime.NumGoroutine()))
	c := &d.counts
	p.Add(metrics.LogMessages, float64(c.warnings.Load()), "warning")
	p.Add(metrics.LogMessages, float64(c.errors.Load()), "error")
	p.Add(metrics.LogMessages, float64(c.criticals.Load()), "critical")
	if last, _, ok := d.events.Last(); ok {
		p.Add(metrics.Events, float64(last))
	}
	p.Add(metrics.ReloadOK, metrics.Flag(c.loaded.Load()))
	if at := c.loadedAt.Load(); at != 0 {
		p.Add(metrics.ReloadTime, float64(at)/1e9)
	}
	p.Add(metrics.Reloads, float64(c.reloads.Load()), "success")
	p.Add(metrics.Reloads, float64(c.reloadsFailed.Load()), "failure")
}

func (d *Daemon) measureClients(p *metrics.Page) {
	owner := d.owner.Load()
	now, refused := owner.Clients()
	p.Add(metrics.Clients, float64(now), "owner")
	p.Add(metrics.ClientsRefused, float64(refused), "owner")
	if reader := d.readers.now(); reader != nil {
		now, refused := reader.Clients()
		p.Add(metrics.Clients, float64(now), "reader")
		p.Add(metrics.ClientsRefused, float64(refused), "reader")
	}
}

// measureJails tells of jails what stands in atomics.
func (d *Daemon) measureJails(p *metrics.Page) {
	running := d.jailsNow()
	names := sortedKeys(running)
	p.Add(metrics.F2bJailCount, float64(len(names)))
	for _, name := range names {
		j := running[name]
		s, n, c := j.Summary(), j.Numbers(), j.Settings()
		p.Add(metrics.F2bFailedCurrent, float64(s.Failed), name)
		p.Add(metrics.F2bFailedTotal, float64(s.TotalFailed), name)
		p.Add(metrics.F2bBannedCurrent, float64(s.Banned), name)
		p.Add(metrics.F2bBannedTotal, float64(s.TotalBanned), name)
		p.Add(metrics.F2bBanTime, secondsTold(transmit.BanTime(&c)), name)
		p.Add(metrics.F2bFindTime, secondsTold(transmit.FindTime(&c)), name)
		p.Add(metrics.F2bMaxRetry, float64(transmit.MaxRetry(&c)), name)
		p.Add(metrics.JailBusy, n.Busy.Seconds(), name)
		p.Add(metrics.JailObserve, metrics.Flag(s.Observe), name)
		if s.Observe {
			p.Add(metrics.WouldBan, float64(s.WouldBan), name)
		}
		p.Add(metrics.Matched, float64(n.Matched), name)
		p.Add(metrics.Undated, float64(n.Undated), name)
		p.Add(metrics.OffClock, float64(n.OffClock), name)
		p.Add(metrics.GivenUp, float64(n.GivenUp), name)
		p.Add(metrics.Ignored, float64(n.Ignored), name)
		p.Add(metrics.TooOld, float64(n.Old), name)
	}
	up := map[string]bool{}
	for name := range running {
		up[name] = true
	}
	for name := range d.listsNow() {
		up[name] = true
	}
	d.mu.Lock()
	for name := range d.failed {
		up[name] = up[name] && running[name] != nil
	}
	d.mu.Unlock()
	for name := range d.works.all() {
		up[name] = up[name] && running[name] != nil
	}
	for _, name := range sortedKeys(up) {
		p.Add(metrics.JailUp, metrics.Flag(up[name]), name)
	}
}

func secondsTold(v any) float64 {
	n, _ := v.(int)
	return float64(n)
}

// measureLogs tells of logs, and what is wrong with jails in parts.
func (d *Daemon) measureLogs(p *metrics.Page) {
	running := d.jailsNow()
	var paths []string
	told := map[string][]source.Status{}
	for name, j := range running {
		s := d.statusOf(j, false)
		for _, f := range s.Files {
			if f.Error != "" {
				s.Problems = append(s.Problems, f.Error)
			}
		}
		p.Add(metrics.JailProblems, float64(len(s.Problems)), name)
		files := s.Files[:min(len(s.Files), logsTold)]
		told[name] = files
		for _, f := range files {
			if f.Unread != 0 && f.Error == "" && filepath.IsAbs(f.Path) {
				paths = append(paths, f.Path)
			}
		}
	}
	sizes := d.meter.files.of(paths, metricsMost/2)
	for _, name := range sortedKeys(running) {
		for _, f := range told[name] {
			p.Add(metrics.LogUp, metrics.Flag(f.Error == ""), name, f.Path)
			if f.Error != "" || !filepath.IsAbs(f.Path) {
				continue
			}
			lag, since := int64(0), 0.0
			if f.Unread != 0 {
				size, known := sizes[f.Path]
				if !known {
					continue
				}
				if lag = max(size-f.Offset, 0); lag > 0 {
					since = time.Duration(source.Moment() - f.Unread).Seconds()
				}
			}
			p.Add(metrics.LogLag, float64(lag), name, f.Path)
			p.Add(metrics.LogLagTime, since, name, f.Path)
		}
		for _, l := range running[name].Numbers().Logs {
			p.Add(metrics.LogLines, float64(l.Lines), name, l.Path)
			p.Add(metrics.LogBytes, float64(l.Bytes), name, l.Path)
			if !l.Last.IsZero() {
				p.Add(metrics.LogLast, stamp(l.Last), name, l.Path)
			}
		}
	}
}

func (d *Daemon) measureKernel(p *metrics.Page) {
	c := &d.counts
	p.Add(metrics.Repairs, float64(c.repairs.Load()))
	p.AddHistogram(metrics.BanLatency, c.latency.State())
	if d.queue == nil {
		return
	}
	p.Add(metrics.Transactions, float64(c.took.Load()), "success")
	p.Add(metrics.Transactions, float64(c.refused.Load()), "failure")
	p.AddHistogram(metrics.Transaction, c.transactions.State())
	p.Add(metrics.Changes, float64(c.changed.Load()))
	p.Add(metrics.ChangesWait, float64(d.queue.Waiting()))
	p.Add(metrics.Owed, float64(d.fw.Owing()))
	if counts, err := d.fw.Counts(); err == nil {
		for _, s := range counts {
			p.Add(metrics.Elements, float64(s.Elements), s.Jail, s.Set)
		}
	}
}

func (d *Daemon) measureDatabase(p *metrics.Page) {
	if d.store == nil {
		return
	}
	c := &d.counts
	p.Add(metrics.DatabaseUp, metrics.Flag(d.store.store.Load() != nil && (c.writable.Load() || c.wrote.Load()+c.writeFailed.Load() == 0)))
	p.Add(metrics.DatabaseWrites, float64(c.wrote.Load()), "success")
	p.Add(metrics.DatabaseWrites, float64(c.writeFailed.Load()), "failure")
	p.AddHistogram(metrics.DatabaseWrite, c.writes.State())
	path := d.store.Path()
	files := map[string]string{"database": path, "wal": path + "-wal", "changes": path + ".changes"}
	sizes := d.meter.files.of(slices.Collect(maps.Values(files)), metricsMost/2)
	p.Add(metrics.DatabaseSize, float64(d.events.Size()), "events")
	for _, part := range []string{"database", "wal", "changes"} {
		if n, known := sizes[files[part]]; known {
			p.Add(metrics.DatabaseSize, float64(n), part)
		}
	}
}

func (d *Daemon) measureActions(p *metrics.Page) {
	p.AddHistogram(metrics.ActionDuration, d.counts.actions.State())
	running := d.jailsNow()
	for _, name := range sortedKeys(running) {
		seen := map[string]bool{}
		for _, a := range running[name].Actions().Numbers() {
			if seen[a.Name] { // one that was taken out may still be there under the name
				continue
			}
			seen[a.Name] = true
			p.Add(metrics.ActionRuns, float64(a.Succeeded), name, a.Name, "success")
			p.Add(metrics.ActionRuns, float64(a.Failed), name, a.Name, "failure")
			p.Add(metrics.ActionTime, a.Took.Seconds(), name, a.Name)
			p.Add(metrics.ActionWaiting, float64(a.Waiting), name, a.Name)
		}
	}
}

func (d *Daemon) measureLists(p *metrics.Page) {
	lists := d.listsNow()
	for _, name := range sortedKeys(lists) {
		l := lists[name]
		l.mu.Lock()
		p.Add(metrics.ListEntries, float64(l.set.Len()), name)
		if !l.readAt.IsZero() {
			p.Add(metrics.ListLoaded, stamp(l.readAt), name)
		}
		for i := range l.c.ListURLs {
			u := l.c.ListURLs[i].URL
			if at := l.fetched[u].at; !at.IsZero() {
				p.Add(metrics.ListFetched, stamp(at), name, publicURL(u))
			}
		}
		l.mu.Unlock()
	}
	for _, e := range d.exportStates() {
		p.Add(metrics.ExportOK, metrics.Flag(e.Error == "" && e.LastSuccess != nil), e.Name)
		if e.On >= 0 {
			p.Add(metrics.ExportItems, float64(e.On), e.Name)
		}
		if e.Behind >= 0 {
			p.Add(metrics.ExportBehind, float64(e.Behind), e.Name)
		}
		if e.LastSuccess != nil {
			p.Add(metrics.ExportSuccess, stamp(*e.LastSuccess), e.Name)
		}
	}
	for _, r := range d.reportStates() {
		p.Add(metrics.ReportsSent, float64(r.Sent), r.Name)
		p.Add(metrics.ReportsWaiting, float64(r.Waiting), r.Name)
	}
}

// publicURL is a URL without what may be a password in it.
func publicURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(a URL)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// sizes asks for the sizes of files. One whose file system hangs costs itself: it is asked again
// when it has answered.
type sizes struct {
	mu    sync.Mutex
	asked map[string]bool
}

// of returns the sizes of files, of those that are known within a while. One is asked for after the
// other; where that hangs, others go on with the rest.
func (s *sizes) of(paths []string, while time.Duration) map[string]int64 {
	type size struct {
		path string
		n    int64
	}
	jobs := make(chan string, len(paths))
	for _, p := range paths {
		jobs <- p
	}
	close(jobs)
	got := make(chan size, len(paths))
	ask := func() {
		for p := range jobs {
			got <- size{p, s.ask(p)}
		}
	}
	go ask()
	more := time.NewTicker(while / 8)
	defer more.Stop()
	timer := time.NewTimer(while)
	defer timer.Stop()
	out := map[string]int64{}
	for n := 0; n < len(paths); {
		select {
		case one := <-got:
			if n++; one.n >= 0 {
				out[one.path] = one.n
			}
		case <-more.C:
			go ask()
		case <-timer.C:
			return out
		}
	}
	return out
}

// ask returns the size of a file; -1: it has none, or whoever asked before has not heard yet.
func (s *sizes) ask(path string) int64 {
	if !s.begin(path) {
		return -1
	}
	defer s.end(path)
	if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
		return fi.Size()
	}
	return -1
}

func (s *sizes) begin(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked[path] {
		return false
	}
	if s.asked == nil {
		s.asked = map[string]bool{}
	}
	s.asked[path] = true
	return true
}

func (s *sizes) end(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, path)
}
