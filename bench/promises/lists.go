package main

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/netlink"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
	"bailiff/pkg/netlab"
)

// networks is how many entries a list has.
const networks = 200_000

// What is promised of lists: to read and load one, and to start, takes hardly longer than
// nft(8) takes for it, and somebody else's nft(8) no longer than without us.
// The memory, resident after the load and at the most, is told with what the same program has
// with a list of one network.
const (
	promisedListRoom  = 30e6 // beyond that
	promisedListPeak  = 50e6
	promisedList      = 1.5
	promisedNeighbour = 1.25
)

// network is the i-th of many that don't touch one another.
func network(i int) string {
	return fmt.Sprintf("%d.%d.%d.%d/29", 1+i>>20, i>>12&255, i>>4&255, i&15<<4)
}

// other is a host on which somebody loads a table of his own by nft(8).
type other struct {
	b      *bench
	host   *netlab.Host
	script string
	kernel *netlink.Conn
}

func (b *bench) other(h *netlab.Host) (*other, error) {
	o := &other{b: b, host: h, script: b.dir + "/" + h.Name + ".nft"}
	var s strings.Builder
	s.WriteString("table inet theirs { set feed { type ipv4_addr; flags interval; elements = {\n")
	for i := range networks {
		s.WriteString(network(i) + ",\n")
	}
	s.WriteString("}; }; }\n")
	var err error
	if o.kernel, err = b.kernel(h); err != nil {
		return nil, err
	}
	return o, os.WriteFile(o.script, []byte(s.String()), 0o644)
}

// load takes the time of `nft -f`, by the clock, and removes the table again.
func (o *other) load() (took time.Duration, err error) {
	took, _, err = o.cost()
	return took, err
}

// cost tells the processor's time of it, too.
func (o *other) cost() (took, cpu time.Duration, err error) {
	begun := time.Now()
	c := o.host.Command(o.b.ctx, "nft", "-f", o.script)
	out, err := c.CombinedOutput()
	took = time.Since(begun)
	if err != nil {
		return 0, 0, fmt.Errorf("nft -f: %w: %s", err, out)
	}
	cpu = c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	if !has(o.kernel, "theirs", "feed", netip.MustParseAddr("1.0.0.1")) {
		return 0, 0, fmt.Errorf("nft -f loaded nothing")
	}
	if out, err := o.host.Command(o.b.ctx, "nft", "delete", "table", "inet", "theirs").CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("nft delete table: %w: %s", err, out)
	}
	return took, cpu, nil
}

// lists: one of 200,000 networks beside `nft -f` of the same, and somebody else's
// `nft -f` beside the daemon.
func (b *bench) lists() error {
	var feed strings.Builder
	for i := range networks {
		feed.WriteString(network(i) + "\n")
	}
	d, err := b.daemon("lists", "loglevel = \"INFO\"\n[jail.feed]\nenabled = true\nlist = \"@D@/feed.txt\"\n")
	if err != nil {
		return err
	}
	o, err := b.other(d.host)
	if err != nil {
		return err
	}
	if _, err := o.load(); err != nil { // the kernel's memory is there from here on
		return err
	}
	without, _, err := b.listMemory(d, network(0)+"\n", netip.MustParseAddr("1.0.0.1"))
	if err != nil {
		return err
	}
	if err := d.write("feed.txt", feed.String()); err != nil {
		return err
	}
	var theirs, ours []time.Duration
	for range b.some(5, 3) { // in turns
		took, err := o.load()
		if err != nil {
			return err
		}
		theirs = append(theirs, took)
		begun := time.Now()
		if err := d.launch(); err != nil {
			return err
		}
		last := netip.MustParseAddr("1.0.0.1")
		if err := d.until("the list is in the kernel", time.Minute, func() bool { return has(d.kernel, "f2b-table", "net-set-feed", last) }); err != nil {
			return err
		}
		ours = append(ours, time.Since(begun))
		if err := d.stop(); err != nil {
			return err
		}
		if _, err := d.nft("flush", "ruleset"); err != nil {
			return err
		}
	}
	ratio := float64(measure.Median(ours)) / float64(measure.Median(theirs))
	b.head(fmt.Sprintf("A list of %s networks, from the start of the program to the elements in the kernel, in turns with\n`nft -f` of the same networks (medians of %d):", measure.Thousands(networks), len(ours)),
		"`nft -f`", "bailiff, with its start", "bailiff to nft", "promised")
	b.row(measure.Round(measure.Median(theirs)), measure.Round(measure.Median(ours)), fmt.Sprintf("%.2f", ratio), fmt.Sprintf("%.1f at most", promisedList))
	figures.Note("a list of 200,000 networks: to nft -f of it", ratio)
	b.promise(ratio <= promisedList, "a list takes %.2f times as long as `nft -f`, promised is %.2f at most", ratio, promisedList)
	last, err := netip.ParsePrefix(network(networks - 1))
	if err != nil {
		return err
	}
	with, peak, err := b.listMemory(d, feed.String(), last.Addr())
	if err != nil {
		return err
	}
	fmt.Fprintln(&b.out)
	b.head("Its memory, ten seconds after the start:", "resident with one network", "with all", "at the most", "promised")
	megabytes := func(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }
	b.row(megabytes(without), megabytes(with), megabytes(peak), fmt.Sprintf("%.0f MB more at most, %.0f at the most", promisedListRoom/1e6, promisedListPeak/1e6))
	figures.Note("a list of 200,000 networks: resident for it, MB", float64(with-without)/1e6)
	b.promise(float64(with-without) <= promisedListRoom && float64(peak-without) <= promisedListPeak,
		"a list takes %s more, and %s at the most, promised is %.0f and %.0f MB", megabytes(with-without), megabytes(peak-without), promisedListRoom/1e6, promisedListPeak/1e6)
	fmt.Fprintln(&b.out)
	return b.neighbours(d, o)
}

