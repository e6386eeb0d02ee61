package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
	"bailiff/pkg/control"
)

// promisedPaint is by when the page of bans is there.
const promisedPaint = time.Second

// search measures pages out of a million bans, over the socket and in HTML, beside an older program in turns.
func (b *bench) search() error {
	bans := b.some(1_000_000, 20_000)
	var daemons []*daemon
	filled := ""
	for _, name := range b.oursOnly() {
		make := b.bailiff
		if name != "bailiff" {
			make = b.older
		}
		d, err := make(1, 5)
		if err != nil {
			return err
		}
		if err := d.withPage(); err != nil {
			return err
		}
		database := filepath.Join(d.dir, "db.sqlite3")
		if filled == "" {
			filled = filepath.Join(b.dir, "filled")
			if err := fill(filled, bans); err != nil {
				return err
			}
		}
		if out, err := exec.Command("cp", filled, database).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if err := d.start(); err != nil {
			return err
		}
		defer func() { _ = d.end() }()
		if err := d.ready(); err != nil {
			return err
		}
		socket := control.NewClient(filepath.Join(d.dir, "sock"))
		if err := d.until(5*time.Minute, func() bool {
			p, err := socket.SearchBans(control.BansQuery{Limit: 1})
			return err == nil && p.Total == bans
		}); err != nil {
			return err
		}
		daemons = append(daemons, d)
	}
	time.Sleep(time.Duration(b.some(20, 1)) * time.Second) // the start is over
	last := control.BanPlace{Sort: "ip", Jail: jail, ID: addr(bans - 51).String()}.Text()
	of := func(kv ...string) string {
		v := url.Values{}
		for i := 0; i < len(kv); i += 2 {
			v.Set(kv[i], kv[i+1])
		}
		return v.Encode()
	}
	rounds := max(b.rounds, 1)
	fmt.Fprintf(&b.out, "A page of 100 out of %s bans, over the socket (`GET /v1/bans`) and as HTML (`/bans`); medians of %d, in turns; promised are %s:\n\n| what | over the socket | before | | the page | before | |\n| --- | --- | --- | --- | --- | --- | --- |\n",
		measure.Thousands(bans), rounds, measure.Round(promisedPaint))
	worst := time.Duration(0)
	for _, q := range []struct{ what, query string }{
		{"the newest", ""},
		{"by address", of("sort", "ip")},
		{"the last page by address", of("sort", "ip", "after", last)},
		{"by when they end, the last first", of("sort", "-end")},
		{"a network", of("q", "198.18.0.0/18")},
		{"a part of an address", of("q", "18.13.")},
		{"nobody", of("q", "nobody")},
	} {
		took := map[string][]time.Duration{}
		for range rounds {
			for _, d := range daemons {
				for _, way := range []struct {
					socket, path, has string
				}{{"sock", "/v1/bans?limit=100&", `"all":`}, {"web.sock", "/bans?", "<table"}} {
					c := d.over(way.socket)
					begun := time.Now()
					text, err := fetch(b.ctx, c, strings.TrimRight(way.path+q.query, "?&"))
					took[way.socket+d.name] = append(took[way.socket+d.name], time.Since(begun))
					c.Transport.(*http.Transport).CloseIdleConnections()
					if err != nil {
						return err
					}
					if q.what != "nobody" && !strings.Contains(text, way.has) {
						return fmt.Errorf("%s: there is no %q in %.300s", q.what, way.has, text)
					}
				}
			}
		}
		fmt.Fprintf(&b.out, "| %s |", q.what)
		for _, socket := range []string{"sock", "web.sock"} {
			now := measure.Median(took[socket+"bailiff"])
			if socket == "web.sock" {
				worst = max(worst, now)
			}
			fmt.Fprintf(&b.out, " %s |", measure.Round(now))
			if b.before == "" {
				b.out.WriteString(" — | — |")
				continue
			}
			was := measure.Median(took[socket+"bailiff before"])
			fmt.Fprintf(&b.out, " %s | 1 : %.1f |", measure.Round(was), was.Seconds()/now.Seconds())
		}
		b.out.WriteString("\n")
		fmt.Fprintf(os.Stderr, "%s: %v\n", q.what, took)
	}
	figures.Note("a page of a million bans as HTML, the slowest question, s", worst.Seconds())
	return nil
}
