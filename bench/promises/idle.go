package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
)

// promisedIdle is the share of a core that a daemon takes which has nothing to do but to
// see whether others changed its table.
const promisedIdle = 0.01

// idle: what it costs to read the ruleset's generation, beside fail2ban, which looks
// at its log.
func (b *bench) idle() error {
	const bans = 1_000
	type one struct {
		name string
		pid  int
		cpu  time.Duration
	}
	var all []*one
	config := "loglevel = \"WARNING\"\n[jail.app]\nenabled = true\nlogpath = \"@D@/app.log\"\nfailregex = '^\\s*failed <HOST>$'\nbantime = \"1h\"\n"
	for _, k := range []struct {
		name, config string
		bans         int
	}{{"bailiff without a firewall", config, 0}, {"bailiff without bans", config, 0}, {"bailiff with 1,000 bans", config, bans}} {
		d, err := b.daemon(k.name, k.config)
		if err != nil {
			return err
		}
		if k.name == "bailiff without a firewall" {
			d.args = []string{"--dry-run"}
		}
		if err := d.startWith("app", k.bans); err != nil {
			return err
		}
		defer func() { _ = d.stop() }()
		all = append(all, &one{name: k.name, pid: d.cmd.Process.Pid})
	}
	f, err := b.fail2ban()
	if err != nil {
		return err
	}
	defer func() { _ = f.Process.Kill(); _ = f.Wait() }()
	all = append(all, &one{name: "fail2ban without bans", pid: f.Process.Pid})
	time.Sleep(15 * time.Second) // what a start takes is given back after ten
	lasts := time.Duration(b.some(60, 20)) * time.Second
	for _, o := range all {
		if o.cpu, _, err = measure.Usage(o.pid); err != nil {
			return err
		}
	}
	time.Sleep(lasts)
	b.head(fmt.Sprintf("Nothing to do, over %v, side by side:", lasts), "daemon", "of a core", "to fail2ban", "promised")
	for _, o := range all {
		now, _, err := measure.Usage(o.pid)
		if err != nil {
			return err
		}
		o.cpu = now - o.cpu
	}
	reference := all[len(all)-1].cpu
	for _, o := range all {
		b.row(o.name, fmt.Sprintf("%.2f %%", 100*o.cpu.Seconds()/lasts.Seconds()), fmt.Sprintf("%.1f", o.cpu.Seconds()/max(reference, 10*time.Millisecond).Seconds()), pick(o == all[2], "1 % at most", ""))
	}
	cost, with := all[2].cpu.Seconds()/lasts.Seconds(), all[2].cpu
	figures.Note("idle with 1,000 bans: % of a core", 100*cost)
	b.promise(cost <= promisedIdle || with <= reference, "a daemon that has nothing to do takes %.2f %% of a core with 1,000 bans, promised is %.0f %% (fail2ban: %v in %v)", 100*cost, 100*promisedIdle, reference, lasts)
	return nil
}

// fail2ban starts Debian's with a jail like ours.
func (b *bench) fail2ban() (*exec.Cmd, error) {
	b.hosts++
	h, err := b.lab.Host(fmt.Sprint("host", b.hosts))
	if err != nil {
		return nil, err
	}
	dir := fmt.Sprintf("%s/%d", b.dir, b.hosts)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command("cp", "-a", "/etc/fail2ban", dir+"/conf").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	if err := os.RemoveAll(dir + "/conf/jail.d"); err != nil {
		return nil, err
	}
	for path, text := range map[string]string{
		dir + "/app.log":             "",
		dir + "/conf/jail.local":     "[DEFAULT]\nbackend = auto\nbanaction = nftables\n[app]\nenabled = true\nfilter =\nfailregex = failed <HOST>\nport = http\nlogpath = " + dir + "/app.log\n",
		dir + "/conf/fail2ban.local": "[Definition]\ndbfile = " + dir + "/db\nlogtarget = " + dir + "/log\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	c := h.Command(b.ctx, "/usr/bin/fail2ban-server", "-f", "-c", dir+"/conf", "-s", dir+"/sock", "-p", dir+"/pid", "start")
	return c, c.Start()
}
