// Zoo plays real services, attacked for real, in networks of their own: what our stock
// filters count is compared with how often a client failed.
//
//	go run ./zoo                     all, on Debian 12 and 13 (make zoo)
//	go run ./zoo -quick              a few of them, on Debian 13 (make test)
//	go run ./zoo -suite trixie sshd dovecot.ipv6
//	go run ./zoo -keep               write what was heard into filters/*.toml, as samples
//
// For each service it counts: N failures of an attacker are N, the address banned is the
// attacker's, whose next connection is refused; a customer who logs in is never counted and
// gets in to the end; and fail2ban's own filters find in the same log what the real
// fail2ban-regex finds with them. Some are played over IPv6, too, and through systemd's
// journal: how is the driver's matter, not the animals'. It needs root, debootstrap, nftables and a Debian mirror.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/zoo/animals"
)

var (
	quick    = flag.Bool("quick", false, "a few quick ones, on Debian 13")
	keep     = flag.Bool("keep", false, "write the lines that were heard into filters/*.toml")
	again    = flag.Bool("keep-again", false, "play nothing, and write what green plays of earlier runs heard")
	only     = flag.String("suite", "", "bookworm, trixie or sid; empty: all")
	cache    = flag.String("cache", "tmp/zoo", "where roots are kept")
	verbal   = flag.Bool("v", false, "tell what the services wrote")
	patience = flag.Duration("patience", time.Minute, "how long to wait for a service to begin, a line to be counted, a ban")
	jobs     = flag.Int("jobs", runtime.NumCPU(), "how many plays run beside each other")
	write    = flag.String("write", "", "write the table of a whole run that is all green to this file")
	list     = flag.Bool("list", false, "list the services")
)

func main() {
	flag.Parse()
	switch os.Getenv(roleName) {
	case "":
		if *list {
			for _, a := range animals.All() {
				for _, w := range ways(a) {
					fmt.Printf("%-24s %-20s %s\n", (&result{animal: a, way: w}).name(), a.Filter, strings.Join(a.Suites, " "))
				}
			}
			return
		}
		if os.Getuid() != 0 {
			fatal(errors.New("the zoo needs root: it makes network namespaces and root directories"))
		}
		enter()
	case "cell":
		if err := cell(flag.Arg(0), flag.Arg(1)); err != nil {
			fatal(err)
		}
		return
	}
	if err := settle(); err != nil {
		fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, flag.Args())
	if err != nil {
		fatal(err)
	}
	if !ok {
		os.Exit(1)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "zoo:", err)
	os.Exit(1)
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// run plays those that are named, or all.
func run(ctx context.Context, names []string) (bool, error) {
	began := time.Now()
	dir, err := filepath.Abs(*cache)
	if err != nil {
		return false, err
	}
	if *again {
		return true, keepSamples(filepath.Join(dir, "heard"))
	}
	program, err := filepath.Abs("bin/bailiff")
	if err != nil {
		return false, err
	}
	if _, err := os.Stat(program); err != nil {
		return false, fmt.Errorf("%w: run make build first", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return false, fmt.Errorf("%s: another run is in this zoo: %w", lock.Name(), err)
	}
	roots, err := newRoots(dir)
	if err != nil {
		return false, err
	}
	suites := []string{animals.Bookworm, animals.Trixie, animals.Sid}
	switch {
	case *only != "":
		suites = []string{*only}
	case *quick:
		suites = []string{animals.Trixie}
	}
	chosen, err := choose(suites, names)
	if err != nil {
		return false, err
	}
	// What a play needs is made before it, one after the other; plays run beside each other.
	free := make(chan int, *jobs)
	for i := range *jobs {
		free <- i
	}
	var running sync.WaitGroup
	for _, r := range chosen {
		i := <-free
		lowers, err := roots.lowers(ctx, r.suite, r.animal, r.way.journal)
		if err != nil {
			r.problem("%v", err)
			r.tell()
			free <- i
			continue
		}
		running.Go(func() {
			p := &play{result: r, dir: filepath.Join(dir, fmt.Sprintf("run%d", i)), heard: filepath.Join(dir, "heard", r.suite), program: program}
			p.whole(ctx, lowers)
			if ctx.Err() == nil {
				r.tell()
			}
			free <- i
		})
		if ctx.Err() != nil {
			break
		}
	}
	running.Wait()
	if ctx.Err() != nil {
		return false, errors.New("interrupted")
	}
	if *keep {
		if err := keepSamples(filepath.Join(dir, "heard")); err != nil {
			return false, err
		}
	}
	ok := summary(chosen, time.Since(began))
	if ok && *write != "" && len(names) == 0 && *only == "" && !*quick {
		return true, os.WriteFile(*write, []byte(page(chosen, time.Since(began))), 0o644)
	}
	return ok, nil
}

// choose returns the plays of those that are named, as sshd or sshd.ipv6, or of all.
func choose(suites, names []string) (out []*result, err error) {
	known := map[string]bool{}
	for _, suite := range suites {
		for _, a := range animals.All() {
			for _, w := range ways(a) {
				r := &result{animal: a, way: w, suite: suite}
				known[a.Name], known[r.name()] = true, true
				switch {
				case !slices.Contains(a.Suites, suite):
				case len(names) > 0 && !slices.Contains(names, a.Name) && !slices.Contains(names, r.name()):
				case *quick && (!a.Quick || w.name != "" && r.name() != "sshd.ipv6"):
				default:
					out = append(out, r)
				}
			}
		}
	}
	for _, n := range names {
		if !known[n] {
			return nil, fmt.Errorf("no animal is called %q: -list shows them", n)
		}
	}
	return out, nil
}
