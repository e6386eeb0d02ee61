package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"bailiff/pkg/control"
)

// TestUnbanDuringReload: what is to be lifted while jails are replaced is lifted, and
// answered in time.
func TestUnbanDuringReload(t *testing.T) {
	t.Parallel()
	w := newBlockedWorld(t, nil) // in which nothing hangs
	config := func(maxretry int) {
		w.write("conf/bailiff.toml", fmt.Sprintf("[jail.well]\nenabled = true\nfailregex = '^\\s*failed <HOST>$'\nlogpath = %q\nmaxretry = %d\n", w.path("well.log"), maxretry))
	}
	config(2)
	w.spawn()
	defer func() {
		_ = w.api.Stop()
		w.ended("the end")
	}()
	w.started()
	const many = 20_000
	var ips []string
	for i := range many {
		ips = append(ips, fmt.Sprintf("2001:db8::%x:%x", i>>8+1, i&255))
	}
	for rest := ips; len(rest) > 0; rest = rest[min(len(rest), 2000):] {
		w.answers("ban", promisedChange, func() error {
			_, err := w.api.Ban("well", control.BanRequest{IPs: rest[:min(len(rest), 2000)]})
			return err
		})
	}
	banned := func() int {
		s, err := w.api.Jail("well")
		if err != nil {
			t.Fatal(err)
		}
		return s.Banned
	}
	w.until("all are banned", func() bool { return banned() == many })
	reloads := make(chan error, 1)
	go func() {
		var err error
		for i := range 10 {
			config(3 + i)
			if _, e := w.api.Reload(); e != nil {
				err = e
			}
		}
		reloads <- err
	}()
	lost := 0
	for rest := ips; len(rest) > 0; rest = rest[min(len(rest), 500):] {
		res, err := w.api.Unban(control.UnbanRequest{IPs: rest[:min(len(rest), 500)]})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range res {
			if r.Count == 0 && r.Pending == "" {
				lost++
			}
		}
	}
	if err := <-reloads; err != nil {
		t.Error(err)
	}
	if lost > 0 {
		t.Errorf("%d of %d are said not to be banned", lost, many)
	}
	w.until("all are lifted", func() bool { return banned() == 0 })
	w.until("the kernel has none", func() bool {
		out, err := w.host.Command(context.Background(), "nft", "list", "set", "inet", "f2b-table", "addr6-set-well").CombinedOutput()
		return err == nil && !strings.Contains(string(out), "elements")
	})
}
