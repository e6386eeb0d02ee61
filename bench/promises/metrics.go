package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/store"
)

// promisedScrape is how long a page of metrics takes with metricsJails jails and a million bans.
const (
	promisedScrape = 50 * time.Millisecond
	metricsJails   = 200
)

// metrics: what a page costs with many jails and bans, beside one of a daemon with one jail and no bans, and beside
// the status of both; and whether a jail that works at its log notices.
func (b *bench) metrics() error {
	var config strings.Builder
	config.WriteString("loglevel = \"WARNING\"\n")
	for i := range metricsJails {
		fmt.Fprintf(&config, "[jail.j%03d]\nenabled = true\nlogpath = \"@D@/app.log\"\nfailregex = '^\\s*failed <HOST>$'\nbantime = \"1h\"\n", i)
	}
	few, err := b.daemon("one jail without bans", "loglevel = \"WARNING\"\n[jail.j000]\nenabled = true\nlogpath = \"@D@/app.log\"\nfailregex = '^\\s*failed <HOST>$'\nbantime = \"1h\"\n")
	if err != nil {
		return err
	}
	bans := b.some(millionBans, 100_000)
	many, err := b.daemon("200 jails with a million bans", config.String())
	if err != nil {
		return err
	}
	for _, d := range []*daemon{few, many} {
		if err := d.add("app.log", ""); err != nil {
			return err
		}
	}
	if err := many.fillJails(metricsJails, bans); err != nil {
		return err
	}
	for _, d := range []*daemon{few, many} {
		if err := d.start(); err != nil {
			return err
		}
		defer func() { _ = d.stop() }()
	}
	if err := many.until("all bans are there", 5*time.Minute, func() bool {
		s, err := many.api.Status()
		sum := 0
		for _, j := range s.Jails {
			sum += j.Banned
		}
		return err == nil && sum == bans
	}); err != nil {
		return err
	}
	time.Sleep(15 * time.Second) // what a start takes is given back after ten, and sets are compared
	const rounds = 50
	took := map[string][]time.Duration{}
	size := 0
	for range rounds { // in turns
		for _, d := range []*daemon{few, many} {
			begun := time.Now()
			page, err := d.scrape()
			if err != nil {
				return err
			}
			took["metrics of "+d.name] = append(took["metrics of "+d.name], time.Since(begun))
			size = max(size, len(page))
			begun = time.Now()
			if _, err := d.api.Status(); err != nil {
				return err
			}
			took["status of "+d.name] = append(took["status of "+d.name], time.Since(begun))
			if strings.Contains(page, "bailiff_metrics_missing{part=\"jails\"} 1") {
				return errors.New("the page has no jails")
			}
		}
	}
	middle := func(name string) time.Duration {
		all := took[name]
		slices.Sort(all)
		return all[len(all)/2]
	}
	b.head(fmt.Sprintf("A page of metrics (`GET /metrics`, %d KB), over the socket, the middle of %d, in turns with `GET /v1/status`:", size>>10, rounds), "daemon", "metrics", "status", "promised")
	for _, d := range []*daemon{few, many} {
		b.row(d.name, measure.Round(middle("metrics of "+d.name)), measure.Round(middle("status of "+d.name)), pick(d == many, measure.Round(promisedScrape)+" at most", ""))
	}
	page, status := middle("metrics of "+many.name), middle("status of "+many.name)
	figures.Note("a page of metrics with 200 jails and a million bans, ms", float64(page)/1e6)
	figures.Note("a page of metrics with 200 jails and a million bans: to a status", float64(page)/float64(status))
	b.promise(page <= promisedScrape || b.busy(), "a page of metrics takes %v with %d jails and %d bans, promised are %v (status: %v)", page, metricsJails, bans, promisedScrape, status)
	return nil
}

// fillJails stores bans of many jails.
func (d *daemon) fillJails(jails, count int) error {
	s, err := store.Open(d.path("db.sqlite3"), clock.System())
	if err != nil {
		return err
	}
	now := time.Now()
	for j := range jails {
		delta := &store.Delta{Jail: fmt.Sprintf("j%03d", j)}
		for i := range count / jails {
			delta.Events = append(delta.Events, store.Event{Ban: ban.Ban{ID: ban.Of(netip.PrefixFrom(addr(j*(count/jails)+i), 32)), Start: now, End: now.Add(time.Hour)}})
		}
		if err := s.Write([]*store.Delta{delta}); err != nil {
			return err
		}
	}
	return s.Close()
}

// scrape gets a page of metrics.
func (d *daemon) scrape() (string, error) {
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
	}}, Timeout: time.Minute}
	defer c.CloseIdleConnections()
	res, err := c.Get("http://bailiff/metrics")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return string(text), err
}
