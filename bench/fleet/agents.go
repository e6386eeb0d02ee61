package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"bailiff/pkg/firewall"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/fleet/link"
)

// A process of agents: each is a host's own, with its own connection, its view, and its goroutines, as pkg/fleet and
// pkg/fleet/link are in a daemon. The parent tells it what to do by lines, and it answers by lines.

// slots are moments at which bans were said, by their numbers, in memory that all processes share.
type slots []int64

const slotsMost = 1 << 20

func openSlots(path string) (slots, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(slotsMost * 8); err != nil {
		return nil, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, slotsMost*8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*int64)(unsafe.Pointer(&data[0])), slotsMost), nil
}

// now is a clock that all processes of this machine share.
func now() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it can't fail
	return t.Nano()
}

// address is the one that stands for a ban's number.
func address(seq int) netip.Prefix {
	a := netip.MustParseAddr("2001:db8::").As16()
	binary.BigEndian.PutUint32(a[12:], uint32(seq))
	return netip.PrefixFrom(netip.AddrFrom16(a), 128)
}

// number is the reverse of address.
func number(p netip.Prefix) (seq int, ok bool) {
	a := p.Addr().As16()
	return int(binary.BigEndian.Uint32(a[12:])), p.Bits() == 128 && [8]byte(a[4:12]) == [8]byte{}
}

// network is one of its own, with a kernel's tables of its own, in which a host's sets are.
type network struct{ ns *os.File }

func newNetwork() (n network, err error) {
	runtime.LockOSThread() // for good, if the way back fails: then the thread ends with the goroutine
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return n, err
	}
	defer own.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return n, err
	}
	if n.ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return n, err
	}
	if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
		return n, err
	}
	runtime.UnlockOSThread()
	return n, nil
}

