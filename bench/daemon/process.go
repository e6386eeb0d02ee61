package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"
)

// A daemon at work, one of ours or fail2ban's: started, waited for, asked by what the kernel
// holds, and ended.

func (d *daemon) start() error {
	d.cmd = d.make("")
	var text bytes.Buffer
	d.cmd.Stdout, d.cmd.Stderr = &text, &text
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.pid = d.cmd.Process.Pid
	return nil
}

// ready waits until the first jail has its set and its log is followed.
func (d *daemon) ready() error {
	return d.until(30*time.Second, func() bool {
		_, err := d.nft("list", "set", "inet", "f2b-table", "addr-set-"+jail)
		if err == nil {
			return true
		}
		// fail2ban makes sets with the first ban.
		text, _ := os.ReadFile(d.log)
		return strings.Contains(string(text), "Jail '"+jail+"' started") || strings.Contains(string(text), "Jail "+jail+" is JournalFilter")
	})
}

func (d *daemon) until(most time.Duration, done func() bool) error {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if done() {
			return nil
		}
		if d.b.ctx.Err() != nil {
			return d.b.ctx.Err()
		}
	}
	text, _ := os.ReadFile(d.log)
	return fmt.Errorf("%s: waited %v in vain; log:\n%s", d.name, most, text[max(0, len(text)-2000):])
}

func (d *daemon) nft(args ...string) ([]byte, error) {
	return d.host.Command(d.b.ctx, "nft", args...).Output()
}

func (d *daemon) has(a netip.Addr) bool {
	_, err := d.nft("get", "element", "inet", "f2b-table", "addr-set-"+jail, "{ "+a.String()+" }")
	return err == nil
}

func (d *daemon) count() (int, error) {
	out, err := d.nft("-j", "list", "set", "inet", "f2b-table", "addr-set-"+jail)
	if err != nil {
		return 0, err
	}
	if n := bytes.Count(out, []byte(`{"elem": {"val"`)); n > 0 {
		return n, nil
	}
	return bytes.Count(out, []byte(`"198.`)), nil
}

func (d *daemon) end() error {
	err := d.stop()
	_ = d.cmd.Wait()
	return err
}
