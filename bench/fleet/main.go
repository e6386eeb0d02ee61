// Command fleet measures a fleet on one machine: hubs of pkg/hub, each a process of its own, and up to a thousand
// hosts' agents of pkg/fleet, a few hundred in a process, each with its own connection with TLS, on loopback in a network of its own.
//
//	go run ./bench/fleet --only latency,kernel,snapshot,faults,tree --write bench/README.md
//
// It needs root (unshare, and nftables for kernel). Agents here keep nothing in a database. All share the machine's cores, which
// thousand hosts do not: what is measured of many agents is the machine's, and an upper bound of the hub's.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bailiff/bench/measure"
	"bailiff/bench/section"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/hub"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "agents" {
		fail(runAgents())
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "hub" {
		fail(runHub(os.Args[2]))
		return
	}
	only := flag.String("only", "latency,kernel,snapshot,faults,tree", "the `parts`")
	counts := flag.String("agents", "1,10,100,1000", "so `many` agents")
	rate := flag.Float64("rate", 100, "bans a second")
	lasts := flag.Duration("for", 10*time.Second, "how long bans are said")
	entries := flag.String("entries", "100000,1000000", "snapshots of so `many` entries")
	asleep := flag.Duration("asleep", time.Minute, "how long an agent sleeps")
	write := flag.String("write", "", "a `file` whose sections are replaced")
	flag.Parse()
	if os.Getenv("BENCH_FLEET_INSIDE") == "" {
		fail(inside())
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	b := &bench{rate: *rate, lasts: *lasts, asleep: *asleep, counts: numbers(*counts), entries: numbers(*entries)}
	fail(b.all(ctx, strings.Split(*only, ","), *write))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func numbers(list string) (out []int) {
	for _, word := range strings.Split(list, ",") {
		n, err := strconv.Atoi(word)
		fail(err)
		out = append(out, n)
	}
	return out
}

// inside runs this program again in a network of its own.
func inside() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.Command("sh", append([]string{"-c", `ip link set lo up && exec "$0" "$@"`, self}, os.Args[1:]...)...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), "BENCH_FLEET_INSIDE=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := c.Run(); err != nil {
		return fmt.Errorf("in a network of its own, which needs root: %w", err)
	}
	return nil
}

// runHub is a hub's process.
func runHub(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return hub.Run(ctx, dir, hub.RunOptions{Log: slog.New(eventlog.New(os.Stderr, "ERROR")), Ready: func() { fmt.Println(`"ready"`) }})
}

type bench struct {
	rate    float64
	lasts   time.Duration
	asleep  time.Duration
	counts  []int
	entries []int
	// dir holds all; seq is the number of the next ban.
	dir string
	seq int
}

func (b *bench) all(ctx context.Context, parts []string, write string) (err error) {
	if b.dir, err = os.MkdirTemp("", "bailiff-fleet-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	for _, part := range parts {
		do := map[string]func(context.Context) (string, error){"latency": b.latency, "kernel": b.kernel, "snapshot": b.snapshot, "faults": b.faults, "tree": b.tree}[part]
		if do == nil {
			return fmt.Errorf("no part is named %q", part)
		}
		text, err := do(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
		text = fmt.Sprintf("%s\nThe machine's load when this was made: %s.\n", text, load())
		fmt.Println(text)
		if write != "" {
			if err := section.Replace(write, "fleet/"+part, text); err != nil {
				return err
			}
		}
	}
	return nil
}

func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	return strings.Join(strings.Fields(string(data))[:3], ", ")
}

// child is a process that is told what to do.
type child struct {
	cmd *exec.Cmd
	in  *json.Encoder
	out *json.Decoder
}

func begin(args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self, args...)}
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.out = json.NewEncoder(in), json.NewDecoder(out)
	return c, c.cmd.Start()
}

func (c *child) end(how syscall.Signal) {
	_ = c.cmd.Process.Signal(how) // it has ended, then
	_ = c.cmd.Wait()
}

func (c *child) ask(o order) (a answer, err error) {
	if err := c.in.Encode(o); err != nil {
		return a, err
	}
	if err := c.out.Decode(&a); err != nil {
		return a, err
	}
	return a, nil
}

// startHub starts one, and waits until it serves.
func startHub(dir string) (*child, error) {
	c, err := begin("hub", dir)
	if err != nil {
		return nil, err
	}
	var word string
	if err := c.out.Decode(&word); err != nil {
		return nil, fmt.Errorf("the hub of %s does not start: %w", dir, err)
	}
	return c, nil
}

// world is a hub, or three, and hosts' agents.
type world struct {
	b     *bench
	dirs  []string
	hubs  []*child
	urls  []string
	procs []*child
	n     int
}

const perProcess = 250

// settings are those in which a bench is not held back by limits.
const settings = "rate = 100000.0\nburst = 1000000\nquota = 1000000\nentries = 2000000\nstore = \"4GB\"\n"

