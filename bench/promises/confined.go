package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/bench/measure"
)

// promisedConfined is how much a confined daemon may cost beside one that keeps everything.
const promisedConfined = 1.05

// confined: what the walls cost, and what the process that runs commands takes: pairs of
// daemons in turns, of which one has given nothing away.
func (b *bench) confined() error {
	pairs, lines, bans := b.some(10, 10), b.some(200, 50), b.some(100_000, 20_000)
	const jail = "loglevel = \"WARNING\"\n[jail.app]\nenabled = true\nlogpath = \"@D@/app.log\"\nfailregex = '^\\s*failed <HOST>$'\nmaxretry = 1\nbantime = \"1h\"\n"
	// Its commands are another jail's, so that none stands in the way of what is measured.
	const runs = "[jail.other]\nenabled = true\nlogpath = \"@D@/other.log\"\nfailregex = '^\\s*failed <HOST>$'\n[jail.other.action.none]\nban = \"true\"\nnorestored = true\n"
	kinds := []struct{ name, config string }{
		{"with everything", "[security]\nconfine = false\n"}, {"confined", ""}, {"confined, with a runner", runs},
	}
	type sample struct{ latency, cpu, memory, runner float64 }
	got := make([][]sample, len(kinds))
	for pair := range pairs {
		for k := range kinds {
			k = (k + pair) % len(kinds) // each is the first now and then
			d, err := b.daemon(kinds[k].name, "")
			if err != nil {
				return err
			}
			text := kinds[k].config
			if text == runs {
				text = jail + text
			} else {
				text = "loglevel = \"WARNING\"\n" + text + strings.TrimPrefix(jail, "loglevel = \"WARNING\"\n")
			}
			if err := d.configure(text); err != nil {
				return err
			}
			if err := d.startWith("app", bans); err != nil {
				return err
			}
			time.Sleep(2 * time.Second) // what a start takes is given back, and sets are compared
			var s sample
			cpu, memory, err := measure.Usage(d.cmd.Process.Pid)
			if err != nil {
				return err
			}
			s.cpu, s.memory = float64(cpu)/float64(time.Millisecond), float64(memory)/1e6
			var took []time.Duration
			for i := range lines {
				who := addr(bans + i)
				begun := time.Now()
				if err := d.add("app.log", stamp()+" failed "+who.String()+"\n"); err != nil {
					return err
				}
				for !d.banned("app", who) {
					if time.Since(begun) > 10*time.Second {
						return fmt.Errorf("%s: not banned in 10 s: %s", kinds[k].name, d.log())
					}
				}
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			// Of the fastest tenth: what others on the machine take is no matter then.
			s.latency = float64(took[len(took)/10]) / float64(time.Microsecond)
			if pid := childOf(d.cmd.Process.Pid); pid != 0 {
				if _, memory, err := measure.Usage(pid); err == nil {
					s.runner = float64(memory) / 1e6
				}
			}
			if err := d.stop(); err != nil {
				return err
			}
			got[k] = append(got[k], s)
		}
	}
	median := func(k int, of func(sample) float64) float64 {
		var all []float64
		for _, s := range got[k] {
			all = append(all, of(s))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	b.head(fmt.Sprintf("Confined, medians of %d rounds in turns, with %d bans brought back:", pairs, bans),
		"daemon", "line to kernel", "processor time of the start", "resident", "its runner, resident")
	of := []func(sample) float64{func(s sample) float64 { return s.latency }, func(s sample) float64 { return s.cpu }, func(s sample) float64 { return s.memory }}
	for k, kind := range kinds {
		cells := []string{kind.name}
		for i, unit := range []string{"µs", "ms", "MB"} {
			v, base := median(k, of[i]), median(0, of[i])
			cells = append(cells, fmt.Sprintf("%.1f %s, × %.3f", v, unit, v/base))
			if k == 1 && (i > 0 || !b.busy()) {
				b.promise(v <= base*promisedConfined, "%s: %s is %.3f of one that keeps everything", kind.name, []string{"the way to the kernel", "the start", "memory"}[i], v/base)
			}
		}
		b.row(append(cells, fmt.Sprintf("%.1f MB", median(k, func(s sample) float64 { return s.runner })))...)
	}
	return nil
}

// childOf is a process that another one has started; 0: none.
func childOf(pid int) int {
	all, _ := os.ReadDir("/proc")
	for _, p := range all {
		n, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", n))
		for _, line := range strings.Split(string(text), "\n") {
			if strings.TrimSpace(strings.TrimPrefix(line, "PPid:")) == strconv.Itoa(pid) && strings.HasPrefix(line, "PPid:") {
				return n
			}
		}
	}
	return 0
}
