package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/bench/measure"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/hub"
)

// join has so many hosts in the fleet, and their files in a directory each.
func (w *world) join(ctx context.Context, files string, n int) (names []string, err error) {
	c, err := w.client(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var mu sync.Mutex
	var failed error
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		name := fmt.Sprintf("web-%d", i+1)
		names = append(names, name)
		dir := filepath.Join(files, name)
		if _, err := os.Stat(filepath.Join(dir, enrol.CredentialsFile)); err == nil {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			t, err := c.Token(ctx, hub.TokenOptions{Name: name, Valid: time.Hour})
			if err == nil {
				_, err = enrol.Join(ctx, t, name, dir)
			}
			if err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return names, failed
}

// run says bans for a while, and waits until all agents know of all.
func (b *bench) run(ctx context.Context, w *world, count int, rate float64) error {
	before, err := w.stats()
	if err != nil {
		return err
	}
	if err := w.say(count, rate); err != nil {
		return err
	}
	want := before.Seen + int64(count)*int64(w.n)
	_, err = w.until(ctx, 5*time.Minute, func(a answer) bool { return a.Seen >= want && a.Waiting == 0 })
	return err
}

// latency is how long it takes until agents know of a ban, by their number.
func (b *bench) latency(ctx context.Context) (string, error) { return b.known(ctx, b.counts, false) }

// kernel is the same, until the ban is in the kernel.
func (b *bench) kernel(ctx context.Context) (string, error) {
	return b.known(ctx, slices.DeleteFunc(slices.Clone(b.counts), func(n int) bool { return n > 100 }), true)
}

func (b *bench) known(ctx context.Context, counts []int, kernel bool) (string, error) {
	w, err := b.world("one", 1, filepath.Join(b.dir, fmt.Sprint("known-", kernel)))
	if err != nil {
		return "", err
	}
	defer w.close()
	var out strings.Builder
	what := "until an agent hands it on"
	if kernel {
		what = "until it is an element of a set in the kernel, each agent with a network namespace of its own"
	}
	fmt.Fprintf(&out, "%v bans/s of one host for %v, from the ban %s; one hub, every write synced:\n\n", b.rate, b.lasts, what)
	out.WriteString("| agents | one agent knows, p50 | p99 | all know, p50 | p99 | hub: CPU s/s | MiB | agents: CPU s/s | MiB each | bytes/ban/agent |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	// The most agents first, while there is nothing to read: what a new host reads is measured by snapshot.
	var rows []string
	for _, n := range slices.Backward(slices.Sorted(slices.Values(counts))) {
		if err := w.agents(ctx, n, kernel); err != nil {
			return "", err
		}
		if err := b.run(ctx, w, 20, b.rate); err != nil { // what comes once: a count of the host's entries, connections' buffers
			return "", err
		}
		if _, _, _, err := w.times(); err != nil {
			return "", err
		}
		count := int(b.rate * b.lasts.Seconds())
		before, err := w.stats()
		if err != nil {
			return "", err
		}
		began := time.Now()
		hubBefore, _, err := usage(w.hubs)
		if err != nil {
			return "", err
		}
		agentsBefore, _, err := usage(w.procs)
		if err != nil {
			return "", err
		}
		if err := b.run(ctx, w, count, b.rate); err != nil {
			return "", err
		}
		passed := time.Since(began).Seconds()
		after, err := w.stats()
		if err != nil {
			return "", err
		}
		hubCPU, hubRSS, err := usage(w.hubs)
		if err != nil {
			return "", err
		}
		agentsCPU, agentsRSS, err := usage(w.procs)
		if err != nil {
			return "", err
		}
		all, last, _, err := w.times()
		if err != nil {
			return "", err
		}
		rows = append(rows, fmt.Sprintf("| %d | %s | %s | %s | %s | %.2f | %.0f | %.2f | %.2f | %d |\n", n, measure.Round(share(all, 0.5)), measure.Round(share(all, 0.99)),
			measure.Round(measure.Quantile(last, 0.5)), measure.Round(measure.Quantile(last, 0.99)), (hubCPU-hubBefore).Seconds()/passed, float64(hubRSS)/(1<<20),
			(agentsCPU-agentsBefore).Seconds()/passed, float64(agentsRSS)/(1<<20)/float64(n), (after.Bytes-before.Bytes)/int64(count)/int64(n)))
		for _, c := range w.procs {
			c.end(syscall.SIGKILL)
		}
		w.procs = nil
	}
	for _, row := range slices.Backward(rows) {
		out.WriteString(row)
	}
	return out.String(), nil
}

// fill writes entries into the stream, as the gate would, of 20 hosts that are not there. left is when they end.
func (w *world) fill(ctx context.Context, from, count int, ends time.Time) error {
	nc, err := nats.Connect(w.urls[0], nats.RootCAs(filepath.Join(w.dirs[0], "ca.pem")), nats.UserCredentials(filepath.Join(w.dirs[0], "hub.creds")))
	if err != nil {
		return err
	}
	defer nc.Close()
	var failed atomic.Int64
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(2000), jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { failed.Add(1) }))
	if err != nil {
		return err
	}
	for i := from; i < from+count; i++ {
		a := address(i).Addr().As16()
		a[7] = byte(1 + i%20) // not of those that are measured
		left := int64(time.Until(ends).Seconds())
		e := fleet.Entry{Jail: "sshd", Left: left, N: uint64(i + 1), Count: 1, Failures: 5}
		key := fleet.BanKey(fmt.Sprintf("other-%d", i%20), "ssh", netip.PrefixFrom(netip.AddrFrom16(a), 128))
		data, err := e.Encode(key.Kind)
		if err != nil {
			return err
		}
		if _, err := js.PublishMsgAsync(&nats.Msg{Subject: fleet.StreamSubjects + key.String(), Data: data}, jetstream.WithMsgTTL(time.Duration(left+5)*time.Second), jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	}
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d of %d entries were not stored", n, count)
	}
	return nil
}

// memory is a directory in memory: a hundred thousand synced writes would measure the disk alone.
func memory() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("/dev/shm", "bailiff-fleet-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// snapshot is what it costs an agent to come to know all that there is.
func (b *bench) snapshot(ctx context.Context) (string, error) {
	at, remove, err := memory()
	if err != nil {
		return "", err
	}
	defer remove()
	w, err := b.world("snapshot", 1, at)
	if err != nil {
		return "", err
	}
	defer w.close()
	var out strings.Builder
	out.WriteString("One agent that has nothing reads all, from a hub whose directory is in memory:\n\n")
	out.WriteString("| entries | time | CPU of the agent | of the hub | bytes | agent, MiB | hub, MiB | stream on disk, MB |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	have := 0
	for _, n := range append([]int{0}, b.entries...) {
		if err := w.fill(ctx, have, n-have, time.Now().Add(6*24*time.Hour)); err != nil {
			return "", err
		}
		have = n
		hubBefore, hubRSS, err := usage(w.hubs)
		if err != nil {
			return "", err
		}
		began := time.Now()
		if err := w.agents(ctx, 1, false); err != nil {
			return "", err
		}
		passed := time.Since(began)
		a, err := w.stats()
		if err != nil {
			return "", err
		}
		if a.Held != int64(n) {
			return "", fmt.Errorf("the agent holds %d of %d entries", a.Held, n)
		}
		hubCPU, _, err := usage(w.hubs)
		if err != nil {
			return "", err
		}
		cpu, rss, err := usage(w.procs)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %.0f | %.0f | %.0f |\n", measure.Thousands(n), measure.Round(passed), measure.Round(cpu), measure.Round(hubCPU-hubBefore),
			measure.Thousands(int(a.Bytes)), float64(rss)/(1<<20), float64(hubRSS)/(1<<20), float64(size(filepath.Join(w.dirs[0], "stream")))/1e6)
		for _, c := range w.procs {
			c.end(syscall.SIGKILL)
		}
		w.procs = nil
	}
	out.WriteString("\nThe time is from the start of the agent's process; its CPU is all that the process took.\n")
	return out.String(), nil
}

// size is how many bytes a directory's files have.
func size(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if m, err := d.Info(); err == nil { // else it went meanwhile
				sum += m.Size()
			}
		}
		return nil
	})
	return sum
}

