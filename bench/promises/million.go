package main

import (
	"fmt"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
)

// What a million bans take of the daemon's memory, and how long it takes until they are in
// the kernel after a start.
const (
	millionBans     = 1_000_000
	promisedBanSize = 150 // bytes
	promisedMillion = 3 * time.Second
)

func (b *bench) million() error {
	b.head(fmt.Sprintf("%s stored bans, from the start of the program until all are in the kernel, `nft -f` of the same elements, and what the\ndaemon has resident for a ban then, beside one without bans:", measure.Thousands(millionBans)),
		"`nft -f`", "in the kernel", "promised", "resident", "at most meanwhile", "a ban", "promised")
	without, err := b.millionOf("none", 0)
	if err != nil {
		return err
	}
	with, err := b.millionOf("a million", millionBans)
	if err != nil {
		return err
	}
	each := float64(with.resident-without.resident) / millionBans
	b.row(measure.Round(with.reference), measure.Round(with.took), measure.Round(promisedMillion), fmt.Sprintf("%.0f MB", float64(with.resident)/1e6),
		fmt.Sprintf("%.0f MB", float64(with.peak)/1e6), fmt.Sprintf("%.0f bytes", each), fmt.Sprint(promisedBanSize))
	figures.Note("a million bans: bytes resident each", each)
	figures.Note("a million stored bans in the kernel after a start, s", with.took.Seconds())
	figures.Note("a million stored bans in the kernel after a start: to nft -f of as many elements", with.took.Seconds()/with.reference.Seconds())
	b.promise(each <= promisedBanSize, "a ban of a million takes %.0f bytes, promised are %d", each, promisedBanSize)
	b.promise(with.took <= promisedMillion || b.busy(), "a million bans are in the kernel after %v, promised are %v (nft -f: %v)", with.took, promisedMillion, with.reference)
	return nil
}

// held is what a daemon with many bans takes.
type held struct {
	reference, took time.Duration
	resident, peak  int64
}

func (b *bench) millionOf(name string, bans int) (out held, err error) {
	d, err := b.daemon(name, burstJail)
	if err != nil {
		return out, err
	}
	if err := d.write("app.log", ""); err != nil {
		return out, err
	}
	if err := d.fill("app", bans); err != nil {
		return out, err
	}
	if bans > 0 {
		if out.reference, err = d.nftOf(bans, addr); err != nil {
			return out, err
		}
	}
	begun := time.Now()
	if err := d.launch(); err != nil {
		return out, err
	}
	defer func() { _ = d.stop() }()
	if err := d.until("the last ban is in the kernel", 5*time.Minute, func() bool { return bans == 0 || d.banned("app", addr(bans-1)) }); err != nil {
		return out, err
	}
	out.took = time.Since(begun)
	for i := range bans {
		if i%100 == 0 && !d.banned("app", addr(i)) {
			return out, fmt.Errorf("the last ban is in the kernel, and %v is not", addr(i))
		}
	}
	if err := d.until("it answers", time.Minute, func() bool { s, err := d.api.Status(); return err == nil && len(s.Jails) == 1 }); err != nil {
		return out, err
	}
	// It may be at the log still, and compares the sets with its list soon after the start; then
	// what that took is given back.
	last, quiet := time.Duration(-1), 0
	for end := time.Now().Add(4 * time.Minute); quiet < 4 && time.Now().Before(end); time.Sleep(4 * time.Second) {
		now, rss, err := measure.Usage(d.cmd.Process.Pid)
		if err != nil {
			return out, err
		}
		if out.resident = rss; last >= 0 && now-last < 100*time.Millisecond {
			quiet++
		} else {
			quiet = 0
		}
		last = now
	}
	out.peak, err = measure.Peak(d.cmd.Process.Pid)
	return out, err
}
