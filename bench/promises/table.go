package main

import (
	"fmt"
	"strings"
	"time"

	"bailiff/bench/measure"
)

// promisedBack is within what time a table is back that another hand removed.
const promisedBack = time.Second

// table: what another hand removes is back.
func (b *bench) table() error {
	bans := b.some(100_000, 10_000)
	d, err := b.daemon("table", "loglevel = \"WARNING\"\n[jail.app]\nenabled = true\nlogpath = \"@D@/app.log\"\nfailregex = '^\\s*failed <HOST>$'\nbantime = \"1h\"\n")
	if err != nil {
		return err
	}
	if err := d.add("app.log", ""); err != nil {
		return err
	}
	if err := d.fill("app", bans); err != nil {
		return err
	}
	if err := d.start(); err != nil {
		return err
	}
	defer func() { _ = d.stop() }()
	// Elements are asked for one by one: to list all takes nft longer than the repair.
	back := func() bool {
		for i := range 101 {
			if !d.banned("app", addr((bans-1)*(100-i)/100)) { // the last one first
				return false
			}
		}
		return true
	}
	if err := d.until("all bans are there", time.Minute, back); err != nil {
		return err
	}
	saved, err := d.nft("list", "ruleset")
	if err != nil {
		return err
	}
	if err := d.write("saved.nft", saved); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // it has looked at its table since the start
	b.head(fmt.Sprintf("A table with %s bans that another hand removes, until rules and bans are back, in turns with `nft -f` of\nthe same table in another network namespace:", measure.Thousands(bans)),
		"removed by", "median", "slowest", "`nft -f`, median", "promised")
	b.hosts++
	h, err := b.lab.Host(fmt.Sprint("host", b.hosts))
	if err != nil {
		return err
	}
	for _, script := range []string{"flush ruleset", "delete table inet f2b-table"} {
		var all, reference []time.Duration
		for n := range b.some(7, 5) {
			if _, err := d.nft(script); err != nil {
				return err
			}
			begun := time.Now()
			if err := d.until("the bans are back", time.Minute, back); err != nil {
				return err
			}
			rules, err := d.nft("list", "chain", "inet", "f2b-table", "f2b-chain")
			all = append(all, time.Since(begun))
			if err != nil || !strings.Contains(rules, "@addr-set-app") {
				return fmt.Errorf("after nft %s the bans are back, but no rule: %s %w", script, rules, err)
			}
			begun = time.Now()
			if out, err := h.Command(b.ctx, "nft", "-f", d.path("saved.nft")).CombinedOutput(); err != nil {
				return fmt.Errorf("nft -f: %w: %s", err, out)
			}
			reference = append(reference, time.Since(begun))
			if out, err := h.Command(b.ctx, "nft", "flush", "ruleset").CombinedOutput(); err != nil {
				return fmt.Errorf("nft flush ruleset: %w: %s", err, out)
			}
			time.Sleep(time.Duration(1000+n*37) * time.Millisecond) // not in step with the daemon's looking
		}
		worst, nft := measure.Quantile(all, 1), measure.Median(reference)
		b.row("`nft "+script+"`", measure.Round(measure.Median(all)), measure.Round(worst), measure.Round(nft), promisedBack.String())
		// What takes nft long on this machine takes us as long.
		b.promise(worst <= promisedBack+nft, "after `nft %s` the table was back after %v, promised are %v (`nft -f` of it: %v)", script, worst, promisedBack, nft)
	}
	return nil
}