// faults is what hosts notice of what happens to them and to hubs.
func (b *bench) faults(ctx context.Context) (string, error) {
	var out strings.Builder
	out.WriteString("One hub's directory is in memory here, those of three are on the disk:\n\n| what happens | agents | bans/s | what was measured |\n| --- | --- | --- | --- |\n")
	for _, do := range []func(context.Context, *strings.Builder) error{b.single, b.rolling} {
		if err := do(ctx, &out); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// most is the largest of the numbers of agents.
func (b *bench) most() int {
	n := 0
	for _, c := range b.counts {
		n = max(n, c)
	}
	return n
}

// single are faults of one hub's fleet.
func (b *bench) single(ctx context.Context, out *strings.Builder) error {
	at, remove, err := memory()
	if err != nil {
		return err
	}
	defer remove()
	w, err := b.world("one", 1, at)
	if err != nil {
		return err
	}
	defer w.close()
	n := b.most()
	if err := w.agents(ctx, n, false); err != nil {
		return err
	}
	// The hub is killed, and started: all connect at once.
	w.hubs[0].end(syscall.SIGKILL)
	if _, err := w.until(ctx, time.Minute, func(a answer) bool { return a.Complete == 0 }); err != nil {
		return err
	}
	began := time.Now()
	if w.hubs[0], err = startHub(w.dirs[0]); err != nil {
		return err
	}
	serves := time.Since(began)
	half := time.Duration(0)
	if _, err := w.until(ctx, 5*time.Minute, func(a answer) bool {
		if half == 0 && a.Complete >= n/2 {
			half = time.Since(began)
		}
		return a.Complete == n
	}); err != nil {
		return err
	}
	all := time.Since(began)
	cpu, rss, err := usage(w.hubs)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "| the hub is killed, and started: all connect at once | %d | 0 | it serves after %s, half of all have everything after %s, all after %s; the hub took %s of CPU, %s |\n", n, measure.Round(serves), measure.Round(half), measure.Round(all), measure.Round(cpu), mib(rss))
	for _, c := range w.procs {
		c.end(syscall.SIGKILL)
	}
	w.procs = nil

	// An agent sleeps while bans go on.
	if err := w.agents(ctx, 1, false); err != nil {
		return err
	}
	sleeper := w.procs[0]
	w.procs = nil
	if err := w.agents(ctx, 1, false); err != nil { // the same host once more, which speaks
		return err
	}
	if err := sleeper.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	count := int(b.rate * b.asleep.Seconds())
	if err := b.run(ctx, w, count, b.rate); err != nil {
		return err
	}
	began = time.Now()
	if err := sleeper.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	speaker := w.procs[0]
	w.procs = []*child{sleeper}
	a, err := w.until(ctx, time.Minute, func(a answer) bool { return a.Complete == 1 && a.Seen >= int64(count) })
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "| an agent sleeps for %v (SIGSTOP) | 2 | %v | it knows of all %d bans %s after it wakes; %d gaps |\n", b.asleep, b.rate, count, measure.Round(time.Since(began)), a.Gaps)
	sleeper.end(syscall.SIGKILL)
	speaker.end(syscall.SIGKILL)
	w.procs = nil

	// A hundred thousand entries end at once.
	const many = 100_000
	if err := w.agents(ctx, 10, false); err != nil {
		return err
	}
	ends := time.Now().Add(30*time.Second + many/2000*time.Second)
	if err := w.fill(ctx, 0, many, ends); err != nil {
		return err
	}
	filled, err := w.until(ctx, time.Minute, func(a answer) bool { return a.Held >= 10*many })
	if err != nil {
		return err
	}
	if left := time.Until(ends.Add(3 * time.Second)); left > 0 {
		time.Sleep(left)
	} else {
		return fmt.Errorf("filling took %v too long", -left)
	}
	if _, _, _, err := w.times(); err != nil {
		return err
	}
	if err := b.run(ctx, w, int(b.rate*15), b.rate); err != nil {
		return err
	}
	after, err := w.until(ctx, time.Minute, func(a answer) bool { return a.Held < filled.Held-10*many*9/10 })
	if err != nil {
		return err
	}
	known, _, _, err := w.times()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "| %s entries end within the same seconds | 10 | %v | bans meanwhile are known after p50 %s, p99 %s, at most %s; agents hold %d of %d words %s after the end |\n", measure.Thousands(many), b.rate,
		measure.Round(share(known, 0.5)), measure.Round(share(known, 0.99)), measure.Round(share(known, 1)), after.Held/10, filled.Held/10, measure.Round(time.Since(ends).Truncate(time.Second)))
	return nil
}

