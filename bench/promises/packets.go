package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
	"bailiff/pkg/netlab"
)

// promisedPackets is what of the packets a host receives without us it receives with many
// jails, at least.
const promisedPackets = 0.85

// packetJails is how many jails there are.
const packetJails = 80

// receiver is a host to which packets are sent, from one of its own.
type receiver struct {
	name       string
	daemon     *daemon // nil: none
	from, to   int     // sockets
	rate, cost []float64
}

// packets: UDP packets that a host receives without the daemon, with it and many jails, and
// with the same jails and no guard before them, as it is where somebody else has a rule in
// our chain.
func (b *bench) packets() error {
	b.head(fmt.Sprintf("UDP packets that a host receives in a second from somebody who is not banned, without the daemon and with %d jails and\n1,000 bans of it; and with the same jails where each packet is looked up in the sets of all of them, since somebody\nelse has a rule in our chain (medians of %d, in turns; in brackets the processor's time for a packet, to that without the daemon):", packetJails, b.some(9, 5)),
		"jails", "without", "with", "", "each jail's sets", "", "promised")
	for _, kind := range []struct{ name, config string }{
		{"a port each", "port = \"%d\"\nprotocol = \"udp\"\n"},
		{"all ports", "# %d\n"},
	} {
		if err := b.packetsOf(kind.name, kind.config); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) packetsOf(name, jail string) error {
	var config strings.Builder
	config.WriteString("loglevel = \"WARNING\"\n")
	for i := range packetJails {
		fmt.Fprintf(&config, "[jail.app%d]\nenabled = true\nlogpath = \"@D@/app.log\"\nfailregex = '^\\s*failed <HOST>$'\nbantime = \"1h\"\n"+jail, i, 1000+i)
	}
	all := []*receiver{{name: "without"}, {name: "with"}, {name: "each"}}
	for i, r := range all {
		var host *netlab.Host
		if i > 0 {
			d, err := b.daemon(fmt.Sprint(name, r.name), config.String())
			if err != nil {
				return err
			}
			if err := d.startWith("app0", 1_000); err != nil {
				return err
			}
			defer func() { _ = d.stop() }()
			r.daemon, host = d, d.host
		} else {
			b.hosts++
			h, err := b.lab.Host(fmt.Sprint("host", b.hosts))
			if err != nil {
				return err
			}
			host = h
		}
		if err := b.connect(r, host); err != nil {
			return err
		}
		defer func() { _ = unix.Close(r.from); _ = unix.Close(r.to) }()
	}
	guarded := func(d *daemon) bool {
		chain, err := d.nft("list", "chain", "inet", "f2b-table", "f2b-chain")
		return err == nil && strings.Contains(chain, "f2b-guard4")
	}
	if err := all[1].daemon.until("the guard is there", time.Minute, func() bool { return guarded(all[1].daemon) }); err != nil {
		return err
	}
	if _, err := all[2].daemon.nft("add rule inet f2b-table f2b-chain udp dport 1 counter"); err != nil {
		return err
	}
	if err := all[2].daemon.until("there is no guard", time.Minute, func() bool { return !guarded(all[2].daemon) }); err != nil {
		return err
	}
	for round := range b.some(9, 5) + 1 {
		for _, r := range all { // in turns
			rate, cost, err := r.receive(300 * time.Millisecond)
			if err != nil {
				return err
			}
			if round > 0 { // the first one warms up
				r.rate, r.cost = append(r.rate, rate), append(r.cost, cost)
			}
		}
	}
	middle := func(all []float64) float64 {
		sorted := slices.Sorted(slices.Values(all))
		return sorted[len(sorted)/2]
	}
	share := func(r *receiver) (rate, cost float64) {
		return middle(r.rate) / middle(all[0].rate), middle(r.cost) / middle(all[0].cost)
	}
	cells := []string{name, measure.Thousands(int(middle(all[0].rate)))}
	for _, r := range all[1:] {
		rate, cost := share(r)
		cells = append(cells, measure.Thousands(int(middle(r.rate))), fmt.Sprintf("%.2f (%.2f)", rate, cost))
	}
	b.row(append(cells, fmt.Sprintf("%.2f at least", promisedPackets))...)
	rate, cost := share(all[1])
	figures.Note(fmt.Sprintf("packets to a host with %d jails (%s): to those without the daemon", packetJails, name), rate)
	figures.Note(fmt.Sprintf("a packet to a host with %d jails (%s): processor time to that without the daemon", packetJails, name), cost)
	// A machine on which others are at work tells nothing of packets: caches are theirs.
	b.promise(b.busy() || rate >= promisedPackets || 1/cost >= promisedPackets, "with %d jails (%s) a host receives %.2f of the packets (by the processor's time %.2f), promised is %.2f", packetJails, name, rate, 1/cost, promisedPackets)
	return nil
}

// connect gives a host somebody who sends to it.
func (b *bench) connect(r *receiver, host *netlab.Host) error {
	b.hosts++
	sender, err := b.lab.Host(fmt.Sprint("host", b.hosts))
	if err != nil {
		return err
	}
	if err := b.lab.Cable(host, sender, []string{"192.0.2.1/24"}, []string{"192.0.2.7/24"}); err != nil {
		return err
	}
	to := &unix.SockaddrInet4{Port: 9, Addr: netip.MustParseAddr("192.0.2.1").As4()}
	if err := host.Do(func() (err error) {
		if r.to, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(r.to, to)
	}); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(r.to, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		return err
	}
	return sender.Do(func() (err error) {
		if r.from, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Connect(r.from, to)
	})
}

// receive sends for a while, and returns how many packets came in a second, and the
// processor's time for one, in seconds: that of who sends, on whose account the kernel
// takes a packet over a cable to the other end.
func (r *receiver) receive(lasts time.Duration) (rate, cost float64, err error) {
	received := make(chan int)
	stop := make(chan struct{})
	go func() {
		buf := make([]byte, 100)
		n := 0
		for {
			_, err := unix.Read(r.to, buf)
			if err == nil {
				n++
				continue
			}
			select {
			case <-stop:
				received <- n
				return
			default:
			}
		}
	}()
	type sent struct {
		n         int
		took, cpu time.Duration
		err       error
	}
	done := make(chan sent)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var before, after unix.Rusage
		var s sent
		packet := []byte("a packet of sixty bytes, as somebody's game server would get")
		s.err = unix.Getrusage(unix.RUSAGE_THREAD, &before)
		begun := time.Now()
		for s.err == nil && time.Since(begun) < lasts {
			for range 100 {
				if _, err := unix.Write(r.from, packet); err != nil && err != unix.ECONNREFUSED {
					s.err = err
				}
				s.n++
			}
		}
		s.took = time.Since(begun)
		if s.err == nil {
			s.err = unix.Getrusage(unix.RUSAGE_THREAD, &after)
		}
		s.cpu = time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
		done <- s
	}()
	s := <-done
	close(stop)
	n := <-received
	if s.err == nil && n == 0 {
		s.err = fmt.Errorf("of %d packets none came", s.n)
	}
	return float64(n) / s.took.Seconds(), s.cpu.Seconds() / float64(s.n), s.err
}