// do does something in it: sockets that are opened there stay there.
func (n network) do(what func() error) error {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	if err := unix.Setns(int(n.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	failed := what()
	if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	runtime.UnlockOSThread()
	return failed
}

// kernel is a firewall in a network.
type kernel struct {
	*firewall.Firewall
	in network
}

func (k kernel) Apply(changes []firewall.Change) error {
	return k.in.do(func() error { return k.Firewall.Apply(changes) })
}

func newKernel() (k kernel, err error) {
	if k.in, err = newNetwork(); err != nil {
		return k, err
	}
	err = k.in.do(func() (err error) {
		k.Firewall, _, err = firewall.Open(firewall.Options{Table: "bench-fleet"}, firewall.Rule{Jail: "fleet-ssh"})
		return err
	})
	return k, err
}

// task is what a process of agents is told first.
type task struct {
	Names  []string
	Dir    string // of their files, a directory each
	URLs   []string
	Slots  string
	Kernel bool
}

// order is one of the parent's lines, and answer what it comes to.
type order struct {
	Do    string
	From  int     `json:",omitempty"`
	Count int     `json:",omitempty"`
	Rate  float64 `json:",omitempty"`
}

type answer struct {
	Complete, Waiting int
	Held              int64 // words that agents hold
	Seen              int64 // bans of slots that were told, over all agents
	Bytes             int64 // that came by the network
	Moves, Gaps       uint64
	// Times counts what it took, by bucket; Last is what it took until the last agent knew of a ban; Gap is the longest time
	// without one, on any agent.
	Times map[int]int64 `json:",omitempty"`
	Last  map[int]int64 `json:",omitempty"`
	Gap   int64         `json:",omitempty"`
	Error string        `json:",omitempty"`
}

// bucket is where a time is counted: each is two in a hundred longer than the one before. took is its time.
func bucket(ns int64) int { return int(math.Log(float64(max(ns, 1000))/1000) / math.Log(1.02)) }

func took(bucket int) time.Duration {
	return time.Duration(1000 * math.Pow(1.02, float64(bucket)+0.5))
}

type agents struct {
	names []string
	slots slots
	links []*link.Link
	bytes atomic.Int64

	mu    sync.Mutex
	seen  int64
	times map[int]int64
	last  map[int]int64
	gap   int64
}

// one is an agent's host.
type one struct {
	p      *agents
	kernel *firewall.Queue
	before int64
}

func (o *one) Changed(c fleet.Change) {
	if c.Until.IsZero() {
		return
	}
	if o.kernel != nil {
		o.kernel.Push(firewall.Change{Jail: "fleet-ssh", ID: c.Prefix, Left: max(time.Until(c.Until), time.Second)})
		return
	}
	o.saw(c.Prefix)
}

func (o *one) saw(p netip.Prefix) {
	seq, ok := number(p)
	if !ok {
		return
	}
	at := now()
	ns := at - atomic.LoadInt64(&o.p.slots[seq%slotsMost])
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	o.p.seen++
	o.p.times[bucket(ns)]++
	o.p.last[seq] = max(o.p.last[seq], ns)
	if o.before != 0 {
		o.p.gap = max(o.p.gap, at-o.before)
	}
	o.before = at
}

func (o *one) All(all iter.Seq[fleet.Change]) {
	for range all {
	}
}
func (o *one) Keep(fleet.Kept)                {}
func (o *one) Clock(by time.Duration, _ bool) { fmt.Fprintln(os.Stderr, "a clock was set by", by) }

func (o *one) Refused(w fleet.Out, r fleet.Reason) { fmt.Fprintln(os.Stderr, "refused:", w.Key, r) }

// counting is a connection that counts what comes.
type counting struct {
	net.Conn
	n *atomic.Int64
}

func (c counting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}

type dialer struct{ n *atomic.Int64 }

func (d dialer) Dial(network, at string) (net.Conn, error) {
	c, err := net.DialTimeout(network, at, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return counting{c, d.n}, nil
}

// runAgents is a process of agents.
func runAgents() error {
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	out := json.NewEncoder(os.Stdout)
	var t task
	if err := in.Decode(&t); err != nil {
		return err
	}
	p := &agents{names: t.Names, times: map[int]int64{}, last: map[int]int64{}}
	var err error
	if p.slots, err = openSlots(t.Slots); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	for _, name := range t.Names {
		o := &one{p: p}
		if t.Kernel {
			fw, err := newKernel()
			if err != nil {
				return err
			}
			o.kernel = firewall.NewQueue(fw, func(_ []firewall.Change, err error) { fmt.Fprintln(os.Stderr, err) }, func(map[string][]netip.Prefix) {})
			o.kernel.Watch(func(changes []firewall.Change, _ time.Duration, err error) {
				for _, c := range changes {
					if err == nil {
						o.saw(c.ID)
					}
				}
			})
		}
		files := filepath.Join(t.Dir, name)
		l, err := link.New(link.Options{
			Host: name, URLs: t.URLs, Now: time.Now,
			Connect: []nats.Option{
				nats.UserCredentials(filepath.Join(files, enrol.CredentialsFile)), nats.RootCAs(filepath.Join(files, enrol.AuthorityFile)), nats.SetCustomDialer(dialer{&p.bytes}),
			},
		}, fleet.Policy{Groups: map[string]int{"ssh": 1}}, fleet.Start{}, o)
		if err != nil {
			return err
		}
		p.links = append(p.links, l)
		go func() {
			if err := l.Run(ctx); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
	for {
		var what order
		if err := in.Decode(&what); err != nil {
			return nil // the parent has ended, or wants no more
		}
		if err := out.Encode(p.do(ctx, what)); err != nil {
			return err
		}
	}
}

func (p *agents) do(ctx context.Context, what order) (a answer) {
	switch what.Do {
	case "say":
		go p.say(ctx, what)
	case "times":
		p.mu.Lock()
		defer p.mu.Unlock()
		a.Times, a.Last, a.Gap = p.times, map[int]int64{}, p.gap
		for seq, ns := range p.last {
			a.Last[seq] = ns
		}
		p.times, p.last, p.seen, p.gap = map[int]int64{}, map[int]int64{}, 0, 0
	case "stats":
		var mu sync.Mutex
		var all sync.WaitGroup
		for _, l := range p.links {
			all.Add(1)
			if !l.Do(ctx, func(g *fleet.Agent, _ time.Time) {
				s := g.Stats()
				mu.Lock()
				defer mu.Unlock()
				if s.Complete {
					a.Complete++
				}
				a.Waiting += s.Waiting
				a.Held += int64(s.Bans + s.Lifts)
				a.Moves += s.Moves
				a.Gaps += s.Gaps
				all.Done()
			}) {
				all.Done()
			}
		}
		all.Wait()
		a.Bytes = p.bytes.Load()
		p.mu.Lock()
		a.Seen = p.seen
		p.mu.Unlock()
	}
	return a
}

// say has the first agent say bans, evenly.
func (p *agents) say(ctx context.Context, what order) {
	start := time.Now()
	for i := range what.Count {
		time.Sleep(time.Until(start.Add(time.Duration(float64(i) / what.Rate * float64(time.Second)))))
		seq := what.From + i
		atomic.StoreInt64(&p.slots[seq%slotsMost], now())
		p.links[0].Do(ctx, func(a *fleet.Agent, at time.Time) {
			a.Say(at, fleet.BanKey(p.names[0], "ssh", address(seq)), fleet.Entry{Jail: "sshd", Left: 3600, Count: 1, Failures: 5})
		})
	}
}
