package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"bailiff/bench/measure"
	"bailiff/pkg/hub"
)

// What is measured for the simulation.
const (
	// fewAgents and manyAgents are those between which a copy's cost is told; leavesTried is how many regions there are at most.
	fewAgents, manyAgents = 10, 150
	leavesTried           = 8
	// Of bench/README.md, fleet/latency and fleet/snapshot: what a connection, a word and nothing at all take of a hub's memory, and what a copy
	// takes of a network.
	connectionKB, wordKB, nothingMB, copyBytes = 57, 0.8, 25, 472
	// wordsLive is how long a ban lasts, for how many are live.
	wordsLive = time.Hour
	// coresOf is how many a hub has in the simulation, bansTried how many bans there are.
	coresOf, bansTried = 2, 3000
)

// point is what one run has come to: of each process, time of a core for a ban; and when agents know.
type point struct {
	hubs     []time.Duration
	agents   time.Duration // of all together
	p50, p99 time.Duration // of one agent
	all50    time.Duration // of the last
}

// at measures so many bans at a rate.
func (b *bench) at(ctx context.Context, w *world, count int) (p point, err error) {
	if err := b.run(ctx, w, 20, b.rate); err != nil { // what comes once
		return p, err
	}
	if _, _, _, err := w.times(); err != nil {
		return p, err
	}
	var before []time.Duration
	for _, h := range w.hubs {
		cpu, _, err := usage([]*child{h})
		if err != nil {
			return p, err
		}
		before = append(before, cpu)
	}
	agents, _, err := usage(w.procs)
	if err != nil {
		return p, err
	}
	if err := b.run(ctx, w, count, b.rate); err != nil {
		return p, err
	}
	for i, h := range w.hubs {
		cpu, _, err := usage([]*child{h})
		if err != nil {
			return p, err
		}
		p.hubs = append(p.hubs, (cpu-before[i])/time.Duration(count))
	}
	after, _, err := usage(w.procs)
	if err != nil {
		return p, err
	}
	p.agents = (after - agents) / time.Duration(count)
	all, last, _, err := w.times()
	if err != nil {
		return p, err
	}
	p.p50, p.p99, p.all50 = share(all, 0.5), share(all, 0.99), measure.Quantile(last, 0.5)
	return p, nil
}

// stopAgents ends them.
func (w *world) stopAgents() {
	for _, c := range w.procs {
		c.end(syscall.SIGKILL)
	}
	w.procs = nil
}

// region starts the hub of one below the root.
func (w *world) region(i int) (url string, err error) {
	name, port := fmt.Sprintf("region-%d", i), 4300+i
	dir := filepath.Join(filepath.Dir(w.dirs[0]), name)
	if err := hub.InitRegion(dir, hub.RegionOptions{Name: name, Root: w.dirs[0], Names: []string{"127.0.0.1"}, Address: "127.0.0.1", Port: port}); err != nil {
		return "", err
	}
	h, err := startHub(dir)
	if err != nil {
		return "", err
	}
	w.hubs = append(w.hubs, h)
	return fmt.Sprintf("tls://127.0.0.1:%d", port), nil
}

