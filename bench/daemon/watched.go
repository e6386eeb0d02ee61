package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
)

// What it costs a daemon that somebody watches: with the page open, as its script keeps it, and events
// followed.

const (
	watchers     = 10   // that follow events beside the page
	manyWatchers = 1000 // who follow and never read
	promisedSeen = 200 * time.Millisecond
)

// withPage has a daemon answer its page on a Unix socket, at which nobody need log in.
func (d *daemon) withPage() error {
	f, err := os.OpenFile(filepath.Join(d.dir, "bailiff.toml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "[web]\nlisten = %q\n", "unix:"+filepath.Join(d.dir, "web.sock"))
	return errors.Join(err, f.Close())
}

// over is a client over one of a daemon's sockets.
func (d *daemon) over(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(d.dir, socket))
	}}}
}

// fetch gets a text.
func fetch(ctx context.Context, c *http.Client, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("X-By-Itself", "1")
	res, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", path, res.Status, text)
	}
	return string(text), err
}

// tab is the page's overview in a browser, which does what page.js does.
type tab struct {
	ctx  context.Context
	c    *http.Client
	mu   sync.Mutex
	seen map[string]time.Time // when a ban stood there, by address
	told int                  // how often the stream has told of an event
	text string               // the rows that came last
	err  error
}

// open opens the page, and keeps it open until ctx ends.
func (d *daemon) open(ctx context.Context) (*tab, error) {
	t := &tab{ctx: ctx, c: d.over("web.sock"), seen: map[string]time.Time{}}
	t.c.Jar, _ = cookiejar.New(nil) // else each request is a login of its own, and the oldest one ends
	if _, err := fetch(ctx, t.c, "/"); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/stream?since=0", nil)
	if err != nil {
		return nil, err
	}
	res, err := t.c.Do(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, errors.New(res.Status)
	}
	came, soon := make(chan struct{}, 1), make(chan struct{}, 1)
	signal := func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	go func() {
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data:") {
				t.mu.Lock()
				t.told++
				t.mu.Unlock()
				signal(came)
			}
		}
		t.rows("", fmt.Errorf("the stream has ended: %v", lines.Err()))
	}()
	go func() { // rows, at most eight times a second
		for last := uint64(0); ; {
			select {
			case <-ctx.Done():
				return
			case <-came:
			}
			rows, err := fetch(ctx, t.c, "/events/rows?since="+strconv.FormatUint(last, 10))
			t.rows(rows, err)
			for _, part := range strings.Split(rows, `data-n="`)[1:] {
				number, _, _ := strings.Cut(part, `"`)
				n, _ := strconv.ParseUint(number, 10, 63)
				last = max(last, n)
			}
			signal(soon)
			time.Sleep(120 * time.Millisecond)
		}
	}()
	go func() { // figures, each 15 s and a second after an event
		for {
			select {
			case <-ctx.Done():
				return
			case <-soon:
				time.Sleep(time.Second)
			case <-time.After(15 * time.Second):
			}
			_, err := fetch(ctx, t.c, "/")
			t.rows("", err)
		}
	}()
	return t, nil
}

// rows notes who stands in rows of events.
func (t *tab) rows(text string, err error) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && t.ctx.Err() == nil {
		t.err = errors.Join(t.err, err)
	}
	if text != "" {
		t.text = text
	}
	for i := range 256 {
		who := attacker(i).String()
		if _, ok := t.seen[who]; !ok && strings.Contains(text, ">"+who+"<") {
			t.seen[who] = now
		}
	}
}

// when is when somebody was seen first.
func (t *tab) when(who netip.Addr) (time.Time, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.seen[who.String()]
	if !ok {
		return at, errors.Join(fmt.Errorf("%v was never seen on the page, which was told of %d events; its last rows: %.1000s", who, t.told, t.text), t.err)
	}
	return at, t.err
}

// followed has so many follow the events, who read them or not.
func (d *daemon) followed(ctx context.Context, n int, read bool) error {
	for range n {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(d.dir, "sock"))
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { c.Close() })
		fmt.Fprint(c, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
		b := make([]byte, 12)
		if _, err := io.ReadFull(c, b); err != nil || !strings.HasSuffix(string(b), " 200") {
			return fmt.Errorf("following events: %q, %w", b, err)
		}
		if read {
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	}
	return nil
}