// rolling restarts each of three hubs, the next when the one before holds everything.
func (b *bench) rolling(ctx context.Context, out *strings.Builder) error {
	w, err := b.world("three", 3, filepath.Join(b.dir, "rolling"))
	if err != nil {
		return err
	}
	defer w.close()
	whole := func() error {
		limit, cancel := context.WithTimeout(ctx, 3*time.Minute)
		defer cancel()
		for {
			c, err := w.client(limit)
			if err != nil {
				return err
			}
			s, err := c.Status(limit)
			c.Close()
			if err == nil && s.Missing == 0 && s.Leader != "" && len(s.Behind) == 0 {
				return nil
			}
			select {
			case <-limit.Done():
				return fmt.Errorf("the hubs do not find together: %+v, %w", s, err)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	if err := whole(); err != nil {
		return err
	}
	if err := w.agents(ctx, 10, false); err != nil {
		return err
	}
	const rate = 20
	var longest, gaps []string
	for i := range w.hubs {
		if err := b.run(ctx, w, 20, rate); err != nil {
			return err
		}
		if _, _, _, err := w.times(); err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() {
			time.Sleep(time.Second)
			w.hubs[i].end(syscall.SIGTERM)
			h, err := startHub(w.dirs[i])
			w.hubs[i] = h
			done <- err
		}()
		if err := b.run(ctx, w, 15*rate, rate); err != nil {
			return err
		}
		if err := <-done; err != nil {
			return err
		}
		all, _, gap, err := w.times()
		if err != nil {
			return err
		}
		longest, gaps = append(longest, measure.Round(share(all, 1))), append(gaps, measure.Round(gap))
		if err := whole(); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "| three hubs are restarted one after the other (SIGTERM), the next when the one before holds all | 10 | %d | the longest that a ban took until the last agent knew: %s; the longest time in which an agent heard of none: %s |\n", rate, strings.Join(longest, ", "), strings.Join(gaps, ", "))
	return nil
}