// calibrate measures what bans cost at hubs and hosts, and what the model says of the same.
func (b *bench) calibrate(ctx context.Context, out *strings.Builder) (c costs, err error) {
	w, err := b.world("tree", 1, filepath.Join(b.dir, "tree"))
	if err != nil {
		return c, err
	}
	defer w.close()
	w.hubs[0].end(syscall.SIGTERM)
	file := filepath.Join(w.dirs[0], hub.ConfigFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return c, err
	}
	if err := os.WriteFile(file, append(text, "\n[regions]\nlisten = \"127.0.0.1:7422\"\nurls = [\"tls://127.0.0.1:7422\"]\n"...), 0o600); err != nil {
		return c, err
	}
	if w.hubs[0], err = startHub(w.dirs[0]); err != nil {
		return c, err
	}
	count := int(b.rate * b.lasts.Seconds())
	direct := map[int]point{}
	for _, n := range []int{fewAgents, manyAgents} {
		if err := w.agents(ctx, n, false); err != nil {
			return c, err
		}
		if direct[n], err = b.at(ctx, w, count); err != nil {
			return c, err
		}
		w.stopAgents()
	}
	few, many := direct[fewAgents], direct[manyAgents]
	c.copy = (many.hubs[0] - few.hubs[0]) / (manyAgents - fewAgents)
	c.put = few.hubs[0] - fewAgents*c.copy
	c.agent = many.agents / manyAgents
	c.fixed = max(few.p50-(c.put+fewAgents/2*(c.copy+c.agent))/coresOf, 0)
	var below [leavesTried + 1]point
	urls := w.urls
	for i := 1; i <= leavesTried; i++ {
		u, err := w.region(i)
		if err != nil {
			return c, err
		}
		if i == 1 {
			w.urls = []string{u}
		}
		if i > 1 && i < leavesTried {
			continue
		}
		if err := w.agents(ctx, manyAgents, false); err != nil { // all at the first region: the others have a copy each, and nobody
			return c, err
		}
		if below[i], err = b.at(ctx, w, count); err != nil {
			return c, err
		}
		w.stopAgents()
	}
	w.urls = urls
	one, more := below[1], below[leavesTried]
	// A region costs the hub above no less than a host does, though the difference of two measurements may say so.
	c.leaf = max((more.hubs[0]-one.hubs[0])/(leavesTried-1), c.copy)
	c.mirror = max(one.hubs[1]-manyAgents*c.copy, 0)
	c.hop = max(one.p50-many.p50-(c.mirror+c.leaf)/coresOf, 0)
	if c.copy <= 0 || c.put <= 0 || c.agent <= 0 {
		return c, fmt.Errorf("what was measured makes no sense: %+v of %+v; is this machine too busy?", c, direct)
	}
	fmt.Fprintf(out, "Measured, %v bans/s for %v, and what the model makes of the same (agents on the hub's %d cores, as they were):\n\n", b.rate, b.lasts, runtime.NumCPU())
	out.WriteString("| agents | where | root's CPU/ban | region's | agents' | one knows, p50 | model | p99 | model | all know, p50 | model |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, row := range []struct {
		n     int
		where string
		p     point
		s     shape
	}{{fewAgents, "the root", few, shape{fewAgents}}, {manyAgents, "the root", many, shape{manyAgents}}, {manyAgents, "one region", one, shape{1, manyAgents}}} {
		o := simulate(row.s, c, runtime.NumCPU(), b.rate, count, true, true, 1)
		region := "-"
		if len(row.p.hubs) > 1 {
			region = measure.Round(row.p.hubs[1])
		}
		fmt.Fprintf(out, "| %d | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", row.n, row.where, measure.Round(row.p.hubs[0]), region, measure.Round(row.p.agents), measure.Round(row.p.p50), measure.Round(measure.Quantile(o.host, 0.5)),
			measure.Round(row.p.p99), measure.Round(measure.Quantile(o.host, 0.99)), measure.Round(row.p.all50), measure.Round(measure.Quantile(o.all, 0.5)))
	}
	fmt.Fprintf(out, "\nThe costs of a ban: at the root %s, for each region below a hub %s, at a region's hub %s, for each host %s, at a host %s; %s before anything is handed on, %s from hub to hub.\n",
		measure.Round(c.put), measure.Round(c.leaf), measure.Round(c.mirror), measure.Round(c.copy), measure.Round(c.agent), measure.Round(c.fixed), measure.Round(c.hop))
	return c, nil
}

// tree is what fleets of many hosts come to, by the costs that are measured.
func (b *bench) tree(ctx context.Context) (string, error) {
	var out strings.Builder
	c, err := b.calibrate(ctx, &out)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&out, "\nSimulated: hubs of %d cores that do nothing else, %d bans that come at random, hosts with cores of their own, no time on the network but the %s. Bans are live for %v.\n\n", coresOf, bansTried, measure.Round(c.hop), wordsLive)
	out.WriteString("| hosts | shape | bans/s of all | one knows, p50 | p99 | all know, p99 | busiest hub, of its cores | messages a ban | root sends, Mbit/s | a hub sends, Mbit/s | to a host, kbit/s | a hub's memory, MB |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, s := range []shape{{1000}, {10, 1000}, {50, 1000}, {100, 1000}, {10, 10, 1000}, {50, 2000}, {10, 40, 250}} {
		for _, rate := range []float64{1, 10, 30, 100} {
			o := simulate(s, c, coresOf, rate, bansTried, false, false, 1)
			busiest := 0.0
			for _, u := range o.use {
				busiest = max(busiest, u)
			}
			one, far, all := "-", "-", "more than it can"
			if !o.over {
				one, far, all = measure.Round(measure.Quantile(o.host, 0.5)), measure.Round(measure.Quantile(o.host, 0.99)), measure.Round(measure.Quantile(o.all, 0.99))
			}
			mbit := func(copies int) float64 { return rate * float64(copies) * copyBytes * 8 / 1e6 }
			last := s[len(s)-1]
			memory := nothingMB + float64(last)*connectionKB/1e3 + rate*wordsLive.Seconds()*wordKB/1e3
			fmt.Fprintf(&out, "| %s | %s | %v | %s | %s | %s | %.2f | %s | %.2f | %.2f | %.1f | %.0f |\n", measure.Thousands(s.hosts()), s, rate, one, far, all, busiest, measure.Thousands(o.sent), mbit(s[0]), mbit(last), mbit(1)*1e3, memory)
		}
	}
	out.WriteString("\nA shape is how many are below each hub, from the root down; the last are hosts. Bytes and memory are by what fleet/latency and fleet/snapshot have (472 bytes a copy, 57 kB a connection, 0.8 kB a word, 25 MB).\n")
	return out.String(), nil
}

func (s shape) String() string {
	words := make([]string, len(s))
	for i, n := range s {
		words[i] = fmt.Sprint(n)
	}
	return strings.Join(words, " × ")
}