// watched measures three daemons with 10 jails and 20 files in turns: one that nobody watches, one with the page open
// and ten who follow events, and one with a thousand who follow and never read.
func (b *bench) watched() error {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	type one struct {
		*daemon
		log      *os.File
		elements <-chan element
		took     []time.Duration
		idle     time.Duration
		resident int64
	}
	var all []*one
	for _, name := range []string{"nobody", "the page open and ten who follow", "a thousand who follow and never read"} {
		d, err := b.bailiff(10, 1)
		if err != nil {
			return err
		}
		d.name = name
		if err := errors.Join(d.withPage(), d.start()); err != nil {
			return err
		}
		defer func() { _ = d.end() }()
		if err := d.ready(); err != nil {
			return err
		}
		elements, stop, err := watchElements(d.host)
		if err != nil {
			return err
		}
		defer stop()
		log, err := os.OpenFile(logsOf(d.dir, 0)[0], os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer log.Close()
		all = append(all, &one{daemon: d, log: log, elements: elements})
	}
	time.Sleep(time.Duration(b.some(15, 3)) * time.Second) // the start is over
	page, err := all[1].open(ctx)
	if err != nil {
		return err
	}
	if err := all[1].followed(ctx, watchers, true); err != nil {
		return err
	}
	if err := all[2].followed(ctx, b.some(manyWatchers, 50), false); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	lasts := time.Duration(b.some(60, 5)) * time.Second
	for _, o := range all {
		if o.idle, _, err = measure.Usage(o.pid); err != nil {
			return err
		}
	}
	time.Sleep(lasts)
	for _, o := range all {
		now, rss, err := measure.Usage(o.pid)
		if err != nil {
			return err
		}
		o.idle, o.resident = now-o.idle, rss
	}
	var seen []time.Duration
	bans := b.some(200, 20)
	for i := range bans {
		begin := time.Now()
		for k := range all { // who is first changes
			o := all[(i+k)%len(all)]
			if o == all[1] {
				begin = time.Now()
			}
			took, err := o.banned(o.log, o.elements, attacker(i))
			if err != nil {
				return err
			}
			o.took = append(o.took, took)
		}
		time.Sleep(time.Until(begin.Add(time.Duration(250+i*7%40) * time.Millisecond)))
		at, err := page.when(attacker(i))
		for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			at, err = page.when(attacker(i))
		}
		if err != nil {
			return err
		}
		seen = append(seen, at.Sub(begin))
	}
	fmt.Fprintf(&b.out, "Three daemons with 10 jails and 20 files, in turns: nothing to do for %v, at the same time, and then %d bans one after the other, from the\nwrite of a line to the element in the kernel. The page is asked as its script does it:\n\n| who watches | CPU, idle | resident | to the kernel: median | 90 %% | worst | median to nobody |\n| --- | --- | --- | --- | --- | --- | --- |\n", lasts, bans)
	for _, o := range all {
		slices.Sort(o.took)
		fmt.Fprintf(&b.out, "| %s | %.2f %% | %.1f MB | %s | %s | %s | %.2f |\n", o.name, 100*o.idle.Seconds()/lasts.Seconds(), float64(o.resident)/1e6,
			measure.Round(measure.Median(o.took)), measure.Round(o.took[len(o.took)*9/10]), measure.Round(o.took[len(o.took)-1]), measure.Median(o.took).Seconds()/measure.Median(all[0].took).Seconds())
	}
	slices.Sort(seen)
	fmt.Fprintf(&b.out, "\nThe row of an event stands on the page %s after the write of its line (median; 90 %%: %s, worst: %s; wanted are %s).\n",
		measure.Round(measure.Median(seen)), measure.Round(seen[len(seen)*9/10]), measure.Round(seen[len(seen)-1]), measure.Round(promisedSeen))
	figures.Note("from line to kernel with the page and ten streams open: to none", measure.Median(all[1].took).Seconds()/measure.Median(all[0].took).Seconds())
	figures.Note("idle with the page and ten streams open: % of a core more", 100*(all[1].idle-all[0].idle).Seconds()/lasts.Seconds())
	figures.Note("from line to its row on the page, median, ms", measure.Median(seen).Seconds()*1e3)
	return nil
}