// listMemory returns what is resident of a daemon ten seconds after it has a list, and what
// was at the most.
func (b *bench) listMemory(d *daemon, feed string, one netip.Addr) (resident, peak int64, err error) {
	if err := d.write("feed.txt", feed); err != nil {
		return 0, 0, err
	}
	if err := d.launch(); err != nil {
		return 0, 0, err
	}
	if err := d.until("the list is in the kernel", time.Minute, func() bool { return has(d.kernel, "f2b-table", "net-set-feed", one) }); err != nil {
		return 0, 0, err
	}
	time.Sleep(10 * time.Second)
	if _, resident, err = measure.Usage(d.cmd.Process.Pid); err != nil {
		return 0, 0, err
	}
	if peak, err = measure.Peak(d.cmd.Process.Pid); err != nil {
		return 0, 0, err
	}
	if err := d.stop(); err != nil {
		return 0, 0, err
	}
	_, err = d.nft("flush", "ruleset")
	return resident, peak, err
}

// neighbours: `nft -f` on the daemon's own host and on another one, with the daemon,
// without it, and, to see that this would be noticed, with a listener.
func (b *bench) neighbours(d *daemon, here *other) error {
	const bans = 1_000
	if err := d.configure("loglevel = \"WARNING\"\n[jail.app]\nenabled = true\nlogpath = \"@D@/app.log\"\nfailregex = '^\\s*failed <HOST>$'\nbantime = \"1h\"\n"); err != nil {
		return err
	}
	if err := d.add("app.log", ""); err != nil {
		return err
	}
	if err := os.RemoveAll(d.path("db.sqlite3")); err != nil {
		return err
	}
	if err := d.fill("app", bans); err != nil {
		return err
	}
	b.hosts++
	h, err := b.lab.Host(fmt.Sprint("host", b.hosts))
	if err != nil {
		return err
	}
	there, err := b.other(h)
	if err != nil {
		return err
	}
	type loads struct{ took, cpu []time.Duration }
	var with, without, listened [2]loads
	both := func(into *[2]loads) error {
		for i, o := range []*other{here, there} {
			took, cpu, err := o.cost()
			if err != nil {
				return err
			}
			if into != nil {
				into[i].took, into[i].cpu = append(into[i].took, took), append(into[i].cpu, cpu)
			}
		}
		return nil
	}
	if err := both(nil); err != nil { // see above
		return err
	}
	for range b.some(7, 5) { // in turns
		if err := both(&without); err != nil {
			return err
		}
		if err := d.start(); err != nil {
			return err
		}
		if err := d.until("all bans are back", time.Minute, func() bool { return d.banned("app", addr(0)) && d.banned("app", addr(bans-1)) }); err != nil {
			return err
		}
		time.Sleep(time.Second) // the start is over
		if err := both(&with); err != nil {
			return err
		}
		if err := d.stop(); err != nil {
			return err
		}
	}
	listener := h.Command(b.ctx, "nft", "monitor")
	if err := listener.Start(); err != nil {
		return err
	}
	time.Sleep(200 * time.Millisecond)
	for range 2 {
		if err := both(&listened); err != nil {
			return err
		}
	}
	_ = listener.Process.Kill()
	_ = listener.Wait()
	fmt.Fprintln(&b.out)
	b.head(fmt.Sprintf("Somebody else's `nft -f` of %s networks, without the daemon, with it and %s bans, and with a listener to\nnftables' notifications, which the daemon is not (medians of %d, by the clock; of 2 with the listener):", measure.Thousands(networks), measure.Thousands(bans), len(with[0].took)),
		"network namespace", "without", "with", "with to without", "processor time", "promised", "`nft monitor` to without", "processor time")
	for i, name := range []string{"the daemon's", "another one"} {
		took, cpu := paired(with[i].took, without[i].took), paired(with[i].cpu, without[i].cpu)
		b.row(name, measure.Round(measure.Median(without[i].took)), measure.Round(measure.Median(with[i].took)), fmt.Sprintf("%.2f", took), fmt.Sprintf("%.2f", cpu), fmt.Sprintf("less than %.2f", promisedNeighbour),
			fmt.Sprintf("%.2f", paired(listened[i].took, without[i].took)), fmt.Sprintf("%.2f", paired(listened[i].cpu, without[i].cpu)))
		// The processor's time tells of a listener. By the clock a machine on which others are
		// at work tells nothing: everybody's transactions wait for one another.
		figures.Note("somebody else's nft -f, "+name+" network namespace: processor time to that without the daemon", cpu)
		least := float64(slices.Min(with[i].took)) / float64(slices.Min(without[i].took))
		b.promise((b.busy() || min(took, least) < promisedNeighbour) && cpu < promisedNeighbour, "somebody else's `nft -f` in %s takes %.2f times as long with the daemon (the quickest %.2f, processor time %.2f), promised is less than %.2f",
			pick(i == 0, "the daemon's network namespace", "another network namespace"), took, least, cpu, promisedNeighbour)
	}
	return nil
}

// paired is how many times as long some took as those that were measured in turns with
// them: the median of the ratios, since the machine may be busier by and by.
func paired(some, others []time.Duration) float64 {
	var all []float64
	for i, t := range some {
		all = append(all, float64(t)/float64(others[min(i, len(others)-1)]))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