// world makes so many hubs, in a directory of a name below at, and starts them.
func (b *bench) world(name string, hubs int, at string) (*world, error) {
	w := &world{b: b}
	o := hub.InitOptions{Names: []string{"127.0.0.1"}, Address: "127.0.0.1"}
	if hubs > 1 {
		for i := range hubs {
			o.Cluster = append(o.Cluster, hub.Member{Name: "hub-" + strconv.Itoa(i+1), Host: "127.0.0.1", Port: 4222 + i, ClusterPort: 6222 + i})
		}
	}
	var err error
	if w.dirs, err = hub.Init(filepath.Join(at, name), o); err != nil {
		return nil, err
	}
	for i, dir := range w.dirs {
		file := filepath.Join(dir, hub.ConfigFile)
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, append([]byte(settings), text...), 0o600); err != nil {
			return nil, err
		}
		h, err := startHub(dir) // of several, the first serves before the others are there
		if err != nil {
			w.close()
			return nil, err
		}
		w.hubs = append(w.hubs, h)
		w.urls = append(w.urls, fmt.Sprintf("tls://127.0.0.1:%d", 4222+i))
	}
	return w, nil
}

func (w *world) close() {
	for _, c := range slices.Concat(w.procs, w.hubs) {
		c.end(syscall.SIGKILL)
	}
	w.procs, w.hubs = nil, nil
}

// client is the hub's own commands' connection, when it is there.
func (w *world) client(ctx context.Context) (*hub.Client, error) {
	for {
		var c *hub.Client
		var err error
		for _, dir := range w.dirs {
			if c, err = hub.Dial(dir, ""); err == nil {
				return c, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// agents starts so many.
func (w *world) agents(ctx context.Context, n int, kernel bool) error {
	files := filepath.Join(filepath.Dir(w.dirs[0]), "hosts")
	names, err := w.join(ctx, files, n)
	if err != nil {
		return err
	}
	w.n = n
	for some := range slices.Chunk(names, perProcess) {
		c, err := begin("agents")
		if err != nil {
			return err
		}
		w.procs = append(w.procs, c)
		if err := c.in.Encode(task{Names: some, Dir: files, URLs: w.urls, Slots: filepath.Join(w.b.dir, "slots"), Kernel: kernel}); err != nil {
			return err
		}
	}
	_, err = w.until(ctx, 5*time.Minute, func(a answer) bool { return a.Complete == n })
	return err
}

// stats are those of all agents.
func (w *world) stats() (sum answer, err error) {
	for _, c := range w.procs {
		a, err := c.ask(order{Do: "stats"})
		if err != nil {
			return sum, err
		}
		sum.Complete, sum.Waiting, sum.Held, sum.Seen, sum.Bytes = sum.Complete+a.Complete, sum.Waiting+a.Waiting, sum.Held+a.Held, sum.Seen+a.Seen, sum.Bytes+a.Bytes
		sum.Moves, sum.Gaps = sum.Moves+a.Moves, sum.Gaps+a.Gaps
	}
	return sum, nil
}

// until asks until something holds.
func (w *world) until(ctx context.Context, most time.Duration, ok func(answer) bool) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		if a, err = w.stats(); err != nil || ok(a) {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, fmt.Errorf("%v passed, and %+v", most, a)
		case <-time.After(max(20, 10*time.Duration(len(w.procs))) * time.Millisecond): // asking takes of the same cores
		}
	}
}

// say has one agent say bans, without waiting for it.
func (w *world) say(count int, rate float64) error {
	_, err := w.procs[0].ask(order{Do: "say", From: w.b.seq, Count: count, Rate: rate})
	w.b.seq += count
	return err
}

// times are what was measured since the last time, over all agents.
func (w *world) times() (all map[int]int64, last []time.Duration, gap time.Duration, err error) {
	all = map[int]int64{}
	by := map[int]int64{}
	for _, c := range w.procs {
		a, err := c.ask(order{Do: "times"})
		if err != nil {
			return nil, nil, 0, err
		}
		for k, n := range a.Times {
			all[k] += n
		}
		for seq, ns := range a.Last {
			by[seq] = max(by[seq], ns)
		}
		gap = max(gap, time.Duration(a.Gap))
	}
	for ns := range maps.Values(by) {
		last = append(last, time.Duration(ns))
	}
	return all, last, gap, nil
}

// share is the time within which a share of what was counted lies.
func share(all map[int]int64, part float64) time.Duration {
	var sum, upTo int64
	for _, n := range all {
		sum += n
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if upTo += all[k]; float64(upTo) >= part*float64(sum) {
			return took(k)
		}
	}
	return 0
}

// usage is what processes took.
func usage(all []*child) (cpu time.Duration, rss int64, err error) {
	for _, c := range all {
		one, bytes, err := measure.Usage(c.cmd.Process.Pid)
		if err != nil {
			return 0, 0, err
		}
		cpu, rss = cpu+one, rss+bytes
	}
	return cpu, rss, nil
}

func mib(n int64) string { return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB" }
