package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// runBlocked has some things hang while the daemon works, when it stops, and when it starts.
func runBlocked(t *testing.T, what ...blockage) {
	w := newBlockedWorld(t, what)
	w.hang(true)
	w.silent.Store(false)
	w.spawn()
	defer func() { // in any case
		w.free()
		_ = w.api.Stop()
		w.ended("the end")
	}()
	w.started()

	// While it works.
	w.hang(false)
	w.begins(1)
	w.answersAll(1)
	w.works(1)
	w.configure("11m")
	err := w.answers("reload", promisedChange, func() error {
		res, err := w.api.Reload()
		if err == nil && len(res.Errors) > 0 {
			err = fmt.Errorf("%s", strings.Join(res.Errors, "\n"))
		}
		return err
	})
	for _, b := range what {
		if want := w.filled(&b, b.reload); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("reload says %v, not of %s", err, want)
		}
	}
	w.answersAll(2)
	w.each(1, func(b *blockage, r round) {
		if b.late != nil && !b.free && b.late(w, r) {
			t.Errorf("%s: nothing hangs", b.name)
		}
	})
	w.free()
	w.nothingLost(1)
	w.answersAll(3)

	// When it stops.
	w.hang(false)
	w.each(2, func(b *blockage, r round) {
		if b.jail == nil || b.jail.log == "" {
			return
		}
		if name := strings.NewReplacer("@D@/", "", "@H@/", "under/"+b.name+"/").Replace(b.jail.log); b.name != "resolver" && b.name != "log-open" {
			w.fail(name, r.who)
		} else {
			b.begin(w, r)
		}
	})
	w.works(2)
	w.stops("while it hangs")

	// When it starts.
	w.begins(3)
	w.spawn()
	fails := false
	for _, b := range what {
		fails = fails || b.start != ""
	}
	if fails {
		w.ended("a start that can't be")
		if w.code == 0 {
			t.Error("a start that can't be is a success")
		}
		// What it printed last may not be read yet when it has ended.
		w.until("a start that can't be does not say why: "+w.printed(), func() bool {
			said := w.printed() + w.text()
			return slices.ContainsFunc(what, func(b blockage) bool {
				want := w.filled(&b, b.start)
				return want != "" && strings.Contains(said, want)
			})
		})
		w.free()
		w.spawn()
	}
	w.started()
	w.answersAll(4)
	w.works(3)
	w.free()
	w.nothingLost(3)
	w.nothingLost(2)
	w.answersAll(5)
	w.stops("at the end")
}

// TestBlockedWorld makes each thing hang alone, and two at a time.
func TestBlockedWorld(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatal("this test makes file systems hang: it needs /dev/fuse, and root")
	}
	var sets [][]blockage
	pair := func(i, j int) {
		a, b := blockages[i], blockages[j]
		if a.tree && b.toml != "" || b.tree && a.toml != "" || a.name == b.name ||
			strings.HasPrefix(a.name, "log-") && strings.HasPrefix(b.name, "log-") && a.jail == nil && b.jail == nil {
			return // no configuration has both
		}
		sets = append(sets, []blockage{a, b})
	}
	if !strings.Contains(*blockedPairs, "+") {
		for _, b := range blockages {
			sets = append(sets, []blockage{b})
		}
	}
	switch *blockedPairs {
	case "none":
	case "all":
		for i := range blockages {
			for j := range i {
				pair(i, j)
			}
		}
	case "some": // each thing in one of them
		order := rand.New(rand.NewPCG(*blockedSeed, 0)).Perm(len(blockages))
		for k := 0; k < len(order); k += 2 {
			pair(order[k], order[(k+1)%len(order)])
		}
	default:
		first, second, _ := strings.Cut(*blockedPairs, "+")
		for i := range blockages {
			for j := range blockages {
				if blockages[i].name == first && blockages[j].name == second {
					pair(i, j)
				}
			}
		}
	}
	// As many at a time as is said, not as there are cores: they wait most of the time.
	room := make(chan struct{}, *blockedParallel)
	var wg sync.WaitGroup
	for _, set := range sets {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			var names []string
			for _, b := range set {
				names = append(names, b.name)
			}
			t.Run(strings.Join(names, "+"), func(t *testing.T) { runBlocked(t, set...) })
		})
	}
	wg.Wait()
}
